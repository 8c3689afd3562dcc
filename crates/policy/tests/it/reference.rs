//! The pages about profiles and manifests say what the tables say. `BLESS=1` writes them.

use std::{env, fs, path::Path};

use casemate_policy::{manifest_reference, schema_reference};

fn is_current(name: &str, wanted: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/reference")
        .join(name);
    if env::var_os("BLESS").is_some() {
        fs::write(&page, wanted).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&page).unwrap(),
        wanted,
        "BLESS=1 writes it"
    );
}

/// R150: a profile can be reviewed, because every key of it is written down.
#[test]
fn the_profile_reference_is_current() {
    is_current("profile.md", &schema_reference());
}

/// R141: what a tool takes can be reviewed, because every key of a manifest is written down.
#[test]
fn the_manifest_reference_is_current() {
    is_current("manifest.md", &manifest_reference());
}
