//! Logins, which are no requests of HTTP.

use casemate_identity::{Challenge, GrantError, Kind, Login, Logins, Order, Request, Usage};

use crate::world::{ME, World, leased, order, request, usage};

const TEXT: &str = "canary-of-the-logins-5e";

/// R75, R87: a password answers challenges for its own user, at the databases of its rule, and nothing of HTTP; a credential of HTTP answers none.
#[test]
fn a_login_is_granted_to_its_own_rule() {
    let world = World::new();
    let user = "agent".to_owned();
    world.add("cred:orders", Kind::PostgresPassword { user }, TEXT);
    world.add("cred:other", Kind::Bearer {}, TEXT);
    let identity = world.identity();
    let logins = |handle: &str, user: &str| Usage {
        login: Some(Logins {
            user: user.into(),
            databases: vec!["orders".into()],
        }),
        ..usage(handle)
    };
    let usages = vec![
        logins("cred:orders", "agent"),
        Usage {
            rule: "root".into(),
            ..logins("cred:orders", "root")
        },
        Usage {
            rule: "http".into(),
            ..usage("cred:orders")
        },
        logins("cred:other", "agent"),
    ];
    let lease = leased(
        &identity,
        Order {
            usages,
            ..order("cred:orders")
        },
    );
    let ask = |handle: &str, rule: &str, user: &str, database: &str| Request {
        rule: rule.into(),
        login: Some(Login {
            user: user.into(),
            database: database.into(),
            challenge: Challenge::Cleartext {},
        }),
        ..request(handle)
    };
    let good = ask("cred:orders", "orders", "agent", "orders");
    let granted = identity.grant(&lease, ME, &good).unwrap();
    assert_eq!(granted.fields[0].1.expose(), TEXT);
    for (other, is_scope) in [
        (ask("cred:orders", "orders", "agent", "people"), true),
        (ask("cred:orders", "orders", "root", "orders"), true),
        // The rule has another user than the password.
        (ask("cred:orders", "root", "root", "orders"), false),
        (ask("cred:orders", "http", "agent", "orders"), true),
        (ask("cred:other", "orders", "agent", "orders"), false),
        (request("cred:orders"), true),
        (
            Request {
                rule: "http".into(),
                ..request("cred:orders")
            },
            false,
        ),
    ] {
        let refused = identity.grant(&lease, ME, &other).unwrap_err();
        assert_eq!(
            matches!(refused, GrantError::Scope(_)),
            is_scope,
            "{other:?}: {refused}"
        );
    }
}
