//! What the tests share: the library, graphs in both languages, tensors.

use host_gpu::{
    BoundInput, ElementType, GraphOptions, NnBackend, NnSession, OrtBackend, OrtLibrary,
    ReferenceBackend, StopFlag, TensorValue,
};
use std::path::PathBuf;
use std::sync::Arc;

/// The ONNX Runtime backend. Fails, and says what to do, where set-up has not been run.
pub fn ort() -> Arc<OrtBackend> {
    match OrtLibrary::load_discovered() {
        Ok(library) => Arc::new(OrtBackend::new(library)),
        Err(error) => panic!("{error}"),
    }
}

/// A file of the tests' data: beside the sources, or where a program that was copied to another machine
/// is told.
pub fn data(name: &str) -> PathBuf {
    let told = std::env::var_os("ASSAY_TEST_DATA").map(PathBuf::from);
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    told.unwrap_or_else(beside).join(name)
}

/// A backend together with its words for the suite's graphs.
pub struct Subject {
    pub name: &'static str,
    pub backend: Arc<dyn NnBackend>,
    onnx: bool,
}

/// Every backend, for tests that all must pass.
pub fn subjects() -> [Subject; 2] {
    [
        Subject {
            name: "reference",
            backend: Arc::new(ReferenceBackend::new()),
            onnx: false,
        },
        Subject {
            name: "onnxruntime",
            backend: ort(),
            onnx: true,
        },
    ]
}

impl Subject {
    /// The bytes of the graph `name`.
    pub fn graph(&self, name: &str) -> Vec<u8> {
        if self.onnx {
            return std::fs::read(data(&format!("{name}.onnx"))).unwrap();
        }
        let body = match name {
            "add" => "input x f32 -1 2\ninput y f32 -1 2\noutput sum = add x y".to_owned(),
            "scalar" => "input x i64\noutput y = identity x".to_owned(),
            "endless" => "input x f32 1\noutput y = spin x".to_owned(),
            "bool_output" => "input x bool -1\noutput y = identity x".to_owned(),
            identity => {
                let ty = identity.strip_prefix("identity_").unwrap();
                format!("input x {ty} -1 3\noutput y = identity x")
            }
        };
        format!("assay-reference-graph 1\n{body}\n").into_bytes()
    }

    pub fn load(&self, name: &str, options: &GraphOptions) -> Box<dyn NnSession> {
        let loaded = self
            .backend
            .load(name, &self.graph(name), options, &StopFlag::default());
        loaded.unwrap_or_else(|error| panic!("{} {name}: {error}", self.name))
    }
}

pub fn f32s(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

pub fn i64s(values: &[i64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

pub fn tensor(ty: ElementType, dims: &[u32], data: &[u8]) -> Arc<TensorValue> {
    Arc::new(TensorValue::from_bytes(ty, dims, data).unwrap())
}

/// An output's name, dimensions and bytes.
pub type Output = (String, Vec<u32>, Vec<u8>);

/// Binds, runs, and reads every output.
pub fn run(
    session: &mut dyn NnSession,
    given: Vec<(&str, Arc<TensorValue>)>,
) -> Result<Vec<Output>, host_gpu::NnError> {
    let given = given
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let bound: Vec<BoundInput> = session.io().bind(given)?;
    let outputs = session.run(&bound, &StopFlag::default())?;
    outputs
        .into_iter()
        .map(|(name, value)| Ok((name, value.dims().to_vec(), value.host_bytes()?.to_vec())))
        .collect()
}
