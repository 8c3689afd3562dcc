//! `casemate profile`.

use crate::home::Home;

/// The profile of seed 002, as it is written there.
const SEED: &str = include_str!("../../../policy/profiles/support_refund_assistant.json");

#[test]
fn the_seeds_profile_and_ours_are_valid() {
    let home = Home::new();
    home.write("seed.json", SEED);
    let shown = home.run(["profile", "show"]).exits(0).stdout();
    home.write("ours.toml", shown);
    let ran = home.run(["profile", "check", "seed.json", "ours.toml"]);
    let stdout = ran.exits(0).stdout();
    assert!(stdout.contains("seed.json: valid, route support_refund_assistant, sha256:"));
    assert!(stdout.contains("ours.toml: valid, route run, sha256:"));
    assert_eq!(ran.stderr(), "");
    assert!(home.is_untouched());
}

#[test]
fn every_error_is_explained_with_its_place() {
    let home = Home::new();
    home.write(
        "bad.json",
        SEED.replace("\"route\"", "\"rout\"")
            .replace("60000", "\"soon\""),
    );
    home.write("good.json", SEED);
    home.write("name.yaml", SEED);
    let ran = home.run([
        "profile",
        "check",
        "bad.json",
        "good.json",
        "missing.toml",
        "name.yaml",
    ]);
    ran.exits(1)
        .says("bad.json:2:")
        .says("rout")
        .says("max_runtime_ms");
    ran.says("missing.toml")
        .says("No such file")
        .says("*.json or *.toml");
    assert!(ran.stdout().contains("good.json: valid"));
}
