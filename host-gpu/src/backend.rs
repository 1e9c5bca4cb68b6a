//! The trait behind which hardware hides: load a graph, describe it, run it, say what ran it.
//!
//! A [`NnSession`] takes `&mut self` to run, because ONNX Runtime is not safe to run from two threads
//! at once. Everything that may be called from elsewhere is in the
//! [`StopFlag`] that travels with a run.

use crate::error::{GuestFault, NnError};
use crate::tensor::{BoundInput, ElementType, NamedOutput, ReadBack, TensorValue};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most inputs a graph may ask for.
pub(crate) const MAX_PORTS: usize = 1024;
/// The longest name of an input or output that is repeated in an error, in bytes.
const MAX_NAME_SHOWN_BYTES: usize = 64;

/// Where a graph runs. Asked for by name; never replaced by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Device {
    /// The host's processor.
    Cpu,
    /// The CUDA device of this index.
    Cuda(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// The kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// The host's processor.
    Cpu,
    /// A CUDA device.
    Cuda,
}

/// A device that graphs can really be loaded on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// How to ask for it.
    pub device: Device,
    /// Its kind.
    pub kind: DeviceKind,
    /// The maker's name of it.
    pub name: String,
    /// Its memory in bytes, 0 if the machine does not say.
    pub memory_bytes: u64,
    /// The driver's version; for a processor, its instruction set level.
    pub driver: String,
}

/// What decides the bits of a result besides graph and inputs. Equal parts, equal bits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FingerprintParts {
    /// The engine's build: version, commit and digest of the library that is loaded.
    pub engine: String,
    /// The execution provider that runs the kernels.
    pub execution_provider: String,
    /// The device's model and driver, or the processor's instruction set.
    pub device: String,
    /// The session's options.
    pub options: String,
}

/// How much a graph is rewritten before it runs. Jobs always run with [`Optimisation::All`]; the others show how
/// much an answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Optimisation {
    /// Not at all.
    Off,
    /// Constants are folded and what is redundant goes.
    Basic,
    /// Nodes are fused, too.
    Extended,
    /// Memory layouts change, too.
    All,
}

impl Optimisation {
    /// Every level, for tables.
    pub const ALL: [Self; 4] = [Self::Off, Self::Basic, Self::Extended, Self::All];

    /// The name by which a fingerprint calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Basic => "basic",
            Self::Extended => "extended",
            Self::All => "all",
        }
    }
}

/// Options of a session. Everything else is pinned: one graph, one way to run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GraphOptions {
    /// Where to run.
    pub device: Device,
    /// Threads within one kernel. More than one changes how sums are split on some processors.
    pub intra_threads: u16,
    /// Whether nodes for which the device has no kernel may run on the processor. Without it a graph
    /// that has such nodes is refused; nothing moves silently.
    pub host_nodes: bool,
    /// How much the graph is rewritten first.
    pub optimisation: Optimisation,
}

impl GraphOptions {
    /// One thread on `device`, everything optimised: how jobs run.
    pub fn on(device: Device) -> Self {
        Self {
            device,
            intra_threads: 1,
            host_nodes: false,
            optimisation: Optimisation::All,
        }
    }
}

/// Nodes of a graph that one execution provider runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodesOn {
    /// The execution provider's name.
    pub provider: String,
    /// How many nodes it runs.
    pub nodes: u32,
    /// Their operators, each once, in order; of many only the first.
    pub operators: Vec<String>,
}

/// An input or output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub ty: ElementType,
    /// Its dimensions; `None` where any size will do.
    pub dims: Vec<Option<u32>>,
}

/// The inputs and outputs of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphIo {
    /// What a run needs, each exactly once.
    pub inputs: Vec<Port>,
    /// What a run gives, in this order.
    pub outputs: Vec<Port>,
}

