//! Time and chance, passed in so that a test can choose them.

use std::{fmt, io, sync::Arc, time::Duration};

use rustls::{pki_types::UnixTime, time_provider::TimeProvider};

/// What time it is.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
}

/// Where unpredictable bytes come from.
pub trait Entropy: fmt::Debug + Send + Sync {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// When the system gives none: then nothing can be named or minted, and nothing is sent.
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The clock, as TLS asks it.
#[derive(Debug)]
pub(crate) struct TlsTime(pub(crate) Arc<dyn Clock>);

impl TimeProvider for TlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(
            self.0.now_ms(),
        )))
    }
}
