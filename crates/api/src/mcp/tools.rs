//! What the tools do: calls and accesses of the gateway, as `/v1` makes them.

use std::{sync::Arc, time::Duration};

use casemate_callers::Permission;
use casemate_gateway::{
    Answer, Ask, Demand, Done as Accessed, Key, RunningCall, Told, mcp::program,
};
use casemate_mcp::{
    Connected, Conversation, Done, Effects, Ended, File, Listed, Offers, Plane, Refusal, Run, Runs,
    Written,
};
use casemate_model::{Limits, SessionId, SideEffect, Text, Within};
use casemate_policy::{Arguments, McpTool, RoutePolicy, SessionMode, Shown};
use casemate_ports::{Chunk, Command, InputFile};
use serde_json::{Map, Value, json};
use tokio::{sync::mpsc, time::timeout};

use super::conversations::Request;
use crate::{
    calls::{Attended, attend, find, kept, start},
    limits::{ANSWER_QUEUE, UPLOAD_PIECE_BYTES},
    problem::Problem,
    request::CallRequest,
    routes::{Keeps, Remembers},
    state::{Api, Begun},
    who::Who,
};

/// The tools of one caller in one conversation.
pub(super) struct Tools<K: Keeps, P: Remembers> {
    pub(super) api: Arc<Api<K, P>>,
    pub(super) who: Who,
    pub(super) agent: String,
    pub(super) route: Option<String>,
    /// The thread of the conversation, if it has one.
    pub(super) thread: Option<String>,
    /// What is answered, if it can be taken back.
    pub(super) request: Option<Request>,
}

/// Where a call runs.
enum Where {
    /// In a sandbox of its own.
    Fresh,
    Thread(String),
    Session(SessionId),
}

impl From<Problem> for Refusal {
    /// The words are the same.
    fn from(problem: Problem) -> Self {
        let told = serde_json::to_value(&problem).and_then(serde_json::from_value);
        told.unwrap_or_else(|error| {
            refusal("failed", format!("the answer cannot be passed on: {error}"))
        })
    }
}

fn refusal(code: &str, detail: String) -> Refusal {
    Refusal {
        code: code.to_owned(),
        detail,
        hint: None,
        decision: None,
    }
}

fn invalid(detail: &str) -> Refusal {
    Problem::invalid(detail).into()
}

impl<K: Keeps, P: Remembers> Tools<K, P> {
    fn policy(&self) -> Option<RoutePolicy> {
        self.api.sessions.policy(self.route.as_deref())
    }

    fn shows(&self, policy: &RoutePolicy, tool: &str) -> Option<Shown> {
        let claims = self.who.claims();
        let reached = self.who.reaches(&self.agent, self.thread.as_deref());
        policy.shows(tool, claims.get()).filter(|_| reached)
    }

    fn conversation(&self, policy: &RoutePolicy) -> Conversation {
        match (policy.sandbox.session, &self.thread) {
            (SessionMode::Call, _) => Conversation::Fresh,
            (_, Some(_)) => Conversation::Kept,
            (_, None) => Conversation::Named,
        }
    }

    /// Where something is to happen that names a session, or none.
    fn place(&self, session: Option<&str>) -> Result<Where, Refusal> {
        let named = session.map(str::parse::<SessionId>).transpose();
        let named = named.map_err(|error| invalid(&error.to_string()))?;
        let fresh = |policy: &RoutePolicy| self.conversation(policy) == Conversation::Fresh;
        match (named, &self.thread) {
            (Some(_), Some(_)) => Err(invalid("the conversation has its session: name none")),
            (Some(session), None) => Ok(Where::Session(session)),
            _ if self.policy().as_ref().is_some_and(fresh) => Ok(Where::Fresh),
            (None, Some(thread)) => Ok(Where::Thread(thread.clone())),
            (None, None) => Ok(Where::Fresh),
        }
    }

