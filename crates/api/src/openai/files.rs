//! Files of containers. The id of one is its path, so that every file has one, whoever made it.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use casemate_gateway::Done;
use casemate_model::{SessionId, Text};
use casemate_ports::{Chunk, Entry, EntryKind};
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    By,
    containers::{Container, find},
    list::Page,
    name::id_of,
    unknown,
};
use crate::{
    extract::{Asked, Named},
    files::download,
    limits::{
        ANSWER_QUEUE, MAX_MESSAGE_BYTES, MAX_OPENAI_DIRECTORIES, MAX_OPENAI_FILE_BYTES,
        MAX_OPENAI_FORM_BYTES, UPLOAD_PIECE_BYTES,
    },
    owner::named,
    problem::Problem,
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// How ids of files begin.
const FILE: &str = "cfile_";
/// Where files are, in their words: `/workspace`.
const ROOT: &str = "/mnt/data/";

/// The id of the file at a path.
fn file_id(path: &[u8]) -> String {
    format!("{FILE}{}", BASE64_URL_SAFE_NO_PAD.encode(path))
}

/// The path of a file, by its id.
fn path_of(id: &str) -> Result<Vec<u8>, Problem> {
    let inner = id.strip_prefix(FILE);
    let path = inner.and_then(|inner| BASE64_URL_SAFE_NO_PAD.decode(inner).ok());
    path.filter(|path| !path.is_empty() && !path.contains(&0))
        .ok_or_else(|| unknown("file", "file_not_found", id))
}

/// Where a file is to be, by the name with which it comes.
fn place(name: &str) -> Result<&str, Problem> {
    let inner = name.strip_prefix(ROOT).unwrap_or(name);
    match inner.is_empty() || inner.starts_with('/') {
        true => Err(Problem::invalid(format!(
            "a file is below {ROOT}, and has a name"
        ))),
        false => Ok(inner),
    }
}

/// A container in which something is done with files.
struct Files<K: Keeps, P: Remembers> {
    api: Arc<Api<K, P>>,
    who: Who,
    agent: String,
    session: SessionId,
}

/// One of them, which the path names.
pub(crate) struct OneFile<K: Keeps, P: Remembers> {
    files: Files<K, P>,
    id: String,
    path: Vec<u8>,
}

impl<K: Keeps, P: Remembers> FromRequestParts<Arc<Api<K, P>>> for OneFile<K, P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api<K, P>>) -> Result<Self, Problem> {
        let who = Who::from_request_parts(parts, api).await?;
        let Named((container, id)) =
            Named::<(String, String)>::from_request_parts(parts, api).await?;
        let Asked(By { agent, .. }) = Asked::from_request_parts(parts, api).await?;
        let files = Files::of(Arc::clone(api), who, agent, &container).await?;
        let path = path_of(&id)?;
        Ok(Self { files, id, path })
    }
}

impl<K: Keeps, P: Remembers> Files<K, P> {
    async fn of(
        api: Arc<Api<K, P>>,
        who: Who,
        agent: String,
        container: &str,
    ) -> Result<Self, Problem> {
        let Container {
            session, is_over, ..
        } = find(&api, &who, &agent, container).await?;
        if is_over {
            return Err(Problem::new(
                axum::http::StatusCode::NOT_FOUND,
                "container_expired",
                "the container is over, with everything in it: make a new one",
            ));
        }
        Ok(Self {
            api,
            who,
            agent,
            session,
        })
    }

    fn json(&self, path: &[u8], bytes: u64, modified_ms: u64) -> Value {
        json!({
            "id": file_id(path),
            "object": "container.file",
            "container_id": id_of(self.session),
            "created_at": modified_ms / 1_000,
            "bytes": bytes,
            "path": format!("{ROOT}{}", String::from_utf8_lossy(path)),
            "source": self.api.uploads.source(self.session, path),
        })
    }

    async fn directory(&self, path: Vec<u8>) -> Result<Vec<Entry>, Problem> {
        let (caller, session) = (self.who.caller(self.agent.clone()), self.session);
        let listed = self.api.with(move |sessions| async move {
            let path = Text::from(path);
            sessions.list_files(&caller, session, path).await
        });
        Ok(listed.await??.value)
    }

