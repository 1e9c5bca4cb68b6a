//! Models executed in parts, and single nodes held against what honest arithmetic may give.

use crate::support::{data, i64s, ort, tensor};
use host_gpu::{
    Device, ElementType, Frontier, GraphOptions, LeafFinding, Means, NnBackend, StopFlag,
    TensorValue, Trace, Tracer,
};
use std::collections::BTreeSet;
use std::sync::Arc;

type Inputs = Vec<(String, Arc<TensorValue>)>;

/// A model of the tests and what to feed it.
fn case(name: &str) -> (Vec<u8>, Inputs) {
    let bytes = std::fs::read(data(&format!("{name}.onnx"))).unwrap();
    let inputs = match name {
        "leaves" => {
            let numbers = (0..2 * 4 * 7 * 6).map(|at| ((at * 37 % 101) as f32 - 40.0) / 50.0);
            let numbers: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
            vec![(
                "x".to_owned(),
                tensor(ElementType::F32, &[2, 4, 7, 6], &numbers),
            )]
        }
        _ => {
            let tokens: Vec<i64> = "In the beginning".bytes().map(i64::from).collect();
            let positions: Vec<i64> = (0..16).collect();
            let ones = vec![1; 16];
            let named = [
                ("input_ids", tokens),
                ("position_ids", positions),
                ("attention_mask", ones),
            ];
            let mut inputs: Inputs = named
                .map(|(name, values)| {
                    (
                        name.to_owned(),
                        tensor(ElementType::I64, &[1, 16], &i64s(&values)),
                    )
                })
                .into();
            for layer in 0..3 {
                for part in ["key", "value"] {
                    let empty = tensor(ElementType::F32, &[1, 4, 0, 32], &[]);
                    inputs.push((format!("past_key_values.{layer}.{part}"), empty));
                }
            }
            inputs
        }
    };
    (bytes, inputs)
}

fn tracer<'m>(name: &str, model: &'m [u8]) -> Tracer<'m> {
    Tracer::new(ort(), name, model).unwrap()
}

/// Executes a model, stopping at these positions.
fn execute(tracer: &mut Tracer<'_>, inputs: Inputs, stops: &[usize]) -> (Trace, Frontier) {
    let mut trace = Trace::default();
    let mut frontier = tracer.begin(inputs, &mut trace).unwrap();
    let end = tracer.nodes();
    for to in stops.iter().copied().chain([end]) {
        let stop = StopFlag::default();
        frontier = tracer.advance(frontier, to, &mut trace, &stop).unwrap();
    }
    (trace, frontier)
}

#[test]
fn a_trace_does_not_depend_on_where_the_model_is_cut() {
    for (name, nodes) in [("leaves", 16), ("tinylm", 196)] {
        let (model, inputs) = case(name);
        let mut tracer = tracer(name, &model);
        assert_eq!(tracer.nodes(), nodes);
        let (whole, _) = execute(&mut tracer, inputs.clone(), &[]);
        for stops in [
            vec![1, 2, 5],
            vec![nodes / 2],
            (0..nodes).step_by(7).collect(),
        ] {
            let (cut, _) = execute(&mut tracer, inputs.clone(), &stops);
            for position in 0..=nodes {
                let crossing = tracer.crossing(&whole, position).unwrap();
                assert_eq!(Some(&crossing), tracer.crossing(&cut, position).as_ref());
                let names: Vec<&str> = crossing.iter().map(|t| t.name.as_str()).collect();
                assert_eq!(tracer.frontier(position), names);
            }
        }
    }
}

#[test]
fn a_trace_ends_where_the_whole_model_does() {
    let (model, inputs) = case("tinylm");
    let options = GraphOptions::on(Device::Cpu);
    let mut whole = ort()
        .load("tinylm", &model, &options, &StopFlag::default())
        .unwrap();
    let bound = whole.io().bind(inputs.clone()).unwrap();
    let outputs = whole.run(&bound, &StopFlag::default()).unwrap();
    let mut tracer = tracer("tinylm", &model);
    let (_, end) = execute(&mut tracer, inputs, &[]);
    for (name, value) in &outputs {
        let traced = tracer.tensor(&end, name).unwrap();
        assert_eq!(traced.dims(), value.dims());
        let floats = |value: &TensorValue| -> Vec<f32> {
            let bytes = value.host_bytes().unwrap().as_chunks::<4>().0;
            bytes.iter().map(|four| f32::from_le_bytes(*four)).collect()
        };
        let pairs = floats(traced).into_iter().zip(floats(value));
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3, "{name}: {worst}");
    }
}

