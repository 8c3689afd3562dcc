//! Checks of the tree's form. Each returns what is wrong; `tests/tidy.rs` runs them.

mod code;
mod direction;
mod holes;
mod manifests;
mod places;
mod supply;

pub use self::{
    code::{ignored_tests, misplaced_modules, misplaced_unsafe, oversized_files},
    direction::direction,
    holes::holes,
    manifests::manifests,
    places::places,
    supply::supply,
};
