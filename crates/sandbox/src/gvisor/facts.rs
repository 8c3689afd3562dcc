//! What a sandbox of the `gvisor` tier enforces, measured on gVisor's kernel while the guest waits in it (I7).

use std::{fs, io};

use casemate_model::{Control, ControlName, Isolation, IsolationTier, Strength};
use rustix::process::Pid;

use super::Platform;
use crate::{
    cgroup::Cgroups,
    facts::{NamespaceLinks, measure_process},
};

/// What gVisor's kernel calls itself where processes are listed.
const KERNEL: &str = "runsc-sandbox";

/// Says what holds the programs of the sandbox whose first process is `first`.
///
/// The processes that programs are on the host, if they are any, are gVisor's kernel and what it alone controls: so what
/// holds that kernel is what holds them, whatever they do with it.
pub(crate) fn measure(
    first: Pid,
    host: &NamespaceLinks,
    cgroups: &Cgroups,
    platform: Platform,
    sealed: &[&str],
) -> io::Result<Isolation> {
    let kernel = kernel(first)?;
    let mut isolation = measure_process(kernel, first, host, cgroups, sealed)?;
    isolation.tier = IsolationTier::Gvisor;
    for control in &mut isolation.controls {
        adapt(control, platform);
    }
    Ok(isolation)
}

const UNHEARD: &str = "what is refused is not reported: violations by system calls do nothing here, and a honey file counts when it is read, not when it is mapped";

const KERNEL_MEMORY: &str =
    "; nor for pipes, sockets and queues, which are memory of gVisor's kernel";

/// Says by what a control is enforced here, where it is not as elsewhere.
fn adapt(control: &mut Control, platform: Platform) {
    match control.name {
        ControlName::Seccomp => {
            control.by = format!("gVisor ({platform}), and the filter of its kernel");
            UNHEARD.clone_into(&mut control.note);
        }
        ControlName::NoNewPrivileges => control.by = "no_new_privs of gVisor's kernel".to_owned(),
        ControlName::OpenFiles | ControlName::FileSize => {
            control.by = format!("{} in gVisor", control.by);
        }
        ControlName::Processes => control.by = "pids cgroup in gVisor".to_owned(),
        // Without a cgroup there is nothing that counts what gVisor's kernel has.
        ControlName::Memory if control.strength != Strength::Enforced => {
            control.note.push_str(KERNEL_MEMORY);
        }
        // What programs have. The guest looked, in gVisor's kernel, before it said its first word.
        ControlName::NoCapabilities => {
            if control.strength == Strength::Absent {
                "gVisor's kernel has some in a user namespace of the sandbox's"
                    .clone_into(&mut control.note);
            }
            control.strength = Strength::Enforced;
            control.by = "empty capability sets in gVisor".to_owned();
        }
        ControlName::Landlock => {
            control.strength = Strength::Absent;
            control.by = "none".to_owned();
            "programs reach no file but through gVisor".clone_into(&mut control.note);
        }
        _ => {}
    }
}

/// The process in which gVisor's kernel is: a child of the first process, which started it.
fn kernel(first: Pid) -> io::Result<Pid> {
    let directory = format!("/proc/{}/task", first.as_raw_nonzero());
    for thread in fs::read_dir(directory)? {
        let children = fs::read_to_string(thread?.path().join("children"))?;
        for child in children.split_whitespace() {
            let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            let name = line.split(|byte| *byte == 0).next().unwrap_or_default();
            if name == KERNEL.as_bytes() {
                return child
                    .parse()
                    .ok()
                    .and_then(Pid::from_raw)
                    .ok_or_else(|| io::ErrorKind::InvalidData.into());
            }
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "there is no kernel of gVisor's in it",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I7: the record says what the tier does not do: report, and count what its kernel has where no cgroup does.
    #[test]
    fn what_is_less_than_elsewhere_is_noted() {
        let adapted = |name, strength| {
            let mut control = Control {
                name,
                strength,
                by: "x".into(),
                note: "before".into(),
            };
            adapt(&mut control, Platform::Ptrace);
            assert_eq!(control.strength, strength);
            control.note
        };
        assert_eq!(adapted(ControlName::Seccomp, Strength::Enforced), UNHEARD);
        let partial = adapted(ControlName::Memory, Strength::Partial);
        assert_eq!(partial, format!("before{KERNEL_MEMORY}"));
        assert_eq!(adapted(ControlName::Memory, Strength::Enforced), "before");
    }
}
