//! `/files`: the content of files. In the workspace it goes the way of every file of a session; elsewhere a program of the sandbox
//! copies it.

use std::{io::Write as _, sync::Arc};

use axum::{
    Extension, Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use casemate_e2b::{Fault, filesystem::Written};
use casemate_gateway::{Done, Told};
use casemate_model::{Exit, Stream, Text};
use casemate_ports::{Chunk, Event};
use flate2::{
    Compression,
    write::{GzDecoder, GzEncoder},
};
use futures_util::{Stream as Incoming, StreamExt as _};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{
    Here,
    faults::Failure,
    filesystem::{checked, in_workspace, resolve, script},
    programs::{Finished, Program, Unended, begin, run, started},
    sandboxes::Sandbox,
};
use crate::{
    body::Pieces,
    extract::Asked,
    limits::{ANSWER_QUEUE, MAX_E2B_OUTSIDE_BYTES, MAX_IGNORED_BYTES, UPLOAD_PIECE_BYTES},
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// Compressed bytes that are taken at once: they can become a thousand times as many.
const COMPRESSED_PIECE_BYTES: usize = 1 << 10;

/// Tells the size of a file, and gives its content, if it may be copied.
const READ: &str = r#"there "$1" || exit 40; [ -d "$1" ] && exit 43
[ "$(stat -Lc %s -- "$1")" -le "$2" ] || exit 44; exec cat -- "$1""#;
/// Takes a file, which has its name when it is whole.
const WRITE: &str = r#"[ -d "$1" ] && exit 43; mkdir -p -- "$(dirname -- "$1")" || exit 1
part=$(mktemp -- "$1.XXXXXX") || exit 1
cat > "$part" && chmod 644 -- "$part" && mv -fT -- "$part" "$1" && exit 0
rm -f -- "$part"; exit 1"#;

type Answer = Result<Response, Failure>;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FileQuery {
    path: Option<String>,
    /// There is one user, whatever it is called.
    #[serde(rename = "username")]
    _username: Option<String>,
}

/// `GET /files`
pub(crate) async fn read<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
    Asked(query): Asked<FileQuery>,
    headers: HeaderMap,
) -> Answer {
    let path = resolve(query.path.as_deref().unwrap_or_default())?;
    let (content, bytes) = match in_workspace(&path) {
        Some("") => return Err(is_directory(&path)),
        Some(inner) => {
            let (caller, session) = (who.caller(sandbox.owner.agent.clone()), sandbox.session);
            let inner = Text::from(inner);
            let read = api.with(move |sessions| async move {
                sessions.read_file(&caller, session, inner).await
            });
            let read = read
                .await?
                .map_err(|error| of_file(Failure::from(error), &sandbox));
            let Done { value, .. } = read?;
            (value.1, value.0)
        }
        None => {
            let most = MAX_E2B_OUTSIDE_BYTES.to_string();
            let finished = run(&api, &who, &sandbox, script(READ, &[&path, &most])).await?;
            let content = checked(finished, &path)?;
            let bytes = content.len() as u64;
            let (sender, receiver) = mpsc::channel(1);
            drop(sender.try_send(content));
            (receiver, bytes)
        }
    };
    // Whoever takes other forms too is not asking for it.
    let compressed = headers
        .get(header::ACCEPT_ENCODING)
        .is_some_and(|coding| coding == "gzip");
    let mut response = Response::new(match compressed {
        true => Body::new(Pieces::endless(compress(content, bytes))),
        false => Body::new(Pieces::sized(content, bytes)),
    });
    let headers = response.headers_mut();
    match compressed {
        true => headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        false => headers.insert(header::CONTENT_LENGTH, bytes.into()),
    };
    // It is whatever a program in a sandbox made of it.
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    Ok(response)
}

fn compress(mut content: mpsc::Receiver<Vec<u8>>, bytes: u64) -> mpsc::Receiver<Vec<u8>> {
    let (to, compressed) = mpsc::channel(ANSWER_QUEUE);
    tokio::spawn(async move {
        let (mut encoder, mut read) = (GzEncoder::new(Vec::new(), Compression::fast()), 0);
        while let Some(piece) = content.recv().await {
            read += piece.len() as u64;
            if encoder.write_all(&piece).is_err() {
                return;
            }
            let ready = std::mem::take(encoder.get_mut());
            if !ready.is_empty() && to.send(ready).await.is_err() {
                return;
            }
        }
        // Without its end, the client finds it cut off.
        if read == bytes
            && let Ok(rest) = encoder.finish()
        {
            drop(to.send(rest).await);
        }
    });
    compressed
}

fn is_directory(path: &str) -> Failure {
    Fault::invalid(format!("path is a directory: {}", path.escape_debug())).into()
}

/// What is wrong with a file, with the status by which clients know it.
fn of_file(failure: Failure, sandbox: &Sandbox) -> Failure {
    let Failure(mut fault) = failure.about(&sandbox.id);
    if let Some("is_directory" | "not_directory" | "not_regular") = fault.slug.as_deref() {
        fault.status = axum::http::StatusCode::BAD_REQUEST;
    }
    Failure(fault)
}

/// `POST /files`
pub(crate) async fn write<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
    Asked(query): Asked<FileQuery>,
    request: Request,
) -> Answer {
    let (head, body) = request.into_parts();
    let header = |name| {
        head.headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let kind = header(header::CONTENT_TYPE).unwrap_or_default();
    let coding = header(header::CONTENT_ENCODING);
    if head
        .headers
        .keys()
        .any(|name| name.as_str().starts_with("x-metadata-"))
    {
        return Err(Fault::invalid("metadata of files is not kept in this server").into());
    }
    let upload = Upload {
        api: &api,
        who: &who,
        sandbox: &sandbox,
    };
    let mut written = Vec::new();
    match multer::parse_boundary(kind) {
        Ok(boundary) => {
            if coding.is_some() {
                return Err(
                    Fault::invalid("only `application/octet-stream` is taken compressed").into(),
                );
            }
            let mut parts = multer::Multipart::new(body.into_data_stream(), boundary);
            let broken =
                |error: multer::Error| Fault::invalid(format!("the form cannot be read: {error}"));
            while let Some(mut part) = parts.next_field().await.map_err(broken)? {
                if part.name() != Some("file") {
                    continue;
                }
                let path = query.path.clone().filter(|path| !path.is_empty());
                let path = path.or_else(|| part.file_name().map(str::to_owned));
                let path =
                    path.ok_or_else(|| Fault::invalid("a file has neither `path` nor a name"))?;
                let path = resolve(&path)?;
                let pieces = futures_util::stream::poll_fn(|context| part.poll_next_unpin(context));
                upload.put(&path, pieces, false).await?;
                written.push(Written::at(&path));
            }
            if written.is_empty() {
                return Err(Fault::invalid("the form has no `file`").into());
            }
        }
        Err(_) => {
            if !kind.starts_with("application/octet-stream") {
                return Err(Failure(Fault {
                    status: axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    ..Fault::invalid(
                        "files come as `multipart/form-data` or `application/octet-stream`",
                    )
                }));
            }
            let compressed = match coding {
                None | Some("identity") => false,
                Some("gzip") => true,
                Some(_) => {
                    return Err(Fault::invalid("`Content-Encoding` is `gzip` or nothing").into());
                }
            };
            let path = query.path.as_deref().filter(|path| !path.is_empty());
            let path = resolve(path.ok_or_else(|| Fault::invalid("`path` is missing"))?)?;
            upload
                .put(&path, body.into_data_stream(), compressed)
                .await?;
            written.push(Written::at(&path));
        }
    }
    Ok(Json(written).into_response())
}

/// Files on their way into a sandbox.
struct Upload<'a, K: Keeps, P: Remembers> {
    api: &'a Arc<Api<K, P>>,
    who: &'a Who,
    sandbox: &'a Sandbox,
}

