//! What a pool does: calls and accesses of the gateway, as `/v1` makes them.

use std::{future::pending, sync::Arc};

use axum::{http::StatusCode, response::Response};
use casemate_azure::{Execution, Fault, Item, Piece, Plane, Run, Runs, Session, State};
use casemate_gateway::{Caller, Done, Phase, SessionView};
use casemate_model::{SessionId, Text};
use casemate_policy::{RoutePolicy, SessionMode};
use casemate_ports::{Chunk, EntryKind, Owner};
use serde_json::json;
use tokio::sync::mpsc;

use super::executions::execution;
use crate::{
    calls::{Attended, attend, detach, find, kept, start},
    files::download,
    limits::{ANSWER_QUEUE, UPLOAD_PIECE_BYTES},
    problem::Problem,
    request::CallRequest,
    routes::{Keeps, Remembers},
    state::{Api, Begun},
    who::Who,
};

/// One session of one pool, for one caller.
pub(super) struct Pool<K: Keeps, P: Remembers> {
    pub(super) api: Arc<Api<K, P>>,
    pub(super) who: Who,
    pub(super) agent: String,
    /// The policy of the route that the pool is.
    pub(super) policy: RoutePolicy,
    /// The thread that the session is.
    pub(super) thread: String,
}

impl<K: Keeps, P: Remembers> Pool<K, P> {
    fn caller(&self) -> Caller {
        self.who.caller(self.agent.clone())
    }

    fn owner(&self) -> Owner {
        self.who.owner(self.agent.clone())
    }

    fn request(&self, run: &Run) -> Result<CallRequest, Problem> {
        let (tool, mode) = match run.runs {
            Runs::Python => ("python", "cell"),
            Runs::Shell => ("shell", "script"),
        };
        // A bound, and no demand: clients ask for more than they need.
        let most = self.policy.sandbox.limits.wall_ms;
        let request = serde_json::from_value::<CallRequest>(json!({
            "agent": self.agent,
            "route": self.policy.route,
            "thread": self.thread,
            "tool": tool,
            "mode": mode,
            "code": run.code,
            "timeout_ms": run.timeout_ms.map(|ms| ms.min(most)),
        }));
        let mut request = request.map_err(|error| Problem::invalid(error.to_string()))?;
        let claims = self.who.claims();
        // Variables stay, as they do in a pool; whoever may not call the tool is refused as for any call.
        request.interpreter = run.runs == Runs::Python
            && self.policy.sandbox.session == SessionMode::Thread
            && self.policy.shows(tool, claims.get()).is_some();
        Ok(request)
    }

    /// The session that the thread has, if it has one.
    async fn known(&self) -> Result<Option<SessionId>, Problem> {
        let (caller, thread) = (self.caller(), self.thread.clone());
        let policy = self.policy.clone();
        let found = self.api.with(move |sessions| async move {
            sessions
                .thread_session(&caller, &thread, Some(&policy))
                .await
        });
        found.await
    }

    /// The session in which files are: its first use begins it.
    async fn session_of_files(&self) -> Result<SessionId, Fault> {
        if self.policy.sandbox.session == SessionMode::Call {
            let message = "the pool gives each execution a sandbox of its own: there are no files";
            return Err(Fault::invalid(message));
        }
        if let Some(session) = self.known().await? {
            return Ok(session);
        }
        let (caller, thread) = (self.caller(), self.thread.clone());
        let policy = self.policy.clone();
        let opened = self.api.with(move |sessions| async move {
            Box::pin(sessions.open_session(&caller, Some(&thread), &policy)).await
        });
        let Done { value, .. } = opened.await?.map_err(Problem::from)?;
        Ok(value.0)
    }

    fn shown(&self, view: &SessionView) -> Option<Session> {
        let record = &view.record;
        let sandbox = &self.policy.sandbox;
        let idle = record.used_at_ms.saturating_add(sandbox.session_idle_ms);
        let oldest = record.created_at_ms.saturating_add(sandbox.session_max_ms);
        Some(Session {
            identifier: record.thread.clone()?,
            created_ms: record.created_at_ms,
            used_ms: record.used_at_ms,
            ends_ms: idle.min(oldest),
            tag: record.id.to_string(),
        })
    }

    async fn attend(&self, begun: Begun) -> Result<Execution, Fault> {
        let id = begun.call.id;
        match attend(begun, pending()).await {
            Attended::Ended(told, output) => Ok(execution(id, &told, output)),
            Attended::Held | Attended::Unwanted => {
                let message = "a person has to approve it first: it goes on by itself then, and `GET executions/{id}` says how it stands";
                Err(Fault {
                    record: Some(id.to_string()),
                    ..Fault::new(StatusCode::FORBIDDEN, "approval_required", message)
                })
            }
        }
    }
}

impl<K: Keeps, P: Remembers> Plane for Pool<K, P> {
    type Content = Response;

    async fn execute(&self, run: Run) -> Result<Execution, Fault> {
        let begun = start(&self.api, &self.who, self.request(&run)?)?;
        if !run.alone {
            return Box::pin(self.attend(begun)).await;
        }
        Ok(Execution {
            id: detach(begun).to_string(),
            runs: Some(run.runs),
            state: State::NotStarted,
            ended: None,
            fault: None,
        })
    }

