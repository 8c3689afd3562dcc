//! Attaching to calls that run.

use casemate_authority::{Position, SwitchKind};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use crate::{
    client::until,
    remote::{Headers, Remote},
};

type Socket = WebSocketStream<TcpStream>;

/// The name of a call that runs by itself.
async fn started(remote: &Remote, by: &Headers, words: &[&str], attach: bool) -> String {
    let call = json!({
        "thread": "t", "tool": "shell", "argv": words, "wait": false, "attach": attach,
    });
    let running = remote.house.keeper.running();
    let answer = remote.post("/v1/calls", by, &call).await;
    assert_eq!(answer.status, 202, "{}", answer.json());
    until(|| remote.house.keeper.running() == running + 1).await;
    answer.json()["decision"].as_str().unwrap().to_owned()
}

async fn attach(remote: &Remote, by: &Headers, call: &str) -> (Socket, bool) {
    let path = format!("/v1/calls/{call}/attach");
    let mut socket = remote.upgrade(&path, by).await.unwrap();
    let told = said(&mut socket).await;
    assert_eq!(told["attached"]["decision"], call);
    let drives = told["attached"]["drives"].as_bool().unwrap();
    (socket, drives)
}

/// The next text; nothing of the output may come before it.
async fn said(socket: &mut Socket) -> Value {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn output(socket: &mut Socket) -> (u8, Vec<u8>) {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => return (bytes[0], bytes[1..].to_vec()),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn tell(socket: &mut Socket, what: &str) {
    socket.send(Message::Text(what.into())).await.unwrap();
}

/// Until nobody is at the other end.
async fn is_dropped(mut socket: Socket) -> bool {
    loop {
        match socket.next().await {
            None | Some(Err(_) | Ok(Message::Close(_))) => return true,
            Some(Ok(Message::Text(_) | Message::Binary(_))) => return false,
            Some(Ok(_)) => {}
        }
    }
}

#[tokio::test]
async fn whoever_attaches_first_drives_the_call() {
    let remote = Remote::with_shell().await;
    let by = remote.somebody(&["operator"]);
    let call = started(&remote, &by, &["parrot"], true).await;
    let (mut first, drives) = attach(&remote, &by, &call).await;
    assert!(drives);
    let (mut second, drives) = attach(&remote, &by, &call).await;
    assert!(!drives);
    first
        .send(Message::Binary(vec![7; 3].into()))
        .await
        .unwrap();
    for socket in [&mut first, &mut second] {
        assert_eq!(output(socket).await, (1, vec![7; 3]));
    }
    // Whoever looks on may signal, and not write.
    tell(&mut second, "{\"signal\":10}").await;
    assert_eq!(output(&mut first).await, (1, b"Deliver(10)".to_vec()));
    tell(&mut first, "{\"resize\":{\"rows\":5,\"columns\":6}}").await;
    let (_, told) = output(&mut first).await;
    assert!(String::from_utf8(told).unwrap().contains("rows: 5"));
    drop(second);
    let (mut second, _) = attach(&remote, &by, &call).await;
    // Everything that is kept comes again.
    assert_eq!(output(&mut second).await, (1, vec![7; 3]));
    second.send(Message::Binary(vec![1].into())).await.unwrap();
    drop(second);
    // The end of its input is the end of this program.
    tell(&mut first, "{\"end\":true}").await;
    let ended = said(&mut first).await;
    assert_eq!(ended["ended"]["status"], "succeeded");
    assert!(is_dropped(first).await);
}

/// Who drives takes the call along by going away, whoever looks on; who detaches leaves it to the next.
#[tokio::test]
async fn a_call_ends_with_whoever_drives_it() {
    let remote = Remote::with_shell().await;
    let by = remote.somebody(&["operator"]);
    let call = started(&remote, &by, &["parrot"], true).await;
    let (mut first, _) = attach(&remote, &by, &call).await;
    let (mut other, _) = attach(&remote, &by, &call).await;
    tell(&mut first, "{\"detach\":true}").await;
    assert!(is_dropped(first).await);
    assert_eq!(remote.house.keeper.running(), 1);
    let (mut next, drives) = attach(&remote, &by, &call).await;
    assert!(drives);
    next.send(Message::Binary(vec![9].into())).await.unwrap();
    assert_eq!(output(&mut other).await, (1, vec![9]));
    drop(next);
    assert_eq!(said(&mut other).await["ended"]["cause"], "cancelled");
    assert_eq!(remote.house.keeper.running(), 0);
    // Nonsense is as good as going away.
    let call = started(&remote, &by, &["parrot"], true).await;
    for nonsense in ["{\"signal\":65}", "{}", "{\"end\":false}"] {
        let (mut looks_on, drives) = attach(&remote, &by, &call).await;
        if drives {
            tell(&mut looks_on, "{\"detach\":true}").await;
        } else {
            tell(&mut looks_on, nonsense).await;
        }
        assert!(is_dropped(looks_on).await);
        assert_eq!(remote.house.keeper.running(), 1);
    }
    let (mut drives, _) = attach(&remote, &by, &call).await;
    tell(&mut drives, "nonsense").await;
    until(|| remote.house.keeper.running() == 0).await;
}

/// A call that was not made for it has no input to give, and does not end with who looks on.
#[tokio::test]
async fn a_call_without_attach_is_looked_at() {
    let remote = Remote::with_shell().await;
    let by = remote.somebody(&["operator"]);
    let call = started(&remote, &by, &["wait"], false).await;
    let (mut socket, drives) = attach(&remote, &by, &call).await;
    assert!(!drives);
    socket.send(Message::Binary(vec![1].into())).await.unwrap();
    assert!(is_dropped(socket).await);
    assert_eq!(remote.house.keeper.running(), 1);
    // Nobody could attach to a call whose name is not told.
    let both = json!({ "tool": "shell", "argv": ["parrot"], "attach": true });
    let refused = remote.post("/v1/calls", &by, &both).await;
    assert_eq!(refused.code(), "invalid_call");
    // Whoever may only look at calls does not get so close.
    let reader = remote.somebody(&["reader"]);
    let path = format!("/v1/calls/{call}/attach");
    let refused = remote.no_upgrade(&path, &reader).await;
    assert_eq!(refused, (403, "missing_scope".to_owned()));
    remote.api.cancel_all();
}

/// Who is not believed any more is not attached any more, and a call that they drove ends.
#[tokio::test]
async fn a_key_that_is_taken_back_ends_what_it_drives() {
    let remote = Remote::with_shell().await;
    let (id, text) = remote.new_key("acme", &[casemate_callers::Role::Operator]);
    let by = vec![("authorization", format!("Bearer {text}"))];
    let call = started(&remote, &by, &["parrot"], true).await;
    let (socket, drives) = attach(&remote, &by, &call).await;
    assert!(drives);
    remote
        .callers
        .revoke_key("acme", &id, remote.now_ms())
        .unwrap();
    assert!(is_dropped(socket).await);
    until(|| remote.house.keeper.running() == 0).await;
}

/// Another of the tenant looks on, however early: the input is for whoever made the call, and who has it is on record.
#[tokio::test]
async fn nobody_else_has_the_input_of_a_call() {
    let remote = Remote::with_shell().await;
    let maker = remote.somebody(&["operator"]);
    let stranger = remote.token(&remote.claims("stranger", "acme", &["operator"]));
    let call = started(&remote, &maker, &["parrot"], true).await;
    let (mut first, drives) = attach(&remote, &stranger, &call).await;
    assert!(!drives);
    first.send(Message::Binary(vec![7].into())).await.unwrap();
    assert!(is_dropped(first).await);
    assert_eq!(remote.house.keeper.running(), 1);
    let driven = || {
        let mut records = remote.house.world.records();
        records.retain(|record| record.entry.summary["tool"] == "call.attach");
        records
    };
    assert_eq!(driven().len(), 0);
    let (mut second, drives) = attach(&remote, &maker, &call).await;
    assert!(drives);
    let on_record = driven();
    assert_eq!(on_record.len(), 1);
    let summary = &on_record[0].entry.summary;
    assert_eq!(summary["subject"]["call"], call);
    assert_eq!(summary["actor"], "somebody");
    // What is given back is not for everybody either.
    tell(&mut second, "{\"detach\":true}").await;
    assert!(is_dropped(second).await);
    let key = remote
        .new_key("acme", &[casemate_callers::Role::Operator])
        .1;
    let key = vec![("authorization", format!("Bearer {key}"))];
    for other in [&stranger, &key] {
        let (_socket, drives) = attach(&remote, other, &call).await;
        assert!(!drives);
    }
    let (_socket, drives) = attach(&remote, &maker, &call).await;
    assert!(drives);
    remote.api.cancel_all();
}

/// Whoever is switched off comes to no call, and does not stay at one.
#[tokio::test]
async fn who_is_switched_off_is_not_attached() {
    let remote = Remote::with_shell().await;
    let maker = remote.somebody(&["operator"]);
    let stranger = remote.token(&remote.claims("stranger", "acme", &["operator"]));
    let call = started(&remote, &maker, &["parrot"], true).await;
    let (there, _) = attach(&remote, &stranger, &call).await;
    remote
        .house
        .throw(SwitchKind::User, "stranger", Position::Off);
    assert!(is_dropped(there).await);
    let path = format!("/v1/calls/{call}/attach");
    let refused = remote.no_upgrade(&path, &stranger).await;
    assert_eq!(refused.1, "kill_switch");
    assert_eq!(remote.house.keeper.running(), 1);
    remote.api.cancel_all();
}
