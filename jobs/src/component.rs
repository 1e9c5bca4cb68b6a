//! Whether a WebAssembly component is a job: its imports, its exports, and its size.
//!
//! The check runs before a component is signed, admitted or compiled. It is strict where the
//! runtime would merely fail later: a component that passes imports nothing but [`ALLOWED_IMPORTS`] and
//! [`WASI_INTERFACES`],
//! uses only the WebAssembly features of [`features`] and is too small to be a compile bomb.

mod imports;
mod run;

use std::collections::BTreeSet;

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentExternalKind, ComponentInstance, ComponentTypeRef,
    FunctionBody, Operator, Parser, Payload, TableSectionReader, TypeBounds, Validator,
    WasmFeatures,
};

use crate::Error;
pub use imports::{ALLOWED_IMPORTS, Profile, WASI_INTERFACES, wasi_interface};

/// The function every job exports.
pub const RUN_EXPORT: &str = "run";

/// Largest component in bytes.
pub const COMPONENT_BYTES_MAX: usize = 64 << 20;

/// Most core modules in one component. A job has its own and two that glue it to its imports; one in
/// Python has 14, since its interpreter and its C library are modules of their own.
pub const MODULES_MAX: u32 = 32;

/// Most components inside of one, and most instances of them. Nothing is in them but names for types:
/// tools wrap an exported interface in one.
pub const SHIMS_MAX: u32 = 8;

/// Most functions defined by all core modules together.
pub const FUNCTIONS_MAX: u32 = 50_000;

/// Largest body of one function in bytes: a compiler's passes are not linear in it.
pub const FUNCTION_BYTES_MAX: usize = 1 << 20;

/// Most globals defined by all core modules together.
pub const GLOBALS_MAX: u32 = 1_000;

/// Most types defined by all core modules together: the engine registers and links each of them.
pub const CORE_TYPES_MAX: u32 = 4_096;

/// Most data and element segments of all core modules together.
pub const SEGMENTS_MAX: u32 = 100_000;

/// Most blocks within one another in a function. Compiling takes the square of it.
pub const BLOCK_DEPTH_MAX: u32 = 4_096;

/// Most types of instances and components that are written inside of another one. Readers call
/// themselves for each level.
pub const INNER_TYPES_MAX: usize = 64;

/// Most targets of one jump: what the engine compiles.
pub const JUMPS_MAX: u32 = 65_520;

/// Most elements that one table begins with. A job's tables together may have no more later on.
pub const TABLE_ELEMENTS_MAX: u64 = 100_000;

/// Most functions that are lifted, lowered or made for resources.
pub const CANONICALS_MAX: u32 = 1_000;

/// Most instances, aliases, imports and exports at the component level together.
pub const LINKS_MAX: u32 = 10_000;

/// Most custom sections, in the component and its modules together.
pub const CUSTOM_SECTIONS_MAX: u32 = 32;

/// Most bytes in custom sections together.
pub const CUSTOM_BYTES_MAX: usize = 1 << 20;

/// Most bytes in type sections of the component level together.
pub const TYPE_BYTES_MAX: usize = 64 << 10;

/// What a component says about itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// What it expects of its host.
    pub profile: Profile,
    /// Imported interfaces, sorted.
    pub imports: Vec<String>,
    /// Exported functions and interfaces, sorted.
    pub exports: Vec<String>,
}

/// The WebAssembly features a job may use: all deterministic, all single-threaded, all on 32-bit
/// memories. The runtime's engine enables this set and no more.
pub fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIMD
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::FLOATS
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::COMPONENT_MODEL
}

/// The names of [`features`], sorted: to compare with an engine that uses another version of the
/// parser, whose type is a different one.
pub fn feature_names() -> BTreeSet<&'static str> {
    features().iter_names().map(|(name, _)| name).collect()
}

