//! Ours beside other proxies. All of it is the benchmark in `benches/peers`: which attacks each holds, and what each costs.
//!
//! A crate of its own, so that the tests of `egress` are built without rules and logs.
