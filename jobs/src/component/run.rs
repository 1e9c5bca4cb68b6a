//! Whether `run` has the type of the WIT world.

use wasmparser::PrimitiveValType;
use wasmparser::component_types::{
    ComponentDefinedType, ComponentEntityType, ComponentFuncType, ComponentValType, VariantType,
};
use wasmparser::types::Types;

use super::{RUN_EXPORT, refuse};
use crate::Error;

/// The cases of `job-error`, in the order of the WIT; each carries a text.
const ERROR_CASES: [&str; 3] = ["bad-input", "model", "failed"];

/// Checks that `run` is `func(items: list<list<u8>>) -> result<list<list<u8>>, job-error>`.
pub(super) fn check_run(types: &Types) -> Result<(), Error> {
    let entity = types
        .component_item_for_export(RUN_EXPORT)
        .map(|item| item.ty);
    let Some(ComponentEntityType::Func(id)) = entity else {
        return Err(refuse("it does not export a function \"run\""));
    };
    let function: &ComponentFuncType = &types[id];
    let takes_items = match &*function.params {
        [(_, only)] => is_list_of_bytes(types, only),
        _ => false,
    };
    let error = function.result.and_then(|ty| error_of(types, ty));
    let (true, Some(error), false) = (takes_items, error, function.async_) else {
        return Err(refuse(
            "its \"run\" is not func(items: list<list<u8>>) -> result<list<list<u8>>, job-error>",
        ));
    };
    if is_job_error(error) {
        return Ok(());
    }
    let cases: Vec<&str> = error.cases.keys().map(|name| name.as_str()).collect();
    let reason = format!(
        "the error of its \"run\" has the cases {cases:?}; job-error has {ERROR_CASES:?}, each with a string"
    );
    Err(refuse(reason))
}

/// The variant that stands for an error in a result whose other side is a list of lists of bytes.
fn error_of(types: &Types, result: ComponentValType) -> Option<&VariantType> {
    let ComponentValType::Type(id) = result else {
        return None;
    };
    let ComponentDefinedType::Result {
        ok: Some(ok),
        err: Some(ComponentValType::Type(err)),
        ..
    } = &types[id]
    else {
        return None;
    };
    match &types[*err] {
        ComponentDefinedType::Variant(error) if is_list_of_bytes(types, ok) => Some(error),
        _ => None,
    }
}

fn is_job_error(error: &VariantType) -> bool {
    let is_text = |ty: &Option<ComponentValType>| {
        matches!(
            ty,
            Some(ComponentValType::Primitive(PrimitiveValType::String))
        )
    };
    let names = error.cases.keys().map(|name| name.as_str());
    names.eq(ERROR_CASES) && error.cases.values().all(|case| is_text(&case.ty))
}

fn is_list_of_bytes(types: &Types, ty: &ComponentValType) -> bool {
    let element_of = |ty: &ComponentValType| match ty {
        ComponentValType::Type(id) => match &types[*id] {
            ComponentDefinedType::List { element, .. } => Some(*element),
            _ => None,
        },
        ComponentValType::Primitive(_) => None,
    };
    matches!(
        element_of(ty).and_then(|inner| element_of(&inner)),
        Some(ComponentValType::Primitive(PrimitiveValType::U8))
    )
}
