//! Everything a guest can see.
//!
//! A capability is one file of this crate (or of `host-gpu`) and one entry of [`IMPORTS`]. What is
//! not in the list does not exist for a guest: no clock, no randomness, no files, no sockets. A
//! component that imports WASI gets [`crate::wasi`] besides, which leads nowhere either.

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::assay::job;
use crate::failure::FailureKind;
use crate::sandbox::state::State;

/// A capability: the interfaces it serves and how they get into a linker.
#[derive(Debug)]
pub struct Import {
    /// Interfaces, at exactly these versions.
    pub interfaces: &'static [&'static str],
    add: fn(&mut Linker<State>) -> wasmtime::Result<()>,
}

/// The complete list. A test holds it against `jobs::component::ALLOWED_IMPORTS`.
pub const IMPORTS: &[Import] = &[
    Import {
        interfaces: &["assay:job/context@0.1.0"],
        add: |linker| job::context::add_to_linker::<State, HasSelf<_>>(linker, |s| &mut s.context),
    },
    Import {
        interfaces: &["assay:job/log@0.1.0"],
        add: |linker| job::log::add_to_linker::<State, HasSelf<_>>(linker, |s| &mut s.log),
    },
    Import {
        interfaces: &["assay:job/nn-ext@0.1.0"],
        add: host_gpu::add_extension_to_linker::<State>,
    },
    Import {
        interfaces: &["assay:job/types@0.1.0"],
        add: |linker| job::types::add_to_linker::<State, HasSelf<_>>(linker, |s| &mut s.context),
    },
    Import {
        interfaces: &[
            "wasi:nn/errors@0.2.0-rc-2024-10-28",
            "wasi:nn/graph@0.2.0-rc-2024-10-28",
            "wasi:nn/inference@0.2.0-rc-2024-10-28",
            "wasi:nn/tensor@0.2.0-rc-2024-10-28",
        ],
        add: host_gpu::add_to_linker::<State>,
    },
];

/// A linker with every import.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<State>, FailureKind> {
    let mut linker = Linker::new(engine);
    for import in IMPORTS {
        (import.add)(&mut linker).map_err(|error| FailureKind::Engine {
            reason: format!("cannot link {:?}: {error:#}", import.interfaces),
        })?;
    }
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guests;

    #[test]
    fn the_list_is_the_one_that_a_job_is_checked_against() {
        let mut listed: Vec<&str> = IMPORTS.iter().flat_map(|i| i.interfaces).copied().collect();
        listed.sort_unstable();
        assert_eq!(listed, jobs::component::ALLOWED_IMPORTS);
    }

    #[test]
    fn every_function_of_the_world_is_linked() {
        let engine = crate::engine::engine().unwrap();
        let bytes = guests::whole_world();
        let component = wasmtime::component::Component::new(&engine, bytes).unwrap();
        let imports: Vec<String> = component
            .component_type()
            .imports(&engine)
            .map(|(name, _)| name.to_owned())
            .filter(|name| name.contains(':'))
            .collect();
        for name in jobs::component::ALLOWED_IMPORTS {
            assert!(
                imports.iter().any(|import| import == name),
                "{name} is not in {imports:?}"
            );
        }
        linker(&engine)
            .unwrap()
            .instantiate_pre(&component)
            .map(drop)
            .unwrap();
    }
}
