//! What a sandbox shows of the host's userland.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

/// Directories at the root that hold programs and libraries; links into `/usr` on merged systems.
const PROGRAMS: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// What programs need of `/etc` to work: nothing that holds a secret, a name of a person or of this host.
/// Each costs a mount.
const ETC: &[&str] = &[
    "ImageMagick-6",
    "R",
    "alternatives",
    "fonts",
    "ld.so.cache",
    "mime.types",
    "protocols",
    "services",
];

/// Prefixes of more such names, with versions in them.
const ETC_PREFIXES: &[&str] = &["java-"];

/// Something of the host that appears at the same path in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A directory tree, read-only.
    Directory(PathBuf),
    /// A file, read-only.
    File(PathBuf),
    /// A symbolic link with the same target.
    Link(PathBuf, PathBuf),
}

/// The parts of the host's userland to show, found below `root` (the host's `/` but in tests).
pub(crate) fn userland(root: &Path) -> io::Result<Vec<Shown>> {
    let mut shown = vec![show(root, Path::new("usr"))?];
    shown.extend(
        PROGRAMS
            .iter()
            .filter_map(|name| show(root, Path::new(name)).ok()),
    );
    let wanted = |name: &OsStr| {
        name.to_str().is_some_and(|name| {
            ETC.contains(&name) || ETC_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        })
    };
    let mut etc: Vec<_> = fs::read_dir(root.join("etc"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name()))
        .filter(|name| wanted(name))
        .collect();
    etc.sort();
    shown.extend(
        etc.iter()
            .filter_map(|name| show(root, &Path::new("etc").join(name)).ok()),
    );
    // The time zone is a link into /usr on every system that has tzdata.
    if let Ok(link @ Shown::Link(..)) = show(root, Path::new("etc/localtime")) {
        shown.push(link);
    }
    Ok(shown)
}

fn show(root: &Path, path: &Path) -> io::Result<Shown> {
    let found = fs::symlink_metadata(root.join(path))?;
    if found.is_dir() {
        Ok(Shown::Directory(path.into()))
    } else if found.is_symlink() {
        Ok(Shown::Link(path.into(), fs::read_link(root.join(path))?))
    } else if found.is_file() {
        Ok(Shown::File(path.into()))
    } else {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    /// R41, R55: of `/etc` only what is listed is shown, never accounts, keys or sockets.
    #[test]
    fn only_listed_things_are_shown() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for directory in ["usr", "etc/ssh", "etc/java-17", "root", "home/anna", "var"] {
            fs::create_dir_all(path(directory)).unwrap();
        }
        for file in ["etc/shadow", "etc/passwd", "etc/services", "etc/machine-id"] {
            fs::write(path(file), "x").unwrap();
        }
        symlink("usr/bin", path("bin")).unwrap();
        symlink("/usr/share/zoneinfo/UTC", path("etc/localtime")).unwrap();
        let _socket = UnixListener::bind(path("etc/fonts")).unwrap();
        assert_eq!(
            userland(root.path()).unwrap(),
            [
                Shown::Directory("usr".into()),
                Shown::Link("bin".into(), "usr/bin".into()),
                Shown::Directory("etc/java-17".into()),
                Shown::File("etc/services".into()),
                Shown::Link("etc/localtime".into(), "/usr/share/zoneinfo/UTC".into()),
            ]
        );
    }
}
