//! What identity's process gives up before it reads a secret.

use std::{ffi::CString, fmt, os::unix::ffi::OsStrExt as _, path::Path};

use anyhow::Context as _;
use casemate_confine::restrict_identity;
use casemate_sys::{LandlockRule, LandlockStatus};

use super::{assertions_in, credentials_in};
use crate::switch::switches_in;

/// What is really enforced.
#[derive(Debug)]
pub(super) struct Confined {
    files: LandlockStatus,
}

impl fmt::Display for Confined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = match self.files {
            LandlockStatus::Full => "files restricted",
            LandlockStatus::Partial => "files restricted as far as this kernel can",
            LandlockStatus::None => "files not restricted: this kernel has no Landlock",
        };
        write!(
            f,
            "without capabilities, not traceable, system calls filtered, {files}"
        )
    }
}

/// Gives up every capability, every system call that it does not need, and every file but the credentials, the switches, the socket
/// and what finding a host takes. It must have one thread.
pub(super) fn confine(state: &Path, socket: &Path) -> anyhow::Result<Confined> {
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let credentials = path(&credentials_in(state))?;
    let switches = path(&switches_in(state))?;
    let assertions = path(&assertions_in(state))?;
    let run = path(socket.parent().unwrap_or(state))?;
    let files = [
        LandlockRule::Write(&credentials),
        LandlockRule::Execute(&switches),
        LandlockRule::Execute(&assertions),
        LandlockRule::Write(&run),
        // Libraries and configuration by which names become addresses.
        LandlockRule::Execute(c"/lib"),
        LandlockRule::Execute(c"/lib64"),
        LandlockRule::Execute(c"/usr/lib"),
        LandlockRule::Execute(c"/usr/lib64"),
        LandlockRule::Execute(c"/etc"),
        LandlockRule::Execute(c"/run/systemd/resolve"),
        LandlockRule::Devices(c"/dev/null"),
    ];
    let files = restrict_identity(&files).context("identity cannot be confined")?;
    Ok(Confined { files })
}
