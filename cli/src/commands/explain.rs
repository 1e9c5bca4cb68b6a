//! `assay explain`: what a code means, and what to do.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::config::setting::nearest;
use crate::exit::{CODES, Exit, Fix, fail};
use crate::output::{Output, table};
use crate::problems;

/// What to explain.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// An exit code, or the code of a refusal, which stands in brackets behind it [default: list all].
    code: Option<String>,
}

pub(crate) fn run(explain: &Explain, output: Output) -> Result<()> {
    let Some(code) = &explain.code else {
        return list(output);
    };
    let code = code.trim_matches(['(', ')']);
    // As in the type of a problem.
    let code = code.rsplit(':').next().unwrap_or_default();
    let numbered = CODES.iter().find(|(known, ..)| known.to_string() == code);
    if let Some((number, name, meaning, fix)) = numbered {
        let value = exit_value(&(*number, name, meaning, fix));
        return output.data(&value, || {
            format!("exit code {number}: {name}\nmeaning  {meaning}\nfix      {fix}")
        });
    }
    if let Some(row) = problems::find(code) {
        let value = problem_value(row);
        return output.data(&value, || {
            format!(
                "refusal {code}, exit code {}\nmeaning  {}\nfix      {}",
                problems::exit_of(row.code) as u8,
                row.meaning,
                row.fix
            )
        });
    }
    let known = problems::catalogue().iter().map(|row| row.code);
    let fix = match nearest(code, known) {
        Some(near) => format!("did you mean {near}?"),
        None => "`assay explain` lists all codes".to_owned(),
    };
    fail(Exit::Usage, format!("there is no code {code:?}")).fix(fix)
}

fn exit_value(row: &crate::exit::Row) -> Value {
    let (code, name, meaning, fix) = row;
    json!({ "exit": code, "name": name, "meaning": meaning, "fix": fix })
}

fn problem_value(row: &problems::Explained) -> Value {
    let exit = problems::exit_of(row.code) as u8;
    json!({ "code": row.code, "exit": exit, "meaning": row.meaning, "fix": row.fix })
}

fn list(output: Output) -> Result<()> {
    let mut values: Vec<Value> = CODES.iter().map(exit_value).collect();
    values.extend(problems::catalogue().iter().map(problem_value));
    output.data(&values, || {
        let mut rows: Vec<Vec<String>> = CODES
            .iter()
            .map(|(code, _, meaning, _)| {
                vec![code.to_string(), String::new(), (*meaning).to_owned()]
            })
            .collect();
        rows.extend(problems::catalogue().iter().map(|row| {
            let exit = (problems::exit_of(row.code) as u8).to_string();
            vec![row.code.to_owned(), exit, row.meaning.to_owned()]
        }));
        table(&["code", "exit", "meaning"], &rows)
    })
}
