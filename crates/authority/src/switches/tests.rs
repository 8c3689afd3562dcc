use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;

const NAMES: &[&str] = &["a", "b"];
const HOSTS: &[&str] = &[
    "x.a.example",
    "a.example",
    "b.example",
    "ba.example",
    "example",
];
const PATTERNS: &[&str] = &[
    "x.a.example",
    "a.example",
    "*.a.example",
    "*.example",
    "example",
];

/// A board as some throws could have left it: no switch twice, by epoch.
fn content() -> impl Strategy<Value = Content> {
    let switch = (
        select(SwitchKind::ALL),
        select(NAMES),
        select(PATTERNS),
        option::of(select(NAMES)),
        any::<bool>(),
    );
    let within = option::of((select(NAMES), 0..4_u64));
    (vec(switch, 0..12), 0..4_u64, within).prop_map(|(drawn, forgotten, within)| {
        let mut switches: Vec<Switch> = Vec::new();
        for (kind, name, pattern, tenant, off) in drawn {
            let destination = kind == SwitchKind::Destination;
            let name = if destination { pattern } else { name }.to_owned();
            let tenant = tenant
                .filter(|_| kind != SwitchKind::Tenant)
                .map(str::to_owned);
            let same = |switch: &Switch| {
                switch.kind == kind && switch.name == name && switch.tenant == tenant
            };
            if !switches.iter().any(same) {
                switches.push(Switch {
                    kind,
                    name,
                    tenant,
                    epoch: Epoch::new(switches.len() as u64 + 4),
                    off_since_ms: off.then_some(1),
                    who: "ada".to_owned(),
                    reason: String::new(),
                    at_ms: 1,
                });
            }
        }
        Content {
            epoch: Epoch::new(20),
            forgotten: Epoch::new(forgotten),
            forgotten_within: within
                .into_iter()
                .map(|(tenant, epoch)| (tenant.to_owned(), Epoch::new(epoch)))
                .collect(),
            switches,
        }
    })
}

fn subject() -> impl Strategy<Value = Subject<'static>> {
    let name = || option::of(select(NAMES));
    let host = option::of(select(HOSTS));
    (name(), name(), name(), name(), name(), host, name(), name()).prop_map(
        |(tenant, user, agent, route, tool, destination, model, credential)| Subject {
            tenant,
            user,
            agent,
            route,
            tool,
            destination,
            model,
            credential,
        },
    )
}

/// Whether a switch works on a subject, as plainly as can be.
fn works(switch: &Switch, subject: &Subject<'_>) -> bool {
    let field = match switch.kind {
        SwitchKind::Tenant => subject.tenant,
        SwitchKind::User => subject.user,
        SwitchKind::Agent => subject.agent,
        SwitchKind::Route => subject.route,
        SwitchKind::Tool => subject.tool,
        SwitchKind::Destination => subject.destination,
        SwitchKind::Model => subject.model,
        SwitchKind::Credential => subject.credential,
    };
    let named = field.is_some_and(|field| match switch.name.strip_prefix('*') {
        Some(end) => field.ends_with(end),
        None => field == switch.name,
    });
    let within = match (switch.tenant.as_deref(), subject.tenant) {
        (Some(tenant), Some(its)) => tenant == its,
        _ => true,
    };
    named && within
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// R258, R259: what is stopped is what a look at each switch would stop.
    #[test]
    fn a_check_is_a_look_at_each_switch(content in content(), subject in subject(), since in 0..20_u64) {
        let switches = Switches::new(content.clone());
        let working = || content.switches.iter().filter(|switch| works(switch, &subject));
        match switches.check(&subject) {
            Ok(epoch) => {
                prop_assert_eq!(epoch, content.epoch);
                prop_assert!(!working().any(Switch::is_off));
            }
            Err(Stopped::Off(off)) => prop_assert!(working().any(|switch| *switch == *off && off.is_off())),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
        let since = Epoch::new(since);
        let thrown = working().any(|switch| switch.is_off() || switch.epoch > since);
        let held = switches.check_held(&subject, since);
        let mut within = content.forgotten_within.iter();
        let forgotten = since < content.forgotten
            || within.any(|(tenant, epoch)| subject.tenant.is_none_or(|its| its == tenant) && since < *epoch);
        prop_assert_eq!(held.is_err(), thrown || forgotten);
    }
}
