//! A guest that writes text greedily with a decoder language model, whose cache it never looks into.

use anyhow::{Result, ensure};

use super::{NN, guest, little_endian};

/// What the guest has to know of its model. The names are those of the usual export:
/// `past_key_values.N.key` and `.value` in, `logits` first and then the new caches out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decoder {
    pub(crate) layers: u32,
    pub(crate) heads: u32,
    pub(crate) width: u32,
    pub(crate) vocabulary: u32,
}

/// By which the guest need not see the logits.
const ARGMAX: &str = r#"
  (import "assay:job/nn-ext@0.1.0" "argmax" (func $argmax (param i32 i32 i32 i32)))"#;

/// The three inputs beside the cache.
pub(crate) const INPUTS: [&str; 3] = ["input_ids", "attention_mask", "position_ids"];

/// Where things lie in the guest's own memory. Names and the named tensors' list:
const NAMES: u32 = 2048;
const NAMES_END: u32 = 12288;
const LIST: u32 = 12288;
/// Handles of the cache, four bytes each.
const PAST: u32 = 16384;
/// Dimensions: of the tokens, of the mask, of an empty cache.
const DIMS: u32 = 18432;
/// Tokens and positions to feed, eight bytes each, and a mask of ones.
const TOKENS: u32 = 20480;
const POSITIONS: u32 = 28672;
const MASK: u32 = 36864;
const MASK_END: u32 = 65536;

impl Decoder {
    /// The cache's inputs in order.
    pub(crate) fn caches(&self) -> Vec<String> {
        let layer = |n: u32| ["key", "value"].map(|part| format!("past_key_values.{n}.{part}"));
        (0..self.layers).flat_map(layer).collect()
    }

    /// Tokens that a guest can have in its cache.
    pub(crate) const TOKENS_MAX: u32 = (MASK_END - MASK) / 8;
    /// Tokens of a prompt.
    pub(crate) const PROMPT_MAX: u32 = (POSITIONS - TOKENS) / 8;
}

/// The guest. Its item is the number of new tokens and then the prompt's tokens, `u32` each; its
/// output the new tokens.
pub(crate) fn decode(model: &Decoder) -> Result<Vec<u8>> {
    let names: Vec<String> = INPUTS
        .map(str::to_owned)
        .into_iter()
        .chain(model.caches())
        .collect();
    let mut place = NAMES + 1;
    let mut fill = String::new();
    for (at, name) in names.iter().enumerate() {
        let entry = LIST + 12 * at as u32;
        let length = name.len() as u32;
        fill += &format!("(i32.store (i32.const {entry}) (i32.const {place}))\n");
        fill += &format!(
            "(i32.store (i32.const {}) (i32.const {length}))\n",
            entry + 4
        );
        place += length;
    }
    ensure!(place <= NAMES_END, "{} layers are too many", model.layers);
    let data = format!(
        r#"(data (i32.const {NAMES}) "g{}") (data (i32.const {DIMS}) "{}")"#,
        names.concat(),
        little_endian(&[1, 0, 1, 0, 1, model.heads, 0, model.width]),
    );
    let body = format!("{fill}{}{}", start(), step(model));
    let locals =
        "(local $context i32) (local $left i32) (local $mark i32) (local $i i32) (local $n i32)
      (local $length i32) (local $list i32) (local $best i32) (local $out i32) (local $written i32)
      (local $at i32)";
    guest(&format!("{NN}{ARGMAX}"), &data, locals, &body)
}

/// Opens the graph, reads the item, makes the mask.
fn start() -> String {
    format!(
        r#"
      (call $load (i32.const {NAMES}) (i32.const 1) (i32.const 1040))
      (if (i32.load8_u (i32.const 1040)) (then unreachable))
      (call $context (i32.load (i32.const 1044)) (i32.const 1040))
      (if (i32.load8_u (i32.const 1040)) (then unreachable))
      (local.set $context (i32.load (i32.const 1044)))
      (local.set $at (i32.load (local.get $items)))
      (local.set $left (i32.load (local.get $at)))
      (local.set $n (i32.sub (i32.shr_u (i32.load offset=4 (local.get $items)) (i32.const 2)) (i32.const 1)))
      (loop $prompt
        (i64.store (i32.add (i32.const {TOKENS}) (i32.shl (local.get $i) (i32.const 3)))
          (i64.load32_u offset=4 (i32.add (local.get $at) (i32.shl (local.get $i) (i32.const 2)))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $prompt (i32.lt_u (local.get $i) (local.get $n))))
      (local.set $at (i32.const {MASK}))
      (loop $ones
        (i64.store (local.get $at) (i64.const 1))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $ones (i32.lt_u (local.get $at) (i32.const {MASK_END}))))
      (local.set $out (call $realloc (i32.const 0) (i32.const 0) (i32.const 4)
        (i32.shl (local.get $left) (i32.const 2))))
      (i32.store (i32.const 1056) (local.get $out))
      (i32.store (i32.const 1060) (i32.shl (local.get $left) (i32.const 2)))
      (local.set $mark (global.get $top))"#
    )
}

