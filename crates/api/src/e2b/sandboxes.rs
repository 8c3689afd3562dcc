//! The sandboxes that E2B's clients made: sessions of ours, with what those clients say and ask of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::http::StatusCode;
use casemate_callers::Caller;
use casemate_e2b::{Code, Fault, Signed, control};
use casemate_gateway::Entropy;
use casemate_model::{SessionId, Text};
use casemate_policy::RoutePolicy;
use casemate_ports::Owner;
use tokio::{
    sync::{Notify, Semaphore, futures::Notified},
    time::{Duration, timeout},
};

use super::{contexts::Contexts, processes::Processes, watch::Watchers};
use crate::{
    limits::{
        E2B_SEARCH_WAIT_MS, MAX_E2B_SANDBOXES, MAX_E2B_SEARCHES, MAX_E2B_TENANT_SANDBOXES,
        MAX_E2B_TOKENS,
    },
    who::Who,
};

/// How the threads of sandboxes begin.
pub(super) const THREAD: &str = "e2b-";
/// The agent in whose name they are.
pub(super) const AGENT: &str = "local";
/// How ids of sessions begin.
const SESSION: &str = "ses_";

/// The id of a session, as a client has it: a host can name it.
pub(super) fn id_of(session: SessionId) -> String {
    session.to_string().trim_start_matches(SESSION).to_owned()
}

/// The session of an id.
pub(super) fn session_of(id: &str) -> Option<SessionId> {
    format!("{SESSION}{id}").parse().ok()
}

/// What proves that somebody may use a sandbox, and who that is.
#[derive(Debug)]
struct Token {
    text: String,
    caller: Caller,
}

/// A sandbox.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(super) id: String,
    pub(super) session: SessionId,
    pub(super) owner: Owner,
    pub(super) thread: String,
    pub(super) template: String,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) variables: BTreeMap<String, Text>,
    pub(super) started_ms: u64,
    /// When its session ends at the latest.
    pub(super) latest_ms: u64,
    ends_ms: AtomicU64,
    /// Its end is another one now, or it is over.
    changed: Notify,
    pub(super) cpus: u64,
    pub(super) memory_mib: u64,
    pub(super) disk_mib: u64,
    pub(super) reaches_out: bool,
    /// The one that was used last is the last.
    tokens: Mutex<Vec<Token>>,
    pub(super) processes: Processes,
    pub(super) watchers: Watchers,
    pub(super) contexts: Contexts,
}

/// What a sandbox is made of.
pub(super) struct Made<'a> {
    pub(super) session: SessionId,
    pub(super) owner: Owner,
    pub(super) thread: String,
    pub(super) template: String,
    pub(super) policy: &'a RoutePolicy,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) variables: BTreeMap<String, Text>,
    pub(super) started_ms: u64,
    pub(super) ends_ms: u64,
}

impl Sandbox {
    pub(super) fn new(made: Made<'_>) -> Self {
        let limits = made.policy.sandbox.limits;
        Self {
            id: id_of(made.session),
            session: made.session,
            owner: made.owner,
            thread: made.thread,
            template: made.template,
            metadata: made.metadata,
            variables: made.variables,
            started_ms: made.started_ms,
            latest_ms: made
                .started_ms
                .saturating_add(made.policy.sandbox.session_max_ms),
            ends_ms: AtomicU64::new(made.ends_ms),
            changed: Notify::new(),
            cpus: limits.cpu_milli.div_ceil(1_000),
            memory_mib: limits.memory_bytes >> 20,
            disk_mib: limits.disk_bytes >> 20,
            reaches_out: reaches_out(made.policy),
            tokens: Mutex::default(),
            processes: Processes::default(),
            watchers: Watchers::default(),
            contexts: Contexts::default(),
        }
    }

    /// When it ends, in milliseconds since 1970.
    pub(super) fn ends_ms(&self) -> u64 {
        self.ends_ms.load(Ordering::Acquire)
    }

