//! One suite for every backend: what the trait promises, the hardware's twin keeps too.

use crate::support::{Subject, f32s, i64s, run, subjects, tensor};
use host_gpu::{Device, ElementType, GraphOptions, NnError, StopFlag};
use std::sync::Arc;
use std::time::Duration;

fn cpu() -> GraphOptions {
    GraphOptions::on(Device::Cpu)
}

fn each(check: impl Fn(&Subject)) {
    for subject in subjects() {
        eprintln!("backend {}", subject.name);
        check(&subject);
    }
}

#[test]
fn every_element_type_goes_through_bit_for_bit() {
    each(|subject| {
        for ty in ElementType::ALL {
            let mut session = subject.load(&format!("identity_{ty}"), &cpu());
            assert_eq!(session.io().inputs[0].ty, ty);
            assert_eq!(session.io().inputs[0].dims, [None, Some(3)]);
            // Every byte pattern, NaNs and infinities among them, and the empty tensor.
            for rows in [0u32, 1, 43] {
                let len = rows as usize * 3 * ty.size_bytes();
                let bytes: Vec<u8> = (0..len).map(|i| (i * 37 + 255) as u8).collect();
                let got = run(
                    session.as_mut(),
                    vec![("x", tensor(ty, &[rows, 3], &bytes))],
                )
                .unwrap();
                assert_eq!(got, [("y".to_owned(), vec![rows, 3], bytes)], "{ty}");
            }
        }
    });
}

#[test]
fn numbers_are_added_and_inputs_come_in_any_order() {
    each(|subject| {
        let mut session = subject.load("add", &cpu());
        let x = tensor(ElementType::F32, &[2, 2], &f32s(&[1.0, 2.0, 3.0, -4.0]));
        let y = tensor(
            ElementType::F32,
            &[2, 2],
            &f32s(&[0.5, 0.25, f32::INFINITY, 4.0]),
        );
        let got = run(session.as_mut(), vec![("y", y), ("x", x)]).unwrap();
        assert_eq!(
            got,
            [(
                "sum".to_owned(),
                vec![2, 2],
                f32s(&[1.5, 2.25, f32::INFINITY, 0.0])
            )]
        );
    });
}

#[test]
fn a_scalar_is_accepted_as_one_value_and_as_none_of_a_dimension() {
    each(|subject| {
        let mut session = subject.load("scalar", &cpu());
        for dims in [&[][..], &[1]] {
            let got = run(
                session.as_mut(),
                vec![("x", tensor(ElementType::I64, dims, &i64s(&[-7])))],
            )
            .unwrap();
            assert_eq!(got, [("y".to_owned(), vec![], i64s(&[-7]))]);
        }
    });
}

#[test]
fn an_output_goes_straight_into_the_next_run() {
    each(|subject| {
        let mut session = subject.load("add", &cpu());
        let one = || tensor(ElementType::F32, &[1, 2], &f32s(&[1.0, 1.0]));
        let mut sum = one();
        for _ in 0..5 {
            let given = vec![("x".to_owned(), sum), ("y".to_owned(), one())];
            let bound = session.io().bind(given).unwrap();
            let (_, value) = session.run(&bound, &StopFlag::default()).unwrap().remove(0);
            sum = Arc::new(value);
        }
        assert_eq!(sum.host_bytes().unwrap(), f32s(&[6.0, 6.0]));
        // It outlives its session.
        drop(session);
        assert_eq!(sum.host_bytes().unwrap(), f32s(&[6.0, 6.0]));
    });
}

#[test]
fn a_shape_that_only_fails_in_the_run_is_the_guests_fault() {
    each(|subject| {
        let mut session = subject.load("add", &cpu());
        let x = tensor(ElementType::F32, &[2, 2], &f32s(&[0.0; 4]));
        let y = tensor(ElementType::F32, &[3, 2], &f32s(&[0.0; 6]));
        let error = run(session.as_mut(), vec![("x", x), ("y", y)]).unwrap_err();
        let NnError::Guest(fault) = &error else {
            panic!("{error}")
        };
        assert_eq!(fault.code, host_gpu::FaultCode::RuntimeError);
        assert!(
            !fault.text().contains('/') && fault.text().len() <= host_gpu::MAX_ERROR_TEXT_BYTES,
            "{fault}"
        );
        // And the session still works.
        let x = tensor(ElementType::F32, &[1, 2], &f32s(&[1.0, 2.0]));
        assert!(run(session.as_mut(), vec![("x", Arc::clone(&x)), ("y", x)]).is_ok());
    });
}

