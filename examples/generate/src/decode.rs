//! A batch of rows, written token by token.
//!
//! All rows of a batch are in one tensor, a row each, and move on in step. Short prompts are padded on the left: the new
//! token of every row is then in the same column, so that the caches stay rectangles that the model can lengthen, and
//! the guest hands them from run to run without ever reading them. Padding is masked, and positions count from a row's
//! first token; a masked key gets a weight of exactly 0, so a row's logits are those it would have alone, but for the
//! order in which a matrix product of another size adds up (about 1e-5 in 32-bit floats).
//!
//! A row that has ended stays, and what the model says about it is not looked at: leaving would mean cutting it out of
//! caches that only the host can see. It costs little, as a decoder's time goes into reading its weights, which it does
//! once for all rows.

use std::rc::Rc;

use assay::{Error, Input, Model, Outputs, Resident, Tensor, model};

use crate::choose::{argmax, sample};
use crate::profile::Profile;
use crate::row::Row;
use crate::vocabulary::Vocabulary;

/// Most bytes of all caches of a batch at its longest. A run holds what it was given and what it makes, so twice this;
/// a sandbox has 512 MiB for all tensors.
const CACHE_BYTES_MAX: usize = 192 << 20;

/// Most bytes of the logits of one run. A prompt is read in pieces, as the model has logits for every token of it.
const LOGITS_BYTES_MAX: usize = 16 << 20;

/// What stands where a row has no token. Any token would do: it is masked.
const PADDING: i64 = 0;

/// How many of these rows, from the first, are decoded at once: as many as the bounds allow, and at least one.
pub(crate) fn batch(rows: &[Row], profile: &Profile) -> usize {
    let (mut prompt, mut most) = (0, 0);
    let fitting = rows.iter().zip(1_usize..).take_while(|(row, count)| {
        prompt = prompt.max(row.prompt.len());
        most = most.max(row.most);
        let positions = count.saturating_mul(prompt.saturating_add(most));
        let caches = positions.saturating_mul(profile.position_bytes());
        caches <= CACHE_BYTES_MAX && columns(*count, profile) > 0
    });
    fitting.count().max(1)
}

/// How many tokens of so many rows may be given to one run.
fn columns(rows: usize, profile: &Profile) -> usize {
    let column = rows.saturating_mul(profile.vocabulary * size_of::<f32>());
    LOGITS_BYTES_MAX.checked_div(column).unwrap_or(0)
}

/// Writes every row to its end.
pub(crate) fn run(
    rows: &mut [Row],
    profile: &Profile,
    vocabulary: &Vocabulary,
) -> Result<(), Error> {
    let mut decoder = Decoder::new(rows, profile)?;
    let mut answer = decoder.read(rows)?;
    loop {
        let mut goes_on = false;
        for (row, logits) in rows.iter_mut().zip(answer.last_columns()) {
            if row.is_open() {
                let token = next(row, logits)?;
                goes_on |= row.push(token, vocabulary)?;
            }
        }
        if !goes_on {
            return Ok(());
        }
        let column = rows.iter().map(|row| row.last().map_or(PADDING, i64::from));
        answer = decoder.run(&column.collect::<Vec<i64>>())?;
    }
}

/// The token that follows in a row with these logits.
fn next(row: &mut Row, logits: &[u8]) -> Result<u32, Error> {
    let values = logits
        .chunks_exact(size_of::<f32>())
        .filter_map(|bytes| bytes.try_into().ok().map(f32::from_le_bytes));
    let token = match row.sampling {
        None => argmax(values),
        Some(how) => sample(values, how, row.draws.next()),
    };
    token
        .and_then(|token| u32::try_from(token).ok())
        .ok_or_else(|| Error::Model("no logit is a number".to_owned()))
}

/// A model, and what it remembers of a batch.
struct Decoder<'a> {
    model: Rc<Model>,
    profile: &'a Profile,
    /// Columns before each row's first token.
    padding: Vec<usize>,
    /// Columns the model has read.
    past: usize,
    /// The names of the caches, as input and as output, and the caches themselves once there are any.
    names: Vec<(String, String)>,
    caches: Vec<Resident>,
    /// The cache of nothing.
    empty: Tensor,
}

impl<'a> Decoder<'a> {
    fn new(rows: &[Row], profile: &'a Profile) -> Result<Self, Error> {
        let longest = rows.iter().map(|row| row.prompt.len()).max().unwrap_or(0);
        let padding = rows
            .iter()
            .map(|row| longest.saturating_sub(row.prompt.len()));
        let name = |layer: usize, kind: &str| {
            let past = format!("past_key_values.{layer}.{kind}");
            (past, format!("present.{layer}.{kind}"))
        };
        let names =
            (0..profile.layers).flat_map(|layer| [name(layer, "key"), name(layer, "value")]);
        let dims = [rows.len(), profile.heads, 0, profile.head_width];
        Ok(Self {
            model: model(profile.name)?,
            profile,
            padding: padding.collect(),
            past: 0,
            names: names.collect(),
            caches: Vec::new(),
            empty: Tensor::from_slice::<f32>(&[], &dims)?,
        })
    }

