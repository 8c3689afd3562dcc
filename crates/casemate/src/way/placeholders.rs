//! What programs get where their platform would give them credentials: something that is worth nothing outside of their call, and which the
//! credential of a rule takes the place of.

mod platforms;

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use casemate_egress::{Clock, Enquiry, Entropy, Placeholders};
use casemate_ports::WayBound;
use http::{HeaderMap, HeaderName, Response, header};

use self::platforms::Given;
use super::credentials::Lent;

/// The fields of a signature of AWS.
const AWS_FIELDS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-amz-content-sha256"),
    HeaderName::from_static("x-amz-date"),
    HeaderName::from_static("x-amz-security-token"),
];

/// Makes the placeholders of sessions: a client that lives from one call to the next keeps what it was given first. They are as good as random
/// to whoever does not have the key, which is this process's.
#[derive(Debug)]
pub(super) struct Stamp(hmac::Key);

impl Stamp {
    /// With a fresh key. Nothing if there is no chance.
    pub(super) fn new(entropy: &dyn Entropy) -> Option<Self> {
        let mut key = [0; 32];
        entropy.fill(&mut key).ok()?;
        Some(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// Those of the session of a call; nothing if it is in none.
    fn of(&self, bound: &WayBound) -> Option<[u128; 2]> {
        let session = bound.session?.to_string();
        let mut context = hmac::Context::with_key(&self.0);
        for part in [&bound.tenant, &bound.agent, &session] {
            // A length tells where the one name ends.
            context.update(&part.len().to_be_bytes());
            context.update(part.as_bytes());
        }
        let tag = context.sign();
        let (token, key_id) = tag.as_ref().split_at_checked(16)?;
        let number = |half: &[u8]| half.try_into().ok().map(u128::from_be_bytes);
        Some([number(token)?, number(key_id)?])
    }
}

/// The placeholders of one call: those of its session, if it is in one.
#[derive(Debug)]
pub(super) struct OfCall {
    lent: Arc<Lent>,
    /// Whether a rule for requests has a credential: one for logins only is nothing that platforms give.
    has_platform: bool,
    clock: Arc<dyn Clock>,
    token: String,
    key_id: String,
}

impl OfCall {
    /// For a call to which this is lent, and whose rules have credentials for requests, or not. Nothing if there is no chance.
    pub(super) fn new(
        lent: Arc<Lent>,
        has_platform: bool,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        session: Option<(&Stamp, &WayBound)>,
    ) -> Option<Self> {
        let random = || {
            let mut bytes = [0; 16];
            entropy.fill(&mut bytes).ok()?;
            Some(u128::from_be_bytes(bytes))
        };
        let of_session = session.and_then(|(stamp, bound)| stamp.of(bound));
        let [token, key_id] = match of_session {
            Some(both) => both,
            None => [random()?, random()?],
        };
        Some(Self {
            lent,
            has_platform,
            clock,
            token: format!("casemate-placeholder-{token:032x}"),
            // As long as programs expect it to be.
            key_id: format!("ASIA{}", format!("{key_id:032X}").get(..16)?),
        })
    }

    /// Whether somebody proves with the placeholder as a password who they are, whoever that is.
    fn is_password(&self, proof: &[u8]) -> bool {
        let pair = proof.strip_prefix(b"Basic ");
        let pair = pair.and_then(|pair| STANDARD.decode(pair).ok());
        pair.is_some_and(|pair| {
            let mut parts = pair.splitn(2, |byte| *byte == b':');
            parts.nth(1) == Some(self.token.as_bytes())
        })
    }

    /// Whether the signature is one by the placeholder, over a body that can be signed again.
    fn is_signed(&self, proof: &[u8], fields: &HeaderMap) -> bool {
        let begins = format!("AWS4-HMAC-SHA256 Credential={}/", self.key_id);
        let [_, body, _, _] = AWS_FIELDS;
        let in_chunks = |value: &http::HeaderValue| value.as_bytes().starts_with(b"STREAMING");
        proof.starts_with(begins.as_bytes()) && !fields.get_all(body).iter().any(in_chunks)
    }
}

impl Placeholders for OfCall {
    fn give(&self, enquiry: &Enquiry<'_>) -> Option<Response<Bytes>> {
        platforms::answer(
            enquiry,
            self.has_platform().then(|| Given {
                token: &self.token,
                key_id: &self.key_id,
                now_ms: self.clock.now_ms(),
            }),
        )
    }

    fn has_platform(&self) -> bool {
        self.has_platform && self.lent.lends()
    }

    fn take(&self, fields: &mut HeaderMap) {
        let mut proofs = fields.get_all(header::AUTHORIZATION).iter();
        let (Some(proof), None) = (proofs.next(), proofs.next()) else {
            return;
        };
        let proof = proof.as_bytes();
        if proof == format!("Bearer {}", self.token).as_bytes() || self.is_password(proof) {
            fields.remove(header::AUTHORIZATION);
        } else if self.is_signed(proof, fields) {
            for name in AWS_FIELDS {
                fields.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use casemate_model::{Digest, SessionId};
    use http::HeaderValue;

    use super::*;
    use crate::system::System;

    fn placeholders() -> OfCall {
        of(None)
    }

    fn of(session: Option<(&Stamp, &WayBound)>) -> OfCall {
        let lent = Lent::nothing("a test");
        OfCall::new(lent, true, Arc::new(System), &System, session).unwrap()
    }

    fn fields(all: &[(&'static str, &str)]) -> HeaderMap {
        let all = all.iter();
        all.map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
    }

    /// R72, R75, I2: a placeholder is taken out where it belongs, and nowhere else: what is not exactly it, is in another place, or is another call's,
    /// stays, and is refused by the rules as whatever a program brings.
    #[test]
    fn a_placeholder_is_taken_from_its_place_only() {
        let (ours, theirs) = (placeholders(), placeholders());
        let bearer = |of: &OfCall| format!("Bearer {}", of.token);
        let signed = |of: &OfCall| {
            format!(
                "AWS4-HMAC-SHA256 Credential={}/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host, Signature=00",
                of.key_id
            )
        };
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (proof, is_taken) in [
            (basic(&format!("anybody:{}", ours.token)), true),
            (basic(&format!("anybody:{}", theirs.token)), false),
            (basic(&format!("{}:other", ours.token)), false),
            (basic(&format!("a:b:{}", ours.token)), false),
            (basic(&ours.token), false),
            (bearer(&ours), true),
            (signed(&ours), true),
            (bearer(&theirs), false),
            (signed(&theirs), false),
            (format!("{} ", bearer(&ours)), false),
            (format!("x {}", bearer(&ours)), false),
            (bearer(&ours).to_uppercase(), false),
            (format!("Basic {}", ours.token), false),
            ("Bearer casemate-placeholder-".to_owned(), false),
        ] {
            let mut one = fields(&[
                ("authorization", &proof),
                ("x-amz-date", "20260101T000000Z"),
            ]);
            ours.take(&mut one);
            assert_eq!(one.get("authorization").is_none(), is_taken, "{proof}");
        }
        let mut elsewhere = fields(&[("x-api-key", &bearer(&ours)), ("cookie", &ours.token)]);
        let before = elsewhere.clone();
        ours.take(&mut elsewhere);
        assert_eq!(elsewhere, before);
        let mut twice = fields(&[("authorization", &bearer(&ours))]);
        twice.append("authorization", HeaderValue::from_static("Bearer other"));
        ours.take(&mut twice);
        assert_eq!(twice.get_all("authorization").iter().count(), 2);
        // C29: what is signed chunk by chunk cannot be signed again.
        let streaming = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
        let mut chunks = fields(&[
            ("authorization", &signed(&ours)),
            ("x-amz-content-sha256", streaming),
        ]);
        ours.take(&mut chunks);
        assert!(chunks.contains_key("authorization"));
    }

    /// R72, R75: a client that a variable of a context keeps has the placeholder of the cell that made it: it is taken in the next cell of the session,
    /// and in no other session, of no other agent, by no other process, and in no call without one.
    #[test]
    fn a_placeholder_is_of_its_session() {
        let stamp = Stamp::new(&System).unwrap();
        let bound = WayBound {
            tenant: "local".into(),
            agent: "one".into(),
            session: Some(SessionId::new(1, [0; 10])),
            route: "default".into(),
            policy: Digest::of(b"policy"),
            action: Digest::of(b"the first cell"),
            wall_ms: 1_000,
        };
        let next = WayBound {
            action: Digest::of(b"the next cell"),
            ..bound.clone()
        };
        let first = of(Some((&stamp, &bound)));
        let is_taken = |by: &OfCall| {
            let signed = format!("AWS4-HMAC-SHA256 Credential={}/2026", first.key_id);
            [format!("Bearer {}", first.token), signed].map(|proof| {
                let mut one = fields(&[("authorization", &proof)]);
                by.take(&mut one);
                one.is_empty()
            })
        };
        assert_eq!(is_taken(&of(Some((&stamp, &next)))), [true, true]);
        let other = |change: fn(&mut WayBound)| {
            let mut other = next.clone();
            change(&mut other);
            is_taken(&of(Some((&stamp, &other))))
        };
        let sessions = [
            other(|bound| bound.session = Some(SessionId::new(1, [1; 10]))),
            other(|bound| bound.session = None),
            other(|bound| bound.agent = "two".into()),
            other(|bound| bound.tenant = "other".into()),
            is_taken(&of(Some((&Stamp::new(&System).unwrap(), &next)))),
            is_taken(&placeholders()),
        ];
        assert_eq!(sessions, [[false, false]; 6]);
        assert_ne!(of(None).token, of(None).token);
    }
}
