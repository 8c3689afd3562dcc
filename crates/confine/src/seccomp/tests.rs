//! The program that the kernel gets, run by a small machine, against the table that people read.

use std::{collections::BTreeMap, str::FromStr as _};

use casemate_sys::Instruction;

use super::{
    EGRESS, IDENTITY, NAMES, PROGRAM, UNHEARD, WATCHED,
    compile::{Action, Comparison, Rule, compile},
    table::{Heard, Table},
};

const ARCH: u32 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else {
    0xc000_00b7
};

const TABLES: [(&str, Heard, &[Instruction]); 4] = [
    (SANDBOXES, Heard::ByKeeper, PROGRAM),
    (SANDBOXES, Heard::ByNobody, UNHEARD),
    (include_str!("../../egress.toml"), Heard::ByKeeper, EGRESS),
    (
        include_str!("../../identity.toml"),
        Heard::ByKeeper,
        IDENTITY,
    ),
];
const SANDBOXES: &str = include_str!("../../seccomp.toml");

fn table(text: &str, heard: Heard) -> BTreeMap<u32, Rule> {
    let table: Table = toml::from_str(text).unwrap();
    for (why, calls) in table.group.iter().map(|group| (&group.why, &group.calls)) {
        assert!(!why.is_empty(), "no reason for {calls}");
    }
    assert!(
        table
            .condition
            .iter()
            .all(|condition| !condition.why.is_empty())
    );
    let number = |name: &str| {
        let call = syscalls::Sysno::from_str(name).ok();
        Ok(call.map(|call| u32::try_from(call.id()).unwrap()))
    };
    table.rules(heard, number).unwrap().by_number
}

fn low(argument: u64) -> u32 {
    u32::try_from(argument & u64::from(u32::MAX)).unwrap()
}

/// Runs the program of sandboxes on one call, as seccomp does.
fn run(arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    run_of(PROGRAM, arch, number, arguments)
}

fn run_of(program: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let load = |offset: u32| match offset {
        0 => number,
        4 => arch,
        16.. => {
            let argument = arguments[(offset as usize - 16) / 8];
            if offset.is_multiple_of(8) {
                low(argument)
            } else {
                low(argument >> 32)
            }
        }
        _ => panic!("offset {offset}"),
    };
    let (mut at, mut value) = (0, 0);
    loop {
        let (operation, yes, no, operand) = program[at];
        at += 1;
        let jump = match operation {
            0x20 => {
                value = load(operand);
                continue;
            }
            0x54 => {
                value &= operand;
                continue;
            }
            0x15 => value == operand,
            0x35 => value >= operand,
            0x06 => return operand,
            other => panic!("operation {other:#x}"),
        };
        at += usize::from(if jump { yes } else { no });
    }
}

fn expected(rule: Option<&Rule>, arguments: [u64; 6]) -> Action {
    let holds = |comparison: &Comparison| {
        let argument = arguments[usize::from(comparison.argument)];
        low(argument) & comparison.mask == comparison.value
            && (!comparison.wide || argument >> 32 == 0)
    };
    match rule {
        None => Action::Absent,
        Some(Rule::Always(action)) => *action,
        Some(Rule::If {
            any,
            then,
            otherwise,
        }) => {
            if any.iter().any(|all| all.iter().all(holds)) {
                *then
            } else {
                *otherwise
            }
        }
    }
}

const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const NO_SUCH_CALL: u32 = 0x0005_0026;
const NOT_PERMITTED: u32 = 0x0005_0001;

fn verdict(action: Action) -> u32 {
    match action {
        Action::Allow => ALLOW,
        Action::Absent => NO_SUCH_CALL,
        Action::Refuse => NOT_PERMITTED,
        Action::Notify => NOTIFY,
    }
}

/// R53, R208: the kernel's program and the table agree on every number and on arguments that matter.
#[test]
fn the_program_does_what_the_table_says() {
    for (text, heard, program) in TABLES {
        compare(&table(text, heard), program);
    }
}

