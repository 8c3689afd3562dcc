//! Compiles the table of system calls into the program that the kernel gets.

use std::{env, error::Error, fs, path::Path, str::FromStr as _};

#[path = "src/seccomp/compile.rs"]
mod compile;
#[path = "src/seccomp/table.rs"]
mod table;

use table::Heard;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/seccomp");
    let out = env::var("OUT_DIR")?;
    let sandbox = compiled("seccomp.toml", Heard::ByKeeper)?;
    let unheard = compiled("seccomp.toml", Heard::ByNobody)?;
    let egress = compiled("egress.toml", Heard::ByKeeper)?;
    let identity = compiled("identity.toml", Heard::ByKeeper)?;
    let text = format!(
        "/// The program of sandboxes.\n\
         pub const PROGRAM: &[casemate_sys::Instruction] = &{:?};\n\
         /// The same where nobody hears of what is refused.\n\
         pub const UNHEARD: &[casemate_sys::Instruction] = &{:?};\n\
         /// The program of the process of egress.\n\
         pub const EGRESS: &[casemate_sys::Instruction] = &{:?};\n\
         /// The program of the process of identity.\n\
         pub const IDENTITY: &[casemate_sys::Instruction] = &{:?};\n\
         /// The names of the system calls that the filter of sandboxes reports, by number.\n\
         pub const NAMES: &[(u32, &str)] = &{:?};\n\
         /// The calls that it only reports.\n\
         pub const WATCHED: &[u32] = &{:?};\n\
         /// The calls of which every report is of a violation.\n\
         pub const VIOLATIONS: &[u32] = &{:?};\n",
        sandbox.0,
        unheard.0,
        egress.0,
        identity.0,
        sandbox.1.names.into_iter().collect::<Vec<_>>(),
        sandbox.1.watched,
        sandbox.1.violations,
    );
    fs::write(Path::new(&out).join("seccomp.rs"), text)?;
    Ok(())
}

/// The program of a table, and its rules.
fn compiled(
    file: &str,
    heard: Heard,
) -> Result<(Vec<compile::Instruction>, table::Rules), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={file}");
    let table: table::Table = toml::from_str(&fs::read_to_string(file)?)?;
    let x86 = |name: &str| {
        syscalls::x86_64::Sysno::from_str(name)
            .ok()
            .map(|call| call.id())
    };
    let arm = |name: &str| {
        syscalls::aarch64::Sysno::from_str(name)
            .ok()
            .map(|call| call.id())
    };
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let (audit, rules) = match arch.as_str() {
        "x86_64" => (
            0xc000_003e,
            table.rules(heard, |name| known(name, x86(name), arm(name))),
        ),
        "aarch64" => (
            0xc000_00b7,
            table.rules(heard, |name| known(name, arm(name), x86(name))),
        ),
        other => return Err(format!("no seccomp table for the architecture {other}").into()),
    };
    let rules = rules?;
    let program = compile::compile(audit, &rules.by_number)?;
    Ok((program, rules))
}

/// The number of a call here; nothing if only another architecture has it; an error if none does.
fn known(name: &str, here: Option<i32>, elsewhere: Option<i32>) -> Result<Option<u32>, String> {
    match (here, elsewhere) {
        (Some(number), _) => u32::try_from(number)
            .map(Some)
            .map_err(|error| error.to_string()),
        (None, Some(_)) => Ok(None),
        (None, None) => Err(format!("`{name}` is not a system call")),
    }
}
