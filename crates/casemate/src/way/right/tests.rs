use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use casemate_model::{DecisionId, SideEffect};
use casemate_policy::{Profile, Syntax};
use casemate_ports::{RulesForm, WayBound, WayRules};
use http::Response;
use http_body_util::Full;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinHandle;

use super::*;

/// When an identity dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dies {
    WhenItIsConnectedTo,
    WhenItIsAsked,
    BeforeTheSecondConnection,
    Never,
}

/// Identities one after the other, each of which dies as it is told.
#[derive(Debug)]
struct Identities {
    fates: Vec<Dies>,
    /// Tokens that were given, of each.
    given: Arc<Mutex<Vec<usize>>>,
    serving: Mutex<Option<JoinHandle<()>>>,
}

impl Identities {
    fn new(fates: &[Dies]) -> Self {
        Self {
            fates: fates.to_vec(),
            given: Arc::default(),
            serving: Mutex::default(),
        }
    }

    async fn connect(&self, side: Side) -> anyhow::Result<UnixStream> {
        let (here, there) = UnixStream::pair()?;
        if side == Side::Redeems {
            let number = self.given.lock().unwrap().len() - 1;
            if self.fates[number] == Dies::BeforeTheSecondConnection {
                let serving = self.serving.lock().unwrap().take();
                let serving = serving.unwrap();
                serving.abort();
                // Whoever starts another one waits for it.
                let _ = serving.await;
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            return Ok(here);
        }
        let number = {
            let mut given = self.given.lock().unwrap();
            given.push(0);
            given.len() - 1
        };
        let fate = self.fates[number];
        if fate == Dies::WhenItIsConnectedTo {
            return Ok(here);
        }
        let given = Arc::clone(&self.given);
        let service = service_fn(move |_| {
            let given = Arc::clone(&given);
            async move {
                if fate == Dies::WhenItIsAsked {
                    // Dropped, and its connection with it.
                    panic!("it dies");
                }
                given.lock().unwrap()[number] += 1;
                let reply = format!(r#"{{"reply":"issued","token":"token-{number}"}}"#);
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(reply))))
            }
        });
        let serving = tokio::spawn(async move {
            let builder = http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(there), service).await;
        });
        *self.serving.lock().unwrap() = Some(serving);
        Ok(here)
    }

    async fn order(&self) -> anyhow::Result<Option<(Right, Voucher)>> {
        let profile = profile();
        let policy = EgressPolicy::compile(&profile);
        let connect = |side| -> Connecting<'_> { Box::pin(self.connect(side)) };
        order_by(&connect, &way(), &policy).await
    }
}

fn profile() -> Profile {
    let builtin = String::from_utf8(Profile::builtin().unwrap().source().to_vec()).unwrap();
    let allowed = builtin.replace(
        "allowed_domains = []",
        "allowed_domains = [\"a.example.com\"]",
    );
    let rule = "\n[[egress.rules]]\nname = \"one\"\nhost = \"a.example.com\"\nclass = \"partner\"\ncredential = \"cred:a\"\n";
    Profile::parse((allowed + rule).as_bytes(), Syntax::Toml).unwrap()
}

fn way() -> NewWay {
    NewWay {
        decision: DecisionId::new(0, [1; 10]),
        trace: "trace".to_owned(),
        tool: "process.run".to_owned(),
        ceiling: SideEffect::Read,
        authority: Digest::of(b""),
        rules: WayRules {
            form: RulesForm::Toml,
            text: String::new(),
        },
        consults: false,
        known: Vec::new(),
        bound: Some(WayBound {
            tenant: "tenant".to_owned(),
            agent: "agent".to_owned(),
            session: None,
            route: "route".to_owned(),
            policy: Digest::of(b""),
            action: Digest::of(b""),
            wall_ms: 1_000,
        }),
    }
}

/// I1: an identity that dies at whatever step of an order has no part in it: the next one is asked for everything, once, and nobody is
/// asked a third time.
#[tokio::test]
async fn an_order_begins_anew_once() {
    for dies in [
        Dies::WhenItIsConnectedTo,
        Dies::WhenItIsAsked,
        Dies::BeforeTheSecondConnection,
    ] {
        let one = Identities::new(&[dies, Dies::Never]);
        let (_right, voucher) = one.order().await.unwrap().unwrap();
        assert_eq!(voucher.token.expose(), "token-1", "{dies:?}");
        assert_eq!(one.given.lock().unwrap().len(), 2);
        let all = Identities::new(&[dies, dies, Dies::Never]);
        assert!(all.order().await.is_err(), "{dies:?}");
        assert_eq!(all.given.lock().unwrap().len(), 2, "{dies:?}");
    }
    let good = Identities::new(&[Dies::Never]);
    let (_right, voucher) = good.order().await.unwrap().unwrap();
    assert_eq!(voucher.token.expose(), "token-0");
    assert_eq!(*good.given.lock().unwrap(), [1]);
}

/// I1, R76: an identity that died before a right was redeemed may be asked anew; one that refuses is not asked twice.
#[tokio::test]
async fn what_was_not_redeemed_may_be_ordered_anew() {
    let voucher = |connection| Voucher {
        token: ActionToken::of("token".to_owned()),
        connection,
        signs: None,
    };
    let (here, there) = UnixStream::pair().unwrap();
    drop(there);
    let error = redeem(&way(), voucher(here)).await.unwrap_err();
    assert!(is_gone(&error), "{error:?}");
    let (here, there) = UnixStream::pair().unwrap();
    let service = service_fn(|_| async {
        let reply = r#"{"reply":"refused","code":"token","why":"it was redeemed"}"#;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(reply))))
    });
    tokio::spawn(async move {
        let builder = http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(there), service).await;
    });
    let error = redeem(&way(), voucher(here)).await.unwrap_err();
    assert!(!is_gone(&error), "{error:?}");
}
