//! Seeds that are made by code, because text cannot hold them.

use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use jobs::assignment::Assignment;
use jobs::commitment::{Commitment, Opening, Reveal};
use jobs::digest::{BlobRef, Digest};
use jobs::envelope::SignedPackage;
use jobs::game::report::{Played, ScoreReport};
use jobs::game::{GameManifest, GameText, Measure};
use jobs::ids::{AssignmentId, JobId, ProviderId};
use jobs::merkle::Tree;
use jobs::money::Amount;
use jobs::offer::{DeviceKind, DeviceSpec, Offer, Price};
use jobs::openings::{CHUNK_BYTES, Noted, Noter, Opened, chunks_of, places};
use jobs::operator::Operates;
use jobs::outcome::{Fingerprint, Meters, Outcome, Placement};
use jobs::package::Package;
use jobs::receipt::Envelope;
use jobs::statement::{Signed, Statement};
use jobs::time::Timestamp;
use network::protocol::{
    AssignRequest, BlobReply, BlobRequest, CancelRequest, CommitRequest, NAMES, OfferRequest,
    OpenReply, OpenRequest, RevealReply, RevealRequest,
};
use runtime::worker::Confinement;
use runtime::worker::frame::Frame;
use runtime::worker::protocol::{Request, Response};
use runtime::{FailureKind, SandboxConfig};

/// A frame of a wire protocol, with the protocol's number before it.
fn message<M: serde::Serialize>(name: &str, message: &M) -> Vec<u8> {
    let body = postcard::to_stdvec(message).unwrap();
    let which = NAMES.iter().position(|known| *known == name).unwrap() as u8;
    let length = (body.len() + 3) as u32;
    [&[which][..], &length.to_le_bytes(), &[1, 0, 0], &body].concat()
}

fn frame<W: serde::Serialize>(word: &W, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Frame::new(word, body.to_vec())
        .unwrap()
        .write(&mut bytes)
        .unwrap();
    bytes
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(root().join(path)).unwrap()
}

type Seed = (&'static str, &'static str, Vec<u8>);

/// A package, the same signed as it travels, and a blob with its bundle and key.
fn signed(signed: &SignedPackage, key: &jobs::envelope::ClientKey) -> Vec<Seed> {
    let bundle = key.sign_blob(b"blob").unwrap();
    let blob = [&key.public_key_pem(), "blob", &bundle].join("\0");
    vec![
        ("package", "one", signed.package.clone().into_bytes()),
        ("envelope", "package", postcard::to_stdvec(signed).unwrap()),
        ("envelope", "blob", blob.into_bytes()),
    ]
}

/// Signs for a provider. The key is no secret.
fn sign<T: Statement>(statement: &T) -> Signed<T> {
    Signed::sign(statement, &SigningKey::from_bytes(&[7; 32])).unwrap()
}

fn provider() -> ProviderId {
    ProviderId(SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes())
}

fn assignment() -> Assignment {
    let (job, aggregator) = (JobId(Digest::of(b"job")), ProviderId([2; 32]));
    Assignment {
        id: AssignmentId::derive(aggregator, job, 3, 1, provider()),
        job,
        shard: 3,
        attempt: 1,
        provider: provider(),
        aggregator,
        input: BlobRef::of(b"input"),
        first_item: 30,
        items: 10,
        sample: Vec::new(),
        reward_max: Amount(1_000_000),
        due_ms: 60_000,
    }
}

fn fingerprint() -> Fingerprint {
    Fingerprint {
        engine: "wasmtime".into(),
        library: "onnxruntime".into(),
        execution_provider: "cpu".into(),
        device: "x86_64".into(),
        options: "threads=1".into(),
    }
}

/// Five chunks of two inferences, and what was noted.
fn noted() -> (Noted, Vec<[u8; CHUNK_BYTES]>) {
    let mut noter = Noter::default();
    let mut chunks = Vec::new();
    for count in [200_u32, 64] {
        let values: Vec<u8> = (0..count).flat_map(|v| (v as f32).to_le_bytes()).collect();
        chunks.extend(chunks_of(noter.end_inference(), &values));
    }
    chunks.iter().for_each(|chunk| noter.push(chunk).unwrap());
    (noter.noted(), chunks)
}