    /// The session of a thread, opened if it has none.
    async fn opened(&self, thread: Option<String>) -> Result<SessionId, Refusal> {
        let (caller, route) = (self.who.caller(self.agent.clone()), self.route.clone());
        let opened = self.api.with(move |sessions| async move {
            let Some(policy) = sessions.policy(route.as_deref()) else {
                let (reason, why) = sessions.no_policy(route.as_deref());
                return Err(Problem::of_reason(reason, why));
            };
            let opened = Box::pin(sessions.open_session(&caller, thread.as_deref(), &policy));
            Ok(opened.await?)
        });
        let Accessed { value, .. } = opened.await??;
        Ok(value.0)
    }

    /// The session in which files are.
    async fn session(&self, session: Option<&str>) -> Result<SessionId, Refusal> {
        match self.place(session)? {
            Where::Session(session) => Ok(session),
            Where::Thread(thread) => match self.known(thread.clone(), self.policy()).await {
                Some(session) => Ok(session),
                None => self.opened(Some(thread)).await,
            },
            Where::Fresh => Err(invalid(
                "name the `session`: files are those of a session, which open_session opens",
            )),
        }
    }

    /// The session that a thread has, if it has one; of this policy, if one is named.
    async fn known(&self, thread: String, policy: Option<RoutePolicy>) -> Option<SessionId> {
        let caller = self.who.caller(self.agent.clone());
        let found = self.api.with(move |sessions| async move {
            let profile = policy.as_deref();
            sessions.thread_session(&caller, &thread, profile).await
        });
        found.await.ok().flatten()
    }

    fn wanted(&self, run: &Run, at: &Where) -> Value {
        let mode = self.policy().map(|policy| policy.sandbox.session);
        let (tool, form) = match run.runs {
            Runs::Shell => ("shell", "script"),
            Runs::Python => ("python", "cell"),
            // In this mode a cell of a thread is one of its interpreter.
            Runs::FreshPython if mode == Some(SessionMode::Context) => ("python", "script"),
            Runs::FreshPython => ("python", "cell"),
        };
        let mut call = json!({
            "agent": self.agent,
            "route": self.route,
            "tool": tool,
            "mode": form,
            "code": run.code,
            "timeout_ms": run.timeout_ms,
            "idempotency_key": run.key,
        });
        let within = match at {
            Where::Thread(thread) => Some(("thread", thread.clone())),
            Where::Session(session) => Some(("session", session.to_string())),
            Where::Fresh => None,
        };
        if let (Some((key, name)), Some(call)) = (within, call.as_object_mut()) {
            call.insert(key.to_owned(), name.into());
        }
        call
    }

    async fn call(&self, run: &Run, at: &Where) -> Result<Done, Refusal> {
        let policy = self.policy();
        let lasts = policy.as_ref().is_some_and(|policy| {
            run.runs == Runs::Python
                && policy.sandbox.session == SessionMode::Thread
                // Whoever may not call it is refused as for any call.
                && self.shows(policy, "python").is_some()
        });
        let request = serde_json::from_value::<CallRequest>(self.wanted(run, at));
        let mut request = request.map_err(|error| invalid(&error.to_string()))?;
        // Named by what has it, and not by itself: a call that waits finds the one that is there when it runs.
        request.interpreter = lasts && !matches!(at, Where::Fresh);
        let begun = start(&self.api, &self.who, request)?;
        self.attend(begun).await
    }

