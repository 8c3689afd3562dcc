//! The tools, as `rmcp` asks for them.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, Implementation,
        InitializeResult, JsonObject, ListToolsResult, PaginatedRequestParams,
        ProgressNotificationParam, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    content,
    limits::{MAX_FILE_BYTES, MAX_NAME_BYTES, MAX_WAIT_MS, PROGRESS_MS},
    plane::{Plane, Refusal, Run, Runs},
    tools::{self, Name},
};

const INSTRUCTIONS: &str = "Code runs in a sandbox without access to the user's machine. Every call is decided by a policy first and \
    recorded. A refused call says why and what can be done: do not try the same again. A call that waits for approval \
    goes on by itself when a person has approved it: ask after it with `call_result`.";

/// Answers one message.
#[derive(Debug)]
pub(crate) struct Handler<P> {
    plane: Arc<P>,
}

impl<P> Handler<P> {
    pub(crate) const fn new(plane: Arc<P>) -> Self {
        Self { plane }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunArguments {
    code: String,
    #[serde(default)]
    fresh: bool,
    session: Option<String>,
    timeout_ms: Option<u64>,
    idempotency_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PathArguments {
    path: String,
    session: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListArguments {
    #[serde(default)]
    path: String,
    session: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "base64")]
    Base64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteArguments {
    path: String,
    content: String,
    #[serde(default)]
    encoding: Encoding,
    session: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResultArguments {
    decision: String,
    #[serde(default)]
    wait_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoArguments {}

fn arguments<T: DeserializeOwned>(arguments: Option<JsonObject>) -> Result<T, Refusal> {
    let arguments = Value::Object(arguments.unwrap_or_default());
    serde_json::from_value(arguments).map_err(|error| invalid(error.to_string()))
}

fn invalid(detail: String) -> Refusal {
    Refusal {
        code: "invalid_call".to_owned(),
        detail,
        hint: Some("compare the arguments with the input schema of the tool".to_owned()),
        decision: None,
    }
}

impl<P: Plane> Handler<P> {
    async fn call(&self, name: Name, given: Option<JsonObject>) -> Result<CallToolResult, Refusal> {
        let plane = self.plane.as_ref();
        Ok(match name {
            Name::Python | Name::Shell => {
                let asked: RunArguments = arguments(given)?;
                let runs = match (name, asked.fresh) {
                    (Name::Shell, true) => {
                        return Err(invalid("only Python has `fresh`".to_owned()));
                    }
                    (Name::Shell, false) => Runs::Shell,
                    (_, true) => Runs::FreshPython,
                    (_, false) => Runs::Python,
                };
                let run = Run {
                    runs,
                    code: asked.code,
                    session: asked.session,
                    timeout_ms: asked.timeout_ms,
                    key: asked.idempotency_key,
                };
                content::done(&plane.run(run).await?)
            }
            Name::CallResult => {
                let asked: ResultArguments = arguments(given)?;
                let wait_ms = asked.wait_ms.min(MAX_WAIT_MS);
                content::done(&plane.result(asked.decision, wait_ms).await?)
            }
            Name::OpenSession => {
                let NoArguments {} = arguments(given)?;
                content::opened(&plane.open().await?)
            }
            Name::ReadFile => {
                let PathArguments { path, session } = arguments(given)?;
                let file = plane.read(session, path.clone(), MAX_FILE_BYTES).await?;
                content::file(&path, &file)
            }
            Name::WriteFile => {
                let asked: WriteArguments = arguments(given)?;
                let bytes = match asked.encoding {
                    Encoding::Utf8 => asked.content.into_bytes(),
                    Encoding::Base64 => BASE64_STANDARD
                        .decode(asked.content)
                        .map_err(|error| invalid(format!("`content` is not base64: {error}")))?,
                };
                let written = plane.write(asked.session, asked.path.clone(), bytes);
                content::written(&asked.path, &written.await?)
            }
            Name::ListFiles => {
                let ListArguments { path, session } = arguments(given)?;
                let listed = plane.list(session, path.clone()).await?;
                content::listed(&path, &listed)
            }
        })
    }
}

/// Waits for an answer as long as somebody wants it, and tells progress if that was asked for.
async fn attended<T>(
    context: &RequestContext<RoleServer>,
    work: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let mut work = pin!(work);
    let token = context.meta.get_progress_token();
    let mut told = 0_u32;
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = context.ct.cancelled() => return Err(cancelled()),
            () = sleep(Duration::from_millis(PROGRESS_MS)), if token.is_some() => {}
        }
        let Some(token) = token.clone() else {
            continue;
        };
        told = told.saturating_add(1);
        let progress = ProgressNotificationParam::new(token, f64::from(told))
            .with_message("the call has not ended");
        tokio::select! {
            // Whoever does not read it is told by the end.
            _ = context.peer.notify_progress(progress) => {}
            done = &mut work => return done,
            () = context.ct.cancelled() => return Err(cancelled()),
        }
    }
}

fn unknown(name: &str) -> ErrorData {
    let shown: String = name.escape_debug().take(MAX_NAME_BYTES).collect();
    ErrorData::invalid_params(format!("there is no tool `{shown}`"), None)
}

fn cancelled() -> Refusal {
    Refusal {
        code: "cancelled".to_owned(),
        detail: "the call was taken back".to_owned(),
        hint: None,
        decision: None,
    }
}

impl<P: Plane> ServerHandler for Handler<P> {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let about =
            Implementation::new("casemate", env!("CARGO_PKG_VERSION")).with_title("Casemate");
        InitializeResult::new(capabilities)
            .with_server_info(about)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if request.is_some_and(|request| request.cursor.is_some()) {
            return Err(ErrorData::invalid_params(
                "there is one page of tools",
                None,
            ));
        }
        let tools = tools::listed(&self.plane.offers());
        // The next look may find another profile in force, and another caller other tools.
        Ok(ListToolsResult::with_all_items(tools)
            .with_ttl_ms(0)
            .with_cache_scope(CacheScope::Private))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::named(name, &self.plane.offers())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let called = match Name::read(&request.name) {
            Some(name) => attended(&context, self.call(name, request.arguments)).await,
            None => {
                let (name, given) = (request.name.to_string(), request.arguments);
                let calling = self.plane.call_server(name, given.unwrap_or_default());
                let calling = async { calling.await.transpose() };
                match attended(&context, calling).await.transpose() {
                    Some(called) => called.map(|done| content::of_server(&done)),
                    None => return Err(unknown(&request.name)),
                }
            }
        };
        let result = called.unwrap_or_else(|refusal| content::refused(&refusal));
        Ok(result.into())
    }
}
