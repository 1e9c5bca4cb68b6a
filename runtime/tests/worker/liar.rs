//! Workers that say something else of the values they noted than they hand over. What runs in a worker may have taken it
//! over, so its parent believes nothing that it can compute.

use std::process::ExitCode;

use jobs::digest::{BlobRef, Digest};
use jobs::items;
use jobs::merkle;
use jobs::openings::{CHUNK_BYTES, Noted, Noter, chunks_of};
use jobs::outcome::{Fingerprint, Meters, Outcome};
use runtime::worker::frame::Frame;
use runtime::worker::protocol::{Request, Response};
use runtime::{Noting, ShardOutcome, WorkerHandle};

use crate::guests::echo;
use crate::harness::Case;
use crate::lifecycle::{block_on, config, task};

pub(crate) const CASES: &[Case] = &[(
    "what_a_worker_says_it_noted_must_be_what_it_hands_over",
    what_a_worker_says_it_noted_must_be_what_it_hands_over,
)];

/// Makes this program a worker that executes nothing, and lies as the next argument says.
pub(crate) const ARGUMENT: &str = "--be-a-liar";

/// Three chunks of one inference.
fn noted() -> (Noted, Vec<u8>) {
    let values: Vec<u8> = (0..150_u16)
        .flat_map(|v| f32::from(v).to_le_bytes())
        .collect();
    let chunks: Vec<[u8; CHUNK_BYTES]> = chunks_of(0, &values).collect();
    let mut noter = Noter::default();
    chunks.iter().for_each(|chunk| noter.push(chunk).unwrap());
    noter.end_inference();
    (noter.noted(), chunks.concat())
}

/// What the worker says that it noted, and what it hands over.
fn lie(how: &str) -> (Option<Noted>, Vec<Vec<u8>>) {
    let (honest, chunks) = noted();
    let other = Noted {
        root: Digest::of(b"other"),
        ..honest
    };
    let endless = Noted {
        chunks: u32::MAX,
        ..honest
    };
    let (first, rest) = chunks.split_at(CHUNK_BYTES);
    match how {
        "honest" => (Some(honest), vec![first.to_vec(), rest.to_vec()]),
        "nothing" => (None, Vec::new()),
        "too much" => (Some(endless), Vec::new()),
        "another root" => (Some(other), vec![chunks]),
        "one chunk more" => (Some(honest), vec![[&chunks, first].concat()]),
        "half a chunk" => (Some(honest), vec![chunks[1..].to_vec()]),
        "no chunk" => (Some(honest), vec![Vec::new()]),
        other => panic!("no such lie: {other}"),
    }
}

/// The life of such a worker.
pub(crate) fn answer(how: &str) -> ExitCode {
    let (mut input, mut output) = (std::io::stdin(), std::io::stdout());
    let mut say = |word: &Response, body: Vec<u8>| {
        Frame::new(word, body).unwrap().write(&mut output).unwrap();
    };
    let mut heard = || Frame::read(&mut input).unwrap();
    heard();
    let engine = runtime::engine::engine_id();
    let missing = Vec::new();
    say(&Response::Hello { engine, missing }, Vec::new());
    let task = heard().unwrap();
    assert!(matches!(task.word().unwrap(), Request::Execute(_)));
    say(&Response::Prepared, Vec::new());
    let outputs = items::decode(&task.body).unwrap();
    let (noted, trace) = lie(how);
    let outcome = Outcome {
        noted,
        root: merkle::root(&outputs),
        outputs: BlobRef::of(&task.body),
        items: outputs.len() as u32,
        meters: Meters::default(),
        fingerprint: Fingerprint {
            engine: String::new(),
            library: String::new(),
            execution_provider: String::new(),
            device: String::new(),
            options: String::new(),
        },
        placement: Vec::new(),
    };
    let log = Vec::new();
    say(&Response::Done { outcome, log }, task.body);
    trace
        .into_iter()
        .for_each(|chunks| say(&Response::Trace, chunks));
    // Until its parent has had enough.
    heard();
    ExitCode::SUCCESS
}

/// Has such a worker execute something, of which values are to be noted or not.
fn execute(how: &str, noting: bool) -> (Result<ShardOutcome, String>, bool) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.args = vec![ARGUMENT.into(), how.into()];
    let mut task = task(dir.path(), &echo());
    task.noting = noting.then(|| Noting {
        graph: "m".into(),
        tensor: "y".into(),
    });
    block_on(async {
        let mut worker = WorkerHandle::spawn(&config).await.unwrap();
        let done = worker.execute(task, crate::lifecycle::items()).await;
        (
            done.map_err(|failure| failure.to_string()),
            worker.is_clean(),
        )
    })
}

fn what_a_worker_says_it_noted_must_be_what_it_hands_over() {
    let (honest, clean) = execute("honest", true);
    let trace = honest.unwrap().trace.unwrap();
    let mut read = Vec::new();
    let all = trace.pieces(|piece| {
        read.extend(piece);
        Ok::<_, std::io::Error>(())
    });
    all.unwrap();
    assert!(read == noted().1 && clean);
    for (how, noting, words) in [
        ("nothing", true, "notes something else than it should"),
        ("honest", false, "notes something else than it should"),
        ("too much", true, "notes something else than it should"),
        ("another root", true, "does not fit what it noted"),
        ("one chunk more", true, "does not fit what it noted"),
        ("half a chunk", true, "unexpected answer Trace"),
        ("no chunk", true, "unexpected answer Trace"),
    ] {
        let (done, clean) = execute(how, noting);
        let failure = done.unwrap_err();
        assert!(failure.contains(words), "{how}: {failure}");
        assert!(!clean, "{how}");
    }
}
