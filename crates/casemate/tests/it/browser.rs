//! Answers in a browser: a real one, on the gateway's page, with a passkey that its driver makes.

use std::{
    fs,
    process::{Child, Stdio},
};

use serde_json::json;

use crate::{
    approvals::{Held as _, call, listed, profile, said, text, waits},
    home::Home,
    keeper::{Keepers, until},
    serve::Gateway,
    webdriver::{Browser, is_here, port_to},
};

/// Opens the page.
fn open(home: &Home, browser: &Browser) {
    let port = port_to(home.path("state/run/casemate.sock"));
    browser.open(&format!("http://localhost:{port}/approvals"));
}

/// A browser on the page, whose passkey may approve as `alice`.
fn on_the_page(home: &Home) -> Browser {
    let browser = Browser::start();
    browser.plug_in_passkey();
    open(home, &browser);
    browser.write("#user", "alice");
    browser.click("#enlist button");
    let line = browser.text_when("#line", |text| !text.is_empty());
    // As an operator would paste it.
    let words: Vec<_> = line.split('\'').collect();
    let [command, user, _, key, _] = words[..] else {
        panic!("{line}");
    };
    assert_eq!((command, user), ("casemate approvals enlist ", "alice"));
    assert!(key.starts_with("passkey:ES256:localhost:"), "{key}");
    home.run(["approvals", "enlist", user, key, "--role", "security"])
        .exits(0);
    // The socket needs no token, and nothing was asked before.
    assert_eq!(browser.text("#waiting"), "");
    browser.click("#access button");
    browser
}

/// R163, R174, R176: a call waits, the page shows every byte of it as text, and a passkey on the page lets it run, once.
#[test]
fn a_passkey_in_a_browser_approves_what_the_page_shows() {
    if !is_here() {
        return;
    }
    let home = Home::new();
    let _keepers = Keepers(&home);
    let _gateway = Gateway::under(&home, &[profile(&home, 1)]);
    let browser = on_the_page(&home);

    let script = "echo ran >> log; cat log # <img src=x onerror=\"window.pwned=1\"><script>window.pwned=1</script> \u{202e}txt.exe\u{1b}[2J";
    let (waiting, held) = call(&home, "t", script).when_it_waits(&home);
    let decision = text(&held, "decision");
    browser.text_when("#waiting", |text| text.contains("shell"));
    browser.click("#waiting button");
    browser.text_when("#call-title", |title| title == decision);
    assert!(browser.text("#facts").contains(&text(&held, "action")));
    let shown = browser.text("#parts");
    assert!(
        shown.contains("<img src=x onerror=\"window.pwned=1\"><script>"),
        "{shown}"
    );
    assert!(shown.contains("\\u{202e}txt.exe\\u{1b}[2J"), "{shown}");
    assert!(!shown.contains('\u{202e}') && !shown.contains('\u{1b}'));
    let made = browser
        .run("return [document.images.length, document.scripts.length, typeof window.pwned]");
    assert_eq!(made, json!([0, 1, "undefined"]));
    browser.click("#approve");
    browser.text_when("#message", |text| text == format!("{decision} is approved"));
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"ran\n", "{}", said(&output));
    let consumed = listed(&home, "consumed");
    assert_eq!(consumed.len(), 1);
    let vote = &consumed[0]["votes"][0];
    assert_eq!(
        (&vote["user"], &vote["vote"]),
        (&json!("alice"), &json!("approve"))
    );
    assert!(
        vote["assertion"]["response"]["signature"].is_string(),
        "{vote}"
    );

    // The other answer takes a reason.
    let (waiting, held) = call(&home, "t", "touch second").when_it_waits(&home);
    let decision = text(&held, "decision");
    browser.text_when("#waiting", |text| text.contains("shell"));
    browser.click("#waiting button");
    browser.text_when("#call-title", |title| title == decision);
    browser.click("#deny");
    browser.text_when("#message", |text| text.contains("Say why"));
    browser.write("#reason", "not on a Friday");
    browser.click("#deny");
    browser.text_when("#message", |text| text == format!("{decision} is denied"));
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(120));
    assert!(
        said(&output).contains("approval_denied: by alice: not on a Friday"),
        "{}",
        said(&output)
    );
    home.run(["audit", "verify"]).exits(0);
}

