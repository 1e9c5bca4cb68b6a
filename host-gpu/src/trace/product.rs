//! Sums of products: matrices and convolutions.

use super::arithmetic::{Node, TINY, gamma};
use super::array::{Array, Bounded, elements, places, stretched};

/// The most products that the referee adds up for one node. More is left to the library.
const PRODUCTS_MAX: usize = 1 << 33;

fn bounded_work(parts: &[usize]) -> Option<()> {
    let work = parts
        .iter()
        .try_fold(1_usize, |work, part| work.checked_mul(*part))?;
    (work <= PRODUCTS_MAX).then_some(())
}

/// Sums of products and of their magnitudes.
struct Sums {
    value: Vec<f64>,
    size: Vec<f64>,
}

/// `a` of `m` rows and `k` columns by `b` of `k` rows and `n` columns, both as functions of row and column, which
/// may read them transposed.
fn multiply(
    [m, k, n]: [usize; 3],
    a: impl Fn(usize, usize) -> f64,
    b: impl Fn(usize, usize) -> f64,
    sums: &mut Sums,
) {
    let mut row = vec![(0.0_f64, 0.0_f64); n];
    for i in 0..m {
        row.fill((0.0, 0.0));
        for l in 0..k {
            let x = a(i, l);
            for (j, (value, size)) in row.iter_mut().enumerate() {
                let product = x * b(l, j);
                *value += product;
                *size += product.abs();
            }
        }
        sums.value.extend(row.iter().map(|(value, _)| *value));
        sums.size.extend(row.iter().map(|(_, size)| *size));
    }
}

/// Bounds of results that took `k` operations each.
fn bounds(k: usize, size: &[f64]) -> Vec<f64> {
    let (share, tiny) = (gamma(k as f64), k as f64 * TINY);
    size.iter().map(|size| share * size + tiny).collect()
}

/// `MatMul`: matrices in the last two dimensions, the others stretched.
pub(super) fn matmul(node: &Node<'_>) -> Option<Bounded> {
    let (a, b) = (node.input(0)?, node.input(1)?);
    let (a_dims, a_was_vector) = match a.dims.as_slice() {
        [k] => (vec![1, *k], true),
        dims => (dims.to_vec(), false),
    };
    let (b_dims, b_was_vector) = match b.dims.as_slice() {
        [k] => (vec![*k, 1], true),
        dims => (dims.to_vec(), false),
    };
    let ([a_batch @ .., m, k], [b_batch @ .., k_too, n]) = (&a_dims[..], &b_dims[..]) else {
        return None;
    };
    if k != k_too {
        return None;
    }
    let batch = stretched(a_batch, b_batch)?;
    let (m, k, n) = (*m, *k, *n);
    bounded_work(&[elements(&batch)?, m, k, n])?;
    let mut shape = batch.clone();
    shape.extend((!a_was_vector).then_some(m));
    shape.extend((!b_was_vector).then_some(n));
    let capacity = elements(&shape)?;
    let mut sums = Sums {
        value: Vec::with_capacity(capacity),
        size: Vec::with_capacity(capacity),
    };
    let matrices = places(a_batch, &batch)?
        .into_iter()
        .zip(places(b_batch, &batch)?);
    for (left, right) in matrices {
        let (left, right) = (left * m * k, right * k * n);
        multiply(
            [m, k, n],
            |i, l| a.at(left + i * k + l),
            |l, j| b.at(right + l * n + j),
            &mut sums,
        );
    }
    Some(Bounded {
        bound: bounds(k, &sums.size),
        value: Array::new(shape, sums.value)?,
    })
}

/// `Gemm`: `alpha a b + beta c`, the matrices transposed on demand.
pub(super) fn gemm(node: &Node<'_>) -> Option<Bounded> {
    let (a, b) = (node.input(0)?, node.input(1)?);
    let ([a_rows, a_columns], [b_rows, b_columns]) = (&a.dims[..], &b.dims[..]) else {
        return None;
    };
    let flips = |name| node.attributes.int(name, 0) != 0;
    let (flip_a, flip_b) = (flips("transA"), flips("transB"));
    let (m, k) = if flip_a {
        (*a_columns, *a_rows)
    } else {
        (*a_rows, *a_columns)
    };
    let (k_too, n) = if flip_b {
        (*b_columns, *b_rows)
    } else {
        (*b_rows, *b_columns)
    };
    if k != k_too {
        return None;
    }
    bounded_work(&[m, k, n])?;
    let mut sums = Sums {
        value: Vec::new(),
        size: Vec::new(),
    };
    multiply(
        [m, k, n],
        |i, l| a.at(if flip_a { l * m + i } else { i * k + l }),
        |l, j| b.at(if flip_b { j * k + l } else { l * n + j }),
        &mut sums,
    );
    let alpha = f64::from(node.attributes.float("alpha", 1.0));
    let beta = f64::from(node.attributes.float("beta", 1.0));
    let shape = vec![m, n];
    for (value, size) in sums.value.iter_mut().zip(&mut sums.size) {
        *value *= alpha;
        *size *= alpha.abs();
    }
    if let Some(c) = node.input(2) {
        let from = places(&c.dims, &shape)?;
        for ((value, size), at) in sums.value.iter_mut().zip(&mut sums.size).zip(from) {
            let more = beta * c.at(at);
            *value += more;
            *size += more.abs();
        }
    }
    Some(Bounded {
        // Scaling both terms and adding them are three more operations.
        bound: bounds(k + 3, &sums.size),
        value: Array::new(shape, sums.value)?,
    })
}

