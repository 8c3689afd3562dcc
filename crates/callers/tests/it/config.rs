//! Configurations, as they are written.

use casemate_callers::{
    Algorithm, CertRule, ConfigError, IssuerConfig, JwtVerifier, KeySourceError, Role,
};

use crate::support::{Scripted, config, set};

const ISSUER: &str = r#"
    issuer = "https://login.example"
    audiences = ["https://casemate.example"]
    jwks = "https://login.example/keys"
    algorithms = ["EdDSA", "ES256"]
"#;

fn refuse(issuers: Vec<IssuerConfig>) -> ConfigError {
    let issuers = issuers
        .into_iter()
        .map(|config| (config, Scripted::new(&serde_json::json!({})) as _))
        .collect();
    JwtVerifier::with_sources(issuers).unwrap_err()
}

#[test]
fn an_issuer_is_written_in_toml() {
    let read: IssuerConfig = toml::from_str(ISSUER).unwrap();
    assert_eq!(read.algorithms, [Algorithm::EdDsa, Algorithm::Es256].into());
    assert_eq!(read.leeway_s, 30);
    assert_eq!(read.tenant_claim, "tenant");
    let more = format!(
        "{ISSUER}\nleeway_s = 5\ntenant_claim = \"tid\"\n[roles]\n\"Casemate.Approver\" = \"approver\"\n"
    );
    let read: IssuerConfig = toml::from_str(&more).unwrap();
    assert_eq!((read.leeway_s, read.tenant_claim.as_str()), (5, "tid"));
    assert_eq!(read.roles["Casemate.Approver"], Role::Approver);
}

/// I1: what is not known is an error, never a default.
#[test]
fn what_is_not_known_is_refused() {
    for (from, to) in [
        ("ES256", "HS256"),
        ("ES256", "none"),
        ("ES256", "ES512"),
        ("jwks =", "jwks_url ="),
        ("issuer =", "leeway = 1\nissuer ="),
        ("issuer =", "#"),
        ("audiences =", "#"),
        ("algorithms =", "#"),
        ("jwks =", "#"),
    ] {
        let text = ISSUER.replace(from, to);
        assert!(toml::from_str::<IssuerConfig>(&text).is_err(), "{text}");
    }
    let rule = "subject = \"a\"\ntenant = \"b\"\nuri = \"spiffe://x/y\"\n";
    assert!(toml::from_str::<CertRule>(rule).is_ok());
    assert!(toml::from_str::<CertRule>(&format!("{rule}cn = \"x\"\n")).is_err());
    assert!(toml::from_str::<CertRule>(&format!("{rule}roles = [\"root\"]\n")).is_err());
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let with = |change: fn(&mut IssuerConfig)| {
        let mut config = config();
        change(&mut config);
        refuse(vec![config])
    };
    let bad = with(|config| config.issuer = String::new());
    assert!(matches!(bad, ConfigError::Name { what: "issuer", .. }));
    for ours in ["local", "casemate:api-keys", "casemate:certificates"] {
        let issuer = ours.to_owned();
        let bad = refuse(vec![IssuerConfig { issuer, ..config() }]);
        assert!(matches!(bad, ConfigError::Reserved(_)));
    }
    let bad = with(|config| config.audiences = set(&[]));
    assert!(matches!(bad, ConfigError::Audiences(_)));
    let bad = with(|config| config.audiences = set(&[" a"]));
    assert!(matches!(
        bad,
        ConfigError::Name {
            what: "audience",
            ..
        }
    ));
    let bad = with(|config| config.algorithms = [].into());
    assert!(matches!(bad, ConfigError::Algorithms(_)));
    let bad = with(|config| config.leeway_s = 61);
    assert!(matches!(bad, ConfigError::Leeway(_)));
    let bad = with(|config| config.tenant_claim = String::new());
    assert!(matches!(bad, ConfigError::Name { what: "claim", .. }));
    assert!(matches!(
        refuse(vec![config(), config()]),
        ConfigError::IssuerTwice(_)
    ));
    let many = (0..17).map(|n| {
        let issuer = format!("https://i{n}.example");
        IssuerConfig { issuer, ..config() }
    });
    assert!(matches!(
        refuse(many.collect()),
        ConfigError::TooManyIssuers
    ));
}

/// Keys come by HTTPS or from a file of this host, and in no other way.
#[test]
fn keys_come_from_nowhere_else() {
    for place in [
        "http://login.example/keys",
        "HTTPS://login.example/keys",
        "file:///etc/keys",
        "keys.json",
        "../keys.json",
        "",
    ] {
        let jwks = place.to_owned();
        let refused = JwtVerifier::new(vec![IssuerConfig { jwks, ..config() }]).unwrap_err();
        let ConfigError::Keys { source, .. } = refused else {
            panic!("{refused:?}");
        };
        assert!(matches!(source, KeySourceError::Place(_)), "{source:?}");
    }
    let missing = IssuerConfig {
        jwks: "https://login.example/keys".to_owned(),
        authorities: Some("/nowhere/ca.pem".into()),
        ..config()
    };
    assert!(JwtVerifier::new(vec![missing]).is_err());
}
