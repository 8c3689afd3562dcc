//! What goes over a connection to identity. There is no question that is answered with a secret but that for one request.

use serde::{Deserialize, Serialize};

use crate::{ActionToken, Binding, Handle, LeaseId, Order, Rendered, Request, Tested};

/// The one path.
pub(crate) const PATH: &str = "/v1/ask";

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Question {
    Issue {
        order: Order,
    },
    Approve {
        request: Request,
    },
    Learn {
        host: String,
        port: u16,
    },
    Redeem {
        token: ActionToken,
        binding: Binding,
    },
    Grant {
        lease: LeaseId,
        request: Request,
    },
    Standing {
        lease: LeaseId,
    },
    End {
        lease: LeaseId,
    },
    Reflected {
        handle: Handle,
    },
    Test {
        handle: Handle,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Reply {
    Issued {
        token: ActionToken,
        #[serde(default)]
        presents: bool,
    },
    Redeemed {
        lease: LeaseId,
        #[serde(default)]
        presents: Vec<Handle>,
    },
    Granted {
        rendered: Rendered,
    },
    Standing {
        lost: Option<Vec<Handle>>,
    },
    Done {},
    Tested {
        tested: Tested,
    },
    Refused {
        code: Code,
        why: String,
    },
}

impl Reply {
    /// Bytes that it takes at most, if there is a secret in it.
    pub(crate) fn room(&self) -> usize {
        match self {
            Self::Granted { rendered } => rendered.room(),
            _ => 512,
        }
    }
}

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Code {
    /// The credential is not for this.
    Scope,
    /// The token is not good (any more).
    Token,
    /// The credential cannot be had.
    Unavailable,
    /// The question cannot be read.
    Question,
}
