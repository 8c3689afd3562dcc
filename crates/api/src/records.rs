//! Decisions and the ledger, for those of the tenant whose records they are.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use casemate_callers::Permission;
use casemate_gateway::{
    Begin, Looker, Operation, Place, Record, RecordKind, Search, SearchError, shown,
};
use casemate_model::{DecisionId, Reason, one_line};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    extract::{Asked, Named},
    limits::{MAX_PAGE, RECORDS_A_PAGE},
    openapi::RecordKindShape,
    problem::Problem,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// Which records.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct RecordsQuery {
    /// From the record with this index on.
    #[serde(default)]
    from: u64,
    /// In place of `from`: `next` of the answer before.
    cursor: Option<String>,
    /// At most so many, and 100 if nobody says it; an answer may have fewer, also before the end.
    #[schemars(range(min = 1, max = 1_000))]
    limit: Option<u32>,
    /// What they say of their decision.
    #[schemars(with = "Option<RecordKindShape>")]
    kind: Option<RecordKind>,
    /// Whose they are.
    agent: Option<String>,
    /// What was called.
    tool: Option<String>,
}

impl RecordsQuery {
    fn begin(&self) -> Result<Begin, Problem> {
        let Some(cursor) = &self.cursor else {
            return Ok(Begin::Index(self.from));
        };
        place(cursor).map(Begin::Place)
    }

    fn most(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(RECORDS_A_PAGE) {
            limit @ 1..=MAX_PAGE => Ok(limit as usize),
            _ => {
                let most = format!("`limit` is a number from 1 to {MAX_PAGE}");
                Err(Problem::invalid(most))
            }
        }
    }
}

/// Where the records of a decision are looked for.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct DecisionQuery {
    /// `next` of the answer before: there the search goes on.
    cursor: Option<String>,
}

fn place(cursor: &str) -> Result<Place, Problem> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    let place = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    place.ok_or_else(no_cursor)
}

fn no_cursor() -> Problem {
    Problem::invalid("`cursor` is `next` of an answer, as it was")
}

fn cursor(place: Place) -> String {
    let place = serde_json::to_vec(&place).unwrap_or_default();
    BASE64_URL_SAFE_NO_PAD.encode(place)
}

fn unreadable(error: &impl std::error::Error) -> Problem {
    Problem::of_reason(Reason::RecordUnavailable, one_line(error))
}

fn not_found(error: SearchError) -> Problem {
    match error {
        SearchError::Place(_) => no_cursor(),
        error @ SearchError::Read(_) => unreadable(&error),
    }
}

fn looker(who: &Who) -> Looker {
    Looker {
        tenant: who.tenant().to_owned(),
        bounds: who.get().bounds().clone(),
    }
}

/// `GET /v1/ledger`
pub(crate) async fn list<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(query): Asked<RecordsQuery>,
) -> Result<Response, Problem> {
    search(&api, &who, query, "records", false).await
}

/// `GET /v1/incidents`: what raised an alert.
pub(crate) async fn incidents<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(query): Asked<RecordsQuery>,
) -> Result<Response, Problem> {
    search(&api, &who, query, "incidents", true).await
}

async fn search<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    query: RecordsQuery,
    name: &'static str,
    alert: bool,
) -> Result<Response, Problem> {
    let (begin, most, looker) = (query.begin()?, query.most()?, looker(who));
    let search = Search {
        kind: query.kind,
        agent: query.agent,
        tool: query.tool,
        alert,
    };
    let body = api.reading(move |api| {
        let journal = api.sessions.journal();
        let found = journal.search(&looker, begin, &search, most);
        let found = found.map_err(not_found)?;
        Ok(json!({
            name: found.records,
            "next": found.next.map(cursor),
            "head": head(api)?,
            "key": journal.public_key(),
        }))
    });
    Ok(Json(body.await?).into_response())
}

/// How far the log has got; null while it is empty.
fn head<K: Keeps, P: Remembers>(api: &Api<K, P>) -> Result<Value, Problem> {
    let head = api.sessions.journal().head();
    let head = head.map_err(|error| Problem::of_record(&error))?;
    Ok(json!(head.map(|head| json!({
        "size": head.size,
        "root": head.root,
        "checkpoint": head.checkpoint,
    }))))
}

