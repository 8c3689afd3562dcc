//! What a sandbox enforces, measured on its first process after every restriction is in force (I7).

use std::{fs, io, path::PathBuf};

use casemate_model::{Control, ControlName, Isolation, IsolationTier, Strength};
use casemate_sys::LandlockStatus;
use rustix::process::Pid;

use crate::cgroup::{Cgroups, Controlled};

/// Looks at the process `pid` and says what holds it.
pub(crate) fn measure(
    pid: Pid,
    cgroups: &Cgroups,
    landlock: LandlockStatus,
) -> io::Result<Isolation> {
    let status = Status::read(pid)?;
    let controls = ControlName::ALL.iter().map(|&name| match name {
        ControlName::UserNamespace => namespace(pid, name, "user"),
        ControlName::PidNamespace => namespace(pid, name, "pid"),
        ControlName::MountNamespace => namespace(pid, name, "mnt"),
        ControlName::NetworkNamespace => namespace(pid, name, "net"),
        ControlName::IpcNamespace => namespace(pid, name, "ipc"),
        ControlName::UtsNamespace => namespace(pid, name, "uts"),
        ControlName::CgroupNamespace => namespace(pid, name, "cgroup"),
        ControlName::ReadOnlyRoot => read_only_root(pid),
        ControlName::NoCapabilities => yes_no(
            name,
            status.all_zero(&["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]),
            "empty capability sets",
        ),
        ControlName::NoNewPrivileges => yes_no(name, status.is("NoNewPrivs", "1"), "no_new_privs"),
        ControlName::Seccomp => yes_no(name, status.is("Seccomp", "2"), "seccomp filter"),
        ControlName::Landlock => landlock_control(landlock),
        _ => limit(name, cgroups.controlled, cgroups.by()),
    });
    Ok(Isolation {
        tier: IsolationTier::Namespace,
        controls: controls.collect(),
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

/// A namespace counts when it is another than ours.
fn namespace(pid: Pid, name: ControlName, kind: &str) -> Control {
    let link = |process: String| fs::read_link(PathBuf::from(format!("/proc/{process}/ns/{kind}")));
    let other = match (link("self".into()), link(pid.as_raw_nonzero().to_string())) {
        (Ok(ours), Ok(theirs)) => ours != theirs,
        _ => false,
    };
    yes_no(name, other, "namespace")
}

/// The root and `/usr` are read-only in the process's own list of mounts.
fn read_only_root(pid: Pid) -> Control {
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", pid.as_raw_nonzero()));
    let read_only = |text: &str, point: &str| {
        text.lines().any(|line| {
            let mut fields = line.split(' ').skip(1);
            fields.next() == Some(point)
                && fields
                    .nth(1)
                    .is_some_and(|options| options.split(',').any(|word| word == "ro"))
        })
    };
    let enforced = mounts.is_ok_and(|text| {
        ["/", "/usr", "/workspace/in"]
            .iter()
            .all(|point| read_only(&text, point))
    });
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
            "for each process, not for all together: no memory cgroup can be made here",
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
        fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).map(Self)
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
