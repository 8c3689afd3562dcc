//! Who may call over a network: the command line, and a real gateway that listens.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{canary, home::Home, keeper::Keepers};

const CALLERS: &str = "audience = \"casemate-run\"\n[api_keys]\n";

/// A gateway that also listens on a port.
struct Listening {
    process: Child,
    address: String,
}

impl Listening {
    fn start(home: &Home) -> Self {
        let profile = include_str!("../../../policy/profiles/serve.toml").replace(
            "[\"casemate:local\"]",
            "[\"casemate:local\", \"casemate:api-keys\"]\nallowed_tenants = [\"local\", \"acme\"]",
        );
        home.write("acme.toml", profile);
        home.write("callers.toml", CALLERS);
        let words = [
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--callers",
            "callers.toml",
            "--profile",
            "acme.toml",
        ];
        let mut process = home
            .casemate(words)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let mut lines = stderr.lines().map(Result::unwrap);
        let address = lines
            .by_ref()
            .find_map(|line| {
                Some(
                    line.strip_prefix("casemate: listening on 127.0.0.1:")?
                        .to_owned(),
                )
            })
            .unwrap();
        // The last that it says before it serves.
        lines.find(|line| line.contains("casemate.sock")).unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            address: format!("127.0.0.1:{address}"),
        }
    }

    /// The whole answer to a request.
    fn ask(&self, method: &str, path: &str, key: Option<&str>, body: &str) -> String {
        let mut answer = String::new();
        self.send(method, path, key, body)
            .read_to_string(&mut answer)
            .unwrap();
        answer
    }

    /// A request whose answer is still to be read.
    fn send(&self, method: &str, path: &str, key: Option<&str>, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let key = key.map_or_else(String::new, |key| format!("x-api-key: {key}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n{key}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn new_key(home: &Home, role: &str) -> String {
    let words = [
        "callers",
        "keys",
        "new",
        "--subject",
        "ci",
        "--tenant",
        "acme",
        "--scope",
        "code:execute",
        "--role",
        role,
    ];
    let key = home.run(words).exits(0).stdout().trim_end().to_owned();
    canary::watch(&key);
    key
}

/// A gateway that is asked to stop lets calls over a network end, for longer than answers need to be read, and answers them.
#[test]
fn a_call_over_the_network_is_answered_when_the_gateway_stops() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let mut gateway = Listening::start(&home);
    let operator = new_key(&home, "operator");
    let call =
        r#"{"thread":"t","tool":"python","code":"import time; time.sleep(5); print(6 * 7)"}"#;
    let mut stream = gateway.send("POST", "/v1/calls", Some(&operator), call);
    while !gateway
        .ask("GET", "/v1/load", Some(&operator), "")
        .contains("\"running\":1")
    {}
    let pid = Pid::from_raw(gateway.process.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("42"),
        "{answer}"
    );
    assert!(gateway.process.wait().unwrap().success());
}

/// R123, R153: a key made by the command line is believed until it is taken back, for what its role may; and what it runs is in
/// its own tenant.
#[test]
fn a_key_calls_over_the_network_until_it_is_taken_back() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let gateway = Listening::start(&home);
    let (operator, reader) = (new_key(&home, "operator"), new_key(&home, "reader"));
    let call = r#"{"thread":"t","tool":"python","code":"6 * 7"}"#;
    let ran = gateway.ask("POST", "/v1/calls", Some(&operator), call);
    assert!(
        ran.starts_with("HTTP/1.1 200") && ran.contains("42"),
        "{ran}"
    );
    let refused = gateway.ask("POST", "/v1/calls", Some(&reader), call);
    assert!(
        refused.starts_with("HTTP/1.1 403") && refused.contains("missing_scope"),
        "{refused}"
    );
    let stranger = gateway.ask("POST", "/v1/calls", None, call);
    assert!(
        stranger.starts_with("HTTP/1.1 401") && stranger.contains("missing_credential"),
        "{stranger}"
    );
    // The user of the socket is of another tenant.
    let mine = home.run(["session", "list"]);
    assert!(!mine.exits(0).stdout().contains("ses_"), "{mine:?}");

    let listed = home
        .run(["callers", "keys", "list", "--json"])
        .exits(0)
        .stdout();
    let name = operator.split('_').nth(1).unwrap();
    assert!(
        listed.contains(name) && !listed.contains(&operator),
        "{listed}"
    );
    home.run(["callers", "keys", "revoke", name]).exits(0);
    let refused = gateway.ask("GET", "/v1/sessions", Some(&operator), "");
    assert!(
        refused.starts_with("HTTP/1.1 401") && refused.contains("revoked"),
        "{refused}"
    );
    home.run(["callers", "keys", "revoke", "0000000000000000"])
        .exits(1);
    drop(gateway);

    let records = home.log();
    let text = serde_json::to_string(&records).unwrap();
    assert!(!text.contains(&operator) && !text.contains(&reader));
    let codes: Vec<_> = records
        .iter()
        .filter(|record| record["summary"]["tool"] == "caller.refuse")
        .map(|record| {
            record["summary"]["subject"]["code"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(codes, ["not_permitted", "missing_credential", "revoked"]);
}

/// A network without those who may call, or in clear, does not start, and says what to do.
#[test]
fn what_would_let_anybody_in_does_not_start() {
    let home = Home::new();
    home.write("callers.toml", CALLERS);
    home.write("nobody.toml", "audience = \"casemate-run\"\n");
    home.write("odd.toml", "audience = \"\"\n[[issuer]]\nissuer = \"local\"\naudiences = []\njwks = \"x\"\nalgorithms = []\n[api_keys]\n");
    for (words, code, says) in [
        (&["--listen", "127.0.0.1:0"][..], 2, "--callers"),
        (&["--callers", "callers.toml"], 2, "--listen"),
        (
            &["--listen", "0.0.0.0:0", "--callers", "callers.toml"],
            2,
            "--tls-cert",
        ),
        (
            &["--listen", "127.0.0.1:0", "--callers", "missing.toml"],
            2,
            "missing.toml",
        ),
        (
            &["--listen", "127.0.0.1:0", "--callers", "nobody.toml"],
            1,
            "nobody could call",
        ),
        (
            &["--listen", "127.0.0.1:0", "--callers", "odd.toml"],
            1,
            "odd.toml:1:12",
        ),
    ] {
        let ran = home.run(["serve"].iter().chain(words));
        ran.exits(code).says(says);
        assert!(home.is_untouched(), "{words:?}");
    }
    let checked = home.run(["callers", "check", "odd.toml"]);
    checked.exits(1).says("odd.toml:1:12").says("odd.toml:2:1");
    home.run(["callers", "check", "callers.toml"]).exits(0);
}
