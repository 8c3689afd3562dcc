use super::*;

/// A credential cannot say where a request ends or goes, and no token is fetched where others could read it.
#[test]
fn settings_that_change_a_request_or_leak_are_refused() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "proxy-authorization",
        "x y",
        "",
        "x:y",
        "Range",
    ] {
        assert!(
            Kind::Header { name: name.into() }.check().is_err(),
            "{name}"
        );
    }
    Kind::Header {
        name: "X-Api-Key".into(),
    }
    .check()
    .unwrap();
    for token_url in [
        "http://id.example/token",
        "https://",
        "https://u:p@id.example/token",
        "https://id.example/token?x=1",
        "https://id.example/token#x",
        "file:///etc/passwd",
        "id.example",
        "",
    ] {
        let kind = Kind::OauthClient {
            token_url: token_url.into(),
            client_id: "c".into(),
            scopes: Vec::new(),
            audience: None,
            auth: ClientAuth::Basic,
        };
        assert!(kind.check().is_err(), "{token_url}");
    }
    assert_eq!(
        Kind::Basic { user: "a:b".into() }.check(),
        Err(KindError::User)
    );
    let region = Kind::AwsSigv4 {
        access_key_id: "AKID".into(),
        region: "eu/x".into(),
        service: "s3".into(),
    };
    assert!(region.check().is_err());
}

#[test]
fn every_kind_has_its_word_on_disk() {
    let kind = Kind::Basic { user: "u".into() };
    assert_eq!(
        serde_json::to_string(&kind).unwrap(),
        r#"{"kind":"basic","user":"u"}"#
    );
    assert!(Kind::WORDS.contains(&kind.as_str()));
    assert!(serde_json::from_str::<Kind>(r#"{"kind":"bearer","user":"u"}"#).is_err());
    assert!(Kind::WORDS.iter().all(|word| !Kind::ABSENT.contains(word)));
}
