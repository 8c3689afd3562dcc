//! Every limit of the HTTP interface, by name (I15).

/// The largest request with a call, in bytes: its code and its files are in it.
pub const MAX_CALL_BYTES: usize = 64 << 20;

/// The largest source of a call, in bytes.
pub const MAX_CODE_BYTES: usize = 16 << 20;

/// The largest message on a WebSocket, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// The largest piece of an upload that is passed on at once, in bytes.
pub const UPLOAD_PIECE_BYTES: usize = 64 << 10;

/// The most bytes of an upload that are read after it was refused.
pub const MAX_IGNORED_BYTES: usize = 64 << 20;

/// Connections at one time.
pub const MAX_CONNECTIONS: usize = 4_096;

/// Pieces of an answer that wait for a slow reader.
pub const ANSWER_QUEUE: usize = 16;

/// Calls that have not ended, with those that are not in line yet: more are refused before they begin.
pub const MAX_LIVE_CALLS: usize = 16_384;

/// The most approved calls that go on at once; others follow.
pub const MAX_RESUMING: usize = 64;

/// How often it is looked whether the time of paused sessions is over, in milliseconds.
pub const PAUSED_LOOK_MS: u64 = 60_000;

/// How long an approved call that cannot run waits before it is tried again, in milliseconds.
pub const RESUME_PAUSE_MS: u64 = 500;

/// The largest answer to a call that waits, in bytes: a statement, with what a passkey or JSON adds.
pub const MAX_ANSWER_BYTES: usize = 64 << 10;

/// How long the kernel's word about a local user counts, in milliseconds: for one request.
pub const LOCAL_TTL_MS: u64 = 600_000;

/// Connections over a network at one time, those that are not through their handshake with them.
pub const MAX_NETWORK_CONNECTIONS: usize = 1_024;

/// Connections over a network from one address at one time.
pub const MAX_CONNECTIONS_OF_ADDRESS: usize = 256;

/// How long a TLS handshake may take, in milliseconds.
pub const HANDSHAKE_TIMEOUT_MS: u64 = 10_000;

/// How long the head of a request over a network may take, and how long a connection may be idle, in milliseconds.
pub const HEAD_TIMEOUT_MS: u64 = 30_000;

/// The largest head of a request over a network, in bytes: an envelope and its proof are in it.
pub const MAX_HEAD_BYTES: usize = 128 << 10;

/// The largest file with certificates or a key for TLS, in bytes.
pub const MAX_TLS_FILE_BYTES: u64 = 4 << 20;

/// A minute of refusals, in milliseconds.
pub const REFUSAL_MINUTE_MS: u64 = 60_000;

/// Refusals that are recorded one by one in a minute; the rest are counted.
pub const REFUSALS_A_MINUTE: u64 = 60;

/// Tenants whose refusals of a minute are counted apart; the rest are counted together.
pub const MAX_REFUSED_TENANTS: usize = 1_024;

/// Conversations of clients of the Model Context Protocol that are known at one time.
pub const MAX_CONVERSATIONS: usize = 4_096;

/// Those of one principal, by whatever delegates: the one that was not used for longest is forgotten for another.
pub const MAX_CALLER_CONVERSATIONS: usize = 128;

/// After so long without use, in milliseconds, a conversation is forgotten.
pub const CONVERSATION_IDLE_MS: u64 = 24 * 60 * 60 * 1_000;

/// Requests of one conversation that have no answer yet.
pub const MAX_CONVERSATION_REQUESTS: usize = 32;

/// How long an answer to whether calls can be run counts, in milliseconds: strangers may ask.
pub const READINESS_KEPT_MS: u64 = 1_000;

/// How long the keeper has to answer before it is said that it does not, in milliseconds.
pub const KEEPER_ANSWER_MS: u64 = 5_000;

/// A user's name in a signed address, in bytes.
pub const MAX_E2B_USER_BYTES: usize = 64;

/// Searches at one time for the sandbox of a signed address, which does not name it: each tries every token there is, for whoever asks.
pub const MAX_E2B_SEARCHES: usize = 2;

/// How long such a search waits for others, in milliseconds.
pub const E2B_SEARCH_WAIT_MS: u64 = 1_000;

/// Sandboxes of clients of E2B at one time.
pub const MAX_E2B_SANDBOXES: usize = 8_192;

/// Those of one tenant.
pub const MAX_E2B_TENANT_SANDBOXES: usize = 1_024;