impl GraphIo {
    /// Checks a guest's inputs against the graph and puts them in its order.
    pub fn bind(
        &self,
        given: Vec<(String, Arc<TensorValue>)>,
    ) -> Result<Vec<BoundInput>, GuestFault> {
        let mut slots: Vec<Option<Arc<TensorValue>>> = self.inputs.iter().map(|_| None).collect();
        for ((name, value), turn) in given.into_iter().zip(0_usize..) {
            // Most come in the graph's own order, and a decoder has many.
            let own = |port: &Port| port.name == name;
            let position = match self.inputs.get(turn).is_some_and(own) {
                true => Some(turn),
                false => self.inputs.iter().position(own),
            };
            let Some(slot) = position.and_then(|at| slots.get_mut(at)) else {
                return Err(GuestFault::invalid(format!(
                    "the graph has no input {:?}",
                    shown(&name)
                )));
            };
            if slot.replace(value).is_some() {
                return Err(GuestFault::invalid(format!(
                    "input {:?} is given twice",
                    shown(&name)
                )));
            }
        }
        let bound = self
            .inputs
            .iter()
            .zip(slots)
            .map(|(port, value)| match value {
                Some(value) => port.bind(value),
                None => Err(GuestFault::invalid(format!(
                    "input {:?} is missing",
                    shown(&port.name)
                ))),
            });
        bound.collect()
    }
}

impl Port {
    fn bind(&self, value: Arc<TensorValue>) -> Result<BoundInput, GuestFault> {
        if value.ty() != self.ty {
            return Err(GuestFault::invalid(format!(
                "input {:?} is {}, the graph wants {}",
                shown(&self.name),
                value.ty(),
                self.ty
            )));
        }
        let dims = match (self.dims.as_slice(), value.dims()) {
            // wasi:nn writes a single value as [1]; a graph may write it as a scalar, or the reverse.
            ([], [1]) => Vec::new(),
            ([None | Some(1)], []) => vec![1],
            (_, dims) => dims.to_vec(),
        };
        let fits = |(want, have): (&Option<u32>, &u32)| want.is_none_or(|want| want == *have);
        if dims.len() != self.dims.len() || !self.dims.iter().zip(&dims).all(fits) {
            return Err(GuestFault::invalid(format!(
                "input {:?} has dimensions {dims:?}, the graph wants {}",
                shown(&self.name),
                ShownDims(&self.dims)
            )));
        }
        Ok(BoundInput {
            name: self.name.clone(),
            dims,
            value,
        })
    }
}

struct ShownDims<'a>(&'a [Option<u32>]);

impl fmt::Display for ShownDims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self
            .0
            .iter()
            .map(|dim| dim.map_or_else(|| "any".to_owned(), |dim| dim.to_string()))
            .collect();
        write!(f, "[{}]", dims.join(", "))
    }
}

/// A name cut to a length that fits an error.
pub(crate) fn shown(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME_SHOWN_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}

/// Loads graphs onto devices.
pub trait NnBackend: Send + Sync + fmt::Debug {
    /// The devices on which this library, on this machine, can really load a graph.
    fn available_devices(&self) -> Vec<DeviceInfo>;

    /// What will decide the bits of a run with these options.
    fn fingerprint(&self, options: &GraphOptions) -> Result<FingerprintParts, NnError>;

    /// Loads a graph from its bytes. `name` is for messages. The session may be run by
    /// another thread than loaded it, by one at a time.
    fn load(
        &self,
        name: &str,
        bytes: &[u8],
        options: &GraphOptions,
        stop: &StopFlag,
    ) -> Result<Box<dyn NnSession>, NnError>;
}

/// A loaded graph. Run by one thread at a time.
pub trait NnSession: Send {
    /// Its inputs and outputs.
    fn io(&self) -> &GraphIo;

    /// Which execution provider runs how many of its nodes.
    fn placement(&self) -> Vec<NodesOn>;

    /// Runs it on inputs that [`GraphIo::bind`] has checked. Outputs come in the order of [`GraphIo::outputs`].
    fn run(&mut self, inputs: &[BoundInput], stop: &StopFlag) -> Result<Vec<NamedOutput>, NnError>;

    /// As [`NnSession::run`], for one who runs it again and again: outputs that it has read back to the
    /// host are put where that is cheap.
    fn run_for(
        &mut self,
        inputs: &[BoundInput],
        _read_back: &Arc<ReadBack>,
        stop: &StopFlag,
    ) -> Result<Vec<NamedOutput>, NnError> {
        self.run(inputs, stop)
    }
}

/// Stops a run, or a load, from another thread.
#[derive(Default)]
pub struct StopFlag(Mutex<StopState>);

#[derive(Default)]
struct StopState {
    stopped: bool,
    hook: Option<Box<dyn Fn() + Send>>,
}