/// Every node's honest result lies inside, and one that is changed by this share of what is allowed is judged as
/// this says.
#[test]
fn every_honest_node_lies_inside_and_a_changed_one_outside() {
    let mut seen: BTreeSet<(Means, String)> = BTreeSet::new();
    for name in ["leaves", "tinylm"] {
        let (model, inputs) = case(name);
        let mut tracer = tracer(name, &model);
        let mut trace = Trace::default();
        let stop = StopFlag::default();
        let mut frontier = tracer.begin(inputs, &mut trace).unwrap();
        for node in 0..tracer.nodes() {
            let info = tracer.node(node).unwrap();
            let read = |name: &String| {
                let value = Arc::clone(tracer.tensor(&frontier, name).unwrap());
                (name.clone(), value)
            };
            let read: Inputs = info.reads.iter().map(read).collect();
            let expected = tracer.expect(node, &read, &stop).unwrap();
            frontier = tracer
                .advance(frontier, node + 1, &mut trace, &stop)
                .unwrap();
            seen.insert((expected.means(), info.operator.clone()));
            for output in &info.makes {
                let value = Arc::clone(tracer.tensor(&frontier, output).unwrap());
                let bytes = value.host_bytes().unwrap().to_vec();
                let at = format!("{name} node {node} {} {output}", info.operator);
                let found = expected.judge(output, value.dims(), &bytes);
                let inside = matches!(found, LeafFinding::Inside { .. });
                assert!(inside, "{at}: {found:?}");
                changed(&expected, output, &value, bytes, &at);
            }
        }
    }
    let means = |means: Means| -> Vec<&str> {
        let seen = seen.iter().filter(|(found, _)| *found == means);
        seen.map(|(_, op)| op.as_str()).collect()
    };
    assert_eq!(
        means(Means::Bound),
        [
            "Add",
            "Conv",
            "Div",
            "Gemm",
            "LayerNormalization",
            "MatMul",
            "Mul",
            "Neg",
            "ReduceMean",
            "Relu",
            "Softmax",
            "Sqrt",
            "Sub"
        ]
    );
    // A branch is one node, and computes.
    assert_eq!(
        means(Means::Tolerance),
        [
            "Cos",
            "DynamicQuantizeLinear",
            "Erf",
            "If",
            "Sigmoid",
            "Sin"
        ]
    );
    assert!(means(Means::Bitwise).contains(&"MatMulInteger"));
}

/// Changes one element below and above its bound, cuts the tensor off, and gives it other dimensions.
fn changed(
    expected: &host_gpu::Expected,
    name: &str,
    value: &TensorValue,
    bytes: Vec<u8>,
    at: &str,
) {
    if bytes.is_empty() {
        return;
    }
    let outside = |dims: &[u32], bytes: &[u8], what: &str| {
        let found = expected.judge(name, dims, bytes);
        let is = matches!(found, LeafFinding::Outside { .. });
        assert!(is, "{at}: {what}: {found:?}");
    };
    let mut dims = value.dims().to_vec();
    outside(&dims, &bytes[1..], "one byte less");
    dims.push(2);
    outside(&dims, &bytes, "another dimension");
    let bound = expected.bound(name, 0);
    let Some((exact, bound)) = bound.filter(|_| value.ty() == ElementType::F32) else {
        let mut flipped = bytes.clone();
        flipped[0] ^= 0x80;
        outside(value.dims(), &flipped, "a flipped bit");
        return;
    };
    let with = |number: f64| {
        let mut changed = bytes.clone();
        changed[..4].copy_from_slice(&(number as f32).to_le_bytes());
        changed
    };
    outside(value.dims(), &with(f64::NAN), "no number");
    outside(value.dims(), &with(f64::INFINITY), "an infinity");
    // Twice the bound, and what rounding to single precision may take away of it; some bounds are zero.
    let above = exact + 2.0 * bound + exact.abs() * 1e-6 + 1e-30;
    outside(value.dims(), &with(above), "above the bound");
    let below = with(exact + 0.4 * bound);
    let off = (f64::from(f32::from_le_bytes(below[..4].try_into().unwrap())) - exact).abs();
    let found = expected.judge(name, value.dims(), &below);
    let inside = matches!(found, LeafFinding::Inside { .. });
    assert_eq!(inside, off <= bound, "{at}: below the bound: {found:?}");
}

#[test]
fn wrong_inputs_of_a_trace_are_named() {
    let (model, inputs) = case("leaves");
    let tracer = tracer("leaves", &model);
    let x = &inputs[0].1;
    let wide = tensor(ElementType::I64, &[1], &i64s(&[1]));
    for (given, expected) in [
        (vec![], "\"x\" is missing"),
        (vec![("z", x)], "no input \"z\""),
        (vec![("scaled", x)], "no input \"scaled\""),
        (vec![("x", &wide)], "\"x\" is given as i64"),
    ] {
        let given = given
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Arc::clone(value)));
        let error = tracer.begin(given.collect(), &mut Trace::default());
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }
}
