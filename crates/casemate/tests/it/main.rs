//! The command line as its users meet it: real processes, real sandboxes, as root and as anybody.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod agents;
mod approvals;
mod audit;
mod backups;
mod browser;
mod callers;
mod canary;
mod certificates;
mod clients;
mod crash;
mod credentials;
mod databases;
mod deciders;
mod e2b;
mod egress;
mod exits;
mod files;
mod gvisor;
mod held_requests;
mod holes;
mod home;
mod idempotency;
mod identity;
mod images;
mod json;
mod keeper;
mod least;
mod lends;
mod mcp;
mod mcp_servers;
mod names;
mod openai;
mod places;
mod platforms;
mod policy;
mod profiles;
mod refused;
mod route;
mod serve;
mod server;
mod services;
mod signals;
mod storm;
mod streams;
mod switches;
mod up;
mod up_crash;
mod upstream;
mod usage;
mod way;
mod ways;
mod webdriver;
mod webhooks;
