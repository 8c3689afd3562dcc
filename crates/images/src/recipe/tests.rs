use super::*;

const GOOD: &str = r#"
name = "data"
python = "/usr/bin/python3"
python_version = "3.11"
preload = ["a", "a.b_1"]
[env]
OPENBLAS_NUM_THREADS = "1"
[[package]]
name = "Some.pkg"
version = "1.0+local"
wheels = ["sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]
"#;

fn read(text: impl AsRef<[u8]>) -> Result<Recipe, BuildError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("recipe.toml");
    std::fs::write(&file, text).unwrap();
    Recipe::read(&file)
}

#[test]
fn layout_does_not_change_the_digest_of_a_recipe() {
    let recipe = read(GOOD).unwrap();
    let digest = recipe.digest().unwrap();
    let spaced = GOOD.replace(" = ", "=") + "# a remark\n";
    assert_eq!(read(spaced).unwrap().digest().unwrap(), digest);
    let other = GOOD.replace("1.0+local", "1.0");
    assert_ne!(read(other).unwrap().digest().unwrap(), digest);
}

/// Nothing in a recipe can become an option of pip's, a second line of its list or a path. R212
#[test]
fn what_cannot_be_followed_is_named() {
    let package = GOOD.split_once("[[package]]").unwrap().1;
    let twice = format!(
        "{GOOD}[[package]]{}",
        package.replace("Some.pkg", "some-PKG")
    );
    let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for (from, to, says) in [
        (
            "\"Some.pkg\"",
            r#""--index-url=x""#,
            "not the name of a package",
        ),
        ("\"Some.pkg\"", r#""a\nb""#, "not the name of a package"),
        (
            "\"Some.pkg\"",
            r#""a @ file:///x""#,
            "not the name of a package",
        ),
        ("\"Some.pkg\"", r#""../x""#, "not the name of a package"),
        ("\"Some.pkg\"", r#""""#, "not the name of a package"),
        ("\"1.0+local\"", r#""1.0 --hash=sha256:0""#, "not a version"),
        ("\"1.0+local\"", r#""*""#, "not a version"),
        ("\"1.0+local\"", r#""""#, "not a version"),
        ("/usr/bin/python3", "python3", "absolute"),
        ("\"3.11\"", "\"3\"", "3.11"),
        ("\"3.11\"", "\"3.11.2\"", "3.11"),
        ("\"3.11\"", "\">=3\"", "3.11"),
        ("\"a.b_1\"", "\"a;b\"", "name of a module"),
        ("\"a.b_1\"", "\"a.\"", "name of a module"),
        ("\"a.b_1\"", "\"1a\"", "name of a module"),
        ("OPENBLAS_NUM_THREADS", "PATH", "not a recipe's to set"),
        (
            "OPENBLAS_NUM_THREADS",
            "LD_PRELOAD",
            "not a recipe's to set",
        ),
        (
            "OPENBLAS_NUM_THREADS",
            "PYTHONPATH",
            "not a recipe's to set",
        ),
        (
            "OPENBLAS_NUM_THREADS",
            "\"A=B\"",
            "not the name of a variable",
        ),
        ("= \"1\"\n", "= \"\\u0000\"\n", "control characters"),
        (&format!("[\"{digest}\"]"), "[]", "names no wheel"),
        (GOOD, &twice, "twice"),
    ] {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD, "{from}");
        match read(&text) {
            Err(BuildError::Recipe { what, .. }) => assert!(what.contains(says), "{what}: {text}"),
            other => panic!("{from} to {to}: {other:?}"),
        }
    }
    for (from, to) in [
        ("name = \"data\"", "name = \"../x\""),
        ("name = \"data\"", "name = \"deadbeef\""),
        ("name = \"data\"", ""),
        ("sha256:ba", "md5:ba"),
        ("sha256:ba", "sha256:b"),
        ("[env]", "index = \"x\"\n[env]"),
        ("[[package]]", "[[packages]]"),
        ("[env]", "[env"),
    ] {
        let refused = read(GOOD.replace(from, to));
        assert!(
            matches!(refused, Err(BuildError::Syntax { .. })),
            "{to}: {refused:?}"
        );
    }
    assert!(matches!(read(b"\xff"), Err(BuildError::Recipe { .. })));
    let large = format!("{GOOD}#{}", "x".repeat(1024 * 1024));
    assert!(matches!(read(large), Err(BuildError::ReadRecipe { .. })));
    let empty = GOOD.split_once("[[package]]").unwrap().0;
    assert!(read(empty).is_err());
    assert!(Recipe::read(Path::new("/nonexistent")).is_err());
    assert!(Recipe::read(Path::new("/dev/null")).is_err());
}

#[test]
fn names_are_compared_as_indexes_compare_them() {
    for name in ["Some.pkg", "some_pkg", "SOME--pkg", "some-._pkg"] {
        assert_eq!(normal(name), "some-pkg");
    }
}

/// The one that is shipped.
#[test]
fn the_recipe_for_data_is_locked_for_both_machines() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images/python-data.toml");
    let recipe = Recipe::read(&file).unwrap();
    let names: Vec<_> = recipe
        .packages
        .iter()
        .map(|package| &*package.name)
        .collect();
    assert!(names.is_sorted());
    for wanted in ["numpy", "pandas", "matplotlib", "ipython"] {
        let package = recipe
            .packages
            .iter()
            .find(|package| package.name == wanted);
        let wheels = if wanted == "ipython" { 1 } else { 2 };
        assert_eq!(package.unwrap().wheels.len(), wheels, "{wanted}");
    }
}
