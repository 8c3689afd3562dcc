//! Those who follow a process: each is told what it gives. The slowest says how fast, within a limit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_e2b::{Code, Fault};
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    time::{Duration, sleep},
};

use crate::limits::{ANSWER_QUEUE, E2B_FOLLOWER_MS, MAX_E2B_FOLLOWERS};

/// What those who follow a process are told.
#[derive(Debug)]
pub(super) enum News {
    /// What it gave.
    Event(Value),
    /// Its end. Whoever hears no more without this did not keep up.
    End(Result<Value, Fault>),
}

type To = mpsc::Sender<Arc<News>>;

#[derive(Debug)]
pub(super) struct Followers {
    /// None after the end.
    all: Mutex<Option<Vec<To>>>,
    /// Whether nobody is waited for any more.
    hurries: watch::Sender<bool>,
}

impl Default for Followers {
    fn default() -> Self {
        Self {
            all: Mutex::new(Some(Vec::new())),
            hurries: watch::Sender::new(false),
        }
    }
}

impl Followers {
    pub(super) fn add(&self) -> Result<mpsc::Receiver<Arc<News>>, Fault> {
        let mut all = self.lock();
        let all = all
            .as_mut()
            .ok_or_else(|| Fault::new(Code::NotFound, "there is no such process"))?;
        all.retain(|follower| !follower.is_closed());
        if all.len() >= MAX_E2B_FOLLOWERS {
            return Err(Fault::new(
                Code::ResourceExhausted,
                "the process is followed by too many",
            ));
        }
        let (sender, receiver) = mpsc::channel(ANSWER_QUEUE);
        all.push(sender);
        Ok(receiver)
    }

    /// Tells everybody, and drops those who do not take it in time.
    pub(super) async fn tell(&self, event: Value) {
        let all = self.lock().clone().unwrap_or_default();
        let slow = self.pass(all, News::Event(event)).await;
        if let Some(all) = self.lock().as_mut() {
            all.retain(|follower| !slow.iter().any(|slow| slow.same_channel(follower)));
        }
    }

    /// Tells everybody the end, after which nobody follows.
    pub(super) async fn end(&self, end: Result<Value, Fault>) {
        let all = self.lock().take().unwrap_or_default();
        self.pass(all, News::End(end)).await;
    }

    /// Waits for nobody from now on.
    pub(super) fn hurry(&self) {
        self.hurries.send_replace(true);
    }

    /// Says who did not take it.
    async fn pass(&self, all: Vec<To>, news: News) -> Vec<To> {
        let (news, mut hurries, mut slow) = (Arc::new(news), self.hurries.subscribe(), Vec::new());
        for follower in all {
            tokio::select! {
                biased;
                // Whoever went away has no need of it.
                _ = follower.send(Arc::clone(&news)) => continue,
                _ = hurries.wait_for(|hurries| *hurries) => {}
                () = sleep(Duration::from_millis(E2B_FOLLOWER_MS)) => {}
            }
            slow.push(follower);
        }
        slow
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<To>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// One who takes nothing holds up nobody for ever, and hears that it was dropped by hearing of no end.
    #[tokio::test(start_paused = true)]
    async fn who_does_not_keep_up_is_dropped_and_the_others_hear_the_end() {
        let followers = Followers::default();
        let (mut slow, mut quick) = (followers.add().unwrap(), followers.add().unwrap());
        let heard = tokio::spawn(async move {
            let mut heard = Vec::new();
            while let Some(news) = quick.recv().await {
                heard.push(news);
            }
            heard
        });
        for number in 0..=ANSWER_QUEUE {
            followers.tell(json!(number)).await;
        }
        followers.end(Ok(json!("end"))).await;
        let heard = heard.await.unwrap();
        assert_eq!(heard.len(), ANSWER_QUEUE + 2);
        assert!(matches!(&**heard.last().unwrap(), News::End(Ok(_))));
        for _ in 0..ANSWER_QUEUE {
            assert!(matches!(&*slow.recv().await.unwrap(), News::Event(_)));
        }
        assert!(slow.recv().await.is_none());
        assert!(matches!(followers.add(), Err(fault) if fault.code == Code::NotFound));
    }

    /// When a sandbox is over, those who keep up hear the end, and nobody else is waited for.
    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_in_a_hurry() {
        let followers = Arc::new(Followers::default());
        let slow = followers.add().unwrap();
        for number in 0..ANSWER_QUEUE {
            followers.tell(json!(number)).await;
        }
        let telling = tokio::spawn({
            let followers = Arc::clone(&followers);
            async move {
                followers.tell(json!("more")).await;
                followers.end(Ok(json!("end"))).await;
            }
        });
        tokio::task::yield_now().await;
        assert!(!telling.is_finished());
        followers.hurry();
        // The clock stands still meanwhile.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(telling.is_finished());
        drop(slow);
    }
}
