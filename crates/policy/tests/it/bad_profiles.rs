//! A corpus of bad profiles: `tests/bad/NAME.{json,toml}`.

use std::path::Path;

use casemate_policy::{Profile, Syntax};

use crate::corpus::{compare, lines};

/// R144–R149: an unknown key, a missing section, a wrong type or value denies, and says where and why.
#[test]
fn every_bad_profile_is_explained() {
    compare("bad", &[".json", ".toml"], 60, |name, source| {
        let syntax = Syntax::of(Path::new(name)).unwrap();
        let Err(diagnostics) = Profile::parse(source, syntax) else {
            panic!("{name} is accepted");
        };
        lines(name, source, &diagnostics)
    });
}
