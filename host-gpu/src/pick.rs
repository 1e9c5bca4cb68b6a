//! Choosing tokens: the largest values of a row of logits, and a draw among them.
//!
//! The choice must be the same on every replica, so nothing here depends on a mathematics library of
//! the machine: `exp` is the portable one, sums run in one order, and ties go to the lower index.

use crate::error::{FaultCode, GuestFault, NnError};
use crate::tensor::plain::values_of;
use crate::tensor::{ElementType, TensorValue};
use half::{bf16, f16};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// The most rows that one call may name.
pub(crate) const ROWS_MAX: usize = 4096;
/// The most values of one row that `top-k` gives and `sample` draws from.
pub const TOP_K_MAX: u32 = 1024;
/// The most values that one call looks through, all named rows together: work for which a guest pays
/// next to no fuel.
pub(crate) const ELEMENTS_MAX: u64 = 1 << 25;
/// Values that are looked through between two points at which the executor may look at its clock.
pub(crate) const ELEMENTS_AT_ONCE: u32 = 1 << 20;
/// The most values that one `top-k` gives, all rows together.
pub(crate) const PICKS_MAX: usize = 1 << 18;

/// An index within its row, and the value there.
pub type Pick = (u32, f32);

/// What `sample` draws from; see the interface's `sampling`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits: above 0, finite.
    pub temperature: f32,
    /// Values that take part, 1 to [`TOP_K_MAX`].
    pub top_k: u32,
    /// The probability they need together, above 0 and at most 1.
    pub top_p: f32,
}

impl Sampling {
    /// Refuses what nothing can be drawn from, by name.
    pub(crate) fn check(&self) -> Result<(), GuestFault> {
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            let text = format!(
                "the temperature is {}, it must be finite and above 0",
                self.temperature
            );
            return Err(GuestFault::invalid(text));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            let text = format!("top-p is {}, it must be above 0 and at most 1", self.top_p);
            return Err(GuestFault::invalid(text));
        }
        Ok(())
    }
}

/// The rows that a call is about, checked against the tensor, and the length of each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub(crate) wanted: Vec<u32>,
    pub(crate) len: u32,
}

impl Rows {
    /// `rows` of the tensor; all of them if none is named.
    pub(crate) fn of(value: &TensorValue, rows: &[u32]) -> Result<Self, GuestFault> {
        let Some((len, outer)) = value.dims().split_last() else {
            return Err(GuestFault::invalid("a tensor of rank 0 has no rows"));
        };
        let mut count = 1_u64;
        for dim in outer {
            count = count.saturating_mul(u64::from(*dim));
        }
        let named = if rows.is_empty() {
            count
        } else {
            rows.len() as u64
        };
        if named > ROWS_MAX as u64 {
            return Err(GuestFault::too_large("the number of rows", named, ROWS_MAX));
        }
        if let Some(beyond) = rows.iter().find(|row| u64::from(**row) >= count) {
            let text = format!("there is no row {beyond}, the tensor has {count}");
            return Err(GuestFault::invalid(text));
        }
        let elements = named.saturating_mul(u64::from(*len));
        if elements > ELEMENTS_MAX {
            let what = "the number of values in the rows";
            return Err(GuestFault::too_large(what, elements, ELEMENTS_MAX));
        }
        let mut once = BTreeSet::new();
        if let Some(twice) = rows.iter().find(|row| !once.insert(**row)) {
            return Err(GuestFault::invalid(format!("row {twice} is named twice")));
        }
        if *len == 0 {
            return Err(GuestFault::invalid("the rows are empty"));
        }
        let wanted = match rows {
            // At most `ROWS_MAX`, as just checked.
            [] => (0..u32::try_from(count).unwrap_or(0)).collect(),
            rows => rows.to_vec(),
        };
        Ok(Self { wanted, len: *len })
    }