/// How a window slides along one dimension.
#[derive(Clone, Copy)]
struct Slide {
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
}

impl Slide {
    /// The place in the input under this place of the kernel, unless it is padding.
    fn place(self, output: usize, kernel: usize) -> Option<usize> {
        let at = (output * self.stride + kernel * self.dilation).checked_sub(self.before)?;
        (at < self.input).then_some(at)
    }
}

fn slides(node: &Node<'_>, input: &[usize], kernel: &[usize]) -> Option<Vec<Slide>> {
    let padded = node.attributes.text("auto_pad");
    if padded.is_some_and(|kind| !matches!(kind, "" | "NOTSET" | "VALID")) {
        return None;
    }
    let rank = input.len();
    let list = |name: &str, default: i64, count: usize| {
        let given = node.attributes.ints(name);
        let given = given.unwrap_or_else(|| vec![default; count]);
        let sizes: Option<Vec<usize>> = given.into_iter().map(|n| n.try_into().ok()).collect();
        sizes.filter(|sizes| sizes.len() == count)
    };
    let strides = list("strides", 1, rank)?;
    let dilations = list("dilations", 1, rank)?;
    let pads = list("pads", 0, 2 * rank)?;
    let (before, after) = pads.split_at(rank);
    let mut found = Vec::with_capacity(rank);
    for at in 0..rank {
        let (input, kernel) = (*input.get(at)?, *kernel.get(at)?);
        let (stride, dilation) = (*strides.get(at)?, *dilations.get(at)?);
        let (before, after) = (*before.get(at)?, *after.get(at)?);
        let window = kernel
            .checked_sub(1)?
            .checked_mul(dilation)?
            .checked_add(1)?;
        let room = input.checked_add(before)?.checked_add(after)?;
        let output = room
            .checked_sub(window)?
            .checked_div(stride)?
            .checked_add(1)?;
        found.push(Slide {
            input,
            output,
            kernel,
            stride,
            dilation,
            before,
        });
    }
    Some(found)
}

/// `Conv` in any number of dimensions. The bound is that of a sum of products, so it holds for kernels that add
/// products up, and not for those that transform them first (Winograd, Fourier).
pub(super) fn conv(node: &Node<'_>) -> Option<Bounded> {
    let (x, w) = (node.input(0)?, node.input(1)?);
    let ([batch, channels, input @ ..], [filters, depth, kernel @ ..]) = (&x.dims[..], &w.dims[..])
    else {
        return None;
    };
    if input.len() != kernel.len() {
        return None;
    }
    let group = usize::try_from(node.attributes.int("group", 1)).ok()?;
    let slides = slides(node, input, kernel)?;
    if group == 0 || depth.checked_mul(group)? != *channels || filters % group != 0 {
        return None;
    }
    let size: Vec<usize> = slides.iter().map(|slide| slide.output).collect();
    let (spots, taps) = (elements(&size)?, elements(kernel)?);
    bounded_work(&[*batch, *filters, spots, *depth, taps])?;
    // For each spot of the output and each tap of the kernel, where in the input it is.
    let area = elements(input)?;
    let places = sliding(&slides, spots, taps)?;
    let mut shape = vec![*batch, *filters];
    shape.extend(size);
    let per_group = filters / group;
    let (mut value, mut sizes) = (Vec::new(), Vec::new());
    for (item, filter) in (0..*batch).flat_map(|item| (0..*filters).map(move |f| (item, f))) {
        let first = filter / per_group * depth;
        let bias = node.input(2).map_or(0.0, |bias| bias.at(filter));
        for spot in places.chunks(taps.max(1)) {
            let (mut sum, mut magnitude) = (bias, bias.abs());
            for channel in 0..*depth {
                let from = (item * channels + first + channel) * area;
                let weights = (filter * depth + channel) * taps;
                for (place, tap) in spot.iter().zip(0..) {
                    if let Some(place) = place {
                        let product = x.at(from + place) * w.at(weights + tap);
                        sum += product;
                        magnitude += product.abs();
                    }
                }
            }
            value.push(sum);
            sizes.push(magnitude);
        }
    }
    Some(Bounded {
        bound: bounds(depth * taps + 1, &sizes),
        value: Array::new(shape, value)?,
    })
}

fn sliding(slides: &[Slide], spots: usize, taps: usize) -> Option<Vec<Option<usize>>> {
    elements(&[spots, taps])?;
    let mut found = Vec::with_capacity(spots * taps);
    for spot in 0..spots {
        for tap in 0..taps {
            let (mut spot, mut tap) = (spot, tap);
            let (mut place, mut step) = (Some(0_usize), 1_usize);
            for slide in slides.iter().rev() {
                let here = slide.place(spot % slide.output, tap % slide.kernel);
                place = place.zip(here).map(|(place, here)| place + here * step);
                step *= slide.input;
                spot /= slide.output;
                tap /= slide.kernel;
            }
            found.push(place);
        }
    }
    Some(found)
}
