//! Identity in another process, as far as a stream of bytes can tell.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use casemate_identity::{
    Challenge, Endpoint, EndpointError, Kind, Login, Logins, Order, RemoteError, RemoteIdentity,
    Request, Server, Side, Store, TokenAnswer, TokenRequest, Usage, limits::MAX_LOGINS,
};
use casemate_store::{CryptoError, FileProvider, KeyProvider, StateDir};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use zeroize::Zeroizing;

use crate::world::{
    AtDesk, Desk, World, binding, handle, oauth_client, order, request, token, usage,
};

const TEXT: &str = "canary-of-the-wire-31c";

async fn connect(server: &Server, side: Side) -> RemoteIdentity {
    let (mut here, there) = duplex(64 * 1024);
    let server = server.clone();
    tokio::spawn(async move { server.serve(there).await });
    side.announce(&mut here).await.unwrap();
    RemoteIdentity::over(here).await.unwrap()
}

/// R101: from the order to what goes into one request; and what a connection held is nobody's when it is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_of_one_connection() {
    let world = World::new();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    let server = Server::new(Arc::new(world.identity()));
    let orders = connect(&server, Side::Orders).await;
    let mine = connect(&server, Side::Redeems).await;
    let other = connect(&server, Side::Redeems).await;
    let token = orders.issue(order("cred:orders")).await.unwrap().token;
    let lease = mine.redeem(token.clone(), binding()).await.unwrap().lease;
    assert!(matches!(
        other.redeem(token, binding()).await,
        Err(RemoteError::Token(_))
    ));
    let ask = request("cred:orders");
    let stolen = other.grant(lease.clone(), ask.clone()).await;
    assert!(matches!(stolen, Err(RemoteError::Scope(_))), "{stolen:?}");
    let rendered = mine.grant(lease.clone(), ask.clone()).await.unwrap();
    assert_eq!(rendered.fields[0].1.expose(), format!("Bearer {TEXT}"));
    assert!(
        mine.lost(lease.clone())
            .await
            .unwrap()
            .is_some_and(|lost| lost.is_empty())
    );
    // What is in an answer is said by who had it, also when the lease is over.
    let is_marked = || {
        let header = world.store().header(&handle("orders")).unwrap();
        header.unwrap().reflected
    };
    let claimed = other.reflected(handle("orders")).await;
    assert!(matches!(claimed, Err(RemoteError::Scope(_))), "{claimed:?}");
    assert!(!is_marked());
    let past = connect(&server, Side::Redeems).await;
    let token = orders.issue(order("cred:orders")).await.unwrap().token;
    let over = past.redeem(token, binding()).await.unwrap().lease;
    past.end(over).await.unwrap();
    past.reflected(handle("orders")).await.unwrap();
    assert!(is_marked());
    drop((mine, past));
    while server.connections() > 2 {
        tokio::task::yield_now().await;
    }
    assert!(other.lost(lease).await.unwrap().is_none());
}

/// Takes its time to open a secret, and notes how many it opens at once.
#[derive(Debug)]
struct Slow {
    provider: FileProvider,
    inside: AtomicUsize,
    most: Arc<AtomicUsize>,
}

impl KeyProvider for Slow {
    fn wrap(&self, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.provider.wrap(aad, plaintext)
    }

    fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
        // So long that all could be here at once.
        std::thread::sleep(Duration::from_millis(50));
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.provider.unwrap(aad, wrapped)
    }
}

/// I15: what logins cost is the destination's to say: however many there are, few are answered at once, and all of them are.
#[tokio::test(flavor = "multi_thread")]
async fn few_logins_are_answered_at_once() {
    let world = World::new();
    let user = "agent".to_owned();
    world.add("cred:orders", Kind::PostgresPassword { user }, TEXT);
    let most = Arc::<AtomicUsize>::default();
    let provider = Slow {
        provider: FileProvider::open(&StateDir::open(world.dir.path()).unwrap()).unwrap(),
        inside: AtomicUsize::default(),
        most: Arc::clone(&most),
    };
    let store = Store::open(&world.path(), Box::new(provider)).unwrap();
    let server = Server::new(Arc::new(world.identity_of(store)));
    let orders = connect(&server, Side::Orders).await;
    let login = Usage {
        login: Some(Logins {
            user: "agent".into(),
            databases: vec!["orders".into()],
        }),
        ..usage("cred:orders")
    };
    let order = Order {
        usages: vec![login],
        ..order("cred:orders")
    };
    let token = orders.issue(order).await.unwrap().token;
    let mine = connect(&server, Side::Redeems).await;
    let lease = mine.redeem(token, binding()).await.unwrap().lease;
    let asks = (0..4 * MAX_LOGINS).map(|_| {
        let (mine, lease) = (mine.clone(), lease.clone());
        let ask = Request {
            login: Some(Login {
                user: "agent".into(),
                database: "orders".into(),
                challenge: Challenge::Md5 { salt: [1; 4] },
            }),
            ..request("cred:orders")
        };
        tokio::spawn(async move { mine.grant(lease, ask).await })
    });
    for ask in asks.collect::<Vec<_>>() {
        ask.await.unwrap().unwrap();
    }
    let most = most.load(Ordering::SeqCst);
    assert!((1..=MAX_LOGINS).contains(&most), "{most}");
}

