//! What clients of the Model Context Protocol are in the middle of: nothing that is decided or recorded.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use casemate_gateway::Entropy;
use tokio::sync::Notify;

use crate::{
    limits::{
        CONVERSATION_IDLE_MS, MAX_CALLER_CONVERSATIONS, MAX_CONVERSATION_REQUESTS,
        MAX_CONVERSATIONS,
    },
    who::Who,
};

/// Conversations that were begun.
#[derive(Debug, Default)]
pub(crate) struct Conversations {
    rows: Mutex<HashMap<String, Row>>,
}

/// Whose a conversation is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Whose {
    tenant: String,
    issuer: String,
    subject: String,
}

impl Whose {
    fn of(who: &Who) -> Self {
        let caller = who.get();
        Self {
            tenant: caller.tenant().to_owned(),
            issuer: caller.issuer().to_owned(),
            subject: caller.subject().to_owned(),
        }
    }
}

#[derive(Debug)]
struct Row {
    whose: Whose,
    /// The thread of the gateway: a name that nobody could guess, and another one than the client sends.
    thread: String,
    used_at_ms: u64,
    /// What is to be told to requests that are not wanted any more, by their ids.
    requests: HashMap<String, Arc<Notify>>,
}

/// Why no conversation begins.
#[derive(Debug)]
pub(crate) enum NotBegun {
    /// There are too many.
    Full,
    /// There is no chance to name it by.
    Nameless(io::Error),
}

/// Why a request is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The caller has no such conversation.
    Unknown,
    /// It has too many requests without an answer.
    Busy,
}

impl Conversations {
    /// Begins a conversation. Says how the client calls it.
    pub(crate) fn begin(
        &self,
        who: &Who,
        entropy: &dyn Entropy,
        now_ms: u64,
    ) -> Result<String, NotBegun> {
        let id = word(entropy).map_err(NotBegun::Nameless)?;
        let thread = format!("mcp-{}", word(entropy).map_err(NotBegun::Nameless)?);
        let whose = Whose::of(who);
        let mut rows = self.rows();
        rows.retain(|_, row| {
            !row.requests.is_empty() || row.used_at_ms + CONVERSATION_IDLE_MS > now_ms
        });
        let own = rows.iter().filter(|(_, row)| row.whose == whose);
        if own.clone().count() >= MAX_CALLER_CONVERSATIONS {
            let idle = own.filter(|(_, row)| row.requests.is_empty());
            let oldest = idle.min_by_key(|(_, row)| row.used_at_ms);
            let oldest = oldest.map(|(id, _)| id.clone()).ok_or(NotBegun::Full)?;
            rows.remove(&oldest);
        }
        if rows.len() >= MAX_CONVERSATIONS {
            return Err(NotBegun::Full);
        }
        let row = Row {
            whose,
            thread,
            used_at_ms: now_ms,
            requests: HashMap::new(),
        };
        rows.insert(id.clone(), row);
        Ok(id)
    }

    /// Notes a request of the caller's conversation. Says in which thread it is.
    pub(crate) fn take(
        self: &Arc<Self>,
        who: &Who,
        id: &str,
        request: Option<String>,
        now_ms: u64,
    ) -> Result<(String, Option<Request>), NotTaken> {
        let mut rows = self.rows();
        let row = rows.get_mut(id).filter(|row| row.whose == Whose::of(who));
        let row = row.ok_or(NotTaken::Unknown)?;
        row.used_at_ms = now_ms;
        let Some(name) = request else {
            return Ok((row.thread.clone(), None));
        };
        if row.requests.len() >= MAX_CONVERSATION_REQUESTS {
            return Err(NotTaken::Busy);
        }
        if row.requests.contains_key(&name) {
            // The first of this id is the one that can be taken back.
            return Ok((row.thread.clone(), None));
        }
        let unwanted = Arc::new(Notify::new());
        row.requests.insert(name.clone(), Arc::clone(&unwanted));
        let request = Request {
            conversations: Arc::clone(self),
            conversation: id.to_owned(),
            name,
            unwanted,
        };
        Ok((row.thread.clone(), Some(request)))
    }

    /// A request of the caller's conversation is not wanted any more.
    pub(crate) fn cancel(&self, who: &Who, id: &str, request: &str) {
        let rows = self.rows();
        let row = rows.get(id).filter(|row| row.whose == Whose::of(who));
        if let Some(unwanted) = row.and_then(|row| row.requests.get(request)) {
            unwanted.notify_one();
        }
    }

    /// Ends the caller's conversation and every request of it. Gives its thread.
    pub(crate) fn end(&self, who: &Who, id: &str) -> Option<String> {
        let mut rows = self.rows();
        rows.get(id).filter(|row| row.whose == Whose::of(who))?;
        let row = rows.remove(id)?;
        for unwanted in row.requests.values() {
            unwanted.notify_one();
        }
        Some(row.thread)
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<String, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that has no answer yet.
#[derive(Debug)]
pub(crate) struct Request {
    conversations: Arc<Conversations>,
    conversation: String,
    name: String,
    unwanted: Arc<Notify>,
}

impl Request {
    /// Waits until it is not wanted any more.
    pub(crate) async fn unwanted(&self) {
        self.unwanted.notified().await;
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut rows = self.conversations.rows();
        if let Some(row) = rows.get_mut(&self.conversation) {
            row.requests.remove(&self.name);
        }
    }
}

/// A word that nobody could guess.
fn word(entropy: &dyn Entropy) -> io::Result<String> {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