    /// Begins a call of a tool of a server.
    fn begin_at(
        &self,
        policy: &RoutePolicy,
        (name, tool): (String, McpTool<'_>),
        arguments: Map<String, Value>,
    ) -> Result<Begun, Problem> {
        let arguments = Value::Object(arguments).to_string();
        let arguments = Arguments::parse(arguments.as_bytes());
        let arguments = arguments.map_err(|error| Problem::invalid(error.to_string()))?;
        let (argv, code) = program(&tool, &arguments);
        let input = code.input.clone().unwrap_or_default();
        let input = InputFile::in_memory(input, &code.source)
            .map_err(|error| Problem::failed(format!("cannot keep the arguments: {error}")))?;
        let kept = self.conversation(policy) == Conversation::Kept;
        let thread = self.thread.clone().filter(|_| kept);
        let ask = Ask {
            agent: self.agent.clone(),
            tool: name,
            command: Command {
                argv,
                ..Command::default()
            },
            code: Some(code),
            limits: Limits::default().at_most(&policy.sandbox.limits),
            within: thread.map(|thread| Within {
                thread: Some(thread),
                ..Within::default()
            }),
            destination: None,
            key: Key::Own,
            trace_id: None,
        };
        let route = Some(policy.route.clone());
        self.api
            .begin(&self.who, ask, vec![input], route, Demand::default())
    }

    async fn attend(&self, begun: Begun) -> Result<Done, Refusal> {
        let decision = begun.call.id.to_string();
        let taken_back = async {
            match &self.request {
                Some(request) => request.unwanted().await,
                None => std::future::pending().await,
            }
        };
        match attend(begun, taken_back).await {
            Attended::Ended(told, output) => ended(&told, output, false),
            Attended::Held => Ok(Done::Held { decision }),
            Attended::Unwanted => {
                let mut refusal = refusal("cancelled", "the call was taken back".to_owned());
                refusal.decision = Some(decision);
                Err(refusal)
            }
        }
    }

    fn found(&self, decision: &str) -> Result<Arc<RunningCall>, Refusal> {
        if !self.who.may_any(&[Permission::ReadCalls]) {
            let detail = "none of the caller's roles may read_calls";
            return Err(Problem::of_reason(casemate_model::Reason::MissingScope, detail).into());
        }
        let call = find(&self.api, &self.who, decision)?;
        match call.owner.agent == self.agent {
            true => Ok(call),
            false => Err(Problem::no_call(call.id).into()),
        }
    }

    /// Destroys the session of a conversation that is over, if it has one.
    pub(super) async fn close(&self) {
        let Some(thread) = self.thread.clone() else {
            return;
        };
        let Some(session) = self.known(thread, None).await else {
            return;
        };
        let caller = self.who.caller(self.agent.clone());
        let destroyed = self
            .api
            .with(move |sessions| async move { sessions.destroy(&caller, session).await });
        // One that may not or cannot be destroyed ends when it has been idle for too long.
        drop(destroyed.await);
    }
}

/// The end of a call, with its output; or with what is left of it, if some was missed.
fn ended(told: &Told, output: casemate_gateway::Output, missed: bool) -> Result<Done, Refusal> {
    if let Some(problem) = Problem::of_call(told) {
        return Err(problem.into());
    }
    let Told::Released(released) = told else {
        return Err(refusal("failed", "the call has no answer".to_owned()));
    };
    // What is replayed is whole.
    let missed = missed && released.replayed().is_none();
    let output = released.replayed().cloned().unwrap_or(output);
    let answer = serde_json::to_value(Answer::released(released, output));
    let ended: Result<Ended, _> = answer.and_then(serde_json::from_value);
    match ended {
        Ok(mut ended) => {
            ended.output_truncated |= missed;
            Ok(Done::Ended(Box::new(ended)))
        }
        Err(error) => Err(refusal(
            "failed",
            format!("the answer cannot be told: {error}"),
        )),
    }
}

fn effects(shown: Shown) -> Effects {
    Effects {
        read_only: shown.side_effect == Some(SideEffect::Read),
        // What no manifest describes can do anything in its sandbox.
        destructive: !matches!(
            shown.side_effect,
            Some(SideEffect::Read | SideEffect::Draft)
        ),
        open_world: shown.reaches_out || shown.side_effect == Some(SideEffect::ExternalSend),
    }
}

impl<K: Keeps, P: Remembers> Plane for Tools<K, P> {
    fn offers(&self) -> Offers {
        let policy = self.policy();
        let shown = |tool| Some(effects(self.shows(policy.as_ref()?, tool)?));
        Offers {
            python: shown("python"),
            shell: shown("shell"),
            conversation: policy
                .as_ref()
                .map_or(Conversation::Fresh, |policy| self.conversation(policy)),
            connected: policy.as_ref().map_or_else(Vec::new, |policy| {
                let all = policy.mcp_tools();
                let shown = all.filter(|(name, _)| self.shows(policy, name).is_some());
                shown
                    .map(|(name, tool)| Connected {
                        name,
                        descriptor: tool.descriptor.value().clone(),
                    })
                    .collect()
            }),
        }
    }

