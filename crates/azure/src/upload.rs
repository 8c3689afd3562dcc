//! Uploads: files in a form, passed on as they come.

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::Body;
use http_body_util::BodyDataStream;
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    Fault, Generation, Item, Piece, Plane, Query, Reply,
    files::{place, shown},
    limits::{MAX_FILE_BYTES, MAX_FILES, MAX_UPLOAD_FRAME_BYTES, PIECE_QUEUE},
};

/// `POST files/upload`, and `POST files`.
///
/// # Errors
/// When it is no form with a file in it, or a file cannot be written. Files that came before are there.
pub async fn upload<P: Plane, B>(
    plane: &P,
    query: &Query,
    headers: &HeaderMap,
    body: B,
) -> Result<Reply, Fault>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let kind = headers.get(header::CONTENT_TYPE);
    let boundary = kind.and_then(|kind| multer::parse_boundary(kind.to_str().ok()?).ok());
    let boundary = boundary.ok_or_else(|| {
        Fault::invalid("an upload is `multipart/form-data`, with a file called `file`")
    })?;
    let limits = SizeLimit::new().whole_stream(MAX_FILE_BYTES + MAX_UPLOAD_FRAME_BYTES);
    let constraints = Constraints::new().size_limit(limits);
    let mut form = Multipart::with_constraints(BodyDataStream::new(body), boundary, constraints);
    let mut written = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|error| broken(&error))? {
        let Some(name) = field.file_name().map(str::to_owned) else {
            continue;
        };
        if written.len() >= MAX_FILES {
            return Err(Fault::invalid(format!(
                "an upload has at most {MAX_FILES} files"
            )));
        }
        let path = place(query.path.as_deref(), &name)?;
        let bytes = write(plane, path.clone(), field).await?;
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let item = Item {
            name: name.to_owned(),
            is_directory: false,
            bytes,
            modified_ms: plane.now_ms(),
        };
        written.push(shown(query.version.generation, directory, &item));
    }
    let Some(last) = written.last() else {
        return Err(Fault::invalid("the form has no file"));
    };
    Ok(Reply::json(match query.version.generation {
        Generation::First => json!({ "$id": "1", "value": written }),
        Generation::Second => last.clone(),
    }))
}

async fn write<P: Plane>(plane: &P, path: String, mut field: Field<'_>) -> Result<u64, Fault> {
    let (sender, pieces) = mpsc::channel(PIECE_QUEUE);
    // If the sender goes away without an end, nothing of the file is kept.
    let pass_on = async move {
        while let Some(bytes) = field.chunk().await.map_err(|error| broken(&error))? {
            if sender.send(Piece::Bytes(bytes)).await.is_err() {
                // Refused meanwhile: the answer says why. Many clients hear none before they have sent everything.
                while field
                    .chunk()
                    .await
                    .map_err(|error| broken(&error))?
                    .is_some()
                {}
                return Ok(());
            }
        }
        drop(sender.send(Piece::End).await);
        Ok(())
    };
    let (passed, written) = tokio::join!(pass_on, plane.write(path, pieces));
    passed?;
    written
}

fn broken(error: &multer::Error) -> Fault {
    match error {
        multer::Error::StreamSizeExceeded { .. } | multer::Error::FieldSizeExceeded { .. } => {
            Fault::too_large(MAX_FILE_BYTES)
        }
        _ => Fault::invalid(format!("the form cannot be read: {error}")),
    }
}