    /// Refuses a `count` that no row could give.
    pub(crate) fn check_count(&self, count: u32) -> Result<(), GuestFault> {
        if count == 0 || count > TOP_K_MAX {
            let text = format!("top-k is {count}, it must be 1 to {TOP_K_MAX}");
            return Err(GuestFault::invalid(text));
        }
        let picks = self.wanted.len().saturating_mul(count as usize);
        if picks > PICKS_MAX {
            return Err(GuestFault::too_large(
                "the number of values asked for",
                picks,
                PICKS_MAX,
            ));
        }
        Ok(())
    }
}

/// The `count` largest values of each row, largest first; fewer where a row is shorter.
pub(crate) fn top_k(
    value: &TensorValue,
    rows: &Rows,
    count: u32,
) -> Result<Vec<Vec<Pick>>, NnError> {
    if let Some(found) = value.top_k_on_device(rows, count)? {
        return Ok(found);
    }
    let bytes = value.host_bytes()?;
    let each = |row: &u32| match value.ty() {
        ElementType::F32 => largest::<f32>(bytes, *row, rows.len, count),
        ElementType::F16 => largest::<f16>(bytes, *row, rows.len, count),
        ElementType::Bf16 => largest::<bf16>(bytes, *row, rows.len, count),
        ty => Err(NnError::Guest(wrong_type(ty))),
    };
    rows.wanted.iter().map(each).collect()
}

/// What a guest is told whose tensor holds no logits.
pub(crate) fn wrong_type(ty: ElementType) -> GuestFault {
    GuestFault::invalid(format!("rows of {ty} hold no logits; f32, f16 and bf16 do"))
}

fn largest<T>(bytes: &[u8], row: u32, len: u32, count: u32) -> Result<Vec<Pick>, NnError>
where
    T: crate::tensor::plain::Plain + Into<f32>,
{
    let misplaced = || NnError::Backend("a row is not where it should be".to_owned());
    let values = values_of::<T>(bytes).ok_or_else(misplaced)?;
    let start = (row as usize).saturating_mul(len as usize);
    let values = values
        .get(start..start.saturating_add(len as usize))
        .ok_or_else(misplaced)?;
    let picks = values
        .iter()
        .zip(0_u32..)
        .map(|(value, at)| (at, (*value).into()));
    let found = match count {
        1 => picks.reduce(|best, next| if beats(next, best) { next } else { best }),
        _ => return check_order(select(picks, count as usize), row),
    };
    check_order(found.into_iter().collect(), row)
}

/// Whether `one` comes before `other`: larger, or equal and earlier. NaN comes first of all, so that
/// it cannot hide.
fn beats(one: Pick, other: Pick) -> bool {
    order(&one, &other) == Ordering::Less
}

fn order(one: &Pick, other: &Pick) -> Ordering {
    let by_value = match other.1.partial_cmp(&one.1) {
        Some(order) => order,
        None => other.1.is_nan().cmp(&one.1.is_nan()),
    };
    by_value.then(one.0.cmp(&other.0))
}

/// The first `count` in order, of which twice as many are held at most.
fn select(picks: impl Iterator<Item = Pick>, count: usize) -> Vec<Pick> {
    let room = count.saturating_mul(2);
    let mut held: Vec<Pick> = Vec::new();
    // What comes after this one is not among the first.
    let mut last: Option<Pick> = None;
    for pick in picks {
        if last.is_some_and(|last| !beats(pick, last)) {
            continue;
        }
        held.push(pick);
        if held.len() >= room {
            held.select_nth_unstable_by(count.saturating_sub(1), order);
            held.truncate(count);
            last = held.last().copied();
        }
    }
    held.sort_unstable_by(order);
    held.truncate(count);
    held
}

/// Refuses a row whose largest value is no number: whatever were chosen from it would mean nothing.
pub(crate) fn check_order(picks: Vec<Pick>, row: u32) -> Result<Vec<Pick>, NnError> {
    match picks.first() {
        Some((at, value)) if !value.is_finite() => {
            let text = format!("row {row} has {value} at {at}: nothing can be chosen from it");
            Err(GuestFault::new(FaultCode::RuntimeError, &text).into())
        }
        _ => Ok(picks),
    }
}

