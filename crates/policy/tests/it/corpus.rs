//! A directory of bad files, each with what `NAME.expected` says about it.
//!
//! To write the expected files anew, after reading what changes: `BLESS=1 cargo test -p casemate-policy`.

use std::{env, fmt::Write as _, fs, path::Path};

/// Compares what `found` says of every file in `directory` that ends with one of `ends`.
pub(crate) fn compare(
    directory: &str,
    ends: &[&str],
    least_cases: usize,
    found: impl Fn(&str, &[u8]) -> String,
) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(directory);
    let mut cases = 0;
    let mut wrong = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !ends.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        cases += 1;
        let found = found(name, &fs::read(&path).unwrap());
        let expected = path.with_file_name(format!("{name}.expected"));
        if env::var_os("BLESS").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if found != expected {
            write!(wrong, "{name}\nexpected:\n{expected}found:\n{found}\n").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(cases >= least_cases, "only {cases} cases");
}

/// The diagnostics of a file, one line each, after a look at how they are rendered.
pub(crate) fn lines(
    name: &str,
    source: &[u8],
    diagnostics: &[casemate_policy::Diagnostic],
) -> String {
    let mut lines = String::new();
    for diagnostic in diagnostics {
        writeln!(lines, "{diagnostic}").unwrap();
        assert!(!diagnostic.hint.is_empty(), "{name}: {diagnostic}");
    }
    let rendered = casemate_policy::render_diagnostics(name, source, diagnostics);
    assert!(
        rendered
            .chars()
            .all(|char| char == '\n' || !char.is_control()),
        "{rendered:?}"
    );
    lines
}
