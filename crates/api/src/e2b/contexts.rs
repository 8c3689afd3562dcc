//! The contexts of a sandbox: interpreters that clients made, by the ids that clients have.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Extension, Json,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use casemate_e2b::{
    Fault, connect,
    interpreter::{Context, Language, NewContext},
};
use casemate_gateway::{Caller, Done};
use casemate_model::ContextId;
use serde_json::json;

use super::{
    Here,
    faults::Failure,
    filesystem::{directory, resolve},
    interpreter::enter,
    places::{Place, Places},
    programs::HOME,
    sandboxes::{Sandbox, random},
};
use crate::{
    extract::Named,
    limits::MAX_E2B_CONTEXTS,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

type Answer = Result<Response, Failure>;

/// A context of a client.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) shown: Context,
    pub(super) language: Language,
    /// Its interpreter; none for the one that the session has by itself, and for what has none.
    pub(super) interpreter: Mutex<Option<ContextId>>,
    executions: AtomicU64,
    _place: Option<Place>,
}

impl Made {
    fn new(
        id: String,
        language: Language,
        cwd: String,
        interpreter: Option<ContextId>,
        place: Option<Place>,
    ) -> Self {
        Self {
            _place: place,
            shown: Context {
                id,
                language: language.as_str().to_owned(),
                cwd,
            },
            language,
            interpreter: Mutex::new(interpreter),
            executions: AtomicU64::new(0),
        }
    }

    /// The number of the next execution.
    pub(super) fn count(&self) -> u64 {
        self.executions.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn interpreter(&self) -> Option<ContextId> {
        *self
            .interpreter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The contexts of a sandbox, with those that are there from the beginning.
#[derive(Debug)]
pub(super) struct Contexts {
    known: Mutex<BTreeMap<String, Arc<Made>>>,
    places: Places,
}

impl Default for Contexts {
    fn default() -> Self {
        let made = [Language::Python, Language::Bash].map(|language| {
            let id = language.as_str().to_owned();
            (
                id.clone(),
                Arc::new(Made::new(id, language, HOME.to_owned(), None, None)),
            )
        });
        Self {
            known: Mutex::new(made.into()),
            places: Places::new(MAX_E2B_CONTEXTS, "contexts of clients"),
        }
    }
}

impl Contexts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Made>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The context of this id.
    pub(super) fn get(&self, id: &str) -> Result<Arc<Made>, Fault> {
        let found = self.lock().get(id).cloned();
        found.ok_or_else(|| {
            let id: String = id.chars().take(64).collect();
            Fault::rest(
                StatusCode::NOT_FOUND,
                format!("Context {} not found", id.escape_debug()),
            )
        })
    }
}

/// `POST /contexts`
pub(crate) async fn create<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
    body: Bytes,
) -> Answer {
    let new: NewContext = connect::read(&body)?;
    let language = Language::of(new.language.as_deref())?;
    let cwd = resolve(new.cwd.as_deref().unwrap_or(HOME))?;
    let place = sandbox.contexts.places.take()?;
    directory(&api, &who, &sandbox, &cwd).await?;
    let (id, interpreter) = match language {
        Language::Python => {
            let opened = open(&api, &who, &sandbox).await?;
            (opened.context.to_string(), Some(opened))
        }
        Language::Bash => (random(api.sessions.entropy())?, None),
    };
    let context = interpreter.as_ref().map(|opened| opened.context);
    let made = Made::new(id.clone(), language, cwd, context, Some(place));
    let made = Arc::new(made);
    enter(&api, &who, &sandbox, &made).await?;
    let shown = made.shown.clone();
    sandbox.contexts.lock().insert(id, made);
    interpreter.map(Opened::keep);
    Ok(Json(shown).into_response())
}

/// An interpreter that was opened. It is closed again unless somebody keeps it.
struct Opened<K: Keeps, P: Remembers> {
    api: Arc<Api<K, P>>,
    caller: Option<Caller>,
    context: ContextId,
}

impl<K: Keeps, P: Remembers> Opened<K, P> {
    fn keep(mut self) -> ContextId {
        self.caller = None;
        self.context
    }
}

impl<K: Keeps, P: Remembers> Drop for Opened<K, P> {
    fn drop(&mut self) {
        let Some(caller) = self.caller.take() else {
            return;
        };
        let (sessions, context) = (Arc::clone(&self.api.sessions), self.context);
        let closing = move || async move {
            drop(sessions.close_context(&caller, context).await);
        };
        // Without a crew no session is there either.
        self.api.crew.send(closing).unwrap_or_default();
    }
}

async fn open<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    sandbox: &Sandbox,
) -> Result<Opened<K, P>, Failure> {
    let (caller, session) = (who.caller(sandbox.owner.agent.clone()), sandbox.session);
    let owning = Arc::clone(api);
    let opened = api.with(move |sessions| async move {
        let opened = sessions.open_context(&caller, session).await;
        // Its client may have left meanwhile.
        opened.map(|Done { value, .. }| Opened {
            api: owning,
            caller: Some(caller),
            context: value,
        })
    });
    opened
        .await?
        .map_err(|error| Failure::from(error).about(&sandbox.id))
}

