//! The only way out of a sandbox: a proxy that finds out what each request really is, asks whether it may be, and sends
//! only that.
//!
//! Invariants:
//! - There is one [`Destination`], made by one constructor for all entries; whoever dials takes [`Vetted`] addresses, which
//!   only [`Vetting`] makes (I5).
//! - What could be read in two ways is refused, not mended; unknown bytes close a connection (I6).
//! - A refusal has a [`Code`] that stays, repeats nothing of what it refuses, and is recorded once.
//! - Everything is bounded, by the names in [`limits`] (I15).
//!
//! Deliberately absent: rules, secrets, the ledger and sandboxes. They are behind the traits here.

mod address;
#[allow(dead_code, unused_imports, reason = "the proxy is what uses it")]
mod authority;
#[allow(dead_code, unused_imports, reason = "the proxy is what uses it")]
mod body;
mod clock;
mod code;
mod destination;
#[allow(dead_code, unused_imports, reason = "the proxy is what uses it")]
mod head;
#[allow(dead_code, unused_imports, reason = "the proxy is what uses it")]
mod hello;
mod judge;
pub mod limits;
mod name;
#[allow(dead_code, unused_imports, reason = "the proxy is what uses it")]
mod trust;

pub use self::{
    address::{Cidr, CidrError, Nat64, Nat64Error, Vetted, Vetting},
    authority::{Authority, AuthorityError, Subtree},
    clock::{Clock, Entropy},
    code::Code,
    destination::{Destination, Entry, Scheme, Target},
    judge::{Admission, Allowance, Denial, Facts, Flow, Judge, Messages, Pending, Whole},
    name::{Host, Name, parse_authority},
    trust::{Trust, TrustError},
};
