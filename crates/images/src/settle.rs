//! Taking out of a tree what differs from build to build, and everybody's right to write to the rest.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use crate::ImageError;

/// What pip writes down about an installation, in `*.dist-info`: times, paths of this host, and a list of files that
/// no longer is true.
const NOTES: [&str; 4] = ["RECORD", "INSTALLER", "REQUESTED", "direct_url.json"];
/// Scripts that start with the path of this host's interpreter.
const SCRIPTS: &str = "bin";

/// Removes what differs from build to build.
pub(crate) fn strip(site: &Path) -> Result<(), ImageError> {
    let scripts = site.join(SCRIPTS);
    if scripts.is_dir() {
        fs::remove_dir_all(&scripts).map_err(ImageError::io("remove", scripts))?;
    }
    let failed = || ImageError::io("list", site);
    for entry in fs::read_dir(site).map_err(failed())? {
        let path = entry.map_err(failed())?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "dist-info")
        {
            for note in NOTES.map(|name| path.join(name)) {
                if note.is_file() {
                    fs::remove_file(&note).map_err(ImageError::io("remove", note))?;
                }
            }
        }
    }
    Ok(())
}

/// Makes everything below `tree` readable to all and writable to nobody; what was executable stays so.
pub(crate) fn seal(tree: &Path) -> Result<(), ImageError> {
    let mut directories = vec![tree.to_owned()];
    while let Some(directory) = directories.pop() {
        let failed = || ImageError::io("list", &directory);
        for entry in fs::read_dir(&directory).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let found = entry.metadata().map_err(failed())?;
            if found.is_dir() {
                directories.push(entry.path());
            } else if found.is_file() {
                let executable = found.mode() & 0o111 != 0;
                set_mode(&entry.path(), if executable { 0o555 } else { 0o444 })?;
            }
        }
        set_mode(&directory, 0o555)?;
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), ImageError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(ImageError::io("seal", path))
}
