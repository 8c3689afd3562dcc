//! How fast clean bodies pass, beside copying them and beside looking for each spelling by itself. Prints JSON.

use std::{collections::BTreeMap, error::Error, hint::black_box, iter, sync::Arc, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use casemate_scrub::{Scrubber, Secret, Stream};
use memchr::memmem::Finder;
use serde_json::{Value, json};

type Failure = Box<dyn Error>;

const PIECE_BYTES: usize = 1 << 20;
const PIECES: usize = 256;
const SECRETS: [usize; 3] = [1, 10, 100];
/// Of each secret, as a search without an automaton would need them.
const SPELLINGS: usize = 16;

fn main() -> Result<(), Failure> {
    let mut report = BTreeMap::new();
    for (name, piece) in [
        ("random bytes", random()),
        ("JSON", records()),
        (
            "base64",
            Bytes::from(STANDARD.encode(random()).into_bytes()),
        ),
    ] {
        report.insert(name, measure(&piece)?);
    }
    report.insert("hostile", hostile()?);
    #[expect(
        clippy::print_stdout,
        reason = "the report is what this program is for"
    )]
    {
        println!("{:#}", json!(report));
    }
    Ok(())
}

fn measure(piece: &Bytes) -> Result<Value, Failure> {
    let mut rows = BTreeMap::from([("memcpy".to_owned(), memcpy(piece))]);
    for count in SECRETS {
        rows.insert(format!("scrub, {count} secrets"), scrub(piece, count)?);
    }
    for count in [1, 10] {
        rows.insert(format!("memmem, {count} secrets"), memmem(piece, count));
    }
    Ok(json!(rows))
}

fn scrub(piece: &Bytes, count: usize) -> Result<f64, Failure> {
    let secrets = iter::repeat_with(|| Secret::new("name", secret().into_bytes()))
        .take(count)
        .collect::<Result<_, _>>()?;
    let scrubber = Arc::new(Scrubber::new(secrets)?);
    let mut stream = Stream::new(scrubber);
    let rate = mb_per_s(piece, || stream.push(piece, |out| drop(black_box(out))));
    if !stream.finish(drop).is_empty() {
        return Err("a secret was found where none is".into());
    }
    Ok(rate)
}

/// A body of nothing but beginnings of the secret, and how long it takes to get ready for one.
fn hostile() -> Result<Value, Failure> {
    let secret = secret();
    let beginning = secret.get(..39).unwrap_or_default();
    let piece = Bytes::from(beginning.repeat(PIECE_BYTES / 39).into_bytes());
    let scrubber = |secret: &str| {
        Scrubber::new(vec![Secret::new("name", secret.as_bytes().to_vec())?]).map_err(Failure::from)
    };
    let mut stream = Stream::new(Arc::new(scrubber(&secret)?));
    let rate = mb_per_s(&piece, || stream.push(&piece, |out| drop(black_box(out))));
    let began = Instant::now();
    for _ in 0..100 {
        black_box(scrubber(&secret)?);
    }
    let us = began.elapsed().as_secs_f64() * 1e6 / 100.0;
    Ok(json!({ "scrub, 1 secret": rate, "making it ready, in us": us.round() }))
}

fn memcpy(piece: &Bytes) -> f64 {
    mb_per_s(piece, || drop(black_box(Bytes::copy_from_slice(piece))))
}

/// Every spelling on its own, as long as the secret.
fn memmem(piece: &Bytes, count: usize) -> f64 {
    let finders: Vec<_> = iter::repeat_with(|| Finder::new(&secret()).into_owned())
        .take(count * SPELLINGS)
        .collect();
    mb_per_s(piece, || {
        for finder in &finders {
            black_box(finder.find(piece));
        }
    })
}

fn mb_per_s(piece: &Bytes, mut pass: impl FnMut()) -> f64 {
    pass();
    let began = Instant::now();
    let mut bytes = 0;
    for _ in 0..PIECES {
        pass();
        bytes += piece.len();
        if began.elapsed().as_secs() > 5 {
            break;
        }
    }
    (bytes as f64 / began.elapsed().as_secs_f64() / 1e6).round()
}

fn secret() -> String {
    iter::repeat_with(fastrand::alphanumeric).take(40).collect()
}

fn random() -> Bytes {
    iter::repeat_with(|| fastrand::u8(..))
        .take(PIECE_BYTES)
        .collect()
}

/// Records as an API would answer them.
fn records() -> Bytes {
    let mut text = String::new();
    while text.len() < PIECE_BYTES {
        let name: String = iter::repeat_with(fastrand::alphabetic).take(12).collect();
        let record = json!({ "id": fastrand::u32(..), "name": name, "tags": ["open", "customer"], "amount": 12.5 });
        text.push_str(&record.to_string());
        text.push('\n');
    }
    Bytes::from(text.into_bytes())
}