/// Checks that `bytes` is a component which imports only [`ALLOWED_IMPORTS`] and
/// [`WASI_INTERFACES`], and exports `run`.
///
/// # Errors
/// [`Error::Component`] naming the first offending import, or what is malformed.
pub fn check(bytes: &[u8]) -> Result<Summary, Error> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(Error::TooLarge {
            what: "component",
            size: bytes.len() as u64,
            max: COMPONENT_BYTES_MAX as u64,
        });
    }
    check_header(bytes)?;
    // The survey comes first: it is linear and allocates nothing, so a bomb is refused before the
    // validator builds its tables.
    let mut survey = Survey::default();
    for payload in Parser::new(0).parse_all(bytes) {
        survey.visit(bytes, &payload.map_err(malformed)?)?;
    }
    let types = Validator::new_with_features(features())
        .validate_all(bytes)
        .map_err(malformed)?;
    run::check_run(&types)?;
    survey.imports.sort_unstable();
    survey.exports.sort_unstable();
    Ok(Summary {
        profile: imports::profile(&survey.imports),
        imports: survey.imports,
        exports: survey.exports,
    })
}

fn refuse(reason: impl Into<String>) -> Error {
    Error::Component {
        reason: reason.into(),
    }
}

fn malformed(error: wasmparser::Error) -> Error {
    refuse(format!("malformed: {error}"))
}

fn check_header(bytes: &[u8]) -> Result<(), Error> {
    if Parser::is_component(bytes) {
        Ok(())
    } else if Parser::is_core_wasm(bytes) {
        Err(refuse("it is a core module, not a component"))
    } else if bytes.starts_with(b"\x7fELF") {
        Err(refuse(
            "it is native code, which is never accepted from outside",
        ))
    } else {
        Err(refuse("it does not begin with a component's header"))
    }
}

/// How the binary format begins a type that is declared inside of another one, and a type of an
/// instance or a component.
const TYPE_DECLARATION: u8 = 0x01;
const INSTANCE_TYPE: u8 = 0x42;
const COMPONENT_TYPE: u8 = 0x41;

/// What [`LINKS_MAX`] counts.
const LINKS: &str = "instances, aliases, imports and exports";

/// What the first pass counts and collects.
#[derive(Default)]
struct Survey {
    /// How deep below the component the parser is: core modules are at depth one.
    depth: u32,
    /// Components inside of the component so far, and whether the parser is in one of them.
    shims: u32,
    in_shim: bool,
    shim_instances: u32,
    modules: u32,
    functions: u32,
    globals: u32,
    core_types: u32,
    segments: u32,
    canonicals: u32,
    links: u32,
    custom_sections: u32,
    custom_bytes: usize,
    type_bytes: usize,
    inner_types: usize,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Survey {
    fn visit(&mut self, bytes: &[u8], payload: &Payload<'_>) -> Result<(), Error> {
        if self.in_shim {
            return self.visit_shim(bytes, payload);
        }
        match payload {
            Payload::ModuleSection { .. } => {
                self.depth = self.depth.saturating_add(1);
                count(&mut self.modules, 1, MODULES_MAX, "core modules")
            }
            Payload::ComponentSection { .. } => {
                self.in_shim = true;
                count(&mut self.shims, 1, SHIMS_MAX, "components within")
            }
            Payload::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                Ok(())
            }
            Payload::FunctionSection(section) => count(
                &mut self.functions,
                section.count(),
                FUNCTIONS_MAX,
                "functions",
            ),
            Payload::GlobalSection(section) => {
                count(&mut self.globals, section.count(), GLOBALS_MAX, "globals")
            }
            Payload::CodeSectionEntry(body) => {
                let size = body.range().len();
                if size > FUNCTION_BYTES_MAX {
                    return Err(too_many("bytes in one function", size, FUNCTION_BYTES_MAX));
                }
                check_body(body)
            }
            Payload::TableSection(section) => check_tables(section),
            Payload::DataSection(section) => self.visit_segments(section.count()),
            Payload::ElementSection(section) => self.visit_segments(section.count()),
            Payload::TypeSection(section) => {
                let types = &mut self.core_types;
                count(types, section.count(), CORE_TYPES_MAX, "core types")
            }
            Payload::CustomSection(section) => self.visit_custom(section.range().len()),
            Payload::ComponentTypeSection(section) => {
                self.visit_types(bytes.get(section.range()).unwrap_or_default())
            }
            Payload::ComponentStartSection { .. } => Err(refuse("it has a start function")),
            other => self.visit_links(other),
        }
    }

