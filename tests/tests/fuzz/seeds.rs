//! Seeds that are made by code, because text cannot hold them.

use std::path::{Path, PathBuf};

use jobs::digest::{BlobRef, Digest};
use jobs::package::Package;
use network::protocol::{BlobRequest, NAMES};
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

/// A signed package as it travels, and the same as a blob with its bundle and key.
fn signed() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let key = jobs::envelope::ClientKey::generate().unwrap();
    let text = read("jobs/tests/signed/package.json");
    let package = Package::from_canonical(text.trim_ascii_end()).unwrap();
    let signed = key.sign_package(&package).unwrap();
    let bundle = key.sign_blob(b"blob").unwrap();
    let blob = format!(
        "{}\nblob\n{bundle}",
        key.public_key_pem().replace('\n', " ")
    );
    vec![
        ("package", "one", text.trim_ascii_end().to_vec()),
        ("envelope", "package", postcard::to_stdvec(&signed).unwrap()),
        ("envelope", "blob", blob.into_bytes()),
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
  (type $error' (variant (case "failed" string)))
  (export $error "job-error" (type $error'))
  (func $run (param "items" (list (list u8)))
    (result (result (list (list u8)) (error $error)))
    (canon lift (core func $i "run") (memory $i "memory") (realloc (func $i "realloc"))))
  (export "run" (func $run)))"#;

fn all() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let items = jobs::items::encode(&["one", "", "three"]).unwrap();
    let array = jobs::npy::write(jobs::package::Dtype::F32, &[2], &[[0; 8], [1; 8]]);
    let ask = BlobRequest {
        digest: Digest::of(b"blob"),
        offset: 0,
        len: 1024,
    };
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
    let mut seeds = signed();
    seeds.extend([
        ("manifest", "embed", read("examples/embed/job.toml")),
        ("items", "three", items.clone()),
        ("array", "rows", array.unwrap()),
        ("component", "echo", component),
        ("message", "blob", message("/assay/blob/1", &ask)),
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
        (
            "statement",
            "commitment",
            postcard::to_stdvec(&BlobRef::of(b"x")).unwrap(),
        ),
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
