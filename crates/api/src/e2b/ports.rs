//! The other ports of a sandbox: what is sent to one is passed on to the program that listens there.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use casemate_e2b::{Code, Fault};
use casemate_gateway::{Done, SessionError};
use casemate_model::Reason;
use casemate_ports::Connection;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, copy_bidirectional, duplex, split},
    time::{Duration, timeout},
};

use super::{SANDBOX_HEADERS, TOKENS, faults::Failure, sandboxes::Sandbox};
use crate::{
    credential::PRESENTED,
    limits::{E2B_PORT_ANSWER_MS, UPLOAD_PIECE_BYTES},
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// What is between two neighbours only.
const BETWEEN: [HeaderName; 4] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::PROXY_AUTHORIZATION,
];

/// Passes a request on to a port, and its answer back.
pub(super) async fn pass_on<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    sandbox: &Sandbox,
    port: u16,
    mut request: Request,
) -> Result<Response, Failure> {
    let (caller, session) = (who.caller(sandbox.owner.agent.clone()), sandbox.session);
    let connected =
        api.with(move |sessions| async move { sessions.connect(&caller, session, port).await });
    let Done { value, .. } = match connected.await? {
        Ok(done) => done,
        Err(error @ SessionError::Keeper(_)) if error.reason() == Reason::InvalidCall => {
            return Err(Fault::port_closed(&sandbox.id, port).into());
        }
        Err(error) => return Err(Failure::from(error).about(&sandbox.id)),
    };
    let broken = |_| {
        Fault::rest(
            StatusCode::BAD_GATEWAY,
            "the program at the port does not speak HTTP",
        )
    };
    let (mut to, connection) = http1::handshake(TokioIo::new(tunnel(value)))
        .await
        .map_err(broken)?;
    tokio::spawn(connection.with_upgrades());
    let upgrade = request.headers().get(header::UPGRADE).cloned();
    let headers = request.headers_mut();
    // What proves who asks is for us, and not for programs in a sandbox.
    for name in SANDBOX_HEADERS.iter().chain(TOKENS) {
        headers.remove(*name);
    }
    for name in PRESENTED.iter().map(|(name, _)| name).chain(&BETWEEN) {
        headers.remove(name);
    }
    if upgrade.is_some() {
        headers.insert(
            header::CONNECTION,
            header::HeaderValue::from_static("upgrade"),
        );
    }
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let path = path
        .parse()
        .map_err(|_| Fault::new(Code::InvalidArgument, "the path cannot be passed on"))?;
    *request.uri_mut() = path;
    let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let mut response = in_time(to.send_request(request)).await?.map_err(broken)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client) = client
    {
        let program = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            if let (Ok(client), Ok(program)) = tokio::join!(client, program) {
                let (mut client, mut program) = (TokioIo::new(client), TokioIo::new(program));
                // Whoever ends it, it has ended.
                drop(copy_bidirectional(&mut client, &mut program).await);
            }
        });
    } else {
        response.headers_mut().remove(header::CONNECTION);
    }
    Ok(response.map(Body::new).into_response())
}

/// What a program answers, if it does in time.
async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, Fault> {
    let answer = timeout(Duration::from_millis(E2B_PORT_ANSWER_MS), answer).await;
    answer.map_err(|_| {
        let message = "the program at the port does not answer";
        Fault::rest(StatusCode::GATEWAY_TIMEOUT, message)
    })
}

/// A connection, as a stream of bytes.
fn tunnel(connection: Connection) -> DuplexStream {
    let (ours, theirs) = duplex(UPLOAD_PIECE_BYTES);
    let Connection { to, mut from } = connection;
    let (mut reader, mut writer) = split(theirs);
    tokio::spawn(async move {
        let mut buffer = vec![0; UPLOAD_PIECE_BYTES];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            let piece = buffer.get(..count).unwrap_or_default().to_vec();
            if to.send(piece).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(bytes) = from.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
        drop(writer.shutdown().await);
    });
    ours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_program_that_does_not_answer_is_given_up() {
        assert!(matches!(in_time(async { 1 }).await, Ok(1)));
        let refused = in_time(std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::GATEWAY_TIMEOUT);
    }
}
