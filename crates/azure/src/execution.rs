//! Executions: requests in both forms, and what is answered.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderName, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    Ended, Execution, Fault, Plane, Query, Reply, Run, Runs, State,
    limits::{MAX_REQUEST_BYTES, MAX_TIMEOUT_S},
    value::shown,
};

/// The headers that name an execution, and say where to ask after it.
const OPERATION_ID: HeaderName = HeaderName::from_static("operation-id");
const OPERATION_LOCATION: HeaderName = HeaderName::from_static("operation-location");

/// What the first generation wraps everything in.
#[derive(Deserialize)]
struct Wrapped {
    properties: Inline,
}

/// Code in a request.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inline {
    code: Option<String>,
    #[serde(alias = "pythonCode")]
    python_code: Option<String>,
    shell_command: Option<String>,
    code_input_type: Option<String>,
    execution_type: Option<String>,
    timeout_in_seconds: Option<i64>,
    output_streams_max_length: Option<usize>,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    run: Run,
    /// The most characters of each stream in the answer.
    most: Option<usize>,
}

impl Inline {
    fn read(self) -> Result<Asked, Fault> {
        let (runs, code) = match (self.code.or(self.python_code), self.shell_command) {
            (Some(code), None) => (Runs::Python, code),
            (None, Some(command)) => (Runs::Shell, command),
            _ => {
                return Err(Fault::invalid(
                    "a request has either `code` or `shellCommand`",
                ));
            }
        };
        let kind = self.code_input_type.map(|kind| kind.to_ascii_lowercase());
        let code = match kind.as_deref() {
            None | Some("inline" | "inlinetext") => code,
            Some("inlinebase64") => decoded(&code)?,
            Some(_) => {
                return Err(Fault::invalid(
                    "`codeInputType` is Inline, InlineText or InlineBase64",
                ));
            }
        };
        let kind = self.execution_type.map(|kind| kind.to_ascii_lowercase());
        let alone = match kind.as_deref() {
            None | Some("synchronous") => false,
            Some("asynchronous") => true,
            Some(_) => {
                return Err(Fault::invalid(
                    "`executionType` is Synchronous or Asynchronous",
                ));
            }
        };
        let timeout_ms = match self.timeout_in_seconds.map(u64::try_from) {
            None => None,
            Some(Ok(seconds @ 1..=MAX_TIMEOUT_S)) => Some(seconds * 1_000),
            Some(_) => {
                return Err(Fault::invalid(format!(
                    "`timeoutInSeconds` is 1 to {MAX_TIMEOUT_S}"
                )));
            }
        };
        let run = Run {
            runs,
            code,
            timeout_ms,
            alone,
        };
        Ok(Asked {
            run,
            most: self.output_streams_max_length,
        })
    }
}

fn decoded(code: &str) -> Result<String, Fault> {
    let bytes = BASE64_STANDARD.decode(code.trim_ascii()).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Fault::invalid("`code` is not the base64 of a text"))
}

async fn read<T: DeserializeOwned, B>(body: B) -> Result<T, Fault>
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let body = Limited::new(body, MAX_REQUEST_BYTES).collect().await;
    let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => Fault::too_large(MAX_REQUEST_BYTES as u64),
        None => Fault::invalid("the request was cut off"),
    })?;
    serde_json::from_slice(&body.to_bytes())
        .map_err(|error| Fault::invalid(format!("the body is not what it should be: {error}")))
}

/// `POST code/execute`, of the first generation.
///
/// # Errors
/// When it cannot be followed, is refused, or waits for a person.
pub async fn code_execute<P: Plane, B>(plane: &P, body: B) -> Result<Reply, Fault>
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let wrapped: Wrapped = read(body).await?;
    let asked = wrapped.properties.read()?;
    if asked.run.alone {
        return Err(Fault::invalid(
            "`code/execute` is synchronous: an asynchronous execution is one of `executions`",
        ));
    }
    let done = plane.execute(asked.run).await?;
    let ended = finished(&done)?;
    let (stdout, stderr) = streams(&done, ended, asked.most);
    let status = match done.state {
        State::Succeeded => "Success",
        _ => "Failure",
    };
    let mut reply = Reply::json(json!({ "$id": "1", "properties": {
        "$id": "2",
        "status": status,
        "stdout": stdout,
        "stderr": stderr,
        "result": shown(&ended.results),
        "executionTimeInMilliseconds": ended.took_ms,
    }}));
    reply.headers.push((OPERATION_ID, done.id));
    Ok(reply)
}

/// `POST executions`, of the second generation. `place` is where executions of `agent` can be asked after, for whoever reads the answer.
///
/// # Errors
/// When it cannot be followed, is refused, or waits for a person while somebody waits for it.
pub async fn executions<P: Plane, B>(
    plane: &P,
    query: &Query,
    place: &str,
    agent: &str,
    body: B,
) -> Result<Reply, Fault>
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let inline: Inline = read(body).await?;
    let asked = inline.read()?;
    let (alone, runs) = (asked.run.alone, asked.run.runs);
    let mut done = plane.execute(asked.run).await?;
    done.runs = Some(runs);
    if !alone {
        finished(&done)?;
    }
    let identifier = query.identifier()?;
    let mut reply = Reply::json(resource(&done, identifier, alone, asked.most));
    let (id, version) = (&done.id, query.version.name());
    let place = format!(
        "{place}/{id}?api-version={version}&identifier={}&agent={}",
        escaped(identifier),
        escaped(agent)
    );
    reply.headers.push((OPERATION_LOCATION, place));
    reply.headers.push((OPERATION_ID, done.id));
    Ok(reply)
}

