//! Tokens for which the platform vouches, and tokens for tokens.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    thread,
};

use base64::Engine as _;
use casemate_identity::{
    AssertionFiles, ClientAuth, Form, GrantError, HttpsEndpoint, Identity, Kind, RefreshError,
    Secret, Secrets, State,
};

use crate::world::{
    ME, MINUTE_MS, START_MS, World, handle, lease, request, secret, secrets, token,
};

fn bearer(identity: &Identity) -> Result<String, GrantError> {
    let lease = lease(identity);
    let rendered = identity.grant(&lease, ME, &request("cred:orders"))?;
    Ok(rendered.fields[0].1.expose().to_owned())
}

fn add(world: &World, kind: Kind, secrets: &Secrets) {
    kind.check().unwrap();
    world
        .store()
        .add(handle("orders"), kind, secrets, world.hands.now())
        .unwrap();
}

fn nothing() -> Secrets {
    Secrets::of(Secret::read(b"", Form::Nothing).unwrap())
}

fn exchange() -> Kind {
    Kind::TokenExchange {
        token_url: "https://id.example.com/token".into(),
        client_id: Some("client".into()),
        auth: ClientAuth::Post,
        subject_token_type: "urn:ietf:params:oauth:token-type:jwt".into(),
        audience: Some("orders".into()),
        resource: Some("https://orders.example.com/".into()),
        scopes: vec!["orders.read".into()],
    }
}

