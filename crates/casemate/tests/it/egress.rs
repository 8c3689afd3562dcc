//! The process of egress: what it is kept from.

use std::{
    fs,
    os::unix::net::UnixStream,
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::{home::for_everybody, keeper::until};

/// R53, I6: it opens no file, executes nothing, starts nothing, looks into nobody, reaches no socket of this host but those for
/// connections. It tries each in itself; a unit test sees to it that whoever is not restricted finds all of that possible.
#[test]
fn it_can_do_nothing_but_connect() {
    for_everybody(|home| {
        let told = home.run(["egress"]).exits(0).json();
        let tried = told["tried"].as_array().unwrap();
        assert_eq!(tried.len(), 13);
        for one in tried {
            assert_eq!(one["held"], true, "{one}");
        }
        // Nothing durable came of it.
        assert!(home.is_untouched());
    });
}

/// A process that serves nobody, and its other end.
struct Started {
    watcher: Child,
    channel: UnixStream,
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.watcher.kill());
        drop(self.watcher.wait());
    }
}

fn serving(watcher: u32) -> Option<u32> {
    let children = format!("/proc/{watcher}/task/{watcher}/children");
    fs::read_to_string(children).ok()?.trim().parse().ok()
}

/// The kernel says the same of it from outside: another user, no capability, no way to one, system calls filtered, nothing of
/// this host's to see; and it ends with whoever started it.
#[test]
fn the_kernel_says_so_too() {
    for_everybody(|home| {
        fs::create_dir(home.path("run")).unwrap();
        home.give("run");
        fs::set_permissions(
            home.path("run"),
            std::os::unix::fs::PermissionsExt::from_mode(0o700),
        )
        .unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let watcher = home
            .casemate([
                "egress",
                "--handover",
                "run/egress.sock",
                "--roots",
                "none.pem",
            ])
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Started {
            watcher,
            channel: ours,
        };
        let mut length = [0; 4];
        std::io::Read::read_exact(&mut (&started.channel), &mut length).unwrap();
        let mut said = vec![0; u32::from_be_bytes(length) as usize];
        std::io::Read::read_exact(&mut (&started.channel), &mut said).unwrap();
        let said: Value = serde_json::from_slice(&said).unwrap();
        let pid = serving(started.watcher.id()).unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let has = |line: &str| assert!(status.lines().any(|one| one == line), "{line}: {status}");
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "Threads:\t1"] {
            has(line);
        }
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            has(&format!("{set}:\t0000000000000000"));
        }
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let file = limits
            .lines()
            .find(|line| line.starts_with("Max file size"));
        let file: Vec<_> = file.unwrap().split_whitespace().skip(3).collect();
        assert_eq!(file, ["4194304", "4194304", "bytes"]);
        let ids = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:\t"))
            .unwrap();
        let ids: Vec<_> = ids.split('\t').collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        assert_eq!(said["user"].to_string(), ids[0]);
        assert_ne!(ids[0], "0");
        if rustix::process::geteuid().is_root() {
            for namespace in ["mnt", "pid", "ipc", "uts"] {
                let of =
                    |pid: String| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
                assert_ne!(of(pid.to_string()), of("self".to_owned()), "{namespace}");
            }
            assert_eq!(
                fs::read_dir(format!("/proc/{pid}/root")).unwrap().count(),
                0
            );
        }
        // Whoever started it is gone.
        started.channel.shutdown(std::net::Shutdown::Both).unwrap();
        until("it is gone", || {
            !fs::exists(format!("/proc/{pid}/status")).unwrap()
                || serving(started.watcher.id()).is_none()
        });
    });
}
