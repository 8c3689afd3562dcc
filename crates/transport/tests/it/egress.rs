//! Egress of another process, its two halves on a pair of sockets.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};

use casemate_model::{DecisionId, Digest, SideEffect};
use casemate_ports::{
    Advice, AdviceCode, ConsultedBody, ConsultedRequest, Crossing, CrossingContent, Egress,
    EgressError, HeldRequest, NewWay, NotConsented, NotRecorded, Owner, Pending, RulesForm,
    ServedWay, Stage, WayAuthority, WayBound, WayRules, WaySockets, Witness,
};
use casemate_transport::{RemoteEgress, serve_egress};
use tokio::{
    net::UnixStream,
    sync::{Notify, mpsc},
    task::JoinHandle,
};

/// Serves nothing, and does what a test says.
#[derive(Debug, Default)]
struct Fake {
    witness: Mutex<Option<Arc<dyn Witness>>>,
    events: Arc<Events>,
    refuses: AtomicBool,
}

#[derive(Debug, Default)]
struct Events {
    lost: Notify,
    revoked: AtomicUsize,
    closed: AtomicUsize,
    dropped: Notify,
}

#[derive(Debug)]
struct FakeWay(Arc<Events>);

impl Drop for FakeWay {
    fn drop(&mut self) {
        self.0.dropped.notify_one();
    }
}

impl ServedWay for FakeWay {
    fn lost(&mut self) -> Pending<'_, EgressError> {
        Box::pin(async move {
            self.0.lost.notified().await;
            EgressError::Refused("a test".to_owned())
        })
    }

    fn revoke(&self) {
        self.0.revoked.fetch_add(1, Ordering::SeqCst);
    }

    fn close(self: Box<Self>) -> Pending<'static, Result<(), EgressError>> {
        self.0.closed.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Egress for Fake {
    fn authority<'a>(
        &'a self,
        owner: &'a Owner,
        rules: &'a WayRules,
    ) -> Pending<'a, Result<WayAuthority, EgressError>> {
        Box::pin(async move {
            Ok(WayAuthority {
                pem: format!("{} {}", owner.agent, rules.text),
                handover: None,
            })
        })
    }

    fn open<'a>(
        &'a self,
        _: &'a Owner,
        _: NewWay,
        _: Option<WaySockets>,
        witness: Arc<dyn Witness>,
    ) -> Pending<'a, Result<Box<dyn ServedWay>, EgressError>> {
        Box::pin(async move {
            if self.refuses.load(Ordering::SeqCst) {
                return Err(EgressError::Refused("a test".to_owned()));
            }
            *self.witness.lock().unwrap() = Some(witness);
            let way: Box<dyn ServedWay> = Box::new(FakeWay(Arc::clone(&self.events)));
            Ok(way)
        })
    }
}

/// Keeps records, if it is told to.
#[derive(Debug)]
struct Book {
    seen: mpsc::UnboundedSender<Crossing>,
    takes: AtomicBool,
}

impl Witness for Book {
    fn record(&self, crossing: Crossing) -> Pending<'_, Result<(), NotRecorded>> {
        self.seen.send(crossing).unwrap();
        let taken = match self.takes.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(NotRecorded),
        };
        Box::pin(std::future::ready(taken))
    }

    /// To whatever is read.
    fn consent(&self, request: HeldRequest) -> Pending<'_, Result<(), NotConsented>> {
        Box::pin(async move {
            match request.method.as_str() {
                "GET" => Ok(()),
                "WAIT" => std::future::pending().await,
                "LOST" => Err(NotConsented::Unnoted),
                _ => Err(NotConsented::Refused),
            }
        })
    }

    /// Of whatever is read, without one field.
    fn consult(&self, request: ConsultedRequest) -> Pending<'_, Advice> {
        Box::pin(async move {
            match request.method.as_str() {
                "GET" => Advice::Pass {
                    without: request.fields.into_iter().map(|(name, _)| name).collect(),
                },
                "WAIT" => std::future::pending().await,
                _ => Advice::Deny {
                    code: AdviceCode::Denied,
                    status: Some(451),
                },
            }
        })
    }
}

struct World {
    fake: Arc<Fake>,
    remote: RemoteEgress,
    serving: JoinHandle<()>,
    book: Arc<Book>,
    seen: mpsc::UnboundedReceiver<Crossing>,
}