/// The chunks at so many places of a seed, as they are opened.
fn opened(seed: &Digest, count: u16) -> Vec<Opened> {
    let (noted, chunks) = noted();
    let tree = Tree::of(&chunks);
    let open = |place: u32| Opened {
        chunk: chunks[place as usize].to_vec(),
        proof: tree.prove(place).unwrap(),
    };
    places(seed, count, noted.chunks)
        .into_iter()
        .map(open)
        .collect()
}

/// Openings that are proven, and those of another seed.
fn openings() -> Vec<Seed> {
    let [seed, other] = [Digest::of(b"seed"), Digest::of(b"other")];
    let bytes = |opened: Vec<Opened>| encoded(&(noted().0, seed, 4_u16, opened));
    vec![
        ("openings", "four", bytes(opened(&seed, 4))),
        ("openings", "broken-places", bytes(opened(&other, 4))),
    ]
}

fn opening() -> Opening {
    let outcome = Outcome {
        noted: Some(noted().0),
        root: Digest::of(b"root"),
        outputs: BlobRef::of(b"outputs"),
        items: 10,
        meters: Meters {
            fuel: 1 << 40,
            device_us: 2,
            tensor_bytes: 3,
            memory_bytes: 4,
            tokens: 5,
        },
        fingerprint: fingerprint(),
        placement: vec![Placement {
            model: "m".into(),
            execution_provider: "cpu".into(),
            nodes: 6,
        }],
    };
    Opening {
        nonce: [1; 32],
        outcome,
    }
}

fn commitment() -> Commitment {
    let Assignment { id, job, shard, .. } = assignment();
    Commitment::bind(id, job, shard, provider(), &opening())
}

fn offer() -> Offer {
    Offer {
        provider: provider(),
        operator: Some(sign(&Operates {
            provider: provider(),
        })),
        device: DeviceSpec {
            kind: DeviceKind::Gpu,
            name: "a device".into(),
            memory_bytes: 1 << 34,
        },
        price: Price {
            per_gfuel: Amount(7),
            per_device_second: Amount(8),
        },
        fingerprint: fingerprint(),
        capacity: 2,
        memory_bytes_max: 1 << 30,
        fuel_max: 1 << 40,
        model_bytes_max: 1 << 31,
        issued: Timestamp(1_700_000_000_000),
    }
}

fn scores() -> ScoreReport {
    let played = Played {
        game: Digest::of(b"game"),
        measure: Measure::Latency,
        weight: 1,
    };
    ScoreReport::gather(provider(), 7, vec![(played, vec![(provider(), 5_000)])]).unwrap()
}

/// A game as its author writes it, and signed.
fn games(package: &Package, key: &jobs::envelope::ClientKey) -> Vec<Seed> {
    let text = read("examples/games/latency/game.toml");
    let mut written = GameText::parse(std::str::from_utf8(&text).unwrap()).unwrap();
    // The package is a small one.
    let items = package.input.items;
    (written.rounds.items_min, written.rounds.items_max) = (1, items);
    let game = GameManifest::lock(written, package.clone()).unwrap();
    let signed = game.sign(key).unwrap().to_text().unwrap();
    vec![
        ("game", "latency", text),
        ("game", "signed", signed.into_bytes()),
    ]
}

fn statements() -> Vec<Seed> {
    vec![
        ("statement", "assignment", encoded(&sign(&assignment()))),
        ("statement", "commitment", encoded(&sign(&commitment()))),
        ("statement", "offer", encoded(&sign(&offer()))),
        ("statement", "scores", encoded(&sign(&scores()))),
        // Not a statement at all, and one whose signature is another's.
        ("statement", "broken-digest", encoded(&BlobRef::of(b"x"))),
        ("statement", "broken-signature", {
            let mut bytes = encoded(&sign(&commitment()));
            *bytes.last_mut().unwrap() ^= 1;
            bytes
        }),
    ]
}

fn encoded<T: serde::Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap()
}

