//! Kill switches: what is off does not begin, and what runs is stopped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use casemate_authority::{Epoch, Subject};
use casemate_model::DecisionId;
use casemate_policy::{Claims, Verified};
use casemate_ports::{CHANNEL_CAPACITY, Control, SessionKeeper};
use tokio::sync::{Notify, mpsc};

use super::{SessionStores, Sessions};
use crate::{Caller, Facts, RunningCall};

/// What of a call switches can name.
#[derive(Clone, Debug)]
pub(super) struct About {
    tenant: String,
    people: People,
    agent: String,
    route: String,
    tool: Option<String>,
    destination: Option<String>,
}

impl About {
    /// Of what is done with a session beside calls.
    pub(super) fn access(caller: &Caller, route: &str) -> Self {
        let claims = caller.claims.get();
        Self {
            tenant: claims.tenant.clone(),
            people: People::of(claims),
            agent: caller.agent.clone(),
            route: route.to_owned(),
            tool: None,
            destination: None,
        }
    }

    pub(super) fn of(facts: &Facts, route: &str) -> Self {
        let claims = facts.claims.as_ref();
        Self {
            tenant: facts.tenant().to_owned(),
            people: claims.map_or_else(People::default, People::of),
            agent: facts.ask.agent.clone(),
            route: route.to_owned(),
            tool: Some(facts.ask.tool.clone()),
            destination: facts.ask.destination.clone(),
        }
    }

    /// The call, and everybody on whose behalf it is made: whatever stops one of them stops it.
    fn subjects(&self) -> impl Iterator<Item = Subject<'_>> {
        let call = Subject {
            agent: Some(&self.agent),
            route: Some(&self.route),
            tool: self.tool.as_deref(),
            destination: self.destination.as_deref(),
            ..self.people.caller(&self.tenant)
        };
        std::iter::once(call).chain(self.people.behalf(&self.tenant))
    }
}

/// The caller and everybody on whose behalf it acts, each with the name of its credential.
#[derive(Clone, Debug, Default)]
pub(super) struct People {
    caller: (String, String),
    behalf: Vec<(String, String)>,
}

impl People {
    pub(super) fn of(claims: &Claims) -> Self {
        let delegators = claims.behalf.iter();
        Self {
            caller: (claims.subject.clone(), claims.credential.clone()),
            behalf: delegators
                .map(|delegator| (delegator.subject.clone(), delegator.credential.clone()))
                .collect(),
        }
    }

    pub(super) fn caller<'a>(&'a self, tenant: &'a str) -> Subject<'a> {
        person(&self.caller, tenant)
    }

    pub(super) fn behalf<'a>(&'a self, tenant: &'a str) -> impl Iterator<Item = Subject<'a>> {
        self.behalf.iter().map(move |one| person(one, tenant))
    }
}

fn person<'a>((user, credential): &'a (String, String), tenant: &'a str) -> Subject<'a> {
    Subject {
        tenant: Some(tenant),
        user: Some(user),
        credential: Some(credential)
            .filter(|name| !name.is_empty())
            .map(String::as_str),
        ..Subject::default()
    }
}

/// The calls that run, what goes on beside them, and what would stop it.
#[derive(Debug, Default)]
pub(super) struct Going(Mutex<HashMap<DecisionId, Arc<Stop>>>);

/// How one call is stopped.
#[derive(Debug)]
pub(super) struct Stop {
    about: About,
    since: Epoch,
    /// Why, once it is.
    why: OnceLock<String>,
    told: Notify,
}

/// A call in the list of those that run. Dropped, it is in it no more.
#[derive(Debug)]
pub(super) struct Listed {
    going: Arc<Going>,
    decision: DecisionId,
    pub(super) stop: Arc<Stop>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut going = self.going.0.lock().unwrap_or_else(PoisonError::into_inner);
        going.remove(&self.decision);
    }
}

impl Stop {
    /// Why it was stopped, if it was.
    pub(super) fn why(&self) -> Option<&str> {
        self.why.get().map(String::as_str)
    }

