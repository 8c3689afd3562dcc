//! The protocol of E2B's clients (`casemate-e2b`), in front of sessions, files, contexts and calls.
//!
//! A sandbox is a session of the caller's tenant with a thread of its own. The control plane comes through the door like every
//! request; what is sent to a sandbox comes through [`enter`], with what was given to whoever made it or connected to it.

pub(crate) mod contexts;
pub(crate) mod control;
mod faults;
pub(crate) mod files;
pub(crate) mod filesystem;
mod followers;
pub(crate) mod interpreter;
pub(crate) mod metrics;
mod places;
mod ports;
pub(crate) mod processes;
mod programs;
mod rpc;
mod sandboxes;
pub(crate) mod watch;

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use casemate_callers::{Caller, Permission, Refusal};
use casemate_e2b::{
    Address, Code, Direction, Fault, Signed, is_signature,
    limits::{ENVD_PORT, INTERPRETER_PORT, MAX_PATH_BYTES},
};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;

pub(crate) use self::sandboxes::Sandboxes;
use self::{
    faults::{Failure, Form, render},
    sandboxes::Sandbox,
};
use crate::{
    door::{Asked, Door},
    limits::MAX_E2B_USER_BYTES,
    refusals::Refused,
    routes::{self, Keeps, Remembers},
    state::Api,
    who::Who,
};

/// Where a token of a sandbox can stand.
const TOKENS: &[&str] = &["x-access-token", "e2b-traffic-access-token"];
/// What says which sandbox is meant.
const SANDBOX_HEADERS: [&str; 2] = ["e2b-sandbox-id", "e2b-sandbox-port"];

/// How paths of the control plane begin.
const CONTROL: &[&str] = &["/sandboxes", "/v2/sandboxes", "/snapshots"];

/// The sandbox that a request is for.
#[derive(Clone, Debug)]
pub(crate) struct Here(pub(crate) Arc<Sandbox>);

/// What is behind the ports of sandboxes.
#[derive(Clone)]
pub(crate) struct Inside {
    envd: Router,
    interpreter: Router,
}

impl Inside {
    pub(crate) fn new<K: Keeps, P: Remembers>(api: &Arc<Api<K, P>>) -> Self {
        let nothing = || async {
            Failure(Fault::new(
                Code::Unimplemented,
                "there is no such method here",
            ))
        };
        let finish =
            |router: Router<Arc<Api<K, P>>>| router.fallback(nothing).with_state(Arc::clone(api));
        Self {
            envd: finish(routes::envd(api)),
            interpreter: finish(routes::interpreter(api)),
        }
    }
}

/// Looks for requests of E2B's clients, and gives their errors the form that those take.
pub(crate) async fn front<K: Keeps, P: Remembers>(
    api: Arc<Api<K, P>>,
    door: Door,
    inside: Inside,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let form = Form::of(path, request.headers());
    let is_control = CONTROL.iter().any(|start| {
        path.strip_prefix(start)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let address = match Address::of(request.headers()) {
        Ok(Some(address)) => Some(address),
        Ok(None) => match Signature::of(&request).filter(Signature::is_for_file) {
            Some(signature) => match signed_for(&api, signature).await {
                Ok(address) => Some(address),
                Err(fault) => {
                    let refused = Refused::stranger(&Refusal::Missing, &Asked::of(&request));
                    drop(request);
                    if fault.code == Code::Unauthenticated {
                        api.note_refusal(refused).await;
                    }
                    return render(form, Failure(fault).into_response()).await;
                }
            },
            None => None,
        },
        Err(error) => {
            let fault = Failure(Fault::invalid(error.to_string()));
            return render(form, fault.into_response()).await;
        }
    };
    match address {
        Some(address) => {
            // A program's own errors are as it says them.
            let is_program = !matches!(address.port, ENVD_PORT | INTERPRETER_PORT);
            match enter(&api, door, inside, address, request).await {
                Ok(response) if is_program => response,
                Ok(response) => render(form, response).await,
                Err(failure) => render(form, failure.into_response()).await,
            }
        }
        None if is_control => render(Form::Rest, next.run(request).await).await,
        None => next.run(request).await,
    }
}

/// What a signed address of a file says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SignedQuery {
    path: String,
    username: String,
    signature: Option<String>,
    signature_expiration: Option<i64>,
}

/// A signed address, and what it would be good for.
struct Signature {
    query: SignedQuery,
    text: String,
    direction: Option<Direction>,
}

impl Signature {
    fn of(request: &Request) -> Option<Self> {
        let query = axum::extract::Query::<SignedQuery>::try_from_uri(request.uri());
        let mut query = query.ok()?.0;
        let text = query.signature.take()?;
        let direction = match (request.uri().path(), request.method().as_str()) {
            ("/files", "GET") => Some(Direction::Read),
            ("/files", "POST") => Some(Direction::Write),
            _ => None,
        };
        Some(Self {
            query,
            text,
            direction,
        })
    }

    const fn is_for_file(&self) -> bool {
        self.direction.is_some()
    }

    /// What was signed, if somebody could have signed it. A stranger can have this hashed, with each token, and nothing longer.
    fn signed(&self) -> Option<Signed<'_>> {
        let could_be = self.query.path.len() <= MAX_PATH_BYTES
            && self.query.username.len() <= MAX_E2B_USER_BYTES
            && is_signature(&self.text);
        could_be.then_some(())?;
        Some(Signed {
            path: &self.query.path,
            direction: self.direction?,
            user: &self.query.username,
            expires_at_s: self.query.signature_expiration,
        })
    }
}

