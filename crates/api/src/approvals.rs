//! Approvals: calls that wait for a person, what is answered, and how they go on.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use casemate_callers::Permission;
use casemate_gateway::{LeftWaiting, Refused, RunningCall, Told};
use casemate_model::{ApprovalState, DecisionId};
use casemate_ports::{CHANNEL_CAPACITY, CallIo, Owner};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, sleep},
};

use crate::{
    answer::Signed,
    extract::{Asked, Named},
    limits::RESUME_PAUSE_MS,
    openapi::ApprovalStateWord,
    paging::{Order, Paging},
    problem::Problem,
    routes::{Keeps, Remembers},
    sse,
    state::Api,
    who::Who,
};

#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Which {
    #[schemars(with = "Option<ApprovalStateWord>")]
    state: Option<ApprovalState>,
}

fn named(id: &str) -> Result<DecisionId, Problem> {
    id.parse()
        .map_err(|error| Problem::invalid(format!("{error}")))
}

/// `GET /v1/approvals`
pub(crate) async fn list<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Asked(Which { state }): Asked<Which>,
    Asked(paging): Asked<Paging>,
) -> Result<Response, Problem> {
    let all = listed(&api, &who, state).await?;
    let placed = all.into_iter().map(|one| {
        let place = one
            .get("decision")
            .and_then(Value::as_str)
            .unwrap_or_default();
        (place.to_owned(), one)
    });
    let piece = paging.answer("approvals", Order::Descending, placed.collect())?;
    Ok(Json(piece).into_response())
}

async fn listed<K: Keeps, P: Remembers>(
    api: &Api<K, P>,
    who: &Who,
    state: Option<ApprovalState>,
) -> Result<Vec<Value>, Problem> {
    let claims = who.claims();
    let all = api.with(move |sessions| async move { sessions.approvals(&claims, state).await });
    let all = all
        .await?
        .map_err(|error| Problem::of_answer(&error, None))?;
    Ok(all.iter().map(|one| json!(one)).collect())
}

/// `GET /v1/approvals/{id}`
pub(crate) async fn show<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    let (id, claims) = (named(&id)?, who.claims());
    let found = api.with(move |sessions| async move { sessions.approval(&claims, id).await });
    let found = found
        .await?
        .map_err(|error| Problem::of_answer(&error, Some(id)))?;
    Ok(Json(found).into_response())
}

/// `POST /v1/approvals/{id}/answer`
pub(crate) async fn answer<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Signed(answer): Signed,
) -> Result<Response, Problem> {
    let (id, claims) = (named(&id)?, who.claims());
    let answered = api
        .with(move |sessions| async move { Box::pin(sessions.answer(&claims, id, &answer)).await });
    let answered = answered.await?;
    let answered = answered.map_err(|error| Problem::of_answer(&error, Some(id)))?;
    api.news.send_modify(|news| *news += 1);
    if answered.state == ApprovalState::Approved {
        api.resume(id);
    }
    let body = json!({ "decision": id, "state": answered.state });
    Ok(Json(body).into_response())
}

/// `POST /v1/approvals/{id}/cancel`
pub(crate) async fn cancel<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
) -> Result<Response, Problem> {
    take_back(&api, &who, named(&id)?).await
}

/// Takes a call back that waits.
pub(crate) async fn take_back<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    id: DecisionId,
) -> Result<Response, Problem> {
    let claims = who.claims();
    let taken = api.with(move |sessions| async move { sessions.cancel_waiting(&claims, id).await });
    taken
        .await?
        .map_err(|error| Problem::of_answer(&error, Some(id)))?;
    let body = json!({ "decision": id, "cancelled": true });
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// `GET /v1/approvals/events`: those that wait, now and whenever that changes.
pub(crate) async fn events<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
) -> Result<Response, Problem> {
    let mut news = api.news.subscribe();
    let (sender, response) = sse::response();
    tokio::spawn(async move {
        // Whoever looks on is believed for no longer than what proved it stands.
        while still_reads(&api, &who).await {
            news.mark_unchanged();
            let Ok(waiting) = listed(&api, &who, Some(ApprovalState::Pending)).await else {
                return;
            };
            if sender
                .send(sse::frame(
                    "approvals",
                    None,
                    &json!({ "approvals": waiting }),
                ))
                .await
                .is_err()
            {
                return;
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() {
                    return;
                },
                () = sleep(time_left(&api, &who)) => {}
                () = sender.closed() => return,
            }
        }
    });
    Ok(response)
}

/// Whether somebody who was believed may still look on. Not if that cannot be told.
async fn still_reads<K: Keeps, P: Remembers>(api: &Arc<Api<K, P>>, who: &Who) -> bool {
    if time_left(api, who).is_zero() {
        return false;
    }
    api.still_may(who, Permission::ReadCalls).await
}

