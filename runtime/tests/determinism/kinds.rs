//! What is executed: guests that compute in every way that could differ, and graphs that they ask.

use std::path::{Path, PathBuf};

use jobs::digest::{BlobRef, Digest};
use jobs::ids::JobId;
use jobs::offer::DeviceKind;
use jobs::package::Limits;
use runtime::{LocalBlob, LocalModel, ShardTask};

use crate::dice::Dice;
use crate::guests::{NN, guest};

/// Fuel of a shard that ends by itself.
const FUEL: u64 = 1_000_000_000;

/// One shard in so many is a guest that never ends and is stopped by its fuel.
const ENDLESS_EVERY: u32 = 2_500;

/// One shard in so many runs the language model, which costs more than all the rest.
const LANGUAGE_EVERY: u32 = 250;

/// What a guest may overwrite of each item.
const ITEM_BYTES_MIN: u64 = 64;

/// A number between -2 and 2.
fn number(dice: &mut Dice) -> f32 {
    (dice.roll(1 << 24) as f32 / (1 << 22) as f32) - 2.0
}

/// Draws an item.
type MakeItem = dyn Fn(&mut Dice) -> Vec<u8> + Send + Sync;

/// A guest, a graph if it asks one, and how its items are made.
struct Kind {
    component: LocalBlob,
    model: Option<LocalBlob>,
    item: Box<MakeItem>,
}

/// Every kind of shard, written down in one folder.
pub(crate) struct Kinds {
    common: Vec<Kind>,
    language: Kind,
    endless: Kind,
}

/// Calls `$work` on each item; what it leaves at 3136 (pointer and length) replaces the item.
const EACH_ITEM: &str = "
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
    (local.set $j (i32.add (local.get $items) (i32.shl (local.get $i) (i32.const 3))))
    (i64.store (i32.const 3136) (i64.load (local.get $j)))
    (call $work (i32.load (local.get $j)) (i32.load offset=4 (local.get $j)))
    (i64.store (local.get $j) (i64.load (i32.const 3136)))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next)))";

/// Scalars: sums whose order matters, NaNs with payloads, conversions.
const FLOATS: &str = "
  (func $work (param $p i32) (param $n i32)
    (local $k i32) (local $at i32) (local $sum f32) (local $wide f64) (local $x f32)
    (block $done (loop $next
      (br_if $done (i32.gt_u (i32.add (local.get $k) (i32.const 8)) (local.get $n)))
      (local.set $at (i32.add (local.get $p) (local.get $k)))
      (local.set $x (f32.load (local.get $at)))
      (local.set $sum (f32.div (f32.add (local.get $sum) (local.get $x))
        (f32.sqrt (f32.load offset=4 (local.get $at)))))
      (local.set $wide (f64.add (f64.mul (local.get $wide) (f64.const 0.99))
        (f64.promote_f32 (f32.max (local.get $x) (local.get $sum)))))
      (f32.store (local.get $at) (f32.min (f32.copysign (local.get $sum) (local.get $x))
        (f32.nearest (f32.demote_f64 (local.get $wide)))))
      (i32.store offset=4 (local.get $at) (i32.xor (i32.trunc_sat_f64_s (local.get $wide))
        (i32.reinterpret_f32 (f32.sub (f32.load (local.get $at)) (f32.const 1e30)))))
      (if (f32.ne (local.get $sum) (local.get $sum)) (then (local.set $sum (f32.const 0.1))))
      (local.set $k (i32.add (local.get $k) (i32.const 8)))
      (br $next))))";