/// The index that `draw` falls on, among picks in descending order.
pub(crate) fn draw(picks: &[Pick], how: &Sampling, draw: u64) -> u32 {
    let Some((first, largest)) = picks.first() else {
        return 0;
    };
    let temperature = f64::from(how.temperature);
    let weights: Vec<f64> = picks
        .iter()
        .map(|(_, value)| libm::exp((f64::from(*value) - f64::from(*largest)) / temperature))
        .collect();
    let wanted = weights.iter().sum::<f64>() * f64::from(how.top_p);
    let mut kept = 0.0;
    let mut nucleus = 0;
    for weight in &weights {
        kept += weight;
        nucleus += 1;
        if kept >= wanted {
            break;
        }
    }
    // 53 bits are all that a double keeps of a number below one.
    let target = (draw >> 11) as f64 / (1_u64 << 53) as f64 * kept;
    let mut passed = 0.0;
    for ((at, _), weight) in picks.iter().zip(&weights).take(nucleus) {
        passed += weight;
        if target < passed {
            return *at;
        }
    }
    *first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(dims: &[u32], values: &[f32]) -> TensorValue {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        TensorValue::from_bytes(ElementType::F32, dims, &bytes).unwrap()
    }

    fn pick(value: &TensorValue, rows: &[u32], count: u32) -> Result<Vec<Vec<Pick>>, String> {
        value.top_k(rows, count).map_err(|error| error.to_string())
    }

    #[test]
    fn the_largest_come_first_and_of_equal_ones_the_first() {
        let value = logits(
            &[1, 2, 4],
            &[1.0, 3.0, 3.0, -1.0, -5.0, f32::NEG_INFINITY, -4.0, -4.0],
        );
        for (rows, count, expected) in [
            (&[][..], 1, vec![vec![(1, 3.0)], vec![(2, -4.0)]]),
            (&[0], 2, vec![vec![(1, 3.0), (2, 3.0)]]),
            (
                &[1, 0],
                3,
                vec![
                    vec![(2, -4.0), (3, -4.0), (0, -5.0)],
                    vec![(1, 3.0), (2, 3.0), (0, 1.0)],
                ],
            ),
            (&[0], 9, vec![vec![(1, 3.0), (2, 3.0), (0, 1.0), (3, -1.0)]]),
        ] {
            assert_eq!(
                pick(&value, rows, count).unwrap(),
                expected,
                "{rows:?} {count}"
            );
        }
    }

    #[test]
    fn a_few_of_many_are_what_sorting_all_would_give() {
        // A walk through the values in an order that has no pattern, each of them twice.
        let values: Vec<f32> = (0..4000_u32)
            .map(|i| ((i * 7919) % 2000) as f32 - 1000.0)
            .collect();
        let mut sorted: Vec<Pick> = values
            .iter()
            .copied()
            .zip(0..)
            .map(|(v, i)| (i, v))
            .collect();
        sorted.sort_by(order);
        let value = logits(&[4000], &values);
        for count in [2, 3, 17, 1000, 1024] {
            let found = pick(&value, &[], count).unwrap();
            assert_eq!(found[0], sorted[..count as usize], "{count}");
        }
    }

    #[test]
    fn half_floats_are_chosen_from_alike() {
        let values = [0.5_f32, 2.0, -1.0];
        let f16s: Vec<u8> = values
            .iter()
            .flat_map(|v| f16::from_f32(*v).to_le_bytes())
            .collect();
        let bf16s: Vec<u8> = values
            .iter()
            .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
            .collect();
        for (ty, bytes) in [(ElementType::F16, f16s), (ElementType::Bf16, bf16s)] {
            let value = TensorValue::from_bytes(ty, &[3], &bytes).unwrap();
            assert_eq!(
                pick(&value, &[], 2).unwrap(),
                [[(1, 2.0), (0, 0.5)]],
                "{ty}"
            );
        }
    }

    #[test]
    fn what_cannot_be_chosen_from_is_named() {
        let two = logits(&[2, 2], &[1.0, 2.0, 3.0, f32::NAN]);
        let wide = logits(&[5000, 1], &[0.0; 5000]);
        let ints = TensorValue::from_bytes(ElementType::I32, &[1], &[0; 4]).unwrap();
        for (value, rows, count, words) in [
            (&two, &[2][..], 1, "there is no row 2, the tensor has 2"),
            (&two, &[1], 1, "row 1 has NaN at 1"),
            (&two, &[1], 2, "row 1 has NaN at 1"),
            (&two, &[0], 0, "top-k is 0, it must be 1 to 1024"),
            (&two, &[0], 1025, "top-k is 1025"),
            (
                &wide,
                &[],
                1,
                "the number of rows is 5000, the bound is 4096",
            ),
            (&two, &[1, 0, 1], 1, "row 1 is named twice"),
            (
                &logits(&[4096, 1], &[0.0; 4096]),
                &[],
                1024,
                "values asked for is 4194304, the bound is 262144",
            ),
            (
                &TensorValue::from_bytes(ElementType::F16, &[(1 << 25) + 1], &vec![0; 2 << 25 | 2])
                    .unwrap(),
                &[],
                1,
                "values in the rows is 33554433, the bound is 33554432",
            ),
            (&logits(&[], &[1.0]), &[], 1, "rank 0"),
            (&logits(&[3, 0], &[]), &[], 1, "the rows are empty"),
            (&ints, &[], 1, "rows of i32 hold no logits"),
        ] {
            let error = pick(value, rows, count).unwrap_err();
            assert!(error.contains(words), "{error:?} does not say {words:?}");
        }
        for (how, words) in [
            ((0.0, 1.0), "the temperature is 0,"),
            ((f32::INFINITY, 1.0), "the temperature is inf,"),
            ((f32::NAN, 1.0), "the temperature is NaN,"),
            ((1.0, 0.0), "top-p is 0,"),
            ((1.0, 1.5), "top-p is 1.5,"),
        ] {
            let sampling = Sampling {
                temperature: how.0,
                top_k: 1,
                top_p: how.1,
            };
            let fault = sampling.check().unwrap_err();
            assert!(fault.text().contains(words), "{fault}");
        }
    }

    #[test]
    fn a_draw_follows_the_probabilities_and_only_the_draw() {
        // Probabilities 1/2, 1/4, 1/8, 1/8.
        let ln2 = std::f32::consts::LN_2;
        let picks = [(7, 0.0), (3, -ln2), (9, -2.0 * ln2), (1, -2.0 * ln2)];
        let how = |top_p| Sampling {
            temperature: 1.0,
            top_k: 4,
            top_p,
        };
        let at = |part: f64| (part * 2.0_f64.powi(64)) as u64;
        for (top_p, part, expected) in [
            (1.0, 0.0, 7),
            (1.0, 0.49, 7),
            (1.0, 0.51, 3),
            (1.0, 0.76, 9),
            (1.0, 0.88, 1),
            (1.0, 1.0, 1),
            // Of the first two alone: 2/3 and 1/3.
            (0.7, 0.66, 7),
            (0.7, 0.67, 3),
            (0.1, 0.99, 7),
        ] {
            assert_eq!(
                draw(&picks, &how(top_p), at(part)),
                expected,
                "{top_p} {part}"
            );
        }
        let cold = Sampling {
            temperature: 1e-30,
            ..how(1.0)
        };
        assert_eq!(draw(&picks, &cold, u64::MAX), 7);
        let hot = Sampling {
            temperature: f32::MAX,
            ..how(1.0)
        };
        assert_eq!(draw(&picks, &hot, at(0.26)), 3);
    }
}