/// For how long what proved somebody can still hold.
fn time_left<K: Keeps, P: Remembers>(api: &Api<K, P>, who: &Who) -> Duration {
    let now_ms = api.sessions.clock().now_ms();
    Duration::from_millis(who.get().expires_at_ms().saturating_sub(now_ms))
}

impl<K: Keeps, P: Remembers> Api<K, P> {
    /// Looks after calls that wait, those of earlier processes too, for as long as it is polled.
    pub async fn look_after_waiting(
        self: &Arc<Self>,
        left: Vec<LeftWaiting>,
    ) -> std::convert::Infallible {
        for LeftWaiting {
            decision,
            owner,
            approved,
        } in left
        {
            self.known(decision, owner);
            if approved {
                self.resume(decision);
            }
        }
        let mut refusals = self.sessions.take_refusals();
        loop {
            let next = self.sessions.next_expiry();
            let now_ms = self.sessions.clock().now_ms();
            let pause = next.map(|(_, at_ms)| Duration::from_millis(at_ms.saturating_sub(now_ms)));
            let time_is_over = async {
                match pause {
                    Some(pause) => sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            let refused = async {
                match &mut refusals {
                    Some(refusals) => refusals.recv().await,
                    None => None,
                }
            };
            tokio::select! {
                Some((decision, refused)) = refused => self.refused(decision, refused),
                () = self.sessions.waiting_changed() => {
                    self.news.send_modify(|news| *news += 1);
                }
                () = time_is_over => if let Some((decision, _)) = next {
                    let expired = self.with(move |sessions| async move {
                        sessions.expire(decision).await;
                    });
                    // A crew that has stopped runs nothing any more.
                    if expired.await.is_err() {
                        sleep(Duration::from_millis(RESUME_PAUSE_MS)).await;
                    }
                }
            }
        }
    }

    /// A call that waits, for whoever asks after it.
    fn known(&self, decision: DecisionId, owner: Owner) -> Arc<RunningCall> {
        if let Some(call) = self.calls.get(&owner.tenant, decision) {
            return call;
        }
        let call = self.calls.begin(decision, owner, None, None);
        call.waits_for_person();
        call
    }

    fn refused(&self, decision: DecisionId, refused: Refused) {
        let owner = Owner {
            tenant: refused.facts().tenant().to_owned(),
            agent: refused.facts().ask.agent.clone(),
        };
        let call = self.known(decision, owner);
        let mut told = Told::Refused(refused);
        told.forget_program();
        self.calls.end(&call, Arc::new(told));
        self.news.send_modify(|news| *news += 1);
    }

    /// Lets an approved call go on, as soon as it can.
    fn resume(self: &Arc<Self>, decision: DecisionId) {
        if self.sessions.goes_on_itself(decision) {
            return;
        }
        let api = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let told = {
                    let Ok(_turn) = api.resuming.acquire().await else {
                        return;
                    };
                    api.go_on(decision).await
                };
                match told {
                    Some((call, mut told)) if !matches!(told, Told::Later(_)) => {
                        told.forget_program();
                        api.calls.end(&call, Arc::new(told));
                        api.news.send_modify(|news| *news += 1);
                        return;
                    }
                    _ => {}
                }
                let approved =
                    api.with(move |sessions| async move { sessions.is_approved(decision).await });
                // Whatever else it is now has been told, or will be.
                if !approved.await.unwrap_or(false) {
                    return;
                }
                sleep(Duration::from_millis(RESUME_PAUSE_MS)).await;
            }
        });
    }

    async fn go_on(self: &Arc<Self>, decision: DecisionId) -> Option<(Arc<RunningCall>, Told)> {
        let owner = self.sessions.waiting_owner(decision)?;
        let call = self.known(decision, owner);
        let (control_sender, control) = mpsc::channel(CHANNEL_CAPACITY);
        let events = call
            .go_on(control_sender)
            .unwrap_or_else(|| self.kept(&call));
        let (_, stdin) = mpsc::channel(1);
        let io = CallIo {
            stdin,
            control,
            events,
        };
        let (tell, told) = oneshot::channel();
        let progress = Arc::clone(&call.progress);
        let sessions = Arc::clone(&self.sessions);
        let ran = self.crew.run(move || async move {
            Box::pin(sessions.resume(decision, progress, io, tell)).await;
        });
        let told = tokio::select! {
            biased;
            told = told => told.ok(),
            // It has told, or never will.
            _ = ran => None,
        };
        let told = told?;
        if matches!(told, Told::Later(_)) {
            call.waits_for_person();
        }
        Some((call, told))
    }

    /// A way for the output of a call that nobody waits for: the newest of it is kept.
    fn kept(&self, call: &Arc<RunningCall>) -> mpsc::Sender<casemate_ports::Event> {
        let (events, mut output) = mpsc::channel(CHANNEL_CAPACITY);
        let call = Arc::clone(call);
        call.will_see();
        tokio::spawn(async move {
            while let Some(event) = output.recv().await {
                call.see(event);
            }
            call.seen_all();
        });
        events
    }
}
