use casemate_egress::Vetting;
use casemate_model::DecisionId;
use casemate_policy::{Profile, Syntax};
use casemate_ports::{Crossing, NotConsented, NotRecorded};

use super::*;

/// The rules of a profile with one, which says this too.
fn policy(more: &str) -> EgressPolicy {
    let builtin = String::from_utf8(Profile::builtin().unwrap().source().to_vec()).unwrap();
    let allowed = builtin.replace(
        "allowed_domains = []",
        "allowed_domains = [\"a.example.com\"]",
    );
    let rule = format!(
        "\n[[egress.rules]]\nname = \"one\"\nhost = \"a.example.com\"\nmethods = [\"GET\"]\n{more}\n"
    );
    let profile = Profile::parse((allowed + &rule).as_bytes(), Syntax::Toml).unwrap();
    EgressPolicy::compile(&profile)
}

fn rule(policy: &EgressPolicy) -> &EgressRule {
    policy
        .admit(&DestinationFacts {
            tool: "process.run",
            scheme: Scheme::Https,
            host: "a.example.com",
            port: 443,
        })
        .unwrap()
}

/// Consents to everything, and counts.
#[derive(Debug, Default)]
struct Person(std::sync::atomic::AtomicUsize);

impl Witness for Person {
    fn record(&self, _: Crossing) -> casemate_ports::Pending<'_, Result<(), NotRecorded>> {
        Box::pin(std::future::ready(Err(NotRecorded)))
    }

    fn consent(&self, _: HeldRequest) -> casemate_ports::Pending<'_, Result<(), NotConsented>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(())))
    }
}

fn world(policy: EgressPolicy) -> (Arc<Person>, Rules) {
    let person = Arc::new(Person::default());
    let rules = Rules::new(
        Arc::new(policy),
        "process.run".to_owned(),
        SideEffect::ExternalSend,
        Arc::clone(&person) as _,
    );
    (person, rules.unwrap())
}

/// A request without a body for the one host there is.
fn get(rules: &Rules) -> Facts {
    let origin = Origin {
        call: DecisionId::new(0, [1; 10]),
        trace: "trace".to_owned(),
    };
    let target = Target {
        scheme: casemate_egress::Scheme::Https,
        host: Host::Name(Name::parse("a.example.com").unwrap()),
        port: 443,
    };
    Facts {
        decision: DecisionId::new(0, [2; 10]),
        destination: casemate_egress::Destination::new(target, &origin, rules, &Vetting::default())
            .unwrap(),
        origin,
        entry: casemate_egress::Entry::Connect,
        server_name: None,
        method: http::Method::GET,
        path: "/".to_owned(),
        query: None,
        fields: http::HeaderMap::new(),
        length: BodyLength::Empty,
        body: None,
        websocket: false,
    }
}

/// Nobody is asked to consent to a WebSocket as if it were the request that it begins with: what goes through it is never seen.
#[test]
fn a_websocket_is_shown_to_nobody() {
    let (_, rules) = world(policy("class = \"partner\"\napproval = \"always\""));
    let mut facts = get(&rules);
    let one = rule(&rules.policy);
    assert!(held(&facts, one, EgressCode::ApprovalRequired).is_some());
    facts.websocket = true;
    assert_eq!(held(&facts, one, EgressCode::ApprovalRequired), None);
}

/// Nobody is asked more often than the rule lets requests be made, and one that was consented to is one request.
#[tokio::test]
async fn asking_uses_the_rule_up() {
    let often = "class = \"partner\"\napproval = \"always\"\nmax_requests = 2";
    let (person, rules) = world(policy(often));
    let facts = get(&rules);
    for _ in 0..2 {
        assert!(rules.judge(&facts).await.is_ok());
    }
    let refused = rules.judge(&facts).await.unwrap_err();
    assert_eq!(refused.code, Code::BudgetExhausted);
    assert_eq!(person.0.load(Ordering::SeqCst), 2);
}

/// What a body may not have, a message may not have.
#[test]
fn messages_are_bounded_like_bodies() {
    for (more, bytes) in [
        ("max_body_bytes = 100\nexport_above_bytes = 200", 100),
        ("max_body_bytes = 200\nexport_above_bytes = 100", 100),
        (
            "max_body_bytes = 200\nexport_above_bytes = 100\nexport = \"allowed\"",
            200,
        ),
        (
            "max_body_bytes = 1099511627776\nexport_above_bytes = 1099511627776",
            MAX_MESSAGE_BYTES,
        ),
    ] {
        let policy = policy(&format!(
            "class = \"partner\"\nwebsocket = \"text\"\n{more}"
        ));
        assert_eq!(messages(rule(&policy)).unwrap().bytes, bytes, "{more}");
    }
}
