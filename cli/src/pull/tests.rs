//! Against a server on loopback that answers by the book, breaks off, and changes its mind.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;
use crate::exit::code_of;

const QUIET: Output = Output {
    json: true,
    quiet: true,
};

/// What the server does with one request.
#[derive(Clone, Debug)]
struct Act {
    content: Vec<u8>,
    tag: &'static str,
    /// Bytes after which it hangs up.
    breaks_after: usize,
    /// What it says instead, if anything.
    instead: Option<String>,
}

impl Act {
    fn whole(content: &[u8]) -> Self {
        Self {
            content: content.to_vec(),
            tag: "\"one\"",
            breaks_after: usize::MAX,
            instead: None,
        }
    }
}

struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers as many requests as there are acts, one connection each.
    fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/m.onnx", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for act in acts {
                let (stream, _) = listener.accept().unwrap();
                let head = head(&stream);
                serve(stream, &head, &act);
                heard.lock().unwrap().push(head);
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn head(stream: &TcpStream) -> String {
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    lines.join("\n").to_lowercase()
}

fn serve(mut stream: TcpStream, head: &str, act: &Act) {
    if let Some(instead) = &act.instead {
        stream.write_all(instead.as_bytes()).unwrap();
        return;
    }
    let value = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.map(|line| line.trim_start_matches(": ").to_owned())
    };
    let same = value("if-range").is_some_and(|tag| tag == act.tag);
    let from = value("range").filter(|_| same);
    let from = from.and_then(|range| {
        range
            .trim_start_matches("bytes=")
            .trim_end_matches('-')
            .parse()
            .ok()
    });
    let (from, all): (usize, usize) = (from.unwrap_or(0), act.content.len());
    let status = match from {
        0 => "200 OK".to_owned(),
        _ => format!(
            "206 Partial Content\r\ncontent-range: bytes {from}-{}/{all}",
            all - 1
        ),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\netag: {}\r\ncontent-length: {}\r\n\r\n",
        act.tag,
        all - from
    );
    stream.write_all(head.as_bytes()).unwrap();
    let rest = &act.content[from..];
    stream
        .write_all(&rest[..rest.len().min(act.breaks_after)])
        .unwrap();
}

fn content(seed: u8) -> Vec<u8> {
    (0..100_000_u32).map(|n| (n % 251) as u8 ^ seed).collect()
}

fn sha256(bytes: &[u8]) -> Expected {
    Expected {
        sha256: Some(hex::encode(Sha256::digest(bytes))),
        blake3: None,
    }
}

fn fetch(store: &Store, url: &str, expected: &Expected) -> Result<Entry> {
    let source = Source::parse(url).unwrap();
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let pulled = pull(&source, expected, "m", store, QUIET);
    executor.unwrap().block_on(pulled)
}

fn scene() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path().join("models")).unwrap();
    (dir, store)
}