fn call_script(home: &Home, name: &str) -> Child {
    let mut waiting = home.casemate(["call", "--thread", "t", name]);
    let waiting = waiting
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    waiting.spawn().unwrap()
}

/// What was not shown whole is not approved, and what does not belong to the hash is not shown at all.
#[test]
fn the_page_approves_nothing_unseen_and_nothing_that_was_changed() {
    if !is_here() {
        return;
    }
    let home = Home::new();
    let _keepers = Keepers(&home);
    let _gateway = Gateway::under(&home, &[profile(&home, 1)]);
    let browser = on_the_page(&home);
    home.write(
        "long.sh",
        format!("echo first\n{}", "echo more\n".repeat(3_000)),
    );
    let (waiting, held) = call_script(&home, "long.sh").when_it_waits(&home);
    let decision = text(&held, "decision");

    // Somebody between the gateway and the page changes what it shows.
    let lies = [
        (
            "said.canonical = said.canonical.replace('local', 'other')",
            "does not have the hash",
        ),
        (
            "said.code = 'echo harmless'",
            "is not the one that would run",
        ),
        ("said.files.push(['more', 'x'])", "A file is shown"),
        ("said.decision = 'dec_0'", "shows another call"),
    ];
    browser.text_when("#waiting", |text| text.contains("shell"));
    browser.run("window.honest = window.fetch");
    for (lie, why) in lies {
        browser.run(&format!(
            "window.fetch = async (path, options) => {{ const answer = await window.honest(path, options); \
             if (!/approvals\\/dec_/.test(path)) return answer; const said = await answer.json(); {lie}; \
             return new Response(JSON.stringify(said)); }}; document.querySelector('#waiting button').click()"
        ));
        browser.text_when("#message", |text| {
            text.contains(why) && text.contains("Do not approve it")
        });
        assert_eq!(
            browser.run("return document.querySelector('#call').hidden"),
            json!(true),
            "{lie}"
        );
    }
    browser.run("window.fetch = window.honest");

    browser.click("#waiting button");
    browser.text_when("#call-title", |title| title == decision);
    let is_disabled = || browser.run("return document.querySelector('#approve').disabled");
    assert_eq!(is_disabled(), json!(true));
    assert!(
        browser
            .text("#cut")
            .contains("bytes of this call are NOT shown")
    );
    assert!(browser.text("#parts").matches("echo more").count() < 300);
    browser.click("#all");
    assert!(browser.text("#parts").matches("echo more").count() >= 3_000);
    assert_eq!(is_disabled(), json!(false));
    // A signature over another statement does not count, whoever asked for it.
    browser.run(
        "window.fetch = (path, options) => { if (options.body) options.body = options.body.replace('approve\\\\\"', 'deny\\\\\"'); \
         return window.honest(path, options); }",
    );
    browser.click("#approve");
    browser.text_when("#message", |text| text.contains("signed something else"));
    assert_eq!(listed(&home, "pending").len(), 1);
    browser.run("window.fetch = window.honest");
    browser.click("#approve");
    browser.text_when("#message", |text| text == format!("{decision} is approved"));
    let output = waiting.wait_with_output().unwrap();
    assert!(
        output.stdout.starts_with(b"first\nmore\n"),
        "{}",
        said(&output)
    );
    // It answered once.
    until("it has run", || listed(&home, "consumed").len() == 1);
    assert!(fs::exists(home.path("state/policy/counters")).unwrap());
}