impl StopFlag {
    /// Stops what runs under this flag, now or later.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        if let Some(hook) = &state.hook {
            hook();
        }
    }

    /// True once [`StopFlag::stop`] was called.
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Registers how to interrupt what is about to start; fails if it should not start at all.
    ///
    /// The lock makes the order certain: either the stop comes first and nothing starts, or the
    /// hook is in place and the stop calls it.
    pub(crate) fn arm(&self, hook: Box<dyn Fn() + Send>) -> Result<Armed<'_>, NnError> {
        let mut state = self.state();
        if state.stopped {
            return Err(NnError::Stopped);
        }
        state.hook = Some(hook);
        Ok(Armed(self))
    }

    fn state(&self) -> MutexGuard<'_, StopState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for StopFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StopFlag({})", self.is_stopped())
    }
}

/// Takes the hook away when the run is over.
pub(crate) struct Armed<'a>(&'a StopFlag);

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        self.0.state().hook = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io() -> GraphIo {
        let port = |name: &str, ty, dims: &[Option<u32>]| Port {
            name: name.to_owned(),
            ty,
            dims: dims.to_vec(),
        };
        GraphIo {
            inputs: vec![
                port("x", ElementType::F32, &[None, Some(2)]),
                port("s", ElementType::I64, &[]),
                port("one", ElementType::U8, &[Some(1)]),
            ],
            outputs: vec![],
        }
    }

    fn tensor(ty: ElementType, dims: &[u32]) -> Arc<TensorValue> {
        let len = byte_count(ty, dims);
        Arc::new(TensorValue::from_bytes(ty, dims, &vec![0; len]).unwrap())
    }

    fn byte_count(ty: ElementType, dims: &[u32]) -> usize {
        dims.iter().map(|dim| *dim as usize).product::<usize>() * ty.size_bytes()
    }

    fn bind(inputs: &[(&str, ElementType, &[u32])]) -> Result<Vec<BoundInput>, String> {
        let given = inputs
            .iter()
            .map(|(name, ty, dims)| ((*name).to_owned(), tensor(*ty, dims)))
            .collect();
        io().bind(given).map_err(|fault| fault.text().to_owned())
    }

    #[test]
    fn inputs_are_bound_in_the_graphs_order_and_scalars_take_its_form() {
        use ElementType::{F32, I64, U8};
        let bound = bind(&[("one", U8, &[]), ("s", I64, &[1]), ("x", F32, &[5, 2])]).unwrap();
        let seen: Vec<(&str, &[u32])> = bound
            .iter()
            .map(|b| (b.name.as_str(), b.dims.as_slice()))
            .collect();
        assert_eq!(seen, [("x", &[5, 2][..]), ("s", &[]), ("one", &[1])]);
    }

    #[test]
    fn wrong_inputs_are_named() {
        use ElementType::{F32, F64, I64, U8};
        let (x, s, one): ((&str, ElementType, &[u32]), _, _) = (
            ("x", F32, &[1, 2]),
            ("s", I64, &[][..]),
            ("one", U8, &[1][..]),
        );
        for (inputs, expected) in [
            (vec![x, s], "input \"one\" is missing"),
            (vec![x, s, one, x], "input \"x\" is given twice"),
            (vec![x, s, one, ("z", F32, &[1])], "no input \"z\""),
            (
                vec![("x", F64, &[1, 2]), s, one],
                "input \"x\" is f64, the graph wants f32",
            ),
            (
                vec![("x", F32, &[1, 3]), s, one],
                "has dimensions [1, 3], the graph wants [any, 2]",
            ),
            (
                vec![("x", F32, &[2]), s, one],
                "has dimensions [2], the graph wants [any, 2]",
            ),
            (
                vec![x, ("s", I64, &[2]), one],
                "has dimensions [2], the graph wants []",
            ),
            (vec![], "input \"x\" is missing"),
        ] {
            let error = bind(&inputs).unwrap_err();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }

    #[test]
    fn a_stop_before_the_start_prevents_it_and_a_stop_after_calls_the_hook() {
        let early = StopFlag::default();
        early.stop();
        assert!(matches!(early.arm(Box::new(|| ())), Err(NnError::Stopped)));

        let called = Arc::new(StopFlag::default());
        let witness = Arc::clone(&called);
        let flag = StopFlag::default();
        let armed = flag.arm(Box::new(move || witness.stop())).ok();
        assert!(armed.is_some() && !called.is_stopped());
        flag.stop();
        assert!(called.is_stopped());
    }
}
