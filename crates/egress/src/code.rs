//! Why something was refused, in words that stay.

use casemate_model::words;
use http::StatusCode;

words! {
    /// The stable names of refusals.
    Code {
        /// An address where a name belongs: as digits of any spelling, or one that no rule names.
        AddrLiteral = "addr_literal",
        /// A private network or this machine.
        AddrPrivate = "addr_private",
        /// A metadata service.
        AddrMetadata = "addr_metadata",
        /// An address that carries an IPv4 address to which there may be no connection.
        AddrEmbeddedV4 = "addr_embedded_v4",
        /// An address that is nobody's.
        AddrReserved = "addr_reserved",
        /// Good and bad addresses in one answer.
        AddrMixed = "addr_mixed",
        /// A listener of ours.
        AddrSelf = "addr_self",
        /// The name has no address, or the resolver does not answer.
        DnsFail = "dns_fail",
        /// No host and port, in no spelling that is accepted.
        HostSyntax = "host_syntax",
        /// The destination has no class.
        ClassUnknown = "class_unknown",
        /// No rule allows it.
        EgressDenied = "egress_denied",
        /// A person must consent, or did not.
        ApprovalRequired = "approval_required",
        /// A program of the operator's does not let it pass, or cannot be asked.
        DeciderDenied = "decider_denied",
        /// Part of a host of many tenants, and not ours.
        TenantBoundary = "tenant_boundary",
        /// The credential is not for this request.
        CredScope = "cred_scope",
        /// No more bytes or requests.
        BudgetExhausted = "budget_exhausted",
        /// A method that is never forwarded, or one that hides another.
        MethodRefused = "method_refused",
        /// Where a request begins or ends can be read in two ways.
        Framing = "framing",
        /// A head that is longer than any good one.
        HeadTooLarge = "head_too_large",
        /// A path that can be read in two ways.
        PathAmbiguous = "path_ambiguous",
        /// `Expect` with something else than `100-continue`.
        Expectation = "expectation",
        /// Another protocol was asked for, and not WebSocket, or not as its rules are.
        UpgradeRefused = "upgrade_refused",
        /// More body than may be judged.
        BodyTooLarge = "body_too_large",
        /// Names that must be one name and are not.
        AuthorityMismatch = "authority_mismatch",
        /// No whole ClientHello in time.
        HelloTimeout = "hello_timeout",
        /// Bytes that are neither TLS nor what may be here.
        NotTls = "not_tls",
        /// Bytes that begin no connection of PostgreSQL.
        NotPostgres = "not_postgres",
        /// A login as somebody or to something else than the rule says, or one that the destination does not want.
        LoginRefused = "login_refused",
        /// A destination that lets in whoever comes: it wants no proof of a login.
        LoginUnproven = "login_unproven",
        /// The client did not take our certificate: it expects the real one, or it lacks the agent's authority.
        PinnedClient = "pinned_client",
        /// A handshake that failed for another reason.
        TlsHandshake = "tls_handshake",
        /// Not encrypted.
        PlaintextDenied = "plaintext_denied",
        /// The certificate of the destination does not prove that it is the destination.
        UpstreamCert = "upstream_cert",
        /// The destination cannot be reached.
        UpstreamConnect = "upstream_connect",
        /// The destination does not speak as it must.
        UpstreamProtocol = "upstream_protocol",
        /// Nothing in time.
        Timeout = "timeout",
        /// The credential cannot be had.
        CredUnavailable = "cred_unavailable",
        /// Nothing can be recorded.
        RecordUnavailable = "record_unavailable",
        /// The answer was held back.
        ResponseBlocked = "response_blocked",
        /// A message of a WebSocket that its rule does not allow.
        FrameRefused = "frame_refused",
        /// Too much at once.
        TooMany = "too_many",
        /// The right to it was taken back.
        Revoked = "revoked",
        /// The client went away.
        ClientGone = "client_gone",
    }
}