/// `GET executions/{id}`.
///
/// # Errors
/// When there is none of this name.
pub async fn execution<P: Plane>(plane: &P, query: &Query, id: String) -> Result<Reply, Fault> {
    let done = plane.execution(id).await?;
    Ok(Reply::json(resource(
        &done,
        query.identifier()?,
        true,
        None,
    )))
}

/// What came of an execution that was waited for.
fn finished(done: &Execution) -> Result<&Ended, Fault> {
    if let Some(ended) = &done.ended {
        return Ok(ended);
    }
    Err(done.fault.clone().unwrap_or_else(|| Fault {
        record: Some(done.id.clone()),
        ..Fault::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed",
            "the execution has no answer",
        )
    }))
}

/// What it wrote; why it was ended is the last thing that it seems to have written, since that is what clients show.
fn streams(done: &Execution, ended: &Ended, most: Option<usize>) -> (String, String) {
    let cut = |text: &str| match most {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    };
    let mut stderr = cut(&ended.stderr);
    if let Some(fault) = &done.fault {
        if !stderr.is_empty() && !stderr.ends_with('\n') {
            stderr.push('\n');
        }
        stderr.push_str(&fault.message);
        if let Some(record) = &fault.record {
            stderr.push_str(&format!(" ({record})"));
        }
        stderr.push('\n');
    }
    (cut(&ended.stdout), stderr)
}

fn resource(done: &Execution, identifier: &str, alone: bool, most: Option<usize>) -> Value {
    let result = done.ended.as_ref().map(|ended| {
        let (stdout, stderr) = streams(done, ended, most);
        json!({
            "stdout": stdout,
            "stderr": stderr,
            "executionResult": shown(&ended.results),
            "executionTimeInMilliseconds": ended.took_ms,
        })
    });
    // A pool of shells says with what the command exited.
    let status = match (done.runs, &done.ended) {
        (Some(Runs::Shell), Some(ended)) => ended.exit_code.to_string(),
        _ => done.state.as_str().to_owned(),
    };
    let mut resource = json!({
        "id": done.id,
        "identifier": identifier,
        "executionType": if alone { "Asynchronous" } else { "Synchronous" },
        "status": status,
    });
    let error = done.fault.as_ref().map(Fault::json);
    if let Some(members) = resource.as_object_mut() {
        members.extend(result.map(|result| ("result".to_owned(), result)));
        members.extend(error.map(|error| ("error".to_owned(), error)));
    }
    resource
}

/// A value in a query.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: Value) -> Result<Asked, Fault> {
        let inline: Inline = serde_json::from_value(body).unwrap();
        inline.read()
    }

    #[test]
    fn a_request_says_one_thing_to_run() {
        let run =
            asked(json!({"codeInputType": "inline", "executionType": "synchronous", "code": "1"}));
        let python = Run {
            runs: Runs::Python,
            code: "1".to_owned(),
            timeout_ms: None,
            alone: false,
        };
        assert_eq!(run.unwrap().run, python);
        let run =
            asked(json!({"codeInputType": "InlineBase64", "code": "MQ==", "timeoutInSeconds": 3}));
        assert_eq!(
            run.unwrap().run,
            Run {
                timeout_ms: Some(3_000),
                ..python
            }
        );
        let run = asked(json!({"shellCommand": "ls", "executionType": "Asynchronous"})).unwrap();
        assert_eq!((run.run.runs, run.run.alone), (Runs::Shell, true));
        for bad in [
            json!({}),
            json!({"code": "1", "shellCommand": "ls"}),
            json!({"code": "1", "timeoutInSeconds": 0}),
            json!({"code": "1", "timeoutInSeconds": -1}),
            json!({"code": "1", "timeoutInSeconds": 86_401}),
            json!({"code": "1", "codeInputType": "File"}),
            json!({"code": "1", "executionType": "later"}),
            json!({"code": "§", "codeInputType": "InlineBase64"}),
            json!({"code": "/w==", "codeInputType": "InlineBase64"}),
        ] {
            let refused = asked(bad.clone()).unwrap_err();
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{bad}");
        }
    }

    #[test]
    fn why_it_was_ended_is_seen_where_clients_look() {
        let done = Execution {
            id: "dec_1".to_owned(),
            runs: Some(Runs::Shell),
            state: State::Failed,
            ended: Some(Ended {
                stderr: "half".to_owned(),
                exit_code: 124,
                ..Ended::default()
            }),
            fault: Some(Fault {
                record: Some("dec_1".to_owned()),
                ..Fault::new(StatusCode::OK, "wall_clock_exceeded", "its time was over")
            }),
        };
        let shell = resource(&done, "abcd", false, Some(2));
        assert_eq!(shell["status"], "124");
        assert_eq!(shell["result"]["stderr"], "ha\nits time was over (dec_1)\n");
        assert_eq!(shell["error"]["error"]["code"], "WallClockExceeded");
        let python = Execution {
            runs: Some(Runs::Python),
            ..done
        };
        assert_eq!(resource(&python, "abcd", false, None)["status"], "Failed");
    }

    #[test]
    fn a_name_cannot_leave_its_place_in_an_address() {
        assert_eq!(escaped("a b&c=ü/"), "a%20b%26c%3D%C3%BC%2F");
    }
}
