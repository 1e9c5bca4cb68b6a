//! What a line says: the second model looks at a strip in steps of eight pixels and says of each step which character
//! it belongs to.

use assay::{Error, Tensor, model};

use crate::picture::{COLOURS, Picture};

/// The name of the model in `job.toml`.
const MODEL: &str = "read";

/// The characters that the model knows, one a line; see `NOTICE.md`.
const CHARACTERS: &str = include_str!("../charset.txt");

/// Rows that the model takes.
const HEIGHT: usize = 48;
/// Columns that it takes at least; what is missing is filled up.
const WIDTH_MIN: usize = 320;
/// Columns that it takes at most; what is longer is squeezed.
const WIDTH_MAX: usize = 4800;

/// A line counts if its characters are on average at least as likely as this.
pub(crate) const SCORE_MIN: f64 = 0.5;

/// The class that stands for no character.
const NOTHING: usize = 0;

pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) score: f64,
}

/// Reads one strip. One a run: in a batch all must be as wide as the widest, and what fills them up would show.
pub(crate) fn line(strip: &Picture) -> Result<Line, Error> {
    let ratio = strip.width as f64 / strip.height.max(1) as f64;
    let taken = ((HEIGHT as f64 * ratio).ceil() as usize).clamp(1, WIDTH_MAX);
    let width = ((HEIGHT as f64 * ratio) as usize).clamp(WIDTH_MIN, WIDTH_MAX);
    let planes = strip.resized(taken.min(width), HEIGHT).planes(width);
    let planes = Tensor::from_slice(&planes, &[1, COLOURS, HEIGHT, width])?;
    let outputs = model(MODEL)?.run([("x", &planes)])?;
    let scores: Vec<f32> = outputs.values("softmax_11.tmp_0")?;
    let characters: Vec<&str> = CHARACTERS.lines().collect();
    decoded(&scores, &characters)
}

/// One class after another, the likeliest of each step: what stays the same counts once, and nothing is nothing.
fn decoded(scores: &[f32], characters: &[&str]) -> Result<Line, Error> {
    // Beside the characters of the list there are nothing, before them, and a space, behind them.
    let classes = characters.len() + 2;
    if scores.is_empty() || !scores.len().is_multiple_of(classes) {
        let count = scores.len();
        return Err(Error::Model(format!(
            "{count} numbers in steps of {classes}"
        )));
    }
    let (mut text, mut sum, mut count) = (String::new(), 0.0, 0.0);
    let mut before = NOTHING;
    for step in scores.chunks_exact(classes) {
        let (class, score) = likeliest(step);
        if class != NOTHING && class != before {
            text.push_str(characters.get(class - 1).copied().unwrap_or(" "));
            sum += f64::from(score);
            count += 1.0;
        }
        before = class;
    }
    let score = if count > 0.0 { sum / count } else { 0.0 };
    Ok(Line { text, score })
}

/// The first of the greatest.
fn likeliest(scores: &[f32]) -> (usize, f32) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let class = scores.iter().position(|score| *score == most);
    (class.unwrap_or(NOTHING), most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_become_text() {
        let characters = ["a", "b"];
        // Classes: nothing, a, b, space.
        let cases: [(&str, &[usize], &str); 5] = [
            ("once", &[0, 1, 0], "a"),
            ("held", &[1, 1, 1, 2], "ab"),
            ("twice", &[1, 0, 1], "aa"),
            ("apart", &[1, 3, 2], "a b"),
            ("nothing", &[0, 0], ""),
        ];
        for (name, steps, text) in cases {
            let mut scores = Vec::new();
            for class in steps {
                let mut step = [0.1_f32; 4];
                step[*class] = 0.7;
                scores.extend(step);
            }
            let line = decoded(&scores, &characters).unwrap();
            assert_eq!(line.text, text, "{name}");
            let expected = if text.is_empty() { 0.0 } else { 0.7 };
            assert!(
                (line.score - expected).abs() < 1e-6,
                "{name}: {}",
                line.score
            );
        }
    }

    #[test]
    fn another_number_of_classes_is_refused() {
        for scores in [&[][..], &[0.5; 5]] {
            let error = decoded(scores, &["a", "b"]).err().unwrap().to_string();
            assert!(error.contains("in steps of 4"), "{error}");
        }
    }

    #[test]
    fn the_list_of_characters_is_the_models() {
        let characters: Vec<&str> = CHARACTERS.lines().collect();
        assert_eq!(characters.len(), 6623);
        assert!(characters.iter().all(|one| one.chars().count() == 1));
    }
}