/// R85, R86: a token is exchanged (RFC 8693, 2.1) for one of another audience; it goes to the token endpoint only, and what is asked is what was
/// written down.
#[test]
fn a_token_is_exchanged_for_another() {
    let world = World::new();
    let both = Secrets {
        second: Some(secret("client-secret-1")),
        ..secrets("subject-token-1")
    };
    add(&world, exchange(), &both);
    let identity = world.identity();
    let answer = token("other-token", 60).replace(
        '}',
        ",\"issued_token_type\":\"urn:ietf:params:oauth:token-type:access_token\"}",
    );
    world.desk.will_say(200, &answer);
    assert_eq!(bearer(&identity).unwrap(), "Bearer other-token");
    assert_eq!(
        *world.desk.asked.lock().unwrap(),
        [
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=subject-token-1\
          &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt\
          &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
          &audience=orders&resource=https%3A%2F%2Forders.example.com%2F&scope=orders.read\
          &client_id=client&client_secret=client-secret-1"
        ]
    );
    // Twenty minutes before its end another one is; the issuer does not take the first any more.
    world.hands.go(40 * MINUTE_MS);
    world.desk.will_say(400, r#"{"error":"invalid_grant"}"#);
    let refused = bearer(&identity);
    assert!(
        matches!(
            refused,
            Err(GrantError::Refresh(RefreshError::Quarantined(_)))
        ),
        "{refused:?}"
    );
    assert!(bearer(&identity).is_err());
    assert_eq!(world.desk.count(), 2);
}

/// R80, R85: the assertion that the platform writes is read each time that a token is fetched, is nowhere kept, and one that is over costs no
/// quarantine: nobody could end that.
#[test]
fn an_assertion_of_the_platform_is_read_each_time() {
    let world = World::new();
    let kind = Kind::OidcFederation {
        token_url: "https://id.example.com/token".into(),
        client_id: "client".into(),
        assertion: "azure".into(),
        scopes: vec!["https://vault.example.com/.default".into()],
        audience: None,
    };
    add(&world, kind, &nothing());
    let directory = world.dir.path().join("assertions");
    fs::create_dir(&directory).unwrap();
    let write = |text: &str| fs::write(directory.join("azure"), text).unwrap();
    let identity = || {
        let files = AssertionFiles(directory.clone());
        world.identity().with_assertions(Box::new(files))
    };
    let first = identity();
    // It is not there yet: nobody is asked.
    let absent = bearer(&first);
    assert!(
        matches!(
            absent,
            Err(GrantError::Refresh(RefreshError::Assertion { .. }))
        ),
        "{absent:?}"
    );
    write("canary-assertion-1\n");
    world.desk.will_say(200, &token("first-token", 60));
    assert_eq!(bearer(&first).unwrap(), "Bearer first-token");
    write("canary-assertion-2");
    world.desk.will_say(200, &token("second-token", 60));
    world.hands.go(40 * MINUTE_MS);
    assert_eq!(bearer(&first).unwrap(), "Bearer second-token");
    // It is over, and the platform is late.
    world.hands.go(60 * MINUTE_MS);
    world.desk.will_say(401, r#"{"error":"invalid_client"}"#);
    let refused = bearer(&first).unwrap_err();
    assert!(!format!("{refused:?} {refused}").contains("canary"));
    let header = world.store().header(&handle("orders")).unwrap().unwrap();
    assert_eq!(header.state, State::Active);
    let waits = bearer(&first);
    assert!(
        matches!(
            waits,
            Err(GrantError::Refresh(RefreshError::Waiting { .. }))
        ),
        "{waits:?}"
    );
    world.hands.go(MINUTE_MS);
    write("canary-assertion-3");
    world.desk.will_say(200, &token("third-token", 60));
    assert_eq!(bearer(&first).unwrap(), "Bearer third-token");
    let asked = world.desk.asked.lock().unwrap().clone();
    let form = |number| {
        format!(
            "grant_type=client_credentials\
             &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
             &client_assertion=canary-assertion-{number}\
             &scope=https%3A%2F%2Fvault.example.com%2F.default&client_id=client"
        )
    };
    assert_eq!(asked, [form(1), form(2), form(2), form(3)]);
    let record = fs::read_to_string(world.path().join("orders")).unwrap_or_default();
    assert!(!record.contains("canary"), "{record}");
    // Whoever else may write to it could say who this host is.
    for (name, mode, text) in [
        ("azure", 0o622, "canary-assertion-4"),
        ("azure", 0o600, "two\nlines-of-it"),
        ("azure", 0o600, ""),
    ] {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(bearer(&identity()).is_err(), "{mode:o} {text}");
    }
    assert_eq!(world.desk.count(), 4);
}

/// R80: machines of Azure get tokens from their platform, which wants a header that no page of the web could send; it says in text when
/// they expire, and they are fetched anew twenty minutes before.
#[test]
fn managed_identities_ask_the_platform() {
    let world = World::new();
    let kind = Kind::AzureManagedIdentity {
        resource: "https://vault.azure.net".into(),
        client_id: Some("c1".into()),
        endpoint: None,
    };
    add(&world, kind, &nothing());
    let identity = world.identity();
    for (name, after_ms) in [("first", 0), ("second", 40 * MINUTE_MS)] {
        world.hands.go(after_ms);
        let expires = (world.hands.now() / 1_000) + 3_600;
        let answer = format!(
            r#"{{"access_token":"{name}-token","expires_on":"{expires}","resource":"https://vault.azure.net","token_type":"Bearer"}}"#
        );
        world.desk.will_say(200, &answer);
        assert_eq!(bearer(&identity).unwrap(), format!("Bearer {name}-token"));
        assert_eq!(bearer(&identity).unwrap(), format!("Bearer {name}-token"));
    }
    let url = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01\
               &resource=https%3A%2F%2Fvault.azure.net&client_id=c1 metadata: true";
    assert_eq!(*world.desk.asked.lock().unwrap(), [url, url]);
    assert_eq!(world.hands.now(), START_MS + 40 * MINUTE_MS);
}

/// R80: App Service gives tokens to whoever shows the header that it gave this host, and to nobody else; that header goes to no other place.
#[test]
fn app_service_is_shown_its_header() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let body = token("from-the-platform", 60);
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        String::from_utf8(head).unwrap()
    });
    let world = World::new();
    let kind = Kind::AzureManagedIdentity {
        resource: "https://vault.azure.net".into(),
        client_id: None,
        endpoint: Some(format!("http://127.0.0.1:{port}/msi/token")),
    };
    add(&world, kind, &secrets("header-of-the-platform"));
    let roots = world.dir.path().join("roots.pem");
    fs::write(&roots, authority()).unwrap();
    let endpoint = HttpsEndpoint::new(Some(&roots)).unwrap();
    let identity = world.identity_with(Box::new(endpoint));
    assert_eq!(bearer(&identity).unwrap(), "Bearer from-the-platform");
    let head = served.join().unwrap();
    let line =
        "GET /msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net HTTP/1.1\r\n";
    assert!(head.starts_with(line), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains("x-identity-header: header-of-the-platform\r\n"),
        "{head}"
    );
}

