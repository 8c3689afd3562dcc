//! Logins, which are no requests of HTTP: the answer to the challenge of a destination. The secret stays here, unless the destination wants it.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    Secret,
    limits::{MAX_SCRAM_BYTES, MAX_SCRAM_ROUNDS, MIN_SCRAM_ROUNDS},
    render::{RenderError, Rendered, hmac_sha256},
};

/// Bytes of a key of SCRAM-SHA-256.
const KEY_BYTES: usize = digest::SHA256_OUTPUT_LEN;

/// A login to a database, as its destination asks for proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// As whom.
    pub user: String,
    /// To which database.
    pub database: String,
    /// What the destination asks.
    pub challenge: Challenge,
}

/// How a destination asks for proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Challenge {
    /// For the secret itself.
    Cleartext {},
    /// For a digest of it with this salt, as PostgreSQL did before it knew better.
    Md5 {
        /// The salt.
        salt: [u8; 4],
    },
    /// For the second message of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.
    Scram {
        /// The first message of the client, without what is in front of `n=`.
        client: String,
        /// The first message of the server.
        server: String,
    },
}

/// The logins that a rule of a profile lets a credential be used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logins {
    /// As whom.
    pub user: String,
    /// To which databases.
    pub databases: Vec<String>,
}

impl Logins {
    /// Whether `login` is one of those.
    pub(crate) fn cover(&self, login: &Login) -> bool {
        self.user == login.user && self.databases.contains(&login.database)
    }
}

/// The answer to a challenge; for SCRAM also what the server has to say then.
pub(crate) fn answer(user: &str, secret: &Secret, login: &Login) -> Result<Rendered, RenderError> {
    // Whoever has a password has it of one user.
    if user != login.user {
        return Err(RenderError::User);
    }
    match &login.challenge {
        Challenge::Cleartext {} => Ok(Rendered::answering(
            vec![secret.clone()],
            vec![secret.clone()],
        )),
        Challenge::Md5 { salt } => {
            let (user, secret) = (user.as_bytes(), secret.expose().as_bytes());
            let digest = postgres_protocol::authentication::md5_hash(user, secret, *salt);
            Ok(Rendered::answering(vec![Secret::made(digest)], Vec::new()))
        }
        Challenge::Scram { client, server } => scram(secret, client, server),
    }
}

fn scram(secret: &Secret, client: &str, server: &str) -> Result<Rendered, RenderError> {
    let First {
        nonce,
        salt,
        rounds,
    } = First::read(client, server).ok_or(RenderError::Challenge)?;
    let mut salted = Zeroizing::new([0; KEY_BYTES]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        rounds,
        &salt,
        secret.expose().as_bytes(),
        &mut *salted,
    );
    let without_proof = format!("c=biws,r={nonce}");
    let said = format!("{client},{server},{without_proof}");
    let client_key = hmac_sha256(&*salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let signature = hmac_sha256(stored_key.as_ref(), said.as_bytes());
    let proof: Vec<u8> = client_key
        .as_ref()
        .iter()
        .zip(signature.as_ref())
        .map(|(key, signature)| key ^ signature)
        .collect();
    let server_key: hmac::Tag = hmac_sha256(&*salted, b"Server Key");
    let expected = hmac_sha256(server_key.as_ref(), said.as_bytes());
    let text = |bytes: &[u8]| STANDARD.encode(bytes);
    Ok(Rendered::answering(
        vec![
            Secret::made(format!("{without_proof},p={}", text(&proof))),
            Secret::made(format!("v={}", text(expected.as_ref()))),
        ],
        Vec::new(),
    ))
}

/// What the first message of a server says, in answer to a client's.
struct First<'m> {
    nonce: &'m str,
    salt: Vec<u8>,
    rounds: NonZeroU32,
}

impl<'m> First<'m> {
    /// Nothing of it is optional, and nothing else may be there. With few rounds whoever hears the answer could guess the secret; with
    /// many, one answer would take all of this process's time.
    fn read(client: &str, server: &'m str) -> Option<Self> {
        if client.len() > MAX_SCRAM_BYTES || server.len() > MAX_SCRAM_BYTES {
            return None;
        }
        let (user, ours) = client.split_once(",r=")?;
        let is_plain = user.starts_with("n=") && !user.contains(',') && !ours.contains(',');
        let mut parts = server.split(',');
        let nonce = parts.next()?.strip_prefix("r=")?;
        let salt = STANDARD.decode(parts.next()?.strip_prefix("s=")?).ok()?;
        let rounds: u32 = parts.next()?.strip_prefix("i=")?.parse().ok()?;
        let is_answer = parts.next().is_none()
            && !ours.is_empty()
            && nonce.len() > ours.len()
            && nonce.starts_with(ours)
            && nonce.bytes().all(|byte| byte.is_ascii_graphic())
            && !salt.is_empty()
            && (MIN_SCRAM_ROUNDS..=MAX_SCRAM_ROUNDS).contains(&rounds);
        (is_plain && is_answer).then_some(Self {
            nonce,
            salt,
            rounds: NonZeroU32::new(rounds)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn login(challenge: Challenge) -> Login {
        Login {
            user: "user".into(),
            database: "db".into(),
            challenge,
        }
    }

    fn said(challenge: Challenge) -> Result<Vec<String>, RenderError> {
        let answered = answer("user", &Secret::made("pencil".into()), &login(challenge))?;
        let fields = answered.fields.iter();
        Ok(fields.map(|(_, said)| said.expose().to_owned()).collect())
    }

    /// R75: the example of RFC 7677, 3.
    #[test]
    fn scram_is_answered_as_its_rfc_says() {
        let (client, server) = (CLIENT.to_owned(), SERVER.to_owned());
        assert_eq!(
            said(Challenge::Scram { client, server }).unwrap(),
            [
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ]
        );
    }

    /// I6: a server that does not answer this client, that asks for what makes guessing cheap or for what takes all time, gets nothing.
    #[test]
    fn other_challenges_are_not_answered() {
        for server in [
            "",
            "e=other-error",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=another%hvYDpWUa2RaTCAfuxFIlj,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4294967295",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,m=x",
            "m=x,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        ] {
            let (client, server) = (CLIENT.to_owned(), server.to_owned());
            let refused = said(Challenge::Scram { client, server });
            assert_eq!(refused, Err(RenderError::Challenge));
        }
        for client in ["", "n=user", "n=user,r=", "n=a,b=c,r=rOprNGfwEbeRWgbNEkqO"] {
            let (client, server) = (client.to_owned(), SERVER.to_owned());
            let refused = said(Challenge::Scram { client, server });
            assert_eq!(refused, Err(RenderError::Challenge));
        }
    }

    /// A password is one user's; where it is not sent itself, nothing by which it could be known again is.
    #[test]
    fn the_secret_stays_where_it_is() {
        let secret = Secret::made("pencil-pencil".into());
        let cleartext = login(Challenge::Cleartext {});
        assert_eq!(
            answer("other", &secret, &cleartext).err(),
            Some(RenderError::User)
        );
        let sent = answer("user", &secret, &cleartext).unwrap();
        assert_eq!(sent.hidden, std::slice::from_ref(&secret));
        let digest = answer("user", &secret, &login(Challenge::Md5 { salt: [1; 4] })).unwrap();
        let said = digest.fields[0].1.expose();
        assert!(said.starts_with("md5") && said.len() == 35, "{said}");
        assert!(digest.hidden.is_empty());
    }
}
