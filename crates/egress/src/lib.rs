//! The only way out of a sandbox: a proxy that finds out what each request really is, asks whether it may be, and sends
//! only that.
//!
//! Invariants:
//! - There is one [`Destination`], made by one constructor for all entries; whoever dials takes [`Vetted`] addresses, which
//!   only [`Vetting`] makes (I5).
//! - What could be read in two ways is refused, not mended; unknown bytes close a connection (I6).
//! - A refusal has a [`Code`] that stays, repeats nothing of what it refuses, and is recorded once.
//! - Everything is bounded, by the names below (I15).
//!
//! Deliberately absent: rules, secrets, the ledger and sandboxes. They are behind the traits here.

mod address;
mod code;
mod destination;
#[expect(dead_code, reason = "the proxy is what uses it")]
mod head;
mod judge;
pub mod limits;
mod name;

pub use self::{
    address::{Cidr, CidrError, Nat64, Nat64Error, Vetted, Vetting},
    code::Code,
    destination::{Destination, Entry, Scheme, Target},
    judge::{Admission, Allowance, Denial, Facts, Flow, Judge, Messages, Pending, Whole},
    name::{Host, Name, parse_authority},
};
