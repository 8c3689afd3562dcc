use super::*;

const HYBRID: &str = "\
32 24 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
33 32 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
37 32 0:33 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 32 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
42 32 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

#[test]
fn each_controller_of_v1_is_found_where_this_process_is() {
    let own = "8:pids:/\n4:memory:/jobs/7\n1:cpu,cpuacct:/\n0::/\n";
    let layout = discover(HYBRID, own);
    assert_eq!(
        layout.v1_memory.as_deref(),
        Some(Path::new("/sys/fs/cgroup/memory/jobs/7"))
    );
    assert_eq!(
        layout.v1_pids.as_deref(),
        Some(Path::new("/sys/fs/cgroup/pids/"))
    );
    assert_eq!(
        layout.v1_cpu.as_deref(),
        Some(Path::new("/sys/fs/cgroup/cpu,cpuacct/"))
    );
    assert_eq!(
        layout.v2, None,
        "a v2 hierarchy without the controllers is no use"
    );
}

#[test]
fn a_hierarchy_mounted_from_below_its_root_is_found_by_the_rest_of_the_path() {
    let mountinfo = "1 2 0:1 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    let layout = discover(mountinfo, "4:memory:/docker/ab/x\n");
    assert_eq!(
        layout.v1_memory.as_deref(),
        Some(Path::new("/sys/fs/cgroup/memory/x"))
    );
    assert_eq!(
        discover(mountinfo, "4:memory:/elsewhere\n"),
        Layout::default()
    );
    assert_eq!(discover("garbage", "garbage"), Layout::default());
}

fn fake_v2(root: &Path) -> String {
    fs::write(
        root.join("cgroup.controllers"),
        "cpuset cpu io memory pids\n",
    )
    .unwrap();
    fs::write(root.join("cgroup.subtree_control"), "cpu memory pids\n").unwrap();
    format!("1 2 0:1 / {} rw - cgroup2 cgroup2 rw\n", root.display())
}

/// R43, R44, R46: on v2 the limits are written before anything can run there.
#[test]
fn v2_limits_are_written_as_the_kernel_wants_them() {
    let root = tempfile::tempdir().unwrap();
    let layout = discover(&fake_v2(root.path()), "0::/\n");
    // The fake's own directory stands for one that the kernel would fill with files.
    let parent = layout.v2.clone().unwrap_or_else(|| root.path().to_owned());
    let layout = Layout {
        v2: Some(parent.clone()),
        ..Layout::default()
    };
    let limits = Limits {
        memory_bytes: 1 << 20,
        processes: 7,
        cpu_milli: 1500,
        ..Limits::default()
    };
    let cgroups = Cgroups::make(&layout, "test", &Ceiling::of(&limits));
    assert_eq!(cgroups.by(), "cgroup v2");
    assert_eq!(
        cgroups.controlled,
        Controlled {
            memory: true,
            processes: true,
            cpu: true
        }
    );
    let [directory] = cgroups.directories.as_slice() else {
        panic!("one directory")
    };
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap();
    assert_eq!(
        (
            read("memory.max"),
            read("pids.max"),
            read("cpu.max"),
            read("memory.swap.max")
        ),
        (
            "1048576".into(),
            "8".into(),
            "150000 100000".into(),
            "0".into()
        )
    );
    assert!(cgroups.clone_into().is_some() && cgroups.tasks.is_empty());
    fs::write(
        directory.join("memory.events"),
        "low 0\noom 1\noom_kill 1\n",
    )
    .unwrap();
    assert_eq!(cgroups.memory_limit(), MemoryLimit::Killed);
}

/// Nothing is claimed where nothing can be made.
#[test]
fn without_a_writable_hierarchy_nothing_is_controlled() {
    let missing = Layout {
        v2: Some("/nonexistent/v2".into()),
        v1_memory: Some("/nonexistent/memory".into()),
        v1_pids: None,
        v1_cpu: None,
    };
    let cgroups = Cgroups::make(&missing, "test", &Ceiling::of(&Limits::default()));
    assert_eq!(
        (cgroups.by(), cgroups.controlled),
        ("none", Controlled::default())
    );
    assert!(cgroups.tasks.is_empty() && cgroups.clone_into().is_none());
}
