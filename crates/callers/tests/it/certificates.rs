//! Client certificates, by rules.

use casemate_callers::{
    Authenticator, Caller, CertRule, CertRules, ConfigError, MAX_CERTIFICATE_BYTES, Permission,
    Refusal, RefusalCode as Code, Role, from_certificate,
};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType, date_time_ymd,
};

use crate::support::{AUDIENCE, NOW, refused, set};

const SPIFFE: &str = "spiffe://acme.example/ns/prod/sa/billing";
const HOST: &str = "billing.acme.example";

fn rule(uri: Option<&str>, dns: Option<&str>, subject: &str) -> CertRule {
    CertRule {
        uri: uri.map(str::to_owned),
        dns: dns.map(str::to_owned),
        subject: subject.to_owned(),
        tenant: "acme".to_owned(),
        scopes: set(&["calls:run"]),
        roles: [Role::Operator].into(),
    }
}

fn rules() -> CertRules {
    let rules = vec![
        rule(Some(SPIFFE), None, "billing"),
        rule(None, Some(HOST), "billing-host"),
    ];
    CertRules::new(AUDIENCE, rules).unwrap()
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn params(names: &[SanType]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "nobody");
    params.subject_alt_names = names.to_vec();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2028, 1, 1);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn der(params: &CertificateParams) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

fn of(names: &[SanType]) -> Result<Caller, Refusal> {
    from_certificate(&der(&params(names)), &rules(), NOW)
}

/// R136: a certificate is who a rule says that its name is.
#[test]
fn a_rule_names_the_caller() {
    let caller = of(&[uri(SPIFFE)]).unwrap();
    assert_eq!(caller.subject(), "billing");
    assert_eq!((caller.tenant(), caller.audience()), ("acme", AUDIENCE));
    assert_eq!(*caller.scopes(), set(&["calls:run"]));
    assert_eq!(caller.authority(), Authenticator::Certificate);
    assert!(caller.credential().starts_with("sha256:"));
    assert_eq!(caller.expires_at_ms(), 1_830_297_601_000);
    assert!(caller.may(Permission::RunCalls));
    assert_eq!(of(&[dns(HOST)]).unwrap().subject(), "billing-host");
    let other_names = [dns("else.example"), uri(SPIFFE)];
    assert_eq!(of(&other_names).unwrap().subject(), "billing");
}

/// Names count to the byte.
#[test]
fn no_other_name_will_do() {
    for name in [
        "spiffe://acme.example/ns/prod/sa/billing/",
        "spiffe://acme.example/ns/prod/sa/billing2",
        "spiffe://acme.example/ns/prod/sa",
        "spiffe://ACME.example/ns/prod/sa/billing",
        "SPIFFE://acme.example/ns/prod/sa/billing",
        "spiffe://evil.example/ns/prod/sa/billing",
        "spiffe://acme.example/ns/prod/sa/%62illing",
        HOST,
    ] {
        refused(of(&[uri(name)]), Code::NoRule);
    }
    for name in [
        "Billing.acme.example",
        "billing.acme.example.",
        "*.acme.example",
        "acme.example",
        SPIFFE,
    ] {
        refused(of(&[dns(name)]), Code::NoRule);
    }
    let mail = SanType::Rfc822Name(HOST.try_into().unwrap());
    refused(of(&[mail]), Code::NoRule);
    refused(of(&[]), Code::NoRule);
}

/// The common name is a text that anybody can ask for.
#[test]
fn the_common_name_counts_for_nothing() {
    for names in [vec![], vec![dns("else.example")]] {
        let mut params = params(&names);
        params.distinguished_name.push(DnType::CommonName, HOST);
        refused(from_certificate(&der(&params), &rules(), NOW), Code::NoRule);
        params.distinguished_name.push(DnType::CommonName, SPIFFE);
        refused(from_certificate(&der(&params), &rules(), NOW), Code::NoRule);
    }
}

#[test]
fn a_certificate_names_one_caller() {
    refused(of(&[uri(SPIFFE), dns(HOST)]), Code::Ambiguous);
    refused(
        of(&[uri(SPIFFE), uri("spiffe://else.example/x")]),
        Code::Ambiguous,
    );
    let same_twice = [dns(HOST), dns(HOST)];
    assert!(of(&same_twice).is_ok());
    let many: Vec<_> = (0..33).map(|n| dns(&format!("h{n}.example"))).collect();
    refused(of(&many), Code::Ambiguous);
}

