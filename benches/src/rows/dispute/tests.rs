//! Liars of several kinds, on models of the tests.

use std::path::PathBuf;

use host_gpu::{Means, OrtBackend};
use jobs::dispute::{ARITY_DEFAULT, Fault};

use super::court::{Lie, Outcome};
use super::*;

fn data(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../host-gpu/tests/data");
    std::fs::read(folder.join(name)).unwrap()
}

fn leaves() -> Inputs {
    let numbers = (0..4 * 7 * 6).map(|at| ((at * 37 % 101) as f32 - 40.0) / 50.0);
    let numbers: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
    let value = TensorValue::from_bytes(ElementType::F32, &[1, 4, 7, 6], &numbers).unwrap();
    vec![("x".to_owned(), Arc::new(value))]
}

/// A model, two honest executions' worth of structure, and disputes about it.
struct Trial<'m> {
    tracer: Tracer<'m>,
    structure: Structure,
    inputs: Inputs,
    honest: Provider,
}

impl<'m> Trial<'m> {
    fn new(model: &'m [u8], inputs: Inputs) -> Self {
        let backend = Arc::new(OrtBackend::new(crate::raw::library().unwrap()));
        let mut tracer = Tracer::new(backend, "model", model).unwrap();
        let structure = Structure::of(&tracer);
        let honest = Provider::new(&mut tracer, inputs.clone(), Lie::None).unwrap();
        Self {
            tracer,
            structure,
            inputs,
            honest,
        }
    }

    fn against(&mut self, lie: Lie) -> Outcome {
        let liar = Provider::new(&mut self.tracer, self.inputs.clone(), lie).unwrap();
        let terms = terms(&self.tracer, &self.honest, ARITY_DEFAULT).unwrap();
        let parties = [&self.honest, &liar];
        hold(&mut self.tracer, &self.structure, parties, terms).unwrap()
    }

    /// Nodes whose first result is `f32`, not empty and read by somebody, with that result's last number.
    fn numbers(&mut self) -> Vec<(usize, f32)> {
        let stop = StopFlag::default();
        let mut trace = Trace::default();
        let mut frontier = self.tracer.begin(self.inputs.clone(), &mut trace).unwrap();
        let mut found = Vec::new();
        for node in 0..self.tracer.nodes() {
            frontier = self
                .tracer
                .advance(frontier, node + 1, &mut trace, &stop)
                .unwrap();
            let info = self.tracer.node(node).unwrap();
            let first = info.makes.first();
            let value = first.and_then(|name| self.tracer.tensor(&frontier, name));
            if let Some(value) = value.filter(|value| value.ty() == ElementType::F32)
                && let Some(number) = value.host_bytes().unwrap().last_chunk()
            {
                found.push((node, f32::from_le_bytes(*number)));
            }
        }
        found
    }
}

#[test]
fn a_tensor_changed_anywhere_is_found_at_its_node_and_its_liar_named() {
    let (leaves_model, tinylm) = (data("leaves.onnx"), data("tinylm.onnx"));
    let decoder = decoder_inputs(&Shape::TINYLM, 12).unwrap();
    for (model, inputs, step) in [(&leaves_model, leaves(), 1), (&tinylm, decoder, 11)] {
        let mut trial = Trial::new(model, inputs);
        for (node, number) in trial.numbers().into_iter().step_by(step) {
            let lie = Lie::Number {
                node,
                to: number.abs() * 1.5 + 1.0,
            };
            let outcome = trial.against(lie);
            let Ruling::Culprit { party, fault } = &outcome.ruling else {
                panic!("node {node}: {outcome:?}");
            };
            let Fault::WrongResult { node: found, .. } = fault else {
                panic!("node {node}: {outcome:?}");
            };
            assert_eq!((*party, *found as usize), (Party::Second, node));
            assert_eq!(outcome.leaf.map(|(node, _)| node), Some(*found));
            let most = terms(&trial.tracer, &trial.honest, ARITY_DEFAULT).unwrap();
            assert!(outcome.tally.rounds <= most.rounds_max());
        }
    }
}

#[test]
fn a_change_within_the_bound_blames_nobody_and_one_above_it_the_liar() {
    let model = data("tinylm.onnx");
    let mut trial = Trial::new(&model, decoder_inputs(&Shape::TINYLM, 12).unwrap());
    let numbers = trial.numbers();
    let products: Vec<(usize, f32)> = numbers
        .into_iter()
        .filter(|(node, _)| trial.tracer.node(*node).unwrap().operator == "MatMul")
        .collect();
    assert_eq!(products.len(), 28);
    let mut ambiguous = 0;
    for (node, number) in products.into_iter().step_by(3) {
        // A few units in the last place, which a sum of products may well be off.
        let next = f32::from_bits(number.to_bits() ^ 4);
        let lie = |to| Lie::Number { node, to };
        let within = trial.against(lie(next));
        // So little may round to nothing further on; then the outputs are the same.
        if within.ruling != Ruling::Agreed {
            let expected = Ruling::Ambiguous { node: node as u32 };
            assert_eq!(within.ruling, expected, "node {node}");
            assert_eq!(within.leaf, Some((node as u32, Means::Bound)));
            ambiguous += 1;
        }
        // Far more than any product of a hundred numbers of this size may be off.
        let above = trial.against(lie(number + (number.abs() + 1.0) * 1e-2));
        let culprit = matches!(
            above.ruling,
            Ruling::Culprit {
                party: Party::Second,
                ..
            }
        );
        assert!(culprit, "node {node}: {above:?}");
    }
    assert!(ambiguous >= 3, "{ambiguous} of ten changes reached the end");
}

#[test]
fn a_trace_that_contradicts_itself_is_a_fault_and_equal_traces_are_none() {
    let model = data("tinylm.onnx");
    let mut trial = Trial::new(&model, decoder_inputs(&Shape::TINYLM, 12).unwrap());
    let inconsistent = trial.against(Lie::Carried { node: 77 });
    let Ruling::Culprit { party, fault } = &inconsistent.ruling else {
        panic!("{inconsistent:?}");
    };
    assert_eq!(*party, Party::Second);
    assert!(matches!(fault, Fault::Changed { node: 77, .. }), "{fault}");
    assert_eq!(inconsistent.leaf, None);
    let same = trial.against(Lie::None);
    assert_eq!((same.ruling, same.tally.questions), (Ruling::Agreed, 1));
}
