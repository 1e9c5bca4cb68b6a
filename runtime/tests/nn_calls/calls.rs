//! The calls: what a guest does, and what it gets for it.

use crate::guests::guest;

/// What comes of a call.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The guest is stopped; the reason contains this.
    Trap(&'static str),
    /// An error of `wasi:nn` with this code, whose text contains this; the guest goes on.
    Error(u8, &'static str),
    /// The guest is stopped because it wanted more memory than its limit.
    Memory,
    /// It works.
    Fine,
}

/// Something a guest does.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    body: &'static str,
    pub(crate) answer: Answer,
}

/// The first output of a guest whose call worked; else it is the code of the error.
pub(crate) const FINE: u8 = 255;

const INVALID: u8 = 0;
const RUNTIME: u8 = 3;
const LARGE: u8 = 5;
const UNKNOWN: u8 = 6;
const SECURITY: u8 = 7;

const NO_HANDLE: &str = "unknown handle index";
const WRONG_HANDLE: &str = "used with the wrong type";
const OUTSIDE: &str = "out of bounds";

const IMPORTS: &str = r#"
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "load"
    (func $load (param i32 i32 i32 i32 i32)))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "load-by-name"
    (func $named (param i32 i32 i32)))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "[method]graph.init-execution-context"
    (func $init (param i32 i32)))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "[resource-drop]graph"
    (func $drop-graph (param i32)))
  (import "wasi:nn/inference@0.2.0-rc-2024-10-28" "[method]graph-execution-context.compute"
    (func $compute (param i32 i32 i32 i32)))
  (import "wasi:nn/inference@0.2.0-rc-2024-10-28" "[resource-drop]graph-execution-context"
    (func $drop-context (param i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[constructor]tensor"
    (func $tensor (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[method]tensor.dimensions"
    (func $dims (param i32 i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[method]tensor.data"
    (func $data (param i32 i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[resource-drop]tensor"
    (func $drop-tensor (param i32)))
  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" "[method]error.code"
    (func $code (param i32) (result i32)))
  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" "[method]error.data"
    (func $text (param i32 i32)))
  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" "[resource-drop]error"
    (func $drop-error (param i32)))"#;

/// Strings and numbers at fixed places, and what most calls begin and end with.
///
/// 2048 "double", 2056 "fail", 2060 "x", 2061 "z", 2062 "fine", 2066 no UTF-8; dimensions: 2080 [2],
/// 2084 [4294967295] and more of them, 2148 [0], 2152 many ones; 2304 two f32. A call's result is at
/// 3072, a list of named tensors at 3104.
const HELPERS: &str = r#"
  (data (i32.const 2048) "double\00\00failxzfine\ff\fe")
  (data (i32.const 2080) "\02\00\00\00\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff")
  (data (i32.const 2148) "\00\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00\01\00\00\00")
  (data (i32.const 2304) "\00\00\c0\3f\00\00\20\40")
  (func $answer (param $code i32) (param $text i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 3216) (local.get $code))
    (i32.store (i32.const 3200) (i32.const 3216))
    (i32.store (i32.const 3204) (i32.const 1))
    (i32.store (i32.const 3208) (local.get $text))
    (i32.store (i32.const 3212) (local.get $length))
    (call $ok (i32.const 3200) (i32.const 2)))
  (func $"maximum concurrent store handle limit exceeded"
    (call $drop-graph (i32.const 9999)))
  (func $deep (param $left i32)
    (if (local.get $left)
      (then (call $deep (i32.sub (local.get $left) (i32.const 1))))
      (else (call $drop-graph (i32.const 9999)))))
  (func $fine (result i32) (call $answer (i32.const 255) (i32.const 2062) (i32.const 4)))
  (func $told (result i32)
    (if (i32.eqz (i32.load8_u (i32.const 3072))) (then (return (call $fine))))
    (call $text (i32.load (i32.const 3076)) (i32.const 3136))
    (call $answer (call $code (i32.load (i32.const 3076)))
      (i32.load (i32.const 3136)) (i32.load (i32.const 3140))))
  (func $handle (result i32)
    (if (i32.load8_u (i32.const 3072)) (then unreachable))
    (i32.load (i32.const 3076)))
  (func $graph (result i32)
    (call $named (i32.const 2048) (i32.const 6) (i32.const 3072)) (call $handle))
  (func $failing (result i32)
    (call $named (i32.const 2056) (i32.const 4) (i32.const 3072)) (call $handle))
  (func $context (param $graph i32) (result i32)
    (call $init (local.get $graph) (i32.const 3072)) (call $handle))
  (func $x (result i32)
    (call $tensor (i32.const 2080) (i32.const 1) (i32.const 1) (i32.const 2304) (i32.const 8)))
  (func $input (param $at i32) (param $name i32) (param $tensor i32)
    (i32.store (local.get $at) (local.get $name))
    (i32.store offset=4 (local.get $at) (i32.const 1))
    (i32.store offset=8 (local.get $at) (local.get $tensor)))
  (func $run (param $context i32) (param $tensor i32)
    (call $input (i32.const 3104) (i32.const 2060) (local.get $tensor))
    (call $compute (local.get $context) (i32.const 3104) (i32.const 1) (i32.const 3072)))
  (func $given (param $tensor i32) (result i32)
    (call $run (call $context (call $graph)) (local.get $tensor)) (call $told))
  (func $is-doubled (param $tensor i32) (result i32)
    (call $data (local.get $tensor) (i32.const 3136))
    (if (i32.ne (i32.load (i32.const 3140)) (i32.const 8)) (then unreachable))
    (if (f32.ne (f32.load (i32.load (i32.const 3136))) (f32.const 3)) (then unreachable))
    (call $fine))"#;

/// The component that makes a call.
pub(crate) fn component(call: &Call) -> Vec<u8> {
    guest(IMPORTS, 2, HELPERS, call.body)
}

const fn call(name: &'static str, answer: Answer, body: &'static str) -> Call {
    Call { name, body, answer }
}

use Answer::{Error, Fine, Memory, Trap};

#[rustfmt::skip]
pub(crate) const CALLS: &[Call] = &[
    // Graphs by their bytes: never.
    call("load of meaningless bytes", Error(SECURITY, "never from the guest's bytes"),
        "(i32.store (i32.const 3104) (i32.const 2048)) (i32.store (i32.const 3108) (i32.const 6))
         (call $load (i32.const 3104) (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 3072)) (return (call $told))"),
    call("load of no bytes", Error(SECURITY, "never from the guest's bytes"),
        "(call $load (i32.const 3104) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 3072)) (return (call $told))"),
    call("load of four parts", Error(SECURITY, "never from the guest's bytes"),
        "(call $load (i32.const 3104) (i32.const 4) (i32.const 1) (i32.const 0) (i32.const 3072)) (return (call $told))"),
    call("load for a tpu", Error(SECURITY, "never from the guest's bytes"),
        "(call $load (i32.const 3104) (i32.const 0) (i32.const 1) (i32.const 2) (i32.const 3072)) (return (call $told))"),
    call("load of parts outside memory", Trap(OUTSIDE),
        "(call $load (i32.const 0x7ffffff0) (i32.const 2) (i32.const 1) (i32.const 0) (i32.const 3072))"),
    call("load of bytes outside memory", Trap(OUTSIDE),
        "(i32.store (i32.const 3104) (i32.const 0x7ffffff0)) (i32.store (i32.const 3108) (i32.const 6))
         (call $load (i32.const 3104) (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 3072))"),
    call("load of bytes that end outside memory", Trap(OUTSIDE),
        "(i32.store (i32.const 3104) (i32.const 2048)) (i32.store (i32.const 3108) (i32.const -1))
         (call $load (i32.const 3104) (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 3072))"),
    call("load with its result outside memory", Trap(OUTSIDE),
        "(call $load (i32.const 3104) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0x7ffffff0))"),
    call("load in an encoding that is none", Trap("discriminant"),
        "(call $load (i32.const 3104) (i32.const 0) (i32.const 7) (i32.const 0) (i32.const 3072))"),
    call("load for a target that is none", Trap("discriminant"),
        "(call $load (i32.const 3104) (i32.const 0) (i32.const 1) (i32.const 3) (i32.const 3072))"),
    // Graphs by name.
    call("name of a graph", Fine,
        "(drop (call $graph)) (return (call $told))"),
    call("name of no graph", Error(UNKNOWN, "names no graph \"x\""),
        "(call $named (i32.const 2060) (i32.const 1) (i32.const 3072)) (return (call $told))"),
    call("name without letters", Error(UNKNOWN, "names no graph \"\""),
        "(call $named (i32.const 2048) (i32.const 0) (i32.const 3072)) (return (call $told))"),
    call("name outside memory", Trap(OUTSIDE),
        "(call $named (i32.const 0x7ffffff0) (i32.const 6) (i32.const 3072))"),
    call("name that ends outside memory", Trap(OUTSIDE),
        "(call $named (i32.const 2048) (i32.const -1) (i32.const 3072))"),
    call("name that is no text", Trap("utf-8"),
        "(call $named (i32.const 2066) (i32.const 2) (i32.const 3072))"),
    call("name with its result outside memory", Trap(OUTSIDE),
        "(call $named (i32.const 2048) (i32.const 6) (i32.const 0x7ffffff0))"),
    call("name asked for twice", Fine,
        "(local.set $i (call $graph)) (local.set $j (call $graph))
         (if (i32.eq (local.get $i) (local.get $j)) (then unreachable))
         (call $drop-graph (local.get $i)) (call $run (call $context (local.get $j)) (call $x)) (return (call $told))"),
    // Contexts.
    call("context of no graph", Trap(NO_HANDLE),
        "(call $init (i32.const 9999) (i32.const 3072))"),
    call("context of a dropped graph", Trap(NO_HANDLE),
        "(local.set $i (call $graph)) (call $drop-graph (local.get $i)) (call $init (local.get $i) (i32.const 3072))"),
    call("context of a tensor", Trap(WRONG_HANDLE),
        "(call $init (call $x) (i32.const 3072))"),
    call("context with its result outside memory", Trap(OUTSIDE),
        "(call $init (call $graph) (i32.const 0x7ffffff0))"),
    call("two contexts of one graph", Fine,
        "(local.set $i (call $graph)) (local.set $j (call $context (local.get $i)))
         (call $run (call $context (local.get $i)) (call $x)) (if (i32.load8_u (i32.const 3072)) (then unreachable))
         (call $run (local.get $j) (call $x)) (return (call $told))"),
    call("graph dropped twice", Trap(NO_HANDLE),
        "(local.set $i (call $graph)) (call $drop-graph (local.get $i)) (call $drop-graph (local.get $i))"),
    call("drop of no graph", Trap(NO_HANDLE), "(call $drop-graph (i32.const 9999))"),
    // A backtrace shows the guest's own names and may be long; neither hides what happened.
    call("drop of no graph under a name that lies", Trap(NO_HANDLE),
        r#"(call $"maximum concurrent store handle limit exceeded")"#),
    call("drop of no graph far down", Trap(NO_HANDLE), "(call $deep (i32.const 40))"),
    call("context dropped twice", Trap(NO_HANDLE),
        "(local.set $i (call $context (call $graph))) (call $drop-context (local.get $i)) (call $drop-context (local.get $i))"),
    call("drop of no context", Trap(NO_HANDLE), "(call $drop-context (i32.const 9999))"),
    // Tensors.
    call("dimensions outside memory", Trap(OUTSIDE),
        "(drop (call $tensor (i32.const 0x7ffffff0) (i32.const 1) (i32.const 1) (i32.const 2304) (i32.const 8)))"),
    call("dimensions without end", Trap(OUTSIDE),
        "(drop (call $tensor (i32.const 2080) (i32.const -1) (i32.const 1) (i32.const 2304) (i32.const 8)))"),
    call("dimensions off their boundary", Trap("aligned"),
        "(drop (call $tensor (i32.const 2081) (i32.const 1) (i32.const 1) (i32.const 2304) (i32.const 8)))"),
    call("data outside memory", Trap(OUTSIDE),
        "(drop (call $tensor (i32.const 2080) (i32.const 1) (i32.const 1) (i32.const 0x7ffffff0) (i32.const 8)))"),
    call("data without end", Trap(OUTSIDE),
        "(drop (call $tensor (i32.const 2080) (i32.const 1) (i32.const 1) (i32.const 2304) (i32.const -1)))"),
    call("elements of no type", Trap("discriminant"),
        "(drop (call $tensor (i32.const 2080) (i32.const 1) (i32.const 7) (i32.const 2304) (i32.const 8)))"),
    call("too little data", Error(INVALID, "4 bytes, its dimensions say 8"),
        "(return (call $given (call $tensor (i32.const 2080) (i32.const 1) (i32.const 1) (i32.const 2304) (i32.const 4))))"),
    call("too much data", Error(INVALID, "12 bytes, its dimensions say 8"),
        "(return (call $given (call $tensor (i32.const 2080) (i32.const 1) (i32.const 1) (i32.const 2304) (i32.const 12))))"),
    call("half an element", Error(INVALID, "7 bytes, its dimensions say 8"),
        "(return (call $given (call $tensor (i32.const 2080) (i32.const 1) (i32.const 1) (i32.const 2304) (i32.const 7))))"),
    call("a huge dimension", Error(LARGE, "is larger than the bound"),
        "(return (call $given (call $tensor (i32.const 2084) (i32.const 1) (i32.const 1) (i32.const 2304) (i32.const 8))))"),
    call("dimensions whose product overflows", Error(LARGE, "is larger than the bound"),
        "(return (call $given (call $tensor (i32.const 2084) (i32.const 3) (i32.const 1) (i32.const 2304) (i32.const 8))))"),
    call("seventeen dimensions", Error(LARGE, "tensor rank is 17, the bound is 16"),
        "(return (call $given (call $tensor (i32.const 2152) (i32.const 17) (i32.const 1) (i32.const 2304) (i32.const 4))))"),
    call("an empty tensor with data", Error(INVALID, "8 bytes, its dimensions say 0"),
        "(return (call $given (call $tensor (i32.const 2148) (i32.const 1) (i32.const 1) (i32.const 2304) (i32.const 8))))"),
    call("an empty tensor", Fine,
        "(return (call $given (call $tensor (i32.const 2148) (i32.const 1) (i32.const 1) (i32.const 2304) (i32.const 0))))"),
    call("a tensor that could not be made is empty", Fine,
        "(call $data (call $tensor (i32.const 2084) (i32.const 1) (i32.const 1) (i32.const 2304) (i32.const 8)) (i32.const 3136))
         (if (i32.load (i32.const 3140)) (then unreachable)) (return (call $fine))"),
    call("drop of no tensor", Trap(NO_HANDLE), "(call $drop-tensor (i32.const 9999))"),
    call("dimensions of no tensor", Trap(NO_HANDLE), "(call $dims (i32.const 9999) (i32.const 3072))"),
    // Inputs.
    call("compute in no context", Trap(NO_HANDLE), "(call $run (i32.const 9999) (call $x))"),
    // The number of the dropped one is that of the tensor by now.
    call("compute in a dropped context", Trap(WRONG_HANDLE),
        "(local.set $i (call $context (call $graph))) (call $drop-context (local.get $i)) (call $run (local.get $i) (call $x))"),
    call("inputs outside memory", Trap(OUTSIDE),
        "(call $compute (call $context (call $graph)) (i32.const 0x7ffffff0) (i32.const 1) (i32.const 3072))"),
    call("inputs without end", Trap(OUTSIDE),
        "(call $compute (call $context (call $graph)) (i32.const 3104) (i32.const -1) (i32.const 3072))"),
    call("name of an input outside memory", Trap(OUTSIDE),
        "(call $input (i32.const 3104) (i32.const 0x7ffffff0) (call $x))
         (call $compute (call $context (call $graph)) (i32.const 3104) (i32.const 1) (i32.const 3072))"),
    call("input that is no tensor", Trap(NO_HANDLE),
        "(call $run (call $context (call $graph)) (i32.const 9999))"),
    call("one tensor for two inputs", Trap(NO_HANDLE),
        "(local.set $i (call $x)) (call $input (i32.const 3104) (i32.const 2060) (local.get $i))
         (call $input (i32.const 3116) (i32.const 2061) (local.get $i))
         (call $compute (call $context (call $graph)) (i32.const 3104) (i32.const 2) (i32.const 3072))"),
    call("input that the graph does not have", Error(INVALID, "the graph has no input \"z\""),
        "(call $input (i32.const 3104) (i32.const 2061) (call $x))
         (call $compute (call $context (call $graph)) (i32.const 3104) (i32.const 1) (i32.const 3072)) (return (call $told))"),
    call("one input twice", Error(INVALID, "input \"x\" is given twice"),
        "(call $input (i32.const 3104) (i32.const 2060) (call $x)) (call $input (i32.const 3116) (i32.const 2060) (call $x))
         (call $compute (call $context (call $graph)) (i32.const 3104) (i32.const 2) (i32.const 3072)) (return (call $told))"),
    call("no input", Error(INVALID, "input \"x\" is missing"),
        "(call $compute (call $context (call $graph)) (i32.const 3104) (i32.const 0) (i32.const 3072)) (return (call $told))"),
    call("input of another type", Error(INVALID, "is i32, the graph wants f32"),
        "(return (call $given (call $tensor (i32.const 2080) (i32.const 1) (i32.const 5) (i32.const 2304) (i32.const 8))))"),
    call("input of another rank", Error(INVALID, "has dimensions [1, 1], the graph wants [any]"),
        "(return (call $given (call $tensor (i32.const 2152) (i32.const 2) (i32.const 1) (i32.const 2304) (i32.const 4))))"),
    call("compute with its result outside memory", Trap(OUTSIDE),
        "(call $input (i32.const 3104) (i32.const 2060) (call $x))
         (call $compute (call $context (call $graph)) (i32.const 3104) (i32.const 1) (i32.const 0x7ffffff0))"),
    call("compute that fails", Error(RUNTIME, "fails"),
        "(call $run (call $context (call $failing)) (call $x)) (return (call $told))"),
    call("context after a compute that failed", Fine,
        "(call $input (i32.const 3104) (i32.const 2061) (call $x)) (local.set $i (call $context (call $graph)))
         (call $compute (local.get $i) (i32.const 3104) (i32.const 1) (i32.const 3072))
         (call $drop-error (i32.load (i32.const 3076))) (call $run (local.get $i) (call $x)) (return (call $told))"),
    // Inputs are gone when a compute fails, too; the number is that of the error.
    call("tensor that was given away", Trap(WRONG_HANDLE),
        "(local.set $i (call $x)) (call $run (call $context (call $failing)) (local.get $i)) (call $data (local.get $i) (i32.const 3136))"),
    // Outputs.
    call("output", Fine,
        "(call $run (call $context (call $graph)) (call $x)) (return (call $is-doubled (i32.load offset=8 (call $handle))))"),
    call("output of no tensor", Trap(NO_HANDLE), "(call $data (i32.const 9999) (i32.const 3136))"),
    call("output with its result outside memory", Trap(OUTSIDE), "(call $data (call $x) (i32.const 0x7ffffff0))"),
    call("output after its tensor was dropped", Trap(NO_HANDLE),
        "(call $run (call $context (call $graph)) (call $x)) (local.set $i (i32.load offset=8 (call $handle)))
         (call $drop-tensor (local.get $i)) (call $data (local.get $i) (i32.const 3136))"),
    call("output into memory that the guest does not have", Trap("realloc"),
        "(global.set $top (i32.const -8)) (call $data (call $x) (i32.const 3136))"),
    call("output for which memory would have to grow too far", Memory,
        "(global.set $top (i32.const 0x7ffffff0)) (call $data (call $x) (i32.const 3136))"),
    call("text of an error that was dropped", Trap(NO_HANDLE),
        "(call $named (i32.const 2060) (i32.const 1) (i32.const 3072)) (local.set $i (i32.load (i32.const 3076)))
         (call $drop-error (local.get $i)) (call $text (local.get $i) (i32.const 3136))"),
    // What outlives what.
    call("graph dropped before a compute", Fine,
        "(local.set $i (call $graph)) (local.set $j (call $context (local.get $i))) (call $drop-graph (local.get $i))
         (call $run (local.get $j) (call $x)) (return (call $is-doubled (i32.load offset=8 (call $handle))))"),
    call("graph and context dropped before the output is read", Fine,
        "(local.set $i (call $graph)) (local.set $j (call $context (local.get $i)))
         (call $run (local.get $j) (call $x)) (call $drop-graph (local.get $i)) (call $drop-context (local.get $j))
         (return (call $is-doubled (i32.load offset=8 (call $handle))))"),
    call("name again after its graph was dropped", Fine,
        "(call $drop-graph (call $graph)) (call $run (call $context (call $graph)) (call $x))
         (return (call $is-doubled (i32.load offset=8 (call $handle))))"),
    call("output as an input", Fine,
        "(local.set $i (call $context (call $graph))) (call $run (local.get $i) (call $x))
         (call $run (local.get $i) (i32.load offset=8 (call $handle))) (return (call $told))"),
];
