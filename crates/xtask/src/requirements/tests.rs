use super::*;

const LIST: &str = "\
| # | Plane | Requirement | Source |
|---|---|---|---|
| R1 | PRIN | First | 000 |
| R2 | EXEC | Second | 001 |
| R10 | EXEC | Tenth | 001 |
| I1 | INV | Closed | design |
";

const TESTS: &str = "
    #[test] fn r2_second() {}
    /// R1, I1: several
    /// lines.
    #[test] fn both() {}
    /// Not R10: it does not start with it.
    #[test] fn other() {}
";

fn sample(files: &[(&str, &str)]) -> (tempfile::TempDir, Tree) {
    let directory = tempfile::tempdir().unwrap();
    let mut files = files.to_vec();
    files.push((CLAIMS, "The code meets a wall (R1)."));
    let tree = Tree::sample(directory.path(), &files);
    (directory, tree)
}

#[test]
fn a_claim_without_a_test_is_a_finding() {
    let unproven = |source| {
        let (_directory, tree) = sample(&[(TABLE, LIST), ("crates/a/src/b.rs", source)]);
        let unproven = coverage(&tree).unwrap().unproven;
        assert_eq!(
            findings(&tree)
                .unwrap()
                .iter()
                .any(|finding| finding.contains("names R1")),
            !unproven.is_empty()
        );
        unproven.len()
    };
    assert_eq!(unproven("#[test] fn r2_second() {}"), 1);
    assert_eq!(unproven("#[test] fn r1_first() {}"), 0);
}

#[test]
fn names_comments_and_data_carry_numbers() {
    let data = "[[attempt]]\nname = \"reach out\"\nrequirements = [\"R10\"]\n";
    let (_directory, tree) = sample(&[
        (TABLE, LIST),
        ("crates/a/src/b.rs", TESTS),
        ("crates/a/tests/escape/net.toml", data),
        ("crates/a/tests/bad/broken.toml", "broken = on purpose"),
    ]);
    let page = coverage(&tree).unwrap().page.content;
    for row in [
        "| R1 | PRIN | First | `a::b::both` |",
        "| R2 | EXEC | Second | `a::b::r2_second` |",
        "| R10 | EXEC | Tenth | `a/tests/escape/net.toml: reach out` |",
        "| I1 | INV | Closed | `a::b::both` |",
        "3 of 3 have a test.",
    ] {
        assert!(page.contains(row), "{row} is missing from\n{page}");
    }
}

#[test]
fn a_requirement_without_a_test_is_listed_with_its_plane() {
    let (_directory, tree) = sample(&[(TABLE, LIST), ("crates/a/src/b.rs", TESTS)]);
    let page = coverage(&tree).unwrap().page.content;
    assert!(page.contains("| EXEC | 1 | 2 | R10 |"), "{page}");
}

#[test]
fn a_page_that_is_not_current_is_a_finding_until_it_is_written() {
    let (_directory, tree) = sample(&[(TABLE, LIST), ("crates/a/src/b.rs", TESTS)]);
    assert_eq!(findings(&tree).unwrap().len(), 1);
    write(&tree, &[]).unwrap();
    assert_eq!(findings(&tree).unwrap(), Vec::<String>::new());
}

#[test]
fn a_test_that_disappeared_is_a_finding_and_is_not_written_away() {
    let (directory, tree) = sample(&[(TABLE, LIST), ("crates/a/src/b.rs", TESTS)]);
    write(&tree, &[]).unwrap();
    let before = tree.read(PAGE).unwrap();
    let tree = Tree::sample(
        directory.path(),
        &[("crates/a/src/b.rs", "/// R1: one.\n#[test] fn one() {}")],
    );
    let found = findings(&tree).unwrap().join("\n");
    assert!(
        found.contains("R2 was tested") && found.contains("I1 was tested"),
        "{found}"
    );
    assert!(!found.contains("R1 was tested"), "{found}");

    assert!(write(&tree, &["R2".parse().unwrap()]).is_err());
    assert_eq!(tree.read(PAGE).unwrap(), before, "nothing was written");
    write(&tree, &["R2".parse().unwrap(), "I1".parse().unwrap()]).unwrap();
    assert_eq!(findings(&tree).unwrap(), Vec::<String>::new());
}

#[test]
fn a_number_that_no_requirement_has_is_an_error() {
    for source in [
        "#[test] fn r99_nothing() {}",
        "/// R1 and R2: no list.\n#[test] fn f() {}",
        "/// R1 without a colon\n#[test] fn f() {}",
        "/// R2-R1: backwards.\n#[test] fn f() {}",
        "/// R1-R60000: everything.\n#[test] fn f() {}",
    ] {
        let (_directory, tree) = sample(&[(TABLE, LIST), ("crates/a/src/b.rs", source)]);
        assert!(coverage(&tree).is_err(), "{source}");
    }
    for data in [
        "requirements = []",
        "requirements = \"R1\"",
        "requirements = [\"r1\"]",
    ] {
        let (_directory, tree) = sample(&[(TABLE, LIST), ("crates/a/tests/x.toml", data)]);
        assert!(coverage(&tree).is_err(), "{data}");
    }
}

#[test]
fn a_list_that_is_damaged_is_an_error() {
    for list in [
        "",
        "| R1 | PRIN | First |",
        "| R1 | A | x | 0 |\n| R1 | A | y | 0 |",
        "| R1x | A | x | 0 |",
    ] {
        let (_directory, tree) = sample(&[(TABLE, list)]);
        assert!(coverage(&tree).is_err(), "{list:?}");
    }
}

#[test]
fn ranges_and_names_are_read() {
    let ids = |text: &str| -> Vec<String> {
        Id::of_comment(text)
            .unwrap()
            .iter()
            .map(Id::to_string)
            .collect()
    };
    assert_eq!(ids("R42-R44, I2: limits"), ["R42", "R43", "R44", "I2"]);
    assert_eq!(ids("Rust is read"), Vec::<String>::new());
    let of_name = |name: &str| Id::of_name(name).len();
    assert_eq!(of_name("r24_i9_fresh"), 2);
    assert_eq!(of_name("run_twice"), 0);
    assert_eq!(of_name("refuses_r24"), 0);
}
