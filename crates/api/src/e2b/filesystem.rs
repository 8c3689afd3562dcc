//! `filesystem.Filesystem`: what is done with files beside their content. Each is a small program of the sandbox, with the rights
//! of its programs, so that every place that they reach is there.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use casemate_e2b::{
    Code, Fault,
    control::time,
    filesystem::{EntryInfo, FileType, ListDir, Move, OfPath},
    limits::MAX_PATH_BYTES,
};
use casemate_model::Text;
use serde_json::json;

use super::{
    Here,
    faults::Failure,
    programs::{Finished, HOME, run},
    rpc,
    sandboxes::Sandbox,
};
use crate::{
    routes::{Keeps, Remembers},
    state::Api,
    who::Who,
};

/// What `find` says of a file, each followed by a NUL.
const FORMAT: &str = r"%p\0%y\0%Y\0%s\0%m\0%M\0%u\0%g\0%T@\0%l\0";
const FIELDS: usize = 10;

/// How the programs say what is wrong.
const MISSING: u8 = 40;
const EXISTS: u8 = 41;
const NOT_DIRECTORY: u8 = 42;
pub(super) const IS_DIRECTORY: u8 = 43;
pub(super) const TOO_LARGE: u8 = 44;

/// Whatever the scripts begin with. A link that is the directory of a session is the directory.
const PRELUDE: &str = r#"
there() { [ -e "$1" ] || [ -L "$1" ]; }
stat_of() { case "$1" in /home/user|/mnt/data) set -- -H "$1";; *) set -- -P "$1";; esac
  exec find "$1" "$2" -maxdepth 0 -printf "$FORMAT"; }
"#;

const STAT: &str = r#"there "$1" || exit 40; stat_of "$1""#;
const LIST: &str = r#"there "$1" || exit 40; [ -d "$1" ] || exit 42
exec find -H "$1" -mindepth 1 -maxdepth "$2" -printf "$FORMAT""#;
const MAKE: &str = r#"[ -d "$1" ] && exit 41; there "$1" && exit 42
mkdir -p -- "$1" || exit 1; stat_of "$1""#;
const MOVE: &str = r#"there "$1" || exit 40; mkdir -p -- "$(dirname -- "$2")" || exit 1
mv -fT -- "$1" "$2" || exit 1; stat_of "$2""#;
const REMOVE: &str = r#"exec rm -rf -- "$1""#;
const DIRECTORY: &str = r#"there "$1" || exit 40; [ -d "$1" ] || exit 42"#;

type Answer = Result<Response, Failure>;