impl World {
    async fn new() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let fake = Arc::new(Fake::default());
        let serving = tokio::spawn(serve_egress(Arc::clone(&fake) as _, theirs));
        let (sender, seen) = mpsc::unbounded_channel();
        let book = Arc::new(Book {
            seen: sender,
            takes: AtomicBool::new(true),
        });
        Self {
            fake,
            remote: RemoteEgress::connect(ours).await.unwrap(),
            serving,
            book,
            seen,
        }
    }

    async fn open(&self) -> Result<Box<dyn ServedWay>, EgressError> {
        let witness = Arc::clone(&self.book) as _;
        self.remote.open(&owner(), new_way(), None, witness).await
    }

    fn witness(&self) -> Arc<dyn Witness> {
        self.fake.witness.lock().unwrap().clone().unwrap()
    }
}

fn owner() -> Owner {
    Owner {
        tenant: "t".to_owned(),
        agent: "a".to_owned(),
    }
}

fn rules() -> WayRules {
    WayRules {
        form: RulesForm::Toml,
        text: "rules".to_owned(),
    }
}

fn new_way() -> NewWay {
    NewWay {
        decision: DecisionId::new(1, [1; 10]),
        trace: "trace".to_owned(),
        tool: "python".to_owned(),
        ceiling: SideEffect::Read,
        authority: Digest::of(b"pem"),
        rules: rules(),
        consults: true,
        known: Vec::new(),
        bound: Some(WayBound {
            tenant: "local".to_owned(),
            agent: "a".to_owned(),
            session: None,
            route: "r".to_owned(),
            policy: Digest::of(b"policy"),
            action: Digest::of(b"action"),
            wall_ms: 1,
        }),
    }
}

fn crossing(path: &str) -> Crossing {
    Crossing {
        decision: DecisionId::new(2, [2; 10]),
        at_ms: 3,
        stage: Stage::Ended(Some("timeout".into())),
        because: Some("because".into()),
        entry: "connect".into(),
        scheme: Some("https".into()),
        host: Some("a.example".to_owned()),
        port: Some(443),
        class: None,
        rule: Some("rule".to_owned()),
        side_effect: Some(SideEffect::Draft),
        method: Some("GET".to_owned()),
        credential: None,
        status: Some(200),
        bytes_out: 1,
        bytes_in: 2,
        hits: 3,
        sealed: CrossingContent {
            path: Some(path.to_owned()),
            ..CrossingContent::default()
        },
    }
}

#[tokio::test]
async fn questions_records_and_orders_cross() {
    let mut world = World::new().await;
    let told = world.remote.authority(&owner(), &rules()).await.unwrap();
    assert_eq!(told.pem, "a rules");
    let way = world.open().await.unwrap();
    let witness = world.witness();
    assert_eq!(witness.record(crossing("/x")).await, Ok(()));
    assert_eq!(world.seen.recv().await.unwrap(), crossing("/x"));
    world.book.takes.store(false, Ordering::SeqCst);
    assert_eq!(witness.record(crossing("/y")).await, Err(NotRecorded));
    way.revoke();
    assert_eq!(way.close().await, Ok(()));
    let events = &world.fake.events;
    assert_eq!(events.revoked.load(Ordering::SeqCst), 1);
    assert_eq!(events.closed.load(Ordering::SeqCst), 1);
    // It takes no more records then.
    assert_eq!(witness.record(crossing("/z")).await, Err(NotRecorded));
}

#[tokio::test]
async fn a_refusal_and_a_loss_are_told() {
    let world = World::new().await;
    world.fake.refuses.store(true, Ordering::SeqCst);
    let refused = EgressError::Refused("a test".to_owned());
    assert_eq!(world.open().await.unwrap_err(), refused);
    world.fake.refuses.store(false, Ordering::SeqCst);
    let mut way = world.open().await.unwrap();
    world.fake.events.lost.notify_one();
    assert_eq!(way.lost().await, refused);
    assert_eq!(way.close().await, Ok(()));
}