/// A request of each protocol, and the replies that are more than an acknowledgement.
fn messages(package: &SignedPackage) -> Vec<Seed> {
    let digest = Digest::of(b"blob");
    let (offset, len) = (0, 1024);
    let assignment = assignment();
    let id = assignment.id;
    let assign = AssignRequest {
        id,
        assignment: sign(&assignment),
        package: package.clone(),
        trace: None,
    };
    let commit = CommitRequest::Committed {
        assignment: id,
        commitment: sign(&commitment()),
    };
    let revealed = RevealReply::Revealed(Box::new(Reveal {
        assignment: id,
        opening: opening(),
        receipt: Envelope("{}".to_owned()),
    }));
    let chunk = BlobReply::Chunk {
        digest,
        total: 4,
        slice: b"blob".to_vec(),
    };
    let offer = OfferRequest {
        offer: sign(&offer()),
    };
    let asked = BlobRequest {
        digest,
        offset,
        len,
    };
    let reveal = RevealRequest {
        assignment: id,
        trace: None,
    };
    let cancel = CancelRequest { assignment: id };
    let seeds = vec![digest, Digest::of(b"other")];
    let open = OpenRequest {
        assignment: id,
        seeds,
        count: 4,
    };
    let answer = OpenReply::Opened {
        assignment: id,
        opened: opened(&digest, 4),
    };
    vec![
        ("message", "offer", message("/assay/offer/1", &offer)),
        ("message", "assign", message("/assay/assign/1", &assign)),
        ("message", "commit", message("/assay/commit/1", &commit)),
        ("message", "reveal", message("/assay/reveal/1", &reveal)),
        ("message", "revealed", message("/assay/reveal/1", &revealed)),
        ("message", "cancel", message("/assay/cancel/1", &cancel)),
        ("message", "open", message("/assay/open/1", &open)),
        ("message", "opened", message("/assay/open/1", &answer)),
        ("message", "blob", message("/assay/blob/1", &asked)),
        ("message", "chunk", message("/assay/blob/1", &chunk)),
    ]
}

