//! What a switch stops, and what it does not.

use std::{path::PathBuf, thread};

use casemate_authority::{
    Epoch, MAX_REASON_BYTES, MAX_SWITCHES, MAX_TENANT_SWITCHES, Position, Stopped, Subject, Switch,
    SwitchError, SwitchKind, Switchboard, Throw,
};
use tempfile::TempDir;

/// A switchboard in a directory of its own.
pub(crate) struct Fixture {
    _temp: TempDir,
    pub(crate) dir: PathBuf,
    pub(crate) switchboard: Switchboard,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("switches");
        let switchboard = Switchboard::open(&dir).unwrap();
        Self {
            _temp: temp,
            dir,
            switchboard,
        }
    }

    pub(crate) fn off(&self, kind: SwitchKind, name: &str) -> Switch {
        self.switchboard
            .throw(throw(kind, name, Position::Off))
            .unwrap()
    }

    pub(crate) fn on(&self, kind: SwitchKind, name: &str) -> Switch {
        self.switchboard
            .throw(throw(kind, name, Position::On))
            .unwrap()
    }

    fn check(&self, subject: &Subject<'_>) -> Result<Epoch, Stopped> {
        self.switchboard.board().check(subject)
    }
}

pub(crate) fn throw(kind: SwitchKind, name: &str, to: Position) -> Throw {
    Throw {
        kind,
        name: name.to_owned(),
        tenant: None,
        to,
        who: "ada".to_owned(),
        reason: "an incident".to_owned(),
        at_ms: 1_800_000_000_000,
    }
}

pub(crate) const SUBJECT: Subject<'static> = Subject {
    tenant: Some("acme"),
    user: Some("eve"),
    agent: Some("support"),
    route: Some("chat"),
    tool: Some("python"),
    destination: Some("api.evil.example"),
    model: Some("m-1"),
    credential: Some("crm"),
};

fn name_of(kind: SwitchKind) -> &'static str {
    match kind {
        SwitchKind::Tenant => "acme",
        SwitchKind::User => "eve",
        SwitchKind::Agent => "support",
        SwitchKind::Route => "chat",
        SwitchKind::Tool => "python",
        SwitchKind::Destination => "api.evil.example",
        SwitchKind::Model => "m-1",
        SwitchKind::Credential => "crm",
    }
}

/// R258, R259: each kind of switch stops what it names, says everything of itself, and lets it go when it is on again.
#[test]
fn each_kind_stops_what_it_names_and_nothing_else() {
    let fixture = Fixture::new();
    let other = Subject {
        tenant: Some("other"),
        user: Some("other"),
        agent: Some("other"),
        route: Some("other"),
        tool: Some("other"),
        destination: Some("other.example"),
        model: Some("other"),
        credential: Some("other"),
    };
    let mut epoch = 0;
    for kind in SwitchKind::ALL {
        let thrown = fixture.off(*kind, name_of(*kind));
        epoch += 1;
        assert_eq!(thrown.epoch, Epoch::new(epoch));
        match fixture.check(&SUBJECT).unwrap_err() {
            Stopped::Off(switch) => {
                assert_eq!(*switch, thrown);
                assert_eq!(
                    (switch.kind, &*switch.who, &*switch.reason),
                    (*kind, "ada", "an incident")
                );
                assert_eq!(switch.off_since_ms, Some(1_800_000_000_000));
            }
            other => panic!("{other}"),
        }
        assert_eq!(fixture.check(&other).unwrap(), thrown.epoch);
        assert_eq!(fixture.check(&Subject::default()).unwrap(), thrown.epoch);
        let on = fixture.on(*kind, name_of(*kind));
        epoch += 1;
        assert_eq!((on.epoch, on.is_off()), (Epoch::new(epoch), false));
        assert_eq!(fixture.check(&SUBJECT).unwrap(), on.epoch);
    }
}

