//! The twin of the ONNX Runtime backend: pure Rust, a handful of operators, graphs in plain text.
//!
//! ```text
//! assay-reference-graph 1
//! input x f32 -1 4
//! output y = add x x
//! ```
//! A `-1` stands for any size. Operators: `identity A`, `add A B` (equal shapes; integers wrap),
//! `spin A` (runs until it is stopped), `fail A` (fails as a kernel would on bad data).
//! It exists so that everything above the trait can be tested without a native library.

use crate::backend::{
    Device, DeviceInfo, DeviceKind, FingerprintParts, GraphIo, GraphOptions, MAX_PORTS, NnBackend,
    NnSession, NodesOn, Port, StopFlag,
};
use crate::error::{FaultCode, GuestFault, NnError};
use crate::ort_backend::devices;
use crate::tensor::plain::{Plain, bytes_of, values_of};
use crate::tensor::{BoundInput, ElementType, MAX_RANK, NamedOutput, TensorValue};
use std::time::Duration;

/// What it calls itself where execution providers are named.
const PROVIDER: &str = "reference";
/// The first line of every reference graph.
const HEADER: &str = "assay-reference-graph 1";
/// The largest description, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 64 * 1024;
/// How long `spin` sleeps between looks at its stop flag.
const SPIN_PAUSE: Duration = Duration::from_millis(1);

/// Runs reference graphs on the processor.
#[derive(Debug, Default)]
pub struct ReferenceBackend(());

impl ReferenceBackend {
    /// A backend; it needs nothing.
    pub fn new() -> Self {
        Self(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Identity(usize),
    Add(usize, usize),
    Spin(usize),
    Fail(usize),
}

#[derive(Debug)]
struct ReferenceSession {
    io: GraphIo,
    ops: Vec<Op>,
}

impl NnBackend for ReferenceBackend {
    fn available_devices(&self) -> Vec<DeviceInfo> {
        vec![DeviceInfo {
            device: Device::Cpu,
            kind: DeviceKind::Cpu,
            name: "reference".to_owned(),
            memory_bytes: devices::host_memory_bytes(),
            driver: "none".to_owned(),
        }]
    }

    fn fingerprint(&self, options: &GraphOptions) -> Result<FingerprintParts, NnError> {
        check_device(options.device)?;
        Ok(FingerprintParts {
            engine: format!("assay-reference {}", env!("CARGO_PKG_VERSION")),
            execution_provider: PROVIDER.to_owned(),
            device: "any".to_owned(),
            options: "none".to_owned(),
        })
    }

    fn load(
        &self,
        name: &str,
        bytes: &[u8],
        options: &GraphOptions,
        stop: &StopFlag,
    ) -> Result<Box<dyn NnSession>, NnError> {
        check_device(options.device)?;
        if stop.is_stopped() {
            return Err(NnError::Stopped);
        }
        let session = parse(bytes).map_err(|reason| NnError::GraphRejected {
            name: name.to_owned(),
            reason,
        })?;
        Ok(Box::new(session))
    }
}

fn check_device(device: Device) -> Result<(), NnError> {
    if device == Device::Cpu {
        return Ok(());
    }
    let reason = "the reference backend has no such device".to_owned();
    Err(NnError::DeviceUnavailable {
        device: device.to_string(),
        reason,
    })
}

fn parse(bytes: &[u8]) -> Result<ReferenceSession, String> {
    if bytes.len() > MAX_DESCRIPTION_BYTES {
        return Err(format!(
            "the description has {} bytes, the bound is {MAX_DESCRIPTION_BYTES}",
            bytes.len()
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "the description is not text".to_owned())?;
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Err(format!("the first line is not {HEADER:?}"));
    }
    let mut session = ReferenceSession {
        io: GraphIo {
            inputs: Vec::new(),
            outputs: Vec::new(),
        },
        ops: Vec::new(),
    };
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["input", name, ty, dims @ ..] => session.io.inputs.push(parse_input(name, ty, dims)?),
            ["output", name, "=", op, args @ ..] => session.add_output(name, op, args)?,
            _ => return Err(format!("cannot read {:?}", crate::backend::shown(line))),
        }
        if session.io.inputs.len().max(session.io.outputs.len()) > MAX_PORTS {
            return Err(format!("more than {MAX_PORTS} inputs or outputs"));
        }
    }
    if session.ops.is_empty() {
        return Err("the graph has no outputs".to_owned());
    }
    Ok(session)
}

fn parse_input(name: &str, ty: &str, dims: &[&str]) -> Result<Port, String> {
    let found = ElementType::ALL
        .into_iter()
        .find(|known| known.name() == ty);
    let ty =
        found.ok_or_else(|| format!("wasi:nn cannot carry {:?}", crate::backend::shown(ty)))?;
    if dims.len() > MAX_RANK {
        return Err(format!("rank {}, the bound is {MAX_RANK}", dims.len()));
    }
    let dims = dims.iter().map(|dim| match *dim {
        "-1" => Ok(None),
        size => size
            .parse()
            .map(Some)
            .map_err(|_| format!("{:?} is no dimension", crate::backend::shown(size))),
    });
    Ok(Port {
        name: name.to_owned(),
        ty,
        dims: dims.collect::<Result<_, _>>()?,
    })
}

impl ReferenceSession {
    fn add_output(&mut self, name: &str, op: &str, args: &[&str]) -> Result<(), String> {
        let find = |name: &str| {
            let at = self.io.inputs.iter().position(|port| port.name == name);
            at.ok_or_else(|| format!("no input {:?}", crate::backend::shown(name)))
        };
        let (op, of) = match (op, args) {
            ("identity", [a]) => (Op::Identity(find(a)?), find(a)?),
            ("spin", [a]) => (Op::Spin(find(a)?), find(a)?),
            ("fail", [a]) => (Op::Fail(find(a)?), find(a)?),
            ("add", [a, b]) => (Op::Add(find(a)?, find(b)?), find(a)?),
            _ => {
                return Err(format!(
                    "no operator {:?} of {} inputs",
                    crate::backend::shown(op),
                    args.len()
                ));
            }
        };
        let port = self.io.inputs.get(of).ok_or("no such input")?;
        self.io.outputs.push(Port {
            name: name.to_owned(),
            ..port.clone()
        });
        self.ops.push(op);
        Ok(())
    }

