//! Sandboxes that last, and what all of them may use together.

use casemate_model::Digest;

use crate::{diagnostic::Fault, visible::quoted};

/// The longest name of an image, in bytes.
const MAX_IMAGE_BYTES: usize = 63;
/// The name of the userland that needs no image.
const HOST: &str = "host";

/// How long a sandbox lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionMode {
    /// A fresh sandbox for each call, destroyed after it.
    Call,
    /// One for each thread: files stay from call to call.
    Thread,
    /// One for each thread, with a stateful Python interpreter: variables stay too.
    Context,
}

impl SessionMode {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::Call, Self::Thread, Self::Context];

    /// The word as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Thread => "thread",
            Self::Context => "context",
        }
    }
}

/// What a sandbox's userland is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// The host's own.
    Host,
    /// The stored image of this name, whichever that is when the session opens.
    Named(String),
    /// This stored image.
    Exactly(Digest),
}

/// How many complete, unused sandboxes stand ready for an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolRules {
    /// At rest.
    pub min: u64,
    /// At most.
    pub max: u64,
    /// After so long without use, in milliseconds, it shrinks to `min`.
    pub idle_ms: u64,
}

/// What calls may use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaRules {
    /// Those of one session.
    pub session: QuotaRule,
    /// Those of one agent.
    pub agent: QuotaRule,
    /// Those of one tenant.
    pub tenant: QuotaRule,
}

/// What the calls of one session, agent or tenant may use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaRule {
    /// Memory of all processes and of all files in sandboxes, in bytes.
    pub memory_bytes: u64,
    /// Processes and threads alive at once.
    pub processes: u64,
    /// CPU, in thousandths of one core.
    pub cpu_milli: u64,
    /// Calls that run at once.
    pub calls: u64,
    /// Bytes of output given back: in the life of a session, in a day for an agent or tenant.
    pub output_bytes: u64,
    /// Calls that wait for their turn.
    pub queued: u64,
}

/// The name or the digest of an image.
pub(crate) fn image(text: &str) -> Result<Image, Fault> {
    if text == HOST {
        return Ok(Image::Host);
    }
    if let Ok(digest) = text.parse() {
        return Ok(Image::Exactly(digest));
    }
    let letter_or_digit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inner = |byte: u8| letter_or_digit(byte) || matches!(byte, b'-' | b'_' | b'.');
    if text.len() <= MAX_IMAGE_BYTES
        && text.bytes().next().is_some_and(letter_or_digit)
        && text.bytes().all(inner)
    {
        return Ok(Image::Named(text.to_owned()));
    }
    Err(Fault::new(
        format!(
            "{} is neither the name nor the digest of an image",
            quoted(text)
        ),
        format!(
            "use `host`, at most {MAX_IMAGE_BYTES} lower-case letters, digits, `-`, `_` and `.`, or `sha256:` \
             and 64 hex digits"
        ),
    ))
}

/// A pool that rests above its most would never rest.
pub(crate) fn pool_min(pool: &mut PoolRules, min: u64) -> Result<(), Fault> {
    // A `max` that could not be read has been reported.
    if pool.max != 0 && min > pool.max {
        return Err(Fault::new(
            format!(
                "{min} sandboxes at rest are more than `max`, which is {}",
                pool.max
            ),
            "raise `max` or lower `min`",
        ));
    }
    pool.min = min;
    Ok(())
}