#[test]
fn a_switch_within_a_tenant_stops_only_there_or_where_no_tenant_is_known() {
    let fixture = Fixture::new();
    let within = Throw {
        tenant: Some("acme".to_owned()),
        ..throw(SwitchKind::Tool, "python", Position::Off)
    };
    fixture.switchboard.throw(within.clone()).unwrap();
    let stopped = |tenant| {
        let subject = Subject { tenant, ..SUBJECT };
        fixture.check(&subject).is_err()
    };
    assert!(stopped(Some("acme")) && stopped(None) && !stopped(Some("globex")));
    // One that is on elsewhere does not hide it.
    let elsewhere = Throw {
        tenant: Some("globex".to_owned()),
        to: Position::On,
        ..within.clone()
    };
    fixture.switchboard.throw(elsewhere).unwrap();
    assert!(stopped(Some("acme")) && stopped(None) && !stopped(Some("globex")));
    // The one that works everywhere is another switch.
    fixture.on(SwitchKind::Tool, "python");
    assert!(stopped(Some("acme")) && !stopped(Some("globex")));
    let on = Throw {
        to: Position::On,
        ..within
    };
    fixture.switchboard.throw(on).unwrap();
    assert!(!stopped(Some("acme")) && !stopped(None));
}

#[test]
fn a_destination_is_stopped_in_every_spelling_and_a_pattern_stops_what_is_below() {
    let fixture = Fixture::new();
    fixture.off(SwitchKind::Destination, "*.Evil.example.");
    fixture.off(SwitchKind::Destination, "2001:DB8::0:1");
    let stopped = |host| {
        let subject = Subject {
            destination: Some(host),
            ..Subject::default()
        };
        fixture.check(&subject).is_err()
    };
    for host in [
        "api.evil.example",
        "a.b.EVIL.example.",
        "[2001:db8::1]",
        "2001:db8:0:0::1",
    ] {
        assert!(stopped(host), "{host}");
    }
    for host in [
        "evil.example",
        "notevil.example",
        "evil.example.org",
        "2001:db8::2",
    ] {
        assert!(!stopped(host), "{host}");
    }
    // What nobody could switch off does not run.
    for host in [
        "",
        "evil.example:443",
        "http://evil.example",
        "évil.example",
        "*.evil.example",
    ] {
        assert!(stopped(host), "{host}");
    }
}

#[test]
fn what_no_switch_can_name_is_stopped() {
    let fixture = Fixture::new();
    let long = "a".repeat(256);
    for name in ["", "a\nb", "a\u{7f}", &long] {
        let subject = Subject {
            user: Some(name),
            ..Subject::default()
        };
        assert!(matches!(
            fixture.check(&subject),
            Err(Stopped::Unnameable(SwitchKind::User))
        ));
    }
}

#[test]
fn what_cannot_be_kept_is_not_thrown() {
    let fixture = Fixture::new();
    let good = throw(SwitchKind::Tool, "python", Position::Off);
    let long = "a".repeat(256);
    let bad = [
        Throw {
            name: String::new(),
            ..good.clone()
        },
        Throw {
            name: long.clone(),
            ..good.clone()
        },
        Throw {
            name: "a\rb".into(),
            ..good.clone()
        },
        Throw {
            who: String::new(),
            ..good.clone()
        },
        Throw {
            who: "a\u{1b}[2J".into(),
            ..good.clone()
        },
        Throw {
            tenant: Some(long),
            ..good.clone()
        },
        Throw {
            reason: "a".repeat(MAX_REASON_BYTES + 1),
            ..good.clone()
        },
        Throw {
            reason: "a\nb".into(),
            ..good.clone()
        },
        Throw {
            kind: SwitchKind::Destination,
            name: "https://a.example".into(),
            ..good.clone()
        },
        Throw {
            kind: SwitchKind::Tenant,
            tenant: Some("acme".into()),
            ..good.clone()
        },
    ];
    for throw in bad {
        assert!(
            fixture.switchboard.throw(throw.clone()).is_err(),
            "{throw:?}"
        );
    }
    assert_eq!(fixture.check(&SUBJECT).unwrap(), Epoch::default());
    let longest = Throw {
        name: "\"".repeat(255),
        who: "\\".repeat(255),
        reason: String::new(),
        ..good
    };
    fixture.switchboard.throw(longest).unwrap();
    assert_eq!(fixture.check(&SUBJECT).unwrap(), Epoch::new(1));
}

