//! What clients of the Model Context Protocol are in the middle of: nothing that is decided or recorded.

use std::{
    cmp::Reverse,
    collections::HashMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use casemate_gateway::Entropy;
use tokio::sync::{Notify, watch};

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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

    /// Whose authority it is in the end, in this tenant: whoever gives some on chooses the names that it goes by.
    fn principal(who: &Who) -> Self {
        let (issuer, subject) = who.get().principal();
        Self {
            tenant: who.tenant().to_owned(),
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
        }
    }
}

#[derive(Debug)]
struct Row {
    whose: Whose,
    /// For whom it counts.
    principal: Whose,
    /// The thread of the gateway: a name that nobody could guess, and another one than the client sends.
    thread: String,
    used_at_ms: u64,
    /// What is to be told to requests that are not wanted any more, by their ids.
    requests: HashMap<String, Arc<Notify>>,
    /// What each of them has a part of.
    unanswered: watch::Sender<()>,
}

/// A conversation that is over.
#[derive(Debug)]
pub(crate) struct Over {
    /// Its thread.
    pub(crate) thread: String,
    unanswered: watch::Sender<()>,
}

impl Over {
    /// Waits until none of its requests can begin anything any more.
    pub(crate) async fn all_answered(&self) {
        self.unanswered.closed().await;
    }
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
    /// It has a request of this id without an answer: nobody could say which one is meant.
    InUse,
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
        let mut rows = self.rows();
        rows.retain(|_, row| {
            !row.requests.is_empty() || row.used_at_ms + CONVERSATION_IDLE_MS > now_ms
        });
        let principal = Whose::principal(who);
        make_room(&mut rows, &principal)?;
        let row = Row {
            whose: Whose::of(who),
            principal,
            thread,
            used_at_ms: now_ms,
            requests: HashMap::new(),
            unanswered: watch::Sender::default(),
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
        if row.requests.contains_key(&name) {
            return Err(NotTaken::InUse);
        }
        if row.requests.len() >= MAX_CONVERSATION_REQUESTS {
            return Err(NotTaken::Busy);
        }
        let unwanted = Arc::new(Notify::new());
        row.requests.insert(name.clone(), Arc::clone(&unwanted));
        let request = Request {
            conversations: Arc::clone(self),
            conversation: id.to_owned(),
            name,
            unwanted,
            _unanswered: row.unanswered.subscribe(),
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

    /// Ends the caller's conversation and every request of it.
    pub(crate) fn end(&self, who: &Who, id: &str) -> Option<Over> {
        let mut rows = self.rows();
        rows.get(id).filter(|row| row.whose == Whose::of(who))?;
        let row = rows.remove(id)?;
        for unwanted in row.requests.values() {
            unwanted.notify_one();
        }
        Some(Over {
            thread: row.thread,
            unanswered: row.unanswered,
        })
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<String, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets conversations that are idle, so that there is one more for this principal: its own oldest if it has as many as one
/// may have, and if there is no room at all, the oldest of whoever has most.
fn make_room(rows: &mut HashMap<String, Row>, principal: &Whose) -> Result<(), NotBegun> {
    let mut counts: HashMap<&Whose, usize> = HashMap::new();
    for row in rows.values() {
        *counts.entry(&row.principal).or_default() += 1;
    }
    let own_are_full =
        counts.get(principal).copied().unwrap_or_default() >= MAX_CALLER_CONVERSATIONS;
    if !own_are_full && rows.len() < MAX_CONVERSATIONS {
        return Ok(());
    }
    let goes = rows
        .iter()
        .filter(|(_, row)| row.requests.is_empty())
        .filter(|(_, row)| !own_are_full || row.principal == *principal)
        .max_by_key(|(_, row)| (counts.get(&row.principal).copied(), Reverse(row.used_at_ms)));
    let goes = goes.map(|(id, _)| id.clone()).ok_or(NotBegun::Full)?;
    rows.remove(&goes);
    Ok(())
}

/// A request that has no answer yet.
#[derive(Debug)]
pub(crate) struct Request {
    conversations: Arc<Conversations>,
    conversation: String,
    name: String,
    unwanted: Arc<Notify>,
    _unanswered: watch::Receiver<()>,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn whose(tenant: &str, subject: &str) -> Whose {
        Whose {
            tenant: tenant.to_owned(),
            issuer: "i".to_owned(),
            subject: subject.to_owned(),
        }
    }

    fn row(principal: &Whose, used_at_ms: u64) -> Row {
        Row {
            whose: principal.clone(),
            principal: principal.clone(),
            thread: String::new(),
            used_at_ms,
            requests: HashMap::new(),
            unanswered: watch::Sender::default(),
        }
    }

    /// Whoever fills the table makes room for the others, however old what those have is, and nobody is shut out.
    #[test]
    fn whoever_has_most_makes_room() {
        let mut rows = HashMap::new();
        let few = whose("acme", "few");
        rows.insert("few".to_owned(), row(&few, 0));
        // As many of as many names as it takes, and one of them has one more than the others.
        let (mut at, mut number) = (1_000, 0);
        while rows.len() < MAX_CONVERSATIONS {
            let many = whose("other", &(number % 100).to_string());
            rows.insert(at.to_string(), row(&many, at));
            (at, number) = (at + 1, number + 1);
        }
        let most = whose("other", "most");
        for _ in 0..MAX_CALLER_CONVERSATIONS - 1 {
            rows.remove(&(at - 1).to_string());
            at -= 1;
        }
        for index in 0..MAX_CALLER_CONVERSATIONS - 1 {
            rows.insert(format!("most {index}"), row(&most, 10 + index as u64));
        }
        assert_eq!(rows.len(), MAX_CONVERSATIONS);
        make_room(&mut rows, &whose("acme", "new")).unwrap();
        assert_eq!(rows.len(), MAX_CONVERSATIONS - 1);
        assert!(rows.contains_key("few") && !rows.contains_key("most 0"));
        // What has a request is not idle.
        for row in rows.values_mut() {
            row.requests.insert(String::new(), Arc::default());
        }
        make_room(&mut rows, &whose("acme", "new")).unwrap();
        rows.insert("last".to_owned(), row(&most, 0));
        let busy = rows.get_mut("last").unwrap();
        busy.requests.insert(String::new(), Arc::default());
        assert!(make_room(&mut rows, &whose("acme", "new")).is_err());
        assert_eq!(rows.len(), MAX_CONVERSATIONS);
    }
}
