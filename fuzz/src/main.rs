//! One fuzzer for every decoder; `ASSAY_FUZZ_TARGET` names the one to try. The workspace's test `fuzz`
//! compiles this file too, with a `fuzz_target!` of its own.
#![no_main]

pub(crate) mod targets;

use std::sync::OnceLock;

use targets::{TARGETS, Target};

fn chosen() -> &'static Target {
    static CHOSEN: OnceLock<&Target> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = std::env::var("ASSAY_FUZZ_TARGET").unwrap_or_default();
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        TARGETS
            .iter()
            .find(|target| target.name == name)
            .unwrap_or_else(|| panic!("ASSAY_FUZZ_TARGET is {name:?}, not one of {names:?}"))
    })
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (chosen().run)(data);
});
