//! Tokens that are fetched.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use casemate_identity::{
    By, ClientAuth, Endpoint, EndpointError, GrantError, Identity, Kind, LeaseId, Order,
    RefreshError, State, TokenAnswer, TokenRequest,
};

use crate::world::{
    ISSUER, ME, MINUTE_MS, START_MS, World, binding, handle, lease, oauth_client, oauth_refresh,
    order, request, rotated, secrets, token,
};

const REFUSED: &str = r#"{"error":"invalid_grant"}"#;

fn bearer(identity: &Identity, lease: &LeaseId) -> Result<String, GrantError> {
    let rendered = identity.grant(lease, ME, &request("cred:orders"))?;
    Ok(rendered.fields[0]
        .1
        .expose()
        .trim_start_matches("Bearer ")
        .to_owned())
}

/// R80, R81: a token of an hour is used for forty minutes, and then fetched anew; the fresh one is used at once.
#[test]
fn a_token_is_fetched_twenty_minutes_before_it_expires() {
    let world = World::new();
    world.add("cred:orders", oauth_client(), "client-secret-1");
    let identity = world.identity();
    let lease = lease(&identity);
    world.desk.will_say(200, &token("first-token", 60));
    world.desk.will_say(200, &token("second-token", 60));
    assert!(!identity.is_ready(&handle("orders")));
    assert_eq!(bearer(&identity, &lease).unwrap(), "first-token");
    world.hands.go(40 * MINUTE_MS - 1);
    assert!(identity.refresh_due().is_empty() && identity.is_ready(&handle("orders")));
    assert_eq!(bearer(&identity, &lease).unwrap(), "first-token");
    assert_eq!(world.desk.count(), 1);
    world.hands.go(1);
    let due = identity.refresh_due();
    assert!(matches!(due.as_slice(), [(_, Ok(()))]), "{due:?}");
    assert_eq!(bearer(&identity, &lease).unwrap(), "second-token");
    assert_eq!(world.desk.count(), 2);
    let asked = world.desk.asked.lock().unwrap()[0].clone();
    assert_eq!(asked, "grant_type=client_credentials&scope=orders.read");
}

/// I2: what is looked for in answers is forgotten when its issuer does not take it any more, not when it stops being used here: a token that says
/// nothing of its life has no end, and one that lives longer than tokens are used has its own.
#[test]
fn a_token_expires_when_its_issuer_said_so() {
    let said = |minutes: u64| token("a-good-token", minutes);
    let silent = r#"{"access_token":"a-good-token","token_type":"Bearer"}"#.to_owned();
    for (answer, expires_after) in [
        (silent, None),
        (said(60), Some(60)),
        (said(48 * 60), Some(48 * 60)),
    ] {
        let world = World::new();
        world.add("cred:orders", oauth_client(), "client-secret-1");
        let identity = world.identity();
        let lease = lease(&identity);
        world.desk.will_say(200, &answer);
        let rendered = identity.grant(&lease, ME, &request("cred:orders"));
        let expires_at_ms = expires_after.map(|minutes: u64| START_MS + minutes * MINUTE_MS);
        assert_eq!(rendered.unwrap().expires_at_ms, expires_at_ms, "{answer}");
        // It is used no longer for that.
        world.hands.go(24 * 60 * MINUTE_MS - 1);
        assert!(!identity.is_ready(&handle("orders")), "{answer}");
    }
}

