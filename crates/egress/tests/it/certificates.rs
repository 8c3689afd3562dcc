//! Certificates of clients: asked for when a destination was reached, shown when it has proven who it is and the log says so.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use casemate_egress::{ClientCertificate, Code, Signs, Stage};
use rustls::{SignatureScheme, sign::SigningKey};

use crate::{
    client::{Answer, ask, config, tls, tunnel},
    upstream::{Manner, Roots, Upstream},
    world::{Records, Rule, World},
};

/// Has the key, and counts what it signs: all of it, and what was signed when the log did not say yet that it is sent.
#[derive(Debug)]
struct Hand {
    key: Arc<dyn SigningKey>,
    records: Arc<Records>,
    signed: AtomicUsize,
    unsaid: AtomicUsize,
}

impl Signs for Hand {
    fn sign(&self, scheme: u16, message: &[u8]) -> Option<Vec<u8>> {
        self.signed.fetch_add(1, Ordering::SeqCst);
        let all = self.records.all.lock().unwrap();
        if !all.iter().any(|record| record.stage == Stage::Sent) {
            self.unsaid.fetch_add(1, Ordering::SeqCst);
        }
        let scheme = SignatureScheme::from(scheme);
        self.key.choose_scheme(&[scheme])?.sign(message).ok()
    }
}

struct Case {
    world: World,
    upstream: Upstream,
    hand: Arc<Hand>,
}

impl Case {
    /// A destination that wants a certificate and proves by `theirs` who it is, in front of which one of `trusted` is believed.
    async fn new(trusted: &Roots, theirs: &Roots, names: &[&str]) -> Self {
        let clients = Roots::new();
        let server = theirs.server_knowing(names, &clients);
        let upstream = Upstream::tls(server, Manner::Echo).await;
        let world = World::new(&trusted.pem, Vec::new());
        let rule = Rule {
            credential: Some("key".to_owned()),
            ..Rule::local(upstream.port)
        };
        world.allow("good.test", rule);
        let (certificate, key) = clients.certified(&["agent.example"], |_| {});
        let hand = Arc::new(Hand {
            key: rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap(),
            records: Arc::clone(&world.records),
            signed: AtomicUsize::new(0),
            unsaid: AtomicUsize::new(0),
        });
        *world.credentials.certificate.lock().unwrap() = Some(ClientCertificate {
            certificates: vec![certificate.to_vec()],
            is_rsa: false,
            signs: Arc::clone(&hand) as _,
        });
        Self {
            world,
            upstream,
            hand,
        }
    }

    async fn good() -> Self {
        let roots = Roots::new();
        Self::new(&roots, &roots, &["good.test"]).await
    }

    async fn get(&self) -> Answer {
        let authority = format!("good.test:{}", self.upstream.port);
        let stream = tunnel(self.world.connect(), &authority).await;
        let config = config(&self.world.proxy, &[]);
        let mut stream = tls(stream, "good.test", config).await.unwrap();
        let head = format!("GET /x HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        ask(&mut stream, head).await
    }

    /// Certificates that were asked for, handshakes that were signed, and requests that came.
    fn counts(&self) -> [usize; 3] {
        [
            self.world.credentials.presented.load(Ordering::SeqCst),
            self.hand.signed.load(Ordering::SeqCst),
            self.upstream.requests(),
        ]
    }
}

/// R79, R88, I4: a handshake is signed once, and only when the log says that the request is sent; nothing of the credential goes into it.
#[tokio::test]
async fn a_handshake_is_on_record_before_it_is_signed() {
    let case = Case::good().await;
    let answer = case.get().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(case.counts(), [1, 1, 1]);
    assert_eq!(case.hand.unsaid.load(Ordering::SeqCst), 0);
    let records = case.world.records(2).await;
    let stages: Vec<_> = records.iter().map(|record| record.stage).collect();
    assert_eq!(stages, [Stage::Sent, Stage::Ended(None)]);
    assert_eq!(records[0].credential.as_deref(), Some("key"));
    assert_eq!(case.world.credentials.rendered.load(Ordering::SeqCst), 0);
}

/// I4: what cannot be written down is not signed.
#[tokio::test]
async fn without_a_record_nothing_is_signed() {
    let case = Case::good().await;
    case.world.records.is_down.store(true, Ordering::SeqCst);
    let answer = case.get().await;
    assert_eq!(answer.code().as_deref(), Some("record_unavailable"));
    assert_eq!(case.counts(), [1, 0, 0]);
}

/// R111, I5: a destination that does not prove who it is gets no signature.
#[tokio::test]
async fn a_foreign_destination_gets_no_signature() {
    let (trusted, foreign) = (Roots::new(), Roots::new());
    for (theirs, names) in [(&foreign, ["good.test"]), (&trusted, ["other.test"])] {
        let case = Case::new(&trusted, theirs, &names).await;
        let answer = case.get().await;
        assert_eq!(answer.code().as_deref(), Some("upstream_cert"));
        assert_eq!(case.counts(), [1, 0, 0]);
    }
}

/// R77, I5: a destination that has no address, one that it must not have, or none where anybody listens, costs no grant.
#[tokio::test]
async fn nothing_is_asked_for_before_there_is_a_connection() {
    let elsewhere = IpAddr::from([10, 0, 0, 1]);
    let nobody = IpAddr::from([127, 0, 0, 2]);
    for (addresses, code) in [
        (Vec::new(), Code::DnsFail),
        (vec![elsewhere], Code::AddrPrivate),
        (vec![nobody], Code::UpstreamConnect),
    ] {
        let case = Case::good().await;
        let known = &case.world.addresses.known;
        known
            .lock()
            .unwrap()
            .insert("good.test".to_owned(), addresses);
        case.get().await;
        assert_eq!(case.world.denied().await, code);
        assert_eq!(case.counts(), [0, 0, 0]);
        let records = case.world.records(1).await;
        assert_eq!(records[0].credential, None);
    }
}