/// I1: whoever serves is gone, and its ways out with it: each says so, and nothing is recorded any more.
#[tokio::test]
async fn a_process_that_dies_takes_its_ways_along() {
    let world = World::new().await;
    let mut way = world.open().await.unwrap();
    world.serving.abort();
    assert!(matches!(way.lost().await, EgressError::Unavailable(_)));
    assert!(matches!(
        way.close().await,
        Err(EgressError::Unavailable(_))
    ));
    assert!(matches!(
        world.open().await,
        Err(EgressError::Unavailable(_))
    ));
    assert!(world.remote.is_gone());
}

/// I1: whoever keeps the records is gone: what was to be recorded is not, and the way out is dropped.
#[tokio::test]
async fn a_gateway_that_goes_takes_its_ways_along() {
    let World {
        fake,
        remote,
        serving,
        book,
        seen,
    } = World::new().await;
    let witness: Arc<dyn Witness> = book;
    let way = remote
        .open(&owner(), new_way(), None, witness)
        .await
        .unwrap();
    let theirs = fake.witness.lock().unwrap().clone().unwrap();
    drop(way);
    fake.events.dropped.notified().await;
    assert_eq!(theirs.record(crossing("/x")).await, Err(NotRecorded));
    drop(remote);
    serving.await.unwrap();
    drop(seen);
}

fn held(method: &str) -> HeldRequest {
    HeldRequest {
        decision: DecisionId::new(3, [3; 10]),
        rule: "rule".to_owned(),
        because: "approval_required".to_owned(),
        side_effect: SideEffect::Draft,
        method: method.to_owned(),
        target: "https://a.example:443".to_owned(),
        path: "/x".to_owned(),
        fields: vec![("x-a".to_owned(), "1".to_owned())],
        body: Some(vec![0, 255].into()),
    }
}

/// A person's answer is the answer to one request; while one waits, records pass, and an end of the way out is its end.
#[tokio::test]
async fn a_request_waits_for_its_own_answer() {
    let mut world = World::new().await;
    let way = world.open().await.unwrap();
    let witness = world.witness();
    assert_eq!(witness.consent(held("GET")).await, Ok(()));
    assert_eq!(
        witness.consent(held("DELETE")).await,
        Err(NotConsented::Refused)
    );
    assert_eq!(
        witness.consent(held("LOST")).await,
        Err(NotConsented::Unnoted)
    );
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let witness = Arc::clone(&witness);
        waiting.spawn(async move { witness.consent(held("WAIT")).await });
    }
    // All of them wait before the next one asks.
    tokio::task::yield_now().await;
    // Nobody is asked for more than there is room for.
    assert_eq!(
        witness.consent(held("GET")).await,
        Err(NotConsented::Refused)
    );
    assert_eq!(witness.record(crossing("/x")).await, Ok(()));
    assert_eq!(world.seen.recv().await.unwrap(), crossing("/x"));
    assert_eq!(way.close().await, Ok(()));
    while let Some(answered) = waiting.join_next().await {
        assert_eq!(answered.unwrap(), Err(NotConsented::Refused));
    }
}

/// A body is as long for its way as it is, whatever is in it; a question that is longer than any good one is refused, alone.
#[tokio::test]
async fn a_held_body_does_not_end_a_way() {
    let mut world = World::new().await;
    let way = world.open().await.unwrap();
    let witness = world.witness();
    let request = |byte: u8, most: usize| HeldRequest {
        body: Some(vec![byte; most].into()),
        ..held("GET")
    };
    for byte in [1, b'"', b'a', 255] {
        let consented = witness.consent(request(byte, 4 << 20)).await;
        assert_eq!(consented, Ok(()), "{byte}");
    }
    let too_long = witness.consent(request(1, 8 << 20)).await;
    assert_eq!(too_long, Err(NotConsented::Refused));
    assert_eq!(witness.record(crossing("/x")).await, Ok(()));
    assert_eq!(world.seen.recv().await.unwrap(), crossing("/x"));
    assert_eq!(way.close().await, Ok(()));
}