impl<K: Keeps, P: Remembers> Upload<'_, K, P> {
    /// Writes a file: whole, or not at all.
    async fn put<E>(
        &self,
        path: &str,
        content: impl Incoming<Item = Result<Bytes, E>> + Unpin,
        compressed: bool,
    ) -> Result<(), Failure> {
        match in_workspace(path) {
            Some("") => Err(is_directory(path)),
            Some(inner) => self.put_inside(inner, content, compressed).await,
            None => self.put_outside(path, content, compressed).await,
        }
    }

    async fn put_inside<E>(
        &self,
        inner: &str,
        content: impl Incoming<Item = Result<Bytes, E>> + Unpin,
        compressed: bool,
    ) -> Result<(), Failure> {
        let caller = self.who.caller(self.sandbox.owner.agent.clone());
        let (session, inner) = (self.sandbox.session, Text::from(inner));
        let (sender, chunks) = mpsc::channel(ANSWER_QUEUE);
        let writing = self.api.with(move |sessions| async move {
            sessions.write_file(&caller, session, inner, chunks).await
        });
        let passing = async {
            let ended = pass_on(content, compressed, &To::File(&sender)).await;
            if ended.is_ok() {
                drop(sender.send(Chunk::End).await);
            }
            // Without an end, nothing of it is kept.
            drop(sender);
            ended
        };
        let (passed, written) = tokio::join!(passing, writing);
        let written = written?.map_err(|error| of_file(Failure::from(error), self.sandbox));
        passed?;
        written.map(drop)
    }

    async fn put_outside<E>(
        &self,
        path: &str,
        content: impl Incoming<Item = Result<Bytes, E>> + Unpin,
        compressed: bool,
    ) -> Result<(), Failure> {
        let program = Program {
            argv: script(WRITE, &[path]),
            has_stdin: true,
            ..Program::default()
        };
        let mut begun = begin(self.api, self.who, self.sandbox, program)?;
        // Whoever leaves here, or on the way, kills it.
        let unended = Unended::of(&begun);
        started(&begun, &self.sandbox.id).await?;
        let taken = pass_on(content, compressed, &To::Program(&begun.stdin)).await?;
        if taken > MAX_E2B_OUTSIDE_BYTES {
            return Err(too_large(path).into());
        }
        // The end of the input is the end of the file.
        unended.end();
        drop(begun.stdin);
        let mut stderr = Vec::new();
        while let Some(Event::Output(stream, bytes)) = begun.events.recv().await {
            if stream == Stream::Stderr && stderr.len() < 4_096 {
                stderr.extend(bytes);
            }
        }
        let told = begun.call.ended().await;
        let Told::Released(released) = &*told else {
            return Err(Failure::of_call(&told).about(&self.sandbox.id));
        };
        let code = match released.outcome().exit {
            Some(Exit::Code(code)) => code,
            _ => 1,
        };
        let finished = Finished {
            code,
            stdout: Vec::new(),
            stderr,
        };
        checked(finished, path).map(drop)
    }
}

