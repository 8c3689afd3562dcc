//! Keys out of a file and out of the environment: all that is wrong is found at once.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use casemate_policy::Diagnostic;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Config,
    keys::{KEYS, Key, MAX_PROFILES, Slot},
};

/// Deeper than any key: what goes further is unknown.
const MAX_DEPTH: usize = 2;
/// The most dots and brackets of a file: the parser goes deeper with each.
const MAX_NESTING: usize = 64;

/// Reads the bytes of a file into `config`; paths in it are relative to `base`. Gives everything that is wrong, in order.
pub(super) fn file(bytes: &[u8], base: &Path, config: &mut Config) -> Vec<Diagnostic> {
    let mut read = Read {
        bytes,
        base,
        found: Vec::new(),
    };
    match std::str::from_utf8(bytes) {
        Ok(text) if nests_too_deep(text) => {
            read.note(0, "", "it nests deeper than any key is", "write it flat");
        }
        Ok(text) => {
            let (table, errors) = DeTable::parse_recoverable(text);
            for error in &errors {
                let at = error.span().map_or(0, |span| span.start);
                let hint = "correct the TOML: each key may be given once, and texts need quotes";
                read.note(at, "", error.message(), hint);
            }
            read.table(table.get_ref(), "", 1, config);
        }
        Err(error) => read.note(
            error.valid_up_to(),
            "",
            "it is not UTF-8",
            "save it as UTF-8",
        ),
    }
    read.found.sort_by_key(|one| (one.line, one.column));
    read.found
}

/// Whether a line has more of what nests than any that is meant.
fn nests_too_deep(text: &str) -> bool {
    let nests = |line: &str| line.matches(['.', '[', '{']).count();
    text.lines().any(|line| nests(line) > MAX_NESTING)
        || text.matches(['[', '{']).count() > MAX_NESTING + MAX_PROFILES
}

struct Read<'a> {
    bytes: &'a [u8],
    base: &'a Path,
    found: Vec<Diagnostic>,
}

impl Read<'_> {
    fn note(&mut self, at: usize, path: &str, message: &str, hint: &str) {
        let before = self.bytes.get(..at).unwrap_or(self.bytes);
        let line = before.rsplit(|byte| *byte == b'\n').next();
        let column = String::from_utf8_lossy(line.unwrap_or_default());
        let lines = before.iter().filter(|byte| **byte == b'\n').count();
        let from_one = |count: usize| u32::try_from(count + 1).unwrap_or(u32::MAX);
        self.found.push(Diagnostic {
            line: from_one(lines),
            column: from_one(column.chars().count()),
            path: path.escape_debug().to_string(),
            message: message.escape_debug().to_string(),
            hint: hint.to_owned(),
        });
    }

    fn table(&mut self, table: &DeTable<'_>, within: &str, depth: usize, config: &mut Config) {
        for (name, value) in table {
            let path = match within {
                "" => name.get_ref().to_string(),
                within => format!("{within}.{}", name.get_ref()),
            };
            let key = KEYS.iter().find(|key| key.path == path);
            let is_table = KEYS.iter().any(|key| {
                let rest = key.path.strip_prefix(path.as_str());
                rest.is_some_and(|rest| rest.starts_with('.'))
            });
            match (key, value.get_ref()) {
                (Some(key), _) => self.value(key, value, config),
                (None, DeValue::Table(inner)) if is_table && depth < MAX_DEPTH => {
                    self.table(inner, &path, depth + 1, config);
                }
                (None, _) if is_table => {
                    let hint = format!("write it as a table: [{path}]");
                    self.note(value.span().start, &path, "it is a table", &hint);
                }
                (None, _) => {
                    let hint = "docs/reference/configuration.md lists the keys";
                    self.note(name.span().start, &path, "there is no such key", hint);
                }
            }
        }
    }

    fn value(&mut self, key: &Key, value: &Spanned<DeValue<'_>>, config: &mut Config) {
        let base = self.base;
        let done = match (&key.slot, value.get_ref()) {
            (Slot::Paths(of), DeValue::Array(items)) => {
                let mut paths = Vec::new();
                for item in items.iter() {
                    match item.get_ref().as_str() {
                        Some(text) if !text.is_empty() => paths.push(base.join(text)),
                        _ => {
                            let at = item.span().start;
                            self.note(at, key.path, "it must be a path", "write it in quotes");
                        }
                    }
                }
                let few = paths.len() <= MAX_PROFILES;
                *of(config) = paths;
                few.then_some(())
                    .ok_or_else(|| format!("there may be {MAX_PROFILES}"))
            }
            (Slot::Paths(_), _) => Err("it must be a list of paths".to_owned()),
            (Slot::Path(of), DeValue::String(text)) if !text.is_empty() => {
                *of(config) = Some(base.join(text.as_ref()));
                Ok(())
            }
            (Slot::Path(_), _) => Err("it must be a path".to_owned()),
            (Slot::Address(of), DeValue::String(text)) => match text.parse() {
                Ok(address) => {
                    *of(config) = Some(address);
                    Ok(())
                }
                Err(_) => Err(NO_ADDRESS.to_owned()),
            },
            (Slot::Address(_), _) => Err(NO_ADDRESS.to_owned()),
            (Slot::Number(of, from, to), DeValue::Integer(number)) => {
                let parsed = u64::from_str_radix(number.as_str(), number.radix());
                within(parsed.ok(), *from, *to).map(|number| *of(config) = Some(number))
            }
            (Slot::Number(_, from, to), _) => within(None, *from, *to).map(drop),
        };
        if let Err(message) = done {
            self.note(value.span().start, key.path, &message, key.says);
        }
    }
}