fn compare(rules: &BTreeMap<u32, Rule>, program: &[Instruction]) {
    let values: &[u64] = &[
        0,
        1,
        2,
        6,
        3,
        8,
        10,
        16,
        21,
        39,
        0x5421,
        17,
        40,
        0x5412,
        0x541c,
        0x1000_0000,
        0x0002_0000,
        0x2000_0000,
        0x80,
        0x11,
        0xffff_ffff,
        0x1_0000_0000,
        u64::MAX,
    ];
    for number in 0..2_000 {
        for &value in values {
            for arguments in [
                [value; 6],
                [value, 0, 0, 0, 0, 0],
                [0, value, 0, 0, value, 0],
                [2, 1, value, 0, 0, 0],
            ] {
                assert_eq!(
                    run_of(program, ARCH, number, arguments),
                    verdict(expected(rules.get(&number), arguments)),
                    "call {number} with {arguments:x?}"
                );
            }
        }
    }
}

/// R53: other architectures (32-bit calls on a 64-bit kernel) and the x32 numbers do not exist here.
#[test]
fn foreign_calls_do_not_exist() {
    for number in 0..500 {
        for arch in [0x4000_0003, 0x4000_0028, 0, u32::MAX] {
            assert_eq!(run(arch, number, [0; 6]), NO_SUCH_CALL);
        }
        assert_eq!(run(ARCH, number | 0x4000_0000, [0; 6]), NO_SUCH_CALL);
    }
    assert_eq!(run(ARCH, u32::MAX, [0; 6]), NO_SUCH_CALL);
}

/// R53: the process of egress opens nothing, starts nothing, reaches no socket of this host, and waits for nobody's permission.
#[test]
fn egress_has_connections_and_nothing_else() {
    for name in [
        "open",
        "openat",
        "openat2",
        "creat",
        "execve",
        "execveat",
        "fork",
        "vfork",
        "clone",
        "clone3",
        "ptrace",
        "kill",
        "process_vm_readv",
        "pidfd_open",
        "pidfd_getfd",
        "mount",
        "unshare",
        "setns",
        "socketpair",
        "listen",
        "accept",
        "setuid",
        "setresuid",
        "io_uring_setup",
        "bpf",
        "keyctl",
        "unlink",
        "rename",
        "mkdir",
        "chmod",
        "memfd_create",
    ] {
        let Ok(call) = syscalls::Sysno::from_str(name) else {
            // Another architecture has it.
            continue;
        };
        let number = u32::try_from(call.id()).unwrap();
        for value in [0, 1, 2, u64::MAX] {
            let answer = run_of(EGRESS, ARCH, number, [value; 6]);
            assert_eq!(answer, NO_SUCH_CALL, "{name}");
        }
    }
    let socket = u32::try_from(syscalls::Sysno::socket.id()).unwrap();
    for (family, kind, protocol) in [
        (1, 1, 0),
        (1, 2, 0),
        (16, 3, 0),
        (17, 3, 0),
        (2, 3, 1),
        (2, 3, 255),
        (40, 1, 0),
    ] {
        for flags in [0, 0x80800] {
            let answer = run_of(
                EGRESS,
                ARCH,
                socket,
                [family, kind | flags, protocol, 0, 0, 0],
            );
            assert_eq!(answer, NO_SUCH_CALL, "{family} {kind} {protocol}");
        }
    }
    for number in 0..2_000 {
        for value in [0, 1, 2, 3, 10, 16, 99, u64::MAX] {
            assert_ne!(run_of(EGRESS, ARCH, number, [value; 6]), NOTIFY, "{number}");
        }
    }
}

/// R53: the calls that lead out of a sandbox are never the kernel's to decide.
#[test]
fn the_ways_out_are_closed_whatever_the_arguments() {
    for name in [
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "setns",
        "unshare",
        "ptrace",
        "process_vm_writev",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "open_by_handle_at",
        "kexec_load",
        "init_module",
        "finit_module",
        "keyctl",
        "add_key",
        "move_mount",
        "fsopen",
        "open_tree",
        "mount_setattr",
        "io_uring_setup",
        "clone3",
    ] {
        let number = u32::try_from(syscalls::Sysno::from_str(name).unwrap().id()).unwrap();
        for value in [0, 1, u64::MAX] {
            assert_ne!(run(ARCH, number, [value; 6]), ALLOW, "{name}");
        }
    }
    let clone = u32::try_from(syscalls::Sysno::clone.id()).unwrap();
    for namespace in [
        0x80_u64,
        0x2_0000,
        0x200_0000,
        0x400_0000,
        0x800_0000,
        0x1000_0000,
        0x2000_0000,
        0x4000_0000,
    ] {
        assert_eq!(
            run(ARCH, clone, [namespace | 0x11, 0, 0, 0, 0, 0]),
            NOTIFY,
            "{namespace:#x}"
        );
    }
}

