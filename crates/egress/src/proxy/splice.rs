//! Bytes that pass both ways, and are counted.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    sync::Notify,
    time::timeout,
};

use super::{
    Inner,
    draft::Draft,
    stream::{Duplex, Io},
};
use crate::{
    Allowance, Code, Flow,
    limits::{IDLE_TIMEOUT, LINGER_TIMEOUT, READ_BYTES, SESSION_IDLE_TIMEOUT},
};

/// Passes bytes between the client and the destination until one of them ends it, or they may pass no more.
pub(crate) async fn splice(
    inner: &Arc<Inner>,
    allowance: &Allowance,
    client: Io,
    server: Io,
    draft: &mut Draft,
) -> Option<Code> {
    let answered = AtomicU64::new(0);
    let passes = |flow, bytes| {
        let spent = inner.judge.spend(allowance, flow, bytes);
        spent.map_err(|denial| denial.code)?;
        let counted = match flow {
            Flow::Out => &draft.moved.bytes,
            Flow::In => &answered,
        };
        counted.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    };
    let code = tokio::select! {
        biased;
        () = inner.cut(allowance.rule.clone()) => Some(Code::Revoked),
        ended = both_ways(client, server, passes) => ended.err(),
    };
    draft.record.bytes_in += answered.load(Ordering::Relaxed);
    code
}

/// Passes what `passes` lets, until one side has ended it or nothing has moved for long.
async fn both_ways(
    client: impl Duplex,
    server: impl Duplex,
    passes: impl Fn(Flow, u64) -> Result<(), Code>,
) -> Result<(), Code> {
    let (from_client, to_client) = split(client);
    let (from_server, to_server) = split(server);
    let moved = Notify::new();
    let way = |flow| Way {
        flow,
        passes: &passes,
        moved: &moved,
    };
    let mut out = pin!(way(Flow::Out).pass(from_client, to_server));
    let mut back = pin!(way(Flow::In).pass(from_server, to_client));
    // One clock for both: who hears much may say nothing, and the other way round.
    let idle = async {
        while timeout(SESSION_IDLE_TIMEOUT, moved.notified())
            .await
            .is_ok()
        {}
    };
    // One side that has said its last gives the other a moment.
    let first = tokio::select! {
        ended = &mut out => ended.map(|()| Flow::Out),
        ended = &mut back => ended.map(|()| Flow::In),
        () = idle => Err(Code::Timeout),
    };
    match first? {
        Flow::Out => timeout(LINGER_TIMEOUT, back).await.unwrap_or(Ok(())),
        Flow::In => timeout(LINGER_TIMEOUT, out).await.unwrap_or(Ok(())),
    }
}

/// One direction.
struct Way<'w, P> {
    flow: Flow,
    passes: &'w P,
    moved: &'w Notify,
}

impl<P: Fn(Flow, u64) -> Result<(), Code>> Way<'_, P> {
    async fn pass(
        self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> Result<(), Code> {
        let mut buffer = bytes::BytesMut::with_capacity(READ_BYTES);
        loop {
            // Whoever is cut off has gone, too.
            let count = from.read_buf(&mut buffer).await.unwrap_or_default();
            if count == 0 {
                // The other side may have gone before.
                let _ = timeout(LINGER_TIMEOUT, to.shutdown()).await;
                return Ok(());
            }
            self.moved.notify_one();
            (self.passes)(self.flow, u64::try_from(count).unwrap_or(u64::MAX))?;
            let writing = async {
                to.write_all(&buffer).await?;
                to.flush().await
            };
            match timeout(IDLE_TIMEOUT, writing).await {
                Ok(Ok(())) => buffer.clear(),
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(Code::Timeout),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// A connection with nothing to be refused: its ends, and how it ended.
    fn connection() -> (
        DuplexStream,
        DuplexStream,
        tokio::task::JoinHandle<Result<(), Code>>,
    ) {
        let ((client, ours), (theirs, server)) = (duplex(64), duplex(64));
        let passing = tokio::spawn(both_ways(ours, theirs, |_, _| Ok(())));
        (client, server, passing)
    }

    /// Who only hears, or only says, is not idle while bytes pass.
    #[tokio::test(start_paused = true)]
    async fn bytes_one_way_keep_a_connection() {
        for is_out in [true, false] {
            let (mut client, mut server, passing) = connection();
            let (says, hears) = match is_out {
                true => (&mut client, &mut server),
                false => (&mut server, &mut client),
            };
            for _ in 0..4 {
                tokio::time::sleep(SESSION_IDLE_TIMEOUT / 2).await;
                says.write_all(b"x").await.unwrap();
                let mut heard = [0];
                hears.read_exact(&mut heard).await.unwrap();
                assert_eq!(heard, *b"x");
            }
            assert!(!passing.is_finished());
            drop(client);
            assert_eq!(passing.await.unwrap(), Ok(()));
        }
    }

    /// I15: where nothing passes either way it ends.
    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends() {
        let (_client, mut server, passing) = connection();
        server.write_all(b"x").await.unwrap();
        tokio::time::sleep(SESSION_IDLE_TIMEOUT - Duration::from_secs(1)).await;
        assert!(!passing.is_finished());
        assert_eq!(passing.await.unwrap(), Err(Code::Timeout));
    }
}
