//! The reference pages of profiles and manifests, made from the tables that read them.

use casemate_model::{Limits, MAX_LIMITS};

use crate::{
    arguments::{MAX_ARGUMENT_BYTES, MAX_ARGUMENT_DEPTH, MAX_ARGUMENT_MEMBERS},
    egress::{BaseUrl, EgressRule, known_tenants},
    key::{Absent, Key, Kind, Subject, all_keys, keys_of},
    manifest::{
        MAX_INPUT_SCHEMA_BYTES, MAX_INPUT_SCHEMA_DEPTH, MAX_MANIFEST_BYTES, Manifest,
        keywords::keywords,
    },
    mcp::McpServer,
    profile::{MAX_PROFILE_BYTES, Profile},
    rules::listed,
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
    tables::<Profile>(&mut page, "");
    tables::<EgressRule>(&mut page, "egress.rules[]");
    tables::<BaseUrl>(&mut page, "egress.base_urls[]");
    tables::<McpServer>(&mut page, "mcp.servers[]");
    page.push_str(&tenants());
    page
}

/// Every key of a manifest as a Markdown page, and what becomes of arguments.
#[must_use]
pub fn manifest_reference() -> String {
    let mut page = format!(
        "# Manifests\n\n\
         <!-- Generated from the table in crates/policy/src/manifest/keys.rs: do not edit. -->\n\n\
         A manifest says what one tool is. It is one file, `*.json` (strict) or `*.toml`, of at most {} KiB. Both \
         languages have the same keys. A key that is not listed here and a value outside its range each refuse the \
         manifest. A key that is left out reads as what risks more: the tool is then held to more, never to less.\n",
        MAX_MANIFEST_BYTES >> 10
    );
    tables::<Manifest>(&mut page, "");
    page.push_str(&arguments());
    page
}

/// What `input` may be, and what a call's arguments may be.
fn arguments() -> String {
    format!(
        "\n## Arguments\n\n\
         `input` is a JSON Schema (2020-12) of `type: object`, of at most {} KiB and {MAX_INPUT_SCHEMA_DEPTH} levels. \
         Without one, the tool takes no arguments.\n\n\
         - A field that the schema does not know is refused, at every depth, unless `additionalProperties` or \
         `unevaluatedProperties` says otherwise. Elements of an array without \
         `items` are free; so is what has the schema `true`.\n\
         - `format` is checked. `pattern` runs in linear time: no look-around, no back-references.\n\
         - `$ref` leads to `#/$defs/NAME` (or `#/definitions/NAME`), not in a circle, and not from within `if`, `not`, \
         `contains` or `propertyNames`. Nothing is fetched.\n\
         - Other keywords than these are refused, because nothing would enforce them: {}.\n\n\
         The arguments of a call are one JSON object (RFC 8259, UTF-8) of at most {} MiB, {MAX_ARGUMENT_DEPTH} levels, \
         and {MAX_ARGUMENT_MEMBERS} members and elements. A key that is given twice, half of a surrogate pair, and a \
         number that RFC 8785 does not carry exactly (such as 9007199254740993) are refused. A refusal names the \
         first field that is wrong and what was expected there, never what was found.\n",
        MAX_INPUT_SCHEMA_BYTES >> 10,
        listed(keywords()),
        MAX_ARGUMENT_BYTES >> 20,
    )
}

/// The tables of a file's keys, or of the keys of the sections that are listed at `within`.
fn tables<T: Subject>(page: &mut String, within: &str) {
    let top = match within {
        "" => "Top level".to_owned(),
        within => format!("`{within}`"),
    };
    table::<T>(page, &top, within, "", "");
    for key in all_keys::<T>() {
        if matches!(key.kind, Kind::Section) {
            let title = section_title(within, key.path);
            table::<T>(page, &format!("`{title}`"), within, key.path, key.meaning);
        }
    }
}