/// The same with vectors, on whatever bits the item has.
const VECTORS: &str = "
  (func $work (param $p i32) (param $n i32)
    (local $k i32) (local $at i32) (local $sum v128) (local $x v128)
    (block $done (loop $next
      (br_if $done (i32.gt_u (i32.add (local.get $k) (i32.const 16)) (local.get $n)))
      (local.set $at (i32.add (local.get $p) (local.get $k)))
      (local.set $x (v128.load (local.get $at)))
      (local.set $sum (f32x4.add (f32x4.mul (local.get $sum) (local.get $x))
        (f32x4.div (local.get $x) (f32x4.sqrt (local.get $x)))))
      (local.set $sum (f32x4.pmin (f32x4.max (local.get $sum) (local.get $x))
        (f32x4.demote_f64x2_zero (f64x2.mul (f64x2.promote_low_f32x4 (local.get $x))
          (f64x2.promote_low_f32x4 (local.get $sum))))))
      (v128.store (local.get $at) (i32x4.add (i32x4.trunc_sat_f32x4_s (local.get $sum))
        (i16x8.q15mulr_sat_s (local.get $sum) (f64x2.ceil (local.get $x)))))
      (local.set $sum (v128.xor (local.get $sum) (i8x16.popcnt (local.get $x))))
      (local.set $k (i32.add (local.get $k) (i32.const 16)))
      (br $next))))";

/// Grows by as many pages as the item says, which is refused in the end, and fills what it got.
const GROWTH: &str = "
  (func $work (param $p i32) (param $n i32)
    (local $pages i32) (local $old i32) (local $k i32)
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $k) (local.get $n)))
      (local.set $pages (i32.load8_u (i32.add (local.get $p) (local.get $k))))
      (local.set $old (memory.grow (local.get $pages)))
      (if (i32.ge_s (local.get $old) (i32.const 0)) (then
        (memory.fill (i32.shl (local.get $old) (i32.const 16)) (local.get $k)
          (i32.shl (i32.and (local.get $pages) (i32.const 3)) (i32.const 12)))))
      (i32.store8 (i32.add (local.get $p) (local.get $k)) (i32.add (memory.size)
        (i32.load8_u (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 1)))))
      (local.set $k (i32.add (local.get $k) (i32.const 1)))
      (br $next))))";

/// Loops for as long as the shard's seed says, and leaves the seed in the item.
const SEEDED: &str = "
  (func $work (param $p i32) (param $n i32)
    (local $x i64)
    (call $seed (local.get $p))
    (i32.store offset=16 (local.get $p) (call $shard))
    (i64.store offset=24 (local.get $p) (call $offset))
    (local.set $x (i64.load (local.get $p)))
    (loop $next
      (local.set $x (i64.add (i64.rotl (i64.mul (local.get $x) (i64.const -7046029254386353131))
        (i64.const 23)) (i64.load offset=8 (local.get $p))))
      (br_if $next (i64.ne (i64.and (local.get $x) (i64.const 2047)) (i64.const 0))))
    (i64.store offset=32 (local.get $p) (local.get $x)))";
const SEEDED_IMPORTS: &str = r#"
  (import "assay:job/context@0.1.0" "seed" (func $seed (param i32)))
  (import "assay:job/context@0.1.0" "shard-index" (func $shard (result i32)))
  (import "assay:job/context@0.1.0" "item-offset" (func $offset (result i64)))"#;

/// Refuses every item whose first byte is odd, with the item, made letters, as the reason.
const REFUSES: &str = "
  (local.set $i (i32.load (local.get $items)))
  (if (i32.and (i32.load8_u (local.get $i)) (i32.const 1)) (then
    (i64.store (local.get $i) (i64.or (i64.const 0x4040404040404040)
      (i64.and (i64.load (local.get $i)) (i64.const 0x1f1f1f1f1f1f1f1f))))
    (return (call $err (i32.const 0) (local.get $i) (i32.const 8)))))";