    fn apply(op: Op, inputs: &[BoundInput], stop: &StopFlag) -> Result<TensorValue, NnError> {
        let input = |at: usize| {
            inputs
                .get(at)
                .ok_or_else(|| NnError::Backend("an input is missing".to_owned()))
        };
        match op {
            Op::Identity(at) => {
                let a = input(at)?;
                Ok(TensorValue::from_bytes(
                    a.value.ty(),
                    &a.dims,
                    a.value.host_bytes()?,
                )?)
            }
            Op::Add(left, right) => add(input(left)?, input(right)?),
            Op::Spin(at) => {
                input(at)?;
                while !stop.is_stopped() {
                    std::thread::sleep(SPIN_PAUSE);
                }
                Err(NnError::Stopped)
            }
            Op::Fail(at) => {
                input(at)?;
                Err(GuestFault::new(FaultCode::RuntimeError, "the operator `fail` fails").into())
            }
        }
    }
}

impl NnSession for ReferenceSession {
    fn io(&self) -> &GraphIo {
        &self.io
    }

    fn placement(&self) -> Vec<NodesOn> {
        vec![NodesOn {
            provider: PROVIDER.to_owned(),
            nodes: u32::try_from(self.ops.len()).unwrap_or(u32::MAX),
            operators: Vec::new(),
        }]
    }

    fn run(&mut self, inputs: &[BoundInput], stop: &StopFlag) -> Result<Vec<NamedOutput>, NnError> {
        if stop.is_stopped() {
            return Err(NnError::Stopped);
        }
        let outputs = self.io.outputs.iter().zip(&self.ops);
        outputs
            .map(|(port, op)| Ok((port.name.clone(), Self::apply(*op, inputs, stop)?)))
            .collect()
    }
}

fn add(a: &BoundInput, b: &BoundInput) -> Result<TensorValue, NnError> {
    if a.dims != b.dims || a.value.ty() != b.value.ty() {
        let text = format!(
            "cannot add {} {:?} and {} {:?}",
            a.value.ty(),
            a.dims,
            b.value.ty(),
            b.dims
        );
        return Err(GuestFault::new(FaultCode::RuntimeError, &text).into());
    }
    match a.value.ty() {
        ElementType::F16 => add_as(a, b, |x: half::f16, y| x + y),
        ElementType::Bf16 => add_as(a, b, |x: half::bf16, y| x + y),
        ElementType::F32 => add_as(a, b, |x: f32, y| x + y),
        ElementType::F64 => add_as(a, b, |x: f64, y| x + y),
        ElementType::U8 => add_as(a, b, u8::wrapping_add),
        ElementType::I32 => add_as(a, b, i32::wrapping_add),
        ElementType::I64 => add_as(a, b, i64::wrapping_add),
    }
}

fn add_as<T: Plain>(
    a: &BoundInput,
    b: &BoundInput,
    plus: impl Fn(T, T) -> T,
) -> Result<TensorValue, NnError> {
    let view = |input: &BoundInput| -> Result<Vec<T>, NnError> {
        let values = values_of::<T>(input.value.host_bytes()?);
        Ok(values
            .ok_or_else(|| NnError::Backend("a tensor is not aligned".to_owned()))?
            .to_vec())
    };
    let sum: Vec<T> = view(a)?
        .into_iter()
        .zip(view(b)?)
        .map(|(x, y)| plus(x, y))
        .collect();
    Ok(TensorValue::from_bytes(
        a.value.ty(),
        &a.dims,
        bytes_of(&sum),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_that_cannot_be_read_is_refused_with_the_reason() {
        for (text, expected) in [
            ("", "first line"),
            ("assay-reference-graph 2\n", "first line"),
            ("assay-reference-graph 1\n", "no outputs"),
            (
                "assay-reference-graph 1\ninput x bool 1\n",
                "cannot carry \"bool\"",
            ),
            (
                "assay-reference-graph 1\ninput x f32 -2\n",
                "\"-2\" is no dimension",
            ),
            (
                "assay-reference-graph 1\ninput x f32 4294967296\n",
                "is no dimension",
            ),
            (
                "assay-reference-graph 1\noutput y = identity x\n",
                "no input \"x\"",
            ),
            (
                "assay-reference-graph 1\ninput x f32\noutput y = sub x x\n",
                "no operator \"sub\"",
            ),
            (
                "assay-reference-graph 1\nnonsense\n",
                "cannot read \"nonsense\"",
            ),
        ] {
            let reason = parse(text.as_bytes()).unwrap_err();
            assert!(reason.contains(expected), "{text:?}: {reason}");
        }
        assert!(parse(&[0xff; 100]).is_err());
        assert!(parse(&vec![b' '; MAX_DESCRIPTION_BYTES + 1]).is_err());
    }
}
