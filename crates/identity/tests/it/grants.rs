//! Tokens, leases and grants.

use std::{sync::Barrier, thread};

use casemate_authority::{Position, SwitchKind};
use casemate_identity::{
    ActionToken, Binding, GrantError, Holder, Identity, Kind, LeaseId, Order, Request, TokenError,
    Usage,
};
use casemate_model::Digest;

use crate::world::{
    ISSUER, ME, MINUTE_MS, START_MS, World, binding, handle, leased, leased_for, order, request,
    usage,
};

const TEXT: &str = "canary-of-the-grants-22";

fn stands(identity: &Identity, lease: &LeaseId, holder: Holder) -> bool {
    identity
        .lost(lease, holder)
        .is_some_and(|lost| lost.is_empty())
}

#[track_caller]
fn assert_unknown(identity: &Identity, token: &ActionToken) {
    let redeemed = identity.redeem(token, &binding(), ME);
    assert!(matches!(redeemed, Err(TokenError::Unknown)), "{redeemed:?}");
}

/// R77: of a hundred who redeem one token at once, one has a lease; and nobody has one later.
#[test]
fn a_token_is_redeemed_once() {
    const MANY: u64 = 100;
    let world = World::new();
    let identity = world.identity();
    let token = identity.issue(order("cred:orders"), ISSUER).unwrap();
    let start = Barrier::new(usize::try_from(MANY).unwrap());
    let redeemed: Vec<_> = thread::scope(|scope| {
        let racing: Vec<_> = (0..MANY)
            .map(|nth| {
                let (identity, token, start) = (&identity, &token, &start);
                scope.spawn(move || {
                    start.wait();
                    identity.redeem(token, &binding(), Holder(nth))
                })
            })
            .collect();
        racing
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(redeemed.iter().flatten().count(), 1);
    assert!(
        redeemed
            .iter()
            .filter_map(|one| one.as_ref().err())
            .all(|error| matches!(error, TokenError::Unknown))
    );
    assert_unknown(&identity, &token);
}

/// R77: after a restart no token is known, used or not; nor is one that was never issued.
#[test]
fn a_restart_forgets_every_token() {
    let world = World::new();
    let (unused, lease) = {
        let before = world.identity();
        let token = before.issue(order("cred:orders"), ISSUER).unwrap();
        let lease = before.redeem(&token, &binding(), ME).unwrap();
        (before.issue(order("cred:orders"), ISSUER).unwrap(), lease)
    };
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    let after = world.identity();
    assert_unknown(&after, &unused);
    assert!(matches!(
        after.grant(&lease, ME, &request("cred:orders")),
        Err(GrantError::Scope(_))
    ));
}

/// R74, R84: a token is of one call: whoever says that they are another loses it, whatever it is in which they differ.
#[test]
fn a_token_of_another_call_is_burnt() {
    type Change = fn(&mut Binding);
    let changes: [Change; 7] = [
        |binding| binding.agent = "other".into(),
        |binding| binding.tenant = "other".into(),
        |binding| binding.thread = None,
        |binding| binding.route = "other".into(),
        |binding| binding.tool = "other".into(),
        |binding| binding.policy = Digest::of(b"other"),
        |binding| binding.arguments = Digest::of(b"other"),
    ];
    let world = World::new();
    let identity = world.identity();
    for change in changes {
        let token = identity.issue(order("cred:orders"), ISSUER).unwrap();
        let mut other = binding();
        change(&mut other);
        assert!(matches!(
            identity.redeem(&token, &other, ME),
            Err(TokenError::Binding)
        ));
        assert_unknown(&identity, &token);
    }
}

/// Tokens expire, and a clock that jumps does not make one live longer.
#[test]
fn a_token_does_not_wait_for_ever() {
    let world = World::new();
    let identity = world.identity();
    for at_ms in [
        START_MS + MINUTE_MS,
        START_MS + 60 * MINUTE_MS,
        START_MS - 1,
    ] {
        world.hands.set(START_MS);
        let token = identity.issue(order("cred:orders"), ISSUER).unwrap();
        world.hands.set(at_ms);
        assert_unknown(&identity, &token);
    }
    world.hands.set(START_MS);
    let token = identity.issue(order("cred:orders"), ISSUER).unwrap();
    world.hands.go(MINUTE_MS - 1);
    identity.redeem(&token, &binding(), ME).unwrap();
}

/// R87, R89, R90, R99: a lease has the credential for the requests of the rule, and for no other host, port, method, path,
/// tool or credential; nor does somebody else have it.
#[test]
fn a_grant_is_for_what_the_rule_says() {
    type Change = fn(&mut Request);
    let world = World::new();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    world.add("cred:other", Kind::Bearer {}, "another-secret");
    let identity = world.identity();
    let lease = leased(&identity, order("cred:orders"));
    let good = request("cred:orders");
    let changes: [Change; 16] = [
        |request| request.rule = "another".into(),
        |request| request.host = "other.example.com".into(),
        |request| request.host = "orders.example.com.evil.example".into(),
        |request| request.host = "ORDERS.example.com".into(),
        |request| request.port = 8443,
        |request| request.method = "DELETE".into(),
        |request| request.method = "get".into(),
        |request| request.path = "/v2/orders/7".into(),
        |request| request.path = "/v1".into(),
        |request| request.path = "/v1/orders%2F7".into(),
        // Paths that some server takes for others, whatever the proxy made of them.
        |request| request.path = "/v1/orders%2f7".into(),
        |request| request.path = "/v1/../admin".into(),
        |request| request.path = "/v1/%2E%2E/admin".into(),
        |request| request.path = "/v1//admin".into(),
        |request| request.path = "/v1/a;b".into(),
        |request| request.handle = "cred:other".parse().unwrap(),
    ];
    for change in changes {
        let mut other = good.clone();
        change(&mut other);
        if other.path == "/v1" {
            other.path = "/v11/orders".into();
        }
        let granted = identity.grant(&lease, ME, &other);
        assert!(matches!(granted, Err(GrantError::Scope(_))), "{other:?}");
    }
    assert!(matches!(
        identity.grant(&lease, Holder(2), &good),
        Err(GrantError::Scope(_))
    ));
    let rendered = identity.grant(&lease, ME, &good).unwrap();
    assert_eq!(rendered.fields[0].1.expose(), format!("Bearer {TEXT}"));
    // A rule that is for other tools gives this one nothing.
    let lease = leased_for(
        &identity,
        Usage {
            tools: Some(vec!["other".into()]),
            ..usage("cred:orders")
        },
    );
    assert!(matches!(
        identity.grant(&lease, ME, &good),
        Err(GrantError::Scope(_))
    ));
}

/// R90: where an escaped slash passes, no other second reading of a path does.
#[test]
fn a_grant_is_for_one_reading_of_a_path() {
    let world = World::new();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    let identity = world.identity();
    let lease = leased_for(
        &identity,
        Usage {
            escaped_slash: true,
            ..usage("cred:orders")
        },
    );
    for (path, passes) in [
        ("/v1/a%2Fb", true),
        ("/v1/a%2fb", false),
        ("/v1/a%2F..", false),
        ("/v1/a%2F%2Fb", false),
        ("/v1/../admin", false),
    ] {
        let other = Request {
            path: path.into(),
            ..request("cred:orders")
        };
        let granted = identity.grant(&lease, ME, &other);
        assert_eq!(granted.is_ok(), passes, "{path}: {granted:?}");
    }
}

/// R90: what a rule says of queries is part of what its credential is for.
#[test]
fn a_grant_is_for_the_queries_of_its_rule() {
    let world = World::new();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    let identity = world.identity();
    let lease = leased_for(
        &identity,
        Usage {
            query: Some(vec!["service=git-upload-pack".into()]),
            ..usage("cred:orders")
        },
    );
    for (query, passes) in [
        (None, true),
        (Some("service=git-upload-pack"), true),
        (Some("service=git-receive-pack"), false),
        (Some("service=git-upload-pack&x=1"), false),
    ] {
        let other = Request {
            query: query.map(Into::into),
            ..request("cred:orders")
        };
        let granted = identity.grant(&lease, ME, &other);
        assert_eq!(granted.is_ok(), passes, "{query:?}: {granted:?}");
    }
}

/// R76: a lease ends with its call, with its connection, and with its time.
#[test]
fn a_lease_ends() {
    let world = World::new();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    let identity = world.identity();
    let ask = request("cred:orders");
    let lease = |holder| {
        let token = identity.issue(order("cred:orders"), ISSUER).unwrap();
        identity.redeem(&token, &binding(), holder).unwrap()
    };
    let ended = |lease, holder| {
        matches!(
            identity.grant(lease, holder, &ask),
            Err(GrantError::Scope(_))
        )
    };
    let (first, second, third) = (lease(ME), lease(ME), lease(Holder(2)));
    // Somebody else cannot end it.
    identity.end(&first, Holder(2));
    assert!(!ended(&first, ME));
    identity.end(&first, ME);
    assert!(ended(&first, ME) && !stands(&identity, &first, ME));
    assert!(!ended(&second, ME));
    identity.leave(ME);
    assert!(ended(&second, ME));
    assert!(!ended(&third, Holder(2)) && stands(&identity, &third, Holder(2)));
    world.hands.go(10 * MINUTE_MS);
    assert!(ended(&third, Holder(2)));
}

/// Strict mode: a request is taken of the rule that let it through, and of no other that would cover it; what came to nothing is given back
/// to that rule.
#[test]
fn a_request_is_taken_of_its_own_rule() {
    let world = World::new();
    let identity = world.identity();
    let named = |rule: &str| Usage {
        rule: rule.into(),
        most: 1,
        ..usage("cred:orders")
    };
    let usages = vec![named("first"), named("second")];
    let lease = leased(
        &identity,
        Order {
            usages,
            ..order("cred:orders")
        },
    );
    let ask = |rule: &str| {
        let mut ask = request("cred:orders");
        ask.rule = rule.into();
        identity.grant(&lease, ME, &ask)
    };
    // There is no such credential yet: that takes nothing of either.
    assert!(ask("first").is_err() && ask("second").is_err());
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    assert!(ask("first").is_ok());
    assert!(matches!(ask("first"), Err(GrantError::Scope(_))));
    world.store().revoke(&handle("orders")).unwrap();
    assert!(ask("second").is_err());
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    assert!(matches!(ask("first"), Err(GrantError::Scope(_))));
    assert!(ask("second").is_ok());
    assert!(matches!(ask("second"), Err(GrantError::Scope(_))));
}

/// Strict mode: one request, and of many that come at once one.
#[test]
fn a_strict_rule_gives_one_grant() {
    const MANY: usize = 32;
    let world = World::new();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    let identity = world.identity();
    let lease = leased_for(
        &identity,
        Usage {
            most: 1,
            ..usage("cred:orders")
        },
    );
    let ask = request("cred:orders");
    let start = Barrier::new(MANY);
    let granted = thread::scope(|scope| {
        let racing: Vec<_> = (0..MANY)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    identity.grant(&lease, ME, &ask).is_ok()
                })
            })
            .collect();
        racing
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .filter(|won| *won)
            .count()
    });
    assert_eq!(granted, 1);
}

