//! `assay:job/nn-ext`, called directly.

use super::*;
use crate::wasi_nn::bindings::assay::job::nn_ext::{self, Host as _};

fn fault<T: std::fmt::Debug>(
    state: &mut NnState,
    answer: Result<T, Resource<GuestFault>>,
) -> String {
    let fault = state.table.delete(answer.unwrap_err()).unwrap();
    fault.text().to_owned()
}

#[test]
fn a_graph_describes_itself() {
    let mut state = state(NnLimits::default());
    let mut view = NnCtxView { state: &mut state };
    let Ok(graph) = view.load_by_name("two".to_owned()).unwrap() else {
        panic!("no graph")
    };
    let io = view.describe(graph).unwrap();
    let shown = |ports: &[nn_ext::Port]| {
        ports
            .iter()
            .map(|port| format!("{} {:?} {:?}", port.name, port.ty, port.dims))
            .collect::<Vec<_>>()
    };
    let dims = "TensorType::Fp32 [None, Some(2)]";
    assert_eq!(
        shown(&io.inputs),
        [format!("x {dims}"), format!("y {dims}")]
    );
    assert_eq!(
        shown(&io.outputs),
        [format!("sum {dims}"), format!("same {dims}")]
    );
}

#[tokio::test]
async fn borrowed_inputs_stay_with_the_guest() {
    let mut state = state(NnLimits::default());
    let context = context(&mut state, "double");
    let x = state.make_tensor(ElementType::F32, &[2], &f32s(&[1.0, 2.0]));
    for _ in 0..3 {
        let mut view = NnCtxView { state: &mut state };
        let inputs = vec![("x".to_owned(), Resource::new_borrow(x.rep()))];
        let context = Resource::new_borrow(context.rep());
        let Ok(mut outputs) = nn_ext::Host::compute(&mut view, context, inputs)
            .await
            .unwrap()
        else {
            panic!("refused")
        };
        let (_, y) = outputs.pop().unwrap();
        assert_eq!(&*state.read_tensor(&y).unwrap().1, f32s(&[2.0, 4.0]));
        state.table.delete(y).unwrap();
    }
    assert_eq!(state.host_bytes_in_use(), 8);
    // Both inputs may be one tensor: nothing is given away.
    let two = super::context(&mut state, "two");
    let pair = state.make_tensor(ElementType::F32, &[1, 2], &f32s(&[1.0, 2.0]));
    let same = || Resource::new_borrow(pair.rep());
    let inputs = vec![("x".to_owned(), same()), ("y".to_owned(), same())];
    let mut view = NnCtxView { state: &mut state };
    let outputs = nn_ext::Host::compute(&mut view, two, inputs).await.unwrap();
    assert!(outputs.is_ok());
}

#[tokio::test]
async fn tokens_are_chosen_on_the_host_and_counted() {
    let mut state = state(NnLimits::default());
    let rows = [0.0, 5.0, 1.0, 9.0, 2.0, 3.0];
    let logits = state.make_tensor(ElementType::F32, &[1, 2, 3], &f32s(&rows));
    let handle = || Resource::new_borrow(logits.rep());
    let copied = state.meters().host_bytes;
    let mut view = NnCtxView { state: &mut state };
    let chosen = view.argmax(handle(), vec![]).await.unwrap().unwrap();
    assert_eq!(chosen, [1, 0]);
    let two = view.top_k(handle(), vec![1], 2).await.unwrap().unwrap();
    assert_eq!(two, [[(0, 9.0), (2, 3.0)]]);
    let how = nn_ext::Sampling {
        temperature: 1.0,
        top_k: 3,
        top_p: 1.0,
    };
    for (draw, expected) in [(0, 1), (u64::MAX, 0)] {
        let drawn = view.sample(handle(), vec![0], how, vec![draw]);
        assert_eq!(drawn.await.unwrap().unwrap(), [expected], "{draw}");
    }
    let meters = state.meters();
    assert_eq!((meters.tokens, meters.host_bytes), (4, copied));
}

#[tokio::test]
async fn what_cannot_be_chosen_from_is_the_guests_fault_and_no_token() {
    let mut state = state(NnLimits::default());
    let nan = state.make_tensor(ElementType::F32, &[2], &f32s(&[1.0, f32::NAN]));
    let short = state.make_tensor(ElementType::F32, &[2], &[0; 4]);
    let how = |top_k| nn_ext::Sampling {
        temperature: 1.0,
        top_k,
        top_p: 1.0,
    };
    for (tensor, top_k, draws, words) in [
        (&nan, 1, vec![1], "row 0 has NaN at 1"),
        (&short, 1, vec![1], "tensor data has 4 bytes"),
        (&nan, 1, vec![], "row 0 has NaN"),
        (&nan, 0, vec![1], "top-k is 0"),
    ] {
        let mut view = NnCtxView { state: &mut state };
        let handle = Resource::new_borrow(tensor.rep());
        let answer = view
            .sample(handle, vec![], how(top_k), draws)
            .await
            .unwrap();
        let text = fault(&mut state, answer);
        assert!(text.contains(words), "{text:?} does not say {words:?}");
    }
    let fine = state.make_tensor(ElementType::F32, &[2], &f32s(&[1.0, 2.0]));
    let mut view = NnCtxView { state: &mut state };
    let answer = view.sample(fine, vec![], how(2), vec![1, 2]).await.unwrap();
    let text = fault(&mut state, answer);
    assert!(text.contains("2 draws are given for 1 rows"), "{text}");
    assert_eq!(state.meters().tokens, 0);
    let mut view = NnCtxView { state: &mut state };
    let gone = view.argmax(Resource::new_borrow(4000), vec![]).await;
    assert!(gone.is_err(), "a handle that names nothing is a trap");
}
