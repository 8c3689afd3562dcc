//! The description of the interface in OpenAPI 3.1, made from the table of endpoints and the types of requests.

mod shapes;
mod table;

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{
    http::header,
    response::{IntoResponse as _, Response},
};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

pub(crate) use self::shapes::{
    AgentName, ApprovalStateWord, AssertionShape, BoundsShape, ContextName, PositionWord,
    RecordKindShape, RoleWord, RunModeWord, SessionName, SwitchKindWord, TextShape, TriggerWord,
};
use self::table::{Answer, Body, Operation, of};
use crate::routes::{ENDPOINTS, Endpoint};

/// The description, as text.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut text = serde_json::to_string_pretty(&sorted(document())).unwrap_or_default();
    text.push('\n');
    text
});

/// The description of the interface, as it is served at `/openapi.json`.
#[must_use]
pub fn openapi() -> &'static str {
    &DOCUMENT
}

/// `GET /openapi.json`: what is no secret, as the source is none.
pub(crate) async fn show() -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, openapi()).into_response()
}

/// The same by the names of its members: in which order a map keeps them depends on what else is built.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.into_iter().collect();
            let members = members.into_iter();
            Value::Object(members.map(|(name, value)| (name, sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn document() -> Value {
    // Version 3.1 has the schemas of JSON Schema itself, and a place of its own for them.
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let Some(operation) = of(endpoint) else {
            continue;
        };
        let path = endpoint.path.replace("{*", "{");
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = entry {
            let described = describe(endpoint, operation, &mut generator);
            methods.insert(endpoint.method.to_lowercase(), described);
        }
    }
    let mut schemas: Map<String, Value> = generator.take_definitions(true).into_iter().collect();
    schemas.extend(shapes::answers());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Casemate",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "An API key, or a token of an issuer." },
                "api_key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
                "certificate": { "type": "mutualTLS" },
            },
        },
        "security": [{ "bearer": [] }, { "api_key": [] }, { "certificate": [] }],
    })
}

fn describe(endpoint: &Endpoint, operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut parameters = in_path(endpoint.path);
    if let Some(query) = operation.query {
        parameters.extend(in_query(&query(generator).to_value()));
    }
    if endpoint.path.ends_with("/files/{*path}") && endpoint.method != "GET" {
        parameters.extend(in_headers());
    }
    let needs: Vec<_> = endpoint.needs.iter().map(|one| one.as_str()).collect();
    let mut described = json!({
        "operationId": operation.name,
        "summary": operation.says,
        "description": format!("Takes the permission {}.", needs.join(" or ")),
        "responses": responses(operation.answers),
    });
    let Value::Object(members) = &mut described else {
        return described;
    };
    if !parameters.is_empty() {
        members.insert("parameters".to_owned(), Value::Array(parameters));
    }
    let body = match operation.body {
        Body::None => return described,
        Body::Bytes => json!({ "application/octet-stream": {} }),
        Body::Json(schema) => json!({ "application/json": { "schema": schema(generator) } }),
        Body::Form => {
            let file = json!({ "type": "string", "format": "binary" });
            let schema =
                json!({ "type": "object", "properties": { "file": file }, "required": ["file"] });
            json!({ "multipart/form-data": { "schema": schema } })
        }
        Body::Any => json!({ "application/json": { "schema": { "type": "object" } } }),
    };
    let body = json!({ "required": true, "content": body });
    members.insert("requestBody".to_owned(), body);
    described
}

fn in_path(path: &str) -> Vec<Value> {
    let parts = path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(name.trim_start_matches('*'))
    });
    let parameter = |name| {
        let schema = match name {
            "port" => json!({ "type": "integer", "minimum": 1, "maximum": 65_535 }),
            "index" => json!({ "type": "integer", "minimum": 0, "format": "int64" }),
            _ => json!({ "type": "string", "minLength": 1 }),
        };
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    };
    parts.map(parameter).collect()
}

