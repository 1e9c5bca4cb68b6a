//! Guests, written as core modules in text and made into components of the world that jobs are built
//! for. They are built here so that the benchmark needs no compiler for wasm.

mod decode;

use anyhow::{Context as _, Result, anyhow};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap};

pub(crate) use decode::{Decoder, decode};

/// The contract, as guests are built against it.
const WASI_NN: &str = include_str!("../../guest-sdk/wit/deps/wasi-nn/wasi-nn.wit");
const WORLD: [(&str, &str); 2] = [
    ("world.wit", include_str!("../../guest-sdk/wit/world.wit")),
    ("nn-ext.wit", include_str!("../../guest-sdk/wit/nn-ext.wit")),
];

/// Everything of `wasi:nn` that these guests call.
const NN: &str = r#"
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "load-by-name" (func $load (param i32 i32 i32)))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "[method]graph.init-execution-context"
    (func $context (param i32 i32)))
  (import "wasi:nn/inference@0.2.0-rc-2024-10-28" "[method]graph-execution-context.compute"
    (func $compute (param i32 i32 i32 i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[constructor]tensor"
    (func $tensor (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[method]tensor.data" (func $data (param i32 i32)))
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" "[resource-drop]tensor" (func $drop (param i32)))"#;

/// A guest that runs `body`, which may use `$items` and `$count` (pointer and length of eight bytes
/// each) and its own `locals`, and leaves by `$ok`, which takes the list to answer with. Below 64 KiB
/// memory is the guest's own; above, `cabi_realloc` gives it out from `$top` on.
fn guest(imports: &str, extra: &str, locals: &str, body: &str) -> Result<Vec<u8>> {
    let text = format!(
        r#"(module
  {imports}
  (memory (export "memory") 2)
  (global $top (mut i32) (i32.const 65536))
  (func $realloc (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32) (local $missing i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
    (global.set $top (i32.add (local.get $at) (local.get $size)))
    (local.set $missing (i32.sub
      (i32.shr_u (i32.add (global.get $top) (i32.const 65535)) (i32.const 16)) (memory.size)))
    (if (i32.gt_s (local.get $missing) (i32.const 0))
      (then (if (i32.lt_s (memory.grow (local.get $missing)) (i32.const 0)) (then unreachable))))
    (local.get $at))
  (func $ok (param $list i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 1024) (i32.const 0))
    (i32.store (i32.const 1028) (local.get $list))
    (i32.store (i32.const 1032) (local.get $length))
    (i32.const 1024))
  {extra}
  (func (export "run") (param $items i32) (param $count i32) (result i32)
    {locals}
    {body}
    (call $ok (local.get $items) (local.get $count))))"#
    );
    let mut module = wat::parse_str(&text).with_context(|| text.clone())?;
    let mut resolve = Resolve::default();
    resolve.push_str("wasi-nn.wit", WASI_NN)?;
    let mut files = SourceMap::default();
    WORLD
        .iter()
        .for_each(|(name, text)| files.push_str(name, *text));
    let group = files.parse().map_err(|(_, error)| anyhow!("{error}"))?;
    let package = resolve.push_group(group)?;
    let world = resolve.select_world(&[package], Some("inference"))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default()
        .validate(true)
        .module(&module)?
        .encode()
}

/// Answers with its items.
pub(crate) fn nop() -> Result<Vec<u8>> {
    guest("", "", "", "")
}

/// Never returns.
pub(crate) fn endless() -> Result<Vec<u8>> {
    guest("", "", "", "(loop $again (br $again))")
}

/// Takes and touches all the memory it can get.
pub(crate) fn memory_bomb() -> Result<Vec<u8>> {
    let body = r#"
      (block $full (loop $more
        (local.set $page (memory.grow (i32.const 1)))
        (br_if $full (i32.lt_s (local.get $page) (i32.const 0)))
        (local.set $at (i32.mul (local.get $page) (i32.const 65536)))
        (local.set $end (i32.add (local.get $at) (i32.const 65536)))
        (loop $touch
          (i32.store (local.get $at) (i32.const 1))
          (local.set $at (i32.add (local.get $at) (i32.const 4096)))
          (br_if $touch (i32.lt_u (local.get $at) (local.get $end))))
        (br $more)))"#;
    guest(
        "",
        "",
        "(local $page i32) (local $at i32) (local $end i32)",
        body,
    )
}

/// Makes `count` tensors of `pages` memory pages each, and keeps them.
pub(crate) fn tensor_bomb(count: u32, pages: u32) -> Result<Vec<u8>> {
    let bytes = u64::from(pages) * 65536;
    let data = format!(
        "(data (i32.const 2048) \"{}\")",
        little_endian(&[1, bytes as u32])
    );
    let body = format!(
        r#"
      (local.set $at (i32.mul (memory.grow (i32.const {pages})) (i32.const 65536)))
      (memory.fill (local.get $at) (i32.const 7) (i32.const {bytes}))
      (loop $more
        ;; U8 is case 4 of the enum.
        (drop (call $tensor (i32.const 2048) (i32.const 2) (i32.const 4) (local.get $at) (i32.const {bytes})))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $i) (i32.const {count}))))"#
    );
    guest(NN, &data, "(local $at i32) (local $i i32)", &body)
}

/// Asks for its shard's index as often as its first item says.
pub(crate) fn host_calls() -> Result<Vec<u8>> {
    let import = r#"(import "assay:job/context@0.1.0" "shard-index" (func $index (result i32)))"#;
    let body = r#"
      (local.set $left (i32.load (i32.load (local.get $items))))
      (block $done (loop $more
        (br_if $done (i32.eqz (local.get $left)))
        (drop (call $index))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $more)))"#;
    guest(import, "", "(local $left i32)", body)
}

