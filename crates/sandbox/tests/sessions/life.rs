//! The lives of sessions, pools and what is inside of sandboxes.

use std::{fs, time::Duration};

use casemate_model::{Cause, Limits};
use casemate_ports::{Gone, KeeperError, PlaceSpec, PoolSize, SessionKeeper as _, SessionSpec};
use rustix::process::{Pid, Signal, kill_process};

use crate::desk::{Desk, cell, kind, owner, program, session_id, shell, spec};

/// The processes of this host that are descendants of this one, with their names.
pub(crate) fn family() -> Vec<(i32, String)> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let (head, rest) = stat.rsplit_once(") ").expect("a stat");
        let name = head.split_once('(').expect("a name").1.to_owned();
        let parent = rest
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse::<i32>().ok());
        parents.push((pid, parent.unwrap_or(0), name));
    }
    let mut known = vec![i32::try_from(std::process::id()).expect("a pid")];
    let mut found = Vec::new();
    while let Some(parent) = known.pop() {
        for (pid, its_parent, name) in &parents {
            if *its_parent == parent {
                known.push(*pid);
                found.push((*pid, name.clone()));
            }
        }
    }
    found
}

fn named(name: &str) -> Vec<i32> {
    let family = family().into_iter();
    family
        .filter(|(_, its)| its == name)
        .map(|(pid, _)| pid)
        .collect()
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("it may be killed");
}

/// The cgroups that this process made.
fn cgroups() -> Vec<std::path::PathBuf> {
    let prefix = format!("casemate-{}-", std::process::id());
    let mut found = Vec::new();
    let mut left: Vec<_> = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with(&prefix) {
                    found.push(entry.path());
                }
                left.push(entry.path());
            }
        }
    }
    found
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..400 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what} did not come to be");
}

fn size(min: u32, max: u32) -> PoolSize {
    PoolSize {
        min,
        max,
        idle_ms: 300,
    }
}

/// A pool fills, serves, refills; when it is empty the call is served all the same.
pub(crate) async fn a_pool_stands_ready_and_refills(desk: Desk) {
    let keeper = &desk.keeper;
    keeper
        .stock(owner("agent"), kind(), size(2, 4))
        .await
        .expect("a pool");
    let ready = async || keeper.pools().await.expect("pools")[0].ready;
    until("a full pool", async || ready().await == 2).await;
    assert!(keeper.open(spec(1)).await.expect("a session").warm);
    assert!(keeper.open(spec(2)).await.expect("a session").warm);
    let third = keeper.open(spec(3)).await.expect("served though empty");
    for number in 1..=3 {
        assert_eq!(desk.call(number, cell("print(1)")).await.ok(), "1\n");
    }
    if !third.warm {
        until("a grown pool", async || ready().await > 2).await;
    }
    until("a pool at rest", async || ready().await == 2).await;
    let status = keeper.pools().await.expect("pools").remove(0);
    assert!(status.taken >= 2 && status.ready <= 4, "{status:?}");
    keeper
        .stock(owner("agent"), kind(), size(0, 0))
        .await
        .expect("no pool");
    until("an empty pool", async || ready().await == 0).await;
}

/// I8, R16, R33: a sandbox is of one session, one agent, one kind; nothing is handed on.
pub(crate) async fn a_sandbox_is_never_handed_on(desk: Desk) {
    let keeper = &desk.keeper;
    keeper
        .stock(owner("agent"), kind(), size(1, 1))
        .await
        .expect("a pool");
    desk.session(1).await;
    desk.call(1, shell("echo secret > /workspace/s; echo secret > /tmp/s"))
        .await
        .ok();
    keeper
        .close(session_id(1), owner("agent"))
        .await
        .expect("destroyed");
    for number in 2..=4 {
        desk.session(number).await;
        let left = desk
            .call(number, shell("cat /workspace/s /tmp/s 2>/dev/null; true"))
            .await;
        assert_eq!(left.ok(), "");
    }
    let other = SessionSpec {
        owner: owner("other"),
        ..spec(9)
    };
    keeper.open(other).await.expect("a session");
    let pools = keeper.pools().await.expect("pools");
    assert_eq!(pools.len(), 2, "a pool of each owner: {pools:?}");
}

