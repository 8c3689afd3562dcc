//! What a tool answers: text for the model, the same as data for its host, images as images.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rmcp::model::{CallToolResult, ContentBlock, MetaObject, ResultType};
use serde_json::{Map, Value, json};

use crate::{
    limits::{MAX_IMAGE_BYTES, MAX_IMAGES, MAX_SHOWN_BYTES},
    plane::{Done, Ended, File, Listed, Refusal, Written},
};

/// Where an answer that is somebody else's says what was decided.
const DECISION: &str = "casemate/decision";

/// The images that hosts show.
const IMAGES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// An answer of text, data and images.
fn answered(
    text: String,
    data: Map<String, Value>,
    images: Vec<ContentBlock>,
    failed: bool,
) -> CallToolResult {
    let mut content = vec![ContentBlock::text(text)];
    content.extend(images);
    let mut result = match failed {
        true => CallToolResult::error(content),
        false => CallToolResult::success(content),
    };
    result.structured_content = Some(Value::Object(data));
    result
}

/// Data of these members, without those that are nothing.
fn data(value: Value) -> Map<String, Value> {
    let Value::Object(mut data) = value else {
        return Map::new();
    };
    data.retain(|_, value| !value.is_null());
    data
}

/// Why something was not done, so that a model can act on it.
pub(crate) fn refused(refusal: &Refusal) -> CallToolResult {
    let mut text = format!("{}: {}", refusal.code, refusal.detail);
    if let Some(hint) = &refusal.hint {
        let _ = write!(text, "\nWhat can be done: {hint}");
    }
    if let Some(decision) = &refusal.decision {
        let _ = write!(text, "\nDecision: {decision}");
    }
    let status = match refusal.code.as_str() {
        "cancelled" => "cancelled",
        _ => "refused",
    };
    let data = data(json!({
        "status": status,
        "reason": refusal.code,
        "detail": refusal.detail,
        "hint": refusal.hint,
        "decision": refusal.decision,
    }));
    answered(text, data, Vec::new(), true)
}

/// How a call stands.
pub(crate) fn done(done: &Done) -> CallToolResult {
    match done {
        Done::Ended(call) => ended(call),
        Done::Held { decision } => pending(
            decision,
            "waiting_for_approval",
            "This call waits until a person has approved it. Nothing has run. It goes on by itself when it is approved: \
             do not send it again.",
        ),
        Done::Runs { decision } => pending(decision, "running", "This call has not ended."),
    }
}

/// How a call of a tool of a server stands: what the server answered, if it did.
pub(crate) fn of_server(done: &Done) -> CallToolResult {
    let Done::Ended(call) = done else {
        return self::done(done);
    };
    let said = match (&call.error, &call.stdout) {
        (None, Value::String(text)) => serde_json::from_str::<CallToolResult>(text).ok(),
        _ => None,
    };
    let Some(mut said) = said else {
        // What it wrote to its client is for nobody, and not lost.
        let mut result = ended(&Ended {
            stdout_bytes: 0,
            ..(**call).clone()
        });
        let why = call.error.iter().map(|error| ContentBlock::text(&**error));
        result.content.extend(why);
        result.is_error = Some(true);
        return result;
    };
    // What it says of the protocol itself is for whoever called it, which is us.
    said.result_type = Some(ResultType::COMPLETE);
    let mut meta = MetaObject::default();
    meta.insert(DECISION.to_owned(), Value::from(&*call.decision));
    said.meta = Some(meta);
    said
}

fn pending(decision: &str, status: &str, what: &str) -> CallToolResult {
    let text =
        format!("{what} Ask after it with the tool `call_result`, for the decision {decision}.");
    let data = data(json!({ "status": status, "decision": decision }));
    answered(text, data, Vec::new(), false)
}

fn ended(call: &Ended) -> CallToolResult {
    let (stdout, cut_out) = stream(&call.stdout);
    let (stderr, cut_err) = stream(&call.stderr);
    let shown = Shown::of(&call.results);
    // Whoever asks after a call that somebody else waited for finds nothing of what it wrote.
    let lost = (stdout.is_empty() && call.stdout_bytes > 0)
        || (stderr.is_empty() && call.stderr_bytes > 0);
    let truncated = call.output_truncated || lost || cut_out || cut_err || shown.cut;
    let status = call.status.as_deref().unwrap_or("unknown");
    let mut text = String::new();
    for (name, content) in [("", &stdout), ("[stderr]\n", &stderr), ("", &shown.text)] {
        if !content.is_empty() {
            let end = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            let _ = write!(text, "{end}{name}{content}");
        }
    }
    if truncated {
        text.push_str("\n[there was more output than this]");
    }
    if status != "succeeded" {
        let cause = call.cause.as_deref().unwrap_or("unknown");
        let _ = write!(text, "\n[{status}: {cause}");
        if let Some(code) = call.exit_code {
            let _ = write!(text, ", exit code {code}");
        }
        if let Some(signal) = call.signal {
            let _ = write!(text, ", signal {signal}");
        }
        let _ = write!(text, "; decision {}]", call.decision);
    }
    if text.is_empty() && shown.images.is_empty() {
        text.push_str("[no output]");
    }
    let data = data(json!({
        "status": status,
        "decision": call.decision,
        "cause": call.cause,
        "exit_code": call.exit_code,
        "signal": call.signal,
        "stdout": stdout,
        "stderr": stderr,
        "truncated": truncated,
        "results": shown.results,
        "session": call.session,
        "detail": call.error,
    }));
    answered(text, data, shown.images, status != "succeeded")
}