/// Runs graph `g`, whose only input is an f32 tensor `x`, as often as its first item says on the
/// bytes of its second, and answers with the last output's bytes and an empty item.
pub(crate) fn repeat(dims: &[u32], read: bool) -> Result<Vec<u8>> {
    let data = format!(
        r#"(data (i32.const 2048) "gx") (data (i32.const 2064) "{}")"#,
        little_endian(dims)
    );
    let read = if read {
        "(call $data (local.get $out) (i32.const 3200))"
    } else {
        ""
    };
    let rank = dims.len();
    let body = format!(
        r#"
      (call $load (i32.const 2048) (i32.const 1) (i32.const 3072))
      (if (i32.load8_u (i32.const 3072)) (then unreachable))
      (call $context (i32.load (i32.const 3076)) (i32.const 3072))
      (if (i32.load8_u (i32.const 3072)) (then unreachable))
      (local.set $context (i32.load (i32.const 3076)))
      (local.set $left (i32.load (i32.load (local.get $items))))
      (local.set $mark (global.get $top))
      (block $done (loop $more
        (br_if $done (i32.eqz (local.get $left)))
        (global.set $top (local.get $mark))
        ;; One named tensor: pointer and length of the name, then the handle. FP32 is case 1.
        (i32.store (i32.const 3104) (i32.const 2049))
        (i32.store (i32.const 3108) (i32.const 1))
        (i32.store (i32.const 3112) (call $tensor (i32.const 2064) (i32.const {rank}) (i32.const 1)
          (i32.load offset=8 (local.get $items)) (i32.load offset=12 (local.get $items))))
        (call $compute (local.get $context) (i32.const 3104) (i32.const 1) (i32.const 3072))
        (if (i32.load8_u (i32.const 3072)) (then unreachable))
        (local.set $out (i32.load offset=8 (i32.load (i32.const 3076))))
        {read}
        (call $drop (local.get $out))
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br $more)))
      (return (call $ok (i32.const 3200) (i32.const 2)))"#
    );
    let locals = "(local $context i32) (local $left i32) (local $mark i32) (local $out i32)";
    guest(NN, &data, locals, &body)
}

/// Numbers as the text format's string wants them.
fn little_endian(values: &[u32]) -> String {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    bytes.map(|byte| format!("\\{byte:02x}")).collect()
}

/// The same component with a custom section of its own, so that no cache has seen it.
pub(crate) fn unseen(component: &[u8], number: u32) -> Vec<u8> {
    let mut bytes = component.to_vec();
    // Section 0, ten bytes: a name of five and a number.
    bytes.extend_from_slice(&[0, 10, 5]);
    bytes.extend_from_slice(b"bench");
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_guest_is_a_job() {
        let decoder = super::Decoder {
            layers: 3,
            heads: 4,
            width: 32,
            vocabulary: 256,
        };
        for (name, guest) in [
            ("nop", super::nop()),
            ("endless", super::endless()),
            ("memory bomb", super::memory_bomb()),
            ("tensor bomb", super::tensor_bomb(3, 1)),
            ("host calls", super::host_calls()),
            ("repeat", super::repeat(&[1, 2], true)),
            ("decode", super::decode(&decoder)),
            ("unseen", super::nop().map(|nop| super::unseen(&nop, 7))),
        ] {
            let guest = guest.unwrap_or_else(|error| panic!("{name}: {error:#}"));
            jobs::component::check(&guest).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