/// R95: whatever is taken back, the credential or the agent, tenant, tool or route that has it, is taken from leases that there
/// are; and giving it back does not give it to them again.
#[test]
fn what_is_taken_back_ends_leases_that_there_are() {
    let switches = [
        (SwitchKind::Credential, "cred:orders"),
        (SwitchKind::Agent, "support"),
        (SwitchKind::Tenant, "local"),
        (SwitchKind::Tool, "run_command"),
        (SwitchKind::Route, "default"),
    ];
    for (kind, name) in switches {
        let world = World::new();
        world.add("cred:orders", Kind::Bearer {}, TEXT);
        let identity = world.identity();
        let lease = leased(&identity, order("cred:orders"));
        let ask = request("cred:orders");
        identity.grant(&lease, ME, &ask).unwrap();
        world.throw(kind, name, Position::Off);
        assert!(
            matches!(
                identity.grant(&lease, ME, &ask),
                Err(GrantError::Stopped(_))
            ),
            "{kind}"
        );
        assert!(!stands(&identity, &lease, ME));
        world.throw(kind, name, Position::On);
        assert!(
            matches!(
                identity.grant(&lease, ME, &ask),
                Err(GrantError::Stopped(_))
            ),
            "{kind}"
        );
        let lease = leased(&identity, order("cred:orders"));
        identity.grant(&lease, ME, &ask).unwrap();
    }
    let world = World::new();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    let identity = world.identity();
    let lease = leased(&identity, order("cred:orders"));
    assert!(stands(&identity, &lease, ME));
    world.store().revoke(&handle("orders")).unwrap();
    assert!(matches!(
        identity.grant(&lease, ME, &request("cred:orders")),
        Err(GrantError::Store(_))
    ));
    assert!(!stands(&identity, &lease, ME));
}

