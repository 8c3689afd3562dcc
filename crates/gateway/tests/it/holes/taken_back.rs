//! Hole 13: permission that can only be taken back wholesale.

use casemate_authority::{Position, SwitchKind};
use casemate_gateway::{Ask, NewCall, Told};
use casemate_model::{Reason, Within};
use casemate_policy::{Authenticator, Claims, Profile, Syntax, Verified};

use super::with_tenants;
use crate::house::{House, cell, in_thread, ran, refused};

/// Two calls that differ in one thing: the one that is switched off, and another.
struct Pair {
    kind: SwitchKind,
    name: &'static str,
    stopped: NewCall,
    goes_on: NewCall,
}

fn of_agent(agent: &str, words: &[&str]) -> Ask {
    Ask {
        agent: agent.into(),
        ..in_thread(agent, words)
    }
}

fn of_user(house: &House, user: &str, ask: Ask) -> NewCall {
    let claims = Claims {
        subject: user.into(),
        ..house.world.claims()
    };
    NewCall {
        claims: Verified::vouch(claims, Authenticator::LocalUser),
        ..house.new_call(ask)
    }
}

fn of_route(house: &House, route: &str, ask: Ask) -> NewCall {
    NewCall {
        route: Some(route.into()),
        ..house.new_call(ask)
    }
}

/// A cell of Python, which is another tool than the shell.
fn python(thread: &str, words: &[&str]) -> Ask {
    let within = Within {
        thread: Some(thread.into()),
        ..Within::default()
    };
    cell(within, words)
}

fn pairs(house: &House, words: &[&str]) -> Vec<Pair> {
    let serve = |ask| of_route(house, "serve", ask);
    vec![
        Pair {
            kind: SwitchKind::Agent,
            name: "bad",
            stopped: serve(of_agent("bad", words)),
            goes_on: serve(of_agent("good", words)),
        },
        Pair {
            kind: SwitchKind::User,
            name: "uid:2000",
            stopped: NewCall {
                route: Some("serve".into()),
                ..of_user(house, "uid:2000", in_thread("a", words))
            },
            goes_on: serve(in_thread("b", words)),
        },
        Pair {
            kind: SwitchKind::Route,
            name: "second",
            stopped: of_route(house, "second", in_thread("c", words)),
            goes_on: serve(in_thread("d", words)),
        },
        Pair {
            kind: SwitchKind::Tool,
            name: "shell",
            stopped: serve(in_thread("e", words)),
            goes_on: serve(python("f", words)),
        },
        Pair {
            kind: SwitchKind::Tenant,
            name: "second",
            stopped: NewCall {
                route: Some("serve".into()),
                ..house.call_of("second", in_thread("g", words))
            },
            goes_on: serve(in_thread("h", words)),
        },
    ]
}

fn house() -> House {
    let mut house = with_tenants(&["local", "second"]);
    let source = std::str::from_utf8(house.profile.source()).unwrap();
    let source = source.replace("route = \"serve\"", "route = \"second\"");
    house.others = vec![Profile::parse(source.as_bytes(), Syntax::Toml).unwrap()];
    house
}

/// R258, R259, R263: others: permission is taken back from a whole resource group. Here: from one agent, user, route, tool or tenant; at once, from what runs
/// too; and nobody else notices.
#[tokio::test]
async fn hole_13_one_is_stopped_and_the_others_go_on() {
    let house = house();
    let rooms = house.rooms();
    let running = pairs(&house, &["wait"]);
    let later = pairs(&house, &["true"]);
    for (pair, later) in running.into_iter().zip(later) {
        let (kind, name) = (pair.kind, pair.name);
        let throw = |to| {
            house.throw(kind, name, to);
            rooms.switches_thrown();
        };
        let incident = async {
            while house.keeper.running() < 2 {
                tokio::task::yield_now().await;
            }
            throw(Position::Off);
            // It ends by the switch alone: nothing has released it.
            while house.keeper.running() > 1 {
                tokio::task::yield_now().await;
            }
            let refusal = house.send(&rooms, later.stopped).await.0;
            let allowed = house.send(&rooms, later.goes_on).await.0;
            house.keeper.release(1);
            (refusal, allowed)
        };
        let (stopped, goes_on, (refusal, allowed)) = tokio::join!(
            house.send(&rooms, pair.stopped),
            house.send(&rooms, pair.goes_on),
            incident
        );
        let Told::Released(stopped) = stopped.0 else {
            panic!("{kind:?}: {stopped:?}");
        };
        assert_eq!(stopped.outcome().cause.as_str(), "cancelled", "{kind:?}");
        assert!(stopped.trouble().unwrap().contains(name), "{kind:?}");
        let Told::Released(went_on) = &goes_on.0 else {
            panic!("{kind:?}: {goes_on:?}");
        };
        assert_eq!(went_on.outcome().cause.as_str(), "completed", "{kind:?}");
        assert_eq!(refused(&refusal).0, Reason::KillSwitch, "{kind:?}");
        ran(&allowed);
        throw(Position::On);
    }
}
