//! Rows of inputs together and rows of outputs apart.

use host_gpu::TensorValue;

use super::{BATCH_MAX, Sample, SampleTensor};

/// Samples that share a run.
#[derive(Debug, PartialEq)]
pub(super) struct Batch {
    /// Which samples the first rows are. Rows beyond repeat them.
    pub(super) rows: Vec<usize>,
    /// Rows in all.
    pub(super) width: u32,
    /// The inputs.
    pub(super) tensors: Vec<SampleTensor>,
}

/// Puts samples of one shape together, `width` at a time; the last ones of a shape are repeated until
/// the batch is full. `free` tells whether an input's first dimension may be any.
pub(super) fn stack(
    samples: &[Sample],
    width: u32,
    free: impl Fn(&str) -> bool,
) -> Result<Vec<Batch>, String> {
    if width == 0 || width > BATCH_MAX {
        return Err(format!(
            "a batch of {width} rows, there must be 1 to {BATCH_MAX}"
        ));
    }
    if width == 1 {
        let alone = samples.iter().zip(0..).map(|(sample, at)| Batch {
            rows: vec![at],
            width,
            tensors: sample.clone(),
        });
        return Ok(alone.collect());
    }
    let mut groups: Vec<Vec<(usize, &Sample)>> = Vec::new();
    for (sample, at) in samples.iter().zip(0..) {
        let stacks = |tensor: &SampleTensor| free(&tensor.name) && tensor.dims.first() == Some(&1);
        if !sample.iter().any(stacks) {
            return Err(
                "no input has a free first dimension, of which a sample has one row".to_owned(),
            );
        }
        let fits = |group: &&mut Vec<(usize, &Sample)>| {
            group
                .first()
                .is_some_and(|(_, first)| alike(first, sample, stacks))
        };
        match groups.iter_mut().find(fits) {
            Some(group) => group.push((at, sample)),
            None => groups.push(vec![(at, sample)]),
        }
    }
    let mut batches = Vec::new();
    for group in groups {
        for part in group.chunks(width as usize) {
            let rows: Vec<&Sample> = part.iter().map(|(_, sample)| *sample).collect();
            let full: Vec<&Sample> = rows.iter().copied().cycle().take(width as usize).collect();
            batches.push(Batch {
                rows: part.iter().map(|(at, _)| *at).collect(),
                width,
                tensors: together(&full, &free),
            });
        }
    }
    Ok(batches)
}

/// Whether two samples may share a batch: one shape, and equal where they are not stacked.
fn alike(one: &Sample, other: &Sample, stacks: impl Fn(&SampleTensor) -> bool) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(a, b)| {
            a.name == b.name
                && a.ty == b.ty
                && a.dims == b.dims
                && (stacks(a) || a.bytes == b.bytes)
        })
}

fn together(rows: &[&Sample], free: impl Fn(&str) -> bool) -> Vec<SampleTensor> {
    let Some(first) = rows.first() else {
        return Vec::new();
    };
    let stacked = first.iter().zip(0_usize..).map(|(tensor, at)| {
        if !free(&tensor.name) || tensor.dims.first() != Some(&1) {
            return tensor.clone();
        }
        let mut dims = tensor.dims.clone();
        if let Some(first) = dims.first_mut() {
            *first = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        }
        let bytes = rows.iter().filter_map(|row| row.get(at));
        SampleTensor {
            name: tensor.name.clone(),
            ty: tensor.ty.clone(),
            dims,
            bytes: bytes
                .flat_map(|tensor| tensor.bytes.iter().copied())
                .collect(),
        }
    });
    stacked.collect()
}