/// I1: switches that cannot be read stop everything.
#[test]
fn without_switches_nothing_is_granted() {
    let world = World::new();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    let identity = world.identity();
    let lease = leased(&identity, order("cred:orders"));
    std::fs::write(world.dir.path().join("switches/board"), "nothing").unwrap();
    assert!(matches!(
        identity.grant(&lease, ME, &request("cred:orders")),
        Err(GrantError::Stopped(_))
    ));
    assert!(identity.issue(order("cred:orders"), ISSUER).is_err());
}

/// I15: tokens that nobody redeems do not pile up.
#[test]
fn tokens_are_bounded() {
    let world = World::new();
    let identity = world.identity();
    for _ in 0..casemate_identity::limits::MAX_TOKENS {
        identity.issue(order("cred:orders"), ISSUER).unwrap();
    }
    assert!(identity.issue(order("cred:orders"), ISSUER).is_err());
    world.hands.go(MINUTE_MS);
    identity.issue(order("cred:orders"), ISSUER).unwrap();
}

/// One credential that is taken back does not take the others of the call along.
#[test]
fn what_is_taken_back_is_one_credential() {
    let world = World::new();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    world.add("cred:other", Kind::Bearer {}, "another-secret");
    let identity = world.identity();
    let usages = vec![
        usage("cred:orders"),
        usage("cred:other"),
        usage("cred:absent"),
    ];
    let lease = leased(
        &identity,
        Order {
            usages,
            ..order("cred:orders")
        },
    );
    assert_eq!(identity.lost(&lease, ME), Some(vec![]));
    world.store().revoke(&handle("orders")).unwrap();
    assert_eq!(identity.lost(&lease, ME), Some(vec![handle("orders")]));
    identity.grant(&lease, ME, &request("cred:other")).unwrap();
    world.throw(SwitchKind::Credential, "cred:other", Position::Off);
    assert_eq!(
        identity.lost(&lease, ME),
        Some(vec![handle("orders"), handle("other")])
    );
    world.throw(SwitchKind::Agent, "support", Position::Off);
    assert_eq!(identity.lost(&lease, ME).unwrap().len(), 3);
    identity.end(&lease, ME);
    assert_eq!(identity.lost(&lease, ME), None);
}

