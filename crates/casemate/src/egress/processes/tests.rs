use std::process::Command;

use casemate_policy::Governing;
use casemate_ports::RulesForm;
use casemate_transport::RemoteEgress;
use rustix::process::{Pid, test_kill_process};
use tokio::net::UnixStream;

use super::*;

fn nothing() -> Arc<dyn Policies> {
    Arc::new(Arc::new(Governing::new()))
}

/// What one agent's process writes is in nobody else's log.
#[tokio::test]
async fn each_agent_has_a_log() {
    let state = tempfile::tempdir().unwrap();
    let processes = Processes::new(state.path(), nothing()).unwrap();
    let log = |tenant: &str, agent: &str| {
        processes.0.log(&Owner {
            tenant: tenant.to_owned(),
            agent: agent.to_owned(),
        })
    };
    assert_eq!(log("t", "a"), log("t", "a"));
    let owners = [("t", "a"), ("t", "b"), ("ta", ""), ("", "ta"), ("..", "/x")];
    let logs: std::collections::BTreeSet<_> =
        owners.map(|(tenant, agent)| log(tenant, agent)).into();
    assert_eq!(logs.len(), owners.len());
    let run = state.path().join("run");
    assert!(logs.iter().all(|log| log.parent() == Some(&run)));
}

/// A process that lives and says nothing is given up and killed, and whoever of its agent comes after does not wait for it.
#[tokio::test]
async fn a_silent_process_is_given_up() {
    let state = tempfile::tempdir().unwrap();
    let mut processes = Processes::new(state.path(), nothing()).unwrap();
    Arc::get_mut(&mut processes.0).unwrap().patience = Duration::from_millis(20);
    let owner = Owner {
        tenant: "t".to_owned(),
        agent: "a".to_owned(),
    };
    let rules = WayRules {
        form: RulesForm::Toml,
        text: String::new(),
    };
    let (ours, _silent) = UnixStream::pair().unwrap();
    let child = Command::new("sleep").arg("3600").spawn().unwrap();
    let pid = Pid::from_child(&child);
    let remote = RemoteEgress::connect(ours).await.unwrap();
    let process = Process::of(child, remote, state.path().join("none.sock"));
    let agent = processes.agent(&owner);
    agent.lock().await.process = Some(process);
    let told = processes.authority(owner, rules).await;
    assert!(matches!(told, Err(EgressError::Late(_))), "{told:?}");
    let agent = agent.try_lock().unwrap();
    assert!(agent.process.is_none());
    assert_eq!(agent.failures, 1);
    assert!(test_kill_process(pid).is_err(), "it is still there");
}
