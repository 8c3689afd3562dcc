//! `casemate policy list`.

use casemate_model::one_line;
use serde_json::json;

use super::bundle::store;
use crate::{
    audit::time,
    exit::Exit,
    report::{self, Failure},
};

/// Prints every bundle, the one in force with a star.
pub(crate) fn run(json: bool) -> Result<Exit, Failure> {
    for listed in store()?.list().map_err(Failure::failed)? {
        let digest = listed.digest;
        if json {
            let named = listed.bundle.as_ref();
            let line = json!({
                "digest": digest,
                "name": named.ok().map(|named| &named.name),
                "version": named.ok().map(|named| named.version),
                "description": named.ok().and_then(|named| named.description.as_ref()),
                "fault": named.err().map(|error| one_line(error)),
                "active": listed.active,
                "activated_at_ms": listed.activated_at_ms,
                "times": listed.times,
            });
            report::print(format_args!("{line}\n"))?;
            continue;
        }
        let star = if listed.active { '*' } else { ' ' };
        let what = match &listed.bundle {
            Ok(named) => format!("{} version {}", named.name, named.version),
            Err(error) => one_line(error),
        };
        let when = listed
            .activated_at_ms
            .map_or_else(|| "never in force".to_owned(), time);
        report::print(format_args!("{star} {digest}  {what}  {when}\n"))?;
    }
    Ok(Exit::Success)
}
