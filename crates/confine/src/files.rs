//! Files.

use casemate_sys::LandlockRule;

/// What may be done with files, beside what mounts and ownership say already.
pub const LANDLOCK: &[LandlockRule<'static>] = &[
    LandlockRule::List(c"/"),
    LandlockRule::Execute(c"/usr"),
    LandlockRule::Execute(c"/bin"),
    LandlockRule::Execute(c"/sbin"),
    LandlockRule::Execute(c"/lib"),
    LandlockRule::Execute(c"/lib32"),
    LandlockRule::Execute(c"/lib64"),
    LandlockRule::Execute(c"/libx32"),
    LandlockRule::Execute(c"/etc"),
    LandlockRule::Execute(c"/opt/image"),
    // Where there are honey files, and nothing else: whoever opens one is to be seen.
    LandlockRule::Execute(c"/root"),
    LandlockRule::Devices(c"/dev"),
    LandlockRule::Devices(c"/proc"),
    LandlockRule::Write(c"/dev/shm"),
    LandlockRule::Write(c"/tmp"),
    LandlockRule::Write(c"/workspace"),
];

/// Files below `/proc` that anybody may read and that tell about the host. Others are root's alone.
pub const HIDDEN_FILES: &[&str] = &[
    "cmdline",
    "config.gz",
    "diskstats",
    "interrupts",
    "kallsyms",
    "keys",
    "modules",
    "partitions",
];

/// Directories below `/proc` that tell about the host.
pub const HIDDEN_DIRECTORIES: &[&str] = &["bus", "fs", "irq"];