    /// Every file, with the oldest first.
    async fn all(&self) -> Result<Vec<Value>, Problem> {
        let (mut left, mut looked_into) = (vec![Vec::new()], 0);
        let mut found = Vec::new();
        while let Some(directory) = left.pop() {
            looked_into += 1;
            if looked_into > MAX_OPENAI_DIRECTORIES {
                return Err(Problem::invalid(format!(
                    "there are more than {MAX_OPENAI_DIRECTORIES} directories: they are too many for one list"
                )));
            }
            for entry in self.directory(directory.clone()).await? {
                let path = match directory.is_empty() {
                    true => entry.name.as_bytes().to_vec(),
                    false => [&directory, &b"/"[..], entry.name.as_bytes()].concat(),
                };
                match entry.kind {
                    EntryKind::Directory => left.push(path),
                    EntryKind::File => found.push((entry.modified_ms, path, entry.bytes)),
                    // Links and the like are not files that a client could get.
                    EntryKind::Link | EntryKind::Other => {}
                }
            }
        }
        found.sort();
        let json = |(modified_ms, path, bytes): &(u64, Vec<u8>, u64)| {
            self.json(path, *bytes, *modified_ms)
        };
        Ok(found.iter().map(json).collect())
    }

    async fn write(&self, path: &str, mut field: Field<'_>) -> Result<Response, Problem> {
        let (caller, session) = (self.who.caller(self.agent.clone()), self.session);
        let (sender, content) = mpsc::channel(ANSWER_QUEUE);
        let text = Text::from(path);
        let written = self.api.with(move |sessions| async move {
            sessions.write_file(&caller, session, text, content).await
        });
        // If the sender goes away without an end, nothing of the file is kept.
        let pass_on = async move {
            let (mut sender, mut bytes) = (Some(sender), 0_u64);
            while let Some(data) = field.chunk().await.map_err(|error| broken(&error))? {
                bytes = bytes.saturating_add(data.len() as u64);
                if bytes > MAX_OPENAI_FILE_BYTES {
                    return Err(too_large());
                }
                for piece in data.chunks(UPLOAD_PIECE_BYTES) {
                    let Some(to) = &sender else { break };
                    if to.send(Chunk::Bytes(piece.to_vec())).await.is_err() {
                        // Refused meanwhile: the answer says why, when everything was sent.
                        sender = None;
                    }
                }
            }
            if let Some(sender) = sender {
                drop(sender.send(Chunk::End).await);
            }
            Ok(())
        };
        let (passed, written) = tokio::join!(pass_on, written);
        passed?;
        let Done { decision, value } = written??;
        self.api.uploads.note(session, path.as_bytes());
        let now_ms = self.api.sessions.clock().now_ms();
        let body = Json(self.json(path.as_bytes(), value.bytes, now_ms));
        Ok(named(decision, body))
    }
}

fn too_large() -> Problem {
    Problem::too_large(usize::try_from(MAX_OPENAI_FILE_BYTES).unwrap_or(usize::MAX))
}

fn broken(error: &multer::Error) -> Problem {
    match error {
        multer::Error::StreamSizeExceeded { .. } | multer::Error::FieldSizeExceeded { .. } => {
            too_large()
        }
        _ => Problem::invalid(format!(
            "the form cannot be read, and nothing of it was kept: {error}"
        )),
    }
}

/// A file of OpenAI's, which is not here.
#[derive(Deserialize)]
struct OfFile {
    file_id: String,
}

fn no_stored_file(id: &str) -> Problem {
    unknown("stored file", "file_not_found", id)
}

/// `POST /openai/v1/containers/{id}/files`
pub(crate) async fn create<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(By { agent, .. }): Asked<By>,
    request: Request,
) -> Result<Response, Problem> {
    let files = Files::of(api, who, agent, &id).await?;
    let (head, body) = request.into_parts();
    let Some(mut form) = form(&head.headers, body).await? else {
        return Err(Problem::invalid(
            "a file comes as `file` of a form (`multipart/form-data`)",
        ));
    };
    while let Some(field) = form.next_field().await.map_err(|error| broken(&error))? {
        let (name, file) = (field.name(), field.file_name());
        match (name.map(str::to_owned).as_deref(), file.map(str::to_owned)) {
            (Some("file_id"), _) => {
                let id = field.text().await.map_err(|error| broken(&error))?;
                return Err(no_stored_file(&id));
            }
            (Some("file"), Some(name)) => return files.write(place(&name)?, field).await,
            _ => {}
        }
    }
    Err(Problem::invalid("the form has no `file` with a name"))
}

