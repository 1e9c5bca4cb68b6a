//! Which execution provider runs which nodes, as ONNX Runtime itself recorded it.
//!
//! The record is made after the basic optimisations, when nodes are assigned: constants are folded by
//! then, and what later fusions make of the nodes stays with the same provider.
#![allow(
    unsafe_code,
    reason = "the bindings do not wrap these functions yet; each block says why it is sound"
)]

use crate::backend::NodesOn;
use ort::AsPointer;
use ort::session::Session;
use ort::sys::{OrtEpAssignedNode, OrtEpAssignedSubgraph, OrtStatusPtr};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_char};
use std::ptr;

/// The session option that makes the library keep the record.
pub(super) const RECORD: &str = "session.record_ep_graph_assignment_info";

/// Operators that are named for each provider; more would not help whoever reads them.
const OPERATORS_SHOWN: usize = 8;

/// The record of a session that was built with [`RECORD`] set.
pub(super) fn of(session: &Session) -> Result<Vec<NodesOn>, String> {
    let api = ort::api();
    let mut subgraphs: *const *const OrtEpAssignedSubgraph = ptr::null();
    let mut count = 0;
    // SAFETY: the session is alive for the whole call, and both places are valid for writes.
    check(unsafe {
        (api.Session_GetEpGraphAssignmentInfo)(session.ptr(), &raw mut subgraphs, &raw mut count)
    })?;
    let mut found: BTreeMap<String, (u32, BTreeSet<String>)> = BTreeMap::new();
    // SAFETY: the library wrote that many pointers there, which live as long as the session.
    for subgraph in unsafe { many(subgraphs, count) } {
        let mut name: *const c_char = ptr::null();
        // SAFETY: the subgraph is one of the session's, which is alive.
        check(unsafe { (api.EpAssignedSubgraph_GetEpName)(*subgraph, &raw mut name) })?;
        // SAFETY: on success the library gives a text that lives as long as the session, or null.
        let (nodes, operators) = found.entry(unsafe { text(name) }).or_default();
        let mut assigned: *const *const OrtEpAssignedNode = ptr::null();
        let mut count = 0;
        // SAFETY: as above.
        check(unsafe {
            (api.EpAssignedSubgraph_GetNodes)(*subgraph, &raw mut assigned, &raw mut count)
        })?;
        *nodes = nodes.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        // SAFETY: the library wrote that many pointers there, which live as long as the session.
        for node in unsafe { many(assigned, count) } {
            let mut operator: *const c_char = ptr::null();
            // SAFETY: the node is one of the session's, which is alive.
            check(unsafe { (api.EpAssignedNode_GetOperatorType)(*node, &raw mut operator) })?;
            if operators.len() < OPERATORS_SHOWN {
                // SAFETY: as above.
                operators.insert(unsafe { text(operator) });
            }
        }
    }
    let nodes_on = |(provider, (nodes, operators)): (String, (u32, BTreeSet<String>))| NodesOn {
        provider,
        nodes,
        operators: operators.into_iter().collect(),
    };
    Ok(found.into_iter().map(nodes_on).collect())
}

/// A pointer and a count as a slice; nothing where the library has nothing.
///
/// # Safety
/// `first` is null or points to `count` values that outlive the use of the slice.
unsafe fn many<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if first.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// A text of the library's, as ours.
///
/// # Safety
/// `text` is null or a C string.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

fn check(status: OrtStatusPtr) -> Result<(), String> {
    if status.0.is_null() {
        return Ok(());
    }
    let api = ort::api();
    // SAFETY: a status that is not null is ours to read and to release, once.
    let reason = unsafe {
        let reason = text((api.GetErrorMessage)(status.0));
        (api.ReleaseStatus)(status.0);
        reason
    };
    Err(reason)
}
