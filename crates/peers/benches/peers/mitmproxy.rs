//! mitmproxy with an add-on that has the same rules, as proxies for agents are made of it.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
};

use crate::{
    Failure,
    peer::{Peer, Rules},
};

const ADD_ON: &str = include_str!("mitmproxy.py");

pub(crate) fn start(rules: &Rules<'_>, strict: bool) -> Result<Peer, Failure> {
    let script = rules.directory.join("rules.py");
    fs::write(&script, ADD_ON)?;
    let allowed: Vec<_> = rules
        .allowed
        .iter()
        .map(|(name, port)| format!("{name}:{port}"))
        .collect();
    let set = |key: &str, value: &str| ["--set".to_owned(), format!("{key}={value}")];
    let confdir = rules.directory.to_str().ok_or("no path")?;
    let roots = rules.roots.to_str().ok_or("no path")?;
    let mut command = Command::new("mitmdump");
    command
        .args([
            "--quiet",
            "--listen-host",
            "127.0.0.1",
            "-p",
            &rules.port.to_string(),
        ])
        .arg("-s")
        .arg(script)
        .args(set("confdir", confdir))
        .args(set("ssl_verify_upstream_trusted_ca", roots))
        .args(set("stream_large_bodies", "1m"))
        .env("CASEMATE_ALLOWED", allowed.join(" "))
        .env("CASEMATE_PLAIN", format!("good.test:{}", rules.plain))
        .stderr(Stdio::null())
        .process_group(0);
    let name = if strict {
        "mitmproxy, rawtcp=false"
    } else {
        "mitmproxy"
    };
    if strict {
        command.args(set("rawtcp", "false"));
    }
    let authority = rules.directory.join("mitmproxy-ca-cert.pem");
    Peer::start(name, command, rules, &authority)
}