/// Ends the interpreter of a context, if it has one.
async fn close<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    sandbox: &Sandbox,
    made: &Made,
) -> Result<(), Failure> {
    let interpreters = match (made.interpreter(), made.language) {
        (Some(interpreter), _) => vec![interpreter],
        (None, Language::Bash) => Vec::new(),
        // That of the session is the one that nobody made.
        (None, Language::Python) => {
            let (owner, session) = (sandbox.owner.clone(), sandbox.session);
            let view =
                api.with(move |sessions| async move { sessions.show(&owner, session).await });
            let view = view
                .await?
                .map_err(|error| Failure::from(error).about(&sandbox.id))?;
            let known: Vec<_> = sandbox
                .contexts
                .lock()
                .values()
                .filter_map(|made| made.interpreter())
                .collect();
            let all = view
                .status
                .map(|status| status.contexts)
                .unwrap_or_default();
            all.into_iter()
                .filter(|context| !known.contains(context))
                .collect()
        }
    };
    for interpreter in interpreters {
        let caller = who.caller(sandbox.owner.agent.clone());
        let closed =
            api.with(
                move |sessions| async move { sessions.close_context(&caller, interpreter).await },
            );
        match closed.await? {
            // One that died is what was wanted.
            Ok(_) | Err(casemate_gateway::SessionError::NoContext(_)) => {}
            Err(error) => return Err(Failure::from(error).about(&sandbox.id)),
        }
    }
    Ok(())
}

/// `GET /contexts`
pub(crate) async fn list<K: Keeps, P: Remembers>(
    State(_): State<Arc<Api<K, P>>>,
    Extension(Here(sandbox)): Extension<Here>,
) -> Answer {
    let contexts: Vec<_> = sandbox
        .contexts
        .lock()
        .values()
        .map(|made| made.shown.clone())
        .collect();
    Ok(Json(json!(contexts)).into_response())
}

/// `POST /contexts/{id}/restart`
pub(crate) async fn restart<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
    Named(id): Named<String>,
) -> Answer {
    let made = sandbox.contexts.get(&id)?;
    close(&api, &who, &sandbox, &made).await?;
    if made.interpreter().is_some() {
        let context = open(&api, &who, &sandbox).await?.keep();
        *made
            .interpreter
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(context);
    }
    made.executions.store(0, Ordering::Relaxed);
    enter(&api, &who, &sandbox, &made).await?;
    Ok(StatusCode::OK.into_response())
}

/// `DELETE /contexts/{id}`
pub(crate) async fn remove<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
    Named(id): Named<String>,
) -> Answer {
    let made = sandbox.contexts.get(&id)?;
    if made.interpreter().is_none() && id == made.language.as_str() {
        return Err(
            Fault::invalid("the default context of a language stays: restart it instead").into(),
        );
    }
    close(&api, &who, &sandbox, &made).await?;
    sandbox.contexts.lock().remove(&id);
    Ok(StatusCode::NO_CONTENT.into_response())
}