/// Bytes of all kinds are told as on the command line, and in one go: a decoder that is asked for each character of a large call is a page that hangs.
#[test]
fn the_page_tells_bytes_as_the_command_line_does() {
    if !is_here() {
        return;
    }
    let home = Home::new();
    let _keepers = Keepers(&home);
    let _gateway = Gateway::under(&home, &[profile(&home, 1)]);
    let browser = Browser::start();
    open(&home, &browser);
    // Every lead byte, what may follow it and what may not, cut off and whole, and marks at the start.
    let kinds = [
        0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xed,
        0xef, 0xbb, 0xf0, 0xf4, 0xf5, 0xff,
    ];
    let pairs = || {
        kinds
            .iter()
            .flat_map(|one| kinds.map(|other| [*one, other]))
    };
    let mut parts: Vec<_> = (0_u8..=255).map(|byte| vec![byte]).collect();
    for start in pairs() {
        parts.push(start.to_vec());
        parts.extend(pairs().map(|end| [start, end].concat()));
    }
    let expected: Vec<_> = parts.iter().map(|bytes| as_text(bytes)).collect();
    browser.run(
        "const decode = TextDecoder.prototype.decode; window.decoded = 0; \
         TextDecoder.prototype.decode = function (...all) { window.decoded += 1; return decode.apply(this, all); }",
    );
    let script = format!(
        "return {}.map((bytes) => asText(Uint8Array.from(bytes)))",
        json!(parts)
    );
    let told = browser.run(&script);
    for ((bytes, expected), told) in parts.iter().zip(&expected).zip(told.as_array().unwrap()) {
        assert_eq!(told, expected, "{bytes:02x?}");
    }
    assert_eq!(
        browser.run("return window.decoded"),
        json!(parts.len()),
        "one decoding for each part"
    );
    let hidden = "visible('\\t\\u007f\\u009f\\u00ad\\u202e\\u{e0041}\u{fc}\u{1f600}')";
    assert_eq!(
        browser.run(&format!("return {hidden}")),
        json!("\\t\\u{7f}\\u{9f}\\u{ad}\\u{202e}\\u{e0041}\u{fc}\u{1f600}")
    );
}

/// Bytes as `casemate approvals show` tells them.
fn as_text(bytes: &[u8]) -> String {
    let told = bytes.utf8_chunks().map(|chunk| {
        let invalid = chunk.invalid().iter();
        chunk.valid().to_owned()
            + &invalid
                .map(|byte| format!("\\x{byte:02x}"))
                .collect::<String>()
    });
    told.collect()
}

/// The list follows what waits, however often the gateway does not answer, until it refuses; and it takes nothing from under a person's hand.
#[test]
fn the_list_goes_on_after_a_lost_request_and_ends_with_a_refusal() {
    if !is_here() {
        return;
    }
    let home = Home::new();
    let _keepers = Keepers(&home);
    let _gateway = Gateway::under(&home, &[profile(&home, 1)]);
    let browser = Browser::start();
    // Time passes when the test says so.
    browser.run_before_pages("window.setInterval = (job) => { window.pass = job; }");
    open(&home, &browser);
    let (mut first, held) = call(&home, "t", "true").when_it_waits(&home);
    let decision = text(&held, "decision");
    browser.click("#access button");
    browser.text_when("#waiting", |text| text.contains("shell"));
    let pass = || browser.run("return window.pass()");
    let is_where_it_was = || {
        browser.run("return document.activeElement === window.button && window.button.isConnected")
    };

    browser.run("window.button = document.querySelector('#waiting button'); window.button.focus()");
    pass();
    assert_eq!(is_where_it_was(), json!(true), "nothing is new");

    browser.run(
        "window.honest = window.fetch; window.asked = 0; window.answering = (answer) => { \
         window.fetch = async () => { window.asked += 1; return answer(); }; }",
    );
    for lost in [
        "throw new TypeError('no way there')",
        "return new Response('<h1>Bad Gateway', { status: 502 })",
        "return new Response('{\"title\":\"busy\"}', { status: 429 })",
        "return new Response('{\"appr')",
    ] {
        browser.run(&format!(
            "window.asked = 0; window.answering(() => {{ {lost}; }})"
        ));
        pass();
        pass();
        assert_eq!(browser.run("return window.asked"), json!(2), "{lost}");
        let said = "return document.querySelector('#message').hidden";
        assert_eq!(browser.run(said), json!(false), "{lost}");
        browser.run("window.fetch = window.honest");
        pass();
        assert_eq!(browser.run(said), json!(true), "{lost}");
    }
    assert_eq!(is_where_it_was(), json!(true), "nothing is new");

    let mut second = call(&home, "u", "true");
    waits(&home, 2);
    pass();
    let shown = "return [document.querySelectorAll('#waiting button').length, document.activeElement.dataset.decision]";
    assert_eq!(browser.run(shown), json!([2, decision]));

    browser.run(
        "window.asked = 0; window.answering(() => new Response('<h1>Forbidden', { status: 403 }))",
    );
    pass();
    browser.run(
        "window.fetch = async (...all) => { window.asked += 1; return window.honest(...all); }",
    );
    pass();
    pass();
    assert_eq!(browser.run("return window.asked"), json!(1));
    assert_eq!(browser.text("#message"), "the gateway answered 403");
    for call in [&mut first, &mut second] {
        drop(call.kill());
        drop(call.wait());
    }
}
