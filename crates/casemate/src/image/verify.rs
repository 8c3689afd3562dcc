//! `casemate image verify`: whether images are what they were when they were built.

use casemate_images::{Finding, ImageStore};
use casemate_model::Digest;
use serde_json::json;

use crate::{
    exit::Exit,
    image::{Format, existing_store, nothing},
    report::{self, Delivery, Failure},
};

/// How many findings of one image are printed.
const MAX_SHOWN: usize = 100;

pub(crate) fn run(word: Option<&str>, format: Format) -> Result<Exit, Failure> {
    let Some(store) = existing_store()? else {
        return word.map_or(Ok(Exit::Success), |word| Err(nothing(word)));
    };
    let mut exit = Exit::Success;
    for digest in digests(&store, word)? {
        let findings = store.verify(&digest).map_err(Failure::failed)?;
        if !findings.is_empty() {
            exit = Exit::Invalid;
        }
        if print(&digest, &findings, format)? == Delivery::Unwanted {
            break;
        }
    }
    Ok(exit)
}

fn digests(store: &ImageStore, word: Option<&str>) -> Result<Vec<Digest>, Failure> {
    match word {
        Some(word) => Ok(vec![store.resolve(word).map_err(Failure::invalid)?]),
        None => {
            let listed = store.list().map_err(Failure::failed)?;
            Ok(listed.iter().map(|listed| listed.digest).collect())
        }
    }
}

fn print(digest: &Digest, findings: &[Finding], format: Format) -> Result<Delivery, Failure> {
    if format == Format::Json {
        let line = json!({
            "image": digest,
            "genuine": findings.is_empty(),
            "findings": findings,
        });
        return report::deliver(format_args!("{line}\n"));
    }
    if findings.is_empty() {
        return report::deliver(format_args!("{digest}: genuine\n"));
    }
    let mut text = format!("{digest}: {} differences\n", findings.len());
    for Finding { path, difference } in findings.iter().take(MAX_SHOWN) {
        text.push_str(&format!("  {path}: {difference}\n"));
    }
    if let Some(more) = findings
        .len()
        .checked_sub(MAX_SHOWN)
        .filter(|more| *more > 0)
    {
        text.push_str(&format!("  and {more} more: see --json\n"));
    }
    report::deliver(format_args!("{text}"))
}