    /// Comes when it is stopped.
    pub(super) async fn stopped(&self) {
        loop {
            let told = self.told.notified();
            if self.why.get().is_some() {
                return;
            }
            told.await;
        }
    }

    /// Passes on what the caller wants of the program, and kills it when it is stopped.
    pub(super) async fn pass_on(
        &self,
        mut from: mpsc::Receiver<Control>,
        to: mpsc::Sender<Control>,
    ) -> std::convert::Infallible {
        let mut to = Some(to);
        loop {
            tokio::select! {
                biased;
                () = self.stopped() => break,
                wanted = from.recv(), if to.is_some() => match (wanted, &to) {
                    (Some(wanted), Some(sender)) => {
                        let _ = sender.send(wanted).await;
                    }
                    // The caller went away: so does this end.
                    _ => to = None,
                },
            }
        }
        if let Some(sender) = &to {
            // A program that has ended takes nothing any more.
            let _ = sender.send(Control::Cancel).await;
        }
        std::future::pending().await
    }
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// The epoch in which a call may begin; otherwise why it may not.
    pub(super) fn switched_on(&self, about: &About) -> Result<Epoch, String> {
        let mut epoch = None;
        for subject in about.subjects() {
            let checked = self.board.check(&subject);
            // Of the first look: what is thrown between two looks is newer.
            let now = checked.map_err(|stopped| stopped.to_string())?;
            epoch.get_or_insert(now);
        }
        Ok(epoch.unwrap_or_default())
    }

    /// Whether somebody may come to a call that somebody made: no switch stops them.
    ///
    /// # Errors
    /// Why not.
    pub fn may_attend(&self, claims: &Verified<Claims>, call: &RunningCall) -> Result<(), String> {
        let claims = claims.get();
        let people = People::of(claims);
        let caller = Subject {
            agent: Some(&call.owner.agent),
            tool: call.tool(),
            ..people.caller(&claims.tenant)
        };
        for subject in std::iter::once(caller).chain(people.behalf(&claims.tenant)) {
            let checked = self.board.check(&subject);
            checked.map_err(|stopped| stopped.to_string())?;
        }
        Ok(())
    }

    /// The epoch in which a call begins, or began before it had to wait; otherwise why it may not.
    pub(super) fn begins(&self, about: &About, before: Option<Epoch>) -> Result<Epoch, String> {
        match before {
            None => self.switched_on(about),
            Some(since) => self.still_on(about, since).map(|()| since),
        }
    }

    /// Whether a call that began may go on; otherwise why not.
    pub(super) fn still_on(&self, about: &About, since: Epoch) -> Result<(), String> {
        for subject in about.subjects() {
            if let Err(stopped) = self.board.check_held(&subject, since) {
                return Err(stopped.to_string());
            }
        }
        Ok(())
    }

    /// Puts a call in the list of those that are stopped when a switch is thrown.
    pub(super) fn enlist(&self, decision: DecisionId, about: About, since: Epoch) -> Listed {
        let stop = Arc::new(Stop {
            about,
            since,
            why: OnceLock::new(),
            told: Notify::new(),
        });
        let mut going = self.going.0.lock().unwrap_or_else(PoisonError::into_inner);
        going.insert(decision, Arc::clone(&stop));
        Listed {
            going: Arc::clone(&self.going),
            decision,
            stop,
        }
    }

    /// Stops every call that may not go on. To be called whenever a switch was thrown, or the switches cannot be read.
    pub fn switches_thrown(&self) {
        let going = self.going.0.lock().unwrap_or_else(PoisonError::into_inner);
        for stop in going.values() {
            if let Err(why) = self.still_on(&stop.about, stop.since) {
                // The first reason stays.
                let _ = stop.why.set(why);
                stop.told.notify_waiters();
            }
        }
    }
}

/// A way to a program that can be cut in between.
pub(super) fn between() -> (mpsc::Sender<Control>, mpsc::Receiver<Control>) {
    mpsc::channel(CHANNEL_CAPACITY)
}