/// A job that answers with its items.
const ECHO: &str = r#"(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
    (func (export "run") (param i32 i32) (result i32)
      (i32.store (i32.const 1028) (local.get 0)) (i32.store (i32.const 1032) (local.get 1))
      (i32.const 1024)))
  (core instance $i (instantiate $m))
  (type $error' (variant (case "bad-input" string) (case "model" string) (case "failed" string)))
  (export $error "job-error" (type $error'))
  (func $run (param "items" (list (list u8)))
    (result (result (list (list u8)) (error $error)))
    (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc"))))
  (export "run" (func $run)))"#;

/// What begins a job that imports WASI and has a component inside.
const COMPAT: &str = r#"(component
  (import "wasi:cli/exit@0.2.3" (instance (export "exit" (func (param "status" (result))))))
  (component $shim (import "a" (func $f)) (export "b" (func $f)))"#;

/// All of them: target, name and bytes. What begins with `broken-` is refused by its decoder.
fn all() -> Vec<Seed> {
    let items = jobs::items::encode(&["one", "", "three"]).unwrap();
    let array = jobs::npy::write(jobs::package::Dtype::F32, &[2], &[[0; 8], [1; 8]]);
    let dir = || PathBuf::from("/tmp/assay");
    let hello = Request::Hello(Confinement::default(), SandboxConfig::new(dir()));
    let failed = Response::Failed(
        FailureKind::Busy {
            waiting: 1,
            limit: 2,
        }
        .into(),
    );
    let component = wat::parse_str(ECHO).unwrap();
    let compat = wat::parse_str(ECHO.replacen("(component", COMPAT, 1)).unwrap();
    let key = jobs::envelope::ClientKey::generate().unwrap();
    let text = read("jobs/tests/signed/package.json");
    let package = Package::from_canonical(text.trim_ascii_end()).unwrap();
    let games = games(&package, &key);
    let package = key.sign_package(&package).unwrap();
    let mut seeds = signed(&package, &key);
    seeds.extend(games);
    seeds.extend(statements());
    seeds.extend(openings());
    seeds.extend(messages(&package));
    seeds.extend([
        ("manifest", "embed", read("examples/embed/job.toml")),
        ("items", "three", items.clone()),
        ("array", "rows", array.unwrap()),
        ("component", "echo", component),
        ("component", "compat", compat),
        ("frame", "hello", frame(&hello, &[])),
        ("frame", "probe", frame(&Request::Probe, &items)),
        ("frame", "failed", frame(&failed, &[])),
        (
            "model",
            "identity",
            read("host-gpu/tests/data/identity_f32.onnx"),
        ),
        ("model", "endless", read("host-gpu/tests/data/endless.onnx")),
        ("tensor", "two", [&[1, 1, 2, 0, 0, 0][..], &[0; 8]].concat()),
        ("tensor", "none", vec![6, 2, 0, 0, 0, 0, 255, 255, 255, 255]),
    ]);
    seeds
}

/// Two outputs, after what says how they are compared.
fn pair(how: &[u8], left: &[u8], right: &[u8]) -> Vec<u8> {
    [how, &(left.len() as u16).to_le_bytes(), left, right].concat()
}

fn f32s(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// A proof, and the items that it is about.
fn merkle() -> Vec<u8> {
    let proof = jobs::merkle::prove(&["one", "two", "three"], 1).unwrap();
    let proof = postcard::to_stdvec(&proof).unwrap();
    [&[proof.len() as u8][..], &proof, b"one\0two\0three"].concat()
}

/// Outputs that a comparator reads, and sketches of them.
fn compared() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    use jobs::compare::sketch::projection::Projection;
    use jobs::compare::sketch::toploc::{Form, Proof};
    let golden = read("jobs/tests/tokens/v1.hex");
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    let (digits, _) = golden.trim_ascii_end().as_chunks::<2>();
    let written: Vec<u8> = digits
        .iter()
        .map(|[a, b]| digit(*a) << 4 | digit(*b))
        .collect();
    let parted = {
        let mut other = written.clone();
        other[16] ^= 1;
        other
    };
    let numbers = || f32s((0..130_u8).map(|i| f32::from(i) - 64.5));
    let close = f32s((0..130_u8).map(|i| f32::from(i) - 64.4999));
    let sketches = [Form::Bf16, Form::F32].map(|form| {
        let proof = Proof::build(form, &numbers(), 5).unwrap();
        let how = 10 | u8::from(form == Form::F32);
        [&[how][..], &proof.encode(), &numbers()].concat()
    });
    let [bf16, f32] = sketches;
    let projected = Projection::of(&numbers(), 16, &[7; 32]).unwrap().encode();
    vec![
        ("compare-numeric", "all", pair(&[0x71], &numbers(), &close)),
        (
            "compare-numeric",
            "half",
            pair(&[0x70], &[0, 60, 1, 60], &[1, 60, 0, 60]),
        ),
        ("compare-tokens", "same", pair(&[], &written, &written)),
        ("compare-tokens", "parted", pair(&[], &written, &parted)),
        (
            "compare-json",
            "field",
            pair(
                b"/a\n",
                br#"{"a":[1,2.5],"b":"x"}"#,
                br#"{"b":"\u0078","a":[1.001,2.5e0]}"#,
            ),
        ),
        (
            "compare-sketch",
            "toploc",
            pair(&[0], &numbers(), &numbers()),
        ),
        (
            "compare-sketch",
            "toploc-f32",
            pair(&[1], &numbers(), &close),
        ),
        (
            "compare-sketch",
            "projection",
            pair(&[2], &numbers(), &close),
        ),
        ("tokens", "golden", written),
        ("toploc", "bf16", bf16),
        ("toploc", "f32", f32),
        ("projection", "sixteen", [&[16][..], &projected].concat()),
        ("merkle", "three", merkle()),
        (
            "verdict",
            "tie",
            vec![4, 2, 0b0000_0010, 0, 0, 0, 0b0000_1000],
        ),
    ]
}

/// Writes them to the folder of their target.
pub(crate) fn write(folder: impl Fn(&str) -> PathBuf) {
    for (target, name, bytes) in all().into_iter().chain(compared()) {
        std::fs::create_dir_all(folder(target)).unwrap();
        std::fs::write(folder(target).join(name), bytes).unwrap();
    }
}
