//! A corpus of bad profiles: `tests/bad/NAME.{json,toml}`, each with what `NAME.{json,toml}.expected` says.
//!
//! To write the expected files anew, after reading what changes: `BLESS=1 cargo test -p casemate-policy`.

use std::{env, fmt::Write as _, fs, path::Path};

use casemate_policy::{Profile, Syntax, render_diagnostics};

const LEAST_CASES: usize = 60;

/// R144–R149: an unknown key, a missing section, a wrong type or value denies, and says where and why.
#[test]
fn every_bad_profile_is_explained() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut cases = 0;
    let mut wrong = String::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let Some(syntax) = Syntax::of(&path) else {
            continue;
        };
        cases += 1;
        let source = fs::read(&path).unwrap();
        let Err(diagnostics) = Profile::parse(&source, syntax) else {
            panic!("{} is accepted", path.display());
        };
        let mut found = String::new();
        for diagnostic in &diagnostics {
            writeln!(found, "{diagnostic}").unwrap();
            assert!(
                !diagnostic.hint.is_empty(),
                "{}: {diagnostic}",
                path.display()
            );
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let rendered = render_diagnostics(name, &source, &diagnostics);
        assert!(
            rendered
                .chars()
                .all(|char| char == '\n' || !char.is_control()),
            "{rendered:?}"
        );
        let expected = path.with_file_name(format!("{name}.expected"));
        if env::var_os("BLESS").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if found != expected {
            write!(
                wrong,
                "{name}\nexpected:\n{expected}found:\n{found}{rendered}\n"
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(cases >= LEAST_CASES, "only {cases} cases");
}
