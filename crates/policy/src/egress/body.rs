//! What a body says, beside what a rule wants it to.

mod graphql;
mod members;
mod rpc;

use casemate_model::{JsonBounds, is_header, strict_json};
use serde_json::{Map, Value};

use self::members::at_pointer;
use super::{BodyRule, RequestBody, RequestFacts};

const BOUNDS: JsonBounds = JsonBounds {
    depth: 64,
    members: 100_000,
};

/// How much of a body is what a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// All of it.
    All,
    /// A part of it.
    Some,
    /// Nothing of it.
    None,
    /// It is not there as a whole.
    Streamed,
    /// Two readers could take it for different things, or it is nothing that such a rule is about.
    Unreadable,
}

/// Something that a server could read in another way.
#[derive(Debug)]
struct Ambiguous;

/// What the body of a request says.
pub(super) fn says(rule: &BodyRule, facts: &RequestFacts<'_>) -> Says {
    if rule.is_open() {
        return Says::All;
    }
    // Servers of GraphQL read the query too.
    if rule.has_graphql() && facts.query.is_some_and(|query| !query.is_empty()) {
        return Says::Unreadable;
    }
    match facts.body {
        // Its messages come later, and nobody reads them by such a rule.
        _ if facts.websocket => Says::Unreadable,
        RequestBody::Empty => Says::None,
        RequestBody::Stream { .. } => Says::Streamed,
        // Whatever it says: it is known.
        RequestBody::Whole { digest, .. } if rule.sha256.is_some() => {
            match rule.sha256.iter().flatten().any(|known| *known == digest) {
                true => Says::All,
                false => Says::None,
            }
        }
        RequestBody::Whole { bytes, .. } if is_json(facts) => {
            judged(rule, bytes).unwrap_or(Says::Unreadable)
        }
        RequestBody::Whole { .. } => Says::Unreadable,
    }
}

fn judged(rule: &BodyRule, bytes: &[u8]) -> Result<Says, Ambiguous> {
    let value = strict_json(bytes, BOUNDS).map_err(|_| Ambiguous)?;
    let mut parts = Vec::new();
    if rule.has_graphql() {
        for message in messages(&value)? {
            graphql::parts(rule, message, &mut parts)?;
        }
    } else if rule.has_rpc() {
        for message in messages(&value)? {
            parts.push(rpc::is_meant(rule, message)?);
        }
    } else {
        for (pointer, wanted) in &rule.json {
            parts.push(at_pointer(&value, pointer)? == Some(wanted));
        }
        // Only together are they the condition.
        parts = vec![parts.iter().all(|part| *part)];
    }
    Ok(match (parts.contains(&true), parts.contains(&false)) {
        (true, false) => Says::All,
        (true, true) => Says::Some,
        (false, true) => Says::None,
        (false, false) => return Err(Ambiguous),
    })
}

/// The messages of a batch, or the one that it is.
fn messages(value: &Value) -> Result<impl Iterator<Item = &Map<String, Value>>, Ambiguous> {
    let all = match value {
        Value::Array(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    let messages: Option<Vec<_>> = all.iter().map(Value::as_object).collect();
    messages.map(Vec::into_iter).ok_or(Ambiguous)
}

/// Whether a request says once, and in every way that servers read it, that its body is JSON as it is.
fn is_json(facts: &RequestFacts<'_>) -> bool {
    let values = |name: &'static str| {
        let all = facts.headers.iter();
        all.filter(move |(other, _)| is_header(other, name))
            .map(|(_, value)| *value)
    };
    let mut kinds = values("content-type");
    let (Some(kind), None) = (kinds.next(), kinds.next()) else {
        return false;
    };
    let Ok(kind) = std::str::from_utf8(kind) else {
        return false;
    };
    let kind = kind.to_ascii_lowercase();
    let mut parts = kind.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let is_json = essence == "application/json"
        || essence.starts_with("application/") && essence.ends_with("+json");
    is_json
        && parts.all(|part| matches!(part, "charset=utf-8" | "charset=\"utf-8\""))
        && values("content-encoding").next().is_none()
}