/// R53: where nobody hears of it, nothing waits for an answer, and what would be refused is.
#[test]
fn what_nobody_hears_of_is_refused_all_the_same() {
    for number in 0..2_000 {
        for value in [0, 1, 2, 10, 16, 99, 0x1000_0000, u64::MAX] {
            let arguments = [value; 6];
            let unheard = run_of(UNHEARD, ARCH, number, arguments);
            let wanted = match run(ARCH, number, arguments) {
                NOTIFY if super::is_watched(number) => ALLOW,
                NOTIFY => NOT_PERMITTED,
                // What its kernel does not know is absent, and nothing more is allowed.
                ALLOW if unheard == NO_SUCH_CALL => continue,
                answer => answer,
            };
            assert_eq!(unheard, wanted, "call {number} with {value:#x}");
        }
    }
}

#[test]
fn reported_calls_have_names() {
    for number in 0..2_000 {
        if run(ARCH, number, [1 << 40 | 99; 6]) == NOTIFY {
            assert!(NAMES.iter().any(|(named, _)| *named == number), "{number}");
        }
    }
    assert!(
        WATCHED
            .iter()
            .all(|number| ["connect", "sendto"].contains(&super::name(*number)))
    );
}

#[test]
fn a_jump_that_is_too_far_is_an_error_and_not_another_jump() {
    let far = |number: u32| {
        let any = vec![
            vec![Comparison {
                argument: 0,
                mask: 1,
                value: number,
                wide: true
            }];
            9
        ];
        (
            number,
            Rule::If {
                any,
                then: Action::Allow,
                otherwise: Action::Notify,
            },
        )
    };
    assert!(
        compile(ARCH, &(0..40).map(far).collect())
            .unwrap_err()
            .contains("too far")
    );
}

/// R73, R79: the process that holds credentials executes nothing, starts no process, traces nobody, makes no namespace, and is never
/// answered by somebody else.
#[test]
fn identity_starts_nothing_and_looks_into_nobody() {
    for name in [
        "execve",
        "execveat",
        "fork",
        "vfork",
        "clone3",
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "pidfd_getfd",
        "kill",
        "mount",
        "unshare",
        "setns",
        "chroot",
        "setuid",
        "bpf",
        "keyctl",
        "perf_event_open",
        "io_uring_setup",
        "memfd_create",
        "symlink",
        "link",
        "mknod",
    ] {
        let Ok(call) = syscalls::Sysno::from_str(name) else {
            // Another architecture has it.
            continue;
        };
        let number = u32::try_from(call.id()).unwrap();
        for value in [0, 1, 2, u64::MAX] {
            let answer = run_of(IDENTITY, ARCH, number, [value; 6]);
            assert_eq!(answer, NO_SUCH_CALL, "{name}");
        }
    }
    let clone = u32::try_from(syscalls::Sysno::clone.id()).unwrap();
    // SIGCHLD, as `fork` says it; and the flags of a thread.
    assert_eq!(run_of(IDENTITY, ARCH, clone, [17; 6]), NO_SUCH_CALL);
    let thread = [0x003d_0f00, 0, 0, 0, 0, 0];
    assert_ne!(run_of(IDENTITY, ARCH, clone, thread), NO_SUCH_CALL);
    for number in 0..2_000 {
        for value in [0, 1, 2, 3, 10, 16, 99, u64::MAX] {
            let answer = run_of(IDENTITY, ARCH, number, [value; 6]);
            assert_ne!(answer, NOTIFY, "{number}");
        }
    }
}
