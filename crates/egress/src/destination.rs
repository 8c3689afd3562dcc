//! Where a request goes. All entries make it here.

use std::fmt;

use casemate_model::{DestinationClass, words};

use crate::{Cidr, Code, Denial, Host, Judge, Origin, Vetting};

words! {
    /// How it is spoken to.
    Scheme {
        /// Encrypted.
        Https = "https",
        /// Not encrypted: denied unless a rule allows it, and never with a credential.
        Http = "http",
        /// The protocol of PostgreSQL, encrypted.
        Postgres = "postgres",
    }
}

impl Scheme {
    /// The port when none is written.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
            Self::Postgres => 5432,
        }
    }
}

words! {
    /// How a request came to the proxy.
    Entry {
        /// Through a tunnel that `CONNECT` asked for.
        Connect = "connect",
        /// As an absolute URL.
        Absolute = "absolute",
        /// By a connection to an address that the DNS answerer made up.
        Transparent = "transparent",
        /// By a path of the proxy's own that stands for a base URL.
        Route = "route",
        /// As a question for an address.
        Dns = "dns",
    }
}

/// What a client asks for: scheme, host and port, well spelled and not yet judged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// How it is spoken to.
    pub scheme: Scheme,
    /// Its host.
    pub host: Host,
    /// Its port.
    pub port: u16,
}

impl Target {
    /// Whether `host` and `port` of a request, as one of `Host`, `:authority` and the server name, mean this.
    #[must_use]
    pub fn is(&self, host: &Host, port: Option<u16>) -> bool {
        self.host == *host && self.port == port.unwrap_or(self.scheme.port())
    }

    /// Host and port as `Host` has it: without the port that the scheme stands for.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.port == self.scheme.port() {
            true => self.host.to_string(),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

/// A target that may be connected to: it has a class and a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    target: Target,
    class: DestinationClass,
    pins: Vec<Cidr>,
    rule: String,
}

impl Destination {
    /// The one way to a destination, for all entries.
    ///
    /// # Errors
    /// When no rule is about it, it has no class, is not encrypted without a rule that says so, or is an address that
    /// nobody may connect to.
    pub fn new(
        target: Target,
        origin: &Origin,
        judge: &dyn Judge,
        vetting: &Vetting,
    ) -> Result<Self, Denial> {
        let admitted = judge.admit(&target, origin);
        // An address that is refused anyway is refused by its own name.
        if let Host::Address(address) = target.host {
            let (class, pins) = match &admitted {
                Ok(admission) => (admission.class, admission.pins.as_slice()),
                Err(_) => (DestinationClass::Unknown, [].as_slice()),
            };
            if let Err(code) = vetting.vet(&[address], target.port, class, pins) {
                // What the system takes for itself is said as what it is: no name.
                return Err(match address.is_loopback() || address.is_unspecified() {
                    true if code == Code::AddrPrivate => Code::AddrLiteral.into(),
                    _ => code.into(),
                });
            }
        }
        let admission = admitted.map_err(|denial| match (&target.host, denial.code) {
            (Host::Address(_), Code::EgressDenied) => Denial {
                code: Code::AddrLiteral,
                ..denial
            },
            _ => denial,
        })?;
        if admission.class == DestinationClass::Unknown {
            return Err(Denial {
                rule: Some(admission.rule),
                ..Code::ClassUnknown.into()
            });
        }
        if target.scheme == Scheme::Http && !admission.plaintext {
            return Err(Denial {
                rule: Some(admission.rule),
                ..Code::PlaintextDenied.into()
            });
        }
        Ok(Self {
            target,
            class: admission.class,
            pins: admission.pins,
            rule: admission.rule,
        })
    }

    /// Scheme, host and port.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Whose it is.
    #[must_use]
    pub const fn class(&self) -> DestinationClass {
        self.class
    }

    /// The private blocks in which its addresses may be.
    #[must_use]
    pub fn pins(&self) -> &[Cidr] {
        &self.pins
    }

    /// The rule that let it be connected to.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }
}
