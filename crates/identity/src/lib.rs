//! The sidecar that holds every credential: the encrypted store, refreshes, action tokens, leases and grants.
//!
//! ```text
//! gateway ─issue─► token ─redeem, once─► lease ─grant─► what goes into one request
//!                                          └─ ends with the call, its connection, a switch, a revocation
//! ```
//!
//! Invariants:
//! - A secret leaves as what is rendered for one request that a lease allows, and in no other way. There is no question that is
//!   answered with one, and nothing here that fetches what somebody asks for.
//! - A record is encrypted by itself under a key that only the key provider unwraps, bound to everything that is said of it in
//!   clear. One that is damaged, moved or open to others is refused (I1).
//! - A record changes by compare and swap of its version. A loser never overwrites, and never deletes.
//! - Who orders a right and who uses it are two connections: neither can do what the other may, and a lease ends with either.
//! - A token is known only to the process that issued it, and forgotten when it is redeemed: it is redeemed once, and never after a
//!   restart.
//! - A refreshed token is on disk before the one that it replaces is gone, and before it is used. Nobody asks a token endpoint
//!   twice for one refresh.
//! - Secrets are erased when they are dropped, and nothing prints one.
//! - Everything is bounded, by the names in [`limits`] (I15). Time and chance are passed in.
//!
//! Deliberately absent: the process, its socket and its confinement (`casemate identity`); who may call what (policy);
//! the ledger: whoever asks records what was granted before it is sent.

mod assertions;
mod clock;
mod credential;
mod endpoint;
mod handle;
mod handshake;
mod identity;
mod jws;
mod kind;
mod lease;
pub mod limits;
mod login;
mod oauth;
mod record;
mod refresh;
mod remote;
mod render;
mod sas;
mod secret;
mod server;
mod side;
mod signing;
mod sigv4;
mod store;
mod tickets;
mod usage;
mod wire;

pub use self::{
    assertions::{AssertionError, AssertionFiles, Assertions},
    clock::{Clock, Entropy},
    credential::{Credential, Secrets},
    endpoint::{Endpoint, EndpointError, HttpsEndpoint, Issuer, TokenAnswer, TokenRequest},
    handle::{Handle, HandleError},
    handshake::Presented,
    identity::{GrantError, OrderError},
    identity::{Identity, Tested},
    kind::{ClientAuth, Kind, KindError},
    lease::{ActionToken, Binding, Holder, LeaseId, Order, TokenError},
    login::{Challenge, Login, Logins},
    record::{Header, RecordError, State},
    refresh::RefreshError,
    remote::{Issued, Redeemed, RemoteError, RemoteIdentity},
    render::{InPlace, Rendered, Request},
    secret::{Form, Secret, SecretError},
    server::Server,
    side::Side,
    signing::{Signatures, SigningError},
    store::{By, Store, StoreError},
    usage::Usage,
};
