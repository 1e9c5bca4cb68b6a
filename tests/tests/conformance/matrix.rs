//! What became of the cases: the record that people read and that the next run is held against.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, ensure};

use crate::cases::Suite;

/// The longest line of names.
const LINE_MAX: usize = 116;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Passed,
    /// By us, and meant so.
    Refused(String),
    /// ONNX Runtime fails under Python as it does here.
    Library(String),
    /// Ours alone: a bug.
    Wrong(String),
}

impl Verdict {
    /// The word of the record, and why.
    fn words(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Passed => None,
            Self::Refused(why) => Some(("Refused", why)),
            Self::Library(why) => Some(("Library", why)),
            Self::Wrong(why) => Some(("Wrong", why)),
        }
    }

    fn column(&self) -> usize {
        match self {
            Self::Passed => 0,
            Self::Refused(_) => 1,
            Self::Library(_) => 2,
            Self::Wrong(_) => 3,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
}

type Counts = BTreeMap<String, [usize; 4]>;

/// The whole record.
pub(crate) fn record(suite: &Suite, judged: &[Judged]) -> String {
    let (mut types, mut operators, mut kinds) = (Counts::new(), Counts::new(), Counts::new());
    let mut totals = [0; 4];
    for (case, judged) in suite.index.cases.iter().zip(judged) {
        assert_eq!(case.name, judged.name, "cases are judged in their order");
        let column = judged.verdict.column();
        totals[column] += 1;
        for ty in &case.types {
            types.entry(ty.clone()).or_default()[column] += 1;
        }
        operators.entry(case.operator.clone()).or_default()[column] += 1;
        kinds.entry(case.kind.clone()).or_default()[column] += 1;
    }
    let [passed, refused, library, wrong] = totals;
    let mut text = format!(
        "# The ONNX project's own test cases in the sandbox\n\n\
         Written by the test `tests::the_onnx_projects_own_cases_give_the_right_answers_in_the_sandbox` when \
         `ASSAY_BLESS` is set.\n\
         Each case of the Python package onnx {} (its node tests and its packaged `simple`, `pytorch-operator` and\n\
         `pytorch-converted` models) goes through a guest, `wasi:nn`, a worker process and ONNX Runtime {} on the\n\
         processor, and is compared at the suite's own tolerances.\n\n\
         - passed: the answers are right.\n\
         - refused: by us and meant so; the reason is below.\n\
         - library: ONNX Runtime, called from Python, fails the case too.\n\
         - wrong: right under Python and wrong here. Such a case is a bug.\n\n\
         Of {} cases {passed} passed, {refused} were refused, {library} fail in the library, {wrong} are wrong.\n",
        suite.index.onnx,
        suite.index.onnxruntime,
        judged.len(),
    );
    for (title, counts) in [
        ("By origin", &kinds),
        (
            "By element type of an input or output (a case counts for each of its types)",
            &types,
        ),
        (
            "By operator (of a model with several: its first)",
            &operators,
        ),
    ] {
        text += &table(title, counts);
    }
    text + &groups(judged)
}

fn table(title: &str, counts: &Counts) -> String {
    let mut text = format!(
        "\n## {title}\n\n| | passed | refused | library | wrong |\n|---|---|---|---|---|\n"
    );
    for (name, [passed, refused, library, wrong]) in counts {
        let _ = writeln!(
            text,
            "| {name} | {passed} | {refused} | {library} | {wrong} |"
        );
    }
    text
}

/// The cases that did not pass, by reason.
pub(crate) fn groups(judged: &[Judged]) -> String {
    let mut groups: BTreeMap<&Verdict, Vec<&str>> = BTreeMap::new();
    for judged in judged.iter().filter(|j| j.verdict != Verdict::Passed) {
        groups
            .entry(&judged.verdict)
            .or_default()
            .push(&judged.name);
    }
    let mut text = "\n## Not passed\n".to_owned();
    for (verdict, names) in groups {
        let Some((word, why)) = verdict.words() else {
            continue;
        };
        let _ = writeln!(text, "\n### {word}: {why} ({})\n", names.len());
        let mut line = String::new();
        for name in names {
            if !line.is_empty() && line.len() + name.len() > LINE_MAX {
                text += &(std::mem::take(&mut line) + "\n");
            }
            let space = if line.is_empty() { "" } else { " " };
            line += &format!("{space}`{name}`");
        }
        text += &(line + "\n");
    }
    text
}

/// The cases of a record that did not pass, with the word for it.
pub(crate) fn read(text: &str) -> Result<BTreeMap<String, String>> {
    let (_, text) = text.split_once("\n## Not passed\n").unwrap_or_default();
    let mut known = BTreeMap::new();
    let mut word = "";
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            word = title.split(':').next().unwrap_or_default();
            continue;
        }
        for name in line.split('`').skip(1).step_by(2) {
            let before = known.insert(name.to_owned(), word.to_owned());
            ensure!(before.is_none(), "{name} is in the record twice");
        }
    }
    Ok(known)
}

/// What is ours to answer for and is not in the record like that.
pub(crate) fn worse(known: &BTreeMap<String, String>, judged: &[Judged]) -> Vec<String> {
    let worse = |judged: &Judged| {
        let (word, why) = judged.verdict.words()?;
        if matches!(judged.verdict, Verdict::Library(_)) {
            return None;
        }
        let before = known.get(&judged.name).map_or("Passed", String::as_str);
        (before != word).then(|| format!("{}: {before} before, now {word}: {why}", judged.name))
    };
    judged.iter().filter_map(worse).collect()
}
