//! System calls that need `unsafe`, each behind a safe function that says what it promises.
//!
//! What `rustix` and `landlock` already wrap safely is used from there.
//!
//! Invariants:
//! - `unsafe` is written nowhere else in Casemate.
//! - [`clone_process`] and [`fork_process`] refuse to run in a process with more than one thread: the child runs Rust code,
//!   and a lock held by a thread that does not exist any more would never be released.
//!
//! Deliberately absent: policy. These functions do what they are told and give the kernel's answer.

mod clone;
mod close;
mod exec;
mod landlock;
mod listen;
mod memory;
mod mount;
mod net;
mod privileges;
mod seccomp;
mod signals;
mod wait;

pub use self::{
    clone::{
        Forked, Namespaces, clone_process, close_on_exec_from, enter_cgroup_namespace,
        enter_user_namespace, fork_process, keep_descriptors, thread_count,
    },
    close::SlowFd,
    exec::{exec_fd, exec_path, exit_now},
    landlock::{LandlockRule, LandlockScope, LandlockStatus, landlock_abi, restrict_files},
    listen::take_listening_sockets,
    memory::read_process_memory,
    mount::{MountAttributes, set_mount_attributes},
    net::{PendingNetwork, bring_loopback_up, enter_network},
    privileges::{drop_capabilities, drop_capabilities_of_user, keep_capabilities, set_no_dump},
    seccomp::{
        Instruction, Notification, NotificationReply, install_filter, install_silent_filter,
        receive_notification, reply_to_notification,
    },
    signals::{SignalEvents, reset_signals, signal_everyone, signal_group},
    wait::{ChildExit, WaitedChild, wait_any},
};
