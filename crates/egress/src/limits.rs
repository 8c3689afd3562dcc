//! Every bound of the proxy, by name (I15).

use std::time::Duration;

/// Bytes of a host name (RFC 1035).
pub const MAX_NAME_BYTES: usize = 253;
/// Bytes of a label of a name (RFC 1035).
pub const MAX_LABEL_BYTES: usize = 63;
/// Addresses that one name may have.
pub const MAX_ADDRESSES: usize = 32;

/// Bytes of the head of a request.
pub const MAX_HEAD_BYTES: usize = 32 << 10;
/// Bytes of a request line.
pub const MAX_REQUEST_LINE_BYTES: usize = 8 << 10;
/// Header fields of a request.
pub const MAX_FIELDS: usize = 100;
/// Digits of the size of a chunk.
pub const MAX_CHUNK_DIGITS: usize = 15;
/// Bytes of the trailers of a request.
pub const MAX_TRAILER_BYTES: usize = 8 << 10;
/// Bytes of a body that are read at once.
pub const READ_BYTES: usize = 16 << 10;
/// Bytes of a body that may be held to be judged whole, whatever a judge asks for.
pub const MAX_JUDGED_BODY_BYTES: usize = 4 << 20;
/// Bytes of all bodies of one agent that are held to be judged, from when they are read until they were sent.
pub const MAX_HELD_BODY_BYTES: usize = 64 << 20;
/// The same of one of its calls.
pub const MAX_CALL_HELD_BYTES: usize = 32 << 20;

/// Bytes of a refused request that are read and forgotten, so that its client reads the answer.
pub const LINGER_BYTES: usize = 1 << 20;
/// How long that may take.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of a ClientHello with its records.
pub const MAX_HELLO_BYTES: usize = 32 << 10;
/// Records that a ClientHello may be spread over.
pub const MAX_HELLO_RECORDS: usize = 64;
/// Protocols that a client may offer (ALPN).
pub const MAX_ALPN: usize = 16;

/// Bytes of the first message of a client of PostgreSQL, as servers have it.
pub const MAX_STARTUP_BYTES: usize = 10_000;
/// What it may set.
pub const MAX_STARTUP_PARAMETERS: usize = 32;
/// Bytes of a message of a server of PostgreSQL before it takes commands.
pub const MAX_GREETING_BYTES: usize = 64 << 10;
/// Messages that it may send before that.
pub const MAX_GREETINGS: usize = 128;
/// How long a login may take there, with all of those: as long as servers wait for one.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long nothing may pass, either way, through a connection that somebody logged in on.
pub const SESSION_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Leaf certificates that are kept.
pub const MAX_LEAVES: usize = 256;
/// Names an authority may be held to (name constraints).
pub const MAX_CONSTRAINTS: usize = 256;
/// Bytes of a PEM file with the operator's authorities.
pub const MAX_ROOTS_BYTES: usize = 1 << 20;
/// How long an authority lives.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How far back certificates begin, for clocks that are behind.
pub const BACKDATE: Duration = Duration::from_secs(300);

/// Connections of one agent at once.
pub const MAX_CONNECTIONS: usize = 512;
/// Connections of one of its calls at once: others have room, whatever one does.
pub const MAX_CALL_CONNECTIONS: usize = 192;
/// Requests of one agent at once, those that are held too: each that is sent is an open decision of whoever keeps the records.
pub const MAX_REQUESTS: usize = 256;
/// Requests of one of its calls at once: as many as one connection of HTTP/2 may have.
pub const MAX_CALL_REQUESTS: usize = MAX_STREAMS as usize;
/// How long a request may wait for the place of one of its call whose end is being recorded.
pub const PLACE_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections to destinations that one client connection may have at once.
pub const MAX_LINKS: usize = 32;
/// How long a connection that is used again may take to see the end of its last answer.
pub const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// Requests at once on one connection of HTTP/2.
pub const MAX_STREAMS: u32 = 100;
/// Streams that a client may open and reset before we have looked at them (CVE-2023-44487).
pub const MAX_RESETS: usize = 32;
/// Requests that a client may give up before they are answered, on one connection of HTTP/2.
pub const MAX_CANCELLED: usize = 100;
/// Streams of one connection that are opened and never heard of: the library refuses them, or their client gives them up first.
pub const MAX_UNHEARD: usize = 256;
/// Bytes of a header list of HTTP/2.
pub const MAX_HEADER_LIST_BYTES: u32 = 32 << 10;
/// Bytes of one stream that are on their way.
pub const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// The same for a whole connection of HTTP/2.
pub const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// How long the head of a request may take.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a ClientHello may take.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the rest of a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a name may take to be resolved.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a destination may think before its answer begins.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a body may stand still, in either direction.
pub const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a connection may be idle between requests, or a client may not read.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a message of a WebSocket.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Names that one way out may have resolved in its life.
pub const MAX_PINS: usize = 4096;
/// Bytes of a DNS message.
pub const MAX_DNS_BYTES: usize = 512;
/// How long clients may keep an answer, in seconds. Addresses are one name's for the way out of one call.
pub const DNS_TTL_S: u32 = 60;
