//! Values as scripts write them, and as the engine has them.

use wasmtime::component::Val;
use wast::component::WastVal;

/// The value for the engine.
pub(crate) fn value(written: &WastVal<'_>) -> Val {
    let all = |values: &[WastVal<'_>]| values.iter().map(value).collect();
    let boxed = |payload: &Option<Box<WastVal<'_>>>| payload.as_deref().map(|v| Box::new(value(v)));
    match written {
        WastVal::Bool(v) => Val::Bool(*v),
        WastVal::U8(v) => Val::U8(*v),
        WastVal::S8(v) => Val::S8(*v),
        WastVal::U16(v) => Val::U16(*v),
        WastVal::S16(v) => Val::S16(*v),
        WastVal::U32(v) => Val::U32(*v),
        WastVal::S32(v) => Val::S32(*v),
        WastVal::U64(v) => Val::U64(*v),
        WastVal::S64(v) => Val::S64(*v),
        WastVal::F32(v) => Val::Float32(f32::from_bits(v.bits)),
        WastVal::F64(v) => Val::Float64(f64::from_bits(v.bits)),
        WastVal::Char(v) => Val::Char(*v),
        WastVal::String(v) => Val::String((*v).to_owned()),
        WastVal::List(values) => Val::List(all(values)),
        WastVal::Record(fields) => {
            let field = |(name, v): &(&str, WastVal<'_>)| ((*name).to_owned(), value(v));
            Val::Record(fields.iter().map(field).collect())
        }
        WastVal::Tuple(values) => Val::Tuple(all(values)),
        WastVal::Variant(name, payload) => Val::Variant((*name).to_owned(), boxed(payload)),
        WastVal::Enum(name) => Val::Enum((*name).to_owned()),
        WastVal::Option(payload) => Val::Option(boxed(payload)),
        WastVal::Result(Ok(payload)) => Val::Result(Ok(boxed(payload))),
        WastVal::Result(Err(payload)) => Val::Result(Err(boxed(payload))),
        WastVal::Flags(names) => Val::Flags(names.iter().map(|n| (*n).to_owned()).collect()),
    }
}

/// Whether they are the same to the last bit: a NaN is no number, and yet it must be the right one.
pub(crate) fn same(found: &Val, expected: &Val) -> bool {
    match (found, expected) {
        (Val::Float32(a), Val::Float32(b)) => a.to_bits() == b.to_bits(),
        (Val::Float64(a), Val::Float64(b)) => a.to_bits() == b.to_bits(),
        (Val::List(a), Val::List(b)) | (Val::Tuple(a), Val::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Val::Record(a), Val::Record(b)) => {
            let field = |(a, b): (&(String, Val), &(String, Val))| a.0 == b.0 && same(&a.1, &b.1);
            a.len() == b.len() && a.iter().zip(b).all(field)
        }
        (Val::Variant(a, payload), Val::Variant(b, other)) => a == b && inner(payload, other),
        (Val::Option(a), Val::Option(b))
        | (Val::Result(Ok(a)), Val::Result(Ok(b)))
        | (Val::Result(Err(a)), Val::Result(Err(b))) => inner(a, b),
        (found, expected) => found == expected,
    }
}

fn inner(found: &Option<Box<Val>>, expected: &Option<Box<Val>>) -> bool {
    match (found, expected) {
        (Some(found), Some(expected)) => same(found, expected),
        (None, None) => true,
        _ => false,
    }
}
