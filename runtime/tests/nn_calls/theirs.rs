//! WasmEdge's tests of its `wasi_nn` plugin, at commit `d516c5d663de9cc275a284ffe4585526d164cca2`:
//! the blocks of `wasi_nn.cpp` and of `resource_table_test.cpp`, and what stands for each here.
//!
//! Theirs is the older interface of core modules: numbers for handles, buffers that the guest
//! measures, `set_input` and `get_output` by index, graphs from the guest's own bytes. In ours the
//! component model hands out handles and copies lists, so much of it cannot be written down; what
//! remains of the idea is.

/// What stands for a test of theirs.
#[derive(Debug)]
pub(crate) enum Ours {
    /// Calls of the list.
    Calls(&'static [&'static str]),
    /// A test of its own.
    Test(&'static str),
    /// Nothing, for a reason.
    Not(&'static str),
}

use Ours::{Calls, Not, Test};

const OTHER_BACKEND: &str =
    "a backend we do not have; the calls that it makes are those of the other backends";

pub(crate) const THEIRS: &[(&str, Ours)] = &[
    (
        "OpenVINOBackend",
        Calls(&[
            "load of meaningless bytes",
            "load with its result outside memory",
            "load of parts outside memory",
            "load of bytes outside memory",
            "load of four parts",
            "load for a target that is none",
            "name of a graph",
            "name asked for twice",
            "context of no graph",
            "context of a dropped graph",
            "two contexts of one graph",
            "compute in no context",
            "compute in a dropped context",
            "input that the graph does not have",
            "input of another type",
            "no input",
            "output",
            "output of no tensor",
            "output with its result outside memory",
            "output into memory that the guest does not have",
            "output for which memory would have to grow too far",
        ]),
    ),
    (
        "PyTorchBackend",
        Calls(&[
            "load of bytes that end outside memory",
            "load of no bytes",
            "load for a tpu",
            "input of another type",
            "input of another rank",
            "output of no tensor",
            "compute that fails",
        ]),
    ),
    (
        "TFLiteBackend",
        Calls(&[
            "load in an encoding that is none",
            "dimensions outside memory",
            "data outside memory",
            "too little data",
            "too much data",
            "half an element",
        ]),
    ),
    (
        "GGMLBackend",
        Calls(&[
            "graph dropped before a compute",
            "graph and context dropped before the output is read",
            "graph dropped twice",
            "context of a dropped graph",
            "name again after its graph was dropped",
            "context dropped twice",
            "output after its tensor was dropped",
            "output into memory that the guest does not have",
        ]),
    ),
    (
        "DrainAfterUnloadHostOpTiers",
        Calls(&[
            "graph dropped before a compute",
            "graph and context dropped before the output is read",
            "context of a dropped graph",
        ]),
    ),
    (
        "GraphStatusDetachedIsTerminal",
        Not("a graph here has no state that a guest could change: a handle is held or dropped"),
    ),
    (
        "LoadByNameConcurrentBuildsShareOneGraph",
        Test("instances_that_load_one_name_at_the_same_time_share_one_graph"),
    ),
    (
        "LoadByNameSkipsDetachedGraphStillInTable",
        Calls(&["name again after its graph was dropped"]),
    ),
    (
        "GGMLBackendDrainAfterInvalidReloadUnload",
        Calls(&[
            "context after a compute that failed",
            "compute that fails",
            "text of an error that was dropped",
        ]),
    ),
    ("UnloadRejectsInvalidGraphId", Calls(&["drop of no graph"])),
    (
        "FinalizeRejectsInvalidContextId",
        Calls(&["drop of no context"]),
    ),
    (
        "ComputeRejectsInvalidContextId",
        Calls(&["compute in no context"]),
    ),
    (
        "WasiNNLoadByNameRejectsNameBeyondMemory",
        Calls(&[
            "name outside memory",
            "name that ends outside memory",
            "name without letters",
            "name that is no text",
            "name with its result outside memory",
        ]),
    ),
    (
        "WasiNNLoadByNameWithConfigRejectsOutOfBoundsExtent",
        Calls(&["name outside memory", "name that ends outside memory"]),
    ),
    (
        "GGMLBackendWithRPC",
        Not("graphs run in the worker of the guest; there is no server to call"),
    ),
    (
        "GGMLBackendComputeSingleWithRPC",
        Not("graphs run in the worker of the guest; there is no server to call"),
    ),
    (
        "RPCServerHostFuncCallerSizesMemoryByBytes",
        Not("graphs run in the worker of the guest; there is no server to call"),
    ),
    ("WhisperBackend", Not(OTHER_BACKEND)),
    ("PiperBackend", Not(OTHER_BACKEND)),
    ("ChatTTSBackend", Not(OTHER_BACKEND)),
    (
        "MLXTempPathIsUniquePerBuild",
        Not("no model is written to a temporary file"),
    ),
    ("MLXBackend", Not(OTHER_BACKEND)),
    ("BitNetBackend", Not(OTHER_BACKEND)),
    (
        "InsertAllocatesSequentialIds",
        Not("a handle's number is the component model's business and promises nothing"),
    ),
    (
        "GetResolvesLiveHandleAndRejectsUnknown",
        Calls(&[
            "output",
            "output of no tensor",
            "dimensions of no tensor",
            "context of a tensor",
        ]),
    ),
    (
        "RemoveDetachesHandleAndReturnsOwnership",
        Calls(&["tensor that was given away", "one tensor for two inputs"]),
    ),
    (
        "DoubleRemoveIsRejected",
        Calls(&[
            "graph dropped twice",
            "context dropped twice",
            "drop of no tensor",
        ]),
    ),
    (
        "IdsAreNeverReused",
        Not("the component model reuses numbers; a guest that keeps a stale one fools only itself"),
    ),
    (
        "PinnedResourceSurvivesRemoval",
        Calls(&["graph dropped before a compute", "output as an input"]),
    ),
    (
        "DestructorMayReenterTable",
        Not("nothing that a table holds knows the table"),
    ),
    (
        "SwapExchangesContentsAndIdCounter",
        Not("tables are never exchanged; each instance has its own from first to last"),
    ),
    (
        "InsertFailsOnIdExhaustion",
        Test("runtime::tensors_held_at_once: a full table stops the guest and names the bound"),
    ),
    (
        "ConcurrentChurnKeepsOwnershipExact",
        Test(
            "host-gpu::eight_instances_on_eight_threads_share_one_session, and a guest has one thread",
        ),
    ),
];
