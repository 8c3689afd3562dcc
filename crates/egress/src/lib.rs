//! The only way out of a sandbox: a proxy that finds out what each request really is, asks whether it may be, and sends
//! only that.
//!
//! Invariants:
//! - There is one [`Destination`], made by one constructor for all entries; whoever dials takes [`Vetted`] addresses, which
//!   only [`Vetting`] makes (I5).
//! - CONNECT host = server name = `Host` or `:authority` = certificate of the destination, and only then is the
//!   [`Injector`] asked for a credential (I5).
//! - What could be read in two ways is refused, not mended; unknown bytes close a connection (I6).
//! - Nothing is sent without a durable record. A refusal has a [`Code`] that stays, repeats nothing of what it refuses, and
//!   is recorded once.
//! - A connection to a destination serves one client connection.
//! - Everything is bounded, by the names in [`limits`] (I15). Time and chance are passed in.
//!
//! Deliberately absent: rules, secrets, the ledger and sandboxes. They are behind the traits here.

mod address;
mod authority;
mod body;
mod clock;
mod code;
mod destination;
mod dns;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod head;
mod hello;
mod judge;
pub mod limits;
mod name;
mod pins;
mod postgres;
mod proxy;
mod recorder;
mod route;
mod seams;
mod trust;

pub use self::{
    address::{Cidr, CidrError, Nat64, Nat64Error, Vetted, Vetting},
    authority::{Authority, AuthorityError, Subtree},
    clock::{Clock, Entropy},
    code::Code,
    destination::{Destination, Entry, Scheme, Target},
    judge::{
        Admission, Allowance, BodyLength, Denial, Facts, Flow, Judge, LoginFacts, Messages,
        Pending, Whole,
    },
    name::{Host, Name, parse_authority},
    pins::{Pins, PinsError},
    proxy::{Parts, Proxy, Room},
    recorder::{Origin, Record, RecordError, Recorder, Stage},
    route::Route,
    seams::{
        Challenge, ClientCertificate, Enquiry, Filter, FilterError, Filters, InjectError,
        Injection, Injector, Placeholders, Proof, ResolveError, Resolver, Signs,
    },
    trust::{Trust, TrustError},
};