/// R261: authority from before a throw stays gone, although the switch is on again.
#[test]
fn what_was_allowed_before_a_throw_is_over() {
    let fixture = Fixture::new();
    let board = fixture.switchboard.board();
    let allowed = board.check(&SUBJECT).unwrap();
    assert_eq!(board.check_held(&SUBJECT, allowed).unwrap(), allowed);
    fixture.off(SwitchKind::Tool, "another");
    assert!(board.check_held(&SUBJECT, allowed).is_ok());
    fixture.off(SwitchKind::Credential, "crm");
    assert!(matches!(
        board.check_held(&SUBJECT, allowed),
        Err(Stopped::Off(_))
    ));
    let on = fixture.on(SwitchKind::Credential, "crm");
    match board.check_held(&SUBJECT, allowed) {
        Err(Stopped::Thrown(switch)) => assert_eq!(*switch, on),
        other => panic!("{other:?}"),
    }
    let again = board.check(&SUBJECT).unwrap();
    assert!(board.check_held(&SUBJECT, again).is_ok());
}

#[test]
fn who_threw_a_switch_twice_keeps_since_when_it_is_off() {
    let fixture = Fixture::new();
    let first = fixture.off(SwitchKind::Agent, "support");
    let again = Throw {
        at_ms: first.at_ms + 5,
        who: "bob".into(),
        ..throw(SwitchKind::Agent, "support", Position::Off)
    };
    let again = fixture.switchboard.throw(again).unwrap();
    assert_eq!(again.off_since_ms, Some(first.at_ms));
    assert_eq!((again.epoch, &*again.who), (Epoch::new(2), "bob"));
    let all = fixture.switchboard.board().switches().unwrap();
    assert_eq!(all.all().len(), 1);
}

#[test]
fn since_gives_what_was_thrown_after_in_order() {
    let fixture = Fixture::new();
    fixture.off(SwitchKind::Tool, "a");
    fixture.off(SwitchKind::Tool, "b");
    fixture.on(SwitchKind::Tool, "a");
    let names = |epoch| -> Vec<String> {
        let since = fixture.switchboard.board().since(Epoch::new(epoch));
        let since = since.unwrap().unwrap();
        since
            .iter()
            .map(|switch| format!("{} {}", switch.name, switch.is_off()))
            .collect()
    };
    assert_eq!(names(0), ["b true", "a false"]);
    assert_eq!(names(1), ["b true", "a false"]);
    assert_eq!(names(2), ["a false"]);
    assert!(names(3).is_empty() && names(9).is_empty());
}

/// I15: a full board takes off what is on, and knows that it did.
#[test]
fn a_full_board_forgets_what_is_on_and_refuses_when_all_is_off() {
    let fixture = Fixture::new();
    let board = fixture.switchboard.board();
    // Filled as throws would have, which takes too long with an fsync for each.
    let path = fixture.dir.join("board");
    let switch = |nth: usize, off: bool| {
        let mut switch = Switch {
            kind: SwitchKind::User,
            name: format!("user {nth}"),
            tenant: None,
            epoch: Epoch::new(nth as u64),
            off_since_ms: None,
            who: "ada".into(),
            reason: String::new(),
            at_ms: 1,
        };
        switch.off_since_ms = off.then_some(1);
        switch
    };
    let fill = |epoch: usize, on: &[usize]| {
        let switches: Vec<_> = (epoch - MAX_SWITCHES + 1..=epoch)
            .map(|nth| serde_json::to_value(switch(nth, !on.contains(&nth))).unwrap())
            .collect();
        let json = serde_json::json!({"epoch": epoch, "forgotten": 0, "switches": switches});
        let digest = casemate_model::Digest::of(json.to_string().as_bytes());
        std::fs::write(&path, format!("casemate switchboard 1 {digest}\n{json}\n")).unwrap();
        std::fs::write(fixture.dir.join("epoch"), format!("{epoch}\n")).unwrap();
    };
    fill(MAX_SWITCHES, &[7]);
    let held = Epoch::new(6);
    let seven = Subject {
        user: Some("user 7"),
        ..Subject::default()
    };
    assert!(matches!(
        board.check_held(&seven, held),
        Err(Stopped::Thrown(_))
    ));
    fixture.off(SwitchKind::Tool, "one more");
    assert!(board.check(&seven).is_ok());
    // What happened to user 7 is not known any more.
    assert!(matches!(
        board.check_held(&seven, held),
        Err(Stopped::TooOld { .. })
    ));
    assert!(board.since(held).unwrap().is_none());
    assert_eq!(
        board.since(Epoch::new(7)).unwrap().unwrap().len(),
        MAX_SWITCHES - 6 + 1 - 1
    );
    let full = fixture
        .switchboard
        .throw(throw(SwitchKind::Tool, "another", Position::Off));
    assert!(matches!(full, Err(SwitchError::Full)));
    // One that is there can still be thrown.
    fixture.on(SwitchKind::Tool, "one more");
    assert_eq!(
        fixture.off(SwitchKind::Tool, "another").epoch,
        Epoch::new(MAX_SWITCHES as u64 + 3)
    );
}

