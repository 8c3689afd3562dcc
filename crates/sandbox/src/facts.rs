//! What a sandbox enforces, measured on its first process when every restriction is in force (I7). What it
//! executes after that, the guest, can give none of them back.

use std::{fmt, fs, io, path::PathBuf};

use casemate_model::{Control, ControlName, Isolation, IsolationTier, Strength};
use casemate_sys::LandlockStatus;
use rustix::process::Pid;

use crate::{
    cgroup::{Cgroups, Controlled},
    process::file,
};

/// Every kind of namespace, with the control that it is.
const NAMESPACES: [(ControlName, &str); 7] = [
    (ControlName::UserNamespace, "user"),
    (ControlName::PidNamespace, "pid"),
    (ControlName::MountNamespace, "mnt"),
    (ControlName::NetworkNamespace, "net"),
    (ControlName::IpcNamespace, "ipc"),
    (ControlName::UtsNamespace, "uts"),
    (ControlName::CgroupNamespace, "cgroup"),
];

/// The namespaces of one process; what could not be read is nothing.
#[derive(Debug)]
pub(crate) struct NamespaceLinks([Option<PathBuf>; 7]);

impl NamespaceLinks {
    /// Reads those of `process`, a pid or `self`.
    pub(crate) fn of(process: impl fmt::Display) -> Self {
        let link = |(_, kind)| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok();
        Self(NAMESPACES.map(link))
    }
}

/// Looks at the process `pid` and says what holds it, given the namespaces of the host and the mounts that must be
/// read-only.
pub(crate) fn measure(
    pid: Pid,
    host: &NamespaceLinks,
    cgroups: &Cgroups,
    landlock: LandlockStatus,
    sealed: &[&str],
) -> io::Result<Isolation> {
    let mut isolation = measure_process(pid, pid, host, cgroups, sealed)?;
    for control in &mut isolation.controls {
        if control.name == ControlName::Landlock {
            *control = landlock_control(landlock);
        }
    }
    Ok(isolation)
}

