//! The life of a call: a value that changes type as it earns trust.
//!
//! ```text
//! Proposed ─authenticate─► Identified ─enclose─► Enclosed ─check─► Checked ─decide─► Ruling
//!
//! Ruling::Allowed ─record─► Recorded ─lease─► Leased ─run─► Ended ─release─► Released
//! Ruling::Held    ─record─► Pending ─keep─► (an approver answers) ─► Proposed again, with an approval
//! Ruling::Denied  ─record─► Refused
//! ```
//!
//! Each arrow takes the value and gives the next one; no other code can make one. The sandbox exists before
//! the decision, empty, because what it measurably enforces and the digests of its inputs are decided on.
//!
//! Invariants:
//! - Nothing runs but a [`Leased`] call, and a lease comes only from a record that is on disk (I1).
//! - Nobody is told of a refusal or a hold before it is on disk; if it cannot be, the refusal is
//!   `record_unavailable`.
//! - A recorded call is always closed: with its outcome, or as unknown by whoever drops it, or as unknown by
//!   [`Journal::recover`] after its process died. It never runs again.
//! - The same idempotency key and the same call run once; a repeat gets the stored result.
//! - What is done with a session beside calls is decided by its profile, and on disk before it happens.
//! - Records hold no output, no values of variables, and no values that the profile redacts (I11).
//!
//! Deliberately absent: HTTP, SQL, sandboxes. This crate knows traits for them; the binary picks drivers.

mod admission;
mod allowed;
mod answer;
mod approval;
mod ask;
mod beside;
mod checked;
mod claim;
mod clock;
mod crew;
mod crossing;
mod deed;
mod denied;
mod enclosed;
mod ended;
mod entry;
mod erase;
mod error;
mod evidence;
mod facts;
mod held;
mod identified;
mod journal;
mod leased;
mod limits;
mod lodging;
mod look;
mod maker;
mod manifest;
pub mod mcp;
mod meter;
mod open;
mod operation;
mod proposed;
mod recorded;
mod records;
mod redact;
mod released;
mod running;
mod sessions;
mod stored;
mod stores;
mod tee;
mod throw;
pub mod way;

pub use casemate_answers::{Assertion, Message as WebhookMessage, SignedAnswer};
pub use casemate_ledger::{Kind as RecordKind, Place, Proof, Record};

pub use self::{
    admission::{Admission, Bounds, Full, Line, Turn, Whose},
    allowed::{Allowed, Recording},
    answer::Answer,
    approval::{
        Approver, Approvers, BREAK_GLASS, CastVote, MAX_MEMBERS, Member, NotRenewed,
        OpenAnswerError, Renewal, Statement, StatementError, Vote, VoteError,
    },
    ask::{Ask, Code, Key},
    checked::{Checked, Ruling},
    clock::{Clock, Entropy},
    crew::{Crew, Stopped},
    crossing::{Crossings, Heard, MAX_OPEN_REQUESTS},
    deed::{Caller, Done},
    denied::{Denied, Refusal, Refused},
    enclosed::Enclosed,
    ended::Ended,
    erase::{EraseError, Erased},
    error::{RecordError, RecoverError, ReleaseError},
    facts::{Facts, Terms, Wait},
    held::{Held, Pending},
    identified::Identified,
    journal::{Journal, content_aad},
    leased::Leased,
    limits::{
        APPROVAL_MEMORY_MS, CLAIM_GRACE_MS, LEASE_TTL_MS, MAX_CELL_BYTES, MAX_CODE_RECORD_BYTES,
        MAX_CONTENT_BYTES, MAX_CONTEXTS, MAX_INPUTS, MAX_KEPT_INPUT_BYTES, MAX_LISTED,
        MAX_MCP_MESSAGE_BYTES, MAX_MCP_MESSAGES, MAX_MCP_PAGES, MAX_NAME_BYTES, MAX_PAUSED,
        MAX_REPLAY_BYTES, MAX_WAITING, MCP_END_MS, MCP_PIECE_BYTES, RETRY_AFTER_MS,
        SESSION_MEMORY_MS, TOUCH_EVERY_MS,
    },
    lodging::{Lodging, QuotaUse},
    maker::Maker,
    manifest::{Manifest, Runs, SANDBOX_TOOLS},
    operation::{OpenOperation, Operation},
    proposed::Proposed,
    recorded::Recorded,
    records::{Begin, Found, FoundOf, Looker, Search, SearchError, content, shown},
    released::Released,
    running::{
        MAX_ENDED_CALLS, MAX_KEPT_OUTPUT_BYTES, Phase, Pieces, Progress, RunningCall, RunningCalls,
    },
    sessions::{
        AnswerError, Answered, ApprovalCase, ApprovalView, Capacity, Demand, Ending, Images,
        LeftWaiting, NewCall, Parts, Policies, Reconciled, Room, SessionError, SessionStores,
        SessionView, Sessions, Told, VoteView, Waiting,
    },
    stores::Stores,
    tee::Output,
    throw::ThrowError,
};
