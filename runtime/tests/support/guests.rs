//! Small guests, written as core modules in text and made into components of the real world.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

fn world() -> (Resolve, WorldId) {
    let mut resolve = Resolve::default();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk/wit");
    let (package, _) = resolve.push_dir(path).unwrap();
    let world = resolve.select_world(&[package], Some("inference")).unwrap();
    (resolve, world)
}

/// Every function of the world, as a core module sees it: interface, name, parameters, results.
const FUNCTIONS: &[(&str, &str, &str, &str)] = &[
    ("assay:job/context@0.1.0", "seed", "i32", ""),
    ("assay:job/context@0.1.0", "models", "i32", ""),
    ("assay:job/context@0.1.0", "shard-index", "", "i32"),
    ("assay:job/context@0.1.0", "item-offset", "", "i64"),
    ("assay:job/log@0.1.0", "log", "i32 i32 i32", ""),
    ("assay:job/nn-ext@0.1.0", "describe", "i32 i32", ""),
    ("assay:job/nn-ext@0.1.0", "compute", "i32 i32 i32 i32", ""),
    ("assay:job/nn-ext@0.1.0", "argmax", "i32 i32 i32 i32", ""),
    ("assay:job/nn-ext@0.1.0", "top-k", "i32 i32 i32 i32 i32", ""),
    (
        "assay:job/nn-ext@0.1.0",
        "sample",
        "i32 i32 i32 f32 i32 f32 i32 i32 i32",
        "",
    ),
    ("errors", "[method]error.code", "i32", "i32"),
    ("errors", "[method]error.data", "i32 i32", ""),
    ("errors", "[resource-drop]error", "i32", ""),
    ("graph", "load", "i32 i32 i32 i32 i32", ""),
    ("graph", "load-by-name", "i32 i32 i32", ""),
    (
        "graph",
        "[method]graph.init-execution-context",
        "i32 i32",
        "",
    ),
    ("graph", "[resource-drop]graph", "i32", ""),
    (
        "inference",
        "[method]graph-execution-context.compute",
        "i32 i32 i32 i32",
        "",
    ),
    (
        "inference",
        "[resource-drop]graph-execution-context",
        "i32",
        "",
    ),
    (
        "tensor",
        "[constructor]tensor",
        "i32 i32 i32 i32 i32",
        "i32",
    ),
    ("tensor", "[method]tensor.dimensions", "i32 i32", ""),
    ("tensor", "[method]tensor.ty", "i32", "i32"),
    ("tensor", "[method]tensor.data", "i32 i32", ""),
    ("tensor", "[resource-drop]tensor", "i32", ""),
];

