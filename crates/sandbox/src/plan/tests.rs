//! The plan is data: what a sandbox will look like can be checked without making one.

use std::path::Path;

use super::*;

fn steps() -> Vec<Step> {
    plan(
        Path::new("/"),
        Image::None,
        &Limits::default(),
        &[10, 5_000],
        None,
        Baits::None,
    )
    .unwrap()
}

/// I3: a sandbox that is to have no way out has no socket of one, and one that has one has nothing else more.
#[test]
fn a_way_out_is_its_sockets_and_three_files_and_links() {
    let way_out = WayOut {
        authority: "certificate".to_owned(),
        ports: WayPorts::new([8443]).unwrap(),
    };
    let plan = plan(
        Path::new("/"),
        Image::None,
        &Limits::default(),
        &[10, 5_000],
        Some(&way_out),
        Baits::None,
    );
    let (with, without) = (plan.unwrap(), steps());
    assert!(!without.iter().any(|step| matches!(step, Step::OpenWay(_))));
    let more: Vec<_> = with.iter().filter(|step| !without.contains(step)).collect();
    let path = |path: &str| CString::new(path).unwrap();
    let is_store = |step: &&&Step| match step {
        Step::Directory(path, 0o755) => {
            let path = path.to_str().unwrap();
            path.starts_with("etc/ssl") || path.starts_with("etc/pki")
        }
        Step::Link(target, _) => target.to_bytes().starts_with(b"/etc/casemate/authority."),
        _ => false,
    };
    let (stores, more): (Vec<_>, Vec<_>) = more.iter().partition(is_store);
    let bundle = Step::Link(
        path("/etc/casemate/authority.pem"),
        path("etc/ssl/certs/ca-certificates.crt"),
    );
    assert!(stores.contains(&&bundle), "{stores:?}");
    assert_eq!(
        more,
        [
            &Step::Directory(path("etc/casemate"), 0o755),
            &Step::File(
                path("etc/casemate/authority.pem"),
                b"certificate".as_slice().into()
            ),
            &Step::File(path("etc/casemate/authority.jks"), keystore("").into()),
            &Step::File(path("etc/resolv.conf"), RESOLV_CONF.as_bytes().into()),
            &Step::OpenWay(way_out.ports),
        ]
    );
    assert_eq!(with.len(), without.len() + more.len() + stores.len());
    let listen = position(&with, |step| matches!(step, Step::OpenWay(_)));
    assert!(position(&with, |step| *step == Step::EnterNetwork) < listen);
}

fn position(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> usize {
    steps.iter().position(wanted).unwrap()
}

/// R39, R41: whatever of the host is shown is read-only, and nothing of it is a place with secrets.
#[test]
fn the_host_is_shown_read_only_and_in_part() {
    for step in steps() {
        let Step::Bind(source, target, attributes) = &step else {
            continue;
        };
        let (source, target) = (source.to_str().unwrap(), target.to_str().unwrap());
        assert_eq!(source, format!("/{target}"), "at the same place");
        if let Some(device) = source.strip_prefix("/dev/") {
            assert!(DEVICES.contains(&device), "{source}");
        } else {
            assert!(attributes.read_only && attributes.no_devices, "{source}");
            assert!(source == "/usr" || source.starts_with("/etc/") || source.starts_with("/lib"));
        }
        for secret in [
            "shadow",
            "passwd",
            "ssh",
            "sudoers",
            "machine-id",
            "resolv.conf",
            "ssl/private",
        ] {
            assert!(!source.contains(secret), "{source}");
        }
    }
}

/// The order is the protection: mounts are private first, the root is sealed last.
#[test]
fn mounts_are_detached_first_and_the_root_is_sealed_last() {
    let steps = steps();
    let mounts = position(&steps, |step| *step == Step::DetachMounts);
    assert_eq!(
        steps[..mounts],
        [Step::StartNetwork],
        "another process does it meanwhile"
    );
    assert!(matches!(steps[mounts + 1], Step::EnterRoot(_)));
    assert!(steps.contains(&Step::EnterNetwork));
    assert_eq!(steps.last(), Some(&Step::SealRoot));
    let processes = position(&steps, |step| matches!(step, Step::Processes(_)));
    let hidden = position(&steps, |step| matches!(step, Step::HideFile(_)));
    assert!(processes < hidden, "hiding works on the new process table");
}

/// R36, R45, R47: every writable place has a size and a number of files.
#[test]
fn every_writable_place_is_limited() {
    let steps = steps();
    let places: Vec<_> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Tmpfs(path, options) => Some((path.to_str().unwrap(), options.to_str().unwrap())),
            _ => None,
        })
        .collect();
    assert_eq!(
        places,
        [
            ("tmp", "size=67108864,nr_inodes=16384,mode=1777"),
            ("dev/shm", "size=67108864,nr_inodes=16384,mode=1777"),
            ("workspace", "size=536870912,nr_inodes=65539,mode=0755"),
            // A page for the directory, one for 10 bytes, two for 5000.
            ("workspace/in", "size=16384,nr_inodes=4,mode=0755"),
        ]
    );
}