/// `GET /v1/ledger/{index}`: a record, with its bytes and the proof that they are in the log.
pub(crate) async fn prove<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(index): Named<u64>,
) -> Result<Response, Problem> {
    let looker = looker(&who);
    let body = api.reading(move |api| {
        let journal = api.sessions.journal();
        let proof = journal.prove(&looker, index);
        let proof = proof.map_err(|error| unreadable(&error))?;
        let proof = proof.ok_or_else(|| unknown("record"))?;
        Ok(json!({
            "record": shown(&proof.record),
            "bytes": BASE64_STANDARD.encode(&proof.bytes),
            "proof": {
                "size": proof.size,
                "root": proof.root,
                "path": proof.path,
                "checkpoint": proof.checkpoint,
            },
            "head": head(api)?,
            "key": journal.public_key(),
        }))
    });
    Ok(Json(body.await?).into_response())
}

/// What the tenant's records do not have.
fn unknown(what: &str) -> Problem {
    let detail = format!("there is no such {what}");
    Problem::new(StatusCode::NOT_FOUND, "record_unknown", detail)
}

/// `GET /v1/decisions/{id}`: why a call was allowed, held or refused, and everything on record of it.
pub(crate) async fn decision<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(query): Asked<DecisionQuery>,
) -> Result<Response, Problem> {
    let from = query.cursor.as_deref().map(place).transpose()?;
    let id: DecisionId = id
        .parse()
        .map_err(|error| Problem::invalid(format!("{error}")))?;
    let looker = looker(&who);
    // What was decided about is for fewer than that something was decided.
    let reads_content = who.may_any(&[Permission::ReadContent]);
    let claims = who.claims();
    let body = api.reading(move |api| {
        let journal = api.sessions.journal();
        let found = journal.records_of(&looker, id, from);
        let found = found.map_err(not_found)?;
        let is_sealed = |record: &Record| record.entry.payload.is_some();
        if reads_content && found.records.iter().any(is_sealed) {
            let noted = journal.note(unsealing(id), &claims);
            noted.map_err(|error| Problem::of_record(&error))?;
        }
        let content = |record: &Record| match reads_content {
            true => journal.content(record),
            false => Value::Null,
        };
        let told: Vec<_> = found
            .records
            .iter()
            .map(|record| json!({ "record": shown(record), "content": content(record) }))
            .collect();
        let summary = match found.records.first() {
            Some(first) => &first.entry.summary,
            // It may be further on, or was in the answer before.
            None if found.next.is_some() || from.is_some() => &Value::Null,
            None => return Err(unknown("decision")),
        };
        Ok(explained(id, summary, &told, found.next))
    });
    Ok(Json(body.await?).into_response())
}

/// That somebody is shown what the records of a decision seal.
fn unsealing(id: DecisionId) -> Operation {
    Operation {
        what: "content.read",
        reason: Reason::Allowed,
        detail: format!("what is sealed of {id} is read"),
        alert: false,
        subject: json!({ "of": id }),
    }
}

/// A decision as `casemate policy explain` has it, and its records.
fn explained(id: DecisionId, summary: &Value, records: &[Value], next: Option<Place>) -> Value {
    let of = |name: &str| summary.get(name).cloned().unwrap_or_default();
    let reason = of("reason");
    let hint = reason.as_str().and_then(Reason::from_word);
    json!({
        "decision": id,
        "decided": {
            "verdict": of("policy_decision"),
            "reason": reason,
            "detail": of("detail"),
            "checks": of("checks"),
            "policies": of("policies"),
        },
        "hint": hint.map(Reason::hint),
        "policy": of("policy"),
        "records": records,
        "next": next.map(cursor),
    })
}

impl<K: Keeps, P: Remembers> Api<K, P> {
    /// Reads the log on a thread that may block, with few others at a time: a reader may have much to look at.
    async fn reading<T: Send + 'static>(
        self: &Arc<Self>,
        job: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let api = Arc::clone(self);
        self.readers.run(move || job(&api)).await?
    }
}