/// R9: by a rule under which a person approves new destinations, a known one has the credential without. One to which something was approved
/// is known when whoever ordered the right says that it answered, and not before: what was sent may have failed. No other is.
#[test]
fn a_new_destination_is_approved_once() {
    let world = World::new();
    let identity = world.identity();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    let mut asks = Usage {
        host: "*.example.com".into(),
        known: Some(Vec::new()),
        ..usage("cred:orders")
    };
    for (host, port) in [
        ("known.example.com", 443),
        ("known.example.com", 8443),
        ("elsewhere.example.org", 443),
    ] {
        asks.learn(host, port);
    }
    let order = Order {
        usages: vec![asks],
        ..order("cred:orders")
    };
    let lease = leased(&identity, order);
    let at = |host: &str, port| Request {
        host: host.into(),
        port,
        ..request("cred:orders")
    };
    let is_granted = |ask: &Request| identity.grant(&lease, ME, ask).is_ok();
    assert!(is_granted(&at("known.example.com", 443)));
    assert!(!is_granted(&at("known.example.com", 8443)));
    assert!(!is_granted(&at("elsewhere.example.org", 443)));
    let new = at("new.example.com", 443);
    assert!(!is_granted(&new));
    identity.approve(new.clone(), ISSUER).unwrap();
    assert!(is_granted(&new) && !is_granted(&new));
    for stranger in [ME, Holder(7)] {
        identity.learn(&new.host, new.port, stranger);
        assert!(!is_granted(&new));
    }
    identity.learn(&new.host, new.port, ISSUER);
    assert!(is_granted(&new) && is_granted(&new));
    assert!(!is_granted(&at("new.example.com", 8443)));
    assert!(!is_granted(&at("other.example.com", 443)));
}

