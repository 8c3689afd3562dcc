//! Writing answers.

use std::{io, io::Write as _};

use bytes::Bytes;
use futures_util::future::poll_immediate;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncWriteExt as _, WriteHalf},
    time::timeout,
};

use super::super::{reply::Body, stream::Io};
use crate::limits::IDLE_TIMEOUT;

/// From how many bytes on they are not collected any further.
const WRITE_BYTES: usize = 32 << 10;

/// How the end of a body is found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// There is no body.
    Nothing,
    Length(u64),
    Chunked,
}

/// Writes a head alone.
pub(super) async fn write_head(
    write: &mut WriteHalf<Io>,
    (status, fields): (StatusCode, HeaderMap),
) -> io::Result<()> {
    let mut bytes = Vec::new();
    head(&mut bytes, status, &fields)?;
    bytes.extend_from_slice(b"\r\n");
    send(write, &bytes).await
}

/// Writes an answer; whether it went out whole, so that another may follow.
pub(super) async fn write_response(
    write: &mut WriteHalf<Io>,
    response: Response<Body>,
    method: &Method,
    persists: bool,
) -> bool {
    let written = try_write(write, response, method, persists).await;
    let whole = written.is_ok();
    if !whole || !persists {
        // What was cut off must look cut off; what is whole is followed by a proper end.
        let _ = timeout(IDLE_TIMEOUT, write.shutdown()).await;
    }
    whole
}

async fn try_write(
    write: &mut WriteHalf<Io>,
    response: Response<Body>,
    method: &Method,
    persists: bool,
) -> io::Result<()> {
    let (mut parts, mut body) = response.into_parts();
    let bodiless = *method == Method::HEAD
        || matches!(
            parts.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let framing = match (bodiless, body.size_hint().exact()) {
        (true, _) => Framing::Nothing,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::Chunked,
    };
    if framing != Framing::Nothing {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    let mut bytes = Vec::with_capacity(1024);
    head(&mut bytes, parts.status, &parts.headers)?;
    match framing {
        Framing::Nothing => {}
        Framing::Length(length) => write!(bytes, "content-length: {length}\r\n")?,
        Framing::Chunked => bytes.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if !persists {
        bytes.extend_from_slice(b"connection: close\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    let mut left = match framing {
        Framing::Length(length) => length,
        Framing::Nothing | Framing::Chunked => 0,
    };
    let mut has_trailers = false;
    loop {
        // What is there already goes out together, and what is not is not waited for.
        let frame = match poll_immediate(body.frame()).await {
            Some(frame) => frame,
            None => {
                send(write, &bytes).await?;
                bytes.clear();
                body.frame().await
            }
        };
        match frame {
            None => break,
            Some(Err(error)) => {
                send(write, &bytes).await?;
                return Err(io::Error::other(error));
            }
            Some(Ok(frame)) => {
                let length = frame
                    .data_ref()
                    .map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
                if let Framing::Length(_) = framing {
                    left = left.checked_sub(length).ok_or(io::ErrorKind::InvalidData)?;
                }
                has_trailers |= encode(&mut bytes, framing, frame)?;
            }
        }
        if bytes.len() >= WRITE_BYTES {
            send(write, &bytes).await?;
            bytes.clear();
        }
    }
    if left > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if framing == Framing::Chunked && !has_trailers {
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
    send(write, &bytes).await
}

/// One more frame; whether it was the trailers, which end the body.
fn encode(bytes: &mut Vec<u8>, framing: Framing, frame: Frame<Bytes>) -> io::Result<bool> {
    match (framing, frame.into_data()) {
        (Framing::Nothing, _) => {}
        (Framing::Length(_), Ok(data)) => bytes.extend_from_slice(&data),
        (Framing::Chunked, Ok(data)) if !data.is_empty() => {
            write!(bytes, "{:x}\r\n", data.len())?;
            bytes.extend_from_slice(&data);
            bytes.extend_from_slice(b"\r\n");
        }
        (Framing::Chunked, Err(frame)) => {
            if let Ok(trailers) = frame.into_trailers() {
                bytes.extend_from_slice(b"0\r\n");
                fields(bytes, &trailers);
                bytes.extend_from_slice(b"\r\n");
                return Ok(true);
            }
        }
        (Framing::Chunked, Ok(_)) | (Framing::Length(_), Err(_)) => {}
    }
    Ok(false)
}

fn head(bytes: &mut Vec<u8>, status: StatusCode, all: &HeaderMap) -> io::Result<()> {
    let reason = status.canonical_reason().unwrap_or_default();
    write!(bytes, "HTTP/1.1 {} {reason}\r\n", status.as_u16())?;
    fields(bytes, all);
    Ok(())
}

fn fields(bytes: &mut Vec<u8>, all: &HeaderMap) {
    for (name, value) in all {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
}

/// Sends all of it, to a client that reads.
async fn send(write: &mut WriteHalf<Io>, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let written = async {
        write.write_all(bytes).await?;
        write.flush().await
    };
    timeout(IDLE_TIMEOUT, written)
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
}