/// Another owner's session is as unknown as one that never was.
pub(crate) async fn another_owners_session_is_unknown(desk: Desk) {
    desk.session(1).await;
    let place = PlaceSpec {
        owner: owner("other"),
        ..desk.place(1)
    };
    let theirs = desk
        .call_in(place, shell("touch /workspace/was-here"))
        .await;
    let never = desk.call_in(desk.place(7), shell("true")).await;
    let text = |result: Result<_, KeeperError>| {
        let error: KeeperError = result.map(|_: crate::desk::Done| ()).expect_err("refused");
        error
            .to_string()
            .replace(&session_id(7).to_string(), &session_id(1).to_string())
    };
    assert_eq!(text(theirs), text(never));
    let keeper = &desk.keeper;
    assert!(keeper.close(session_id(1), owner("other")).await.is_err());
    assert!(
        keeper
            .list_files(session_id(1), owner("other"), "".into())
            .await
            .is_err()
    );
    assert_eq!(
        desk.call(1, shell("ls /workspace")).await.ok(),
        "out\n",
        "nothing happened"
    );
}

/// A session ends after its idle time, and at its age, and says why.
pub(crate) async fn a_session_ends_when_its_time_is_over(desk: Desk) {
    let keeper = &desk.keeper;
    let idle = SessionSpec {
        idle_ms: 300,
        ..spec(1)
    };
    let old = SessionSpec {
        max_ms: 700,
        ..spec(2)
    };
    keeper.open(idle).await.expect("a session");
    keeper.open(old).await.expect("a session");
    // A call that runs is not idleness.
    assert_eq!(desk.call(1, shell("sleep 0.5; echo on")).await.ok(), "on\n");
    let gone = async |number| match desk.call_in(desk.place(number), shell("true")).await {
        Err(KeeperError::SessionGone { why, .. }) => Some(why),
        _ => None,
    };
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(gone(1).await, Some(Gone::Idle));
    assert_eq!(gone(2).await, Some(Gone::Expired));
    until("no processes of theirs", async || {
        named("casemate-guest").is_empty()
    })
    .await;
}

/// R32, R49, I8: a destroyed session leaves no process, and a call that runs ends with it.
pub(crate) async fn a_destroyed_session_leaves_nothing(desk: Desk) {
    let keeper = &desk.keeper;
    desk.session(1).await;
    let running = desk.call(1, shell("sleep 60 & sleep 60"));
    let destroy = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        keeper
            .close(session_id(1), owner("agent"))
            .await
            .expect("destroyed");
    };
    let (done, ()) = tokio::join!(running, destroy);
    assert_eq!(done.ended.cause, Cause::SandboxLost);
    let left = || [named("sleep"), named("casemate-guest")].concat();
    // The dead are buried by the nursery, in its turn.
    let is_dead = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    };
    assert!(left().iter().all(is_dead), "{:?}", family());
    until("nothing is left", async || left().is_empty()).await;
    let again = desk.call_in(desk.place(1), shell("true")).await;
    let gone = matches!(
        again,
        Err(KeeperError::SessionGone {
            why: Gone::Destroyed,
            ..
        })
    );
    assert!(gone, "{again:?}");
}

/// A warm interpreter that is lost is replaced; no call fails.
pub(crate) async fn a_lost_interpreter_is_replaced(desk: Desk) {
    desk.session(1).await;
    assert_eq!(desk.call(1, cell("print(1)")).await.ok(), "1\n");
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The template, the zygote and the interpreter that waits.
    let python = named("python3");
    assert_eq!(python.len(), 3, "{:?}", family());
    let inside = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
        let line = status
            .lines()
            .find(|line| line.starts_with("NSpid"))
            .expect("numbers");
        line.split_whitespace().count() - 1
    };
    let zygote = *python
        .iter()
        .find(|pid| inside(pid) == 3)
        .expect("a zygote");
    kill(zygote);
    for _ in 0..3 {
        assert_eq!(desk.call(1, cell("print(2)")).await.ok(), "2\n");
    }
    // The template too: sessions that stand keep their interpreters, new ones wait for a new one.
    let template = *named("python3")
        .iter()
        .find(|pid| inside(pid) == 2)
        .expect("a template");
    kill(template);
    assert_eq!(desk.call(1, cell("print(3)")).await.ok(), "3\n");
}

/// A guest that dies takes its session along, which is then gone, and no other.
pub(crate) async fn a_dead_guest_is_a_gone_session(desk: Desk) {
    desk.session(1).await;
    let guests = named("casemate-guest");
    desk.session(2).await;
    let inside = |pid: &&i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status
            .lines()
            .find(|line| line.starts_with("NSpid"))
            .unwrap_or_default();
        line.split_whitespace().count() == 4
    };
    kill(*guests.iter().find(inside).expect("the first process"));
    let gone = async || {
        let call = desk.call_in(desk.place(1), shell("true")).await;
        matches!(
            call,
            Err(KeeperError::SessionGone {
                why: Gone::Lost,
                ..
            })
        )
    };
    until("a gone session", gone).await;
    assert_eq!(desk.call(2, program(&["echo", "on"])).await.ok(), "on\n");
}

