//! What a task has: what it was given, and nothing else.

use std::io::{Read as _, Write as _};

use serde_json::Value;

use crate::{
    canary::fresh,
    credentials::Safe,
    home::users,
    upstream::Upstream,
    way::{HOST, World},
    ways::{Served, stdout},
};

const OTHER: &str = "other.way.example";

/// An endpoint of App Service, which gives each identity its own token.
fn platform(tokens: [(&'static str, String); 2]) -> Upstream {
    Upstream::start(move |mut stream, requests| {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_exact(&mut byte).is_err() {
                return;
            }
            head.push(byte[0]);
        }
        requests.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let head = String::from_utf8(head).unwrap();
        let client = |(id, _): &&(&str, String)| head.contains(&format!("client_id={id}"));
        let token = tokens.iter().find(client).map(|(_, token)| token.as_str());
        let body = format!(
            r#"{{"access_token":"{}","expires_on":"32503680000","token_type":"Bearer"}}"#,
            token.unwrap_or("nobody-is-called-so")
        );
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
    })
}

/// R86, R100: two agents have a managed identity each, for the resource groups that their profiles name: neither reaches the other's group, and neither has the
/// other's token.
#[test]
fn each_agent_has_its_identity_and_its_resource_groups() {
    let (ones, twos) = (fresh(), fresh());
    let shows = format!("authorization: Bearer {ones}\r\n");
    let safe = Safe::before(users()[0], ones.clone(), &shows);
    let world = &safe.world;
    let shows = format!("authorization: Bearer {twos}\r\n");
    let other = Upstream::demanding(&world.roots, OTHER, &twos, &shows);
    let platform = platform([("one", ones), ("two", twos)]);
    let endpoint = format!("http://127.0.0.1:{}/msi/token", platform.port);
    for name in ["one", "two"] {
        let handle = format!("cred:{name}");
        let words = [
            "credential",
            "add",
            &handle,
            "--kind",
            "azure-managed-identity",
        ];
        let more = [
            "--client-id",
            name,
            "--resource",
            "https://management.azure.com",
            "--endpoint",
            &endpoint,
        ];
        let words = [&words[..], &more].concat();
        world.home.feed(words, fresh().as_bytes()).exits(0);
    }
    let profile = include_str!("../../../policy/profiles/serve.toml");
    let of = |name: &str| {
        let credential = format!("credential = \"cred:{name}\"");
        let group = format!("\"/v1/subscriptions/*/resourceGroups/{name}/**\"");
        world
            .with_rule(profile, &credential)
            .replace("\"/v1/**\"", &group)
    };
    let (ours, theirs) = (world.upstream.port.to_string(), other.port.to_string());
    let second = of("two")
        .replace("route = \"serve\"", "route = \"other\"")
        .replace(HOST, OTHER)
        .replace(&ours, &theirs);
    world.home.write("one.toml", of("one"));
    world.home.write("two.toml", second);
    let served = Served::under(world, &["one.toml", "two.toml"]);
    let hosts = [
        ("one", "serve", HOST, &ours, &world.upstream),
        ("two", "other", OTHER, &theirs, &other),
    ];
    for (agent, route, host, port, upstream) in hosts {
        for (group, is_its) in [("one", agent == "one"), ("two", agent == "two")] {
            let url = format!("https://{host}:{port}/v1/subscriptions/s/resourceGroups/{group}/a");
            let answer = served.ran(&[
                "--agent", agent, "--route", route, "--", "curl", "-sSi", &url,
            ]);
            let said = stdout(&answer);
            assert_eq!(said.ends_with("good"), is_its, "{agent} {group} {answer}");
            assert_eq!(
                said.contains("cred_scope"),
                !is_its,
                "{agent} {group} {answer}"
            );
        }
        assert_eq!((upstream.requests(), upstream.proven()), (1, 1), "{agent}");
    }
    assert_eq!(platform.requests(), 2);
}

/// R102: a task has files, variables, processes and a network of its own, and nothing of the host: not the files of who started it, not their
/// variables, no other process, no address, and nothing that it could change for others.
#[test]
fn a_task_has_what_it_needs() {
    for user in users() {
        let world = World::of(user);
        let home = &world.home;
        home.write("secret-of-the-host", "of the host");
        let script = format!(
            r#"
import os, socket, urllib.request
print(sorted(name for name in os.environ if "TOKEN" in name or "SECRET" in name or "KEY" in name))
print([path for path in ({:?}, {:?}, "/var/run/docker.sock", "/proc/1/root/root") if os.path.exists(path) and os.access(path, os.R_OK) and (not os.path.isdir(path) or os.listdir(path))])
print(len([entry for entry in os.listdir("/proc") if entry.isdigit()]) < 5)
print([name for _, name in socket.if_nameindex()] in ([], ["lo"]))
def fails(task):
    try:
        task()
    except (OSError, PermissionError):
        return True
print(fails(lambda: socket.create_connection(("192.0.2.1", 443), 1)), fails(lambda: open("/etc/new", "w")), fails(lambda: open("/usr/bin/new", "w")))
print(open("/workspace/own", "w").write("own"))
"#,
            home.path("state"),
            home.path("secret-of-the-host"),
        );
        let mut run = home.casemate(["run", "--json", "--", "/usr/bin/python3", "-c", &script]);
        run.env("AWS_SECRET_ACCESS_KEY", "of the host")
            .env("GITHUB_TOKEN", "of the host");
        let output = run.output().unwrap();
        let ran: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert_eq!(
            ran["stdout"], "[]\n[]\nTrue\nTrue\nTrue True True\n3\n",
            "{ran}"
        );
    }
}
