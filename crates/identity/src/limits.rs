//! Every limit of identity, by name (I15).

use std::time::Duration;

/// A shorter secret would be found in ordinary text, and could not be kept out of answers.
pub const MIN_SECRET_BYTES: usize = 8;
/// A longer one is a file of another kind.
pub const MAX_SECRET_BYTES: usize = 16 * 1024;
/// Bytes of the name of a credential.
pub const MAX_NAME_BYTES: usize = 64;
/// Bytes of what stands for a secret in requests of clients.
pub const MAX_STAND_IN_BYTES: usize = 128;
/// Bytes of any word of a credential's settings: a URL, a client, a user.
pub const MAX_WORD_BYTES: usize = 1_024;
/// Scopes, repositories and permissions of a credential.
pub const MAX_WORDS: usize = 64;
/// Credentials of one store.
pub const MAX_CREDENTIALS: usize = 4_096;
/// Bytes of the file of a credential.
pub const MAX_RECORD_BYTES: u64 = 128 * 1024;
/// How long a store waits for its lock, which is held for one write.
pub const LOCK_WAIT_MS: u64 = 10_000;

/// Tokens that were issued and not redeemed.
pub const MAX_TOKENS: usize = 4_096;
/// How long a token waits to be redeemed.
pub const TOKEN_TTL_MS: u64 = 60_000;
/// Signatures of handshakes that were granted and not asked for.
pub const MAX_TICKETS: usize = 1_024;
/// Those of one lease: no call can use up what others need.
pub const MAX_LEASE_TICKETS: usize = 32;
/// How long one is waited for: longer than a handshake may take.
pub const TICKET_TTL_MS: u64 = 60_000;
/// Bytes of a question for a signature, and of its answer.
pub const MAX_SIGNING_BYTES: usize = 4 * 1024;
/// Leases at once.
pub const MAX_LEASES: usize = 16_384;
/// The longest lease: that of the longest call.
pub const MAX_LEASE_MS: u64 = 24 * 60 * 60 * 1_000;
/// Destinations of one rule that are known.
pub const MAX_KNOWN: usize = 1_024;
/// Requests of one lease that were approved and not sent yet.
pub const MAX_APPROVED: usize = 64;
/// Rules in one lease.
pub const MAX_USAGES: usize = 1_024;
/// Bytes of a name in a binding.
pub const MAX_BOUND_NAME_BYTES: usize = 1_024;

/// Bytes of a message of SCRAM.
pub const MAX_SCRAM_BYTES: usize = 1_024;
/// Rounds that a server may ask for: fewer make a secret easy to guess (RFC 7677, 4).
pub const MIN_SCRAM_ROUNDS: u32 = 4_096;
/// More take longer than anybody waits.
pub const MAX_SCRAM_ROUNDS: u32 = 1_000_000;
/// Logins that are answered at once: each may have a processor to itself for a second. Others wait.
pub const MAX_LOGINS: usize = 2;

/// OAuth tokens are fetched anew so long before they expire, if that is less than half of their life.
pub const REFRESH_BEFORE_MS: u64 = 20 * 60 * 1_000;
/// Shared access signatures are made anew so long before they expire, if that is less than half of their life.
pub const SAS_REFRESH_BEFORE_MS: u64 = 15 * 60 * 1_000;
/// How long one counts.
pub const SAS_LIFE_MS: u64 = 60 * 60 * 1_000;
/// How far back it counts: clocks differ.
pub const SAS_SKEW_MS: u64 = 15 * 60 * 1_000;
/// A token that says nothing of its life is used for so long; how long its issuer takes it is not known.
pub const DEFAULT_TOKEN_LIFE_MS: u64 = 10 * 60 * 1_000;
/// No token is used for longer, whatever its issuer says.
pub const MAX_TOKEN_LIFE_MS: u64 = 24 * 60 * 60 * 1_000;
/// A token that expires so soon is not used any more: it might expire on its way.
pub const EXPIRY_MARGIN_MS: u64 = 5_000;
/// How long an assertion that is signed here counts.
pub const ASSERTION_TTL_S: u64 = 300;
/// How far back it counts: clocks differ.
pub const ASSERTION_SKEW_S: u64 = 60;
/// The first wait after a token endpoint failed; it doubles.
pub const FIRST_BACKOFF_MS: u64 = 1_000;
/// The longest wait after failures, whatever the endpoint asks for.
pub const MAX_BACKOFF_MS: u64 = 5 * 60 * 1_000;
/// How long a token endpoint may take.
pub const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of an answer of a token endpoint.
pub const MAX_ANSWER_BYTES: u64 = 256 * 1024;

/// Fields of a request that a signature is over, beside its own.
pub const MAX_SIGNED: usize = 64;

/// Bytes of a question to this process.
pub const MAX_QUESTION_BYTES: usize = 1024 * 1024;
/// Bytes of an answer of this process: a secret in a few forms.
pub const MAX_REPLY_BYTES: usize = 256 * 1024;
/// How long a question may take to be there.
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take for which nobody else is asked.
pub const PROMPT_TIMEOUT: Duration = Duration::from_secs(4);
/// How long another may take: as long as a token endpoint, and those who wait for it.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(45);
/// Streams of one connection at once.
pub const MAX_STREAMS: u32 = 1_024;
/// Bytes of the fields of a question.
pub const MAX_FIELD_BYTES: u32 = 8 * 1024;