/// Puts the tensors of the item (see [`inputs`]) through graph "m"; all outputs, one after the other
/// as memory was handed out for them, become the output.
const ASKS: &str = r#"
  (data (i32.const 2048) "m")
  (func $work (param $p i32) (param $n i32)
    (local $k i32) (local $r i32) (local $at i32) (local $list i32)
    (call $load (i32.const 2048) (i32.const 1) (i32.const 3072))
    (if (i32.load8_u (i32.const 3072)) (then unreachable))
    (call $context (i32.load (i32.const 3076)) (i32.const 3072))
    (if (i32.load8_u (i32.const 3072)) (then unreachable))
    (local.set $n (i32.load (local.get $p)))
    (local.set $list (call $realloc (i32.const 0) (i32.const 0) (i32.const 4)
      (i32.mul (local.get $n) (i32.const 12))))
    (local.set $at (local.get $list))
    (local.set $r (i32.add (local.get $p) (i32.const 4)))
    (loop $next
      (i32.store (local.get $at) (i32.add (local.get $p) (i32.load (local.get $r))))
      (i32.store offset=4 (local.get $at) (i32.load offset=4 (local.get $r)))
      (i32.store offset=8 (local.get $at) (call $tensor
        (i32.add (local.get $p) (i32.load offset=8 (local.get $r)))
        (i32.load offset=12 (local.get $r)) (i32.load offset=16 (local.get $r))
        (i32.add (local.get $p) (i32.load offset=20 (local.get $r)))
        (i32.load offset=24 (local.get $r))))
      (local.set $at (i32.add (local.get $at) (i32.const 12)))
      (local.set $r (i32.add (local.get $r) (i32.const 28)))
      (local.set $k (i32.add (local.get $k) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $k) (local.get $n))))
    (call $compute (i32.load (i32.const 3076)) (local.get $list) (local.get $n) (i32.const 3072))
    (if (i32.load8_u (i32.const 3072)) (then unreachable))
    (local.set $at (i32.load (i32.const 3076)))
    (local.set $n (i32.add (local.get $at) (i32.mul (i32.load (i32.const 3080)) (i32.const 12))))
    (local.set $p (i32.const 0))
    (loop $next
      (call $data (i32.load offset=8 (local.get $at)) (i32.const 3136))
      (if (i32.eqz (local.get $p)) (then (local.set $p (i32.load (i32.const 3136)))))
      (local.set $at (i32.add (local.get $at) (i32.const 12)))
      (br_if $next (i32.lt_u (local.get $at) (local.get $n))))
    (i32.store (i32.const 3140) (i32.sub (i32.add (i32.load (i32.const 3136))
      (i32.load (i32.const 3140))) (local.get $p)))
    (i32.store (i32.const 3136) (local.get $p)))"#;

/// A tensor of an item: name, type by its number in `wasi:nn`, dimensions, bytes.
type Input = (String, u32, Vec<u32>, Vec<u8>);

/// Tensors as [`ASKS`] reads them: a count, a record of seven words for each (offset and length of
/// the name, of the dimensions, the type, offset and length of the data), and what they point to.
fn inputs(tensors: &[Input]) -> Vec<u8> {
    let mut at = 4 + 28 * tensors.len();
    let (mut head, mut tail) = ((tensors.len() as u32).to_le_bytes().to_vec(), Vec::new());
    let mut place = |bytes: Vec<u8>| {
        let (offset, length) = (at, bytes.len());
        let padded = length.next_multiple_of(4);
        tail.extend(bytes);
        tail.resize(tail.len() + padded - length, 0);
        at += padded;
        (offset as u32, length as u32)
    };
    for (name, ty, dims, data) in tensors {
        let (name, name_length) = place(name.as_bytes().to_vec());
        let (shape, _) = place(dims.iter().flat_map(|dim| dim.to_le_bytes()).collect());
        let (data, data_length) = place(data.clone());
        let rank = dims.len() as u32;
        for word in [name, name_length, shape, rank, *ty, data, data_length] {
            head.extend(word.to_le_bytes());
        }
    }
    head.extend(tail);
    head
}

/// One f32 tensor `x`.
fn row(dims: &'static [u32]) -> impl Fn(&mut Dice) -> Vec<u8> + Send + Sync {
    move |dice| {
        let count = dims.iter().product::<u32>();
        let data = (0..count).flat_map(|_| number(dice).to_le_bytes());
        inputs(&[("x".to_owned(), 1, dims.to_vec(), data.collect())])
    }
}

