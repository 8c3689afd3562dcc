//! What can be done about a host on which no sandbox can be made.

use super::host::Host;

/// The first kernel that has all that a sandbox needs.
const OLDEST_KERNEL: (u32, u32) = (5, 14);

/// Everything that stands in the way, as far as the host tells; else what usually does.
pub(super) fn advice(host: &Host) -> Vec<String> {
    let mut advice = Vec::new();
    if host
        .kernel_version()
        .is_some_and(|version| version < OLDEST_KERNEL)
    {
        let (major, minor) = OLDEST_KERNEL;
        advice.push(format!(
            "the kernel is {}: use {major}.{minor} or a newer one",
            host.kernel
        ));
    }
    if !host.user_namespaces {
        advice.push("the kernel has no user namespaces: use one with CONFIG_USER_NS=y".to_owned());
    }
    if host.user_namespaces_max == Some(0) {
        advice.push(
            "user namespaces are switched off: `sysctl user.max_user_namespaces=10000`".to_owned(),
        );
    }
    if !host.is_root() && host.unprivileged_userns_clone == Some(0) {
        advice.push(
            "only root may make user namespaces: `sysctl kernel.unprivileged_userns_clone=1`, or run as root"
                .to_owned(),
        );
    }
    if !host.is_root() && host.apparmor_restrict_unprivileged_userns == Some(1) {
        advice.push(
            "AppArmor restricts user namespaces: give casemate a profile with the rule `userns,`, or \
             `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or run as root"
                .to_owned(),
        );
    }
    if advice.is_empty() {
        advice.push(
            "in a container, its runtime may forbid what a sandbox needs (user namespaces, mounts, an \
             unmasked /proc): run on the host itself"
                .to_owned(),
        );
        advice.push("limits on processes or memory (`ulimit -a`) may be too low".to_owned());
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            kernel: "6.12.0".into(),
            landlock_abi: 6,
            cgroups: "v2",
            user_namespaces: true,
            user_namespaces_max: Some(1000),
            unprivileged_userns_clone: None,
            apparmor_restrict_unprivileged_userns: None,
            python3: true,
            user_id: 1000,
        }
    }

    #[test]
    fn each_obstacle_is_named_with_what_removes_it() {
        type Change = fn(&mut Host);
        let obstacles: [(Change, &str); 5] = [
            (|host| host.kernel = "5.10.0-30-amd64".into(), "5.14"),
            (|host| host.user_namespaces = false, "CONFIG_USER_NS"),
            (
                |host| host.user_namespaces_max = Some(0),
                "user.max_user_namespaces=",
            ),
            (
                |host| host.unprivileged_userns_clone = Some(0),
                "kernel.unprivileged_userns_clone=1",
            ),
            (
                |host| host.apparmor_restrict_unprivileged_userns = Some(1),
                "kernel.apparmor_restrict_unprivileged_userns=0",
            ),
        ];
        for (change, expected) in obstacles {
            let mut host = host();
            change(&mut host);
            let advice = advice(&host);
            assert!(
                advice.len() == 1 && advice[0].contains(expected),
                "{advice:?}"
            );
        }
    }

    #[test]
    fn root_is_not_told_to_become_root() {
        let host = Host {
            user_id: 0,
            unprivileged_userns_clone: Some(0),
            apparmor_restrict_unprivileged_userns: Some(1),
            ..host()
        };
        assert!(
            advice(&host)
                .iter()
                .all(|line| !line.contains("run as root"))
        );
        assert!(!advice(&host).is_empty());
    }
}