/// Callers who have a token of one sandbox: for another, one that is past its time stops counting, or the one that was not used for longest.
pub const MAX_E2B_TOKENS: usize = 32;

/// Processes of one sandbox that clients of E2B know.
pub const MAX_E2B_PROCESSES: usize = 256;

/// Clients that follow one process.
pub const MAX_E2B_FOLLOWERS: usize = 16;

/// How long a client that follows a process may take nothing, in milliseconds, before it is dropped: the process waits for it.
pub const E2B_FOLLOWER_MS: u64 = 60_000;

/// How long a program at a port has to begin its answer, in milliseconds.
pub const E2B_PORT_ANSWER_MS: u64 = 600_000;

/// Watches of one sandbox.
pub const MAX_E2B_WATCHES: usize = 32;

/// Events of one watch that nobody has asked for yet: the oldest are forgotten.
pub const MAX_E2B_WATCH_EVENTS: usize = 4_096;

/// Contexts of one sandbox, beside its own.
pub const MAX_E2B_CONTEXTS: usize = 32;

/// The largest file outside of the workspace that is read or written, in bytes.
pub const MAX_E2B_OUTSIDE_BYTES: u64 = 64 << 20;

/// Output of a program that does something with files, at most, in bytes.
pub const MAX_E2B_ANSWER_BYTES: usize = 16 << 20;

/// After so long without output, clients of the code interpreter are told that it goes on, in milliseconds.
pub const E2B_KEEPALIVE_MS: u64 = 5_000;

/// How long standard error of code is held back, in case that what comes next says it too, in milliseconds.
pub const E2B_STDERR_PAUSE_MS: u64 = 50;

/// After so long without output, clients of processes are told that it goes on, if they do not say otherwise, in seconds.
pub const E2B_PING_S: u64 = 50;

/// The name of a container of clients of OpenAI, in bytes: it is in that of a thread.
pub const MAX_OPENAI_NAME_BYTES: usize = 192;

/// For how long such a container can be idle, in minutes: a day.
pub const MAX_OPENAI_MINUTES: u64 = 24 * 60;

/// The largest file that such a client brings, in bytes: OpenAI's own limit.
pub const MAX_OPENAI_FILE_BYTES: u64 = 512 << 20;

/// What its form may have around the file, in bytes.
pub const MAX_OPENAI_FORM_BYTES: u64 = 64 << 10;

/// Directories that a list of the files of a container looks into.
pub const MAX_OPENAI_DIRECTORIES: usize = 256;

/// Files of which it is known that a client brought them, of all containers.
pub const MAX_OPENAI_UPLOADS: usize = 16_384;

/// The most words of a command of clients of Cloudflare's bridge, and the most paths that one has left out of an archive.
pub const MAX_CLOUDFLARE_WORDS: usize = 4_096;

/// The largest problem that is put into the words of another protocol, in bytes: what a call printed is not in one.
pub(crate) const MAX_PROBLEM_BYTES: usize = 4 << 20;

/// How long a conversation that ends waits for its calls to end, in milliseconds: longer than the keeper takes to kill them.
pub const CONVERSATION_END_MS: u64 = 10_000;

/// How often it is looked whether a client that is attached to a call is still believed and there, in milliseconds.
pub const ATTACHED_CHECK_MS: u64 = 1_000;

/// How long a client that is attached to a call may take nothing, in milliseconds, before it is dropped.
pub const ATTACHED_SEND_MS: u64 = 60_000;

/// Readers of the log at one time: others wait.
pub const MAX_LOG_READERS: usize = 4;

/// How long one that would read the log waits for the others, in milliseconds.
pub const LOG_READER_WAIT_MS: u64 = 5_000;

/// Records of one answer, if nobody says how many.
pub(crate) const RECORDS_A_PAGE: u32 = 100;

/// The largest answer that gets a tag, in bytes: it is in memory for that.
pub const MAX_TAGGED_BYTES: u64 = 1 << 20;

/// The most tags that one header names.
pub const MAX_TAGS: usize = 64;

/// The most items of one piece of a list.
pub(crate) const MAX_PAGE: u32 = 1_000;

/// Sessions at one time in which clients write files under a condition.
pub const MAX_WRITTEN_SESSIONS: usize = 4_096;

/// How long one that writes under a condition waits for others in its session, in milliseconds.
pub const WRITER_WAIT_MS: u64 = 10_000;

/// How long the next piece of a file that is written under a condition may take, in milliseconds: others wait for it.
pub const CONDITIONAL_IDLE_MS: u64 = 10_000;
