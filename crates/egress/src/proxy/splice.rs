//! Bytes that pass both ways, and are counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{sleep, timeout},
};

use super::{Inner, draft::Draft, stream::Io};
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
    let (from_client, to_client) = tokio::io::split(client);
    let (from_server, to_server) = tokio::io::split(server);
    let answered = AtomicU64::new(0);
    let way = |flow| Way {
        inner,
        allowance,
        flow,
        counted: match flow {
            Flow::Out => &draft.moved.bytes,
            Flow::In => &answered,
        },
    };
    let out = way(Flow::Out).pass(from_client, to_server);
    let back = way(Flow::In).pass(from_server, to_client);
    let both = async {
        let mut out = std::pin::pin!(out);
        let mut back = std::pin::pin!(back);
        // One side that has said its last gives the other a moment.
        let first = tokio::select! {
            ended = &mut out => ended.map(|()| Flow::Out),
            ended = &mut back => ended.map(|()| Flow::In),
        };
        match first? {
            Flow::Out => timeout(LINGER_TIMEOUT, back).await.unwrap_or(Ok(())),
            Flow::In => timeout(LINGER_TIMEOUT, out).await.unwrap_or(Ok(())),
        }
    };
    let code = tokio::select! {
        biased;
        () = inner.cut(allowance.rule.clone()) => Some(Code::Revoked),
        ended = both => ended.err(),
    };
    draft.record.bytes_in += answered.load(Ordering::Relaxed);
    code
}

/// One direction.
struct Way<'w> {
    inner: &'w Inner,
    allowance: &'w Allowance,
    flow: Flow,
    counted: &'w AtomicU64,
}

impl Way<'_> {
    async fn pass(
        self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> Result<(), Code> {
        let mut buffer = bytes::BytesMut::with_capacity(READ_BYTES);
        loop {
            let read = tokio::select! {
                read = from.read_buf(&mut buffer) => read,
                () = sleep(SESSION_IDLE_TIMEOUT) => return Err(Code::Timeout),
            };
            // Whoever is cut off has gone, too.
            let count = read.unwrap_or_default();
            if count == 0 {
                // The other side may have gone before.
                let _ = timeout(LINGER_TIMEOUT, to.shutdown()).await;
                return Ok(());
            }
            let bytes = u64::try_from(count).unwrap_or(u64::MAX);
            let spent = self.inner.judge.spend(self.allowance, self.flow, bytes);
            spent.map_err(|denial| denial.code)?;
            self.counted.fetch_add(bytes, Ordering::Relaxed);
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
