//! Which token comes next: the likeliest, or one drawn by its probability. The host chooses, where the logits are; only
//! the tokens come into the guest.

use assay::{Error, Resident, Sampling};

use crate::row::Row;

/// The next token of every row that goes on, with the row's index. The logits are those of so many columns of each row,
/// and the last column counts.
pub(crate) fn next(
    logits: &Resident,
    columns: usize,
    rows: &mut [Row],
) -> Result<Vec<(usize, u32)>, Error> {
    let mut chosen = Vec::with_capacity(rows.len());
    for (sampling, indices) in groups(rows) {
        let last = |index: &usize| {
            let row = index.saturating_add(1).saturating_mul(columns);
            u32::try_from(row.saturating_sub(1)).unwrap_or(u32::MAX)
        };
        let wanted: Vec<u32> = indices.iter().map(last).collect();
        let tokens = match sampling {
            None => logits.argmax(&wanted)?,
            Some(how) => {
                let draw = |index: &usize| rows.get_mut(*index).map(|row| row.draws.next());
                let draws: Vec<u64> = indices.iter().filter_map(draw).collect();
                logits.sample(&wanted, how, &draws)?
            }
        };
        chosen.extend(indices.into_iter().zip(tokens));
    }
    Ok(chosen)
}

/// Rows that go on, by how their tokens are chosen: a group is one call of the host.
fn groups(rows: &[Row]) -> Vec<(Option<Sampling>, Vec<usize>)> {
    let mut groups: Vec<(Option<Sampling>, Vec<usize>)> = Vec::new();
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.is_open()) {
        match groups.iter_mut().find(|(how, _)| *how == row.sampling) {
            Some((_, members)) => members.push(index),
            None => groups.push((row.sampling, vec![index])),
        }
    }
    groups
}

/// A row's own random numbers (SplitMix64, by Steele, Lea and Flood).
#[derive(Debug, Clone)]
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::{Draws, groups};
    use crate::row::tests::row;
    use crate::vocabulary::Vocabulary;

    #[test]
    fn rows_that_go_on_are_asked_for_together_if_they_choose_alike() {
        let warm = r#"{"prompt":"x","temperature":0.5}"#;
        let mut rows: Vec<_> = [
            "x",
            warm,
            "y",
            r#"{"prompt":"x","temperature":1}"#,
            warm,
            "z",
        ]
        .map(|item| row(item).unwrap())
        .into();
        let indices = |rows: &[_]| -> Vec<Vec<usize>> {
            groups(rows)
                .into_iter()
                .map(|(_, members)| members)
                .collect()
        };
        assert_eq!(indices(&rows), [vec![0, 2, 5], vec![1, 4], vec![3]]);
        for ended in [2, 3] {
            rows[ended].most = 1;
            rows[ended].push(7, &Vocabulary::Bytes).unwrap();
        }
        assert_eq!(indices(&rows), [vec![0, 5], vec![1, 4]]);
        let hows: Vec<_> = groups(&rows).into_iter().map(|(how, _)| how).collect();
        assert_eq!(
            (hows[0], hows[1].map(|how| how.temperature)),
            (None, Some(0.5))
        );
    }

    #[test]
    fn draws_are_those_of_splitmix64() {
        let mut draws = Draws(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| draws.next()).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }
}