/// Makes empty caches, then feeds tokens and chooses the next until there are enough.
fn step(model: &Decoder) -> String {
    let caches = model.layers * 2;
    let (inputs, empty, mask_dims) = (caches + 3, DIMS + 16, DIMS + 8);
    let handle = |at: u32| LIST + 12 * at + 8;
    let (ids, mask, positions, first_cache) = (handle(0), handle(1), handle(2), handle(3));
    format!(
        r#"
      (local.set $i (i32.const 0))
      (loop $empty
        (i32.store (i32.add (i32.const {PAST}) (i32.shl (local.get $i) (i32.const 2)))
          (call $tensor (i32.const {empty}) (i32.const 4) (i32.const 1) (i32.const {MASK}) (i32.const 0)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $empty (i32.lt_u (local.get $i) (i32.const {caches}))))
      (loop $more
        (global.set $top (local.get $mark))
        (local.set $i (i32.const 0))
        (loop $positions
          (i64.store (i32.add (i32.const {POSITIONS}) (i32.shl (local.get $i) (i32.const 3)))
            (i64.extend_i32_u (i32.add (local.get $length) (local.get $i))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $positions (i32.lt_u (local.get $i) (local.get $n))))
        (local.set $length (i32.add (local.get $length) (local.get $n)))
        (i32.store offset=4 (i32.const {DIMS}) (local.get $n))
        (i32.store offset=4 (i32.const {mask_dims}) (local.get $length))
        ;; I64 is case 6 of the enum.
        (i32.store (i32.const {ids}) (call $tensor (i32.const {DIMS}) (i32.const 2) (i32.const 6)
          (i32.const {TOKENS}) (i32.shl (local.get $n) (i32.const 3))))
        (i32.store (i32.const {mask}) (call $tensor (i32.const {mask_dims}) (i32.const 2) (i32.const 6)
          (i32.const {MASK}) (i32.shl (local.get $length) (i32.const 3))))
        (i32.store (i32.const {positions}) (call $tensor (i32.const {DIMS}) (i32.const 2) (i32.const 6)
          (i32.const {POSITIONS}) (i32.shl (local.get $n) (i32.const 3))))
        (local.set $i (i32.const 0))
        (loop $pass
          (i32.store (i32.add (i32.const {first_cache}) (i32.mul (local.get $i) (i32.const 12)))
            (i32.load (i32.add (i32.const {PAST}) (i32.shl (local.get $i) (i32.const 2)))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $pass (i32.lt_u (local.get $i) (i32.const {caches}))))
        (call $compute (local.get $context) (i32.const {LIST}) (i32.const {inputs}) (i32.const 1040))
        (if (i32.load8_u (i32.const 1040)) (then unreachable))
        (local.set $list (i32.load (i32.const 1044)))
        (local.set $i (i32.const 0))
        (loop $keep
          (i32.store (i32.add (i32.const {PAST}) (i32.shl (local.get $i) (i32.const 2)))
            (i32.load offset=20 (i32.add (local.get $list) (i32.mul (local.get $i) (i32.const 12)))))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $keep (i32.lt_u (local.get $i) (i32.const {caches}))))
        ;; The likeliest of the last token's, chosen where they are.
        (i32.store (i32.const 1064) (i32.sub (local.get $n) (i32.const 1)))
        (call $argmax (i32.load offset=8 (local.get $list)) (i32.const 1064) (i32.const 1) (i32.const 1040))
        (if (i32.load8_u (i32.const 1040)) (then unreachable))
        (local.set $best (i32.load (i32.load (i32.const 1044))))
        (call $drop (i32.load offset=8 (local.get $list)))
        (i32.store (i32.add (local.get $out) (i32.shl (local.get $written) (i32.const 2))) (local.get $best))
        (local.set $written (i32.add (local.get $written) (i32.const 1)))
        (i64.store (i32.const {TOKENS}) (i64.extend_i32_u (local.get $best)))
        (local.set $n (i32.const 1))
        (br_if $more (i32.lt_u (local.get $written) (local.get $left))))
      (return (call $ok (i32.const 1056) (i32.const 1)))"#
    )
}