/// A stream as text, and whether it was cut. Bytes that are no text are replaced.
fn stream(value: &Value) -> (String, bool) {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(bytes) => {
            let bytes = bytes.get("base64").and_then(Value::as_str);
            let bytes = BASE64_STANDARD.decode(bytes.unwrap_or_default());
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        }
        _ => String::new(),
    };
    cut(text)
}

fn cut(mut text: String) -> (String, bool) {
    let long = text.len() > MAX_SHOWN_BYTES;
    text.truncate(text.floor_char_boundary(MAX_SHOWN_BYTES));
    (text, long)
}

/// What an interpreter shows.
#[derive(Default)]
struct Shown {
    text: String,
    results: Vec<Value>,
    images: Vec<ContentBlock>,
    cut: bool,
}

impl Shown {
    fn of(results: &[Value]) -> Self {
        let mut shown = Self::default();
        let mut room = MAX_SHOWN_BYTES;
        for result in results {
            let mut result = result.clone();
            if let Some(data) = result.get_mut("data").and_then(Value::as_object_mut) {
                shown.take(data);
            }
            let bytes = result.to_string().len();
            if bytes > room {
                shown.cut = true;
                continue;
            }
            room -= bytes;
            shown.results.push(result);
        }
        let (text, long) = cut(std::mem::take(&mut shown.text));
        shown.cut |= long;
        Self { text, ..shown }
    }

    /// Takes images out of a result, and notes its text.
    fn take(&mut self, data: &mut Map<String, Value>) {
        for kind in IMAGES {
            let Some(Value::String(image)) = data.remove(kind) else {
                continue;
            };
            // Notebooks break its lines.
            let image: String = image.split_ascii_whitespace().collect();
            if image.len() > MAX_IMAGE_BYTES || self.images.len() >= MAX_IMAGES {
                self.cut = true;
                continue;
            }
            self.images.push(ContentBlock::image(image, kind));
        }
        if let Some(text) = data.get("text/plain").and_then(Value::as_str)
            && self.text.len() <= MAX_SHOWN_BYTES
        {
            let end = if self.text.is_empty() { "" } else { "\n" };
            let _ = write!(self.text, "{end}{text}");
        }
    }
}

/// A session that was opened.
pub(crate) fn opened(session: &str) -> CallToolResult {
    let text = format!("The session {session} is open: give it as `session` to the other tools.");
    let data = data(json!({ "status": "succeeded", "session": session }));
    answered(text, data, Vec::new(), false)
}

/// A file that was read.
pub(crate) fn file(path: &str, file: &File) -> CallToolResult {
    let bytes = file.content.len();
    let image = image_kind(&file.content).map(|kind| {
        let text = BASE64_STANDARD.encode(&file.content);
        ContentBlock::image(text, kind)
    });
    let (content, encoding) = match (std::str::from_utf8(&file.content), &image) {
        (_, Some(_)) => (None, None),
        (Ok(text), None) => (Some(text.to_owned()), Some("utf-8")),
        (Err(_), None) => (Some(BASE64_STANDARD.encode(&file.content)), Some("base64")),
    };
    let text = match &content {
        Some(content) => content.clone(),
        None => format!("{path}: an image of {bytes} bytes"),
    };
    let data = data(json!({
        "status": "succeeded",
        "decision": file.decision,
        "path": path,
        "bytes": bytes,
        "content": content,
        "encoding": encoding,
    }));
    answered(text, data, image.into_iter().collect(), false)
}

/// What kind of image this is, by its first bytes.
fn image_kind(content: &[u8]) -> Option<&'static str> {
    match content {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        _ => None,
    }
}

/// A file that was written.
pub(crate) fn written(path: &str, written: &Written) -> CallToolResult {
    let text = format!("{path}: {} bytes written", written.bytes);
    let data = data(json!({
        "status": "succeeded",
        "decision": written.decision,
        "path": path,
        "bytes": written.bytes,
        "sha256": written.sha256,
    }));
    answered(text, data, Vec::new(), false)
}

/// A directory that was listed.
pub(crate) fn listed(path: &str, listed: &Listed) -> CallToolResult {
    let mut text = String::new();
    for entry in &listed.entries {
        let at = |key: &str| entry.get(key).cloned().unwrap_or_default();
        let (name, kind, bytes) = (at("name"), at("kind"), at("bytes"));
        let name = name
            .as_str()
            .map_or_else(|| name.to_string(), str::to_owned);
        let kind = kind.as_str().unwrap_or_default();
        let _ = writeln!(text, "{name}\t{kind}\t{bytes}");
    }
    let (mut text, _) = cut(text);
    if text.is_empty() {
        text.push_str("[nothing is there]");
    }
    let data = data(json!({
        "status": "succeeded",
        "decision": listed.decision,
        "path": path,
        "entries": listed.entries,
    }));
    answered(text, data, Vec::new(), false)
}

#[cfg(test)]
mod tests;
