//! Work that goes on beside other work, until its result is needed.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
};

/// A future that moves on whenever its owner waits for something else through [`Beside::during`].
pub(crate) enum Beside<'f, T> {
    Going(Pin<Box<dyn Future<Output = T> + 'f>>),
    Done(T),
}

impl<'f, T> Beside<'f, T> {
    pub(crate) fn new(work: impl Future<Output = T> + 'f) -> Self {
        Self::Going(Box::pin(work))
    }

    /// Waits for `other`, and moves on meanwhile.
    pub(crate) async fn during<O>(&mut self, other: impl Future<Output = O>) -> O {
        let mut other = pin!(other);
        poll_fn(|context| {
            // First: it has begun when `other` is looked at.
            self.advance(context);
            other.as_mut().poll(context)
        })
        .await
    }

    /// Waits until it is done.
    pub(crate) async fn done(&mut self) -> &T {
        poll_fn(|context| match self.advance(context) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        match self {
            Self::Done(result) => result,
            Self::Going(_) => std::future::pending().await,
        }
    }

    /// Waits for its result.
    pub(crate) async fn result(self) -> T {
        match self {
            Self::Done(result) => result,
            Self::Going(work) => work.await,
        }
    }

    /// Moves on, and says whether it is done.
    fn advance(&mut self, context: &mut Context<'_>) -> bool {
        if let Self::Going(work) = self
            && let Poll::Ready(result) = work.as_mut().poll(context)
        {
            *self = Self::Done(result);
        }
        matches!(self, Self::Done(_))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn it_begins_first_moves_on_meanwhile_and_gives_its_result_once() {
        let (begun, go) = (Cell::new(false), Notify::new());
        let mut beside = Beside::new(async {
            begun.set(true);
            go.notified().await;
            7
        });
        assert!(!begun.get());
        assert!(beside.during(async { begun.get() }).await);
        assert!(matches!(beside, Beside::Going(_)));
        beside
            .during(async {
                go.notify_one();
                tokio::task::yield_now().await;
            })
            .await;
        assert!(matches!(beside, Beside::Done(7)));
        assert_eq!(*beside.done().await, 7);
        assert_eq!(beside.result().await, 7);
    }
}