/// R76, R101: a right ends with the connection on which it was ordered, whether it was redeemed or not; and neither side can do
/// what the other may.
#[tokio::test(flavor = "multi_thread")]
async fn who_orders_and_who_redeems_are_two() {
    let world = World::new();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    let server = Server::new(Arc::new(world.identity()));
    let redeems = connect(&server, Side::Redeems).await;
    let orders = connect(&server, Side::Orders).await;
    let waiting = orders.issue(order("cred:orders")).await.unwrap().token;
    let token = orders.issue(order("cred:orders")).await.unwrap().token;
    let lease = redeems.redeem(token, binding()).await.unwrap().lease;

    let refused = [
        redeems.issue(order("cred:orders")).await.map(drop),
        redeems.test(handle("orders")).await.map(drop),
        orders.redeem(waiting.clone(), binding()).await.map(drop),
        orders
            .grant(lease.clone(), request("cred:orders"))
            .await
            .map(drop),
        orders.lost(lease.clone()).await.map(drop),
        orders.end(lease.clone()).await,
        orders.reflected(handle("orders")).await,
        redeems.approve(request("cred:orders")).await,
    ];
    for refused in refused {
        let told = format!("{:?}", refused.unwrap_err());
        assert!(told.contains("not for such questions"), "{told}");
    }
    redeems
        .grant(lease.clone(), request("cred:orders"))
        .await
        .unwrap();

    drop(orders);
    while server.connections() > 1 {
        tokio::task::yield_now().await;
    }
    assert!(redeems.lost(lease.clone()).await.unwrap().is_none());
    let late = redeems.grant(lease, request("cred:orders")).await;
    assert!(matches!(late, Err(RemoteError::Scope(_))), "{late:?}");
    let late = redeems.redeem(waiting, binding()).await;
    assert!(matches!(late, Err(RemoteError::Token(_))), "{late:?}");
}

/// R73, R79: whatever is asked in whatever form, but for one granted request, no answer holds a secret.
#[tokio::test(flavor = "multi_thread")]
async fn no_question_is_answered_with_a_secret() {
    let world = World::new();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    let server = Server::new(Arc::new(world.identity()));
    let orders = connect(&server, Side::Orders).await;
    let remote = connect(&server, Side::Redeems).await;
    orders.test(handle("orders")).await.unwrap();
    let token = orders.issue(order("cred:orders")).await.unwrap().token;
    let lease = remote.redeem(token, binding()).await.unwrap().lease;
    let mut elsewhere = request("cred:orders");
    elsewhere.host = "evil.example.com".into();
    let refused = remote.grant(lease, elsewhere).await.unwrap_err();
    assert!(!format!("{refused:?} {refused}").contains(TEXT));
    let questions = [
        r#"{"ask":"read","handle":"cred:orders"}"#,
        r#"{"ask":"test","handle":"cred:orders"}"#,
        r#"{"ask":"reflected","handle":"cred:orders"}"#,
        r#"{"ask":"fetch","url":"https://example.com/"}"#,
        r#"{"ask":"test","handle":"../../etc/passwd"}"#,
        "[]",
        "",
    ];
    for question in questions {
        for (method, path) in [
            ("POST", "/v1/ask"),
            ("GET", "/v1/ask"),
            ("POST", "/v1/credentials/orders"),
        ] {
            for side in [Side::Orders, Side::Redeems] {
                let answer = raw(&server, side, method, path, question).await;
                assert!(
                    !answer
                        .windows(TEXT.len())
                        .any(|part| part == TEXT.as_bytes()),
                    "{question}"
                );
                assert!(
                    String::from_utf8_lossy(&answer).contains("reply"),
                    "{method} {path} {question}"
                );
            }
        }
    }
}

