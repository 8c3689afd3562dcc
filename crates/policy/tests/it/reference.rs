//! The page about profiles says what the schema says.

use std::{env, fs, path::Path};

use casemate_policy::schema_reference;

/// R150: a profile can be reviewed, because every key of it is written down. `BLESS=1` writes the page.
#[test]
fn the_profile_reference_is_current() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/profile.md");
    let wanted = schema_reference();
    if env::var_os("BLESS").is_some() {
        fs::write(&page, &wanted).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&page).unwrap(),
        wanted,
        "BLESS=1 writes it"
    );
}
