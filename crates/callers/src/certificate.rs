//! Certificates of TLS clients, after TLS verified their chain.

use std::collections::{BTreeMap, BTreeSet};

use casemate_model::Digest;
use serde::Deserialize;
use x509_cert::{
    Certificate,
    der::{
        Decode as _,
        oid::{AssociatedOid, ObjectIdentifier},
    },
    ext::pkix::{BasicConstraints, ExtendedKeyUsage, SubjectAltName, name::GeneralName},
};

use crate::{
    Authenticator, Bounds, Caller, ConfigError, Refusal, Role,
    issuer::check_name,
    limits::{MAX_CERTIFICATE_BYTES, MAX_CERTIFICATE_NAMES, MAX_CERTIFICATE_RULES},
    names::is_scope,
    random::hex,
};

/// Who says who the holder of a certificate is: these rules.
const ISSUER: &str = "casemate:certificates";
/// The purpose of clients (RFC 5280).
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// Who the holder of a certificate with a certain name is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertRule {
    /// A URI among the alternative names of the certificate, to the byte.
    pub uri: Option<String>,
    /// Or a DNS name among them, in lower case and without a wildcard.
    pub dns: Option<String>,
    /// The caller.
    pub subject: String,
    /// The tenant whose data the caller may touch.
    pub tenant: String,
    /// What the caller may do.
    #[serde(default)]
    pub scopes: BTreeSet<String>,
    /// What the caller is to this gateway.
    #[serde(default)]
    pub roles: BTreeSet<Role>,
}

/// The rules by which certificates name callers.
#[derive(Clone, Debug)]
pub struct CertRules {
    audience: String,
    uris: BTreeMap<String, CertRule>,
    hosts: BTreeMap<String, CertRule>,
}

impl CertRules {
    /// These rules, for callers of `audience`, which is this gateway.
    ///
    /// # Errors
    /// When a rule names nothing, or two name the same.
    pub fn new(audience: &str, rules: Vec<CertRule>) -> Result<Self, ConfigError> {
        if rules.len() > MAX_CERTIFICATE_RULES {
            return Err(ConfigError::TooManyRules);
        }
        check_name("audience", audience)?;
        let (mut uris, mut hosts) = (BTreeMap::new(), BTreeMap::new());
        for rule in rules {
            check_name("subject", &rule.subject)?;
            check_name("tenant", &rule.tenant)?;
            let bad = ConfigError::Rule(rule.subject.clone());
            let scopes_are = rule.scopes.iter().all(|scope| is_scope(scope));
            let (by, name) = match (rule.uri.clone(), rule.dns.clone()) {
                (Some(uri), None) if uri.contains("://") => (&mut uris, uri),
                (None, Some(dns)) if is_host(&dns) => (&mut hosts, dns),
                _ => return Err(bad),
            };
            if !scopes_are {
                return Err(bad);
            }
            if by.insert(name.clone(), rule).is_some() {
                return Err(ConfigError::RuleTwice(name));
            }
        }
        Ok(Self {
            audience: audience.to_owned(),
            uris,
            hosts,
        })
    }
}

/// The caller whom a certificate proves at `now_ms`. Give it the first certificate of a chain that TLS verified, with
/// proof of its key: nothing here does that. Only alternative names count, never the common name.
///
/// # Errors
/// When it is not a certificate of a client, is not valid now, or no rule or more than one names it.
pub fn from_certificate(der: &[u8], rules: &CertRules, now_ms: u64) -> Result<Caller, Refusal> {
    if der.len() > MAX_CERTIFICATE_BYTES {
        return Err(Refusal::TooLarge(MAX_CERTIFICATE_BYTES));
    }
    let certificate = Certificate::from_der(der).map_err(|_| Refusal::Malformed("certificate"))?;
    let signed = certificate.tbs_certificate();
    let ms = |time: x509_cert::time::Time| {
        u64::try_from(time.to_unix_duration().as_millis()).unwrap_or(u64::MAX)
    };
    let (from_ms, last_ms) = (
        ms(signed.validity().not_before),
        ms(signed.validity().not_after),
    );
    if now_ms < from_ms {
        return Err(Refusal::NotYet);
    }
    // The last second is still valid (RFC 5280, 4.1.2.5).
    let expires_at_ms = last_ms.saturating_add(1_000);
    if now_ms >= expires_at_ms {
        return Err(Refusal::Expired);
    }
    let authority: Option<BasicConstraints> = extension(&certificate)?;
    let uses: Option<ExtendedKeyUsage> = extension(&certificate)?;
    if authority.is_some_and(|basic| basic.ca)
        || uses.is_some_and(|uses| !uses.0.contains(&CLIENT_AUTH))
    {
        return Err(Refusal::NotAClient);
    }
    let names: SubjectAltName = extension(&certificate)?.ok_or(Refusal::NoRule)?;
    let rule = rules.of(&names.0)?;
    Ok(Caller {
        issuer: ISSUER.to_owned(),
        subject: rule.subject.clone(),
        tenant: rule.tenant.clone(),
        audience: rules.audience.clone(),
        scopes: rule.scopes.clone(),
        roles: rule.roles.clone(),
        expires_at_ms,
        authority: Authenticator::Certificate,
        credential: format!("sha256:{}", hex(Digest::of(der).as_bytes())),
        behalf: Vec::new(),
        bounds: Bounds::default(),
        presented: None,
    })
}

impl CertRules {
    /// A rule that says of somebody that they are this subject.
    pub(crate) fn rule_of(&self, subject: &str, tenant: &str) -> Option<&CertRule> {
        let mut rules = self.uris.values().chain(self.hosts.values());
        rules.find(|rule| rule.subject == subject && rule.tenant == tenant)
    }

    /// The one rule that names one of `names`.
    fn of(&self, names: &[GeneralName]) -> Result<&CertRule, Refusal> {
        if names.len() > MAX_CERTIFICATE_NAMES {
            return Err(Refusal::Ambiguous);
        }
        let is_uri =
            |name: &&GeneralName| matches!(name, GeneralName::UniformResourceIdentifier(_));
        // A SPIFFE identity is the only URI of its certificate.
        if names.iter().filter(is_uri).count() > 1 {
            return Err(Refusal::Ambiguous);
        }
        let mut found = names.iter().filter_map(|name| match name {
            GeneralName::UniformResourceIdentifier(uri) => self.uris.get(uri.as_str()),
            GeneralName::DnsName(host) => self.hosts.get(host.as_str()),
            _ => None,
        });
        let rule = found.next().ok_or(Refusal::NoRule)?;
        match found.all(|other| std::ptr::eq(other, rule)) {
            true => Ok(rule),
            false => Err(Refusal::Ambiguous),
        }
    }
}

/// The one extension of a kind, if there is one.
fn extension<'a, T: x509_cert::der::Decode<'a, Error = x509_cert::der::Error> + AssociatedOid>(
    certificate: &'a Certificate,
) -> Result<Option<T>, Refusal> {
    let malformed = Refusal::Malformed("certificate");
    let extensions = certificate.tbs_certificate().extensions();
    let mut found = extensions.into_iter().flatten();
    let Some(extension) = found.by_ref().find(|extension| extension.extn_id == T::OID) else {
        return Ok(None);
    };
    if found.any(|other| other.extn_id == T::OID) {
        return Err(malformed);
    }
    T::from_der(extension.extn_value.as_bytes())
        .map(Some)
        .map_err(|_| malformed)
}

fn is_host(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}