/// The path of a client, whole: from its home, and without `.`, `..` and what is there twice.
pub(super) fn resolve(path: &str) -> Result<String, Fault> {
    if path.len() > MAX_PATH_BYTES || path.contains('\0') {
        return Err(Fault::invalid(format!(
            "a path has at most {MAX_PATH_BYTES} bytes, and no NUL"
        )));
    }
    let whole = match path {
        "" | "~" => HOME.to_owned(),
        _ => match path.strip_prefix("~/") {
            Some(rest) => format!("{HOME}/{rest}"),
            None if path.starts_with('/') => path.to_owned(),
            None => format!("{HOME}/{path}"),
        },
    };
    let mut parts = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Where a path is in the workspace, if it is there.
pub(super) fn in_workspace(path: &str) -> Option<&str> {
    ["/home/user", "/workspace", "/mnt/data"]
        .iter()
        .find_map(|root| {
            let rest = path.strip_prefix(root)?;
            match rest.strip_prefix('/') {
                Some(inner) => Some(inner),
                None => rest.is_empty().then_some(""),
            }
        })
}

/// A shell script with its arguments.
pub(super) fn script(script: &str, arguments: &[&str]) -> Vec<Text> {
    let script = format!("FORMAT='{FORMAT}'{PRELUDE}{script}");
    let words = ["sh", "-c", &script, "sh"];
    words
        .iter()
        .chain(arguments)
        .map(|word| Text::from(*word))
        .collect()
}

/// What a script says is wrong, if something is.
pub(super) fn checked(finished: Finished, path: &str) -> Result<Vec<u8>, Failure> {
    let shown = path.escape_debug();
    let fault = match finished.code {
        0 => return Ok(finished.stdout),
        MISSING => Fault::new(Code::NotFound, format!("path not found: {shown}")),
        EXISTS => Fault::new(
            Code::AlreadyExists,
            format!("directory already exists: {shown}"),
        ),
        NOT_DIRECTORY => Fault::invalid(format!("path is not a directory: {shown}")),
        IS_DIRECTORY => Fault::invalid(format!("path is a directory: {shown}")),
        TOO_LARGE => Fault::new(
            Code::ResourceExhausted,
            format!("too large to be copied from outside of the workspace: {shown}"),
        ),
        _ => {
            let why = String::from_utf8_lossy(&finished.stderr);
            let why: String = why.trim().chars().take(500).collect();
            let has = |text: &str| why.contains(text);
            let code = if has("Permission denied")
                || has("Operation not permitted")
                || has("Read-only file system")
            {
                Code::PermissionDenied
            } else if has("No space left") {
                Code::ResourceExhausted
            } else if has("No such file") {
                Code::NotFound
            } else if has("Not a directory")
                || has("Is a directory")
                || has("not empty")
                || has("subdirectory of itself")
            {
                Code::InvalidArgument
            } else {
                Code::FailedPrecondition
            };
            let mut fault = Fault::new(code, format!("{shown}: {why}"));
            if code == Code::ResourceExhausted {
                fault.status = axum::http::StatusCode::INSUFFICIENT_STORAGE;
            }
            fault
        }
    };
    Err(fault.into())
}

/// Whether there is a directory at this path.
pub(super) async fn directory<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    sandbox: &Sandbox,
    path: &str,
) -> Result<(), Failure> {
    // Every sandbox has these.
    if [HOME, "/workspace", "/mnt/data", "/tmp", "/"].contains(&path) {
        return Ok(());
    }
    let finished = run(api, who, sandbox, script(DIRECTORY, &[path])).await?;
    match finished.code {
        0 => Ok(()),
        _ => Err(Fault::invalid(format!("cwd `{}` does not exist", path.escape_debug())).into()),
    }
}

/// What `find` said.
fn entries(said: &[u8]) -> Vec<EntryInfo> {
    let fields: Vec<_> = said
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    fields
        .chunks_exact(FIELDS)
        .filter_map(|fields| entry(fields))
        .collect()
}

fn entry(fields: &[std::borrow::Cow<'_, str>]) -> Option<EntryInfo> {
    let [
        path,
        kind,
        target_kind,
        size,
        mode,
        permissions,
        owner,
        group,
        modified,
        target,
    ] = fields
    else {
        return None;
    };
    let is_symlink = kind == "l";
    let r#type = match target_kind.as_ref() {
        "f" => FileType::File,
        "d" => FileType::Directory,
        _ if is_symlink => FileType::Symlink,
        _ => FileType::Other,
    };
    let modified_ms = modified.split_once('.').map_or(0, |(seconds, fraction)| {
        let seconds: u64 = seconds.parse().unwrap_or(0);
        let ms: u64 = fraction
            .get(..3)
            .and_then(|ms| ms.parse().ok())
            .unwrap_or(0);
        seconds.saturating_mul(1_000).saturating_add(ms)
    });
    Some(EntryInfo {
        name: match path.rsplit('/').next() {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => path.to_string(),
        },
        r#type,
        path: path.to_string(),
        size: size.to_string(),
        mode: u32::from_str_radix(mode, 8).unwrap_or(0),
        permissions: permissions.to_string(),
        owner: owner.to_string(),
        group: group.to_string(),
        modified_time: time(modified_ms),
        symlink_target: is_symlink.then(|| target.to_string()),
        is_symlink,
        metadata: std::collections::BTreeMap::new(),
    })
}