/// R136: TLS looked at the time when the connection was made; a connection can last longer.
#[test]
fn time_is_looked_at_again() {
    let der = der(&params(&[uri(SPIFFE)]));
    let at = |seconds: u64| from_certificate(&der, &rules(), seconds * 1_000);
    let (from, last) = (1_767_225_600, 1_830_297_600);
    refused(at(0), Code::NotYet);
    refused(at(from - 1), Code::NotYet);
    assert!(at(from).is_ok() && at(last).is_ok());
    refused(at(last + 1), Code::Expired);
}

#[test]
fn authorities_and_servers_are_no_clients() {
    let mut authority = params(&[uri(SPIFFE)]);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    refused(
        from_certificate(&der(&authority), &rules(), NOW),
        Code::NotAClient,
    );
    let mut server = params(&[uri(SPIFFE)]);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    refused(
        from_certificate(&der(&server), &rules(), NOW),
        Code::NotAClient,
    );
    let mut any = params(&[uri(SPIFFE)]);
    any.extended_key_usages = Vec::new();
    assert!(from_certificate(&der(&any), &rules(), NOW).is_ok());
}

/// Two readers could each take another of two extensions.
#[test]
fn an_extension_that_is_there_twice_is_refused() {
    let mut params = params(&[uri(SPIFFE)]);
    // [6] "spiffe://x/" in a sequence.
    let names = [&[0x30, 13, 0x86, 11][..], b"spiffe://x/"].concat();
    let second = CustomExtension::from_oid_content(&[2, 5, 29, 17], names);
    params.custom_extensions.push(second);
    refused(
        from_certificate(&der(&params), &rules(), NOW),
        Code::Malformed,
    );
}

/// I1, I15: what is no certificate is nobody, and nothing makes the reader fail otherwise.
#[test]
fn garbage_is_refused() {
    let good = der(&params(&[uri(SPIFFE)]));
    refused(from_certificate(&[], &rules(), NOW), Code::Malformed);
    refused(
        from_certificate(b"-----BEGIN CERTIFICATE-----", &rules(), NOW),
        Code::Malformed,
    );
    refused(
        from_certificate(&vec![0x30; MAX_CERTIFICATE_BYTES + 1], &rules(), NOW),
        Code::TooLarge,
    );
    let longer = [good.as_slice(), &[0]].concat();
    refused(from_certificate(&longer, &rules(), NOW), Code::Malformed);
    for end in 0..good.len() {
        refused(
            from_certificate(&good[..end], &rules(), NOW),
            Code::Malformed,
        );
    }
    // A changed bit is for TLS to find. Here it must only not name somebody else.
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut changed = good.clone();
            changed[at] ^= 1 << bit;
            if let Ok(caller) = from_certificate(&changed, &rules(), NOW) {
                assert_eq!(caller.subject(), "billing");
            }
        }
    }
}

#[test]
fn rules_are_plain() {
    let refuse = |rules: Vec<CertRule>| CertRules::new(AUDIENCE, rules).unwrap_err();
    for bad in [
        rule(None, None, "x"),
        rule(Some(SPIFFE), Some(HOST), "x"),
        rule(Some("acme"), None, "x"),
        rule(None, Some("*.acme.example"), "x"),
        rule(None, Some("Acme.example"), "x"),
        rule(None, Some(""), "x"),
    ] {
        assert!(matches!(refuse(vec![bad]), ConfigError::Rule(_)));
    }
    assert!(matches!(
        refuse(vec![rule(Some(SPIFFE), None, "")]),
        ConfigError::Name { .. }
    ));
    let two = vec![rule(Some(SPIFFE), None, "a"), rule(Some(SPIFFE), None, "b")];
    assert!(matches!(refuse(two), ConfigError::RuleTwice(_)));
    let many = vec![rule(Some(SPIFFE), None, "a"); 1_025];
    assert!(matches!(refuse(many), ConfigError::TooManyRules));
    let none = CertRules::new(AUDIENCE, Vec::new()).unwrap();
    let der = der(&params(&[uri(SPIFFE)]));
    refused(from_certificate(&der, &none, NOW), Code::NoRule);
}
