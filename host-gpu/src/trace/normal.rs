//! Means, normalisation and softmax.

use super::arithmetic::{Node, TINY, UNIT, gamma};
use super::array::{Array, Bounded, axis, elements, places};

/// How many units of roundoff a kernel's exponential may be off. Vectorised ones are off by two or three.
const EXP_UNITS: f64 = 8.0;
/// What an exponential that is nearly zero loses where a kernel cuts it off, in least normal numbers.
const EXP_TINY: f64 = 64.0;

/// Splits dimensions at an axis: how many rows there are, and how long each is.
fn rows(dims: &[usize], at: usize) -> Option<(usize, usize)> {
    let (outer, inner) = dims.split_at_checked(at)?;
    Some((elements(outer)?, elements(inner)?))
}

/// `Softmax` along the last dimension.
///
/// With `d = x - max x`, each exponential is off by `(|d| + EXP_UNITS) u`: rounding `d` and the kernel. Their sum is
/// off by the mean of that, weighted by the exponentials, and by `gamma(n - 1)`; dividing takes two more operations
/// where a kernel multiplies by the reciprocal. The analysis is that of P. Blanchard, D. J. Higham and N. J. Higham,
/// "Accurately computing the log-sum-exp and softmax functions", IMA J. Numer. Anal. 41 (2021), section 4.
pub(super) fn softmax(node: &Node<'_>) -> Option<Bounded> {
    let x = node.input(0)?;
    let default = if node.opset < 13 { 1 } else { -1 };
    let at = axis(node.attributes.int("axis", default), x.dims.len())?;
    // Before version 13 everything behind the axis was one row; since then it is one dimension.
    if node.opset >= 13 && at + 1 != x.dims.len() {
        return None;
    }
    let (_, length) = rows(&x.dims, at)?;
    let (mut value, mut bound) = (Vec::new(), Vec::new());
    for row in x.data.chunks(length.max(1)) {
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let distance: Vec<f64> = row.iter().map(|x| x - max).collect();
        let exps: Vec<f64> = distance.iter().map(|d| libm::exp(*d)).collect();
        let sum: f64 = exps.iter().sum();
        // An infinite distance has an exponential of zero, and rounds to nothing else.
        let share = |d: f64, exp: f64| if exp > 0.0 { d.abs() } else { 0.0 };
        let weighted = distance
            .iter()
            .zip(&exps)
            .map(|(d, exp)| share(*d, *exp) * exp);
        let spread = weighted.sum::<f64>() / sum;
        for (d, exp) in distance.iter().zip(&exps) {
            let y = exp / sum;
            let operations = share(*d, *exp) + spread + 2.0 * EXP_UNITS + length as f64 + 2.0;
            value.push(y);
            bound.push(gamma(operations) * y + EXP_TINY * TINY);
        }
    }
    Some(Bounded {
        value: Array::new(x.dims.clone(), value)?,
        bound,
    })
}

/// The mean of some numbers, of their magnitudes, and of their squares.
fn moments(row: &[f64]) -> (f64, f64, f64) {
    let count = row.len() as f64;
    let sum = |each: fn(f64) -> f64| row.iter().map(|x| each(*x)).sum::<f64>() / count;
    (sum(|x| x), sum(f64::abs), sum(|x| x * x))
}

