//! A connection of PostgreSQL: the client logs in here with nothing, this logs in there with a credential, and then bytes pass.

mod login;

use std::sync::{Arc, atomic::Ordering};

use bytes::{BufMut as _, BytesMut};
use tokio::{io::AsyncWriteExt as _, time::timeout};
use tokio_rustls::TlsAcceptor;

use self::login::{log_in, startup};
use super::{Inner, draft::Draft, splice::splice, stream::Io, tunnel, upstream};
use crate::{
    Allowance, Code, Denial, Destination, Entry, Flow, LoginFacts, Origin,
    limits::{HANDSHAKE_TIMEOUT, HELLO_TIMEOUT, IDLE_TIMEOUT, LOGIN_TIMEOUT},
    postgres::{First, Start, read_first},
};

/// What a client is told that has logged in.
const OK: &[u8] = &[b'R', 0, 0, 0, 8, 0, 0, 0, 0];

/// Serves a client that connected to `destination`, which a rule for logins admits.
pub(crate) async fn serve(inner: Arc<Inner>, io: Io, destination: Destination, origin: Origin) {
    let Some(mut draft) = Draft::open(&inner, origin, Entry::Transparent) else {
        return;
    };
    let target = destination.target();
    draft.record.target = Some(target.clone());
    draft.record.class = Some(destination.class());
    draft.record.rule = Some(destination.rule().to_owned());
    draft.record.method = Some("CONNECT".to_owned());
    let mut io = Some(io);
    let begun = begin(&inner, &mut io, destination, &mut draft).await;
    match begun {
        Ok(Open {
            client,
            server,
            allowance,
        }) => {
            let code = splice(&inner, &allowance, client, server, &mut draft).await;
            draft.end(code);
        }
        Err(denial) => {
            draft.deny(&denial).await;
            if let Some(mut io) = io {
                let told = refusal(&denial, &draft);
                // Whoever has gone does not hear it.
                let _ = say(&mut io, &told).await;
                let _ = timeout(IDLE_TIMEOUT, io.shutdown()).await;
            }
        }
    }
}

/// A connection whose both ends have agreed.
struct Open {
    client: Io,
    server: Io,
    allowance: Allowance,
}

/// From the first byte until both sides have logged in. The client is left in `io` until then, to be told why not.
async fn begin(
    inner: &Arc<Inner>,
    io: &mut Option<Io>,
    destination: Destination,
    draft: &mut Draft,
) -> Result<Open, Denial> {
    draft.enter().await?;
    let start = timeout(HELLO_TIMEOUT, hear(inner, io, &destination, draft))
        .await
        .map_err(|_| Code::HelloTimeout)??;
    let facts = LoginFacts {
        decision: draft.record.decision,
        origin: draft.record.origin.clone(),
        destination,
        user: start.user.clone(),
        database: start.database.clone(),
    };
    let allowance = inner.judge.login(&facts).await?;
    let denied = |code: Code| Denial {
        rule: Some(allowance.rule.clone()),
        ..code.into()
    };
    // What it said is what the rule says: until then it may be anything.
    draft.record.path = Some(format!("/{}", facts.database));
    draft.record.rule = Some(allowance.rule.clone());
    draft.record.side_effect = Some(allowance.side_effect);
    let handle = allowance.credential.clone();
    let handle = handle.ok_or_else(|| denied(Code::CredUnavailable))?;
    draft.record.credential = Some(handle);
    if !inner.judge.stands(&allowance.rule) {
        return Err(denied(Code::Revoked));
    }
    let server = upstream::connect_postgres(inner, &facts.destination, draft)
        .await
        .map_err(denied)?;
    // Connecting took time.
    if !inner.judge.stands(&allowance.rule) {
        return Err(denied(Code::Revoked));
    }
    // All that the client set goes out with it: it is in the record before.
    let startup = startup(&start).map_err(denied)?;
    let bytes = u64::try_from(startup.len()).unwrap_or(u64::MAX);
    inner.judge.spend(&allowance, Flow::Out, bytes)?;
    draft.moved.bytes.fetch_add(bytes, Ordering::Relaxed);
    draft.sent().await.map_err(denied)?;
    let mut server = Server::new(server);
    let entering = async {
        let client = io.as_mut().ok_or(Code::ClientGone)?;
        let login = log_in(inner, &allowance, &facts, &startup, &mut server);
        while_there(client, login).await?;
        say(client, OK).await?;
        let greeting = Greeting {
            inner,
            allowance: &allowance,
        };
        greeting.pass(&mut server, client, draft).await
    };
    let entered = tokio::select! {
        biased;
        () = inner.cut(allowance.rule.clone()) => Err(Code::Revoked),
        entered = timeout(LOGIN_TIMEOUT, entering) => entered.unwrap_or(Err(Code::Timeout)),
    };
    entered.map_err(denied)?;
    let client = io.take().ok_or(Code::ClientGone)?;
    Ok(Open {
        client,
        server: server.into_io(),
        allowance,
    })
}

