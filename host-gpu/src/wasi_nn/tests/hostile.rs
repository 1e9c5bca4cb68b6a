//! A guest that does anything at any time: no call panics, and everything it held is given back.

use super::*;

/// Instances that are played, each from its own seed.
const SEEDS: u64 = 60;
/// Calls that each of them makes.
const STEPS: usize = 300;
/// Handles that end the game of an instance.
const HELD: usize = 80;

/// A small generator: the same game on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    /// One of the last few, mostly; any of them, sometimes, and then it is likely to be stale.
    fn handle(&mut self, from: &[u32]) -> Option<u32> {
        let reach = if self.roll(8) == 0 {
            from.len()
        } else {
            from.len().min(3)
        };
        let back = self.roll(reach.max(1)) + 1;
        from.len().checked_sub(back).map(|at| from[at])
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }

    /// Often what a graph wants, often nonsense.
    fn dims(&mut self) -> Vec<u32> {
        if self.roll(2) == 0 {
            return self.pick(&[&[1, 2][..], &[2], &[1], &[]]).to_vec();
        }
        let rank = self.pick(&[0, 1, 1, 1, 2, 2, 3, 17, 400]);
        (0..rank)
            .map(|_| self.pick(&[0, 1, 1, 2, 2, 3, 65_536, u32::MAX]))
            .collect()
    }
}

/// Handles a guest has seen, dropped ones among them.
#[derive(Default)]
struct Seen {
    tensors: Vec<u32>,
    contexts: Vec<u32>,
}

fn make(state: &mut NnState, dice: &mut Dice, seen: &mut Seen) {
    if state.table.iter_mut().count() >= HELD {
        return;
    }
    let ty = if dice.roll(2) == 0 {
        F32
    } else {
        dice.pick(&ElementType::ALL)
    };
    let dims = dice.dims();
    let right = dims
        .iter()
        .map(|dim| *dim as usize)
        .fold(ty.size_bytes(), usize::saturating_mul);
    let len = if dice.roll(4) == 0 {
        dice.roll(100)
    } else {
        right.min(4096)
    };
    let data: Vec<u8> = (0..len).map(|_| dice.roll(256) as u8).collect();
    seen.tensors.push(state.make_tensor(ty, &dims, &data).rep());
}

async fn run(state: &mut NnState, dice: &mut Dice, seen: &mut Seen) {
    let Some(context) = dice.handle(&seen.contexts) else {
        return;
    };
    let mut inputs = Vec::new();
    let names = [
        &["x"][..],
        &["x", "y"],
        &["y", "x"],
        &["x", "x"],
        &["", "z"],
        &["\0"],
        &["x", "y", "z", "z"],
        &[],
    ];
    for name in dice.pick(&names) {
        let name = (*name).to_owned();
        if let Some(rep) = dice.handle(&seen.tensors) {
            if dice.roll(8) > 0 {
                seen.tensors.retain(|other| *other != rep);
            }
            inputs.push((name, Resource::new_own(rep)));
        }
    }
    let mut view = NnCtxView { state };
    // A stale handle is an error of the call, anything else a result or a fault.
    match view.compute(Resource::new_borrow(context), inputs).await {
        Ok(Ok(outputs)) => seen
            .tensors
            .extend(outputs.iter().map(|(_, tensor)| tensor.rep())),
        // A fault takes a place in the table; mostly the guest drops it.
        Ok(Err(fault)) if dice.roll(8) > 0 => {
            view.state.table.delete(fault).unwrap();
        }
        // A stale handle is an error of the call, and the guest would be gone.
        Ok(Err(_)) | Err(_) => {}
    }
}

async fn step(state: &mut NnState, dice: &mut Dice, seen: &mut Seen) {
    match dice.roll(10) {
        0..4 => make(state, dice, seen),
        4 => {
            let name = dice.pick(&["double", "two", "twin", "scalar", "fail", "nothing", ""]);
            let mut view = NnCtxView { state };
            let Ok(Ok(graph)) = view.load_by_name(name.to_owned()) else {
                return;
            };
            let context = view.init_execution_context(Resource::new_borrow(graph.rep()));
            if let Ok(Ok(context)) = context {
                seen.contexts.push(context.rep());
            }
            // The handle may be dropped twice: the second time it is no handle.
            let _ = graph::HostGraph::drop(&mut view, graph);
        }
        5 => {
            if let Some(rep) = dice.handle(&seen.tensors) {
                let _ = state.table.delete(Resource::<NnTensor>::new_own(rep));
            }
        }
        6 => {
            if let Some(rep) = dice.handle(&seen.tensors) {
                let _ = state.read_tensor(&Resource::new_borrow(rep));
            }
        }
        _ => run(state, dice, seen).await,
    }
}

#[tokio::test]
async fn no_sequence_of_calls_panics_and_all_memory_comes_back() {
    let graphs = graphs();
    let limits = NnLimits {
        max_resources: HELD + 8,
        max_tensor_bytes: 8192,
        max_host_bytes: 16_384,
        max_inputs: 3,
        ..NnLimits::default()
    };
    let mut computes = 0;
    for seed in 1..=SEEDS {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut seen = Seen::default();
        let mut state = NnState::new(graphs.clone(), limits.clone());
        let budget = Arc::clone(&state.budget);
        for _ in 0..STEPS {
            step(&mut state, &mut dice, &mut seen).await;
            assert!(budget.used() <= 16_384);
            if state.table.iter_mut().count() >= HELD {
                break;
            }
        }
        computes += state.meters().computes;
        drop(state);
        assert_eq!(budget.used(), 0, "seed {seed}");
    }
    assert!(
        computes > SEEDS,
        "the game hardly ever reaches a graph: {computes}"
    );
}
