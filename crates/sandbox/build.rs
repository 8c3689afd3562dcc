//! Builds what a sandbox takes along: the guest.

use std::{env, error::Error, path::Path, process::Command};

fn main() -> Result<(), Box<dyn Error>> {
    let out = env::var("OUT_DIR")?;
    let target = env::var("TARGET")?;
    build_guest(Path::new(&out), &target)
}

/// Builds the guest as a static executable, in a target directory of its own: the outer cargo holds the
/// lock of the other.
fn build_guest(out: &Path, target: &str) -> Result<(), Box<dyn Error>> {
    for path in ["guest", "frames", "confine", "sys"] {
        println!("cargo::rerun-if-changed=../{path}/src");
        println!("cargo::rerun-if-changed=../{path}/Cargo.toml");
    }
    println!("cargo::rerun-if-changed=../confine/seccomp.toml");
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
