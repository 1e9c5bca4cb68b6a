//! The interface described for programs (OpenAPI 3.1) and for people, from one list of routes, the schemas of the types
//! that travel, and the catalogue of problems.

mod paths;
pub(crate) mod schema;

use std::collections::{BTreeMap, BTreeSet};

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::feed::Happening;
use crate::problem::{Code, Problem};
use crate::signature;
use crate::types;
use paths::{Auth, CHANGES, Content, Operation, READS};

/// Problems that every route may have.
const EVERYWHERE: &[Code] = &[
    Code::RequestSignature,
    Code::UnknownHost,
    Code::RequestTimeout,
    Code::TooManyRequests,
    Code::HeadersTooLarge,
    Code::Internal,
    Code::Unavailable,
    Code::Overloaded,
];

/// Problems of everything that changes something.
const CHANGING: &[Code] = &[Code::InvalidRequest, Code::CrossOrigin, Code::StorageFull];

/// Problems of what has a JSON body.
const WITH_BODY: &[Code] = &[
    Code::DigestMismatch,
    Code::IdempotencyInFlight,
    Code::TooLarge,
    Code::UnsupportedMediaType,
    Code::IdempotencyMismatch,
    Code::IdempotencyFull,
];

/// Problems of what clients sign.
const SIGNED: &[Code] = &[
    Code::Unsigned,
    Code::SignatureExpired,
    Code::NotYours,
    Code::Replayed,
    Code::NoncesFull,
];

/// The schemas of everything that travels.
fn schemas() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    let mut schemas = settings.into_generator();
    macro_rules! add {
        ($($name:ty),* $(,)?) => {
            $(let _ = schemas.subschema_for::<$name>();)*
        };
    }
    add!(
        Happening,
        Problem,
        schema::SignedAccusation,
        schema::Package,
        schema::SignedPackage,
        types::AssignmentView,
        types::BackupRequest,
        types::BackupView,
        types::BalanceView,
        types::CancelReply,
        types::CaseReply,
        types::CaseView,
        types::ChallengeReply,
        types::ChallengeRequest,
        types::CollectionRequest,
        types::CollectionView,
        types::DepositReply,
        types::DepositRequest,
        types::EpochView,
        types::Health,
        types::JobView,
        types::JournalView,
        types::ProviderView,
        types::QuoteView,
        types::ScoresReply,
        types::ScoresRequest,
        types::ShardMap,
        types::ShardView,
        types::ShareRequest,
        types::SubmitReply,
        types::TieReply,
        types::UploadView,
        schema::CaseId,
        schema::Digest,
        schema::JobId,
        schema::ProviderId,
        schema::BlobRef,
    );
    schemas.take_definitions(true)
}

fn operations() -> impl Iterator<Item = &'static Operation> {
    READS.iter().chain(CHANGES)
}

/// Every problem that a route may have, by status.
fn problems(operation: &Operation) -> BTreeMap<u16, BTreeSet<Code>> {
    let changes = operation.method != "get";
    let has_body = matches!(operation.body, Content::Json(_));
    let lists = [
        (true, EVERYWHERE),
        (true, operation.problems),
        (changes, CHANGING),
        (has_body, WITH_BODY),
        (operation.auth == Auth::Client, SIGNED),
        (operation.auth == Auth::Operator, &[Code::Unauthorized][..]),
    ];
    let mut by_status: BTreeMap<u16, BTreeSet<Code>> = BTreeMap::new();
    for (applies, codes) in lists {
        for code in codes.iter().filter(|_| applies) {
            let same = by_status.entry(code.explained().status).or_default();
            same.insert(*code);
        }
    }
    by_status
}

fn content(content: Content) -> Option<Value> {
    let named = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let (kind, schema) = match content {
        Content::Nothing => return None,
        Content::Json(name) => ("application/json", named(name)),
        Content::List(name) => {
            let items = named(name);
            (
                "application/json",
                json!({ "type": "array", "items": items }),
            )
        }
        Content::Object => ("application/json", json!({ "type": "object" })),
        Content::Bytes => ("application/octet-stream", json!({})),
        Content::Text(kind) => (kind, json!({ "type": "string" })),
        Content::Events => ("text/event-stream", event()),
    };
    Some(json!({ kind: { "schema": schema } }))
}