async fn raw(server: &Server, side: Side, method: &str, path: &str, body: &str) -> Vec<u8> {
    use http_body_util::{BodyExt as _, Full};
    use hyper::client::conn::http2;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let (mut here, there) = duplex(64 * 1024);
    let server = server.clone();
    tokio::spawn(async move { server.serve(there).await });
    side.announce(&mut here).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(here))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder()
        .method(method)
        .uri(format!("http://identity{path}"))
        .body(Full::new(bytes::Bytes::copy_from_slice(body.as_bytes())))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    response
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes()
        .to_vec()
}

/// Bytes that are no HTTP/2, and a connection that is cut: nobody else notices.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_ends_its_own_connection_only() {
    let world = World::new();
    let server = Server::new(Arc::new(world.identity()));
    let good = connect(&server, Side::Orders).await;
    for bytes in ["", "GET / HTTP/1.1\r\n\r\n", "OGET / HTTP/1.1\r\n\r\n", "R"] {
        let (mut here, there) = duplex(64 * 1024);
        let serving = tokio::spawn({
            let server = server.clone();
            async move { server.serve(there).await }
        });
        here.write_all(bytes.as_bytes()).await.unwrap();
        here.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = here.read_to_end(&mut answer).await;
        serving.await.unwrap();
        assert_eq!(server.connections(), 1, "{bytes}");
    }
    good.issue(order("cred:orders")).await.unwrap();
}

/// Two endpoints: one of them is slow.
#[derive(Debug)]
struct Two {
    slow: AtDesk,
    fast: AtDesk,
}

impl Endpoint for Two {
    fn ask(&self, request: &TokenRequest) -> Result<TokenAnswer, EndpointError> {
        let is_slow = request.url.contains("slow");
        if is_slow { &self.slow } else { &self.fast }.ask(request)
    }
}

/// Many who wait for the token of one credential have one thread between them: another credential is lent meanwhile.
#[test]
fn a_slow_endpoint_is_waited_for_by_one() {
    const THREADS: usize = 3;
    let (slow, fast) = (Arc::new(Desk::default()), Arc::new(Desk::default()));
    slow.will_say(200, &token("slow-token", 60));
    fast.will_say(200, &token("fast-token", 60));
    slow.close();
    let world = World::new();
    let Kind::OauthClient {
        client_id,
        scopes,
        audience,
        auth,
        ..
    } = oauth_client()
    else {
        panic!("it is one");
    };
    let token_url = "https://slow.example.com/token".into();
    let kind = Kind::OauthClient {
        token_url,
        client_id,
        scopes,
        audience,
        auth,
    };
    world.add("cred:slow", kind, "client-secret-1");
    world.add("cred:fast", oauth_client(), "client-secret-2");
    let endpoint = Two {
        slow: AtDesk(Arc::clone(&slow)),
        fast: AtDesk(fast),
    };
    let server = Server::new(Arc::new(world.identity_with(Box::new(endpoint))));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS)
        .build()
        .unwrap();
    runtime.block_on(async {
        let orders = connect(&server, Side::Orders).await;
        let remote = connect(&server, Side::Redeems).await;
        let both = Order {
            usages: vec![usage("cred:slow"), usage("cred:fast")],
            ..order("cred:slow")
        };
        let action = orders.issue(both).await.unwrap().token;
        let lease = remote.redeem(action, binding()).await.unwrap().lease;
        let waiting: Vec<_> = (0..4 * THREADS)
            .map(|_| {
                let (remote, lease) = (remote.clone(), lease.clone());
                tokio::spawn(async move { remote.grant(lease, request("cred:slow")).await })
            })
            .collect();
        while slow.count() == 0 {
            tokio::task::yield_now().await;
        }
        let lent = remote.grant(lease, request("cred:fast")).await.unwrap();
        assert_eq!(lent.fields[0].1.expose(), "Bearer fast-token");
        remote.reflected(handle("cred:fast")).await.unwrap();
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        slow.open();
        for waiting in waiting {
            let lent = waiting.await.unwrap().unwrap();
            assert_eq!(lent.fields[0].1.expose(), "Bearer slow-token");
        }
        assert_eq!(slow.count(), 1);
    });
}
