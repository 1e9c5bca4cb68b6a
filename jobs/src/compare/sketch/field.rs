//! Polynomials over the integers modulo a prime below 2^32, whose products therefore fit 64 bits.

/// A polynomial of least degree through points, lowest coefficient first; `None` if two of them have
/// the same place. Numbers are below `P`, which is prime.
///
/// Newton's form, point by point: what is missing at the next place is divided by the product of its
/// distances to all places before. One inverse for each point, and the square of their number in
/// products. The polynomial is unique, so it does not depend on the order of the points.
pub(super) fn interpolate<const P: u64>(points: &[(u64, u64)]) -> Option<Vec<u64>> {
    let mut polynomial = Vec::with_capacity(points.len());
    // The product of all (x - place) so far, highest coefficient 1.
    let mut places = vec![1];
    for &(x, y) in points {
        let missing = subtract::<P>(y, evaluate::<P>(&polynomial, x));
        let step = multiply::<P>(missing, inverse::<P>(evaluate::<P>(&places, x))?);
        polynomial.push(0);
        for (to, from) in polynomial.iter_mut().zip(&places) {
            *to = add::<P>(*to, multiply::<P>(step, *from));
        }
        // Times (x - place): each coefficient moves up by one and leaves its multiple behind.
        let negative = subtract::<P>(0, x);
        let mut below = 0;
        for coefficient in &mut places {
            let this = *coefficient;
            *coefficient = add::<P>(below, multiply::<P>(this, negative));
            below = this;
        }
        places.push(below);
    }
    Some(polynomial)
}

/// Its value at a place (Horner).
pub(super) fn evaluate<const P: u64>(polynomial: &[u64], x: u64) -> u64 {
    let highest_first = polynomial.iter().rev();
    highest_first.fold(0, |value, coefficient| {
        add::<P>(multiply::<P>(value, x), *coefficient)
    })
}

// Both operands are below `P`, which is below 2^32: nothing here wraps.

fn add<const P: u64>(a: u64, b: u64) -> u64 {
    a.wrapping_add(b).rem_euclid(P)
}

fn subtract<const P: u64>(a: u64, b: u64) -> u64 {
    a.wrapping_add(P).wrapping_sub(b).rem_euclid(P)
}

fn multiply<const P: u64>(a: u64, b: u64) -> u64 {
    a.wrapping_mul(b).rem_euclid(P)
}

/// By Fermat: the power of `P - 2`. Zero has none.
fn inverse<const P: u64>(a: u64) -> Option<u64> {
    if a == 0 {
        return None;
    }
    let (mut result, mut square, mut exponent) = (1, a, P.wrapping_sub(2));
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = multiply::<P>(result, square);
        }
        square = multiply::<P>(square, square);
        exponent >>= 1;
    }
    Some(result)
}