/// Hears who wants to log in, after TLS if the client wants it.
async fn hear(
    inner: &Inner,
    slot: &mut Option<Io>,
    destination: &Destination,
    draft: &mut Draft,
) -> Result<Start, Code> {
    let (mut may_tls, mut may_gss) = (true, true);
    loop {
        let io = slot.as_mut().ok_or(Code::ClientGone)?;
        let (first, length) = loop {
            if let Some(first) = read_first(io.front())? {
                break first;
            }
            if !matches!(io.peek().await, Ok(1..)) {
                return Err(Code::ClientGone);
            }
        };
        let _ = io.front().split_to(length);
        // Whoever asks waits for the answer: what came with the question was put there by somebody else (CVE-2021-23214).
        if !io.front().is_empty() {
            return Err(Code::NotPostgres);
        }
        match first {
            First::Start(start) => return Ok(start),
            First::Gss if may_gss => {
                may_gss = false;
                say(io, b"N").await?;
            }
            First::Tls if may_tls => {
                (may_tls, may_gss) = (false, false);
                say(io, b"S").await?;
                let io = slot.take().ok_or(Code::ClientGone)?;
                *slot = Some(secure(inner, io, destination, draft).await?);
            }
            First::Gss | First::Tls => return Err(Code::NotPostgres),
        }
    }
}

/// Does something for a client as long as it is there.
async fn while_there<T>(
    client: &mut Io,
    doing: impl Future<Output = Result<T, Code>>,
) -> Result<T, Code> {
    tokio::select! {
        biased;
        done = doing => done,
        () = client.gone() => Err(Code::ClientGone),
    }
}

async fn say(io: &mut Io, bytes: &[u8]) -> Result<(), Code> {
    let written = timeout(IDLE_TIMEOUT, write(io, bytes)).await;
    written
        .map_err(|_| Code::Timeout)?
        .map_err(|_| Code::ClientGone)
}

async fn write(io: &mut Io, bytes: &[u8]) -> std::io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
}

/// The client's side of TLS, with the certificate of the agent's own authority.
async fn secure(
    inner: &Inner,
    mut io: Io,
    destination: &Destination,
    draft: &mut Draft,
) -> Result<Io, Code> {
    let hello = tunnel::read_hello(&mut io).await?.ok_or(Code::ClientGone)?;
    let target = destination.target();
    draft.record.server_name = hello.server_name.as_ref().map(ToString::to_string);
    tunnel::check_name(target, &hello)?;
    let config = inner.leaves.serve_postgres(&target.host);
    let config = config.map_err(|_| Code::TlsHandshake)?;
    let accepting = TlsAcceptor::from(config).accept(io);
    let stream = timeout(HANDSHAKE_TIMEOUT, accepting)
        .await
        .map_err(|_| Code::Timeout)?
        .map_err(|error| tunnel::why(&error))?;
    tunnel::check_seen(stream.get_ref().1.server_name(), &hello)?;
    Ok(Io::new(stream))
}

/// The destination's end, message by message.
pub(super) struct Server {
    io: Io,
}

/// A message of the destination.
pub(super) struct Said {
    pub(super) tag: u8,
    /// All of it, with its tag and length.
    pub(super) bytes: BytesMut,
}

