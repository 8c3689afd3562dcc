//! The form of the tree. Each check has its own tests, beside it, which show that it finds something.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use xtask::{Tree, reference, requirements, tidy};

fn tree() -> Tree {
    Tree::current().unwrap()
}

#[track_caller]
fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn dependencies_point_in_the_committed_direction() {
    assert_none(&tidy::direction(&tree()).unwrap());
}

#[test]
fn no_file_is_too_long() {
    let (too_long, long) = tidy::oversized_files(&tree()).unwrap();
    if !long.is_empty() {
        eprintln!("worth a thought:\n{}", long.join("\n"));
    }
    assert_none(&too_long);
}

#[test]
fn modules_are_files_with_their_own_name() {
    assert_none(&tidy::misplaced_modules(&tree()));
}

#[test]
fn unsafe_is_in_sys_only_and_says_why() {
    assert_none(&tidy::misplaced_unsafe(&tree()).unwrap());
}

#[test]
fn crates_take_lints_and_metadata_from_the_workspace() {
    assert_none(&tidy::manifests(&tree()).unwrap());
}

#[test]
fn nothing_names_this_machine() {
    assert_none(&tidy::places(&tree()).unwrap());
}

#[test]
fn what_is_locked_is_allowed() {
    assert_none(&tidy::supply(&tree()).unwrap());
}

#[test]
fn every_hole_of_others_is_tried() {
    assert_none(&tidy::holes(&tree()).unwrap());
}

#[test]
fn every_test_runs() {
    assert_none(&tidy::ignored_tests(&tree()).unwrap());
}

#[test]
fn the_requirements_page_is_current_and_no_requirement_lost_its_test() {
    assert_none(&requirements::findings(&tree()).unwrap());
}

#[test]
fn the_reference_pages_are_current() {
    assert_none(&reference::findings(&tree()).unwrap());
}