#[test]
fn a_run_is_stopped_from_another_thread_and_the_session_lives_on() {
    each(|subject| {
        let mut session = subject.load("endless", &cpu());
        for _ in 0..2 {
            let x = tensor(ElementType::F32, &[1], &f32s(&[0.0]));
            let bound = session.io().bind(vec![("x".to_owned(), x)]).unwrap();
            let stop = Arc::new(StopFlag::default());
            let stopper = Arc::clone(&stop);
            let handle = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                stopper.stop();
            });
            let result = session.run(&bound, &stop);
            assert!(matches!(result, Err(NnError::Stopped)), "{result:?}");
            handle.join().unwrap();
        }
    });
}

#[test]
fn a_run_that_was_stopped_before_it_began_does_not_begin() {
    each(|subject| {
        let mut session = subject.load("endless", &cpu());
        let x = tensor(ElementType::F32, &[1], &f32s(&[0.0]));
        let bound = session.io().bind(vec![("x".to_owned(), x)]).unwrap();
        let stop = StopFlag::default();
        stop.stop();
        assert!(matches!(session.run(&bound, &stop), Err(NnError::Stopped)));
    });
}

#[test]
fn bytes_that_are_no_graph_are_refused() {
    each(|subject| {
        let good = subject.graph("add");
        let mut damaged = good.clone();
        damaged.truncate(good.len() / 2);
        let cases = [
            vec![],
            vec![0; 100],
            vec![0xff; 4096],
            damaged,
            subject.graph("bool_output"),
        ];
        for bytes in cases {
            let result = subject
                .backend
                .load("bad", &bytes, &cpu(), &StopFlag::default());
            let error = result
                .err()
                .unwrap_or_else(|| panic!("{} loaded {bytes:?}", subject.name));
            assert!(matches!(error, NnError::GraphRejected { .. }), "{error}");
        }
    });
}

#[test]
fn a_device_that_is_not_there_is_an_error_and_never_another_device() {
    each(|subject| {
        // No machine has this many.
        let options = GraphOptions::on(Device::Cuda(4_000));
        let result =
            subject
                .backend
                .load("add", &subject.graph("add"), &options, &StopFlag::default());
        let error = result.err().expect("there is no such device");
        assert!(
            matches!(error, NnError::DeviceUnavailable { .. }),
            "{error}"
        );
        let error = subject.backend.fingerprint(&options).unwrap_err();
        assert!(
            matches!(error, NnError::DeviceUnavailable { .. }),
            "{error}"
        );
    });
}

#[test]
fn the_fingerprint_says_what_decides_the_bits() {
    each(|subject| {
        let parts = subject.backend.fingerprint(&cpu()).unwrap();
        assert_eq!(parts, subject.backend.fingerprint(&cpu()).unwrap());
        for part in [
            &parts.engine,
            &parts.execution_provider,
            &parts.device,
            &parts.options,
        ] {
            assert!(!part.is_empty(), "{parts:?}");
        }
        eprintln!("{parts:?}");
        let devices = subject.backend.available_devices();
        assert!(
            devices.iter().any(|info| info.device == Device::Cpu),
            "{devices:?}"
        );
    });
    let ort = &subjects()[1];
    let one = ort.backend.fingerprint(&cpu()).unwrap();
    let two = ort
        .backend
        .fingerprint(&GraphOptions {
            intra_threads: 2,
            ..cpu()
        })
        .unwrap();
    assert_ne!(one, two, "threads may change the order of sums");
    assert!(
        one.engine.contains("git-commit-id=") && one.engine.contains("blake3:"),
        "{one:?}"
    );
}

#[test]
fn a_model_cannot_name_files_of_the_host() {
    let ort = &subjects()[1];
    // The file it names is in the working directory of this test, and long enough.
    assert!(std::fs::metadata("Cargo.toml").unwrap().len() > 4);
    let bytes = ort.graph("external");
    let result = ort
        .backend
        .load("external", &bytes, &cpu(), &StopFlag::default());
    let error = result.err().expect("weights from a file of the host");
    eprintln!("{error}");
    assert!(matches!(error, NnError::GraphRejected { .. }), "{error}");
}

#[test]
fn a_graph_that_passes_an_input_on_as_an_output_is_refused() {
    let bytes = std::fs::read(crate::support::data("passed_on.onnx")).unwrap();
    let options = GraphOptions::on(Device::Cpu);
    let result = host_gpu::NnBackend::load(
        crate::support::ort().as_ref(),
        "bad",
        &bytes,
        &options,
        &StopFlag::default(),
    );
    let error = result.err().unwrap().to_string();
    assert!(
        error.contains("\"x\" is both an input and an output"),
        "{error}"
    );
}
