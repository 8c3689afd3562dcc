//! Compiles what a sandbox takes along: the seccomp program, and the guest.

use std::{env, error::Error, fs, path::Path, process::Command, str::FromStr as _};

#[path = "src/seccomp/compile.rs"]
mod compile;
#[path = "src/seccomp/table.rs"]
mod table;

fn main() -> Result<(), Box<dyn Error>> {
    let out = env::var("OUT_DIR")?;
    let target = env::var("TARGET")?;
    fs::write(Path::new(&out).join("seccomp.rs"), seccomp_program()?)?;
    build_guest(Path::new(&out), &target)
}

fn seccomp_program() -> Result<String, Box<dyn Error>> {
    println!("cargo::rerun-if-changed=seccomp.toml");
    println!("cargo::rerun-if-changed=src/seccomp");
    let table: table::Table = toml::from_str(&fs::read_to_string("seccomp.toml")?)?;
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
            table.rules(|name| known(name, x86(name), arm(name))),
        ),
        "aarch64" => (
            0xc000_00b7,
            table.rules(|name| known(name, arm(name), x86(name))),
        ),
        other => return Err(format!("no seccomp table for the architecture {other}").into()),
    };
    let rules = rules?;
    let program = compile::compile(audit, &rules.by_number)?;
    Ok(format!(
        "pub(crate) const PROGRAM: &[casemate_sys::Instruction] = &{program:?};\n\
         pub(crate) const NAMES: &[(u32, &str)] = &{:?};\n\
         pub(crate) const WATCHED: &[u32] = &{:?};\n",
        rules.names.into_iter().collect::<Vec<_>>(),
        rules.watched,
    ))
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

/// Builds the guest as a static executable, in a target directory of its own: the outer cargo holds the
/// lock of the other.
fn build_guest(out: &Path, target: &str) -> Result<(), Box<dyn Error>> {
    for path in ["guest", "frames", "sys"] {
        println!("cargo::rerun-if-changed=../{path}/src");
        println!("cargo::rerun-if-changed=../{path}/Cargo.toml");
    }
    let directory = out.join("guest");
    let status = Command::new(env::var("CARGO")?)
        .args([
            "build",
            "--locked",
            "--package=casemate-guest",
            "--profile=guest",
            "--quiet",
        ])
        .arg(format!("--target={target}"))
        .arg("--target-dir")
        .arg(&directory)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTFLAGS")
        .status()?;
    if !status.success() {
        return Err("the guest did not build".into());
    }
    let guest = directory.join(target).join("guest/casemate-guest");
    println!("cargo::rustc-env=CASEMATE_GUEST={}", guest.display());
    Ok(())
}
