//! A worker that is talked to by hand: wrong bytes end it, and nothing else reaches its output.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use runtime::worker::frame::Frame;
use runtime::worker::protocol::{Request, Response};

use crate::guests::echo;
use crate::harness::Case;
use crate::lifecycle::{config, items, task};

pub(crate) const CASES: &[Case] = &[
    ("a_conversation_by_hand", a_conversation_by_hand),
    (
        "bytes_that_are_no_frame_end_the_worker",
        bytes_that_are_no_frame_end_the_worker,
    ),
];

/// A worker with bare pipes.
fn worker() -> Child {
    Command::new(std::env::current_exe().unwrap())
        .arg(crate::WORKER_ARGUMENT)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn hello(dir: &Path) -> Frame {
    let confinement = runtime::worker::Confinement {
        readable: vec![dir.to_owned()],
        writable: vec![dir.join("cache")],
        memory_bytes_max: None,
        emulated: false,
    };
    let hello = Request::Hello(confinement, config(dir).sandbox);
    Frame::new(&hello, Vec::new()).unwrap()
}

fn bytes(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.write(&mut bytes).unwrap();
    bytes
}

fn a_conversation_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = worker();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    hello(dir.path()).write(&mut input).unwrap();
    let request = Request::Execute(task(dir.path(), &echo()));
    Frame::new(&request, items())
        .unwrap()
        .write(&mut input)
        .unwrap();
    let mut said = || Frame::read(&mut output).unwrap().unwrap();
    assert!(matches!(said().word().unwrap(), Response::Hello { .. }));
    assert!(matches!(said().word().unwrap(), Response::Prepared));
    let done = said();
    assert_eq!(done.body, items());
    assert!(matches!(done.word().unwrap(), Response::Done { .. }));
    // The end of its input is the end of the worker, and a good one.
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "{rest:?}");
}

fn bytes_that_are_no_frame_end_the_worker() {
    let dir = tempfile::tempdir().unwrap();
    let hello = bytes(&hello(dir.path()));
    let probe = bytes(&Frame::new(&Request::Probe, Vec::new()).unwrap());
    let with = |good: &[u8], at: usize, value: &[u8]| {
        let mut bad = good.to_vec();
        bad[at..at + value.len()].copy_from_slice(value);
        bad
    };
    let junk = Frame {
        header: vec![0xff; 40],
        body: Vec::new(),
    };
    for (what, sent) in [
        ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("another version", with(&hello, 4, &[2])),
        (
            "an oversized header",
            with(&hello, 8, &u32::MAX.to_le_bytes()),
        ),
        (
            "an oversized body",
            with(&hello, 12, &u32::MAX.to_le_bytes()),
        ),
        ("no word", bytes(&junk)),
        ("no hello first", probe.clone()),
        ("two hellos", [hello.clone(), hello.clone()].concat()),
        ("half a frame", hello[..hello.len() - 1].to_vec()),
    ] {
        let mut child = worker();
        let mut input = child.stdin.take().unwrap();
        // The worker may be gone before all is written.
        drop(input.write_all(&sent));
        // An open pipe shows that it is the bytes that end the worker, not the end of them.
        let open = (what != "half a frame").then_some(input);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(70), "{what}: {status}");
        drop(open);
    }
}
