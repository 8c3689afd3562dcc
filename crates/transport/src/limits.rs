//! Every limit of the transport, by name (I15).

use std::time::Duration;

/// The most bytes of the body of a request that is one JSON value.
pub const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// The most bytes of an answer that is one JSON value: 10 000 directory entries with the longest names,
/// each of their bytes escaped.
pub const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// The most bytes of the first frame of a stream.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The most bytes of a stream in one frame.
pub const MAX_DATA_BYTES: usize = 64 * 1024;

/// The most bytes of a cell's source.
pub const MAX_SOURCE_BYTES: usize = 8 * 1024 * 1024;

/// The most bytes of a command in JSON: the 2 MiB that Linux executes, each of their bytes escaped.
pub const MAX_COMMAND_BYTES: usize = 12 * 1024 * 1024;

/// The most bytes of a control in JSON.
pub const MAX_CONTROL_BYTES: usize = 256;

/// The most bytes of an input's name on the wire; which names there are is the keeper's to say.
pub const MAX_INPUT_NAME_BYTES: usize = 4096;

/// The most inputs of one place.
pub const MAX_INPUTS: usize = 4096;

/// The most bytes of inputs that a keeper holds at once, those of all places together. A place's own inputs may
/// be as large as its `disk_bytes`.
pub const MAX_HELD_INPUT_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// The most bytes of what is known of a place that is ready, in JSON.
pub const MAX_READY_BYTES: usize = 8 * 1024 * 1024;

/// The most bytes of the end of a call, or of an error, in JSON.
pub const MAX_END_BYTES: usize = 1024 * 1024;

/// The most streams of one connection at once.
pub const MAX_STREAMS: u32 = 4096;

/// The most streams of one connection that may be open for long, such as those of places: the rest is kept free
/// for requests that end them.
pub const MAX_LONG_STREAMS: usize = 3840;

/// The most requests that a keeper answers at once, over all connections.
pub const MAX_REQUESTS: usize = 8192;

/// The most connections to a keeper.
pub const MAX_CONNECTIONS: usize = 64;

/// The most bytes of a request's or an answer's headers.
pub const MAX_HEADER_BYTES: u32 = 8 * 1024;

/// The most bytes of one stream that are on their way to somebody who does not read them.
pub const STREAM_WINDOW_BYTES: u32 = 64 * 1024;

/// The same for a whole connection: every stream may stall, and the others go on.
pub const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * MAX_STREAMS;

/// The most bytes of one frame of HTTP/2.
pub const MAX_HTTP_FRAME_BYTES: u32 = 64 * 1024;

/// Frames that wait between a stream and its body.
pub const OUTBOX_FRAMES: usize = 2;

/// How long a connection may take to be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a keeper that was started may take to listen.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is looked whether it listens.
pub const START_POLL: Duration = Duration::from_millis(5);

/// How often a keeper to which nobody connects looks whether its socket is still there.
pub const SOCKET_CHECK: Duration = Duration::from_millis(500);

/// A keeper that says nothing for so long is asked whether it is there.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);

/// A keeper that does not answer the question for so long is taken for gone.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the whole body of a request that is one JSON value may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an upload may pause before it counts as cut off.
pub const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the message of a handover may take to arrive.
pub const HANDOVER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a keeper waits until a way out is served.
pub const SERVED_TIMEOUT: Duration = Duration::from_secs(10);

/// The most handovers that arrive at once; more wait to be accepted.
pub const MAX_HANDOVERS: usize = 64;

/// The most calls whose sockets are expected at once.
pub const MAX_EXPECTED: usize = 4096;

/// How long no handover is accepted when none could be.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The most connections to identity that wait for the ways out that they are for.
pub const MAX_BORROWED: usize = 4096;

/// The most bytes of a token that is redeemed on such a connection.
pub const MAX_TOKEN_BYTES: usize = 256;
