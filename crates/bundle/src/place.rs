//! Where files of a bundle may be, and what they may be called.

use crate::limits::MAX_FILE_NAME_BYTES;

/// The file that names a bundle.
pub const MANIFEST: &str = "bundle.toml";
/// The file with the signatures of a bundle.
pub const SIGNATURE: &str = "bundle.sig";

/// A file for people: what the bundle is for.
pub const README: &str = "README.md";

/// The directories of a bundle, and how the names of the files in them end.
const SECTIONS: [(&str, &[&str]); 4] = [
    ("profiles", &[".toml", ".json"]),
    ("tools", &[".toml", ".json"]),
    ("policies", &[".cedar"]),
    ("tests", &[".toml"]),
];

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameFault {
    Hidden,
    Odd,
}

/// Checks the name of one file or directory. Only characters that every file system and terminal takes as they are.
pub(crate) fn check_name(name: &[u8]) -> Result<&str, NameFault> {
    if name.first() == Some(&b'.') {
        return Err(NameFault::Hidden);
    }
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    if name.is_empty() || name.len() > MAX_FILE_NAME_BYTES || !name.iter().all(plain) {
        return Err(NameFault::Odd);
    }
    std::str::from_utf8(name).map_err(|_| NameFault::Odd)
}

/// Whether a bundle may have a directory of this name.
pub(crate) fn is_section(name: &str) -> bool {
    SECTIONS.iter().any(|(section, _)| *section == name)
}

/// Whether a directory of a bundle may hold a file of this name, which is checked already.
pub(crate) fn fits(section: &str, name: &str) -> bool {
    SECTIONS
        .iter()
        .filter(|(known, _)| *known == section)
        .flat_map(|(_, ends)| *ends)
        .any(|end| name.len() > end.len() && name.ends_with(end))
}