/// The same of a process whose rules on files are not known, in whose sandbox `first` is the first process.
pub(crate) fn measure_process(
    pid: Pid,
    first: Pid,
    host: &NamespaceLinks,
    cgroups: &Cgroups,
    sealed: &[&str],
) -> io::Result<Isolation> {
    let status = Status::read(pid)?;
    let inside = NamespaceLinks::of(pid.as_raw_nonzero());
    let namespaces = NAMESPACES.iter().zip(host.0.iter().zip(&inside.0)).map(
        // A namespace counts when both are known and differ.
        |((name, _), (host, inside))| {
            let known = host.is_some() && inside.is_some();
            yes_no(*name, known && host != inside, "namespace")
        },
    );
    let rest = ControlName::ALL
        .iter()
        .skip(NAMESPACES.len())
        .map(|&name| match name {
            ControlName::ReadOnlyRoot => read_only_root(first, sealed),
            ControlName::NoCapabilities => yes_no(
                name,
                status.all_zero(&["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]),
                "empty capability sets",
            ),
            ControlName::NoNewPrivileges => {
                yes_no(name, status.is("NoNewPrivs", "1"), "no_new_privs")
            }
            ControlName::Seccomp => yes_no(name, status.is("Seccomp", "2"), "seccomp filter"),
            ControlName::Landlock => landlock_control(LandlockStatus::None),
            _ => limit(name, cgroups.controlled, cgroups.by()),
        });
    Ok(Isolation {
        tier: IsolationTier::Namespace,
        controls: namespaces.chain(rest).collect(),
    })
}

fn control(name: ControlName, strength: Strength, by: &str, note: &str) -> Control {
    Control {
        name,
        strength,
        by: by.into(),
        note: note.into(),
    }
}

fn yes_no(name: ControlName, enforced: bool, by: &str) -> Control {
    let strength = if enforced {
        Strength::Enforced
    } else {
        Strength::Absent
    };
    control(name, strength, by, "")
}

/// These mounts are read-only in the process's own list of mounts.
fn read_only_root(pid: Pid, sealed: &[&str]) -> Control {
    let mounts = file(format!("/proc/{}/mounts", pid.as_raw_nonzero()).as_ref());
    let read_only = |text: &str, point: &str| {
        text.lines().any(|line| {
            let mut fields = line.split(' ').skip(1);
            fields.next() == Some(point)
                && fields
                    .nth(1)
                    .is_some_and(|options| options.split(',').any(|word| word == "ro"))
        })
    };
    let enforced = mounts.is_ok_and(|text| sealed.iter().all(|point| read_only(&text, point)));
    yes_no(ControlName::ReadOnlyRoot, enforced, "read-only mounts")
}

fn landlock_control(status: LandlockStatus) -> Control {
    let (strength, note) = match status {
        LandlockStatus::Full => (Strength::Enforced, ""),
        LandlockStatus::Partial => (
            Strength::Partial,
            "this kernel knows only a part of the rules",
        ),
        LandlockStatus::None => (Strength::Absent, "this kernel has no Landlock"),
    };
    control(ControlName::Landlock, strength, "Landlock", note)
}

fn limit(name: ControlName, controlled: Controlled, cgroup: &str) -> Control {
    match name {
        ControlName::Memory if controlled.memory => yes_no(name, true, cgroup),
        ControlName::Memory => control(
            name,
            Strength::Partial,
            "RLIMIT_AS",
            "for the address space of each process, not for all together nor for shared memory that none has mapped: no memory cgroup can be made here",
        ),
        ControlName::Cpu if controlled.cpu => yes_no(name, true, cgroup),
        ControlName::Cpu => control(
            name,
            Strength::Partial,
            "RLIMIT_CPU",
            "seconds of each process, not a share: no cpu cgroup can be made here",
        ),
        ControlName::Processes if controlled.processes => yes_no(name, true, cgroup),
        ControlName::Processes => yes_no(name, true, "RLIMIT_NPROC in a user namespace of its own"),
        ControlName::OpenFiles => yes_no(name, true, "RLIMIT_NOFILE"),
        ControlName::FileSize => yes_no(name, true, "RLIMIT_FSIZE"),
        ControlName::Disk => yes_no(name, true, "tmpfs size"),
        _ => yes_no(name, true, "keeper"),
    }
}

/// `/proc/PID/status`.
struct Status(String);

impl Status {
    fn read(pid: Pid) -> io::Result<Self> {
        file(format!("/proc/{}/status", pid.as_raw_nonzero()).as_ref()).map(Self)
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.0
            .lines()
            .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.field(name) == Some(value)
    }

    fn all_zero(&self, names: &[&str]) -> bool {
        names.iter().all(|name| {
            self.field(name)
                .is_some_and(|mask| mask.bytes().all(|digit| digit == b'0'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Ceiling;

    /// I7: the controls come in the order of their names, each once, and nothing is enforced that is not seen.
    #[test]
    fn a_process_outside_any_sandbox_is_not_called_isolated() {
        let pid = rustix::process::getpid();
        let none = Cgroups::make(
            &Default::default(),
            "test",
            &Ceiling::of(&Default::default()),
        );
        let host = NamespaceLinks::of("self");
        let isolation = measure(pid, &host, &none, LandlockStatus::None, &["/nowhere"]).unwrap();
        let names: Vec<_> = isolation
            .controls
            .iter()
            .map(|control| control.name)
            .collect();
        assert_eq!(names, ControlName::ALL);
        for name in ControlName::ALL.iter().take(12) {
            assert_eq!(isolation.strength(*name), Strength::Absent, "{name}");
        }
        let unknown = NamespaceLinks([const { None }; 7]);
        let isolation = measure(pid, &unknown, &none, LandlockStatus::None, &[]).unwrap();
        assert_eq!(
            isolation.strength(ControlName::PidNamespace),
            Strength::Absent
        );
    }
}