impl Code {
    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::HostSyntax | Self::Framing | Self::PathAmbiguous | Self::UpgradeRefused => {
                StatusCode::BAD_REQUEST
            }
            Self::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::AuthorityMismatch => StatusCode::MISDIRECTED_REQUEST,
            Self::BudgetExhausted | Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::DnsFail
            | Self::UpstreamCert
            | Self::UpstreamConnect
            | Self::UpstreamProtocol
            | Self::ResponseBlocked => StatusCode::BAD_GATEWAY,
            Self::CredUnavailable | Self::RecordUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout | Self::HelloTimeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::FORBIDDEN,
        }
    }

    /// What to do about it. Nothing of the request is repeated.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::AddrLiteral => "name the host instead of an address",
            Self::AddrPrivate => {
                "private addresses need a rule of class internal with a CIDR of its own"
            }
            Self::AddrMetadata => "metadata services are closed; use the credential of a rule",
            Self::AddrEmbeddedV4 | Self::AddrReserved => "this address cannot be connected to",
            Self::AddrMixed => "the name has private and public addresses: mend its records",
            Self::AddrSelf => "this is the proxy itself",
            Self::DnsFail => "the name has no address: check it, and the resolver",
            Self::HostSyntax => "write host:port in ASCII, without user, brackets or escapes",
            Self::ClassUnknown => "give the destination a class in the profile",
            Self::EgressDenied => "add the destination to the profile's egress rules",
            Self::ApprovalRequired => "a person must approve this request",
            Self::DeciderDenied => "the operator's decider does not let this request pass",
            Self::TenantBoundary => "the rule pins another tenant of this host",
            Self::CredScope => "the credential is not for this method or path",
            Self::BudgetExhausted => "the budget is used up",
            Self::MethodRefused => "this method is not forwarded; method overrides are not either",
            Self::Framing => "send one unambiguous HTTP request: one Host, one length",
            Self::HeadTooLarge => "send fewer or shorter header fields",
            Self::PathAmbiguous => "send the path in its plain form, without dot segments",
            Self::Expectation => "expect nothing but 100-continue",
            Self::UpgradeRefused => "only WebSocket over HTTP/1.1 can be upgraded to",
            Self::BodyTooLarge => "the whole body is judged: send less",
            Self::AuthorityMismatch => "CONNECT host, server name and Host must be the same",
            Self::HelloTimeout => "send the whole ClientHello at once",
            Self::NotTls => "only TLS is accepted here",
            Self::NotPostgres => "only version 3.0 of the protocol of PostgreSQL is spoken here",
            Self::LoginRefused => {
                "log in as the user and to the database of the rule; test its credential"
            }
            Self::LoginUnproven => "have the database ask this user for a password (pg_hba.conf)",
            Self::PinnedClient => "make the client trust the agent's certificate authority",
            Self::TlsHandshake => "use TLS 1.2 or 1.3 with HTTP/2 or HTTP/1.1",
            Self::PlaintextDenied => "use https; plain HTTP needs a rule that says so",
            Self::UpstreamCert => "the destination's certificate is not valid for its name",
            Self::UpstreamConnect => "the destination does not accept connections",
            Self::UpstreamProtocol => "the destination does not speak its protocol as it must",
            Self::Timeout => "nothing came in time: try again",
            Self::CredUnavailable => "the credential cannot be had now",
            Self::RecordUnavailable => "records cannot be written, so nothing is sent",
            Self::ResponseBlocked => "the answer could not be checked, and was held back",
            Self::FrameRefused => "the rule does not allow this kind or size of message",
            Self::TooMany => "too many at once: try again later",
            Self::Revoked => "the right to this destination was taken back",
            Self::ClientGone => "the client closed the connection",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_code() {
        let page = include_str!("../../../docs/egress.md");
        let listed: Vec<_> = page
            .lines()
            .filter_map(|line| {
                line.strip_prefix("| `")?
                    .split_once("` | ")
                    .map(|(code, _)| code)
            })
            .filter_map(Code::from_word)
            .collect();
        assert_eq!(listed, Code::ALL);
    }

    #[test]
    fn every_refusal_is_an_error_and_says_what_to_do() {
        for code in Code::ALL {
            assert!(
                code.status().is_client_error() || code.status().is_server_error(),
                "{code}"
            );
            assert!(
                code.hint().len() > 10 && !code.hint().contains(['"', '\\']),
                "{code}"
            );
        }
    }
}
