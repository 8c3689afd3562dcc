//! The file that names receivers: what is not right in it is said, and nothing is sent.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use casemate_answers::SigningKey;
use casemate_webhooks::{ConfigError, Topic, Webhooks};

fn write(dir: &Path, name: &str, content: &str, mode: u32) {
    let path = dir.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn load(content: &str) -> Result<Webhooks, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap().secret_text().unwrap();
    write(dir.path(), "good.key", &format!("{}\n", &*key), 0o600);
    write(dir.path(), "open.key", &key, 0o644);
    write(dir.path(), "bad.key", "secret", 0o600);
    write(dir.path(), "webhooks.toml", content, 0o644);
    Webhooks::load(&dir.path().join("webhooks.toml"))
}

fn endpoint(url: &str) -> String {
    format!(
        "[endpoints.chat]\nurl = \"{url}\"\nevents = [\"alert\", \"approval.waiting\"]\nkey_file = \"good.key\"\n"
    )
}

#[test]
fn receivers_are_read() {
    let webhooks = load(&endpoint("https://chat.example:8443/in?x=1")).unwrap();
    let chat = &webhooks.endpoints[0];
    assert_eq!(
        (chat.name.as_str(), chat.url.as_str()),
        ("chat", "https://chat.example:8443/in?x=1")
    );
    assert!(chat.events.contains(&Topic::Alert) && !chat.events.contains(&Topic::Ended));
    for local in [
        "http://127.0.0.1:1/",
        "http://localhost:1/",
        "http://[::1]:1/",
    ] {
        load(&endpoint(local)).unwrap();
    }
}

#[test]
fn a_url_to_which_no_message_should_go_is_refused() {
    for url in [
        "http://chat.example/in",
        "http://127.0.0.1.example/in",
        "http://localhost.example/in",
        "http://10.0.0.1/in",
        "ftp://localhost/in",
        "/in",
        "",
        "https://user@chat.example/in",
        "https://chat.example/in#part",
        "http://localhost@chat.example/in",
    ] {
        let refused = load(&endpoint(url));
        assert!(
            matches!(refused, Err(ConfigError::Url(_))),
            "{url}: {refused:?}"
        );
    }
}

#[test]
fn a_file_with_something_else_in_it_is_refused() {
    let good = endpoint("https://chat.example/in");
    let many: String = (0..17)
        .map(|n| good.replace("chat]", &format!("chat{n}]")))
        .collect();
    type Expected = fn(&ConfigError) -> bool;
    let bad: [(String, Expected); 11] = [
        (String::new(), |e| matches!(e, ConfigError::Toml { .. })),
        ("[endpoints]\n".into(), |e| {
            matches!(e, ConfigError::Number(0))
        }),
        (many, |e| matches!(e, ConfigError::Number(17))),
        (format!("{good}verify = false\n"), |e| {
            matches!(e, ConfigError::Toml { .. })
        }),
        (format!("more = 1\n{good}"), |e| {
            matches!(e, ConfigError::Toml { .. })
        }),
        (good.replace("alert", "alerts"), |e| {
            matches!(e, ConfigError::Toml { .. })
        }),
        (good.replace("\"alert\", \"approval.waiting\"", ""), |e| {
            matches!(e, ConfigError::NoEvents(_))
        }),
        (good.replace("chat]", "\"../chat\"]"), |e| {
            matches!(e, ConfigError::Name(_))
        }),
        (good.replace("good.key", "none.key"), |e| {
            matches!(e, ConfigError::File(_))
        }),
        (good.replace("good.key", "open.key"), |e| {
            matches!(e, ConfigError::File(_))
        }),
        (good.replace("good.key", "bad.key"), |e| {
            matches!(e, ConfigError::Key { .. })
        }),
    ];
    for (content, expected) in bad {
        let refused = load(&content).unwrap_err();
        assert!(expected(&refused), "{content}: {refused:?}");
    }
}
