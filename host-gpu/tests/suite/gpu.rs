//! The same model on CUDA. Without a GPU these say so and return; ASSAY_REQUIRE_GPU=1 makes that a failure.

use crate::support::{data, ort, run, tensor};
use crate::tinylm;
use host_gpu::{Device, DeviceKind, ElementType, GraphOptions, NnBackend, NnError, StopFlag};

/// The first CUDA device that graphs can be loaded on.
fn gpu(test: &str) -> Option<Device> {
    let devices = ort().available_devices();
    let found = devices.iter().find(|info| info.kind == DeviceKind::Cuda);
    if let Some(info) = found {
        eprintln!("{test}: on {info:?}");
        return Some(info.device);
    }
    let reason = match ort().fingerprint(&GraphOptions::on(Device::Cuda(0))) {
        Err(error) => error.to_string(),
        Ok(_) => "the driver lists no device".to_owned(),
    };
    let required = std::env::var_os("ASSAY_REQUIRE_GPU").is_some_and(|value| value == "1");
    assert!(
        !required,
        "{test}: ASSAY_REQUIRE_GPU=1 and no CUDA device: {reason}"
    );
    eprintln!("{test}: not run, no CUDA device: {reason}");
    None
}

#[test]
fn a_model_on_the_gpu_writes_what_it_writes_on_the_processor() {
    let Some(device) = gpu("tinylm") else { return };
    let prompt = "And the LORD said unto ";
    let (text, logits) = tinylm::write(tinylm::load(device), prompt);
    let (again, same) = tinylm::write(tinylm::load(device), prompt);
    assert_eq!(
        (&again, logits == same),
        (&text, true),
        "equal fingerprints, equal bits"
    );
    assert_eq!(tinylm::write(tinylm::load(Device::Cpu), prompt).0, text);
}

#[test]
fn a_decoder_on_the_gpu_keeps_its_cache_and_its_logits_there() {
    let Some(device) = gpu("decoder") else { return };
    let prompt = "And the LORD said unto ";
    let session = tinylm::load(device);
    eprintln!("{:?}", session.placement());
    let (text, read_back) = tinylm::choose(session, prompt);
    assert_eq!(text, tinylm::choose(tinylm::load(Device::Cpu), prompt).0);
    for output in ["logits", "present.0.key", "present.2.value"] {
        assert!(!read_back.has(output), "{output} came to the host");
    }
}

#[test]
fn every_element_type_goes_through_the_gpu() {
    let Some(device) = gpu("element types") else {
        return;
    };
    for ty in ElementType::ALL {
        let bytes = std::fs::read(data(&format!("identity_{ty}.onnx"))).unwrap();
        let loaded = ort().load(
            "identity",
            &bytes,
            &GraphOptions::on(device),
            &StopFlag::default(),
        );
        let contents: Vec<u8> = (0..3 * ty.size_bytes()).map(|i| (i * 37) as u8).collect();
        let got = run(
            loaded.unwrap().as_mut(),
            vec![("x", tensor(ty, &[1, 3], &contents))],
        )
        .unwrap();
        assert_eq!(got[0].2, contents, "{ty}");
    }
}

#[test]
fn the_fingerprint_of_the_gpu_names_its_driver_and_kernels() {
    let Some(device) = gpu("fingerprint") else {
        return;
    };
    let parts = ort().fingerprint(&GraphOptions::on(device)).unwrap();
    eprintln!("{parts:?}");
    assert!(
        parts.engine.contains("cuda-blake3:") && parts.device.contains("driver "),
        "{parts:?}"
    );
    assert_ne!(
        parts,
        ort().fingerprint(&GraphOptions::on(Device::Cpu)).unwrap()
    );
}

#[test]
fn without_a_usable_gpu_asking_for_one_is_an_error() {
    if ort()
        .available_devices()
        .iter()
        .any(|info| info.kind == DeviceKind::Cuda)
    {
        eprintln!("not run: there is a usable GPU");
        return;
    }
    let bytes = std::fs::read(data("add.onnx")).unwrap();
    let result = ort().load(
        "add",
        &bytes,
        &GraphOptions::on(Device::Cuda(0)),
        &StopFlag::default(),
    );
    let error = result.err().expect("a session without a device");
    assert!(
        matches!(error, NnError::DeviceUnavailable { .. }),
        "{error}"
    );
}
