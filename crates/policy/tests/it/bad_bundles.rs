//! A corpus of bad bundles: `tests/bad_bundles/NAME.txtar`, files of which each `-- PATH --` begins one. Each is `base.txtar` with these files
//! put into it; one without a text is taken out.

use crate::{
    corpus::compare,
    directory::{Files, compile},
};

const BASE: &[u8] = include_bytes!("../bad_bundles/base.txtar");

/// The files of an archive.
fn files(text: &[u8]) -> Files {
    let text = str::from_utf8(text).unwrap();
    let mut files = Files::new();
    let mut parts = text.split("-- ");
    // What stands before the first file is for people.
    parts.next();
    for part in parts {
        let (path, text) = part.split_once(" --\n").unwrap();
        let mut bytes = Vec::new();
        for (nth, piece) in text.split("<ff>").enumerate() {
            bytes.extend((nth > 0).then_some(0xff));
            bytes.extend(piece.as_bytes());
        }
        files.insert(path.to_owned(), bytes);
    }
    files
}

/// R150, I13: whatever is wrong with a bundle, alone or together, is said with its place, and nothing of it comes into force.
#[test]
fn every_bad_bundle_is_explained() {
    compare("bad_bundles", &[".txtar"], 35, |name, text| {
        let mut bundle = files(BASE);
        bundle.extend(files(text));
        bundle.retain(|_, text| !text.is_empty());
        match compile(&bundle) {
            Ok(_) if name == "base.txtar" => String::new(),
            Ok(_) => panic!("{name} is accepted"),
            Err(wrong) => {
                let printable = |char: char| char == '\n' || !char.is_control();
                assert!(wrong.chars().all(printable), "{name}: {wrong:?}");
                wrong
            }
        }
    });
}
