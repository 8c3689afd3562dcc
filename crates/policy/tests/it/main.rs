//! What this crate promises, from outside.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod against_oracle;
mod arguments;
mod bad_bundles;
mod bad_manifests;
mod bad_profiles;
mod bare;
mod build;
mod corpus;
mod decisions;
mod difference;
mod directory;
mod egress;
mod egress_admission;
mod egress_difference;
mod egress_logins;
mod egress_page;
mod egress_properties;
mod forbids;
mod gate;
mod hostile;
mod library;
mod long_lists;
mod manifests;
mod monotone;
mod oracle;
mod profiles;
mod reference;
mod seed_table;
mod servers;
mod worlds;