    /// It ends then, and not before or after.
    pub(super) fn end_at(&self, ms: u64) {
        self.ends_ms
            .store(ms.min(self.latest_ms), Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Waits until it may end at another time.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// The token of a caller: the same one as before, if it has one.
    pub(super) fn token_for(
        &self,
        who: &Who,
        now_ms: u64,
        entropy: &dyn Entropy,
    ) -> Result<String, Fault> {
        let caller = who.get();
        let mut tokens = self.tokens();
        let same = |token: &Token| {
            token.caller.principal() == caller.principal()
                && token.caller.credential() == caller.credential()
        };
        let text = match tokens.iter().position(same) {
            Some(known) => tokens.remove(known).text,
            None => random(entropy)?,
        };
        if tokens.len() >= MAX_E2B_TOKENS {
            let is_over = |token: &Token| token.caller.expires_at_ms() <= now_ms;
            let over = tokens.iter().position(is_over);
            tokens.remove(over.unwrap_or_default());
        }
        tokens.push(Token {
            text: text.clone(),
            caller: caller.clone(),
        });
        Ok(text)
    }

    /// Whom the token proves that is the one.
    fn proven(&self, is_it: impl Fn(&Token) -> bool) -> Option<Caller> {
        let mut tokens = self.tokens();
        let found = tokens.iter().position(is_it)?;
        let token = tokens.remove(found);
        let caller = token.caller.clone();
        tokens.push(token);
        Some(caller)
    }

    /// Whom a token proves.
    pub(super) fn proven_by(&self, given: &str) -> Option<Caller> {
        self.proven(|token| casemate_e2b::is_same(&token.text, given))
    }

    /// Whose token made a signature.
    pub(super) fn signed_by(&self, signed: &Signed<'_>, signature: &str) -> Option<Caller> {
        self.proven(|token| signed.is_by(&token.text, signature))
    }

    pub(super) fn listed(&self) -> control::Listed {
        control::Listed {
            template: self.template.clone(),
            id: self.id.clone(),
            client: control::CLIENT,
            alias: self.template.clone(),
            started_at: control::time(self.started_ms),
            end_at: control::time(self.ends_ms()),
            envd_version: control::envd_version(),
            cpus: self.cpus,
            memory_mib: self.memory_mib,
            disk_mib: self.disk_mib,
            state: "running",
            metadata: self.metadata.clone(),
        }
    }

    fn tokens(&self) -> MutexGuard<'_, Vec<Token>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether programs of a profile reach anybody.
pub(super) fn reaches_out(policy: &RoutePolicy) -> bool {
    !policy.sandbox.network.allowed_domains.is_empty()
}

/// Something that nobody guesses.
pub(super) fn random(entropy: &dyn Entropy) -> Result<String, Fault> {
    let mut bytes = [0; 24];
    entropy.fill(&mut bytes).map_err(|_| {
        Fault::rest(
            StatusCode::SERVICE_UNAVAILABLE,
            "the system gives no randomness",
        )
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The same, as the name of a thread.
pub(super) fn new_thread(entropy: &dyn Entropy) -> Result<String, Fault> {
    Ok(format!("{THREAD}{}", random(entropy)?))
}

/// Every sandbox that is known.
#[derive(Debug)]
pub(crate) struct Sandboxes {
    known: Mutex<HashMap<String, Arc<Sandbox>>>,
    searches: Arc<Semaphore>,
}

impl Default for Sandboxes {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            searches: Arc::new(Semaphore::new(MAX_E2B_SEARCHES)),
        }
    }
}

impl Sandboxes {
    pub(super) fn get(&self, id: &str) -> Option<Arc<Sandbox>> {
        self.lock().get(id).cloned()
    }

    /// Whether a tenant may have another one.
    pub(super) fn has_room(&self, tenant: &str) -> Result<(), Fault> {
        let sandboxes = self.lock();
        let of_tenant = sandboxes.values().filter(|one| one.owner.tenant == tenant);
        if sandboxes.len() < MAX_E2B_SANDBOXES && of_tenant.count() < MAX_E2B_TENANT_SANDBOXES {
            return Ok(());
        }
        let message = format!(
            "there are {MAX_E2B_TENANT_SANDBOXES} sandboxes of a tenant at most: kill some"
        );
        Err(Fault::rest(StatusCode::TOO_MANY_REQUESTS, message))
    }

    /// Notes a sandbox; the one that is known stays.
    pub(super) fn add(&self, sandbox: Sandbox) -> Arc<Sandbox> {
        let mut sandboxes = self.lock();
        let entry = sandboxes.entry(sandbox.id.clone());
        Arc::clone(entry.or_insert_with(|| Arc::new(sandbox)))
    }

    pub(super) fn remove(&self, sandbox: &Sandbox) {
        self.lock().remove(&sandbox.id);
        sandbox.processes.kill_all();
        sandbox.watchers.stop_all();
        sandbox.changed.notify_waiters();
    }

    /// Those of a tenant, the newest first.
    pub(super) fn of(&self, tenant: &str) -> Vec<Arc<Sandbox>> {
        let sandboxes = self.lock();
        let of_tenant = sandboxes.values().filter(|one| one.owner.tenant == tenant);
        let mut found: Vec<_> = of_tenant.cloned().collect();
        drop(sandboxes);
        found.sort_by(|a, b| (b.started_ms, &b.id).cmp(&(a.started_ms, &a.id)));
        found
    }

    /// Looks at each until one is it. Strangers can ask for it: few searches go on at once, and none where requests are served.
    pub(super) async fn search(
        &self,
        is_it: impl Fn(&Sandbox) -> bool + Send + 'static,
    ) -> Result<Option<Arc<Sandbox>>, Fault> {
        let place = Arc::clone(&self.searches).acquire_owned();
        let place = timeout(Duration::from_millis(E2B_SEARCH_WAIT_MS), place).await;
        let Ok(Ok(place)) = place else {
            let message = "too many signed addresses are looked up: try again, or name the sandbox";
            return Err(Fault::rest(StatusCode::TOO_MANY_REQUESTS, message));
        };
        let all: Vec<_> = self.lock().values().cloned().collect();
        let found = tokio::task::spawn_blocking(move || {
            // Also if nobody waits for it any more.
            let _place = place;
            all.into_iter().find(|sandbox| is_it(sandbox))
        });
        found
            .await
            .map_err(|_| Fault::new(Code::Internal, "the search broke off"))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Sandbox>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many strangers have something searched, few searches go on at once.
    #[tokio::test(start_paused = true)]
    async fn a_search_that_finds_no_place_is_refused() {
        let sandboxes = Sandboxes::default();
        let mut others = Vec::new();
        for _ in 0..MAX_E2B_SEARCHES {
            assert!(sandboxes.search(|_| true).await.unwrap().is_none());
            others.push(Arc::clone(&sandboxes.searches).try_acquire_owned().unwrap());
        }
        let refused = sandboxes.search(|_| true).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        others.pop();
        assert!(sandboxes.search(|_| true).await.unwrap().is_none());
    }
}