    /// A component within may have types, and take and give them: nothing that runs, and no further
    /// component, since instances of such would multiply.
    fn visit_shim(&mut self, bytes: &[u8], payload: &Payload<'_>) -> Result<(), Error> {
        let links = match payload {
            Payload::Version { .. } => 0,
            Payload::End(_) => {
                self.in_shim = false;
                0
            }
            Payload::ComponentTypeSection(section) => {
                self.visit_types(bytes.get(section.range()).unwrap_or_default())?;
                0
            }
            Payload::CustomSection(section) => {
                self.visit_custom(section.range().len())?;
                0
            }
            Payload::ComponentImportSection(section) => section.count(),
            Payload::ComponentExportSection(section) => section.count(),
            Payload::ComponentAliasSection(section) => section.count(),
            _ => {
                return Err(refuse(
                    "it contains another component with more in it than types",
                ));
            }
        };
        count(&mut self.links, links, LINKS_MAX, LINKS)
    }

    /// Looks for types within types without reading them, since the reader's stack is what they are
    /// after. Bytes that only look like one count too: a job has none or a few.
    fn visit_types(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.type_bytes = self.type_bytes.saturating_add(bytes.len());
        if self.type_bytes > TYPE_BYTES_MAX {
            return Err(too_many("bytes of types", self.type_bytes, TYPE_BYTES_MAX));
        }
        let inner =
            |pair: &&[u8]| matches!(pair, [TYPE_DECLARATION, INSTANCE_TYPE | COMPONENT_TYPE]);
        let found = bytes.windows(2).filter(inner).count();
        self.inner_types = self.inner_types.saturating_add(found);
        if self.inner_types > INNER_TYPES_MAX {
            let (found, max) = (self.inner_types, INNER_TYPES_MAX);
            return Err(too_many("types within types", found, max));
        }
        Ok(())
    }

    fn visit_segments(&mut self, segments: u32) -> Result<(), Error> {
        let what = "data and element segments";
        count(&mut self.segments, segments, SEGMENTS_MAX, what)
    }

    fn visit_custom(&mut self, bytes: usize) -> Result<(), Error> {
        self.custom_bytes = self.custom_bytes.saturating_add(bytes);
        let (bytes, max) = (self.custom_bytes, CUSTOM_BYTES_MAX);
        if bytes > max {
            return Err(too_many("bytes in custom sections", bytes, max));
        }
        let sections = &mut self.custom_sections;
        count(sections, 1, CUSTOM_SECTIONS_MAX, "custom sections")
    }

