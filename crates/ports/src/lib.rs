//! The traits by which the processes of Casemate call each other.
//!
//! [`Keeper`] makes a sandbox for one call, in one process; [`SessionKeeper`] keeps sandboxes that last, in the
//! same process or behind the crate `transport`, which implements the same trait.
//!
//! Invariants:
//! - Nothing that a sandbox says is in these types unchecked: the keeper has bounded and parsed it.
//! - Every channel is bounded; a consumer that stalls stops the program's output, never its clock.

mod egress;
mod io_error;
mod keeper;
mod session;
mod way;

pub use self::{
    egress::{
        Advice, AdviceCode, ConsultedBody, ConsultedRequest, Crossing, CrossingContent, Decider,
        Egress, EgressError, HeldRequest, KnownDestination, NewWay, NotConsented, NotRecorded,
        Pending, RulesForm, Said, ServedWay, Stage, WayAuthority, WayBound, WayRules, Witness,
    },
    keeper::{
        ArtefactSink, CHANNEL_CAPACITY, CallIo, Cell, Command, Control, Echo, Ended, Event,
        InputFile, Keeper, KeeperError, Ready, Sandbox, SandboxSpec, Signal, TerminalSize,
    },
    session::{
        Chunk, Connection, Entry, EntryKind, FileFault, Gone, ImageRef, Kind, Owner, PlaceSpec,
        PoolSize, PoolStatus, Quota, Quotas, SessionKeeper, SessionSpec, SessionStatus,
    },
    way::{
        BadSocket, HandsOver, MADE_UP_ADDRESSES, MAX_AUTHORITY_BYTES, MAX_WAY_PORTS, NotServed,
        TooManyPorts, WAY_OUT_AUTHORITY, WAY_OUT_DNS_PORT, WAY_OUT_IDENTITY_HEADER,
        WAY_OUT_KEYSTORE, WAY_OUT_PORT, Way, WayOut, WayPorts, WaySockets,
    },
};