/// R9, R101: what a person approved is granted once, and exactly as it was shown; nothing else is by a rule under which people are asked,
/// and nobody but who ordered the right says what was approved.
#[test]
fn what_was_approved_is_granted_once_and_as_it_was_shown() {
    let world = World::new();
    let identity = world.identity();
    world.add("cred:orders", Kind::Bearer {}, TEXT);
    let strict = Order {
        usages: vec![Usage {
            most: 0,
            ..usage("cred:orders")
        }],
        ..order("cred:orders")
    };
    let lease = leased(&identity, strict);
    let shown = Request {
        body: Some(Digest::of(b"transfer 5")),
        ..request("cred:orders")
    };
    let refused = |ask: &Request| {
        let granted = identity.grant(&lease, ME, ask);
        assert!(matches!(granted, Err(GrantError::Scope(_))), "{granted:?}");
    };
    refused(&shown);
    for stranger in [ME, Holder(7)] {
        let noted = identity.approve(shown.clone(), stranger);
        assert!(matches!(noted, Err(GrantError::Scope(_))), "{noted:?}");
    }
    refused(&shown);
    identity.approve(shown.clone(), ISSUER).unwrap();
    for change in [
        |ask: &mut Request| ask.body = Some(Digest::of(b"transfer 9")),
        |ask: &mut Request| ask.body = None,
        |ask: &mut Request| ask.path = "/v1/orders/8".into(),
        |ask: &mut Request| ask.query = Some("all=1".into()),
        |ask: &mut Request| ask.method = "POST".into(),
        |ask: &mut Request| ask.host = "orders.example.org".into(),
        |ask: &mut Request| ask.port = 8443,
        |ask: &mut Request| ask.rule = "other".into(),
        |ask: &mut Request| ask.handle = handle("cred:other"),
    ] {
        let mut other = shown.clone();
        change(&mut other);
        refused(&other);
    }
    identity.grant(&lease, ME, &shown).unwrap();
    refused(&shown);
    // An approval reaches no further than the rules of the call.
    let elsewhere = Request {
        host: "evil.example.com".into(),
        ..shown.clone()
    };
    identity.approve(elsewhere.clone(), ISSUER).unwrap();
    refused(&elsewhere);
    identity.end(&lease, ME);
    assert!(identity.approve(shown, ISSUER).is_err());
}

/// R87, I2: a secret goes into a path where a path of the rule has its stand-in written out. What a rule leaves open does not let a program choose, and costs no
/// request of the rule.
#[test]
fn the_rule_says_where_in_a_path_a_secret_goes() {
    const STAND_IN: &str = "123:stand-in-of-orders";
    let world = World::new();
    let stand_in = STAND_IN.to_owned();
    world.add("cred:orders", Kind::Path { stand_in }, TEXT);
    let identity = world.identity();
    let lease_of = |paths: Option<&[&str]>| {
        let mut usage = usage("cred:orders");
        usage.paths = paths.map(|paths| paths.iter().map(|path| (*path).to_owned()).collect());
        usage.most = 1;
        leased_for(&identity, usage)
    };
    let granted = |lease: &LeaseId, path: &str| {
        let mut asked = request("cred:orders");
        asked.path = path.replace('@', STAND_IN);
        identity.grant(lease, ME, &asked)
    };
    let written = format!("/v1/bot{STAND_IN}/*");
    for paths in [None, Some(&["/v1/**"][..]), Some(&["/v1/**", &written])] {
        let lease = lease_of(paths);
        for elsewhere in ["/v1/notes/@", "/v1/bot/@", "/v1/bot@/@", "/v1/bot/send"] {
            let refused = granted(&lease, elsewhere);
            assert!(matches!(refused, Err(GrantError::Scope(_))), "{elsewhere}");
        }
        let there = granted(&lease, "/v1/bot@/send");
        assert_eq!(there.is_ok(), paths.is_some_and(|paths| paths.len() == 2));
    }
}