/// Those that gave up waiting have room here again before whoever asks people knows: more are refused, and the way out goes on.
#[tokio::test]
async fn requests_that_were_given_up_do_not_end_a_way() {
    let mut world = World::new().await;
    let way = world.open().await.unwrap();
    let witness = world.witness();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let witness = Arc::clone(&witness);
        waiting.spawn(async move { witness.consent(held("WAIT")).await });
    }
    // A record comes after the requests before it.
    tokio::task::yield_now().await;
    assert_eq!(witness.record(crossing("/x")).await, Ok(()));
    waiting.shutdown().await;
    assert_eq!(
        witness.consent(held("GET")).await,
        Err(NotConsented::Refused)
    );
    assert_eq!(witness.record(crossing("/y")).await, Ok(()));
    for path in ["/x", "/y"] {
        assert_eq!(world.seen.recv().await.unwrap(), crossing(path));
    }
    assert_eq!(way.close().await, Ok(()));
}

fn consulted(method: &str) -> ConsultedRequest {
    ConsultedRequest {
        decision: DecisionId::new(3, [3; 10]),
        method: method.to_owned(),
        host: "a.example".to_owned(),
        port: 443,
        server_name: None,
        path: "/x".to_owned(),
        query: None,
        fields: vec![("x-a".to_owned(), vec![255].into())],
        body: ConsultedBody::Beginning(vec![0; 1 << 20].into()),
    }
}

/// What a program says is the answer to one request. However many wait for it, records pass, and those that come later wait for
/// their turn; nobody takes the end of the way out for a yes.
#[tokio::test]
async fn a_program_is_asked_about_its_own_request() {
    let mut world = World::new().await;
    let way = world.open().await.unwrap();
    let witness = world.witness();
    let pass = Advice::Pass {
        without: vec!["x-a".to_owned()],
    };
    assert_eq!(witness.consult(consulted("GET")).await, pass);
    let deny = |code, status| Advice::Deny { code, status };
    let said = witness.consult(consulted("PUT")).await;
    assert_eq!(said, deny(AdviceCode::Denied, Some(451)));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let witness = Arc::clone(&witness);
        waiting.spawn(async move { witness.consult(consulted("WAIT")).await });
    }
    tokio::task::yield_now().await;
    assert_eq!(witness.record(crossing("/x")).await, Ok(()));
    assert_eq!(world.seen.recv().await.unwrap(), crossing("/x"));
    assert_eq!(way.close().await, Ok(()));
    while let Some(said) = waiting.join_next().await {
        assert_eq!(said.unwrap(), deny(AdviceCode::Unavailable, None));
    }
}

/// However many records come at once, each has its own answer.
#[tokio::test]
async fn many_records_at_once() {
    let mut world = World::new().await;
    let way = world.open().await.unwrap();
    let witness = world.witness();
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..1_000 {
        let witness = Arc::clone(&witness);
        asked.spawn(async move { witness.record(crossing(&format!("/{number}"))).await });
    }
    while let Some(recorded) = asked.join_next().await {
        assert_eq!(recorded.unwrap(), Ok(()));
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..1_000 {
        seen.insert(world.seen.recv().await.unwrap().sealed.path.unwrap());
    }
    assert_eq!(seen.len(), 1_000);
    assert_eq!(way.close().await, Ok(()));
}

/// Records are begun in the order in which they come: the end of a request is none before it is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn records_are_begun_in_their_order() {
    let mut world = World::new().await;
    let way = world.open().await.unwrap();
    let witness = world.witness();
    let record = |number| {
        let witness = Arc::clone(&witness);
        Box::pin(async move { witness.record(crossing(&format!("/{number}"))).await })
    };
    let mut all: Vec<_> = (0..32).map(record).collect();
    poll_fn(|context| {
        all.retain_mut(|one| match one.as_mut().poll(context) {
            Poll::Ready(recorded) => {
                assert_eq!(recorded, Ok(()));
                false
            }
            Poll::Pending => true,
        });
        match all.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    for number in 0..32 {
        let seen = world.seen.recv().await.unwrap();
        assert_eq!(seen.sealed.path, Some(format!("/{number}")));
    }
    assert_eq!(way.close().await, Ok(()));
}

/// A record that is larger than any good one is not passed on, and is not taken for written.
#[tokio::test]
async fn a_record_has_an_end() {
    let world = World::new().await;
    let mut way = world.open().await.unwrap();
    let witness = world.witness();
    let recorded = witness.record(crossing(&"x".repeat(1 << 20))).await;
    assert_eq!(recorded, Err(NotRecorded));
    assert!(matches!(way.lost().await, EgressError::Unavailable(_)));
}