/// What is below the store's folder of files.
fn files(store: &Store) -> Vec<String> {
    let entries = std::fs::read_dir(store.path(".blobs")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.collect()
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_ended() {
    let (_dir, store) = scene();
    let bytes = content(0);
    let broken = Act {
        breaks_after: 40_000,
        ..Act::whole(&bytes)
    };
    let server = Server::start(vec![broken, Act::whole(&bytes)]);
    let entry = fetch(&store, &server.url, &sha256(&bytes)).unwrap();
    assert_eq!(std::fs::read(store.path("m")).unwrap(), bytes);
    assert_eq!(entry.blake3, BlobRef::of(&bytes).digest);
    let asked = server.asked();
    assert!(!asked[0].contains("range:"), "{asked:?}");
    assert!(asked[1].contains("range: bytes=40000-"), "{asked:?}");
    assert!(asked[1].contains("if-range: \"one\""), "{asked:?}");
    assert_eq!(files(&store), [entry.blake3.to_hex()]);
}

#[test]
fn another_version_is_never_put_behind_a_part_of_the_first() {
    let (_dir, store) = scene();
    let (first, second) = (content(0), content(7));
    let broken = Act {
        breaks_after: 40_000,
        ..Act::whole(&first)
    };
    let other = Act {
        tag: "\"two\"",
        ..Act::whole(&second)
    };
    let server = Server::start(vec![broken, other]);
    fetch(&store, &server.url, &sha256(&second)).unwrap();
    assert_eq!(std::fs::read(store.path("m")).unwrap(), second);
}

#[test]
fn what_is_not_what_was_expected_is_refused_and_removed() {
    let (_dir, store) = scene();
    let bytes = content(0);
    let said = |text: &str| Act {
        instead: Some(text.to_owned()),
        ..Act::whole(b"")
    };
    let huge = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
        MODEL_BYTES_MAX + 1
    );
    let away = "HTTP/1.1 302 Found\r\nlocation: ftp://elsewhere/x\r\n\r\n";
    for (act, words, exit) in [
        (
            Act::whole(b"another"),
            "is expected: removed",
            Exit::Verification,
        ),
        (said(&huge), "a model has at most", Exit::Usage),
        (
            said("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
            "404",
            Exit::Failure,
        ),
        (said(away), "which is not protected", Exit::Verification),
    ] {
        let server = Server::start(vec![act]);
        let error = fetch(&store, &server.url, &sha256(&bytes)).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(words), "{text}");
        assert_eq!(code_of(&error), exit, "{text}");
        assert!(!store.path("m").exists() && store.list().unwrap().is_empty());
        assert!(files(&store).is_empty(), "{:?}", files(&store));
    }
    let error = fetch(&store, "http://127.0.0.1:9/m.onnx", &Expected::default()).unwrap_err();
    assert!(format!("{error:#}").contains("not protected"), "{error:#}");
}

#[test]
fn a_source_that_gave_something_else_before_is_not_believed_twice() {
    let (_dir, store) = scene();
    let (first, second) = (content(0), content(7));
    let server = Server::start(vec![Act::whole(&first), Act::whole(&second)]);
    fetch(&store, &server.url, &sha256(&first)).unwrap();
    let source = Source::parse(&server.url).unwrap();
    let before = store.list().unwrap().remove(0);
    let found = Found {
        blob: BlobRef::of(&second),
        sha256: String::new(),
    };
    let refused = check_again(&source, &Expected::default(), Some(&before), &found).unwrap_err();
    assert!(
        format!("{refused:#}").contains("before, and"),
        "{refused:#}"
    );
    assert_eq!(code_of(&refused), Exit::Verification);
    fetch(&store, &server.url, &sha256(&second)).unwrap();
    assert_eq!(std::fs::read(store.path("m")).unwrap(), second);
}

#[test]
fn a_file_stays_as_long_as_it_has_a_name() {
    let (dir, store) = scene();
    let path = dir.path().join("net.onnx");
    std::fs::write(&path, "model").unwrap();
    let executor = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let source = Source::parse(&path.to_string_lossy()).unwrap();
    let any = Expected::default();
    for name in ["a", "b", "a"] {
        executor
            .block_on(pull(&source, &any, name, &store, QUIET))
            .unwrap();
    }
    let names = |store: &Store| -> Vec<String> {
        store
            .list()
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect()
    };
    assert_eq!(names(&store), ["a", "b"]);
    store.remove("a").unwrap();
    assert!(!store.path("a").exists());
    assert_eq!(std::fs::read(store.path("b")).unwrap(), b"model");
    store.remove("b").unwrap();
    assert!(files(&store).is_empty());
    let error = store.remove("b").unwrap_err();
    assert!(format!("{error:#}").contains("was pulled"), "{error:#}");
    std::fs::write(store.path("mine"), "mine").unwrap();
    let pulled = pull(&source, &any, "mine", &store, QUIET);
    let error = executor.block_on(pulled).unwrap_err();
    assert!(format!("{error:#}").contains("was not pulled"), "{error:#}");
    assert_eq!(std::fs::read(store.path("mine")).unwrap(), b"mine");
}