/// Somebody who is believed, as there has to be one.
fn authority() -> String {
    let signed = rcgen::generate_simple_self_signed(vec!["id.example.com".into()]).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(signed.cert.der());
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// R82: signatures of Azure Storage last an hour and are made anew fifteen minutes before they expire, by a key that a token of the client
/// gets. The signature is the one that Microsoft's library makes of the same (azure-storage-blob 12.19.1, `generate_container_sas`). They
/// go to their account only.
#[test]
fn signatures_of_storage_last_an_hour() {
    let world = World::new();
    let kind = Kind::AzureSas {
        token_url: "https://id.example.com/token".into(),
        client_id: "client".into(),
        auth: ClientAuth::Post,
        blob_url: "https://orders.example.com".into(),
        account: "acct".into(),
        container: "box".into(),
        permissions: "rl".into(),
    };
    add(&world, kind, &secrets("client-secret-1"));
    let identity = world.identity();
    let key = |start: &str, expiry: &str| {
        let value =
            base64::engine::general_purpose::STANDARD.encode(b"0123456789abcdef0123456789abcdef");
        format!(
            "<?xml version=\"1.0\"?><UserDelegationKey><SignedOid>11111111-2222-3333-4444-555555555555</SignedOid>\
             <SignedTid>66666666-7777-8888-9999-000000000000</SignedTid><SignedStart>{start}</SignedStart>\
             <SignedExpiry>{expiry}</SignedExpiry><SignedService>b</SignedService><SignedVersion>2023-11-03</SignedVersion>\
             <Value>{value}</Value></UserDelegationKey>"
        )
    };
    world.desk.will_say(200, &token("canary-of-entra", 60));
    world
        .desk
        .will_say(200, &key("2027-01-15T07:45:00Z", "2027-01-15T09:00:00Z"));
    let lease = lease(&identity);
    let signed = || identity.grant(&lease, ME, &request("cred:orders"));
    let first = signed().unwrap();
    let query = first.query.as_ref().unwrap().expose().to_owned();
    assert_eq!(
        query,
        "sv=2023-11-03&sr=c&sp=rl&st=2027-01-15T07%3A45%3A00Z&se=2027-01-15T09%3A00%3A00Z&spr=https\
         &skoid=11111111-2222-3333-4444-555555555555&sktid=66666666-7777-8888-9999-000000000000\
         &skt=2027-01-15T07%3A45%3A00Z&ske=2027-01-15T09%3A00%3A00Z&sks=b&skv=2023-11-03\
         &sig=k54jMemqtWI5i9C%2FqKgDTuyl7hQi8S7dvdVUInKQAz8%3D"
    );
    assert!(first.fields.is_empty());
    let hidden: Vec<_> = first.hidden.iter().map(Secret::expose).collect();
    assert_eq!(hidden, ["k54jMemqtWI5i9C/qKgDTuyl7hQi8S7dvdVUInKQAz8="]);
    let asked = world.desk.asked.lock().unwrap().clone();
    assert_eq!(
        asked,
        [
            "grant_type=client_credentials&scope=https%3A%2F%2Fstorage.azure.com%2F.default&client_id=client&client_secret=client-secret-1",
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>2027-01-15T07:45:00Z</Start><Expiry>2027-01-15T09:00:00Z</Expiry></KeyInfo>",
        ]
    );
    world.hands.go(45 * MINUTE_MS - 1);
    assert_eq!(signed().unwrap(), first);
    assert!(identity.refresh_due().is_empty());
    world.hands.go(1);
    world.desk.will_say(200, &token("canary-of-entra", 60));
    world
        .desk
        .will_say(200, &key("2027-01-15T08:30:00Z", "2027-01-15T09:45:00Z"));
    assert_eq!(identity.refresh_due().len(), 1);
    let second = signed().unwrap();
    assert_ne!(second, first);
    assert_eq!(world.desk.count(), 4);
    // Answers without a key, or that mean two things, make no signature; the one that there is is used until it expires.
    world.hands.go(45 * MINUTE_MS);
    for (status, body) in [
        (403, "<Error/>"),
        (200, "<Value>AAAA</Value>"),
        (200, "{}"),
        (200, "<Value>AAAA</Value><Value>BBBB</Value>"),
    ] {
        world.desk.will_say(200, &token("canary-of-entra", 60));
        world.desk.will_say(status, body);
        assert_eq!(signed().unwrap(), second);
        world.hands.go(3 * MINUTE_MS);
    }
    world.hands.go(15 * MINUTE_MS);
    world.desk.will_say(401, r#"{"error":"invalid_client"}"#);
    let refused = signed();
    assert!(
        matches!(
            refused,
            Err(GrantError::Refresh(RefreshError::Quarantined(_)))
        ),
        "{refused:?}"
    );
}

/// R87: a signature for an account goes to no other host, although a rule says so.
#[test]
fn a_signature_goes_to_its_account() {
    let world = World::new();
    let kind = Kind::AzureSas {
        token_url: "https://id.example.com/token".into(),
        client_id: "client".into(),
        auth: ClientAuth::Post,
        blob_url: "https://acct.blob.core.windows.net".into(),
        account: "acct".into(),
        container: "box".into(),
        permissions: "r".into(),
    };
    for wrong in ["", "x", "lr", "rr", "r w"] {
        let text = serde_json::to_value(&kind).unwrap();
        let mut text = text.as_object().unwrap().clone();
        text.insert("permissions".into(), wrong.into());
        let kind: Kind = serde_json::from_value(text.into()).unwrap();
        assert!(kind.check().is_err(), "{wrong}");
    }
    add(&world, kind, &secrets("client-secret-1"));
    let identity = world.identity();
    world.desk.will_say(200, &token("canary-of-entra", 60));
    let key = "<SignedOid>o</SignedOid><SignedTid>t</SignedTid><SignedStart>s</SignedStart><SignedExpiry>e</SignedExpiry>\
               <SignedService>b</SignedService><SignedVersion>v</SignedVersion><Value>AAAA</Value>";
    world.desk.will_say(200, key);
    let refused = identity.grant(&lease(&identity), ME, &request("cred:orders"));
    assert!(matches!(refused, Err(GrantError::Render(_))), "{refused:?}");
}

/// Settings by which a secret or an assertion could go elsewhere are refused.
#[test]
fn platforms_are_on_this_host() {
    for endpoint in [
        "https://127.0.0.1/",
        "http://192.0.2.1/",
        "http://169.254.169.254.example.com/",
        "http://localhost.example.com/",
        "http://u@localhost/",
        "http://localhost/?x=1",
        "http://127.0.0.1:80#x",
        "",
    ] {
        let kind = Kind::AzureManagedIdentity {
            resource: "r".into(),
            client_id: None,
            endpoint: Some(endpoint.into()),
        };
        assert!(kind.check().is_err(), "{endpoint}");
    }
    for assertion in [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        ".hidden",
        "a b",
        "/etc/passwd",
    ] {
        let kind = Kind::OidcFederation {
            token_url: "https://id.example.com/".into(),
            client_id: "c".into(),
            assertion: assertion.into(),
            scopes: Vec::new(),
            audience: None,
        };
        assert!(kind.check().is_err(), "{assertion}");
    }
}