/// The form of a request, if it is one. One of JSON names a file that is not here.
async fn form(headers: &HeaderMap, body: Body) -> Result<Option<Multipart<'static>>, Problem> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/json") {
        let body = to_bytes(body, MAX_MESSAGE_BYTES).await;
        let body = body.map_err(|_| Problem::too_large(MAX_MESSAGE_BYTES))?;
        let named = serde_json::from_slice::<OfFile>(&body);
        return named.map_or(Ok(None), |named| Err(no_stored_file(&named.file_id)));
    }
    let Ok(boundary) = multer::parse_boundary(kind) else {
        return Ok(None);
    };
    let limits = SizeLimit::new().whole_stream(MAX_OPENAI_FILE_BYTES + MAX_OPENAI_FORM_BYTES);
    let constraints = Constraints::new().size_limit(limits.for_field("file_id", 4_096));
    let data = body.into_data_stream();
    Ok(Some(Multipart::with_constraints(
        data,
        boundary,
        constraints,
    )))
}

/// `GET /openai/v1/containers/{id}/files`
pub(crate) async fn list<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Named(id): Named<String>,
    Asked(By { agent, .. }): Asked<By>,
    Asked(page): Asked<Page>,
) -> Result<Response, Problem> {
    let files = Files::of(api, who, agent, &id).await?;
    let piece = page.of(files.all().await?)?;
    Ok(Json(piece).into_response())
}

/// `GET /openai/v1/containers/{id}/files/{file}`
pub(crate) async fn show<K: Keeps, P: Remembers>(
    OneFile { files, id, path }: OneFile<K, P>,
) -> Result<Response, Problem> {
    let mut parts = path.rsplitn(2, |byte| *byte == b'/');
    let (name, directory) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let entries = files.directory(directory.to_vec()).await?;
    let found = entries
        .iter()
        .find(|entry| entry.name.as_bytes() == name && entry.kind == EntryKind::File);
    let found = found.ok_or_else(|| unknown("file", "file_not_found", &id))?;
    Ok(Json(files.json(&path, found.bytes, found.modified_ms)).into_response())
}

/// `GET /openai/v1/containers/{id}/files/{file}/content`
pub(crate) async fn content<K: Keeps, P: Remembers>(
    OneFile { files, path, .. }: OneFile<K, P>,
) -> Result<Response, Problem> {
    let path = Text::from(path);
    let (caller, session) = (files.who.caller(files.agent), files.session);
    let read = files
        .api
        .with(move |sessions| async move { sessions.read_file(&caller, session, path).await });
    Ok(download(read.await??))
}

/// `DELETE /openai/v1/containers/{id}/files/{file}`
pub(crate) async fn remove<K: Keeps, P: Remembers>(
    OneFile { files, id, path }: OneFile<K, P>,
) -> Result<Response, Problem> {
    let (caller, session) = (files.who.caller(files.agent), files.session);
    let text = Text::from(path.clone());
    let removed = files
        .api
        .with(move |sessions| async move { sessions.remove_file(&caller, session, text).await });
    let done = removed.await??;
    files.api.uploads.forget(session, &path);
    let body = json!({ "id": id, "object": "container.file.deleted", "deleted": true });
    Ok(named(done.decision, Json(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_path_and_only_one_of_ours_is_one() {
        for path in [&b"a"[..], b"notes/a b.txt", b"\xff\n"] {
            assert_eq!(path_of(&file_id(path)).unwrap(), path);
        }
        for id in ["", "cfile_", "cfile_%", "file_YQ", "cfile_YQ==", "cfile_AA"] {
            assert!(path_of(id).is_err(), "{id}");
        }
    }

    #[test]
    fn a_file_is_below_the_root_of_its_container() {
        assert_eq!(place("a.txt").unwrap(), "a.txt");
        assert_eq!(place("/mnt/data/b/a.txt").unwrap(), "b/a.txt");
        for name in ["", "/mnt/data/", "/etc/passwd", "/mnt/data//a"] {
            assert!(place(name).is_err(), "{name}");
        }
    }
}