/// The sandbox of a signed address, which does not name it.
async fn signed_for<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    signature: Signature,
) -> Result<Address, Fault> {
    let invalid = || Fault::new(Code::Unauthenticated, "invalid signature");
    signature.signed().ok_or_else(invalid)?;
    let is_by = move |sandbox: &Sandbox| {
        let signed = signature.signed();
        signed.is_some_and(|signed| sandbox.signed_by(&signed, &signature.text).is_some())
    };
    let found = api.sandboxes.search(is_by).await?;
    Ok(Address {
        sandbox: found.ok_or_else(invalid)?.id.clone(),
        port: ENVD_PORT,
    })
}

/// Lets a request into a sandbox whose sender shows what was given out for it, and may still run calls.
async fn enter<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    door: Door,
    inside: Inside,
    address: Address,
    mut request: Request,
) -> Result<Response, Failure> {
    let Address { sandbox: id, port } = address;
    let known = api
        .sandboxes
        .get(&id)
        .filter(|sandbox| sandbox.ends_ms() > api.sessions.clock().now_ms());
    let sandbox = known.ok_or_else(|| Fault::no_sandbox(&id))?;
    // Whether it is there is no secret to whoever knows its id.
    if request.uri().path() == "/health" && matches!(port, ENVD_PORT | INTERPRETER_PORT) {
        alive(api, &sandbox).await?;
        return Ok(match port {
            INTERPRETER_PORT => "OK".into_response(),
            _ => StatusCode::NO_CONTENT.into_response(),
        });
    }
    let shown = Shown {
        token: token(request.headers()).map(|token| token.map(str::to_owned)),
        // A signed address is for a file, and opens no port.
        signature: (port == ENVD_PORT)
            .then(|| Signature::of(&request))
            .flatten(),
    };
    let caller = match prove(api, door, &sandbox, shown).await {
        Ok(caller) => caller,
        Err((refusal, fault)) => {
            let refused = Refused::stranger(&refusal, &Asked::of(&request));
            // Nothing more of the request is read.
            drop(request);
            api.note_refusal(refused).await;
            return Err(fault.into());
        }
    };
    let who = Who::new(caller);
    let inside = match port {
        ENVD_PORT => inside.envd,
        INTERPRETER_PORT => inside.interpreter,
        _ => return ports::pass_on(api, &who, &sandbox, port, request).await,
    };
    request.extensions_mut().insert(who);
    request.extensions_mut().insert(Here(sandbox));
    let response: Result<_, Infallible> = TowerToHyperService::new(inside).call(request).await;
    match response {
        Ok(response) => Ok(response),
        Err(never) => match never {},
    }
}

/// What a request to a sandbox shows of who sends it.
struct Shown {
    token: Result<Option<String>, Refusal>,
    signature: Option<Signature>,
}

/// Who sends a request to a sandbox.
async fn prove<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    door: Door,
    sandbox: &Sandbox,
    shown: Shown,
) -> Result<Caller, (Refusal, Fault)> {
    let now_ms = api.sessions.clock().now_ms();
    let unproven =
        |refusal: Refusal, message: &str| (refusal, Fault::new(Code::Unauthenticated, message));
    let found = match (shown.token, shown.signature) {
        (Ok(Some(token)), _) => sandbox.proven_by(&token),
        (Ok(None), Some(signature)) => {
            let signed = signature.signed();
            let signed = signed.ok_or_else(|| {
                unproven(Refusal::Missing, "there is no file with such a signature")
            })?;
            let caller = sandbox.signed_by(&signed, &signature.text);
            let caller = caller.ok_or_else(|| unproven(Refusal::Missing, "invalid signature"))?;
            signed
                .counts_at(now_ms)
                .map_err(|fault| (Refusal::Expired, fault))?;
            Some(caller)
        }
        (Ok(None), None) => None,
        (Err(refusal), _) => {
            let message = "the access token is there twice, or is no text";
            return Err(unproven(refusal, message));
        }
    };
    let caller = found.ok_or_else(|| {
        unproven(
            Refusal::Missing,
            "the access token of the sandbox is missing or wrong: connect to it again",
        )
    })?;
    let Door::Network(callers) = door else {
        // The kernel named this user, of whom there is one.
        return Ok(caller);
    };
    let asked = caller.clone();
    let checked = tokio::task::spawn_blocking(move || {
        callers.check_again(&asked, Permission::RunCalls, now_ms)
    });
    match checked.await.unwrap_or(Err(Refusal::Died)) {
        Ok(()) => Ok(caller),
        Err(refusal) => {
            let message =
                format!("what the sandbox was made with does not count any more: {refusal}");
            Err((refusal, Fault::new(Code::Unauthenticated, message)))
        }
    }
}

/// The token of a request, if it has one.
fn token(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    for name in TOKENS {
        let mut values = headers.get_all(*name).iter();
        let Some(value) = values.next() else {
            continue;
        };
        if values.next().is_some() {
            return Err(Refusal::Several);
        }
        return value
            .to_str()
            .map(Some)
            .map_err(|_| Refusal::Malformed("access token"));
    }
    Ok(None)
}

/// Whether a sandbox is there.
async fn alive<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    sandbox: &Arc<Sandbox>,
) -> Result<(), Failure> {
    let (owner, session) = (sandbox.owner.clone(), sandbox.session);
    let view = api.with(move |sessions| async move { sessions.show(&owner, session).await });
    match view.await? {
        Ok(view) if view.record.end.is_none() => Ok(()),
        Ok(_) | Err(casemate_gateway::SessionError::Unknown(_)) => {
            api.sandboxes.remove(sandbox);
            Err(Fault::no_sandbox(&sandbox.id).into())
        }
        Err(error) => Err(error.into()),
    }
}