/// The conditions under which a file is written or removed.
fn in_headers() -> impl Iterator<Item = Value> {
    let all = [
        (
            "if-match",
            "Only if the file has one of these tags, or is there at all: `*`.",
        ),
        (
            "if-none-match",
            "Only if it has none of these tags, or is not there: `*`.",
        ),
    ];
    all.into_iter().map(|(name, says)| {
        let schema = json!({ "type": "string" });
        json!({ "name": name, "in": "header", "required": false, "schema": schema, "description": says })
    })
}

/// The members of an object, each as a parameter.
fn in_query(schema: &Value) -> Vec<Value> {
    let members = schema.get("properties").and_then(Value::as_object);
    let members = members.into_iter().flatten();
    let required = |name: &str| {
        let all = schema.get("required").and_then(Value::as_array);
        all.is_some_and(|all| all.iter().any(|one| one == name))
    };
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let says = match &mut schema {
            Value::Object(members) => members.remove("description"),
            _ => None,
        };
        json!({
            "name": name, "in": "query", "required": required(name), "schema": schema,
            "description": says.unwrap_or_default(),
        })
    };
    members.map(parameter).collect()
}

fn responses(answers: &[Answer]) -> Value {
    let mut all = Map::new();
    for answer in answers {
        let (status, described) = match answer {
            Answer::Json(status, shape, says) => {
                let schema = json!({ "$ref": format!("#/components/schemas/{shape}") });
                let content = json!({ "application/json": { "schema": schema } });
                (status, json!({ "description": says, "content": content }))
            }
            Answer::Events(status, says) => {
                let content = json!({ "text/event-stream": {} });
                (status, json!({ "description": says, "content": content }))
            }
            Answer::Bytes(status, says) => {
                let content = json!({ "application/octet-stream": {} });
                (status, json!({ "description": says, "content": content }))
            }
            Answer::Empty(status, says) => (status, json!({ "description": says })),
            Answer::Refusal(_) => continue,
        };
        // A call that is answered as JSON or as events has both kinds under one status.
        match all.get_mut(&status.to_string()) {
            Some(Value::Object(there)) => {
                let more = described.get("content").and_then(Value::as_object);
                if let (Some(Value::Object(kinds)), Some(more)) = (there.get_mut("content"), more) {
                    kinds.extend(more.clone());
                }
            }
            _ => {
                all.insert(status.to_string(), described);
            }
        }
    }
    let problem = json!({ "$ref": "#/components/schemas/Problem" });
    let mut content = json!({ "application/problem+json": { "schema": problem } });
    let refuses = |answer: &Answer| matches!(answer, Answer::Refusal(_));
    if let (Some(Answer::Refusal(shape)), Value::Object(kinds)) =
        (answers.iter().find(|answer| refuses(answer)), &mut content)
    {
        let schema = json!({ "$ref": format!("#/components/schemas/{shape}") });
        kinds.insert("application/json".to_owned(), json!({ "schema": schema }));
    }
    let says = "Why not (RFC 9457): a stable `code`, and what can be done about it.";
    all.insert(
        "default".to_owned(),
        json!({ "description": says, "content": content }),
    );
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, env, fs, path::Path};

    use super::*;

    /// The description that is committed is the one that this build serves.
    #[test]
    fn the_description_of_the_interface_is_current() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let path = root.join("docs/reference/openapi.json");
        if env::var_os("BLESS").is_some() {
            fs::write(&path, openapi()).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == openapi(), "run `cargo xtask reference`");
    }

    #[test]
    fn every_endpoint_is_described_and_named_once() {
        let mut names = BTreeSet::new();
        for endpoint in ENDPOINTS {
            let operation = of(endpoint);
            let operation = operation.unwrap_or_else(|| panic!("{endpoint:?} is not described"));
            assert!(names.insert(operation.name), "{}", operation.name);
        }
        assert_eq!(names.len(), table::OPERATIONS.len(), "one is no endpoint");
    }

    /// Whatever is referred to is there.
    #[test]
    fn every_reference_leads_somewhere() {
        fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str));
                    members.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 10, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
