//! The agent's own certificate authority: what the sandbox trusts, and nobody else.

mod leaves;

use std::{fmt, net::IpAddr, sync::Arc};

use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::{CertifiedKey, SigningKey},
};
use time::OffsetDateTime;

use self::leaves::Kept;
pub(crate) use self::leaves::Leaves;
use crate::{
    Clock, Entropy, Host, Name,
    limits::{AUTHORITY_LIFE, BACKDATE, MAX_CONSTRAINTS},
};

/// A part of the name space for which the authority may vouch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subtree {
    /// A name and everything below it.
    Name(Name),
    /// One address.
    Address(IpAddr),
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// An authority for nothing, or for more than it can be held to.
    #[error("an authority vouches for 1 to {MAX_CONSTRAINTS} names")]
    Subtrees,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a serial number")]
    Entropy(#[source] std::io::Error),
    /// A key could not be made.
    #[error("cannot make a key")]
    Key(#[source] rcgen::Error),
    /// A certificate could not be signed.
    #[error("cannot sign a certificate")]
    Sign(#[source] rcgen::Error),
    /// The clock shows a time that no certificate can hold.
    #[error("the clock shows no time that a certificate can hold")]
    Time,
    /// The TLS library does not take the key or the certificate.
    #[error("the TLS library refuses the certificate")]
    Load(#[source] rustls::Error),
}

/// An authority of one agent. Its keys are in this process's memory and nowhere else; a copy of a sandbox gets another.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    leaf_key: KeyPair,
    /// The same key, as TLS signs with it.
    leaf_signer: Arc<dyn SigningKey>,
    kept: Kept,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    entropy: Arc<dyn Entropy>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// An authority that begins now, ends in a day, and can vouch for nothing but `subtrees`.
    ///
    /// # Errors
    /// When there are no subtrees or too many, or keys cannot be made.
    pub fn new(
        subtrees: &[Subtree],
        clock: &dyn Clock,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, AuthorityError> {
        if subtrees.is_empty() || subtrees.len() > MAX_CONSTRAINTS {
            return Err(AuthorityError::Subtrees);
        }
        let seconds = i64::try_from(clock.now_ms() / 1_000).map_err(|_| AuthorityError::Time)?;
        let now = OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Time)?;
        let not_before = now.checked_sub(BACKDATE.try_into().map_err(|_| AuthorityError::Time)?);
        let not_after = now.checked_add(
            AUTHORITY_LIFE
                .try_into()
                .map_err(|_| AuthorityError::Time)?,
        );
        let (not_before, not_after) = not_before.zip(not_after).ok_or(AuthorityError::Time)?;
        let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Key);
        let mut params = CertificateParams::default();
        // The same for each: sandboxes have its hash as the name of a file.
        params.distinguished_name = called("Casemate agent");
        params.not_before = not_before;
        params.not_after = not_after;
        params.serial_number = Some(serial(entropy.as_ref())?);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.name_constraints = Some(constraints(subtrees));
        let ca_key = key()?;
        let certificate = params.self_signed(&ca_key).map_err(AuthorityError::Sign)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let leaf_key = key()?;
        let signer = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let signer = provider.key_provider.load_private_key(signer);
        Ok(Self {
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, ca_key),
            leaf_key,
            leaf_signer: signer.map_err(AuthorityError::Load)?,
            kept: Kept::default(),
            not_before,
            not_after,
            entropy,
            provider,
        })
    }

    /// Its certificate, for the sandbox to trust.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Its certificate as the text that trust stores take.
    #[must_use]
    pub fn pem(&self) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(&self.certificate);
        let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
        for (at, char) in text.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(char);
        }
        pem + "\n-----END CERTIFICATE-----\n"
    }

    /// A certificate for `host`: the one that any call of the agent has had already, or a new one.
    pub(crate) fn leaf(&self, host: &Host) -> Result<Arc<CertifiedKey>, AuthorityError> {
        self.kept.get_or_make(host, || self.mint(host))
    }

    /// One key serves all, so that a new host costs one signature.
    fn mint(&self, host: &Host) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = called("Casemate");
        params.not_before = self.not_before;
        params.not_after = self.not_after;
        params.serial_number = Some(serial(self.entropy.as_ref())?);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = vec![match host {
            Host::Address(address) => SanType::IpAddress(*address),
            Host::Name(name) => {
                SanType::DnsName(name.as_str().try_into().map_err(AuthorityError::Sign)?)
            }
        }];
        let leaf = params
            .signed_by(&self.leaf_key, &self.issuer)
            .map_err(AuthorityError::Sign)?;
        let chain = vec![leaf.der().clone(), self.certificate.clone()];
        let key = CertifiedKey::new(chain, Arc::clone(&self.leaf_signer));
        Ok(Arc::new(key))
    }

    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        Arc::clone(&self.provider)
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// 128 unpredictable bits, never negative.
fn serial(entropy: &dyn Entropy) -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes).map_err(AuthorityError::Entropy)?;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Nothing but `subtrees`: without a name, every name is excluded; without an address, every address.
fn constraints(subtrees: &[Subtree]) -> NameConstraints {
    let permitted: Vec<_> = subtrees
        .iter()
        .map(|subtree| match subtree {
            Subtree::Name(name) => GeneralSubtree::DnsName(name.to_string()),
            Subtree::Address(address) => {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(*address, bits))
            }
        })
        .collect();
    let mut excluded = Vec::new();
    if !subtrees
        .iter()
        .any(|subtree| matches!(subtree, Subtree::Name(_)))
    {
        excluded.push(GeneralSubtree::DnsName(String::new()));
    }
    if !subtrees
        .iter()
        .any(|subtree| matches!(subtree, Subtree::Address(_)))
    {
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix(
            [0; 4], 0,
        )));
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(
            [0; 16], 0,
        )));
    }
    NameConstraints {
        permitted_subtrees: permitted,
        excluded_subtrees: excluded,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A clock that stands.
    #[derive(Debug)]
    pub(crate) struct Fixed(pub(crate) u64);

    impl Clock for Fixed {
        fn now_ms(&self) -> u64 {
            self.0
        }
    }

    /// Bytes that never repeat.
    #[derive(Debug, Default)]
    pub(crate) struct Seeded(AtomicU64);

    impl Entropy for Seeded {
        fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
            let next = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
            for (to, from) in bytes.iter_mut().zip(next.iter().cycle()) {
                *to = *from;
            }
            Ok(())
        }
    }

    #[test]
    fn an_authority_of_nothing_is_refused() {
        let entropy = Arc::new(Seeded::default());
        let none = Authority::new(&[], &Fixed(0), Arc::clone(&entropy) as _);
        assert!(matches!(none, Err(AuthorityError::Subtrees)));
        let many = vec![Subtree::Address([10, 0, 0, 1].into()); MAX_CONSTRAINTS + 1];
        assert!(matches!(
            Authority::new(&many, &Fixed(0), entropy),
            Err(AuthorityError::Subtrees)
        ));
    }

    #[test]
    fn no_randomness_is_no_certificate() {
        #[derive(Debug)]
        struct Dry;
        impl Entropy for Dry {
            fn fill(&self, _: &mut [u8]) -> std::io::Result<()> {
                Err(std::io::Error::other("none"))
            }
        }
        let subtree = Subtree::Address([10, 0, 0, 1].into());
        let none = Authority::new(&[subtree], &Fixed(0), Arc::new(Dry));
        assert!(matches!(none, Err(AuthorityError::Entropy(_))));
    }
}
