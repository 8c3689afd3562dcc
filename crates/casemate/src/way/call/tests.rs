use casemate_egress::{Name, ResolveError, Resolver, Trust};
use casemate_model::{DecisionId, Digest, SideEffect};
use casemate_policy::Profile;
use casemate_ports::{
    Advice, ConsultedRequest, Crossing, HeldRequest, NewWay, NotConsented, NotRecorded, RulesForm,
    WayRules, Witness,
};

use super::*;
use crate::way::Service;

/// Knows nobody, and writes nothing down.
#[derive(Debug)]
struct Nobody;

impl Resolver for Nobody {
    fn resolve<'a>(
        &'a self,
        _: &'a Name,
    ) -> casemate_egress::Pending<'a, Result<Vec<std::net::IpAddr>, ResolveError>> {
        Box::pin(std::future::pending())
    }
}

impl Witness for Nobody {
    fn record(&self, _: Crossing) -> Pending<'_, Result<(), NotRecorded>> {
        Box::pin(std::future::ready(Err(NotRecorded)))
    }

    fn consent(&self, _: HeldRequest) -> Pending<'_, Result<(), NotConsented>> {
        Box::pin(std::future::ready(Err(NotConsented::Refused)))
    }

    fn consult(&self, _: ConsultedRequest) -> Pending<'_, Advice> {
        Box::pin(std::future::pending())
    }
}

fn open(service: &Service, number: u8) -> Box<dyn ServedWay> {
    let rules = WayRules {
        form: RulesForm::Toml,
        text: String::from_utf8(Profile::builtin().unwrap().source().to_vec())
            .unwrap()
            .replace(
                "allowed_domains = []",
                "allowed_domains = [\"a.example.com\"]",
            ),
    };
    let authority = service.authority(&rules).unwrap();
    let way = NewWay {
        decision: DecisionId::new(0, [number; 10]),
        trace: "trace".to_owned(),
        tool: "process.run".to_owned(),
        ceiling: SideEffect::Read,
        authority: Digest::of(authority.as_bytes()),
        rules,
        consults: false,
        known: Vec::new(),
        bound: None,
    };
    let lent = Lent::nothing("a test");
    service.open(way, None, Arc::new(Nobody), lent).unwrap()
}

/// Whoever waits for the end of a way out closes it still, and how it ended is said twice: a task that is waited for again
/// panics, and with it every way out of the process. Another one goes on.
#[tokio::test]
async fn a_way_whose_end_was_seen_can_be_closed() {
    let service = Service::new(Trust::bundled(), Arc::new(Nobody));
    let (mut revoked, mut other) = (open(&service, 1), open(&service, 2));
    revoked.revoke();
    for _ in 0..2 {
        let closed = EgressError::Refused("it was closed".to_owned());
        assert_eq!(revoked.lost().await, closed);
    }
    assert_eq!(revoked.close().await, Ok(()));
    let goes_on = tokio::time::timeout(Duration::from_millis(20), other.lost()).await;
    assert!(goes_on.is_err(), "the other one ended: {goes_on:?}");
    assert_eq!(other.close().await, Ok(()));
}
