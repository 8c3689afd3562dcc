//! What the host is, as far as sandboxes depend on it.

use std::{fs, path::Path};

use serde::Serialize;

/// What the host is.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Host {
    /// The kernel's release, such as `6.12.1-generic`.
    pub(super) kernel: String,
    /// The kernel's Landlock ABI; 0 when it has none.
    pub(super) landlock_abi: u32,
    /// Which versions of cgroups are mounted.
    pub(super) cgroups: &'static str,
    /// Whether the kernel has user namespaces.
    pub(super) user_namespaces: bool,
    /// How many of them there can be, if the kernel says.
    pub(super) user_namespaces_max: Option<u64>,
    /// Debian's switch: whether ordinary users may make them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unprivileged_userns_clone: Option<u64>,
    /// Ubuntu's switch: whether AppArmor takes the privileges in them away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) apparmor_restrict_unprivileged_userns: Option<u64>,
    /// Whether programs in Python can run.
    pub(super) python3: bool,
    /// Who asks.
    pub(super) user_id: u32,
}

impl Host {
    /// Looks around.
    pub(super) fn look() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self {
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            landlock_abi: casemate_sys::landlock_abi(),
            cgroups: cgroups(&mounts),
            user_namespaces: Path::new("/proc/self/ns/user").exists(),
            user_namespaces_max: setting("user/max_user_namespaces"),
            unprivileged_userns_clone: setting("kernel/unprivileged_userns_clone"),
            apparmor_restrict_unprivileged_userns: setting(
                "kernel/apparmor_restrict_unprivileged_userns",
            ),
            python3: Path::new("/usr/bin/python3").exists(),
            user_id: rustix::process::geteuid().as_raw(),
        }
    }

    /// The first two numbers of the kernel's release.
    pub(super) fn kernel_version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.kernel.split(|char: char| !char.is_ascii_digit());
        let mut next = || numbers.next()?.parse().ok();
        Some((next()?, next()?))
    }

    pub(super) const fn is_root(&self) -> bool {
        self.user_id == 0
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
    text.trim().parse().ok()
}

/// The versions in the text of `/proc/self/mountinfo`.
fn cgroups(mounts: &str) -> &'static str {
    let has = |kind: &str| {
        mounts
            .lines()
            .filter_map(|line| line.split_once(" - "))
            .any(|(_, rest)| rest.split(' ').next() == Some(kind))
    };
    match (has("cgroup"), has("cgroup2")) {
        (true, true) => "v1 and v2",
        (true, false) => "v1",
        (false, true) => "v2",
        (false, false) => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_of_cgroups_are_read_from_the_mounts() {
        let one = "30 24 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let two = "31 24 0:27 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n";
        let other = "22 1 254:0 / /a-cgroup rw - ext4 /dev/x rw\n";
        for (mounts, expected) in [
            ("", "none"),
            (other, "none"),
            (one, "v1"),
            (two, "v2"),
            (&[one, other, two].concat(), "v1 and v2"),
        ] {
            assert_eq!(cgroups(mounts), expected);
        }
    }

    #[test]
    fn a_release_starts_with_two_numbers() {
        let version = |kernel: &str| {
            let kernel = kernel.to_owned();
            Host {
                kernel,
                ..Host::look()
            }
            .kernel_version()
        };
        assert_eq!(version("6.12.1-generic"), Some((6, 12)));
        assert_eq!(version("5.14"), Some((5, 14)));
        assert_eq!(version("unknown"), None);
    }
}
