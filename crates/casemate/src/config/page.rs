//! The reference page of the configuration, made from the table of keys.

use super::keys::{Key, Slot};

/// The page.
pub(super) fn of(keys: &[Key]) -> String {
    let mut page = String::from(HEAD);
    for key in keys {
        let kind = match &key.slot {
            Slot::Address(_) => "an address and a port".to_owned(),
            Slot::Path(_) => "a path".to_owned(),
            Slot::Paths(_) => "a list of paths; in the variable with `:` between them".to_owned(),
            Slot::Number(_, from, to) => format!("a whole number from {from} to {to}"),
        };
        let flag = key
            .flag
            .map_or_else(|| "none".to_owned(), |flag| format!("`{flag}`"));
        page.push_str(&format!(
            "\n## `{}`\n\n{}\n\n- value: {kind}\n- otherwise: {}\n- variable: `{}`\n- command line: {flag}\n",
            key.path,
            key.says,
            key.otherwise,
            key.variable(),
        ));
    }
    page
}

const HEAD: &str = "# Configuration

<!-- Generated from crates/casemate/src/config/keys.rs: `cargo xtask reference` writes it anew. -->

`casemate up` and `casemate serve` need none. What they are told can stand in one TOML file, named by `--config FILE` or `CASEMATE_CONFIG`; in
variables of the environment; and on the command line. What is said later in this order counts. Only its owner may be able to write the file.
Relative paths in it are relative to its directory.

```toml
listen = \"127.0.0.1:7480\"
profiles = [\"support.toml\"]

[limits]
calls = 128
```

`casemate config check --config casemate.toml` says everything that is wrong, with line and column: unknown keys are. A variable that is empty is not there.
";

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    /// The page that is committed is the one that this build makes.
    #[test]
    fn the_page_of_the_configuration_is_current() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let path = root.join("docs/reference/configuration.md");
        let page = super::super::page();
        if env::var_os("BLESS").is_some() {
            fs::write(&path, &page).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == page, "run `cargo xtask reference`");
    }
}
