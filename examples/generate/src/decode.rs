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

use assay::{Error, Input, Model, Outputs, Resident, Tensor};

use crate::choose;
use crate::profile::Shape;
use crate::row::Row;
use crate::vocabulary::Vocabulary;

/// Most bytes of all caches of a batch at its longest. A run holds what it was given and what it makes, so twice this;
/// a sandbox has 512 MiB for all tensors.
const CACHE_BYTES_MAX: usize = 192 << 20;

/// Most bytes of the logits of one run. A prompt is read in pieces, as the model has logits for every token of it.
const LOGITS_BYTES_MAX: usize = 32 << 20;

/// What stands where a row has no token. Any token would do: it is masked.
const PADDING: i64 = 0;

/// How many of these rows, from the first, are decoded at once: as many as the bounds allow, and at least one.
pub(crate) fn batch(rows: &[Row], shape: &Shape) -> usize {
    let (mut prompt, mut most) = (0, 0);
    let fitting = rows.iter().zip(1_usize..).take_while(|(row, count)| {
        prompt = prompt.max(row.prompt.len());
        most = most.max(row.most);
        let positions = count.saturating_mul(prompt.saturating_add(most));
        let caches = positions.saturating_mul(shape.position_bytes());
        caches <= CACHE_BYTES_MAX && columns(*count, shape) > 0
    });
    fitting.count().max(1)
}

/// How many tokens of so many rows may be given to one run.
fn columns(rows: usize, shape: &Shape) -> usize {
    let logits = shape.vocabulary.saturating_mul(size_of::<f32>());
    let column = rows.saturating_mul(logits);
    LOGITS_BYTES_MAX.checked_div(column).unwrap_or(0)
}

/// Writes every row to its end.
pub(crate) fn run(
    rows: &mut [Row],
    model: &Model,
    shape: &Shape,
    vocabulary: &Vocabulary,
) -> Result<(), Error> {
    let mut decoder = Decoder::new(rows, model, shape);
    let (mut logits, mut columns) = decoder.read(rows)?;
    loop {
        let mut goes_on = false;
        for (index, token) in choose::next(&logits, columns, rows)? {
            if let Some(row) = rows.get_mut(index) {
                goes_on |= row.push(token, vocabulary)?;
            }
        }
        if !goes_on {
            return Ok(());
        }
        let column = rows.iter().map(|row| row.last().map_or(PADDING, i64::from));
        logits = decoder.advance(&column.collect::<Vec<i64>>())?;
        columns = 1;
    }
}

/// A model, and what it remembers of a batch.
struct Decoder<'a> {
    model: &'a Model,
    shape: &'a Shape,
    /// Columns before each row's first token.
    padding: Vec<usize>,
    /// Columns the model has read.
    past: usize,
    /// The caches, once there are any. The guest never reads them.
    caches: Vec<Resident>,
}

impl<'a> Decoder<'a> {
    fn new(rows: &[Row], model: &'a Model, shape: &'a Shape) -> Self {
        let longest = rows.iter().map(|row| row.prompt.len()).max().unwrap_or(0);
        let padding = rows
            .iter()
            .map(|row| longest.saturating_sub(row.prompt.len()));
        Self {
            model,
            shape,
            padding: padding.collect(),
            past: 0,
            caches: Vec::new(),
        }
    }

    /// Reads all prompts, in pieces; returns the logits of the last piece and how many columns it has.
    fn read(&mut self, rows: &[Row]) -> Result<(Resident, usize), Error> {
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
        let step = columns(rows.len(), self.shape).max(1);
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
        answer.ok_or_else(|| Error::failed("there is no prompt to read"))
    }

    /// Gives the model as many tokens of each row, row by row; keeps the caches and returns the logits.
    fn advance(&mut self, tokens: &[i64]) -> Result<Resident, Error> {
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
        let empty = self.empty_caches()?;
        let names = self.shape.caches.iter().map(|cache| cache.past.as_str());
        let caches = std::mem::take(&mut self.caches).into_iter();
        let caches = caches
            .map(Input::Host)
            .chain(empty.iter().map(Input::Guest));
        inputs.extend(names.zip(caches));
        let mut outputs: Outputs = self.model.run(inputs)?;
        for cache in &self.shape.caches {
            self.caches.push(outputs.take(&cache.present)?);
        }
        self.past = total;
        outputs.take("logits")
    }

    /// The caches of nothing, before there are others.
    fn empty_caches(&self) -> Result<Vec<Tensor>, Error> {
        let missing = self.shape.caches.iter().filter(|_| self.past == 0);
        let dims = |heads, width| [self.padding.len(), heads, 0, width];
        missing
            .map(|cache| Tensor::from_slice::<f32>(&[], &dims(cache.heads, cache.width)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{batch, columns};
    use crate::profile::Shape;
    use crate::profile::tests::decoder;
    use crate::row::tests::row;

    #[test]
    fn a_batch_is_as_many_rows_as_its_caches_and_logits_have_room_for() {
        let smol = Shape::of(&decoder(30, 3, 64, 49_152)).unwrap();
        // 201,326,592 bytes of caches at 46,080 a position are 4,369 positions.
        for (count, most, expected) in [
            (1, 512, 1),
            (7, 512, 7),
            (8, 512, 7),
            (26, 64, 26),
            (27, 64, 26),
            (0, 64, 1),
        ] {
            let item = format!(r#"{{"prompt":"{}","max_new_tokens":1}}"#, "x".repeat(100));
            let one = || {
                let mut one = row(&item).unwrap();
                one.most = most;
                one
            };
            let rows: Vec<_> = std::iter::repeat_with(one).take(count).collect();
            assert_eq!(batch(&rows, &smol), expected, "{count} of {most}");
        }
        // 33,554,432 bytes of logits are 170 columns of one row, or one of 170 rows.
        for (rows, expected) in [(1, 170), (8, 21), (170, 1), (171, 0), (0, 0)] {
            assert_eq!(columns(rows, &smol), expected, "{rows}");
        }
    }
}
