//! What a provider that saves effort would make of a model, made from the model itself: weights of
//! fewer bits, a layer that does nothing.
//!
//! An edit changes numbers in place and no length, so that what it yields is the same graph with other
//! constants. Weights of fewer bits are written back at their old width (a round trip), which is what
//! arithmetic on them would see.

use std::collections::BTreeMap;
use std::ops::Range;

use half::{bf16, f16};

use super::network::{DeclaredInput, Found, Network, Node, types};
use crate::backend::shown;

/// Weights that share a scale in [`ModelEdit::Int4Weights`].
const GROUP: usize = 32;
/// Nodes between a weighted node and the addition that closes its block.
const CLOSING_STEPS_MAX: usize = 6;
/// The largest half-precision number.
const F16_MAX: f32 = 65_504.0;

/// A change to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ModelEdit {
    /// Weights of matrix products and convolutions take a round trip through eight bits, with one scale
    /// for each output channel, symmetric.
    Int8Weights,
    /// All stored single-precision numbers take a round trip through half precision.
    Fp16Weights,
    /// Weights of matrix products and convolutions take a round trip through four bits, with a scale
    /// for each group of 32.
    Int4Weights,
    /// The output projection of a block in the middle is zero.
    SkippedLayer,
}

/// One tensor to be changed.
struct Target {
    name: String,
    place: Range<usize>,
    ty: u64,
    dims: Vec<usize>,
    /// The axis of output channels.
    axis: usize,
    /// The byte that stands for zero in a tensor of bytes.
    zero: Option<u8>,
}

/// Changes a model in place; says what was done.
///
/// # Errors
/// Why the model cannot be changed like this, or would not change.
pub fn edit_model(model: &mut [u8], edit: ModelEdit) -> Result<String, String> {
    let network = Network::read(model)?;
    let (mut what, targets) = match edit {
        ModelEdit::Fp16Weights => (String::new(), floats(&network)),
        ModelEdit::Int8Weights | ModelEdit::Int4Weights => (String::new(), weights(&network)?),
        ModelEdit::SkippedLayer => skipped(&network)?,
    };
    drop(network);
    let (mut elements, mut changed) = (0_usize, 0_usize);
    let tensors = targets.len();
    for target in targets {
        let bytes = model
            .get_mut(target.place.clone())
            .ok_or("a tensor lies outside of the file")?;
        let before = bytes.to_vec();
        apply(edit, &target, bytes)?;
        let size = width(target.ty).unwrap_or(1);
        let differ = before.chunks(size).zip(bytes.chunks(size));
        changed += differ.filter(|(a, b)| a != b).count();
        elements += bytes.len() / size;
    }
    if changed == 0 {
        return Err(format!("none of its {elements} weights would change"));
    }
    if !what.is_empty() {
        what.push_str("; ");
    }
    Ok(format!(
        "{what}{changed} of {elements} numbers in {tensors} tensors changed"
    ))
}

/// What a model says of its inputs.
///
/// # Errors
/// Why the model is refused.
pub fn declared_inputs(model: &[u8]) -> Result<Vec<DeclaredInput>, String> {
    Network::read(model)?.declared()
}

fn width(ty: u64) -> Option<usize> {
    match ty {
        types::F32 => Some(4),
        types::F16 | types::BF16 => Some(2),
        types::I8 | types::U8 => Some(1),
        _ => None,
    }
}

/// All stored floats that are more than a lone constant.
fn floats(network: &Network<'_>) -> Vec<Target> {
    let wide = network.stored().filter_map(|(name, stored)| {
        let place = stored.place.clone()?;
        let fits = stored.ty == types::F32 && stored.elements() > 1;
        fits.then(|| Target {
            name: name.to_owned(),
            place,
            ty: stored.ty,
            dims: stored.dims.clone(),
            axis: 0,
            zero: None,
        })
    });
    wide.collect()
}

/// The stored weights of matrix products and convolutions, each once.
fn weights(network: &Network<'_>) -> Result<Vec<Target>, String> {
    let mut targets = BTreeMap::new();
    let mut elsewhere = 0_usize;
    for node in &network.nodes {
        for (found, axis) in weights_of(network, node) {
            match target(network, found, axis) {
                Some(target) => drop(targets.entry(target.place.start).or_insert(target)),
                None => elsewhere += 1,
            }
        }
    }
    if targets.is_empty() {
        return Err(format!(
            "it has no weights of matrix products or convolutions that can be changed in place \
             ({elsewhere} are stored in another form)"
        ));
    }
    Ok(targets.into_values().collect())
}