    async fn call_server(
        &self,
        name: String,
        arguments: Map<String, Value>,
    ) -> Option<Result<Done, Refusal>> {
        let policy = self.policy()?;
        let tool = policy.mcp_tool(&name)?;
        // Whoever may not call it is refused as for any call.
        Some(match self.begin_at(&policy, (name, tool), arguments) {
            Ok(begun) => Box::pin(self.attend(begun)).await,
            Err(problem) => Err(problem.into()),
        })
    }

    async fn run(&self, run: Run) -> Result<Done, Refusal> {
        let at = self.place(run.session.as_deref())?;
        Box::pin(self.call(&run, &at)).await
    }

    async fn result(&self, decision: String, wait_ms: u64) -> Result<Done, Refusal> {
        let call = self.found(&decision)?;
        let waited = timeout(Duration::from_millis(wait_ms), call.ended()).await;
        match waited.ok().or_else(|| call.told()) {
            Some(told) => {
                let seen = call.pieces(0);
                ended(&told, kept(&seen), seen.missed > 0)
            }
            None if call.phase() == casemate_gateway::Phase::Held => Ok(Done::Held { decision }),
            None => Ok(Done::Runs { decision }),
        }
    }

    async fn open(&self) -> Result<String, Refusal> {
        match self.thread {
            Some(_) => Err(invalid("the conversation has its session")),
            None => Ok(self.opened(None).await?.to_string()),
        }
    }

    async fn read(
        &self,
        session: Option<String>,
        path: String,
        most: u64,
    ) -> Result<File, Refusal> {
        let session = self.session(session.as_deref()).await?;
        let (caller, named) = (
            self.who.caller(self.agent.clone()),
            Text::from(path.clone()),
        );
        let read = self
            .api
            .with(move |sessions| async move { sessions.read_file(&caller, session, named).await });
        let Accessed { decision, value } = read.await?.map_err(Problem::from)?;
        let (bytes, mut pieces) = value;
        if bytes > most {
            return Err(Refusal {
                code: "file_too_large".to_owned(),
                detail: format!(
                    "`{path}` has {bytes} bytes, and a tool answers with at most {most}"
                ),
                hint: Some("read a part of it with `python` or `shell`".to_owned()),
                decision: Some(decision.to_string()),
            });
        }
        let mut content = Vec::new();
        while let Some(piece) = pieces.recv().await {
            content.extend(piece);
        }
        if content.len() as u64 != bytes {
            let mut cut_off = refusal("cut_off", format!("`{path}` could not be read to its end"));
            cut_off.decision = Some(decision.to_string());
            return Err(cut_off);
        }
        Ok(File {
            decision: decision.to_string(),
            content,
        })
    }

    async fn write(
        &self,
        session: Option<String>,
        path: String,
        content: Vec<u8>,
    ) -> Result<Written, Refusal> {
        let session = self.session(session.as_deref()).await?;
        let (caller, path) = (self.who.caller(self.agent.clone()), Text::from(path));
        let (sender, pieces) = mpsc::channel(ANSWER_QUEUE);
        let written = self.api.with(move |sessions| async move {
            sessions.write_file(&caller, session, path, pieces).await
        });
        let pass_on = async move {
            for piece in content.chunks(UPLOAD_PIECE_BYTES) {
                if sender.send(Chunk::Bytes(piece.to_vec())).await.is_err() {
                    // Refused meanwhile: the answer says why.
                    return;
                }
            }
            drop(sender.send(Chunk::End).await);
        };
        let ((), written) = tokio::join!(pass_on, written);
        let Accessed { decision, value } = written?.map_err(Problem::from)?;
        Ok(Written {
            decision: decision.to_string(),
            bytes: value.bytes,
            sha256: value.sha256.to_string(),
        })
    }

    async fn list(&self, session: Option<String>, path: String) -> Result<Listed, Refusal> {
        let session = self.session(session.as_deref()).await?;
        let (caller, path) = (self.who.caller(self.agent.clone()), Text::from(path));
        let listed = self
            .api
            .with(move |sessions| async move { sessions.list_files(&caller, session, path).await });
        let Accessed { decision, value } = listed.await?.map_err(Problem::from)?;
        let entries = value.iter().map(|entry| json!(entry)).collect();
        Ok(Listed {
            decision: decision.to_string(),
            entries,
        })
    }
}
