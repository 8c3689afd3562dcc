//! Files of a session: where they are, and how both generations speak of them.

use serde_json::{Value, json};

use crate::{
    Fault, Generation, Item, Plane, Query, Reply, limits::MAX_LISTED_DIRECTORIES, plane::time,
};

/// Where files are, for programs and clients alike.
const ROOT: &str = "/mnt/data";

/// Where a file is, below the root, as a query and a name say it together.
pub(crate) fn place(directory: Option<&str>, name: &str) -> Result<String, Fault> {
    let below = |path: &str| -> Result<String, Fault> {
        let inner = match path.strip_prefix(ROOT) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
            Some(_) => path,
            None => path,
        };
        let is_elsewhere = path.starts_with('/') && inner.len() == path.len() && path != "/";
        match is_elsewhere {
            true => Err(Fault::invalid(format!("files are below {ROOT}"))),
            false => Ok(inner.trim_matches('/').to_owned()),
        }
    };
    let (directory, name) = (below(directory.unwrap_or_default())?, below(name)?);
    Ok(match (directory.is_empty(), name.is_empty()) {
        (true, _) => name,
        (_, true) => directory,
        _ => format!("{directory}/{name}"),
    })
}

/// The directory of a path and its last part.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// A file in a list or after an upload.
pub(crate) fn shown(generation: Generation, directory: &str, item: &Item) -> Value {
    let name = match directory {
        "" => item.name.clone(),
        directory => format!("{directory}/{}", item.name),
    };
    match generation {
        Generation::First => json!({ "$id": "2", "properties": {
            "$id": "3",
            "filename": name,
            "size": item.bytes,
            "lastModifiedTime": time(item.modified_ms),
        }}),
        Generation::Second => json!({
            "name": item.name,
            "type": if item.is_directory { "directory" } else { "file" },
            "contentType": (!item.is_directory).then_some("application/octet-stream"),
            "sizeInBytes": (!item.is_directory).then_some(item.bytes),
            "lastModifiedAt": time(item.modified_ms),
            "directory": match directory {
                "" => ROOT.to_owned(),
                directory => format!("{ROOT}/{directory}"),
            },
        }),
    }
}

/// `GET files`.
///
/// # Errors
/// When the directory cannot be listed, or there are too many of them.
pub async fn list<P: Plane>(plane: &P, query: &Query) -> Result<Reply, Fault> {
    let generation = query.version.generation;
    let top = place(query.path.as_deref(), "")?;
    let mut left = vec![top];
    let mut looked_into = 0;
    let mut value = Vec::new();
    while let Some(directory) = left.pop() {
        looked_into += 1;
        if looked_into > MAX_LISTED_DIRECTORIES {
            let most = MAX_LISTED_DIRECTORIES;
            return Err(Fault::invalid(format!(
                "there are more than {most} directories: list one of them"
            )));
        }
        for item in plane.list(directory.clone()).await? {
            if item.is_directory && query.recursive.0 {
                left.push(place(Some(&directory), &item.name)?);
            }
            // The first generation has no directories.
            if generation == Generation::Second || !item.is_directory {
                value.push(shown(generation, &directory, &item));
            }
        }
    }
    Ok(Reply::json(match generation {
        Generation::First => json!({ "$id": "1", "value": value }),
        Generation::Second => json!({ "value": value, "nextLink": null }),
    }))
}

/// `GET files/{name}`: what is known of a file.
///
/// # Errors
/// When there is no such file.
pub async fn file<P: Plane>(plane: &P, query: &Query, name: &str) -> Result<Reply, Fault> {
    let path = place(query.path.as_deref(), name)?;
    let (directory, last) = split(&path);
    let items = plane.list(directory.to_owned()).await?;
    let found = items.iter().find(|item| item.name == last);
    let missing = || {
        let message = format!("there is no file `{last}`");
        Fault::new(http::StatusCode::NOT_FOUND, "file_not_found", message)
    };
    let found = found.ok_or_else(missing)?;
    Ok(Reply::json(shown(
        query.version.generation,
        directory,
        found,
    )))
}

/// `GET files/{name}/content`, and `GET files/content/{name}`.
///
/// # Errors
/// When it cannot be read.
pub async fn content<P: Plane>(plane: &P, query: &Query, name: &str) -> Result<P::Content, Fault> {
    plane.read(place(query.path.as_deref(), name)?).await
}

/// `DELETE files/{name}`.
///
/// # Errors
/// When it cannot be removed.
pub async fn delete<P: Plane>(plane: &P, query: &Query, name: &str) -> Result<Reply, Fault> {
    plane.remove(place(query.path.as_deref(), name)?).await?;
    Ok(Reply::done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_below_the_root_however_it_is_named() {
        for (directory, name, path) in [
            (None, "x", "x"),
            (None, "/mnt/data/x", "x"),
            (None, "/mnt/data/a/x", "a/x"),
            (None, "a/x", "a/x"),
            (Some("/mnt/data"), "x", "x"),
            (Some("/mnt/data/"), "x", "x"),
            (Some("/"), "x", "x"),
            (Some("a"), "x", "a/x"),
            (Some("/mnt/data/a"), "", "a"),
            (None, "", ""),
            // What leads out is for the session to refuse, by its own name.
            (None, "../x", "../x"),
        ] {
            assert_eq!(
                place(directory, name).unwrap(),
                path,
                "{directory:?} {name}"
            );
        }
        for elsewhere in ["/etc/passwd", "/mnt/database", "/mnt", "/mnt/dat"] {
            assert!(place(None, elsewhere).is_err(), "{elsewhere}");
            assert!(place(Some(elsewhere), "x").is_err(), "{elsewhere}");
        }
    }
}
