//! Webhooks of `casemate serve`: a real gateway, which is killed, and a receiver that was away.

use std::net::TcpListener;

use casemate_answers::{SigningKey, WebhookKey};

#[path = "../../../webhooks/tests/it/receiver.rs"]
mod receiver;

use self::receiver::Receiver;
use crate::{
    approvals::{approve, call, enlist, profile, text, waits},
    home::Home,
    keeper::Keepers,
    serve::Gateway,
};

/// R163: a gateway that is killed between a record and its message sends it after its restart; nothing of the call is in it.
#[test]
fn a_killed_gateway_still_tells() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let made = home.run(["approvals", "new-webhook-key", "hook.key"]);
    let public = made.exits(0).stdout();
    let public: WebhookKey = public.trim_end().parse().unwrap();
    home.run(["approvals", "new-webhook-key", "hook.key"])
        .exits(123);
    // The place of a receiver that is not there yet.
    let address = {
        let place = TcpListener::bind("127.0.0.1:0").unwrap();
        place.local_addr().unwrap()
    };
    home.write(
        "hooks.toml",
        format!(
            "[endpoints.chat]\nurl = \"http://{address}/in\"\nkey_file = \"hook.key\"\n\
             events = [\"approval.waiting\", \"approval.ended\", \"alert\"]\n"
        ),
    );
    let words = ["--profile", profile(&home, 1), "--webhooks", "hooks.toml"];
    let gateway = Gateway::with(&home, &words);
    let waiting = call(&home, "t", "echo hush-hush");
    let held = waits(&home, 1).remove(0);
    // kill -9, and whoever waited hears no more.
    drop(gateway);
    drop(waiting.wait_with_output());
    let place = TcpListener::bind(address).unwrap();
    let receiver = Receiver::on(&place, &[]);
    let _gateway = Gateway::with(&home, &words);
    let first = receiver.wait(1).remove(0);
    let message = first.json();
    assert_eq!(message["type"], "approval.waiting");
    for name in ["decision", "action", "tool", "agent"] {
        assert_eq!(message["data"][name], held[name], "{message}");
    }
    assert_eq!(message["data"]["until_ms"], held["expires_at_ms"]);
    assert_eq!(message["data"]["trigger"], "interactive");
    // By the key of the gateway, as anybody can tell.
    let key = std::fs::read_to_string(home.path("hook.key")).unwrap();
    let key: SigningKey = key.trim_end().parse().unwrap();
    assert_eq!(key.public(), Some(public));
    let at_s = first.headers["webhook-timestamp"].parse().unwrap();
    let signature = key.sign(first.id(), at_s, first.body.as_bytes());
    assert_eq!(first.headers["webhook-signature"], signature);

    enlist(&home, "alice", &[]);
    approve(&home, &held, "alice").exits(0);
    let got = receiver.wait(3);
    let types: Vec<_> = got.iter().map(|got| got.json()["type"].clone()).collect();
    // Whoever enlists somebody raises an alert.
    assert_eq!(types, ["approval.waiting", "alert", "approval.ended"]);
    assert_eq!(got[2].json()["data"]["decision"], text(&held, "decision"));
    assert_eq!(got[2].json()["data"]["reason"], "allowed");
    for got in &got {
        assert!(!got.body.contains("hush"), "{}", got.body);
    }
    let bad = home.run(["serve", "--webhooks", "none.toml"]);
    bad.exits(1).says("none.toml");
}
