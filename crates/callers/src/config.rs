//! The file that says who may call over a network.

use casemate_model::one_line;
use serde::Deserialize;
use toml::Spanned;

use crate::{
    CertRule, CertRules, ConfigError, IssuerConfig, JwtVerifier,
    issuer::{check_issuer, check_name},
    limits::MAX_CONFIG_BYTES,
};

/// Who may call over a network, as a file says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The name of this gateway: what credentials of its own are for.
    audience: Spanned<String>,
    /// The issuers whose tokens count.
    #[serde(default)]
    issuer: Vec<Spanned<IssuerConfig>>,
    /// Who the holders of certificates are.
    #[serde(default)]
    certificate: Vec<Spanned<CertRule>>,
    /// That API keys of this gateway count.
    api_keys: Option<Section>,
    /// That authority may be given on.
    envelopes: Option<EnvelopeConfig>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeConfig {
    /// How this gateway names itself in envelopes.
    issuer: Spanned<String>,
}

/// What is wrong with the file, and where.
#[derive(Debug, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ConfigFault {
    /// The line, from 1 on.
    pub line: usize,
    /// The column, from 1 on, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

/// What the file comes to.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) audience: String,
    pub(crate) jwt: JwtVerifier,
    pub(crate) certificates: CertRules,
    pub(crate) api_keys: bool,
    pub(crate) envelopes: Option<String>,
    pub(crate) takes_certificates: bool,
}

impl Config {
    /// Reads the text of the file, and checks all of it.
    ///
    /// # Errors
    /// Everything that is wrong; where the text is no TOML of this form, the first such place.
    pub(crate) fn read(text: &str) -> Result<Parts, Vec<ConfigFault>> {
        if text.len() > MAX_CONFIG_BYTES {
            let message = format!("the file has more than {MAX_CONFIG_BYTES} bytes");
            return Err(vec![fault(text, 0, message)]);
        }
        let config: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            vec![fault(text, at, error.message().to_owned())]
        })?;
        config.parts(text)
    }

    fn parts(self, text: &str) -> Result<Parts, Vec<ConfigFault>> {
        let mut faults = Vec::new();
        let mut note = |at: usize, error: &ConfigError| {
            faults.push(fault(text, at, one_line(error)));
        };
        let at = self.audience.span().start;
        if let Err(error) = check_name("audience", self.audience.get_ref()) {
            note(at, &error);
        }
        let envelopes = self.envelopes.map(|section| section.issuer);
        if let Some(issuer) = &envelopes {
            let mut others = self.issuer.iter().map(|other| &other.get_ref().issuer);
            let checked = match others.any(|other| other == issuer.get_ref()) {
                // Else nobody could tell whose word a name is.
                true => Err(ConfigError::IssuerTwice(issuer.get_ref().clone())),
                false => check_issuer(issuer.get_ref()),
            };
            if let Err(error) = checked {
                note(issuer.span().start, &error);
            }
        }
        // One by one, so that each fault has its place; then together, for what is there twice.
        for issuer in &self.issuer {
            if let Err(error) = JwtVerifier::new(vec![issuer.get_ref().clone()]) {
                note(issuer.span().start, &error);
            }
        }
        for rule in &self.certificate {
            if let Err(error) = CertRules::new("any", vec![rule.get_ref().clone()]) {
                note(rule.span().start, &error);
            }
        }
        if self.issuer.is_empty() && self.certificate.is_empty() && self.api_keys.is_none() {
            let message = "nobody could call: add [[issuer]], [[certificate]] or [api_keys]";
            faults.push(fault(text, 0, message.to_owned()));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let whole = |error: ConfigError| vec![fault(text, 0, one_line(&error))];
        let issuers = self.issuer.into_iter().map(Spanned::into_inner);
        let rules = self.certificate.into_iter().map(Spanned::into_inner);
        let rules: Vec<_> = rules.collect();
        let audience = self.audience.into_inner();
        Ok(Parts {
            jwt: JwtVerifier::new(issuers.collect()).map_err(whole)?,
            takes_certificates: !rules.is_empty(),
            certificates: CertRules::new(&audience, rules).map_err(whole)?,
            api_keys: self.api_keys.is_some(),
            envelopes: envelopes.map(Spanned::into_inner),
            audience,
        })
    }
}

fn fault(text: &str, at: usize, message: String) -> ConfigFault {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    ConfigFault {
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
        message,
    }
}