/// What a guest imports that gives a graph one tensor and reads what comes out.
#[allow(dead_code, reason = "shared by several test programs")]
pub(crate) const NN: &str = r#"
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "load-by-name" (func $load (param i32 i32 i32)))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "[method]graph.init-execution-context"
    (func $context (param i32 i32)))
  (import "wasi:nn/inference@0.2.0-rc-2024-10-28" "[method]graph-execution-context.compute"
    (func $compute (param i32 i32 i32 i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[constructor]tensor"
    (func $tensor (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[method]tensor.data" (func $data (param i32 i32)))"#;

/// A component that imports everything the world has.
#[allow(dead_code, reason = "shared by several test programs")]
pub(crate) fn whole_world() -> Vec<u8> {
    let import = |(interface, name, params, results): &(&str, &str, &str, &str)| {
        let interface = match interface.contains(':') {
            true => (*interface).to_owned(),
            false => format!("wasi:nn/{interface}@0.2.0-rc-2024-10-28"),
        };
        format!(r#"(import "{interface}" "{name}" (func (param {params}) (result {results})))"#)
    };
    let imports: String = FUNCTIONS.iter().map(import).collect();
    guest(&imports, 2, "", "")
}

fn componentise(mut module: Vec<u8>, resolve: &Resolve, world: WorldId) -> Vec<u8> {
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).unwrap();
    let mut encoder = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .unwrap();
    encoder.encode().unwrap()
}

/// A guest that runs `body` and then returns its items.
///
/// In `body`, `$items` and `$count` are the items (pointer and length of eight bytes each), and `$i`,
/// `$j` are free. It may leave the function itself by way of `$ok` or `$err`, which take what `run`
/// shall return. Its strings are at 2048.
pub(crate) fn guest(imports: &str, pages: u32, extra: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
  {imports}
  (memory (export "memory") {pages})
  (global $top (mut i32) (i32.const 65536))
  (func $realloc (export "cabi_realloc") (param i32 i32 i32 $size i32) (result i32)
    (local $at i32) (local $missing i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
    (global.set $top (i32.add (local.get $at) (local.get $size)))
    (local.set $missing (i32.sub
      (i32.shr_u (i32.add (global.get $top) (i32.const 65535)) (i32.const 16))
      (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then (if (i32.lt_s (memory.grow (local.get $missing)) (i32.const 0)) (then unreachable))))
    (local.get $at))
  (func $ok (param $list i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 1024) (i32.const 0))
    (i32.store (i32.const 1028) (local.get $list))
    (i32.store (i32.const 1032) (local.get $length))
    (i32.const 1024))
  (func $err (param $case i32) (param $text i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 1024) (i32.const 1))
    (i32.store8 (i32.const 1028) (local.get $case))
    (i32.store (i32.const 1032) (local.get $text))
    (i32.store (i32.const 1036) (local.get $length))
    (i32.const 1024))
  {extra}
  (func (export "run") (param $items i32) (param $count i32) (result i32)
    (local $i i32) (local $j i32)
    {body}
    (call $ok (local.get $items) (local.get $count))))"#
    )
    .replace(
        "(param i32 i32 i32 $size i32)",
        "(param i32 i32 i32) (param $size i32)",
    );
    let (resolve, world) = world();
    let module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    componentise(module, &resolve, world)
}

/// A component of the world around a core module that is written out whole.
#[allow(dead_code, reason = "shared by several test programs")]
pub(crate) fn from_core(text: &str) -> Vec<u8> {
    let (resolve, world) = world();
    let module = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    componentise(module, &resolve, world)
}

/// Returns its items.
pub(crate) fn echo() -> Vec<u8> {
    guest("", 2, "", "")
}

/// Traps.
#[allow(dead_code, reason = "shared by several test programs")]
pub(crate) fn trap() -> Vec<u8> {
    guest("", 2, "", "unreachable")
}

/// Never returns.
#[allow(dead_code, reason = "shared by several test programs")]
pub(crate) fn endless() -> Vec<u8> {
    guest("", 2, "", "(loop $again (br $again))")
}

/// A component written by hand: `parts` before a core instance `$main` with `memory`, `cabi_realloc`
/// and `run`, whose `run` is lifted and exported.
#[allow(dead_code, reason = "shared by several test programs")]
pub(crate) fn by_hand(parts: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
  (import "assay:job/types@0.1.0" (instance $types
    (type $e (variant (case "bad-input" string) (case "model" string) (case "failed" string)))
    (export "job-error" (type (eq $e)))))
  (alias export $types "job-error" (type $job-error))
  {parts}
  (alias core export $main "memory" (core memory $memory))
  (alias core export $main "cabi_realloc" (core func $realloc))
  (alias core export $main "run" (core func $core-run))
  (type $run (func (param "items" (list (list u8)))
    (result (result (list (list u8)) (error $job-error)))))
  (func $run (type $run)
    (canon lift (core func $core-run) (memory $memory) (realloc $realloc)))
  (export "run" (func $run)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The core module of an echo for [`by_hand`], as `$echo`; `extra` is run first.
#[allow(dead_code, reason = "shared by several test programs")]
pub(crate) fn echo_module(imports: &str, extra: &str) -> String {
    format!(
        r#"(core module $echo
    {imports}
    (memory (export "memory") 2)
    (global $top (mut i32) (i32.const 65536))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $top)
      (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get 3)) (i32.const 7))
        (i32.const -8))))
    (func (export "run") (param i32 i32) (result i32)
      {extra}
      (i32.store8 (i32.const 1024) (i32.const 0))
      (i32.store (i32.const 1028) (local.get 0))
      (i32.store (i32.const 1032) (local.get 1))
      (i32.const 1024)))"#
    )
}
