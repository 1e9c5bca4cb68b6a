//! Arrays of doubles, and how ONNX stretches one to the shape of another.

/// The largest array of the reference arithmetic, in elements.
pub(super) const ELEMENTS_MAX: usize = 1 << 27;

/// Numbers, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Array {
    pub(super) dims: Vec<usize>,
    pub(super) data: Vec<f64>,
}

impl Array {
    pub(super) fn new(dims: Vec<usize>, data: Vec<f64>) -> Option<Self> {
        (elements(&dims)? == data.len()).then_some(Self { dims, data })
    }

    pub(super) fn map(&self, each: impl Fn(f64) -> f64) -> Self {
        Self {
            dims: self.dims.clone(),
            data: self.data.iter().map(|value| each(*value)).collect(),
        }
    }

    /// The element at this place, which is there.
    pub(super) fn at(&self, at: usize) -> f64 {
        self.data.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// A result and, for each element, how far honest arithmetic may be from it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bounded {
    pub(super) value: Array,
    pub(super) bound: Vec<f64>,
}

/// The product of some dimensions, if it is within bounds.
pub(super) fn elements(dims: &[usize]) -> Option<usize> {
    let product = dims
        .iter()
        .try_fold(1_usize, |product, dim| product.checked_mul(*dim))?;
    (product <= ELEMENTS_MAX).then_some(product)
}

/// The shape that two shapes stretch to.
pub(super) fn stretched(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let dim = |dims: &[usize], at: usize| match (at + dims.len()).checked_sub(rank) {
        None => Some(1),
        Some(at) => dims.get(at).copied(),
    };
    let each = |at| match (dim(a, at)?, dim(b, at)?) {
        (x, y) if x == y => Some(x),
        (1, y) => Some(y),
        (x, 1) => Some(x),
        _ => None,
    };
    (0..rank).map(each).collect()
}

/// For each element of `shape`, in order, the place of the element of `dims` that stands for it.
pub(super) fn places(dims: &[usize], shape: &[usize]) -> Option<Vec<usize>> {
    let count = elements(shape)?;
    let missing = shape.len().checked_sub(dims.len())?;
    // Steps between neighbours along each dimension: none along those that are stretched.
    let mut steps = vec![0_usize; shape.len()];
    let mut step = 1_usize;
    for (dim, place) in dims.iter().rev().zip(steps.iter_mut().rev()) {
        *place = if *dim == 1 { 0 } else { step };
        step = step.checked_mul(*dim)?;
    }
    debug_assert!(missing <= shape.len());
    let mut index = vec![0_usize; shape.len()];
    let mut at = 0_usize;
    let mut found = Vec::with_capacity(count);
    for _ in 0..count {
        found.push(at);
        for ((index, step), dim) in index.iter_mut().zip(&steps).zip(shape).rev() {
            *index += 1;
            at += step;
            if *index < *dim {
                break;
            }
            at -= step * *dim;
            *index = 0;
        }
    }
    Some(found)
}

/// An axis that may be counted from behind.
pub(super) fn axis(axis: i64, rank: usize) -> Option<usize> {
    let rank_signed = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis + rank_signed } else { axis };
    usize::try_from(axis).ok().filter(|axis| *axis < rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_stretch_as_onnx_says() {
        for (a, b, shape) in [
            (&[2, 3][..], &[3][..], Some(vec![2, 3])),
            (&[2, 1], &[1, 3], Some(vec![2, 3])),
            (&[], &[4], Some(vec![4])),
            (&[2], &[3], None),
            (&[0, 3], &[1], Some(vec![0, 3])),
        ] {
            assert_eq!(stretched(a, b), shape, "{a:?} {b:?}");
        }
        assert_eq!(places(&[2, 1], &[2, 3]), Some(vec![0, 0, 0, 1, 1, 1]));
        assert_eq!(places(&[3], &[2, 3]), Some(vec![0, 1, 2, 0, 1, 2]));
        assert_eq!(places(&[], &[2]), Some(vec![0, 0]));
        assert_eq!(places(&[2, 3], &[2, 3]), Some(vec![0, 1, 2, 3, 4, 5]));
    }

    #[test]
    fn axes_count_from_both_ends() {
        for (given, rank, found) in [
            (0, 2, Some(0)),
            (-1, 2, Some(1)),
            (2, 2, None),
            (-3, 2, None),
        ] {
            assert_eq!(axis(given, rank), found, "{given} of {rank}");
        }
    }
}
