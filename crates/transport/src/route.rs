//! What can be asked, and the JSON of each question.

use std::path::PathBuf;

use casemate_model::{ContextId, DecisionId, Limits, SessionId, Text};
use casemate_ports::{Kind, Owner, PoolSize, Way};
use serde::{Deserialize, Serialize};

macro_rules! routes {
    ($($(#[$doc:meta])* $name:ident = $path:literal,)*) => {
        /// What can be asked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Route { $($(#[$doc])* $name,)* }

        impl Route {
            /// The version is a part of the path: an older keeper may still be alive, with sessions in it.
            pub(crate) const fn path(self) -> &'static str {
                match self { $(Self::$name => concat!("/keeper/2/", $path),)* }
            }

            pub(crate) fn of_path(path: &str) -> Option<Self> {
                $(if path == Self::$name.path() { return Some(Self::$name); })*
                None
            }
        }
    };
}

routes! {
    /// `SessionKeeper::stock`.
    Stock = "stock",
    /// `SessionKeeper::pools`.
    Pools = "pools",
    /// `SessionKeeper::open`.
    Open = "open",
    /// `SessionKeeper::sessions`.
    Sessions = "sessions",
    /// `SessionKeeper::close`.
    Close = "close",
    /// `SessionKeeper::place` and the whole life of the place: frames both ways.
    Place = "place",
    /// `SessionKeeper::open_context`.
    OpenContext = "open-context",
    /// `SessionKeeper::close_context`.
    CloseContext = "close-context",
    /// `SessionKeeper::write_file`: frames there.
    WriteFile = "write-file",
    /// `SessionKeeper::read_file`: frames back.
    ReadFile = "read-file",
    /// `SessionKeeper::list_files`.
    ListFiles = "list-files",
    /// `SessionKeeper::remove_file`.
    RemoveFile = "remove-file",
    /// `SessionKeeper::pack`: frames back.
    Pack = "pack",
    /// `SessionKeeper::unpack`: frames there.
    Unpack = "unpack",
    /// `SessionKeeper::connect`: frames both ways.
    Connect = "connect",
}

/// The question of a route that takes nothing.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stock {
    pub(crate) owner: Owner,
    pub(crate) kind: Kind,
    pub(crate) size: PoolSize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfSession {
    pub(crate) session: SessionId,
    pub(crate) owner: Owner,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfContext {
    pub(crate) session: SessionId,
    pub(crate) owner: Owner,
    pub(crate) context: ContextId,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfPath {
    pub(crate) session: SessionId,
    pub(crate) owner: Owner,
    pub(crate) path: Text,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfPort {
    pub(crate) session: SessionId,
    pub(crate) owner: Owner,
    pub(crate) port: u16,
}

/// The head of a place; as many inputs follow as it says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaceHead {
    pub(crate) session: SessionId,
    pub(crate) owner: Owner,
    pub(crate) limits: Limits,
    pub(crate) context: Option<ContextId>,
    pub(crate) inputs: usize,
    pub(crate) way: Option<PlaceWay>,
}

/// A way out; its path as bytes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaceWay {
    authority: String,
    handover: Text,
    decision: DecisionId,
}

impl From<Way> for PlaceWay {
    fn from(way: Way) -> Self {
        Self {
            authority: way.authority,
            handover: way.handover.into_os_string().into(),
            decision: way.decision,
        }
    }
}

impl From<PlaceWay> for Way {
    fn from(way: PlaceWay) -> Self {
        Self {
            authority: way.authority,
            handover: PathBuf::from(way.handover.as_os_str()),
            decision: way.decision,
        }
    }
}