    async fn execution(&self, id: String) -> Result<Execution, Fault> {
        let call = find(&self.api, &self.who, &id)?;
        if call.owner.agent != self.agent || call.thread() != Some(&self.thread) {
            return Err(Problem::no_call(call.id).into());
        }
        let runs = match call.tool() {
            Some("shell") => Runs::Shell,
            _ => Runs::Python,
        };
        let seen = call.pieces(0);
        let mut found = match &seen.told {
            Some(told) => execution(call.id, told, kept(&seen)),
            None => Execution {
                id,
                runs: None,
                state: match call.phase() {
                    Phase::Waiting | Phase::Held => State::NotStarted,
                    Phase::Running | Phase::Ended => State::Running,
                },
                ended: None,
                fault: None,
            },
        };
        found.runs = Some(runs);
        Ok(found)
    }

    async fn list(&self, directory: String) -> Result<Vec<Item>, Fault> {
        let (caller, session) = (self.caller(), self.session_of_files().await?);
        let listed = self.api.with(move |sessions| async move {
            sessions
                .list_files(&caller, session, directory.into())
                .await
        });
        let Done { value, .. } = listed.await?.map_err(Problem::from)?;
        let item = |entry: casemate_ports::Entry| {
            let is_directory = match entry.kind {
                EntryKind::File => false,
                EntryKind::Directory => true,
                // Links and the like are not files that a client could get.
                _ => return None,
            };
            Some(Item {
                name: String::from_utf8_lossy(entry.name.as_bytes()).into_owned(),
                is_directory,
                bytes: entry.bytes,
                modified_ms: entry.modified_ms,
            })
        };
        Ok(value.into_iter().filter_map(item).collect())
    }

    async fn read(&self, path: String) -> Result<Response, Fault> {
        let (caller, session) = (self.caller(), self.session_of_files().await?);
        let read = self.api.with(move |sessions| async move {
            sessions.read_file(&caller, session, path.into()).await
        });
        Ok(download(read.await?.map_err(Problem::from)?))
    }

    async fn write(&self, path: String, mut pieces: mpsc::Receiver<Piece>) -> Result<u64, Fault> {
        let (caller, session) = (self.caller(), self.session_of_files().await?);
        let (sender, content) = mpsc::channel(ANSWER_QUEUE);
        let written = self.api.with(move |sessions| async move {
            let path = Text::from(path);
            sessions.write_file(&caller, session, path, content).await
        });
        let pass_on = async move {
            while let Some(piece) = pieces.recv().await {
                let Piece::Bytes(bytes) = piece else {
                    drop(sender.send(Chunk::End).await);
                    return;
                };
                for piece in bytes.chunks(UPLOAD_PIECE_BYTES) {
                    if sender.send(Chunk::Bytes(piece.to_vec())).await.is_err() {
                        // Refused meanwhile: the answer says why.
                        return;
                    }
                }
            }
        };
        let ((), written) = tokio::join!(pass_on, written);
        Ok(written?.map_err(Problem::from)?.value.bytes)
    }

    async fn remove(&self, path: String) -> Result<(), Fault> {
        let (caller, session) = (self.caller(), self.session_of_files().await?);
        let removed = self.api.with(move |sessions| async move {
            sessions.remove_file(&caller, session, path.into()).await
        });
        removed.await?.map_err(Problem::from)?;
        Ok(())
    }

    async fn session(&self) -> Result<Session, Fault> {
        let unknown = || {
            let message = "there is no such session: its first execution begins it";
            Fault::new(StatusCode::NOT_FOUND, "session_unknown", message)
        };
        let session = self.known().await?.ok_or_else(unknown)?;
        let owner = self.owner();
        let view = self
            .api
            .with(move |sessions| async move { sessions.show(&owner, session).await });
        let view = view.await?.map_err(Problem::from)?;
        self.shown(&view).ok_or_else(unknown)
    }

    /// What is over already is what was wanted.
    async fn end(&self) -> Result<(), Fault> {
        let Some(session) = self.known().await? else {
            return Ok(());
        };
        let caller = self.caller();
        let destroyed = self
            .api
            .with(move |sessions| async move { sessions.destroy(&caller, session).await });
        destroyed.await?.map_err(Problem::from)?;
        Ok(())
    }

    async fn sessions(&self) -> Result<Vec<Session>, Fault> {
        let owner = self.owner();
        let listed = self
            .api
            .with(move |sessions| async move { sessions.list(&owner).await });
        let listed = listed.await?.map_err(Problem::from)?;
        let here = listed.iter().filter(|view| {
            let record = &view.record;
            record.end.is_none()
                && record.profile == self.policy.digest()
                && self.who.reaches(&self.agent, record.thread.as_deref())
        });
        Ok(here.filter_map(|view| self.shown(view)).collect())
    }

    fn now_ms(&self) -> u64 {
        self.api.sessions.clock().now_ms()
    }
}
