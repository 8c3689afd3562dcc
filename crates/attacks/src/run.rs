//! Runs a case against a proxy.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::AsyncWriteExt as _,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    Asked, Case, Destinations, Duplex, Seen, Step, Subject, Tls, Within, hello, http2, is_closed,
    read, shaped::Shaped, tls,
};

/// How long what was sent may take to arrive.
const SETTLE: Duration = Duration::from_millis(30);

/// How often is looked for what must arrive.
const PATIENCE: usize = 10;

/// How a case is run.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Whether the proxy may refuse in ways of its own: where the case sees a refusal and the proxy none, the client goes on as an
    /// attacker would.
    pub persists: bool,
    /// No step waits longer for an answer.
    pub patience: Duration,
}

impl Manner {
    /// As a proxy is tested that does exactly what the cases say.
    pub const EXACT: Self = Self {
        persists: false,
        patience: Duration::from_secs(20),
    };
}

/// What became of a case.
#[derive(Debug)]
pub struct Report {
    /// What was not as the case says, if the client saw something else.
    pub failure: Option<String>,
    /// Whether the proxy has no such entry.
    pub missing: bool,
    /// Whether the proxy fell silent before the client was where the attack begins.
    pub stalled: bool,
    /// The code of the last answer.
    pub code: Option<String>,
    /// What arrived at `good.test`.
    pub seen: Seen,
    /// How many connections arrived where none may.
    pub strays: usize,
    /// The codes on record.
    pub denials: Option<Vec<String>>,
}

enum Stop {
    Failed(String),
    Missing,
    Stalled,
}

impl<T: Into<String>> From<T> for Stop {
    fn from(why: T) -> Self {
        Self::Failed(why.into())
    }
}

/// Runs a case.
pub async fn run(case: &Case, subject: &dyn Subject, to: &Destinations, manner: Manner) -> Report {
    let is_plain = case.place == Some(Within::Plain) || case.plaintext;
    let good = if is_plain { &to.plain } else { &to.good };
    let mut client = Client {
        subject,
        stream: None,
        base: String::new(),
        code: None,
        ports: (good.port, to.evil()),
        persists: manner.persists,
        asked: None,
        seen: Vec::new(),
        streams: 0,
        speaks_h2: false,
    };
    let reply = case.reply.as_ref().map(|reply| client.fill(reply));
    good.reply(reply);
    let before = (to.good.seen(), to.plain.seen(), to.strays());
    let stop = client.all(case, manner.patience).await;
    if manner.persists {
        sleep(SETTLE).await;
    }
    let (code, persists) = (client.code.take(), client.persists);
    drop(client);
    if persists {
        sleep(SETTLE).await;
    }
    let arrived = || to.good.seen().since(&before.0) + to.plain.seen().since(&before.1);
    let mut seen = arrived();
    // What must arrive may still be on its way.
    for _ in 0..PATIENCE {
        if seen.whole >= case.upstream && seen.messages >= case.messages {
            break;
        }
        sleep(SETTLE).await;
        seen = arrived();
    }
    let strays = to.strays() - before.2;
    good.reply(None);
    Report {
        missing: matches!(stop, Err(Stop::Missing)),
        stalled: matches!(stop, Err(Stop::Stalled)),
        failure: match stop {
            Err(Stop::Failed(why)) => Some(why),
            Err(Stop::Stalled) => Some("silence before the attack".to_owned()),
            _ => None,
        },
        code,
        seen,
        strays,
        denials: subject.denials().await,
    }
}

struct Client<'a> {
    subject: &'a dyn Subject,
    stream: Option<Box<dyn Duplex>>,
    base: String,
    code: Option<String>,
    ports: (u16, u16),
    persists: bool,
    /// The authority of a CONNECT that was sent by hand.
    asked: Option<String>,
    seen: Vec<u8>,
    streams: u32,
    speaks_h2: bool,
}