fn too_large(path: &str) -> Fault {
    let message = format!(
        "at most {MAX_E2B_OUTSIDE_BYTES} bytes can be written outside of the workspace: {}",
        path.escape_debug()
    );
    Fault::rest(axum::http::StatusCode::PAYLOAD_TOO_LARGE, message)
}

/// Where an upload goes.
enum To<'a> {
    File(&'a mpsc::Sender<Chunk>),
    Program(&'a mpsc::Sender<Vec<u8>>),
}

impl To<'_> {
    /// Passes on all of it. Says whether it was taken.
    async fn put(&self, bytes: &[u8]) -> bool {
        for piece in bytes.chunks(UPLOAD_PIECE_BYTES) {
            let taken = match self {
                Self::File(to) => to.send(Chunk::Bytes(piece.to_vec())).await.is_ok(),
                Self::Program(to) => to.send(piece.to_vec()).await.is_ok(),
            };
            if !taken {
                return false;
            }
        }
        true
    }

    /// How much is too much to go there.
    const fn most(&self) -> u64 {
        match self {
            // The keeper knows.
            Self::File(_) => u64::MAX,
            Self::Program(_) => MAX_E2B_OUTSIDE_BYTES,
        }
    }
}

/// Passes an upload on, piece by piece, until nobody takes it any more; the rest is read, as many clients hear nothing before they
/// have sent everything. Says how much there was of it.
async fn pass_on<E>(
    mut content: impl Incoming<Item = Result<Bytes, E>> + Unpin,
    compressed: bool,
    to: &To<'_>,
) -> Result<u64, Failure> {
    let cut_off = || {
        Failure::from(Fault::invalid(
            "the upload was cut off; nothing of it was kept",
        ))
    };
    let mut decoder = compressed.then(|| GzDecoder::new(Vec::new()));
    let (mut taken, mut wanted, mut ignored) = (0_u64, true, 0);
    while let Some(data) = content.next().await {
        let data = data.map_err(|_| cut_off())?;
        if !wanted {
            ignored += data.len();
            if ignored > MAX_IGNORED_BYTES {
                return Ok(taken);
            }
            continue;
        }
        let size = if compressed {
            COMPRESSED_PIECE_BYTES
        } else {
            UPLOAD_PIECE_BYTES
        };
        for piece in data.chunks(size) {
            let plain = match &mut decoder {
                None => piece.to_vec(),
                Some(decoder) => {
                    let written = decoder.write_all(piece);
                    written.map_err(|_| Fault::invalid("the upload is not gzip"))?;
                    std::mem::take(decoder.get_mut())
                }
            };
            taken = taken.saturating_add(plain.len() as u64);
            wanted = wanted && taken <= to.most() && to.put(&plain).await;
        }
    }
    if let Some(decoder) = decoder.filter(|_| wanted) {
        let plain = decoder.finish().map_err(|_| cut_off())?;
        taken = taken.saturating_add(plain.len() as u64);
        to.put(&plain).await;
    }
    Ok(taken)
}
