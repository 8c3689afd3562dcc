use casemate_egress::Vetting;
use casemate_model::DecisionId;
use casemate_policy::{Profile, Syntax};
use casemate_ports::{Crossing, NotConsented, NotRecorded};
use http::{HeaderMap, HeaderName, HeaderValue};

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

/// Consents to everything, and counts; as a program of the operator's it says what a test wants it to.
#[derive(Debug, Default)]
struct Person {
    asked: std::sync::atomic::AtomicUsize,
    advice: Mutex<Option<Advice>>,
    consulted: Mutex<Vec<ConsultedRequest>>,
    /// What is known while a person thinks.
    learns: Mutex<Option<(Arc<Known>, casemate_egress::Record)>>,
}

impl Witness for Person {
    fn record(&self, _: Crossing) -> casemate_ports::Pending<'_, Result<(), NotRecorded>> {
        Box::pin(std::future::ready(Err(NotRecorded)))
    }

    fn consent(&self, _: HeldRequest) -> casemate_ports::Pending<'_, Result<(), NotConsented>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if let Some((known, record)) = &*self.learns.lock().unwrap() {
            // It may be known by now.
            known
                .begin(record)
                .into_iter()
                .for_each(|settling| settling.learn());
        }
        Box::pin(std::future::ready(Ok(())))
    }

    fn consult(&self, request: ConsultedRequest) -> casemate_ports::Pending<'_, Advice> {
        self.consulted.lock().unwrap().push(request);
        let advice = self.advice.lock().unwrap().clone();
        Box::pin(std::future::ready(advice.unwrap()))
    }
}