fn table<T: Subject>(page: &mut String, title: &str, within: &str, section: &str, meaning: &str) {
    page.push_str(&format!("\n## {title}\n\n"));
    if !meaning.is_empty() {
        page.push_str(&format!("{meaning}\n\n"));
    }
    page.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    for key in keys_of::<T>(section) {
        let (kind, default) = (kind(key, within), default(key));
        let (name, meaning) = (key.name(), key.meaning);
        page.push_str(&format!("| `{name}` | {kind} | {default} | {meaning} |\n"));
    }
}

fn kind<T>(key: &Key<T>, within: &str) -> String {
    match &key.kind {
        Kind::Section => {
            let title = section_title(within, key.path);
            format!("section: see [`{title}`](#{})", anchor(&title))
        }
        Kind::Text { form, .. } => described(form),
        Kind::List { form, .. } => format!("list; each entry: {}", described(form)),
        Kind::Pairs { form, .. } => format!("section of {}", described(form)),
        Kind::Limit { unit, at, .. } => format!("{unit}, 1 to {}", *at(&mut MAX_LIMITS.clone())),
        Kind::Number {
            unit, least, most, ..
        } => format!("{unit}, {least} to {most}"),
        Kind::Always { .. } => "`true`".to_owned(),
        Kind::Numbers {
            unit, least, most, ..
        } => format!("list; each entry: {unit}, {least} to {most}"),
        Kind::Tree { form, .. } | Kind::Each { form, .. } => (*form).to_owned(),
    }
}

fn default<T>(key: &Key<T>) -> String {
    match (&key.absent, &key.kind) {
        (Absent::Words(words), _) => listed(words.iter().copied()),
        (Absent::Open(text) | Absent::Riskier(text), _) => (*text).to_owned(),
        (Absent::Standard, Kind::Limit { at, .. }) => at(&mut Limits::default()).to_string(),
        (Absent::Standard, Kind::Number { standard, .. }) => standard.to_string(),
        (Absent::Standard, Kind::Section) => "the defaults of its keys".to_owned(),
        (Absent::Standard | Absent::Refused, _) => "required".to_owned(),
    }
}

/// How GitHub and its imitators name a heading.
fn anchor(title: &str) -> String {
    title.replace(['.', '[', ']'], "")
}

fn section_title(within: &str, path: &str) -> String {
    if within.is_empty() {
        path.to_owned()
    } else {
        format!("{within}.{path}")
    }
}

/// Hosts on which strangers have places, and where a request says whose it means.
fn tenants() -> String {
    let mut page = "\n## Tenants\n\n\
         On these hosts strangers have places too. A rule for one says in `tenants` whose are meant; a request that means another place, or none, is refused. `*` is one label, \
         or the rest of one; `**` is one or more. Upper and lower case are the same.\n\n\
         | host | what is compared with `tenants` |\n|---|---|\n"
        .to_owned();
    for (host, place) in known_tenants() {
        page.push_str(&format!("| `{host}` | {place} |\n"));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page and the reader have one source, so what is shown here is that no key is lost on the way.
    fn check<T: Subject>(page: &str) {
        for key in all_keys::<T>() {
            assert!(
                page.contains(&format!("| `{}` |", key.name())),
                "{}",
                key.path
            );
            assert!(page.contains(key.meaning), "{}", key.path);
        }
        assert!(
            page.lines().all(|line| !line.contains("| |")),
            "an empty cell"
        );
    }

    #[test]
    fn every_key_is_on_the_page_with_its_range_and_default() {
        let page = schema_reference();
        check::<Profile>(&page);
        assert!(page.contains("| `max_processes` | processes, 1 to 32768 | 256 | "));
        assert!(page.contains("| `max_runtime_ms` | milliseconds, 1 to 86400000 | required | "));
        assert!(page.contains("## `sandbox.network`"));
    }

    #[test]
    fn every_key_of_a_manifest_is_on_its_page() {
        let page = manifest_reference();
        check::<Manifest>(&page);
        assert!(page.contains("| `timeout_ms` | milliseconds, 1 to 86400000 | 30000 | "));
    }
}