    /// What ties a component's parts to one another and to its host.
    fn visit_links(&mut self, payload: &Payload<'_>) -> Result<(), Error> {
        let links = match payload {
            Payload::InstanceSection(section) => section.count(),
            Payload::ComponentInstanceSection(section) => section.count(),
            Payload::ComponentAliasSection(section) => section.count(),
            Payload::ComponentImportSection(section) => section.count(),
            Payload::ComponentExportSection(section) => section.count(),
            _ => 0,
        };
        count(&mut self.links, links, LINKS_MAX, LINKS)?;
        match payload {
            Payload::ComponentInstanceSection(section) => {
                for instance in section.clone() {
                    let instance = instance.map_err(malformed)?;
                    if matches!(instance, ComponentInstance::Instantiate { .. }) {
                        let what = "instances of components within";
                        count(&mut self.shim_instances, 1, SHIMS_MAX, what)?;
                    }
                }
                Ok(())
            }
            Payload::ComponentImportSection(section) => self.visit_imports(section),
            Payload::ComponentExportSection(section) => self.visit_exports(section),
            Payload::ComponentCanonicalSection(section) => {
                let canonicals = &mut self.canonicals;
                let what = "lifted, lowered and resource functions";
                count(canonicals, section.count(), CANONICALS_MAX, what)?;
                for function in section.clone() {
                    check_canonical(&function.map_err(malformed)?)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn visit_imports(
        &mut self,
        section: &wasmparser::ComponentImportSectionReader<'_>,
    ) -> Result<(), Error> {
        for import in section.clone() {
            let import = import.map_err(malformed)?;
            let name = import.name.name;
            if matches!(import.ty, ComponentTypeRef::Type(TypeBounds::Eq(_))) {
                // Another name for a type already known, as toolchains give to the world's own
                // `use types.{job-error}`. It asks nothing of a host.
                continue;
            }
            if !imports::is_allowed(name) {
                let reason = format!("it imports {name:?}, which no host offers");
                return Err(refuse(reason));
            }
            if !matches!(import.ty, ComponentTypeRef::Instance(_)) {
                return Err(refuse(format!(
                    "it imports {name:?} as something other than an interface"
                )));
            }
            self.imports.push(name.to_owned());
        }
        Ok(())
    }

    fn visit_exports(
        &mut self,
        section: &wasmparser::ComponentExportSectionReader<'_>,
    ) -> Result<(), Error> {
        for export in section.clone() {
            let export = export.map_err(malformed)?;
            let name = export.name.name;
            if name == RUN_EXPORT && export.kind != ComponentExternalKind::Func {
                return Err(refuse("its export \"run\" is not a function"));
            }
            self.exports.push(name.to_owned());
        }
        Ok(())
    }
}

fn too_many(what: &str, actual: usize, max: usize) -> Error {
    refuse(format!("{actual} {what}, more than the {max} allowed"))
}

fn count(total: &mut u32, more: u32, max: u32, what: &str) -> Result<(), Error> {
    *total = total.saturating_add(more);
    if *total > max {
        return Err(too_many(what, *total as usize, max as usize));
    }
    Ok(())
}

fn check_tables(section: &TableSectionReader<'_>) -> Result<(), Error> {
    for table in section.clone() {
        let (elements, max) = (table.map_err(malformed)?.ty.initial, TABLE_ELEMENTS_MAX);
        if elements > max {
            let reason = format!("{elements} elements in a table, more than the {max} allowed");
            return Err(refuse(reason));
        }
    }
    Ok(())
}

/// Looks how deep blocks lie within one another and how far jumps spread. Whether blocks are closed is
/// the validator's to see.
fn check_body(body: &FunctionBody<'_>) -> Result<(), Error> {
    let mut operators = body.get_operators_reader().map_err(malformed)?;
    let mut depth = 0_u32;
    while !operators.eof() {
        match operators.read().map_err(malformed)? {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                depth = depth.saturating_add(1);
                if depth > BLOCK_DEPTH_MAX {
                    let (found, max) = (depth as usize, BLOCK_DEPTH_MAX as usize);
                    return Err(too_many("blocks within one another", found, max));
                }
            }
            Operator::BrTable { targets } if targets.len() > JUMPS_MAX => {
                let (found, max) = (targets.len() as usize, JUMPS_MAX as usize);
                return Err(too_many("jumps in one table", found, max));
            }
            Operator::End => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// Only the synchronous canonical ABI with UTF-8 strings: everything else is code in the host that
/// no job needs.
fn check_canonical(function: &CanonicalFunction) -> Result<(), Error> {
    let options = match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
            options
        }
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => return Ok(()),
        other => {
            return Err(refuse(format!("it uses {other:?}, which no job may")));
        }
    };
    for option in options {
        match option {
            CanonicalOption::UTF8
            | CanonicalOption::Memory(_)
            | CanonicalOption::Realloc(_)
            | CanonicalOption::PostReturn(_) => {}
            CanonicalOption::UTF16 | CanonicalOption::CompactUTF16 => {
                return Err(refuse(format!(
                    "it encodes strings as {option:?}, not as UTF8"
                )));
            }
            other => {
                return Err(refuse(format!(
                    "it uses the canonical option {other:?}, which no job may"
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