impl Server {
    fn new(io: Io) -> Self {
        Self { io }
    }

    fn into_io(self) -> Io {
        self.io
    }

    pub(super) async fn say(&mut self, bytes: &[u8]) -> Result<(), Code> {
        let written = timeout(IDLE_TIMEOUT, write(&mut self.io, bytes)).await;
        written
            .map_err(|_| Code::Timeout)?
            .map_err(|_| Code::UpstreamProtocol)
    }

    pub(super) async fn hear(&mut self) -> Result<Said, Code> {
        let hearing = async {
            loop {
                if let Some(said) = Said::split(self.io.front())? {
                    return Ok(said);
                }
                if !matches!(self.io.peek().await, Ok(1..)) {
                    return Err(Code::UpstreamProtocol);
                }
            }
        };
        timeout(HANDSHAKE_TIMEOUT, hearing)
            .await
            .map_err(|_| Code::Timeout)?
    }
}

impl Said {
    fn split(front: &mut BytesMut) -> Result<Option<Self>, Code> {
        let header = postgres_protocol::message::backend::Header::parse(front)
            .map_err(|_| Code::UpstreamProtocol)?;
        let Some(header) = header else {
            return Ok(None);
        };
        let length = usize::try_from(header.len()).map_err(|_| Code::UpstreamProtocol)? + 1;
        if length > crate::limits::MAX_GREETING_BYTES {
            return Err(Code::UpstreamProtocol);
        }
        Ok((front.len() >= length).then(|| Self {
            tag: header.tag(),
            bytes: front.split_to(length),
        }))
    }
}

/// What a destination says after a login and before it takes commands.
struct Greeting<'g> {
    inner: &'g Inner,
    allowance: &'g Allowance,
}

impl Greeting<'_> {
    /// Passes it on, but for the key by which others could cancel what this connection does: nobody inside can use it.
    async fn pass(
        &self,
        server: &mut Server,
        client: &mut Io,
        draft: &mut Draft,
    ) -> Result<(), Code> {
        use postgres_protocol::message::backend::{
            BACKEND_KEY_DATA_TAG, ERROR_RESPONSE_TAG, NOTICE_RESPONSE_TAG, PARAMETER_STATUS_TAG,
            READY_FOR_QUERY_TAG,
        };
        for _ in 0..crate::limits::MAX_GREETINGS {
            let said = while_there(client, server.hear()).await?;
            let is_over = match said.tag {
                BACKEND_KEY_DATA_TAG => continue,
                PARAMETER_STATUS_TAG | NOTICE_RESPONSE_TAG => false,
                // After an error it says no more.
                READY_FOR_QUERY_TAG | ERROR_RESPONSE_TAG => true,
                _ => return Err(Code::UpstreamProtocol),
            };
            let bytes = u64::try_from(said.bytes.len()).unwrap_or(u64::MAX);
            let spent = self.inner.judge.spend(self.allowance, Flow::In, bytes);
            spent.map_err(|denial| denial.code)?;
            draft.record.bytes_in += bytes;
            say(client, &said.bytes).await?;
            if is_over {
                return Ok(());
            }
        }
        Err(Code::UpstreamProtocol)
    }
}

/// Why a client may not log in, as its library shows it to people. Nothing of what it said is repeated.
fn refusal(denial: &Denial, draft: &Draft) -> BytesMut {
    let because = denial.because.unwrap_or(denial.code.as_str());
    let message = format!(
        "casemate: {} ({because}), decision {}",
        denial.code, draft.record.decision
    );
    let mut fields = BytesMut::new();
    for (field, text) in [
        (b'S', "FATAL"),
        (b'V', "FATAL"),
        // invalid_authorization_specification
        (b'C', "28000"),
        (b'M', &message),
        (b'H', denial.code.hint()),
    ] {
        fields.put_u8(field);
        fields.put_slice(text.as_bytes());
        fields.put_u8(0);
    }
    fields.put_u8(0);
    let mut told = BytesMut::new();
    told.put_u8(b'E');
    told.put_u32(u32::try_from(fields.len() + 4).unwrap_or(u32::MAX));
    told.put_slice(&fields);
    told
}