/// The rows of an output, each whole or, of positions, the last.
pub(super) fn split(
    value: &TensorValue,
    width: u32,
    last_position: bool,
) -> Result<Vec<Vec<u8>>, String> {
    let (dims, bytes) = (value.dims(), value.host_bytes());
    let bytes = bytes.map_err(|error| error.to_string())?;
    let rows = match (dims, width) {
        ([rows, rest @ ..], _) if *rows == width => Some(rest),
        // One row, of which the model makes no dimension.
        (rest, 1) => Some(rest),
        _ => None,
    };
    let rest = rows.ok_or_else(|| {
        format!("the output has dimensions {dims:?} for a batch of {width}: its rows are not known")
    })?;
    let row = bytes.len() / (width as usize).max(1);
    let kept = match (last_position, rest) {
        (false, _) => row,
        (true, [positions, _]) => row / (*positions as usize).max(1),
        (true, rest) => {
            return Err(format!(
                "the output has dimensions {rest:?} for each sample: no positions, of which there \
                 would be a last"
            ));
        }
    };
    if kept == 0 {
        return Err(format!("the output has dimensions {dims:?}: it is empty"));
    }
    let rows = bytes.chunks_exact(row.max(1));
    let rows = rows.map(|row| row.get(row.len() - kept..).unwrap_or_default().to_vec());
    Ok(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_gpu::ElementType;

    fn sample(name: &str, dims: &[u32], bytes: &[u8]) -> Sample {
        vec![SampleTensor {
            name: name.into(),
            ty: "u8".into(),
            dims: dims.to_vec(),
            bytes: bytes.to_vec(),
        }]
    }

    #[test]
    fn samples_of_one_shape_share_a_batch_and_the_last_is_filled_up() {
        let samples = [
            sample("x", &[1, 2], &[1, 2]),
            sample("x", &[1, 1], &[9]),
            sample("x", &[1, 2], &[3, 4]),
            sample("x", &[1, 2], &[5, 6]),
        ];
        let batches = stack(&samples, 2, |_| true).unwrap();
        let seen: Vec<_> = batches
            .iter()
            .map(|batch| (batch.rows.clone(), batch.tensors[0].bytes.clone()))
            .collect();
        assert_eq!(
            seen,
            [
                (vec![0, 2], vec![1, 2, 3, 4]),
                (vec![3], vec![5, 6, 5, 6]),
                (vec![1], vec![9, 9]),
            ]
        );
        assert_eq!(batches[0].tensors[0].dims, [2, 2]);
        assert_eq!(stack(&samples, 1, |_| false).unwrap().len(), 4);
        assert!(
            stack(&samples, 2, |_| false)
                .unwrap_err()
                .contains("free first dimension")
        );
        for width in [0, BATCH_MAX + 1] {
            assert!(stack(&samples, width, |_| true).is_err());
        }
    }

    #[test]
    fn what_is_not_stacked_must_be_equal() {
        let with = |rate: u8| {
            let mut sample = sample("x", &[1], &[rate]);
            sample.push(SampleTensor {
                name: "rate".into(),
                ty: "u8".into(),
                dims: vec![],
                bytes: vec![rate],
            });
            sample
        };
        let count = |samples: &[Sample]| stack(samples, 2, |name| name == "x").unwrap().len();
        assert_eq!(count(&[with(1), with(1)]), 1);
        assert_eq!(count(&[with(1), with(2)]), 2);
    }

    #[test]
    fn rows_come_apart_whole_or_their_last_position() {
        let tensor = |dims: &[u32]| {
            let count: u32 = dims.iter().product();
            let bytes: Vec<u8> = (0..count as u8).collect();
            TensorValue::from_bytes(ElementType::U8, dims, &bytes).unwrap()
        };
        for (dims, width, last, expected) in [
            (
                &[2, 2, 2][..],
                2,
                false,
                Ok(vec![vec![0, 1, 2, 3], vec![4, 5, 6, 7]]),
            ),
            (&[2, 2, 2], 2, true, Ok(vec![vec![2, 3], vec![6, 7]])),
            (&[1, 3], 1, false, Ok(vec![vec![0, 1, 2]])),
            (&[3], 1, false, Ok(vec![vec![0, 1, 2]])),
            (&[1, 3], 1, true, Err("no positions")),
            (&[3, 2], 2, false, Err("its rows are not known")),
            (&[1, 0], 1, false, Err("it is empty")),
        ] {
            let found = split(&tensor(dims), width, last);
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{dims:?}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                (found, expected) => panic!("{dims:?}: {found:?}, expected {expected:?}"),
            }
        }
    }
}
