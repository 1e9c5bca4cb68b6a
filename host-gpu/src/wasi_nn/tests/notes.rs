//! What a graph gives is noted, and nothing else.

use super::*;
use crate::{NoteSink, Notes};
use std::sync::Mutex;

/// Keeps at most so many outputs.
struct Kept {
    most: usize,
    outputs: Mutex<Vec<Vec<u8>>>,
}

impl NoteSink for Kept {
    fn note(&self, values: &[u8]) -> Result<(), NnError> {
        let mut outputs = self.outputs.lock().unwrap();
        if outputs.len() == self.most {
            return Err(NnError::NotesFull {
                wanted: 1,
                limit: 0,
            });
        }
        outputs.push(values.to_vec());
        Ok(())
    }
}

/// An instance that has output `b` of the graph `twin` noted, at most so often.
fn noting(most: usize) -> (NnState, Arc<Kept>) {
    let kept = Arc::new(Kept {
        most,
        outputs: Mutex::default(),
    });
    let mut state = state(NnLimits::default());
    let model = *state.graphs["twin"].digest();
    let sink: Arc<dyn NoteSink> = kept.clone();
    state = state.noting(Some(Notes::new(model, "b".into(), sink)));
    (state, kept)
}

fn given(values: &[f32]) -> Given<'static> {
    ("x", ElementType::F32, &[2], f32s(values))
}

#[tokio::test]
async fn every_inference_of_the_graph_is_noted_in_order_and_no_other() {
    let (mut state, kept) = noting(9);
    compute(&mut state, "twin", &[given(&[1.0, 2.0])])
        .await
        .unwrap();
    compute(&mut state, "double", &[given(&[5.0, 6.0])])
        .await
        .unwrap();
    let wrong = compute(&mut state, "twin", &[]).await;
    assert!(wrong.is_err(), "no inference, so nothing to note");
    compute(&mut state, "twin", &[given(&[3.0, 4.0])])
        .await
        .unwrap();
    let outputs = kept.outputs.lock().unwrap();
    assert_eq!(*outputs, [f32s(&[2.0, 4.0]), f32s(&[6.0, 8.0])]);
}

#[tokio::test]
async fn what_cannot_be_noted_stops_the_guest_by_name() {
    let (mut state, _) = noting(1);
    compute(&mut state, "twin", &[given(&[1.0, 2.0])])
        .await
        .unwrap();
    let context = context(&mut state, "twin");
    let x = state.make_tensor(ElementType::F32, &[2], &f32s(&[1.0, 2.0]));
    let mut view = NnCtxView { state: &mut state };
    let inputs = vec![("x".to_owned(), x)];
    let stopped = view
        .compute(Resource::new_borrow(context.rep()), inputs)
        .await
        .unwrap_err();
    let error = stopped.downcast_ref::<NnError>();
    assert!(
        matches!(error, Some(NnError::NotesFull { .. })),
        "{error:?}"
    );
}
