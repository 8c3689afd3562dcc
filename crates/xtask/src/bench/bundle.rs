//! OCI bundles of the programs, for the runtimes that take them.

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::{Context, Result};
use serde_json::json;

use super::contender::{IMAGE, PACKAGES, Program};

/// What a program prints, beside its bundle's configuration.
const EXPECTED: &str = "expected";

/// One bundle per program, by its number, all with the host's userland, read-only, as their root.
pub(super) fn make_all(directory: &Path, programs: &[Program], image: Option<&Path>) -> Result<()> {
    let root = directory.join("root");
    for mount_point in ["usr", "proc", "dev", "tmp", "opt/image"] {
        fs::create_dir_all(root.join(mount_point))?;
    }
    for link in ["bin", "lib", "lib64"] {
        symlink(format!("usr/{link}"), root.join(link))?;
    }
    let namespaces =
        ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind }));
    let mut mounts = vec![
        json!({ "destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"] }),
        json!({ "destination": "/proc", "type": "proc", "source": "proc" }),
        json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"] }),
        json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"] }),
    ];
    let mut environment = vec!["PATH=/usr/bin:/bin".to_owned()];
    if let Some(image) = image {
        mounts.push(json!({ "destination": IMAGE, "type": "bind", "source": image, "options": ["rbind", "ro"] }));
        environment.push(format!("PYTHONPATH={IMAGE}/{PACKAGES}"));
    }
    for (index, program) in programs.iter().enumerate() {
        let bundle = directory.join(index.to_string());
        fs::create_dir_all(&bundle)?;
        let configuration = json!({
            "ociVersion": "1.0.0",
            "root": { "path": root, "readonly": true },
            "process": {
                "args": program.argv,
                "cwd": "/",
                "env": environment,
                "noNewPrivileges": true,
                "user": { "uid": 0, "gid": 0 },
            },
            "mounts": mounts,
            "linux": {
                "namespaces": namespaces,
            },
        });
        fs::write(bundle.join("config.json"), configuration.to_string())?;
        fs::write(bundle.join(EXPECTED), program.expected)?;
    }
    Ok(())
}

/// The number of a program's bundle.
pub(super) fn index(programs: &[Program], program: &Program) -> Result<usize> {
    let found = programs.iter().position(|one| one.name == program.name);
    found.with_context(|| format!("{} has no bundle", program.name))
}

/// What the program of a bundle prints.
pub(super) fn expected(bundle: &Path) -> Result<String> {
    fs::read_to_string(bundle.join(EXPECTED)).context("there is no such bundle")
}