fn one(said: &[u8], path: &str) -> Answer {
    let entry = entries(said).into_iter().next();
    let missing = || {
        Fault::new(
            Code::NotFound,
            format!("path not found: {}", path.escape_debug()),
        )
    };
    Ok(rpc::answer(&json!({ "entry": entry.ok_or_else(missing)? })))
}

/// Runs a script about one path. Says which it is, and what was said.
async fn about<K: Keeps, P: Remembers>(
    api: &Arc<Api<K, P>>,
    who: &Who,
    sandbox: &Sandbox,
    request: Request,
    text: &str,
) -> Result<(String, Vec<u8>), Failure> {
    let path = resolve(&rpc::unary::<OfPath>(request).await?.path)?;
    let finished = run(api, who, sandbox, script(text, &[&path])).await?;
    let said = checked(finished, &path)?;
    Ok((path, said))
}

/// `Stat`
pub(crate) async fn stat<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let (path, said) = about(&api, &who, &sandbox, request, STAT).await?;
    one(&said, &path)
}

/// `MakeDir`
pub(crate) async fn make_dir<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let (path, said) = about(&api, &who, &sandbox, request, MAKE).await?;
    one(&said, &path)
}

/// `Move`
pub(crate) async fn rename<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let Move {
        source,
        destination,
    } = rpc::unary(request).await?;
    let (source, destination) = (resolve(&source)?, resolve(&destination)?);
    let finished = run(&api, &who, &sandbox, script(MOVE, &[&source, &destination])).await?;
    one(&checked(finished, &source)?, &destination)
}

/// `ListDir`
pub(crate) async fn list_dir<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    let ListDir { path, depth } = rpc::unary(request).await?;
    let (path, depth) = (resolve(&path)?, depth.max(1).to_string());
    let finished = run(&api, &who, &sandbox, script(LIST, &[&path, &depth])).await?;
    let mut entries = entries(&checked(finished, &path)?);
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(rpc::answer(&json!({ "entries": entries })))
}

/// `Remove`
pub(crate) async fn remove<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    who: Who,
    Extension(Here(sandbox)): Extension<Here>,
    request: Request,
) -> Answer {
    about(&api, &who, &sandbox, request, REMOVE).await?;
    Ok(rpc::answer(&json!({})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_whole_and_says_where_it_is() {
        for (path, whole, inner) in [
            ("a/b", "/home/user/a/b", Some("a/b")),
            ("", "/home/user", Some("")),
            ("~/x", "/home/user/x", Some("x")),
            ("/mnt/data/./x//y/", "/mnt/data/x/y", Some("x/y")),
            ("/home/user/../../etc/passwd", "/etc/passwd", None),
            ("../../../..", "/", None),
            ("/home/username", "/home/username", None),
            ("/tmp/x", "/tmp/x", None),
        ] {
            let resolved = resolve(path).unwrap();
            assert_eq!(resolved, whole, "{path}");
            assert_eq!(in_workspace(&resolved), inner, "{path}");
        }
        assert!(resolve("a\0b").is_err());
        assert!(resolve(&"a".repeat(5_000)).is_err());
    }

    #[test]
    fn what_find_says_is_read() {
        let fields = [
            [
                "/home/user/a",
                "f",
                "f",
                "5",
                "644",
                "-rw-r--r--",
                "user",
                "user",
                "1795838400.1230000000",
                "",
            ],
            [
                "/l",
                "l",
                "N",
                "3",
                "777",
                "lrwxrwxrwx",
                "user",
                "user",
                "1.5",
                "/nowhere",
            ],
        ];
        let said: String = fields
            .iter()
            .flatten()
            .flat_map(|field| [*field, "\0"])
            .collect();
        let found = entries(said.as_bytes());
        assert_eq!(found.len(), 2);
        assert_eq!(
            (
                found[0].name.as_str(),
                found[0].size.as_str(),
                found[0].mode
            ),
            ("a", "5", 0o644)
        );
        assert_eq!(found[0].modified_time, "2026-11-28T04:00:00.123Z");
        assert_eq!(found[1].r#type, FileType::Symlink);
        assert_eq!(found[1].symlink_target.as_deref(), Some("/nowhere"));
    }
}