/// A server-sent event.
fn event() -> Value {
    let notice = json!({
        "type": "object",
        "description": "About the stream itself: events are no longer kept, the job has ended, a reader was too slow, the aggregator stops.",
        "required": ["type", "detail"],
        "properties": {
            "type": { "enum": ["lost", "end", "slow", "stopping"] },
            "detail": { "type": "string" },
        },
    });
    json!({
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "id": { "type": "string", "description": "Where a reader is: to be sent as Last-Event-ID." },
            "event": { "type": "string", "description": "Its kind: the `type` of what happened." },
            "data": {
                "type": "string", "contentMediaType": "application/json",
                "contentSchema": { "anyOf": [{ "$ref": "#/components/schemas/Happening" }, notice] },
            },
        },
    })
}

fn responses(operation: &Operation) -> Value {
    let mut responses = Map::new();
    let mut statuses = operation.status.to_vec();
    if operation.problems.contains(&Code::RangeNotSatisfiable) {
        statuses.extend([206, 304]);
    }
    for status in statuses {
        let described = match status {
            206 => "The range that was asked for.",
            304 => "What is known already.",
            _ => operation.summary,
        };
        let mut response = json!({ "description": described });
        let answer = if status == 304 {
            Content::Nothing
        } else {
            operation.answer
        };
        if let (Some(content), Some(fields)) = (content(answer), response.as_object_mut()) {
            fields.insert("content".into(), content);
        }
        responses.insert(status.to_string(), response);
    }
    for (status, codes) in problems(operation) {
        let lines: Vec<String> = codes
            .iter()
            .map(|code| format!("`{code}`: {}", code.explained().meaning))
            .collect();
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        let response = json!({
            "description": lines.join("\n\n"),
            "content": { "application/problem+json": { "schema": schema } },
        });
        responses.insert(status.to_string(), response);
    }
    Value::Object(responses)
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let mut parameters = Vec::new();
    for piece in operation.path.split('/') {
        let Some(name) = piece
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        else {
            continue;
        };
        let schema = match name {
            "job" => json!({ "$ref": "#/components/schemas/JobId" }),
            "case" => json!({ "$ref": "#/components/schemas/CaseId" }),
            "digest" => json!({ "$ref": "#/components/schemas/Digest" }),
            "shard" => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            _ => json!({ "$ref": "#/components/schemas/ProviderId" }),
        };
        parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": schema }));
    }
    for (name, described, least, most) in operation.query {
        let schema = json!({ "type": "integer", "minimum": least, "maximum": most });
        let parameter =
            json!({ "name": name, "in": "query", "description": described, "schema": schema });
        parameters.push(parameter);
    }
    // A quote has no effect that could be repeated.
    if matches!(operation.body, Content::Json(_)) && operation.status != [200] {
        let schema =
            json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" });
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "schema": schema,
            "description": "The same key with the same request gets the very same answer, for a day and until the job has ended.",
        }));
    }
    if operation.answer == Content::Events {
        let schema = json!({ "type": "string", "pattern": "^([0-9]{1,18}[.][0-9]{1,9})?$" });
        parameters.push(json!({
            "name": "Last-Event-ID", "in": "header", "schema": schema,
            "description": "Goes on after this event.",
        }));
    }
    parameters
}

fn described(operation: &Operation) -> Value {
    let security = match operation.auth {
        Auth::Client => json!([{ "signature": [], "key": [] }]),
        Auth::Operator => json!([{ "operator": [] }]),
        Auth::Nobody | Auth::Statement => json!([]),
    };
    let mut described = json!({
        "summary": operation.summary,
        "parameters": parameters(operation),
        "responses": responses(operation),
        "security": security,
    });
    if let (Some(content), Some(fields)) = (content(operation.body), described.as_object_mut()) {
        let body = json!({ "required": true, "content": content });
        fields.insert("requestBody".into(), body);
    }
    described
}

