//! The example's data is what its generator says.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

use xtask::Tree;

#[test]
fn the_incidents_are_what_the_generator_prints() {
    let tree = Tree::current().unwrap();
    let printed = Command::new("python3")
        .arg(tree.root().join("examples/incident-report/generate.py"))
        .output()
        .unwrap();
    assert!(printed.status.success());
    let committed = tree.read("examples/incident-report/incidents.csv").unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), committed);
}
