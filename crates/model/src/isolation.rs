//! What a sandbox really enforces: a measured fact, never a wish (I7).

use serde::{Deserialize, Serialize};

use crate::{IsolationTier, words};

words! {
    /// Something a sandbox can enforce. A profile may require any of them by name.
    ControlName {
        /// A user namespace: no id inside is an id outside.
        UserNamespace = "user_namespace",
        /// A pid namespace: other processes cannot be seen or signalled, and all inside die together.
        PidNamespace = "pid_namespace",
        /// A mount namespace with its own root.
        MountNamespace = "mount_namespace",
        /// A network namespace with nothing but its own loopback.
        NetworkNamespace = "network_namespace",
        /// An IPC namespace.
        IpcNamespace = "ipc_namespace",
        /// A host-name namespace.
        UtsNamespace = "uts_namespace",
        /// A cgroup namespace.
        CgroupNamespace = "cgroup_namespace",
        /// The root and every input are read-only.
        ReadOnlyRoot = "read_only_root",
        /// No capability, and none can be gained.
        NoCapabilities = "no_capabilities",
        /// No privilege by executing a file.
        NoNewPrivileges = "no_new_privileges",
        /// Unknown and dangerous system calls are refused.
        Seccomp = "seccomp",
        /// Landlock rules on files.
        Landlock = "landlock",
        /// The wall clock.
        WallClock = "wall_clock",
        /// CPU share.
        Cpu = "cpu",
        /// Memory of the tree.
        Memory = "memory",
        /// Processes of the tree.
        Processes = "processes",
        /// Open files.
        OpenFiles = "open_files",
        /// Size of one file.
        FileSize = "file_size",
        /// Size and number of files in the workspace.
        Disk = "disk",
        /// Bytes of output.
        Output = "output",
    }
}
words! {
    /// How well something is enforced.
    Strength {
        /// Not at all.
        Absent = "absent",
        /// In part: the note says what is missing.
        Partial = "partial",
        /// By the kernel or the keeper, for the whole process tree.
        Enforced = "enforced",
    }
}

/// One control and how it is enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// What is enforced.
    pub name: ControlName,
    /// How well.
    pub strength: Strength,
    /// By what, in few words, such as `cgroup v1` or `RLIMIT_NOFILE`.
    pub by: String,
    /// What is missing, if anything is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// The facts about one sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// The boundary.
    pub tier: IsolationTier,
    /// Every control, in the order of [`ControlName::ALL`].
    pub controls: Vec<Control>,
}

impl Isolation {
    /// How well `name` is enforced; a control that is not listed is absent.
    #[must_use]
    pub fn strength(&self, name: ControlName) -> Strength {
        self.controls
            .iter()
            .find(|control| control.name == name)
            .map_or(Strength::Absent, |control| control.strength)
    }
}