    /// Reads all prompts; returns the logits of the last columns.
    fn read(&mut self, rows: &[Row]) -> Result<Logits, Error> {
        let padded: Vec<Vec<i64>> = rows
            .iter()
            .zip(&self.padding)
            .map(|(row, &padding)| {
                let tokens = row.prompt.iter().map(|&token| i64::from(token));
                std::iter::repeat_n(PADDING, padding)
                    .chain(tokens)
                    .collect()
            })
            .collect();
        let longest = padded.first().map_or(0, Vec::len);
        let step = columns(rows.len(), self.profile).max(1);
        let mut answer = None;
        for from in (0..longest).step_by(step) {
            let to = from.saturating_add(step).min(longest);
            let piece: Vec<i64> = padded
                .iter()
                .flat_map(|row| row.get(from..to).unwrap_or_default())
                .copied()
                .collect();
            answer = Some((self.advance(&piece)?, to.saturating_sub(from)));
        }
        let (outputs, new) = answer.ok_or_else(|| Error::failed("there is no prompt to read"))?;
        self.logits(&outputs, new)
    }

    /// Reads one more token of each row; returns its logits.
    fn run(&mut self, column: &[i64]) -> Result<Logits, Error> {
        let outputs = self.advance(column)?;
        self.logits(&outputs, 1)
    }

    /// Gives the model as many tokens of each row, row by row, and keeps the caches.
    fn advance(&mut self, tokens: &[i64]) -> Result<Outputs, Error> {
        let rows = self.padding.len();
        let new = tokens.len().checked_div(rows).unwrap_or(0);
        let (past, total) = (self.past, self.past.saturating_add(new));
        let (mut mask, mut positions) = (Vec::new(), Vec::new());
        for &padding in &self.padding {
            mask.extend((0..total).map(|column| i64::from(column >= padding)));
            let position = |column: usize| column.saturating_sub(padding) as i64;
            positions.extend((past..total).map(position));
        }
        let tokens = Tensor::from_slice(tokens, &[rows, new])?;
        let mask = Tensor::from_slice(&mask, &[rows, total])?;
        let positions = Tensor::from_slice(&positions, &[rows, new])?;
        let mut inputs = vec![
            ("input_ids", Input::Guest(&tokens)),
            ("attention_mask", Input::Guest(&mask)),
            ("position_ids", Input::Guest(&positions)),
        ];
        let mut caches = std::mem::take(&mut self.caches).into_iter();
        for (name, _) in &self.names {
            let cache = caches.next().map_or(Input::Guest(&self.empty), Input::Host);
            inputs.push((name, cache));
        }
        let mut outputs = self.model.run(inputs)?;
        let kept = self.names.iter().map(|(_, name)| outputs.take(name));
        self.caches = kept.collect::<Result<_, _>>()?;
        self.past = total;
        Ok(outputs)
    }

    /// Copies the logits of a run over so many columns.
    fn logits(&self, outputs: &Outputs, columns: usize) -> Result<Logits, Error> {
        let tensor = outputs.tensor("logits")?;
        let (rows, vocabulary) = (self.padding.len(), self.profile.vocabulary);
        let expected =
            [rows, columns, vocabulary].map(|dim| u32::try_from(dim).unwrap_or(u32::MAX));
        if tensor.dims() != expected || tensor.dtype() != assay::Dtype::F32 {
            return Err(Error::Model(format!(
                "logits are {:?} {:?}, they must be F32 {expected:?}",
                tensor.dtype(),
                tensor.dims()
            )));
        }
        Ok(Logits {
            tensor,
            columns,
            vocabulary,
        })
    }
}

/// A number for every token of the vocabulary, for every column that a run was given of every row.
struct Logits {
    tensor: Tensor,
    columns: usize,
    vocabulary: usize,
}

impl Logits {
    /// Those of the last column of each row.
    fn last_columns(&self) -> impl Iterator<Item = &[u8]> {
        let column = self.vocabulary.saturating_mul(size_of::<f32>());
        let rows = self.tensor.bytes().chunks_exact(column);
        rows.skip(self.columns.saturating_sub(1))
            .step_by(self.columns.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::{batch, columns};
    use crate::profile::Profile;
    use crate::request::Request;
    use crate::row::Row;
    use crate::vocabulary::Vocabulary;

    fn rows(count: usize, max_new_tokens: usize) -> Vec<Row> {
        let tiny = Profile::of(&["tinylm".to_owned()]).unwrap();
        let request = Request {
            max_new_tokens: 1,
            ..Request::plain(&"x".repeat(100))
        };
        let row = || {
            let mut row = Row::new(&request, tiny, &Vocabulary::Bytes, 0).unwrap();
            row.most = max_new_tokens;
            row
        };
        std::iter::repeat_with(row).take(count).collect()
    }

    #[test]
    fn a_batch_is_as_many_rows_as_its_caches_and_logits_have_room_for() {
        let smol = Profile::of(&["smollm2-135m-instruct".to_owned()]).unwrap();
        assert_eq!(smol.position_bytes(), 46_080);
        // 201,326,592 bytes of caches are 4,369 positions.
        for (count, most, expected) in [
            (1, 512, 1),
            (7, 512, 7),
            (8, 512, 7),
            (26, 64, 26),
            (27, 64, 26),
            (0, 64, 1),
        ] {
            assert_eq!(
                batch(&rows(count, most), smol),
                expected,
                "{count} of {most}"
            );
        }
        // 16,777,216 bytes of logits are 85 columns of one row, or one of 85 rows.
        assert_eq!(columns(1, smol), 85);
        assert_eq!(columns(8, smol), 10);
        assert_eq!(columns(85, smol), 1);
        assert_eq!(columns(86, smol), 0);
        assert_eq!(columns(0, smol), 0);
    }
}
