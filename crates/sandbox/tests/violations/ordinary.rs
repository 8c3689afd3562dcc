//! Ordinary programs.

use std::path::Path;

use casemate_model::{Cause, Exit};
use casemate_ports::SessionKeeper as _;

use crate::{
    desk::{Desk, program, shell},
    hostile,
    programs::{Kind, NO_MODULE, Ordinary, ordinary},
};

/// So many have to run, whatever this host has.
const LEAST: usize = 250;

/// R209: ordinary programs end by themselves, and nothing that they do is a violation.
pub(crate) async fn all() {
    let desk = Desk::open();
    desk.keeper.open(hostile::spec(1)).await.expect("a session");
    let mut number = 1;
    let (mut run, mut absent, mut stopped) = (0, 0, Vec::new());
    for Ordinary { kind, code, exit } in ordinary() {
        let tool = match kind {
            Kind::Python | Kind::Shell => "/usr/bin/env",
            Kind::Gcc => "/usr/bin/gcc",
            Kind::Git => "/usr/bin/git",
            Kind::Node => "/usr/bin/node",
        };
        if !Path::new(tool).exists() {
            absent += 1;
            continue;
        }
        let command = match kind {
            Kind::Python => program(&[
                "python3",
                "-c",
                &format!("import os, tempfile\nos.chdir(tempfile.mkdtemp())\n{code}"),
            ]),
            _ => shell(&format!("cd $(mktemp -d)\n{code}")),
        };
        match desk.call_in(desk.place(number), command).await {
            Ok(done)
                if done.ended.cause == Cause::Completed
                    && done.ended.violations.is_empty()
                    && done.ended.exit == Some(Exit::Code(exit)) =>
            {
                run += 1;
            }
            Ok(done) if done.ended.exit == Some(Exit::Code(NO_MODULE)) => absent += 1,
            Ok(done) => {
                stopped.push(format!("{code}\n{}{:?}", done.stderr, done.ended));
                number += 1;
                let next = hostile::spec(number);
                desk.keeper.open(next).await.expect("a session");
            }
            Err(error) => stopped.push(format!("{code}\n{error}")),
        }
    }
    desk.keeper.end().await;
    println!("ordinary programs: {run} ran, {absent} are not on this host");
    assert!(
        stopped.is_empty(),
        "{} were stopped:\n{}",
        stopped.len(),
        stopped.join("\n")
    );
    assert!(run >= LEAST, "{run} ran, which shows little");
}
