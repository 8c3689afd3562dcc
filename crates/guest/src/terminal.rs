//! A terminal for a program.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use casemate_frames::Window;
use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, openpt, ptsname, unlockpt},
    termios::{Winsize, tcgetpgrp, tcgetwinsize, tcsetwinsize},
};

/// Our end of a terminal.
pub(crate) struct Terminal {
    pub(crate) master: OwnedFd,
}

impl Terminal {
    /// A new terminal: our end, and the program's.
    pub(crate) fn new(window: Window) -> io::Result<(Self, OwnedFd)> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&name, flags, Mode::empty())?;
        let terminal = Self { master };
        terminal.resize(window)?;
        rustix::io::ioctl_fionbio(&terminal.master, true)?;
        Ok((terminal, slave))
    }

    /// Gives it another size; the foreground hears of it by SIGWINCH.
    pub(crate) fn resize(&self, window: Window) -> io::Result<()> {
        let size = Winsize {
            ws_row: window.rows,
            ws_col: window.columns,
            ..tcgetwinsize(&self.master)?
        };
        Ok(tcsetwinsize(&self.master, size)?)
    }

    /// The process group in its foreground.
    pub(crate) fn foreground(&self) -> Option<rustix::process::Pid> {
        tcgetpgrp(self.master.as_fd()).ok()
    }
}
