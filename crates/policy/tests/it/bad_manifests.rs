//! A corpus of bad manifests: `tests/bad_manifests/NAME.{json,toml}`.

use std::path::Path;

use casemate_policy::{Manifest, Syntax};

use crate::corpus::{compare, lines};

/// R141: a manifest that does not say what it should refuses its tool, and says where and why.
#[test]
fn every_bad_manifest_is_explained() {
    compare("bad_manifests", &[".json", ".toml"], 50, |name, source| {
        let syntax = Syntax::of(Path::new(name)).unwrap();
        let Err(diagnostics) = Manifest::parse(source, syntax) else {
            panic!("{name} is accepted");
        };
        lines(name, source, &diagnostics)
    });
}