/// The stored weights that a node reads, with the axis of their output channels.
fn weights_of<'n, 'a>(network: &'n Network<'a>, node: &Node<'a>) -> Vec<(Found<'n, 'a>, usize)> {
    // Position of a weight, axis of its channels counted from the end, position of a zero point.
    let places: &[(usize, Axis, Option<usize>)] = match node.op {
        "MatMul" | "FusedMatMul" => &[(1, Axis::Last, None), (0, Axis::BeforeLast, None)],
        "Gemm" if node.transposed => &[(1, Axis::First, None)],
        "Gemm" | "Attention" => &[(1, Axis::Last, None)],
        "Conv" => &[(1, Axis::First, None)],
        "ConvTranspose" => &[(1, Axis::Second, None)],
        "LSTM" | "GRU" | "RNN" => &[(1, Axis::Second, None), (2, Axis::Second, None)],
        "MatMulInteger" | "DynamicQuantizeMatMul" => &[(1, Axis::Last, Some(3))],
        "ConvInteger" => &[(1, Axis::First, Some(3))],
        "MatMulIntegerToFloat" => &[(1, Axis::Last, Some(5))],
        "QLinearMatMul" => &[(3, Axis::Last, Some(5))],
        "QLinearConv" => &[(3, Axis::First, Some(5))],
        _ => &[],
    };
    let found = places.iter().filter_map(|(at, axis, zero)| {
        let mut found = network.behind(node.input(*at)?)?;
        if let Some(zero) = zero {
            found.zero_point = node.input(*zero);
        }
        let rank = found.stored.dims.len();
        if rank < 2 {
            return None;
        }
        let axis = axis.of(rank);
        let axis = if found.transposed {
            1 - axis.min(1)
        } else {
            axis
        };
        Some((found, axis))
    });
    found.collect()
}

#[derive(Debug, Clone, Copy)]
enum Axis {
    First,
    Second,
    BeforeLast,
    Last,
}

impl Axis {
    fn of(self, rank: usize) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
            Self::BeforeLast => rank.saturating_sub(2),
            Self::Last => rank.saturating_sub(1),
        }
    }
}

fn target(network: &Network<'_>, found: Found<'_, '_>, axis: usize) -> Option<Target> {
    let place = found.stored.place.clone()?;
    width(found.stored.ty)?;
    let zero = match found.zero_point {
        None => Some(0),
        // One for the whole tensor, or this one cannot be zeroed.
        Some(name) => network.zero_byte(name),
    };
    Some(Target {
        name: found.name.to_owned(),
        place,
        ty: found.stored.ty,
        dims: found.stored.dims.clone(),
        axis,
        zero,
    })
}

impl Network<'_> {
    fn zero_byte(&self, name: &str) -> Option<u8> {
        let stored = self.constant(name)?;
        match self.bytes(stored)? {
            [byte] => Some(*byte),
            _ => None,
        }
    }
}

/// The weights, and constants added to what they make, of the block in the middle.
fn skipped(network: &Network<'_>) -> Result<(String, Vec<Target>), String> {
    let mut closing = Vec::new();
    let mut all = Vec::new();
    for (node, at) in network.nodes.iter().zip(1_usize..) {
        let Some((found, axis)) = weights_of(network, node).into_iter().next() else {
            continue;
        };
        let Some(weight) = target(network, found, axis).filter(|target| target.zero.is_some())
        else {
            continue;
        };
        // Exporters leave nodes without names; what they make has one.
        let made = node.outputs.first().copied().unwrap_or_default();
        let name = if node.name.is_empty() {
            made
        } else {
            node.name
        };
        let (name, count) = (shown(name), network.nodes.len());
        let label = format!("{} {name:?} (node {at} of {count})", node.op);
        match biases(network, node) {
            Some(biases) => closing.push((label.clone(), weight, biases)),
            None => all.push((label, weight, Vec::new())),
        }
    }
    let (kind, mut from) = match closing.is_empty() {
        false => ("which closes residual block", closing),
        true => ("on the only way through, weighted node", all),
    };
    let count = from.len();
    if count == 0 {
        return Err("it has no layer whose weights can be zeroed in place".to_owned());
    }
    let middle = count / 2;
    let (label, weight, mut more) = from.swap_remove(middle);
    let what = format!(
        "zeroed {:?} of {label}, {kind} {} of {count}",
        shown(&weight.name),
        middle + 1
    );
    more.push(weight);
    Ok((what, more))
}

