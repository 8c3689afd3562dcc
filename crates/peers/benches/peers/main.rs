//! Ours beside other proxies: which attacks each holds (`corpus`), what each costs (`speed`), and whether ours grows (`soak`). Prints JSON.
//!
//! Everything happens in a network of its own, in which every address is this machine: what a proxy dials is seen, and nothing leaves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::too_many_lines,
    clippy::large_futures,
    dead_code,
    unused_imports,
    reason = "a benchmark, with parts of the tests"
)]

mod agent;
mod bare;
#[path = "../../../egress/tests/it/client.rs"]
mod client;
mod corpus;
mod enclosed;
mod equipped;
mod load;
mod log;
mod mitmproxy;
mod names;
mod origin;
#[path = "../../../egress/tests/it/corpus/ours.rs"]
mod ours;
mod peer;
mod soak;
mod speed;
mod squid;
#[path = "../../../egress/tests/it/world.rs"]
mod world;

use std::{env, error::Error};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let words: Vec<_> = env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["bare", config] => bare::serve(config),
        ["equipped", directory, port, log] => equipped::serve(directory, port, log),
        ["speed"] => enclosed::run(&["speed"], speed::speed),
        ["soak"] => enclosed::run(&["soak"], soak::soak),
        ["corpus"] => enclosed::run(&["corpus"], corpus::corpus),
        _ => Err("say `corpus`, `speed` or `soak`".into()),
    }
}