/// R46, R44, R45, R48: over a quota of one call, that call ends, and the session lives on.
pub(crate) async fn a_call_that_takes_too_much_ends_alone(desk: Desk) {
    desk.session(1).await;
    let limits = Limits {
        memory_bytes: 128 << 20,
        processes: 20,
        output_bytes: 1_000,
        ..Limits::default()
    };
    let place = || PlaceSpec {
        limits,
        ..desk.place(1)
    };
    let root = rustix::process::geteuid().is_root();
    if root {
        let greedy = cell("x = bytearray(400 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1");
        let done = desk.call_in(place(), greedy).await.expect("a call");
        assert_eq!(done.ended.cause, Cause::MemoryExceeded, "{done:?}");
        let many = "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(60)\n        n += 1\nexcept OSError: print(n)";
        let done = desk.call_in(place(), cell(many)).await.expect("a call");
        let count: u64 = done.ok().trim().parse().expect("a number");
        assert!((1..=20).contains(&count), "{count} processes");
    }
    let done = desk
        .call_in(place(), shell("head -c 5000 /dev/zero"))
        .await
        .expect("a call");
    assert!(
        done.ended.output_truncated && done.stdout.len() == 1_000,
        "{done:?}"
    );
    assert_eq!(desk.call(1, shell("echo on")).await.ok(), "on\n");
}

/// R45, R65: the session's disk is bounded in bytes and in files, for all of its calls together.
pub(crate) async fn the_disk_of_a_session_is_bounded(desk: Desk) {
    let mut small = spec(1);
    small.kind.limits.disk_bytes = 4 << 20;
    small.kind.limits.disk_files = 50;
    desk.keeper.open(small).await.expect("a session");
    let fill = desk
        .call(
            1,
            shell("head -c 3M /dev/zero > a; head -c 3M /dev/zero > b; stat -c %s b"),
        )
        .await;
    assert!(fill.stderr.contains("No space left"), "{fill:?}");
    let files = desk
        .call(
            1,
            shell("rm a b; for i in $(seq 100); do : > f$i || break; done 2>&1; ls | wc -l"),
        )
        .await;
    let last = files
        .stdout
        .lines()
        .last()
        .expect("a number")
        .trim()
        .to_owned();
    assert!(last.parse::<u32>().expect("a number") <= 53, "{last} files");
}

/// R65, R159: calls at once are bounded for a session, an agent and a tenant, and the refusal says which and how much.
pub(crate) async fn calls_at_once_are_bounded(desk: Desk) {
    let mut narrow = spec(1);
    narrow.kind.quotas.session.calls = 2;
    narrow.kind.quotas.agent.calls = 3;
    desk.keeper.open(narrow.clone()).await.expect("a session");
    narrow.id = session_id(2);
    desk.keeper.open(narrow).await.expect("a session");
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(desk.keeper.place(desk.place(1)).await.expect("a place"));
    }
    let quota = async |number: u8| match desk.keeper.place(desk.place(number)).await {
        Err(KeeperError::Quota {
            quota,
            of,
            limit,
            used,
        }) => (quota, of, limit, used),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        quota(1).await,
        ("calls".into(), session_id(1).to_string(), 2, 2)
    );
    held.push(desk.keeper.place(desk.place(2)).await.expect("a place"));
    assert_eq!(quota(2).await, ("calls".into(), "agent".into(), 3, 3));
    held.clear();
    assert_eq!(desk.call(2, shell("echo on")).await.ok(), "on\n");
}

/// R49: what was made for sessions is removed from the host with them.
pub(crate) async fn no_cgroup_is_left(desk: Desk) {
    desk.session(1).await;
    desk.call(1, cell("print(1)")).await.ok();
    if rustix::process::geteuid().is_root() {
        assert!(!cgroups().is_empty(), "there were some");
    }
    desk.keeper
        .close(session_id(1), owner("agent"))
        .await
        .expect("destroyed");
    until("no cgroups", async || cgroups().is_empty()).await;
    until("no processes", async || family().is_empty()).await;
}

/// R49: a keeper that ends takes everything along, at once.
pub(crate) async fn an_ended_keeper_leaves_nothing(desk: Desk) {
    desk.keeper
        .stock(owner("agent"), kind(), size(2, 2))
        .await
        .expect("a pool");
    desk.session(1).await;
    let running = desk.call(1, shell("sleep 60"));
    let end = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        desk.keeper.end().await;
    };
    let (done, ()) = tokio::join!(running, end);
    assert_eq!(done.ended.cause, Cause::SandboxLost);
    drop(done);
    until("no processes", async || family().is_empty()).await;
    until("no cgroups", async || cgroups().is_empty()).await;
}