/// A prompt for the language model and an empty cache.
fn prompt(dice: &mut Dice) -> Vec<u8> {
    let length = 1 + dice.roll(6) as usize;
    let row = |values: Vec<i64>| {
        values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let tokens = (0..length).map(|_| dice.roll(256) as i64).collect();
    let positions = (0..length as i64).collect();
    let dims = vec![1, length as u32];
    let mut tensors: Vec<Input> = vec![
        ("input_ids".to_owned(), 6, dims.clone(), row(tokens)),
        (
            "attention_mask".to_owned(),
            6,
            dims.clone(),
            row(vec![1; length]),
        ),
        ("position_ids".to_owned(), 6, dims, row(positions)),
    ];
    for layer in 0..3 {
        for part in ["key", "value"] {
            let name = format!("past_key_values.{layer}.{part}");
            tensors.push((name, 1, vec![1, 4, 0, 32], Vec::new()));
        }
    }
    inputs(&tensors)
}

fn written(dir: &Path, bytes: &[u8]) -> LocalBlob {
    let blob = BlobRef::of(bytes);
    let path = dir.join(blob.digest.to_hex());
    std::fs::write(&path, bytes).unwrap();
    LocalBlob { path, blob }
}

impl Kinds {
    /// Writes components and graphs into a folder.
    pub(crate) fn new(dir: &Path) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let model = |path: PathBuf| written(dir, &std::fs::read(path).unwrap());
        let asks = written(dir, &guest(NN, 2, ASKS, EACH_ITEM));
        let plain = |component: &[u8], bytes: u64| Kind {
            component: written(dir, component),
            model: None,
            item: Box::new(move |dice| {
                let more = dice.roll(bytes);
                dice.bytes((ITEM_BYTES_MIN + more) as usize)
            }),
        };
        let graph = |name: &str, dims: &'static [u32]| Kind {
            component: asks.clone(),
            model: Some(model(here.join(format!("tests/determinism/{name}.onnx")))),
            item: Box::new(row(dims)),
        };
        let common = vec![
            plain(&guest("", 2, FLOATS, EACH_ITEM), 512),
            plain(&guest("", 2, VECTORS, EACH_ITEM), 512),
            plain(&guest("", 2, GROWTH, EACH_ITEM), 8),
            plain(&guest(SEEDED_IMPORTS, 2, SEEDED, EACH_ITEM), 8),
            plain(&guest("", 2, "", REFUSES), 8),
            plain(&crate::wasi_guests::looks_around(), 8),
            graph("mlp", &[1, 32]),
            graph("conv", &[1, 1, 12, 12]),
            graph("attention", &[1, 8, 16]),
            graph("reduce", &[1, 1000]),
            graph("quantised", &[1, 64]),
        ];
        let language = Kind {
            component: asks.clone(),
            model: Some(model(here.join("../host-gpu/tests/data/tinylm.onnx"))),
            item: Box::new(prompt),
        };
        let endless = plain(&crate::guests::endless(), 8);
        Self {
            common,
            language,
            endless,
        }
    }

    /// The shard of this index and its encoded items.
    pub(crate) fn shard(&self, index: u32) -> (ShardTask, Vec<u8>) {
        let mut dice = Dice::new(u64::from(index));
        let (kind, fuel) = if index % ENDLESS_EVERY == ENDLESS_EVERY - 1 {
            (&self.endless, 100_000 + dice.roll(100_000))
        } else if index % LANGUAGE_EVERY == LANGUAGE_EVERY - 1 {
            (&self.language, FUEL)
        } else {
            let at = dice.roll(self.common.len() as u64);
            (&self.common[at as usize], FUEL)
        };
        let items: Vec<Vec<u8>> = (0..1 + dice.roll(3))
            .map(|_| (kind.item)(&mut dice))
            .collect();
        let model = |file: &LocalBlob| LocalModel {
            name: "m".to_owned(),
            file: file.clone(),
        };
        let task = ShardTask {
            job: JobId(Digest::of(b"determinism")),
            shard: index,
            first_item: u64::from(index) * 3,
            component: kind.component.clone(),
            models: kind.model.iter().map(model).collect(),
            device: DeviceKind::Cpu,
            cpu_nodes: false,
            noting: None,
            limits: Limits {
                fuel,
                memory_bytes: 16 << 20,
                output_bytes_per_item: 1 << 20,
                wall_ms: 60_000,
            },
        };
        (task, jobs::items::encode(&items).unwrap())
    }
}