fn world(policy: EgressPolicy) -> (Arc<Person>, Rules) {
    let person = Arc::new(Person::default());
    let rules = Rules::new(
        Arc::new(policy),
        Sender {
            tool: "process.run".to_owned(),
            ceiling: SideEffect::ExternalSend,
            consults: false,
        },
        Arc::default(),
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

/// A program that wants to see bodies is not told that a WebSocket has an empty one.
#[test]
fn a_websocket_has_no_body_that_could_be_shown() {
    let (_, rules) = world(policy("class = \"partner\"\nwebsocket = \"text\""));
    let mut facts = get(&rules);
    let empty = ConsultedBody::Whole(Text::EMPTY);
    assert_eq!(consulted(&facts).body, empty);
    facts.websocket = true;
    assert_eq!(consulted(&facts).body, ConsultedBody::Stream);
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
    assert_eq!(person.asked.load(Ordering::SeqCst), 2);
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

/// Rules of a call about whose requests a program of the operator's is asked, which says this.
fn consulting(policy: EgressPolicy, advice: Advice) -> (Arc<Person>, Rules) {
    let (person, mut rules) = world(policy);
    *person.advice.lock().unwrap() = Some(advice);
    rules.sender.consults = true;
    (person, rules)
}

fn field(facts: &mut Facts, name: &'static str, value: &'static str) {
    let name = HeaderName::from_static(name);
    facts.fields.append(name, HeaderValue::from_static(value));
}

fn without(names: &[&str]) -> Advice {
    Advice::Pass {
        without: names.iter().map(ToString::to_string).collect(),
    }
}

/// The rules first: what they refuse nobody is asked about; and what a program refuses no person is asked about.
#[tokio::test]
async fn a_program_is_asked_after_the_rules_and_before_people() {
    let (person, rules) = consulting(policy("class = \"partner\""), without(&[]));
    let mut facts = get(&rules);
    facts.method = http::Method::POST;
    assert!(rules.judge(&facts).await.is_err());
    assert!(person.consulted.lock().unwrap().is_empty());
    let denies = Advice::Deny {
        code: AdviceCode::Denied,
        status: Some(451),
    };
    let held = policy("class = \"partner\"\napproval = \"always\"");
    let (person, rules) = consulting(held, denies);
    let denial = rules.judge(&get(&rules)).await.unwrap_err();
    assert_eq!(denial.because, Some("decider_denied"));
    assert_eq!(denial.status, StatusCode::from_u16(451).ok());
    assert_eq!(denial.rule.as_deref(), Some("one"));
    assert_eq!(person.asked.load(Ordering::SeqCst), 0);
}

/// What it is not to see it is not shown, and what it takes out is not sent: the request is judged again without it, and is one request.
#[tokio::test]
async fn fields_that_a_program_takes_out_are_out() {
    let one = policy("class = \"partner\"\nmax_requests = 1");
    let (person, rules) = consulting(one, without(&["x-a"]));
    let mut facts = get(&rules);
    for (name, value) in [
        ("x-a", "1"),
        ("x-b", "2"),
        ("cookie", "3"),
        ("authorization", "4"),
    ] {
        field(&mut facts, name, value);
    }
    let allowance = rules.judge(&facts).await.unwrap();
    assert_eq!(allowance.without, ["x-a"]);
    let shown = person.consulted.lock().unwrap()[0].fields.clone();
    let shown: Vec<_> = shown.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(shown, ["x-a", "x-b"]);
    let more = rules.judge(&facts).await.unwrap_err();
    assert_eq!(more.code, Code::BudgetExhausted);
    // The rule wants the field that is to be taken out.
    let wants = policy("class = \"partner\"\nheaders = { x-a = \"1\" }");
    let (_, rules) = consulting(wants, without(&["x_a"]));
    let denial = rules.judge(&facts).await.unwrap_err();
    assert_eq!(denial.because, Some("header_refused"));
}

/// Without a field another rule may let the request through, with a credential: that is more than was let through before.
#[tokio::test]
async fn taking_a_field_out_changes_no_rule() {
    let two = "class = \"partner\"\nheaders = { x-a = \"1\" }\n\n[[egress.rules]]\nname = \"two\"\nhost = \"a.example.com\"\nclass = \"partner\"";
    let (person, rules) = consulting(policy(two), without(&["x-a"]));
    let mut facts = get(&rules);
    facts.fields = HeaderMap::new();
    field(&mut facts, "x-a", "1");
    let denial = rules.judge(&facts).await.unwrap_err();
    assert_eq!(denial.because, Some("decider_widens"));
    *person.advice.lock().unwrap() = Some(without(&[]));
    assert_eq!(rules.judge(&facts).await.unwrap().rule, "one");
}

/// A body is there for whoever may want to see it, if it can be held; a longer one goes on as it comes.
#[tokio::test]
async fn a_program_can_see_a_body() {
    let posts = "class = \"partner\"\nmax_body_bytes = 99999999\nexport = \"allowed\"";
    let posts = posts.replace("class", "side_effect = \"read\"\nclass");
    let (person, rules) = consulting(policy(&posts), without(&[]));
    let mut facts = get(&rules);
    facts.length = BodyLength::Bytes(10);
    assert_eq!(rules.body_bytes(&facts), Some(MAX_JUDGED_BODY_BYTES));
    facts.length = BodyLength::Bytes(1 + MAX_JUDGED_BODY_BYTES as u64);
    assert_eq!(rules.body_bytes(&facts), None);
    facts.length = BodyLength::Unknown;
    assert_eq!(rules.body_bytes(&facts), None);
    for (bytes, whole) in [(MAX_SHOWN_BYTES, true), (1 + MAX_SHOWN_BYTES, false)] {
        let bytes = bytes::Bytes::from(vec![b'a'; bytes]);
        facts.body = Some(casemate_egress::Whole {
            digest: casemate_model::Digest::of(&bytes),
            bytes,
        });
        let shown = consulted(&facts).body;
        assert_eq!(matches!(shown, ConsultedBody::Whole(_)), whole);
        assert_eq!(matches!(shown, ConsultedBody::Beginning(_)), !whole);
    }
    assert!(person.consulted.lock().unwrap().is_empty());
}

/// What is shown is what is sent: all fields, but those instead of which a credential goes.
#[test]
fn fields_are_part_of_what_is_consented_to() {
    let (_, rules) = world(policy("class = \"partner\"\napproval = \"always\""));
    let mut facts = get(&rules);
    for (name, value) in [
        ("x-a", "1"),
        ("x-a", "2"),
        ("authorization", "3"),
        ("range", "bytes=0-1"),
    ] {
        field(&mut facts, name, value);
    }
    let mut one = rule(&rules.policy).clone();
    let shown = |one: &EgressRule| {
        held(&facts, one, EgressCode::ApprovalRequired)
            .unwrap()
            .fields
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut all = shown(&one);
    all.sort();
    let wanted = [
        pair("authorization", "3"),
        pair("range", "bytes=0-1"),
        pair("x-a", "1"),
        pair("x-a", "2"),
    ];
    assert_eq!(all, wanted);
    one.credential = Some("cred:a".to_owned());
    let mut all = shown(&one);
    all.sort();
    assert_eq!(
        all,
        [
            pair("accept-encoding", "identity"),
            pair("x-a", "1"),
            pair("x-a", "2")
        ]
    );
}

/// A destination is new until one of its answers is whole; it is another one at another port.
#[tokio::test]
async fn a_destination_that_answered_is_not_new() {
    let asks = "class = \"partner\"\napproval = \"new_destination\"";
    let (person, rules) = world(policy(asks));
    let facts = get(&rules);
    assert!(rules.judge(&facts).await.is_ok());
    assert_eq!(person.asked.load(Ordering::SeqCst), 1);
    let known = |port| {
        Known::new(vec![casemate_ports::KnownDestination {
            host: "a.example.com".to_owned(),
            port,
        }])
    };
    for (port, asked) in [(8443, 1), (443, 0)] {
        let (person, mut rules) = world(policy(asks));
        rules.known = Arc::new(known(port));
        assert!(rules.judge(&facts).await.is_ok());
        assert_eq!(person.asked.load(Ordering::SeqCst), asked, "{port}");
    }
}

/// What a person consents to is what one rule does: it is not sent by another one that comes to be meanwhile.
#[tokio::test]
async fn consent_is_to_one_rule() {
    let two = "class = \"partner\"\napproval = \"new_destination\"\n\n[[egress.rules]]\nname = \"two\"\nhost = \"a.example.com\"\nclass = \"partner\"\napproval = \"always\"";
    let (person, rules) = world(policy(two));
    let facts = get(&rules);
    assert_eq!(rules.judge(&facts).await.unwrap().rule, "one");
    let answered = casemate_egress::Record {
        decision: facts.decision,
        at_ms: 0,
        origin: facts.origin.clone(),
        stage: casemate_egress::Stage::Ended(None),
        because: None,
        entry: facts.entry,
        target: Some(facts.destination.target().clone()),
        server_name: None,
        class: None,
        rule: None,
        side_effect: None,
        method: None,
        path: None,
        body: None,
        addresses: Vec::new(),
        credential: None,
        status: Some(200),
        bytes_out: 0,
        bytes_in: 0,
        hits: 0,
    };
    *person.learns.lock().unwrap() = Some((Arc::clone(&rules.known), answered));
    let refused = rules.judge(&facts).await.unwrap_err();
    assert_eq!(refused.code, Code::ApprovalRequired);
    // The other one has its own.
    assert_eq!(rules.judge(&facts).await.unwrap().rule, "two");
    assert_eq!(person.asked.load(Ordering::SeqCst), 3);
}

/// What comes back is counted by itself, and for each rule.
#[tokio::test]
async fn answers_have_a_budget() {
    let (_, rules) = world(policy(
        "class = \"partner\"\nmax_answer_bytes = 10\nmax_bytes = 100",
    ));
    let allowance = rules.judge(&get(&rules)).await.unwrap();
    rules.spend(&allowance, Flow::Out, 100).unwrap();
    rules.spend(&allowance, Flow::In, 9).unwrap();
    let more = rules.spend(&allowance, Flow::In, 2).unwrap_err();
    assert_eq!(more.code, Code::BudgetExhausted);
    rules.spend(&allowance, Flow::In, 1).unwrap();
    let (_, rules) = world(policy("class = \"partner\""));
    let allowance = rules.judge(&get(&rules)).await.unwrap();
    rules.spend(&allowance, Flow::In, u64::MAX).unwrap();
}
