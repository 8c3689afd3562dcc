//! What the keys say together.

use super::Config;

/// Something that cannot be followed as it is said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contradiction {
    pub(crate) what: String,
    pub(crate) hint: &'static str,
}

impl Config {
    /// Everything that contradicts itself. With `has_callers`, it is known who may call though no file says it.
    pub(crate) fn contradictions(&self, has_callers: bool) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut note = |what: String, hint| found.push(Contradiction { what, hint });
        let tls = &self.tls;
        let has_callers = has_callers || self.callers.is_some();
        match self.listen {
            None if self.callers.is_some() || tls.certificate.is_some() => note(
                "--callers and --tls-cert are for a network, and there is none".to_owned(),
                "add --listen with an address",
            ),
            Some(address) if !has_callers => note(
                format!("nobody says who may call on {address}"),
                "name a file with --callers: docs/callers.md has one to begin with",
            ),
            _ => {}
        }
        if tls.certificate.is_some() != tls.key.is_some() {
            note(
                "a certificate and its key go together, and there is one of them".to_owned(),
                "name both --tls-cert and --tls-key",
            );
        }
        if tls.client_ca.is_some() && tls.certificate.is_none() {
            note(
                "--client-ca is for TLS, and there is none".to_owned(),
                "name --tls-cert and --tls-key",
            );
        }
        if let Some(address) = self.listen
            && tls.certificate.is_none()
            && !address.ip().is_loopback()
        {
            note(
                format!("`{address}` can be reached from other hosts, and there is no TLS"),
                "name --tls-cert and --tls-key, or listen on 127.0.0.1",
            );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_contradictions_are_found_at_once() {
        let mut config = Config {
            listen: Some("0.0.0.0:1".parse().unwrap()),
            ..Config::default()
        };
        config.tls.key = Some("key".into());
        config.tls.client_ca = Some("ca".into());
        assert_eq!(config.contradictions(false).len(), 4);
        assert_eq!(config.contradictions(true).len(), 3);
        config.tls.certificate = Some("cert".into());
        assert_eq!(config.contradictions(true), []);
        assert_eq!(config.contradictions(false).len(), 1);
        config.listen = None;
        assert_eq!(config.contradictions(true).len(), 1);
        assert_eq!(Config::default().contradictions(false), []);
    }
}
