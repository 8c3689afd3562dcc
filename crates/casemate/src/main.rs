//! casemate
fn main() {}