/// Nobody asks twice for one refresh: those who come meanwhile use the token that there is, or wait for the same.
#[test]
fn one_asks_and_the_others_share_the_answer() {
    const MANY: usize = 24;
    let world = World::new();
    world.add("cred:orders", oauth_client(), "client-secret-1");
    let identity = world.identity();
    let lease = lease(&identity);
    for (name, there) in [("first-token", 0), ("second-token", MANY)] {
        world.desk.will_say(200, &token(name, 60));
        world.desk.close();
        let before = world.desk.count();
        let used: Vec<_> = thread::scope(|scope| {
            let asking: Vec<_> = (0..MANY)
                .map(|_| scope.spawn(|| bearer(&identity, &lease).unwrap()))
                .collect();
            // With an old token at hand, all but the one who asks go on.
            while world.desk.count() == before
                || asking.iter().filter(|one| one.is_finished()).count() < there.saturating_sub(1)
            {
                thread::yield_now();
            }
            world.desk.open();
            asking
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(world.desk.count(), before + 1);
        let fresh = used.iter().filter(|used| *used == name).count();
        assert_eq!(fresh, if there == 0 { MANY } else { 1 });
        world.hands.go(45 * MINUTE_MS);
    }
}

/// A rotated refresh token is on disk before its access token is used, and the next refresh presents it.
#[test]
fn the_next_refresh_token_is_kept_first() {
    let world = World::new();
    world.add("cred:orders", oauth_refresh(), "refresh-token-1");
    let identity = world.identity();
    let lease = lease(&identity);
    world
        .desk
        .will_say(200, &rotated("access-token-1", "refresh-token-2", 60));
    assert_eq!(bearer(&identity, &lease).unwrap(), "access-token-1");
    let kept = world.store().read(&handle("orders")).unwrap();
    assert_eq!(
        (kept.secrets.main.expose(), kept.header.version),
        ("refresh-token-2", 2)
    );
    // The one that there is stays good, although the record has another version now.
    assert_eq!(bearer(&identity, &lease).unwrap(), "access-token-1");
    assert_eq!(world.desk.count(), 1);
    // Another process, after a crash, goes on with it.
    world
        .desk
        .will_say(200, &rotated("access-token-2", "refresh-token-3", 60));
    let restarted = world.identity();
    restarted.test(&handle("orders")).unwrap();
    let asked = world.desk.asked.lock().unwrap()[1].clone();
    assert!(asked.contains("refresh_token=refresh-token-2&"), "{asked}");
}

/// A refresh token that cannot be kept is not lost, nor is its access token used: it is kept later, without asking again.
#[test]
fn what_cannot_be_kept_is_kept_later() {
    let world = World::new();
    world.add("cred:orders", oauth_refresh(), "refresh-token-1");
    let identity = world.identity();
    let lease = lease(&identity);
    world
        .desk
        .will_say(200, &rotated("access-token-1", "refresh-token-2", 60));
    // A directory stands in the way of the new file, and it cannot be taken for an unfinished one.
    let genuine = fs::read(world.path().join("orders.json")).unwrap();
    world.desk.close();
    let refused = thread::scope(|scope| {
        let asking = scope.spawn(|| bearer(&identity, &lease));
        while world.desk.count() == 0 {
            thread::yield_now();
        }
        fs::set_permissions(
            world.path().join("orders.json"),
            fs::Permissions::from_mode(0o644),
        )
        .unwrap();
        world.desk.open();
        asking.join().unwrap()
    });
    assert!(
        matches!(refused, Err(GrantError::Refresh(RefreshError::Store(_)))),
        "{refused:?}"
    );
    assert_eq!(fs::read(world.path().join("orders.json")).unwrap(), genuine);
    fs::set_permissions(
        world.path().join("orders.json"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    assert_eq!(bearer(&identity, &lease).unwrap(), "access-token-1");
    assert_eq!(world.desk.count(), 1);
    assert_eq!(
        world
            .store()
            .read(&handle("orders"))
            .unwrap()
            .secrets
            .main
            .expose(),
        "refresh-token-2"
    );
}

/// Case I14 of the corpus: somebody rotates the credential while a refresh is under way. The late answer neither overwrites nor
/// deletes it, nor is its token used; and neither is the new one blamed when the old one is refused.
#[test]
fn a_late_answer_does_not_overwrite() {
    for (status, answer) in [
        (
            200,
            rotated("stale-access-token", "stale-refresh-token", 60),
        ),
        (400, REFUSED.to_owned()),
    ] {
        let world = World::new();
        let seen = world.add("cred:orders", oauth_refresh(), "refresh-token-1");
        let identity = world.identity();
        let lease = lease(&identity);
        world.desk.will_say(status, &answer);
        world.desk.will_say(200, &token("of-the-new-one", 60));
        world.desk.close();
        let used = thread::scope(|scope| {
            let asking = scope.spawn(|| bearer(&identity, &lease).unwrap());
            while world.desk.count() == 0 {
                thread::yield_now();
            }
            world
                .store()
                .renew(&seen, &secrets("given-by-a-person"), By::Person, START_MS)
                .unwrap();
            world.desk.open();
            asking.join().unwrap()
        });
        assert_eq!(used, "of-the-new-one");
        let kept = world.store().read(&handle("orders")).unwrap();
        assert_eq!(
            (kept.secrets.main.expose(), kept.header.state),
            ("given-by-a-person", State::Active)
        );
        assert!(world.desk.asked.lock().unwrap()[1].contains("given-by-a-person"));
    }
}

/// A destination that shows the secret while a refresh is under way does not cost the credential: what the issuer gave is kept,
/// marked, and presented at the next refresh.
#[test]
fn a_mark_does_not_lose_the_next_refresh_token() {
    let world = World::new();
    world.add("cred:orders", oauth_refresh(), "refresh-token-1");
    let identity = world.identity();
    let lease = lease(&identity);
    let next = rotated("access-token-1", "refresh-token-2", 60);
    world.desk.will_say(200, &next);
    world.desk.will_say(400, REFUSED);
    world.desk.close();
    let used = thread::scope(|scope| {
        let asking = scope.spawn(|| bearer(&identity, &lease));
        while world.desk.count() == 0 {
            thread::yield_now();
        }
        world.store().reflect(&handle("orders")).unwrap();
        world.desk.open();
        asking.join().unwrap()
    });
    assert_eq!(used.unwrap(), "access-token-1");
    let kept = world.store().read(&handle("orders")).unwrap();
    assert_eq!(kept.secrets.main.expose(), "refresh-token-2");
    assert_eq!(kept.header.state, State::Active);
    assert!(kept.header.reflected);
    assert_eq!(world.desk.count(), 1);
}

/// `invalid_grant` is for good: the credential is put aside, on disk, and nobody asks again until a person gives a new one.
#[test]
fn what_its_issuer_does_not_take_is_quarantined() {
    let world = World::new();
    world.add("cred:orders", oauth_refresh(), "refresh-token-1");
    let identity = world.identity();
    let lease = lease(&identity);
    world.desk.will_say(400, REFUSED);
    for _ in 0..3 {
        assert!(matches!(
            bearer(&identity, &lease),
            Err(GrantError::Refresh(RefreshError::Quarantined(_)))
        ));
    }
    assert_eq!(world.desk.count(), 1);
    let header = world.store().header(&handle("orders")).unwrap().unwrap();
    assert_eq!(header.state, State::Quarantined);
    // Its secret is not deleted.
    assert_eq!(
        world
            .store()
            .read(&handle("orders"))
            .unwrap()
            .secrets
            .main
            .expose(),
        "refresh-token-1"
    );
    world
        .store()
        .renew(&header, &secrets("refresh-token-new"), By::Person, START_MS)
        .unwrap();
    world.desk.will_say(200, &token("of-the-new-one", 60));
    assert_eq!(bearer(&identity, &lease).unwrap(), "of-the-new-one");
}

/// Bad input: whatever an endpoint answers, there is no token from it, the credential stays as it is, and it is left alone for a
/// while; a token that is still good goes on.
#[test]
fn an_endpoint_that_is_ill_is_left_alone() {
    let answers = [
        (429, ""),
        (500, REFUSED),
        (503, "<html>"),
        (302, ""),
        (200, ""),
        (200, "not json"),
        (200, r#"{"access_token":"a-token-of-some"}"#),
        (
            200,
            r#"{"access_token":"a-token\r\nx: y","token_type":"bearer"}"#,
        ),
        (200, r#"{"access_token":"","token_type":"bearer"}"#),
        (
            200,
            r#"{"access_token":"a-good-token","access_token":"another-one","token_type":"bearer"}"#,
        ),
        (200, r#"{"access_token":"a-good-token","token_type":"mac"}"#),
        (
            200,
            r#"{"access_token":"a-good-token","token_type":"bearer","expires_in":-1}"#,
        ),
        (400, r#"{"error":"temporarily_unavailable"}"#),
    ];
    for (status, body) in answers {
        let world = World::new();
        world.add("cred:orders", oauth_refresh(), "refresh-token-1");
        let identity = world.identity();
        let lease = lease(&identity);
        world.desk.will_say(status, body);
        let failed = bearer(&identity, &lease);
        assert!(
            matches!(
                failed,
                Err(GrantError::Refresh(RefreshError::Answer { .. }))
            ),
            "{status} {body}: {failed:?}"
        );
        let waiting = bearer(&identity, &lease);
        assert!(
            matches!(
                waiting,
                Err(GrantError::Refresh(RefreshError::Waiting { .. }))
            ),
            "{status} {body}"
        );
        assert_eq!(world.desk.count(), 1);
        assert_eq!(
            world
                .store()
                .header(&handle("orders"))
                .unwrap()
                .unwrap()
                .state,
            State::Active
        );
        world.hands.go(1_000);
        world.desk.will_say(200, &token("a-good-token", 60));
        assert_eq!(bearer(&identity, &lease).unwrap(), "a-good-token");
        // Due, and the endpoint is ill again: the old one is still good, until it is not.
        world.hands.go(41 * MINUTE_MS);
        world.desk.will_say(status, body);
        assert_eq!(bearer(&identity, &lease).unwrap(), "a-good-token");
        world.hands.go(19 * MINUTE_MS);
        assert!(bearer(&identity, &lease).is_err());
    }
}

/// A clock that goes back does not make a token live longer, nor does it make anybody wait.
#[test]
fn a_clock_that_jumps_is_not_believed() {
    let world = World::new();
    world.add("cred:orders", oauth_client(), "client-secret-1");
    let identity = world.identity();
    world.desk.will_say(200, &token("first-token", 60));
    identity.test(&handle("orders")).unwrap();
    world.hands.set(START_MS - 60 * MINUTE_MS);
    world.desk.will_say(200, &token("second-token", 60));
    identity.test(&handle("orders")).unwrap();
    assert_eq!(world.desk.count(), 2);
    // It failed in the future: that is not waited for.
    world.hands.set(START_MS + 600 * MINUTE_MS);
    identity.test(&handle("orders")).unwrap_err();
    world.hands.set(START_MS - 30 * MINUTE_MS);
    let seen = world.store().header(&handle("orders")).unwrap().unwrap();
    world
        .store()
        .renew(&seen, &secrets("client-secret-2"), By::Person, START_MS)
        .unwrap();
    world.desk.will_say(200, &token("third-token", 60));
    identity.test(&handle("orders")).unwrap();
    assert_eq!(world.desk.count(), 4);
}

/// An endpoint that gives each client tokens of a life of its own.
#[derive(Debug, Default)]
struct Lives(Arc<AtomicUsize>);

fn life_ms(nth: u64) -> u64 {
    (30 + 2 * (nth % 45)) * MINUTE_MS
}

impl Endpoint for Lives {
    fn ask(&self, request: &TokenRequest) -> Result<TokenAnswer, EndpointError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let nth = request
            .body
            .split("client_id=")
            .nth(1)
            .unwrap()
            .split('&')
            .next()
            .unwrap();
        let minutes = life_ms(nth.parse().unwrap()) / MINUTE_MS;
        let body = token("some-access-token", minutes).into_bytes().into();
        Ok(TokenAnswer {
            status: 200,
            retry_after_ms: None,
            body,
        })
    }
}

/// A thousand credentials over a day, each with tokens of its own life: each is fetched anew in the minute of its deadline, and once.
#[test]
fn a_thousand_credentials_are_fresh_all_day() {
    const MANY: u64 = 1_000;
    let world = World::in_memory();
    let asked = Arc::new(AtomicUsize::new(0));
    let identity = world.identity_with(Box::new(Lives(Arc::clone(&asked))));
    let name = |nth: u64| format!("cred:c{nth:04}");
    let deadline = |now: u64, nth: u64| now + life_ms(nth) - (life_ms(nth) / 2).min(20 * MINUTE_MS);
    let (mut usages, mut due) = (Vec::new(), Vec::new());
    for nth in 0..MANY {
        let Kind::OauthClient { token_url, .. } = oauth_client() else {
            panic!()
        };
        let kind = Kind::OauthClient {
            token_url,
            client_id: nth.to_string(),
            scopes: Vec::new(),
            audience: None,
            auth: ClientAuth::Post,
        };
        world.add(&name(nth), kind, "client-secret-1");
        usages.push(crate::world::usage(&name(nth)));
        identity.test(&handle(&name(nth))).unwrap();
        due.push(deadline(START_MS, nth));
    }
    let order = Order {
        usages,
        lease_ms: 24 * 60 * MINUTE_MS,
        ..order("cred:x")
    };
    let issued = identity.issue(order, ISSUER).unwrap();
    identity.redeem(&issued, &binding(), ME).unwrap();
    let mut refreshed = 0;
    for _ in 1..24 * 60 {
        world.hands.go(MINUTE_MS);
        let now = world.hands.now();
        let mut done: Vec<_> = identity
            .refresh_due()
            .into_iter()
            .map(|(handle, done)| (handle.to_string(), done.is_ok()))
            .collect();
        done.sort();
        let mut expected = Vec::new();
        for (nth, due) in (0..).zip(&mut due) {
            if *due == now {
                expected.push((name(nth), true));
                *due = deadline(now, nth);
            }
        }
        assert_eq!(done, expected);
        refreshed += done.len();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1_000 + refreshed);
    assert!(refreshed > 10_000);
}

/// The kinds that sign do so with keys of both sorts, and their assertions say what they must.
#[test]
fn assertions_are_signed_by_the_key() {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    use base64::Engine as _;
    let random = aws_lc_rs::rand::SystemRandom::new();
    let p256 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let rsa = {
        use aws_lc_rs::encoding::AsDer as _;
        let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'static> = key.as_der().unwrap();
        der.as_ref().to_vec()
    };
    for (algorithm, key) in [("ES256", p256.as_ref()), ("RS256", rsa.as_slice())] {
        let world = World::new();
        let kind = Kind::JwtBearer {
            token_url: "https://id.example.com/token".into(),
            issuer: "me".into(),
            subject: "somebody".into(),
            audience: None,
            key_id: Some("k1".into()),
            scopes: Vec::new(),
        };
        world.add_key("cred:orders", kind, key);
        let identity = world.identity();
        world.desk.will_say(200, &token("an-access-token", 60));
        identity.test(&handle("orders")).unwrap();
        let asked = world.desk.asked.lock().unwrap()[0].clone();
        let assertion = asked.split("assertion=").nth(1).unwrap();
        let parts: Vec<_> = assertion.split('.').collect();
        let decode = |part: &str| {
            base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(part)
                .unwrap()
        };
        let json = |part: &str| serde_json::from_slice::<serde_json::Value>(&decode(part)).unwrap();
        assert_eq!(json(parts[0])["alg"], algorithm);
        assert_eq!(json(parts[0])["kid"], "k1");
        let claims = json(parts[1]);
        assert_eq!(claims["aud"], "https://id.example.com/token");
        assert_eq!(claims["exp"].as_u64().unwrap(), START_MS / 1_000 + 300);
        assert_eq!(
            decode(parts[2]).len(),
            if algorithm == "ES256" { 64 } else { 256 }
        );
    }
}

/// R86: a GitHub App gets tokens of one installation, for the repositories and permissions that were written down.
#[test]
fn a_github_app_asks_for_what_was_written_down() {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
    let random = aws_lc_rs::rand::SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let world = World::new();
    let kind = Kind::GithubApp {
        api_url: "https://api.github.com/".into(),
        app_id: "12".into(),
        installation: 34,
        repositories: vec!["site".into()],
        permissions: [("contents".to_owned(), "read".to_owned())].into(),
    };
    assert_eq!(kind.scopes(), ["contents:read", "repository:site"]);
    world.add_key("cred:orders", kind, key.as_ref());
    let identity = world.identity();
    let expires = "2027-01-15T09:00:00Z";
    world.desk.will_say(
        201,
        &format!(r#"{{"token":"ghs_an-access-token","expires_at":"{expires}"}}"#),
    );
    let tested = identity.test(&handle("orders")).unwrap();
    assert_eq!(tested.expires_at_ms, Some(START_MS + 60 * MINUTE_MS));
    let asked = world.desk.asked.lock().unwrap()[0].clone();
    assert_eq!(
        asked,
        r#"{"repositories":["site"],"permissions":{"contents":"read"}}"#
    );
}