/// I15: a tenant that throws as many switches as it may keeps nobody else from throwing one, and what it lifts and loses stops
/// no call of others.
#[test]
fn a_tenant_does_not_use_up_the_board() {
    let fixture = Fixture::new();
    let path = fixture.dir.join("board");
    let switches: Vec<_> = (1..=MAX_TENANT_SWITCHES)
        .map(|nth| {
            serde_json::json!({
                "kind": "user", "name": format!("made up {nth}"), "tenant": "acme", "epoch": nth,
                "off_since_ms": 1, "who": "eve", "reason": "", "at_ms": 1,
            })
        })
        .collect();
    let json =
        serde_json::json!({"epoch": MAX_TENANT_SWITCHES, "forgotten": 0, "switches": switches});
    let digest = casemate_model::Digest::of(json.to_string().as_bytes());
    std::fs::write(&path, format!("casemate switchboard 1 {digest}\n{json}\n")).unwrap();
    std::fs::write(
        fixture.dir.join("epoch"),
        format!("{MAX_TENANT_SWITCHES}\n"),
    )
    .unwrap();
    let within = |tenant: Option<&str>, name: &str, to| {
        fixture.switchboard.throw(Throw {
            tenant: tenant.map(str::to_owned),
            ..throw(SwitchKind::User, name, to)
        })
    };
    let full = within(Some("acme"), "one more", Position::Off);
    assert!(matches!(full, Err(SwitchError::TenantFull)), "{full:?}");
    let count = || fixture.switchboard.board().switches().unwrap().all().len();
    assert_eq!(count(), MAX_TENANT_SWITCHES);
    // Others throw theirs, the tenant's own is one of them.
    within(Some("other"), "bob", Position::Off).unwrap();
    within(None, "bob", Position::Off).unwrap();
    fixture.off(SwitchKind::Tenant, "acme");
    fixture.on(SwitchKind::Tenant, "acme");
    let held = within(Some("other"), "bob", Position::On).unwrap().epoch;
    within(None, "bob", Position::On).unwrap();
    let since = fixture.switchboard.board().switches().unwrap().epoch();
    assert!(held < since);
    // It lifts some, and throws more: the board forgets the ones that it lifted.
    within(Some("acme"), "made up 7", Position::On).unwrap();
    within(Some("acme"), "one more", Position::Off).unwrap();
    let board = fixture.switchboard.board();
    assert_eq!(count(), MAX_TENANT_SWITCHES + 3);
    let of = |tenant| Subject {
        tenant,
        user: Some("carol"),
        ..Subject::default()
    };
    assert!(board.check_held(&of(Some("other")), since).is_ok());
    for concerned in [Some("acme"), None] {
        let stopped = board.check_held(&of(concerned), since);
        assert!(
            matches!(stopped, Err(Stopped::TooOld { .. })),
            "{stopped:?}"
        );
    }
    // Also for whoever reads the board anew.
    let anew = Switchboard::open(&fixture.dir).unwrap();
    assert!(anew.board().check_held(&of(Some("acme")), since).is_err());
    assert!(anew.board().check_held(&of(Some("other")), since).is_ok());
}

#[test]
fn eight_threads_that_throw_at_once_lose_nothing() {
    let fixture = Fixture::new();
    thread::scope(|scope| {
        for thread in 0..8 {
            let fixture = &fixture;
            scope.spawn(move || {
                let own = Switchboard::open(&fixture.dir).unwrap();
                for nth in 0..10 {
                    let name = format!("{thread} {nth}");
                    own.throw(throw(SwitchKind::User, &name, Position::Off))
                        .unwrap();
                    let subject = Subject {
                        user: Some(&name),
                        ..Subject::default()
                    };
                    assert!(matches!(fixture.check(&subject), Err(Stopped::Off(_))));
                }
            });
        }
    });
    let switches = fixture.switchboard.board().switches().unwrap();
    assert_eq!(switches.epoch(), Epoch::new(80));
    assert_eq!(switches.all().len(), 80);
    let epochs: Vec<_> = switches
        .all()
        .iter()
        .map(|switch| switch.epoch.get())
        .collect();
    assert_eq!(epochs, (1..=80).collect::<Vec<_>>());
}
