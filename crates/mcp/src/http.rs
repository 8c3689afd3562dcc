//! A message over HTTP.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header, request::Parts};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use serde_json::Value;

use crate::{
    handler::Handler,
    limits::{KEEP_ALIVE_MS, MAX_MESSAGE_BYTES},
    message::{Fault, INVALID_REQUEST, Kind, Message},
    plane::Plane,
};

/// The body of an answer.
pub type Body = BoxBody<Bytes, Infallible>;

/// The names by which a browser knows its own machine.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Whether a page of another host makes the browser of somebody send this request (DNS rebinding). A request that says no origin is
/// not a page's.
#[must_use]
pub fn is_foreign_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return false;
    };
    let local = |origin: &HeaderValue| {
        let uri: Uri = origin.to_str().ok()?.parse().ok()?;
        let host = uri.authority()?.host().to_ascii_lowercase();
        let scheme = uri.scheme_str()?;
        let known = LOOPBACK.contains(&host.as_str()) && matches!(scheme, "http" | "https");
        known.then_some(())
    };
    local(origin).is_none() || origins.next().is_some()
}

/// A fault, as HTTP has it.
#[must_use]
pub fn fault(fault: &Fault) -> Response<Body> {
    json(fault.status, &fault.json())
}

fn json(status: http::StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(value.to_string().into()).boxed());
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Answers a message. Calls of tools are answered as events, so that there may be progress and a client that went away is noticed; the rest
/// as JSON. Nothing is kept from one message to the next.
pub async fn answer<P: Plane>(plane: P, head: Parts, message: Message) -> Response<Body> {
    let plane = Arc::new(plane);
    // Where a request comes from has been looked at, and who sends it.
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_legacy_session_mode(false)
        .with_json_response(message.kind != Kind::Call)
        .with_sse_retry(None)
        .with_sse_keep_alive(Some(Duration::from_millis(KEEP_ALIVE_MS)))
        .with_max_request_body_bytes(MAX_MESSAGE_BYTES);
    let service = StreamableHttpService::new(
        move || Ok(Handler::new(Arc::clone(&plane))),
        Arc::new(NeverSessionManager::default()),
        config,
    );
    let request = Request::from_parts(head, Full::new(message.text));
    let response = service.handle(request).await;
    in_json(response, message.id).await
}

/// What `rmcp` says in plain text, in the form that clients read.
async fn in_json(response: Response<Body>, id: Option<Value>) -> Response<Body> {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !(status.is_client_error() || status.is_server_error()) || is_json {
        return response;
    }
    let Ok(body) = response.into_body().collect().await;
    let message = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    fault(&Fault {
        id: id.unwrap_or(Value::Null),
        ..Fault::new(status, INVALID_REQUEST, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_host_is_foreign() {
        for (origins, foreign) in [
            (&[][..], false),
            (&["http://localhost:3000"], false),
            (&["http://127.0.0.1"], false),
            (&["https://[::1]:8443"], false),
            (&["https://evil.example"], true),
            (&["http://localhost.evil.example"], true),
            (&["http://evil.example:80@localhost.evil.example"], true),
            (&["null"], true),
            (&[""], true),
            (&["file://localhost"], true),
            (&["http://localhost", "http://evil.example"], true),
        ] {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(is_foreign_origin(&headers), foreign, "{origins:?}");
        }
    }
}