/// `LayerNormalization`, its first output.
///
/// Kernels take the variance as the mean square of the distances, or as the mean square less the square of the mean.
/// The second is much worse where the mean is large, and allowed: the variance may be off by
/// `gamma(n + 4) (E x^2 + (E x)^2)`, the mean by `gamma(n) E |x|`. Both go into each element as an interval.
pub(super) fn layer(node: &Node<'_>) -> Option<Bounded> {
    let (x, scale) = (node.input(0)?, node.input(1)?);
    let at = axis(node.attributes.int("axis", -1), x.dims.len())?;
    let epsilon = f64::from(node.attributes.float("epsilon", 1e-5));
    let (_, length) = rows(&x.dims, at)?;
    let tail = x.dims.get(at..)?;
    let scales = places(&scale.dims, tail)?;
    let bias = match node.input(2) {
        None => None,
        Some(bias) => Some((bias, places(&bias.dims, tail)?)),
    };
    let count = length as f64;
    let (mut value, mut bound) = (Vec::new(), Vec::new());
    for row in x.data.chunks(length.max(1)) {
        let (mean, magnitude, _) = moments(row);
        let distances: Vec<f64> = row.iter().map(|x| x - mean).collect();
        let (_, _, variance) = moments(&distances);
        let mean_off = gamma(count + 1.0) * magnitude + TINY;
        let square = variance + mean * mean;
        let variance_off = gamma(count + 4.0) * (square + mean * mean) + count * TINY;
        let inverse = |variance: f64| (variance.max(0.0) + epsilon).sqrt().recip();
        let usual = inverse(variance);
        // The farther of the two ends of the interval, and a few roundings of its own.
        let inverse_off = (inverse(variance - variance_off) - usual)
            .max(usual - inverse(variance + variance_off))
            + gamma(4.0) * usual;
        for (((x, distance), scale_at), place) in row.iter().zip(&distances).zip(&scales).zip(0..) {
            let factor = scale.at(*scale_at);
            let more = bias.as_ref().map_or(0.0, |(bias, places)| {
                places.get(place).map_or(f64::NAN, |at| bias.at(*at))
            });
            let normal = distance * usual;
            let distance_off = mean_off + UNIT * (x.abs() + mean.abs());
            let off = distance_off * (usual + inverse_off) + distance.abs() * inverse_off;
            // Multiplying twice and adding; a kernel may fold mean and scale first, which costs two more.
            let rounding =
                gamma(5.0) * ((x.abs() + mean.abs()) * usual * factor.abs() + more.abs());
            value.push(normal * factor + more);
            bound.push(off * factor.abs() + rounding + 4.0 * TINY);
        }
    }
    Some(Bounded {
        value: Array::new(x.dims.clone(), value)?,
        bound,
    })
}

/// `ReduceMean` over any dimensions: `n - 1` additions and one division.
pub(super) fn mean(node: &Node<'_>) -> Option<Bounded> {
    let x = node.input(0)?;
    let rank = x.dims.len();
    let given = match node.attributes.ints("axes") {
        Some(axes) => Some(axes),
        None => node.integers.get(1).cloned().flatten(),
    };
    let given = given.filter(|axes| !axes.is_empty());
    if given.is_none() && node.attributes.int("noop_with_empty_axes", 0) != 0 {
        return None;
    }
    let reduced: Vec<usize> = match given {
        None => (0..rank).collect(),
        Some(axes) => axes
            .into_iter()
            .map(|at| axis(at, rank))
            .collect::<Option<_>>()?,
    };
    let keep = node.attributes.int("keepdims", 1) != 0;
    let kept: Vec<usize> = (0..)
        .zip(&x.dims)
        .map(|(at, dim)| if reduced.contains(&at) { 1 } else { *dim })
        .collect();
    let results = elements(&kept)?;
    let count = elements(&x.dims)?.checked_div(results)?;
    let (mut sums, mut sizes) = (vec![0.0; results], vec![0.0; results]);
    for (x, at) in x.data.iter().zip(places(&kept, &x.dims)?) {
        if let (Some(sum), Some(size)) = (sums.get_mut(at), sizes.get_mut(at)) {
            *sum += x;
            *size += x.abs();
        }
    }
    let shape = match keep {
        true => kept,
        false => (0..)
            .zip(&x.dims)
            .filter(|(at, _)| !reduced.contains(at))
            .map(|(_, dim)| *dim)
            .collect(),
    };
    let count = count as f64;
    // One more than there are, for kernels that multiply by the reciprocal.
    let bound = sizes
        .iter()
        .map(|size| gamma(count + 1.0) * size / count + count * TINY)
        .collect();
    Some(Bounded {
        value: Array::new(shape, sums.into_iter().map(|sum| sum / count).collect())?,
        bound,
    })
}