/// If what the node makes goes, scaled and shifted by constants at most, into a sum with another value
/// (a residual connection): the constants that are added on the way.
fn biases(network: &Network<'_>, node: &Node<'_>) -> Option<Vec<Target>> {
    let mut added = Vec::new();
    if matches!(node.op, "Gemm" | "Conv") {
        let own = node.input(2).and_then(|name| network.behind(name));
        added.extend(own.and_then(|found| target(network, found, 0)));
    }
    let mut value = *node.outputs.first()?;
    for _ in 0..CLOSING_STEPS_MAX {
        let mut users = network.users(value);
        let (Some(user), None) = (users.next(), users.next()) else {
            return None;
        };
        let other = user.inputs.iter().find(|name| **name != value).copied();
        let constant = other.and_then(|name| network.behind(name));
        match (user.op, constant) {
            ("Cast" | "Identity" | "Dropout", _) => {}
            ("Mul", Some(_)) => {}
            ("Add", Some(found)) => added.extend(target(network, found, 0)),
            // Layer normalisation with the sum in it, as exporters fuse it.
            ("Add" | "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization", None) => {
                return Some(added);
            }
            _ => return None,
        }
        value = user.outputs.first()?;
    }
    None
}

fn apply(edit: ModelEdit, target: &Target, bytes: &mut [u8]) -> Result<(), String> {
    let byte = matches!(target.ty, types::I8 | types::U8);
    match edit {
        ModelEdit::SkippedLayer => bytes.fill(if byte { target.zero.unwrap_or(0) } else { 0 }),
        ModelEdit::Int8Weights if byte => {}
        ModelEdit::Fp16Weights => map(target.ty, bytes, |values| {
            for value in values {
                *value = f16::from_f32(value.clamp(-F16_MAX, F16_MAX)).to_f32();
            }
        })?,
        ModelEdit::Int8Weights => map(target.ty, bytes, |values| {
            by_channel(values, target, usize::MAX, |group| symmetric(group, 127.0));
        })?,
        ModelEdit::Int4Weights if byte => map(target.ty, bytes, |values| {
            by_channel(values, target, GROUP, sixteen_levels);
        })?,
        ModelEdit::Int4Weights => map(target.ty, bytes, |values| {
            by_channel(values, target, GROUP, |group| symmetric(group, 7.0));
        })?,
    }
    Ok(())
}

/// Decodes, changes and encodes.
fn map(ty: u64, bytes: &mut [u8], change: impl FnOnce(&mut Vec<f32>)) -> Result<(), String> {
    let width = width(ty).ok_or("a tensor has a type that cannot be changed")?;
    let read = |chunk: &[u8]| match (ty, chunk) {
        (types::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
        (types::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f32(),
        (types::BF16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f32(),
        (types::I8, &[byte]) => f32::from(byte.cast_signed()),
        (_, &[byte]) => f32::from(byte),
        _ => 0.0,
    };
    let mut values: Vec<f32> = bytes.chunks_exact(width).map(read).collect();
    change(&mut values);
    for (chunk, value) in bytes.chunks_exact_mut(width).zip(values) {
        match ty {
            types::F32 => chunk.copy_from_slice(&value.to_le_bytes()),
            types::F16 => chunk.copy_from_slice(&f16::from_f32(value).to_le_bytes()),
            types::BF16 => chunk.copy_from_slice(&bf16::from_f32(value).to_le_bytes()),
            types::I8 => chunk.fill((value as i8).cast_unsigned()),
            _ => chunk.fill(value as u8),
        }
    }
    Ok(())
}

/// Hands every channel's values to `change`, in groups of at most so many, and takes them back.
fn by_channel(values: &mut [f32], target: &Target, most: usize, change: impl Fn(&mut [f32])) {
    let channels = target.dims.get(target.axis).copied().unwrap_or(1).max(1);
    let after = target.dims.get(target.axis.saturating_add(1)..);
    let inner = after.unwrap_or_default().iter().product::<usize>().max(1);
    let rest = values.len() / channels;
    let most = most.min(rest.max(1));
    let mut group = Vec::with_capacity(most);
    for channel in 0..channels {
        let place = |r: usize| (r / inner * channels + channel) * inner + r % inner;
        for start in (0..rest).step_by(most) {
            let end = rest.min(start + most);
            group.clear();
            group.extend((start..end).map(|r| values.get(place(r)).copied().unwrap_or(0.0)));
            change(&mut group);
            for (r, value) in (start..end).zip(&group) {
                if let Some(to) = values.get_mut(place(r)) {
                    *to = *value;
                }
            }
        }
    }
}

/// Rounds to so many steps on either side of zero.
fn symmetric(group: &mut [f32], steps: f32) {
    let largest = group
        .iter()
        .fold(0.0_f32, |most, value| most.max(value.abs()));
    let scale = largest / steps;
    if scale > 0.0 && scale.is_finite() {
        for value in group {
            *value = (*value / scale).round().clamp(-steps, steps) * scale;
        }
    }
}

/// Rounds whole numbers to sixteen of them between the least and the largest.
fn sixteen_levels(group: &mut [f32]) {
    let least = group.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = group.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let step = (largest - least) / 15.0;
    if step > 0.0 && step.is_finite() {
        for value in group {
            *value = (((*value - least) / step).round() * step + least).round();
        }
    }
}

#[cfg(test)]
mod tests;
