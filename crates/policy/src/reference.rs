//! The reference page of profiles, made from the schema that reads them.

use casemate_model::{Limits, MAX_LIMITS};

use crate::{
    profile::MAX_PROFILE_BYTES,
    rules::listed,
    schema::{Absent, KEYS, Key, Kind, keys_of},
    walk::described,
};

/// Every key of a profile as a Markdown page: type, whether it is needed, default, range and meaning.
#[must_use]
pub fn schema_reference() -> String {
    let mut page = format!(
        "# Profiles\n\n\
         <!-- Generated from the schema in crates/policy/src/schema.rs: do not edit. -->\n\n\
         A profile is one file, `*.json` (strict) or `*.toml`, of at most {} KiB. Both languages have \
         the same keys. A key that is not listed here, a missing key without a default and a value \
         outside its range each refuse the profile. `casemate profile check FILE` explains every error.\n",
        MAX_PROFILE_BYTES >> 10
    );
    table(&mut page, "Top level", "", "");
    for key in KEYS {
        if matches!(key.kind, Kind::Section) {
            table(&mut page, &format!("`{}`", key.path), key.path, key.meaning);
        }
    }
    page
}

fn table(page: &mut String, title: &str, section: &str, meaning: &str) {
    page.push_str(&format!("\n## {title}\n\n"));
    if !meaning.is_empty() {
        page.push_str(&format!("{meaning}\n\n"));
    }
    page.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    for key in keys_of(section) {
        let (kind, default) = (kind(key), default(key));
        let (name, meaning) = (key.name(), key.meaning);
        page.push_str(&format!("| `{name}` | {kind} | {default} | {meaning} |\n"));
    }
}

fn kind(key: &Key) -> String {
    match &key.kind {
        Kind::Section => format!("section: see [`{}`](#{})", key.path, anchor(key.path)),
        Kind::Text { form, .. } => described(form),
        Kind::List { form, .. } => format!("list; each entry: {}", described(form)),
        Kind::Pairs { form, .. } => format!("section of {}", described(form)),
        Kind::Limit { unit, at } => format!("{unit}, 1 to {}", *at(&mut MAX_LIMITS.clone())),
        Kind::Number {
            unit, least, most, ..
        } => format!("{unit}, {least} to {most}"),
        Kind::Always { .. } => "`true`".to_owned(),
    }
}

fn default(key: &Key) -> String {
    match (&key.absent, &key.kind) {
        (Absent::Words(words), _) => listed(words.iter().copied()),
        (Absent::Open(text), _) => (*text).to_owned(),
        (Absent::Standard, Kind::Limit { at, .. }) => at(&mut Limits::default()).to_string(),
        (Absent::Standard, Kind::Number { standard, .. }) => standard.to_string(),
        (Absent::Standard, Kind::Section) => "the defaults of its keys".to_owned(),
        (Absent::Standard | Absent::Refused, _) => "required".to_owned(),
    }
}

/// How GitHub and its imitators name a heading.
fn anchor(title: &str) -> String {
    title.replace('.', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page and the reader have one source, so what is shown here is that no key is lost on the way.
    #[test]
    fn every_key_is_on_the_page_with_its_range_and_default() {
        let page = schema_reference();
        for key in KEYS {
            assert!(
                page.contains(&format!("| `{}` |", key.name())),
                "{}",
                key.path
            );
            assert!(page.contains(key.meaning), "{}", key.path);
        }
        assert!(page.contains("| `max_processes` | processes, 1 to 32768 | 256 | "));
        assert!(page.contains("| `max_runtime_ms` | milliseconds, 1 to 86400000 | required | "));
        assert!(page.contains("## `sandbox.network`"));
        assert!(
            page.lines().all(|line| !line.contains("| |")),
            "an empty cell"
        );
    }
}
