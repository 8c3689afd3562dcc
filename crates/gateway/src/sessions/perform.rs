//! A call that may run: recorded, run with its way out, and closed.

use std::sync::OnceLock;

use casemate_model::{Text, one_line};
use casemate_policy::RoutePolicy;
use casemate_ports::{ArtefactSink, Sandbox, SessionKeeper};

use super::{
    SessionStores, Sessions, Told,
    call::Caller,
    consent::Asker,
    opening::Noted,
    switched::between,
    way_out::{Attended, PlannedWay},
};
use crate::{Allowed, Recording, mcp::Conversation, meter::Meter};

/// Files of a session stay in it.
struct Nowhere;

impl ArtefactSink for Nowhere {
    fn file(
        &mut self,
        _: &Text,
        _: bool,
        _: &mut dyn std::io::Read,
    ) -> std::io::Result<Option<String>> {
        Ok(Some("it stays in its session".to_owned()))
    }
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Records the call, and runs it.
    pub(super) async fn perform<S: Sandbox>(
        &self,
        allowed: Allowed<S>,
        (policy, planned): (&RoutePolicy, Option<PlannedWay>),
        mut meter: Meter,
        noted: &mut Noted<'_>,
        caller: Caller,
    ) -> Told {
        let Caller {
            mut io,
            progress,
            about,
            since,
            demand,
            by,
            ..
        } = caller;
        let listed = self.enlist(allowed.facts().decision, about.clone(), since);
        // What a new session and its first decision write is on its way to the disk at the same time.
        let recording = allowed.record(&self.journal, &self.stores);
        let answer = match noted.during(recording).await {
            Recording::Recorded(recorded) => {
                let leased = recorded.lease();
                let facts = Box::new(leased.facts().clone());
                let ended = match noted.done().await {
                    Ok(()) => {
                        progress.done("record");
                        let way = self.open_way(planned, policy, leased.facts()).await;
                        let looked = || self.still_on(&about, since);
                        // From here on a switch stops what runs; up to here this look does.
                        match way
                            .map_err(|error| one_line(&error))
                            .and_then(|way| looked().map(|()| way))
                        {
                            Err(why) => leased.give_up(why, io),
                            Ok(mut way) => {
                                progress.starts();
                                let said = Conversation::of(policy, &leased.facts().ask);
                                let (to, control) = between();
                                let from = std::mem::replace(&mut io.control, control);
                                let (program, lost) = (to.downgrade(), OnceLock::new());
                                let stop = &listed.stop;
                                let mut asked = Vec::new();
                                let asker = Asker {
                                    facts: &facts,
                                    policy,
                                    demand,
                                    since,
                                    by,
                                };
                                let attended = Attended {
                                    stop,
                                    program: &program,
                                    lost: &lost,
                                    asked: &mut asked,
                                };
                                let ended = tokio::select! {
                                    // What the caller wants comes before what it types.
                                    biased;
                                    never = stop.pass_on(from, to) => match never {},
                                    never = self.attend(&mut way, &asker, attended) => match never {},
                                    ended = leased.run_through(&mut meter, said, io) => ended,
                                };
                                let ended =
                                    ended.because(stop.why().or(lost.get().map(String::as_str)));
                                match way {
                                    Some(way) => {
                                        // First: what egress says of them waits for this.
                                        self.end_requests(asked, &way).await;
                                        ended.after_way(way.close().await)
                                    }
                                    None => ended,
                                }
                            }
                        }
                    }
                    Err(error) => leased.give_up(one_line(error), io),
                };
                progress.done("end");
                match ended.release(&mut Nowhere).await {
                    Ok(released) => Told::Released(released),
                    Err(error) => Told::Unrecorded(facts, error),
                }
            }
            Recording::Replayed(released) => Told::Released(released),
            Recording::Refused(refused) => Told::Refused(refused),
        };
        progress.done("outcome");
        answer
    }
}
