//! Somebody's home directory, and an aggregator that says what it is told to say.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;
use tests::{Output, assay_with};

/// Whoever types the commands. Nothing of the machine's own user is seen.
pub(crate) struct Desk {
    dir: TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let dir = TempDir::with_prefix("assay-desk-").unwrap();
        Self { dir }
    }

    /// A path on it.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text.
    pub(crate) fn path(&self, name: &str) -> String {
        self.at(name).to_string_lossy().into_owned()
    }

    /// Puts a file there that its owner alone may read.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        self.mode(name, 0o600);
    }

    pub(crate) fn mode(&self, name: &str, mode: u32) {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.at(name), mode).unwrap();
    }

    /// The variables that make it a home.
    pub(crate) fn variables(&self) -> Vec<(&'static str, OsString)> {
        let empty = [
            "ASSAY_CONFIG",
            "ASSAY_AGGREGATOR",
            "ASSAY_CONTEXT",
            "ASSAY_HUB",
            "ASSAY_KEY",
            "ASSAY_MAX_PRICE",
            "ASSAY_LOG",
        ];
        let mut variables: Vec<_> = empty.map(|name| (name, OsString::new())).into();
        variables.push(("HOME", self.at("").into()));
        variables.push(("XDG_CONFIG_HOME", self.at("config").into()));
        variables.push(("XDG_DATA_HOME", self.at("data").into()));
        variables.push(("ASSAY_HOME", self.at("home").into()));
        variables
    }

    /// Runs `assay` here.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.run_with(arguments, &[])
    }

    /// Runs `assay` here with more variables.
    pub(crate) fn run_with(
        &self,
        arguments: &[&str],
        more: &[(&'static str, &str)],
    ) -> Result<Output> {
        let mut variables = self.variables();
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).into())));
        assay_with(arguments, &variables, self.dir.path())
    }

    /// What a text says of this desk's and a server's address is said of `DIR` and `ADDRESS`.
    pub(crate) fn plain(&self, text: &str, address: &str) -> String {
        let dir = self.dir.path().to_string_lossy().into_owned();
        let text = text.replace(&dir, "DIR");
        match address {
            "" => text,
            address => text.replace(address, "ADDRESS"),
        }
    }
}

/// An HTTP server that answers every request alike.
pub(crate) struct Parrot {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
}

impl Parrot {
    /// Answers with this status and JSON, and with more lines of a head.
    pub(crate) fn new(status: u16, json: &str, more: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let length = json.len();
        let answer = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n{more}connection: close\r\n\
             content-length: {length}\r\n\r\n{json}"
        );
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer_one(stream, &answer);
            }
        });
        Self { address }
    }

    /// Refuses with this problem.
    pub(crate) fn refusing(status: u16, code: &str, detail: &str) -> Self {
        let json = format!(
            r#"{{"type":"urn:assay:problem:{code}","title":"t","status":{status},"detail":"{detail}","code":"{code}"}}"#
        );
        Self::new(status, &json, "")
    }

    /// Knows one job, which is so far.
    pub(crate) fn job(phase: &str, reason: Option<&str>) -> Self {
        let reason = reason.map_or("null".to_owned(), |reason| format!("{reason:?}"));
        let id = job_id();
        let client = format!("blake3:{}", "22".repeat(32));
        let json = format!(
            r#"{{"id":"{id}","name":"n","client":"{client}","phase":"{phase}","reason":{reason},
            "items":1,"shards":1,"shards_accepted":0,"assignments":0,"replicas":0,"agreements":0,
            "disagreements":0,"escrowed":"1","escrow_left":"0","paid":[],"fee":"0","returned":"1",
            "submitted":1795359845000,"finished":null,"result":null}}"#
        );
        Self::new(200, &json, "")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn answer_one(mut stream: TcpStream, answer: &str) {
    let lines = BufReader::new(&stream).lines();
    // Whoever hangs up has heard enough.
    for line in lines.map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
    }
    let _ = stream.write_all(answer.as_bytes());
}

/// Some job's id.
pub(crate) fn job_id() -> String {
    format!("blake3:{}", "11".repeat(32))
}

/// Compares with a file that somebody has looked at; `ASSAY_GOLDEN=write` writes it.
pub(crate) fn golden(name: &str, text: &str) {
    let path = tests::repository().join("tests/tests/cli").join(name);
    if std::env::var_os("ASSAY_GOLDEN").is_some_and(|how| how == "write") {
        fs::write(&path, text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "{} is not as it was looked at last (ASSAY_GOLDEN=write writes what is true now):\n{}",
        path.display(),
        difference(&kept, text)
    );
}

/// The first lines that differ.
fn difference(kept: &str, now: &str) -> String {
    let (mut kept, mut now, mut line) = (kept.lines(), now.lines(), 0);
    loop {
        line += 1;
        match (kept.next(), now.next()) {
            (Some(left), Some(right)) if left == right => {}
            (left, right) => return format!("line {line}:\n- {left:?}\n+ {right:?}"),
        }
    }
}