impl Client<'_> {
    async fn all(&mut self, case: &Case, patience: Duration) -> Result<(), Stop> {
        let mut steps = Vec::new();
        match case.place {
            Some(place @ (Within::Tunnel | Within::Http2)) => {
                let mut how = Tls::to("good.test");
                if place == Within::Http2 {
                    how.alpn = vec!["h2".to_owned(), "http/1.1".to_owned()];
                }
                steps.push(Step::Tunnel("{good}".to_owned()));
                steps.push(Step::Tls(how));
            }
            Some(Within::Plain) => self.base = "http://{good}".to_owned(),
            _ => {}
        }
        let preliminary = steps.len();
        steps.extend(case.steps.iter().cloned());
        for (at, step) in steps.iter().enumerate() {
            let done = timeout(patience, self.step(step)).await;
            let silence = || match at < preliminary {
                true => Stop::Stalled,
                false => "silence".into(),
            };
            let done = done.unwrap_or_else(|_| Err(silence()));
            done.map_err(|stop| match stop {
                Stop::Failed(why) => Stop::Failed(format!("step {at}: {why}")),
                other => other,
            })?;
        }
        Ok(())
    }

    async fn stream(&mut self) -> &mut Box<dyn Duplex> {
        if self.stream.is_none() {
            self.stream = Some(self.subject.connect().await);
        }
        self.stream.as_mut().unwrap()
    }

    async fn say(&mut self, bytes: &[u8]) {
        let stream = self.stream().await;
        // A proxy that refuses may close before all was written.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
    }

    async fn step(&mut self, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Send(text) => {
                let bytes = self.fill(text);
                self.asked = authority(&bytes);
                self.say(&bytes).await;
                Ok(())
            }
            Step::Tunnel(authority) => {
                let authority = String::from_utf8(self.fill(authority)).unwrap();
                let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
                self.say(request.as_bytes()).await;
                match read(self.stream().await.as_mut()).await {
                    Some(answer) if answer.status == 200 => Ok(()),
                    other => Err(format!("no tunnel: {other:?}").into()),
                }
            }
            Step::Tls(how) => self.tls(how).await,
            Step::Hello(how) => self.hello(how).await,
            Step::Status(expected) => self.status(expected).await,
            Step::Closed(expected) => {
                let mut rest = Vec::new();
                let stream = self.stream().await;
                let _ = tokio::io::AsyncReadExt::read_to_end(stream, &mut rest).await;
                let closed = rest.is_empty();
                self.seen.extend(rest);
                match closed == *expected {
                    true => Ok(()),
                    false => Err("bytes came where none may, or none where some must".into()),
                }
            }
            Step::Unseen(text) => {
                let text = self.fill(text);
                match self.seen.windows(text.len()).any(|part| part == text) {
                    true => Err("bytes were seen that may not be".into()),
                    false => Ok(()),
                }
            }
            Step::Stream(request) => self.request(request).await,
            Step::Transparent(name) => {
                let question = question(name, 1);
                let answer = self.subject.ask(&question).ok_or(Stop::Missing)?.await;
                let address: [u8; 4] = answer[answer.len() - 4..].try_into().unwrap();
                let port = self.ports.0;
                self.dial(SocketAddr::from((address, port))).await
            }
            Step::Dial(address) => self.dial(address.parse().unwrap()).await,
            Step::Ask {
                name,
                kind,
                status,
                answers,
            } => {
                let question = question(name, *kind);
                let answer = self.subject.ask(&question).ok_or(Stop::Missing)?.await;
                match (answer[3] & 15, answer[7]) == (*status, *answers) {
                    true => Ok(()),
                    false => Err(format!("answered {answer:?}").into()),
                }
            }
        }
    }

    async fn tls(&mut self, how: &Tls) -> Result<(), Stop> {
        let stream = self.shaped(how).await;
        match tls(stream, &how.name, self.config(how)).await {
            Ok(stream) => {
                self.speaks_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.stream = Some(Box::new(stream));
                Ok(())
            }
            Err(error) => Err(format!("no TLS: {error}").into()),
        }
    }

    async fn hello(&mut self, how: &Tls) -> Result<(), Stop> {
        if self.persists {
            self.tls(how).await?;
            return self.go_on(&how.name).await;
        }
        if how.pinned {
            let stream = self.shaped(how).await;
            let name = ServerName::try_from(how.name.clone()).unwrap();
            let connecting = TlsConnector::from(Arc::new(self.config(how))).connect(name, stream);
            return match connecting.into_fallible().await {
                Ok(_) => Err("TLS with a client that should not believe it".into()),
                // It says why, and hears the rest.
                Err((_, mut stream)) => {
                    let _ = stream.flush().await;
                    is_closed(&mut stream).await;
                    Ok(())
                }
            };
        }
        let bytes = hello(&how.name, self.config(how));
        let mut stream = self.shaped(how).await;
        let _ = stream.write_all(&bytes).await;
        let _ = stream.flush().await;
        self.stream = Some(Box::new(stream));
        Ok(())
    }

    async fn status(&mut self, expected: &[u16]) -> Result<(), Stop> {
        let answer = loop {
            let answer = read(self.stream().await.as_mut())
                .await
                .ok_or("no answer")?;
            self.seen.extend(answer.head.as_bytes());
            self.seen.extend(&answer.body);
            // Others may come before the one that counts.
            if !matches!(answer.status, 100 | 102..=199) {
                break answer;
            }
        };
        self.code = answer.code();
        if expected.contains(&answer.status) {
            return Ok(());
        }
        if let (true, 200, Some(authority)) = (self.persists, answer.status, self.asked.take()) {
            // Some open every tunnel, and refuse what is in it.
            let host = authority.rsplit_once(':').map_or("", |(host, _)| host);
            let name = host.trim_matches(['[', ']']).to_owned();
            let name = match ServerName::try_from(name.clone()) {
                Ok(_) => name,
                Err(_) => "good.test".to_owned(),
            };
            self.tls(&Tls::to(&name)).await?;
            self.go_on(&authority).await?;
        }
        Err(format!("answered {}, expected {expected:?}", answer.status).into())
    }

    /// Asks for something in a tunnel that should not be there.
    async fn go_on(&mut self, authority: &str) -> Result<(), Stop> {
        let request = format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        self.say(request.as_bytes()).await;
        let answer = read(self.stream().await.as_mut()).await;
        Err(format!("a tunnel, and in it {answer:?}").into())
    }

    async fn request(&mut self, request: &Asked) -> Result<(), Stop> {
        if !self.speaks_h2 {
            return Err(Stop::Missing);
        }
        let (fields, trailers) = (self.fields(&request.fields), self.fields(&request.trailers));
        let body = request.body.as_ref().map(|body| self.fill(body));
        let mut bytes = Vec::new();
        if self.streams == 0 {
            bytes = http2::preface();
        }
        self.streams += 1;
        let id = 2 * self.streams - 1;
        bytes.extend(http2::request(id, &fields, body.as_deref(), &trailers));
        self.say(&bytes).await;
        let status = http2::status(self.stream().await.as_mut(), id).await;
        match request.status.contains(&status) {
            true => Ok(()),
            false => Err(format!("answered {status}, expected {:?}", request.status).into()),
        }
    }

    fn fields(&self, text: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        const GET: &str = ":method: GET\n:scheme: https\n:authority: {good}\n:path: /";
        const POST: &str = ":method: POST\n:scheme: https\n:authority: {good}\n:path: /";
        let text = text.replace("{get}", GET).replace("{post}", POST);
        let text = repeated(text);
        let lines = text.split('\n').filter(|line| !line.is_empty());
        let pairs = lines.map(|line| {
            let split = line.char_indices().skip(1).find(|(_, char)| *char == ':');
            let (name, value) = split.map_or((line, ""), |(at, _)| line.split_at(at));
            let value = value.trim_start_matches(':').trim_start_matches(' ');
            let value = value.replace('␍', "\r").replace('␊', "\n");
            (self.fill(name), self.fill(&value))
        });
        pairs.collect()
    }

    async fn dial(&mut self, address: SocketAddr) -> Result<(), Stop> {
        let dialled = self.subject.dial(address).ok_or(Stop::Missing)?;
        self.stream = Some(dialled.await);
        Ok(())
    }

    fn config(&self, how: &Tls) -> ClientConfig {
        let alpn: Vec<_> = how.alpn.iter().map(String::as_bytes).collect();
        let mut config = self.subject.trust(&alpn, how.pinned);
        config.enable_sni = !how.nameless;
        config
    }

    async fn shaped(&mut self, how: &Tls) -> Shaped {
        self.stream().await;
        Shaped::new(self.stream.take().unwrap(), how)
    }

    /// The bytes of a step: `{good}` and `{evil}` are host and port, `{url}` what stands before a path, `{repeat 9 x}` nine times x.
    fn fill(&self, text: &str) -> Vec<u8> {
        let (good, evil) = self.ports;
        const UPGRADE: &str = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let mut text = text
            .replace("{upgrade}", UPGRADE)
            .replace("{url}", &self.base)
            .replace("{good}", &format!("good.test:{good}"))
            .replace("{evil}", &format!("evil.test:{evil}"))
            .replace("{port}", &good.to_string());
        text = repeated(text);
        // Up to 255 a character stands for the byte of its number, so that bytes can be written that are no text.
        let mut bytes = Vec::new();
        for char in text.chars() {
            match u8::try_from(u32::from(char)) {
                Ok(byte) => bytes.push(byte),
                Err(_) => bytes.extend(char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        bytes
    }
}

/// A text in which `{repeat 3 x}` is `xxx`.
fn repeated(mut text: String) -> String {
    while let Some((before, rest)) = text.split_once("{repeat ") {
        let (inner, after) = rest.split_once('}').unwrap();
        let (count, what) = inner.split_once(' ').unwrap();
        text = format!("{before}{}{after}", what.repeat(count.parse().unwrap()));
    }
    text
}

/// What a request for a tunnel is to.
fn authority(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let rest = text.strip_prefix("CONNECT ")?;
    Some(rest.split(' ').next()?.to_owned())
}

fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}
