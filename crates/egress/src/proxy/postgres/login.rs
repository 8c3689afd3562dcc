//! The login at the destination: it is asked how it wants a proof, and identity gives it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::{
    backend::{AUTHENTICATION_TAG, Message, NOTICE_RESPONSE_TAG},
    frontend,
};

use super::{Inner, Said, Server, Start};
use crate::{Allowance, Challenge, Code, InjectError, LoginFacts, Proof, limits::MAX_GREETINGS};

const SCRAM: &str = "SCRAM-SHA-256";

/// The message that says who logs in.
pub(super) fn startup(start: &Start) -> Result<BytesMut, Code> {
    let own = [
        ("user", start.user.as_str()),
        ("database", start.database.as_str()),
    ];
    let others = start.parameters.iter();
    let others = others.map(|(name, value)| (name.as_str(), value.as_str()));
    let mut message = BytesMut::new();
    frontend::startup_message(own.into_iter().chain(others), &mut message)
        .map_err(|_| Code::NotPostgres)?;
    Ok(message)
}

/// Says who logs in, by `startup`, and proves it.
pub(super) async fn log_in(
    inner: &Inner,
    allowance: &Allowance,
    facts: &LoginFacts,
    startup: &[u8],
    server: &mut Server,
) -> Result<(), Code> {
    server.say(startup).await?;
    let login = Login {
        inner,
        allowance,
        facts,
    };
    match authentication(server).await? {
        // It believes whoever comes from here: then identity would not have been asked.
        Message::AuthenticationOk => Err(Code::LoginUnproven),
        Message::AuthenticationCleartextPassword => {
            login.answer(server, Challenge::Cleartext).await
        }
        Message::AuthenticationMd5Password(asked) => {
            let salt = asked.salt();
            login.answer(server, Challenge::Md5 { salt }).await
        }
        Message::AuthenticationSasl(asked) => {
            let mut offered = asked.mechanisms();
            while let Some(mechanism) = offered.next().map_err(|_| Code::UpstreamProtocol)? {
                if mechanism == SCRAM {
                    return login.scram(server).await;
                }
            }
            Err(Code::UpstreamProtocol)
        }
        _ => Err(Code::UpstreamProtocol),
    }
}

/// The next message about the login.
async fn authentication(server: &mut Server) -> Result<Message, Code> {
    for _ in 0..MAX_GREETINGS {
        let Said { tag, mut bytes } = server.hear().await?;
        match tag {
            // Before anybody has logged in, nobody inside hears it.
            NOTICE_RESPONSE_TAG => {}
            AUTHENTICATION_TAG => {
                let message = Message::parse(&mut bytes).map_err(|_| Code::UpstreamProtocol)?;
                return message.ok_or(Code::UpstreamProtocol);
            }
            // It does not want this user, database or proof.
            postgres_protocol::message::backend::ERROR_RESPONSE_TAG => {
                return Err(Code::LoginRefused);
            }
            _ => return Err(Code::UpstreamProtocol),
        }
    }
    Err(Code::UpstreamProtocol)
}

struct Login<'l> {
    inner: &'l Inner,
    allowance: &'l Allowance,
    facts: &'l LoginFacts,
}

impl Login<'_> {
    async fn prove(&self, challenge: Challenge) -> Result<Proof, Code> {
        let Allowance {
            rule, credential, ..
        } = self.allowance;
        let handle = credential.as_deref().ok_or(Code::CredUnavailable)?;
        let proof = self
            .inner
            .injector
            .prove(handle, rule, self.facts, challenge)
            .await;
        let proof = proof.map_err(|error| match error {
            InjectError::Scope => Code::CredScope,
            InjectError::Unavailable => Code::CredUnavailable,
        })?;
        // What is sent must not come back by any request of the call.
        let learnt = self.inner.filters.learn(&proof.injection);
        learnt.map_err(|_| Code::CredUnavailable)?;
        match self.inner.judge.stands(rule) {
            true => Ok(proof),
            false => Err(Code::Revoked),
        }
    }

    /// One question, one answer.
    async fn answer(&self, server: &mut Server, challenge: Challenge) -> Result<(), Code> {
        let proof = self.prove(challenge).await?;
        let [answer] = proof.answers.as_slice() else {
            return Err(Code::CredUnavailable);
        };
        let mut message = BytesMut::new();
        frontend::password_message(answer, &mut message).map_err(|_| Code::CredUnavailable)?;
        server.say(&message).await?;
        accepted(server).await
    }

    /// SCRAM-SHA-256 (RFC 5802): both sides prove that they know the secret, or what was made from it.
    async fn scram(&self, server: &mut Server) -> Result<(), Code> {
        let mut nonce = [0; 18];
        let filled = self.inner.entropy.fill(&mut nonce);
        filled.map_err(|_| Code::CredUnavailable)?;
        let client = format!("n=,r={}", STANDARD.encode(nonce));
        let mut message = BytesMut::new();
        frontend::sasl_initial_response(SCRAM, format!("n,,{client}").as_bytes(), &mut message)
            .map_err(|_| Code::UpstreamProtocol)?;
        server.say(&message).await?;
        let Message::AuthenticationSaslContinue(asked) = authentication(server).await? else {
            return Err(Code::UpstreamProtocol);
        };
        let asked = std::str::from_utf8(asked.data()).map_err(|_| Code::UpstreamProtocol)?;
        let server_first = asked.to_owned();
        let challenge = Challenge::Scram {
            client,
            server: server_first,
        };
        let proof = self.prove(challenge).await?;
        let [answer, expected] = proof.answers.as_slice() else {
            return Err(Code::CredUnavailable);
        };
        let mut message = BytesMut::new();
        frontend::sasl_response(answer, &mut message).map_err(|_| Code::UpstreamProtocol)?;
        server.say(&message).await?;
        match authentication(server).await? {
            Message::AuthenticationSaslFinal(said) if said.data() == expected => {}
            _ => return Err(Code::UpstreamProtocol),
        }
        accepted(server).await
    }
}

async fn accepted(server: &mut Server) -> Result<(), Code> {
    match authentication(server).await? {
        Message::AuthenticationOk => Ok(()),
        _ => Err(Code::UpstreamProtocol),
    }
}
