//! Names of environment variables that a caller may declare.

use crate::secrets;

/// The longest name, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 128;

/// Names that the sandbox sets itself.
const RESERVED: &[&str] = &["PATH", "HOME", "USER", "LANG", "TERM", "TMPDIR"];
/// Beginnings of names that change how every program is loaded, or that are Casemate's own.
const RESERVED_STARTS: &[&str] = &["LD_", "GLIBC_", "CASEMATE_"];

/// Why a variable may not be declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is not a name at all.
    NotAName,
    /// The sandbox sets it.
    Reserved,
    /// It is the usual name of a secret.
    Secret,
}

/// Why no caller may declare `name`, if none may.
pub(crate) fn refused(name: &str) -> Option<Refused> {
    if !is_name(name) {
        Some(Refused::NotAName)
    } else if RESERVED.contains(&name)
        || RESERVED_STARTS.iter().any(|start| name.starts_with(start))
    {
        Some(Refused::Reserved)
    } else {
        secrets::is_secret_name(name).then_some(Refused::Secret)
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || char == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_free_names_pass() {
        for name in [
            "A",
            "_",
            "a1",
            "TZ",
            "PYTHONPATH",
            "LDFLAGS",
            "PATHS",
            "LC_ALL",
        ] {
            assert_eq!(refused(name), None, "{name}");
        }
        let long = "A".repeat(129);
        for name in [
            "",
            "1A",
            "A=B",
            "A B",
            "A-B",
            "Ä",
            "A\0",
            "A\n",
            "BASH_FUNC_x%%",
            &long,
        ] {
            assert_eq!(refused(name), Some(Refused::NotAName), "{name:?}");
        }
        for name in [
            "PATH",
            "HOME",
            "LD_PRELOAD",
            "LD_",
            "GLIBC_TUNABLES",
            "CASEMATE_KEY",
        ] {
            assert_eq!(refused(name), Some(Refused::Reserved), "{name}");
        }
        assert_eq!(refused("GITHUB_TOKEN"), Some(Refused::Secret));
    }
}