/// The description for programs.
pub fn document() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in operations() {
        let methods = paths.entry(operation.path).or_default();
        methods.insert(operation.method.to_owned(), described(operation));
    }
    let signature = format!(
        "HTTP message signature (RFC 9421) with {}, tag \"{}\": covers @method, @path, @query, content-digest (of a \
         JSON body) and idempotency-key (if sent); parameters created, keyid (the client's id), nonce, alg, tag. \
         Signature-Input comes with it. Each nonce counts once; created may differ by {} s from the aggregator's clock.",
        signature::ALGORITHM,
        signature::TAG,
        signature::WINDOW_S
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Assay aggregator",
            "version": "1",
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
            "description": "Jobs, money, providers and cases of one aggregator. Whatever is refused is refused as problem+json with a stable code.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "signature": { "type": "apiKey", "in": "header", "name": "Signature", "description": signature },
                "key": {
                    "type": "apiKey", "in": "header", "name": "Assay-Key",
                    "description": "The client's public key, SPKI DER in base64; keyid is its BLAKE3 digest.",
                },
                "operator": { "type": "http", "scheme": "bearer", "description": "The operator's token." },
            },
        },
    })
}

/// The description for people: a page without scripts.
pub(crate) fn page() -> String {
    let mut page = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Assay API</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>body{font:16px/1.5 sans-serif;max-width:60em;\
         margin:2em auto;padding:0 1em}code{background:#eee}dt{margin-top:.6em}</style><h1>Assay API</h1>\
         <p>For programs: <a href=\"/api/v1/openapi.json\">openapi.json</a>.</p>",
    );
    for operation in operations() {
        let who = match operation.auth {
            Auth::Nobody => "anybody",
            Auth::Client => "the client, by a signature over the request",
            Auth::Operator => "the operator, by the bearer token",
            Auth::Statement => "a validator, by what it signed",
        };
        let codes: Vec<String> = problems(operation)
            .into_iter()
            .flat_map(|(status, codes)| {
                let same = codes.into_iter();
                same.map(move |code| format!("<code>{code}</code> ({status})"))
            })
            .collect();
        page += &format!(
            "<h2><code>{} {}</code></h2><p>{}</p><p>Asked by {who}. Problems: {}.</p>",
            operation.method.to_uppercase(),
            operation.path,
            operation.summary,
            codes.join(", ")
        );
    }
    page += "<h1>Problems</h1><dl>";
    for known in crate::problem::catalogue() {
        page += &format!(
            "<dt id=\"{0}\"><code>{0}</code> ({1})</dt><dd>{2} {3}</dd>",
            known.code,
            known.status,
            escaped(known.meaning),
            escaped(known.fix)
        );
    }
    page + "</dl></html>"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ASSAY_BLESS=1` writes what it is now.
    #[test]
    fn the_description_is_the_one_in_the_repository() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let text = format!("{:#}\n", document());
        if std::env::var_os("ASSAY_BLESS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap() == text,
            "{path} is another one"
        );
    }

    #[test]
    fn every_route_of_the_server_is_described_and_nothing_else() {
        let sources = include_str!("routes.rs");
        let served: BTreeSet<&str> = sources
            .split(".route(")
            .skip(1)
            .filter_map(|rest| rest.split('"').nth(1))
            .collect();
        let described: BTreeSet<&str> = operations()
            .map(|one| one.path.strip_prefix("/api/v1").unwrap_or(one.path))
            .collect();
        assert_eq!(served, described);
    }

    #[test]
    fn every_problem_is_one_that_some_route_may_have_and_every_reference_leads_somewhere() {
        let named: BTreeSet<Code> = operations()
            .flat_map(|one| problems(one).into_values().flatten())
            .collect();
        // No route has an unknown method.
        let elsewhere = [Code::MethodNotAllowed];
        for code in Code::ALL {
            assert!(named.contains(code) || elsewhere.contains(code), "{code}");
        }
        let document = document();
        let text = document.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            let schema = document.pointer(&format!("/components/schemas/{name}"));
            assert!(schema.is_some(), "{name}");
        }
        let page = page();
        for code in Code::ALL {
            assert!(page.contains(&format!("id=\"{code}\"")), "{code}");
        }
    }
}