const NO_ADDRESS: &str = "it must be an address and a port, such as \"127.0.0.1:7480\"";

fn within(number: Option<u64>, from: u64, to: u64) -> Result<u64, String> {
    let number = number.filter(|number| (from..=to).contains(number));
    number.ok_or_else(|| format!("it must be a whole number from {from} to {to}"))
}

/// Reads variables into `config`. Gives everything that is wrong.
pub(super) fn environment(
    variable: &impl Fn(&str) -> Option<OsString>,
    config: &mut Config,
) -> Vec<String> {
    let mut found = Vec::new();
    for key in KEYS {
        let name = key.variable();
        let Some(value) = variable(&name) else {
            continue;
        };
        if let Err(message) = set(key, &value, config) {
            found.push(format!("{name}: {message}"));
        }
    }
    found
}

fn set(key: &Key, value: &OsStr, config: &mut Config) -> Result<(), String> {
    let text = value.to_str();
    match &key.slot {
        Slot::Path(of) => *of(config) = Some(PathBuf::from(value)),
        Slot::Paths(of) => *of(config) = std::env::split_paths(value).collect(),
        Slot::Address(of) => {
            let address = text.and_then(|text| text.parse().ok());
            *of(config) = Some(address.ok_or(NO_ADDRESS)?);
        }
        Slot::Number(of, from, to) => {
            let number = text.and_then(|text| text.parse().ok());
            *of(config) = Some(within(number, *from, *to)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Config, Vec<String>) {
        let mut config = Config::default();
        let found = file(text.as_bytes(), Path::new("/etc/casemate"), &mut config);
        (config, found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_file_says_it_all_and_its_paths_are_its_own() {
        let (config, found) = read(
            "state_dir = \"/var/lib/casemate\"\nlisten = \"[::1]:80\"\nprofiles = [\"a.toml\", \"/b.toml\"]\n\
             [tls]\ncertificate = \"cert.pem\"\n[limits]\ncalls = 1_000\ndrain_ms = 0x10\n",
        );
        assert_eq!(found, [""; 0]);
        assert_eq!(config.state_dir, Some("/var/lib/casemate".into()));
        assert_eq!(config.listen, Some("[::1]:80".parse().unwrap()));
        let profiles = ["/etc/casemate/a.toml", "/b.toml"].map(PathBuf::from);
        assert_eq!(config.profiles, profiles);
        let certificate = Some("/etc/casemate/cert.pem".into());
        assert_eq!(config.tls.certificate, certificate);
        assert_eq!(config.limits.calls, Some(1_000));
        assert_eq!(config.limits.drain_ms, Some(16));
        assert_eq!(read("").0, Config::default());
    }

    /// Everything at once, each with its line and column, and nothing unknown is passed over.
    #[test]
    fn everything_that_is_wrong_is_said_with_its_place() {
        let (_, found) = read(
            "listen = \"localhost:80\"\nprofiles = [1, \"\"]\nlisten_on = 1\nlimits = 3\nsocket = \"\"\n\
             [tls]\nkey = false\nkeys = 1\n[tls.key.more]\n[nothing]\nx = 1\n",
        );
        let places: Vec<_> = found
            .iter()
            .map(|one| one.split(": ").next().unwrap())
            .collect();
        for place in [
            "1:10 listen",
            "2:13 profiles",
            "2:16 profiles",
            "3:1 listen_on",
            "4:10 limits",
            "5:10 socket",
            "7:7 tls.key",
            "8:1 tls.keys",
            "10:2 nothing",
        ] {
            assert!(places.contains(&place), "{place}: {found:?}");
        }
        for number in ["0", "65537", "-1", "1.5", "\"1\"", "99999999999999999999"] {
            let (config, found) = read(&format!("[limits]\ncalls = {number}\n"));
            assert_eq!(found.len(), 1, "{number}: {found:?}");
            assert!(found[0].contains("from 1 to 65536"), "{found:?}");
            assert_eq!(config.limits.calls, None, "{number}");
        }
    }

    #[test]
    fn what_is_no_toml_or_goes_deep_is_an_error_and_no_end() {
        for text in [
            "listen = ",
            "listen = \"a\nb\"",
            "socket = \"a\"\nsocket = \"b\"",
            &"[".repeat(100_000),
            &format!("a = {}", "{ a = ".repeat(50_000)),
            &format!("a{} = 1", ".a".repeat(100_000)),
        ] {
            assert!(!read(text).1.is_empty(), "{text:.40}");
        }
        let mut config = Config::default();
        assert_eq!(file(b"\xff", Path::new("/"), &mut config).len(), 1);
    }

    #[test]
    fn the_environment_counts_before_the_file_and_is_checked_as_it_is() {
        let (mut config, _) = read("listen = \"127.0.0.1:1\"\nsocket = \"s\"\n");
        let variable = |name: &str| match name {
            "CASEMATE_LISTEN" => Some(OsString::from("127.0.0.1:2")),
            "CASEMATE_PROFILES" => Some(OsString::from("a.toml:/b.toml")),
            "CASEMATE_LIMITS_QUEUED" => Some(OsString::from("none")),
            "CASEMATE_LIMITS_CALLS" => Some(OsString::from("0")),
            _ => None,
        };
        let found = environment(&variable, &mut config);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found
                .iter()
                .any(|one| one.contains("CASEMATE_LIMITS_CALLS"))
        );
        assert_eq!(config.listen, Some("127.0.0.1:2".parse().unwrap()));
        assert_eq!(config.profiles.len(), 2);
        assert_eq!(config.socket, Some("/etc/casemate/s".into()));
    }
}
