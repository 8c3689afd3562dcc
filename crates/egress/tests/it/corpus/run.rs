//! Runs a case against a proxy.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::{Sleep, sleep},
};
use tokio_rustls::TlsConnector;

use super::case::{Case, Step, Tls, Within};
use crate::client::{Duplex, hello, is_closed, read, tls};

pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A proxy that is attacked. Its rules: `good.test` on its port of this machine is allowed, `evil.test` is not.
pub(crate) trait Subject {
    /// A connection to the proxy's port.
    fn connect(&self) -> Later<'_, Box<dyn Duplex>>;

    /// A connection to `address` by a client that knows of no proxy, if the proxy has such clients.
    fn dial(&self, address: SocketAddr) -> Option<Later<'_, Box<dyn Duplex>>>;

    /// What the proxy's resolver answers, if it has one.
    fn ask<'a>(&'a self, message: &'a [u8]) -> Option<Later<'a, Vec<u8>>>;

    /// How a client speaks TLS that trusts the proxy; or, when `pinned`, only the destinations' own authority.
    fn trust(&self, alpn: &[&[u8]], pinned: bool) -> ClientConfig;

    /// The codes of all refusals on record, if the proxy keeps records.
    fn denials(&self) -> Later<'_, Option<Vec<String>>>;

    /// The ports of `good.test` and `evil.test`.
    fn ports(&self) -> (u16, u16);

    /// How many requests arrived at `good.test`, and how many connections at `evil.test`.
    fn arrived(&self) -> (usize, usize);
}

/// Whether the proxy holds; otherwise what it did.
pub(crate) async fn run(case: &Case, subject: &dyn Subject) -> Result<(), String> {
    let mut client = Client {
        subject,
        stream: None,
        base: String::new(),
        code: None,
    };
    match case.place {
        Some(Within::Tunnel) => {
            client.step(&Step::Tunnel("{good}".to_owned())).await?;
            let plain = Tls {
                name: "good.test".to_owned(),
                alpn: Vec::new(),
                cuts: Vec::new(),
                records: Vec::new(),
                pinned: false,
                nameless: false,
            };
            client.step(&Step::Tls(plain)).await?;
        }
        Some(Within::Plain) => client.base = "http://{good}".to_owned(),
        _ => {}
    }
    for (at, step) in case.steps.iter().enumerate() {
        client
            .step(step)
            .await
            .map_err(|why| format!("step {at}: {why}"))?;
    }
    let code = client.code.take();
    drop(client);
    let (good, evil) = subject.arrived();
    if good != case.upstream || evil != 0 {
        return Err(format!(
            "{good} requests arrived, and {evil} connections where none may"
        ));
    }
    let Some(denials) = subject.denials().await else {
        return Ok(());
    };
    match (denials.as_slice(), case.codes.as_slice()) {
        ([], []) => Ok(()),
        ([one], codes) if codes.contains(one) && code.as_ref().is_none_or(|code| code == one) => {
            Ok(())
        }
        _ => Err(format!(
            "recorded {denials:?}, answered {code:?}, expected one of {:?}",
            case.codes
        )),
    }
}

struct Client<'a> {
    subject: &'a dyn Subject,
    stream: Option<Box<dyn Duplex>>,
    base: String,
    code: Option<String>,
}

impl Client<'_> {
    async fn stream(&mut self) -> &mut Box<dyn Duplex> {
        if self.stream.is_none() {
            self.stream = Some(self.subject.connect().await);
        }
        self.stream.as_mut().unwrap()
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Send(text) => {
                let bytes = self.fill(text);
                let stream = self.stream().await;
                // A proxy that refuses may close before all was written.
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
                Ok(())
            }
            Step::Tunnel(authority) => {
                let authority = String::from_utf8(self.fill(authority)).unwrap();
                let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
                let stream = self.stream().await;
                stream
                    .write_all(request.as_bytes())
                    .await
                    .map_err(|error| error.to_string())?;
                match read(stream.as_mut()).await {
                    Some(answer) if answer.status == 200 => Ok(()),
                    other => Err(format!("no tunnel: {other:?}")),
                }
            }
            Step::Tls(how) => {
                let stream = self.shaped(how).await;
                match tls(stream, &how.name, self.config(how)).await {
                    Ok(stream) => {
                        self.stream = Some(Box::new(stream));
                        Ok(())
                    }
                    Err(error) => Err(format!("no TLS: {error}")),
                }
            }
            Step::Hello(how) => {
                if how.pinned {
                    let stream = self.shaped(how).await;
                    let name = ServerName::try_from(how.name.clone()).unwrap();
                    let connecting =
                        TlsConnector::from(Arc::new(self.config(how))).connect(name, stream);
                    return match connecting.into_fallible().await {
                        Ok(_) => Err("TLS with a client that should not believe it".to_owned()),
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
            Step::Status(expected) => {
                let answer = read(self.stream().await.as_mut())
                    .await
                    .ok_or("no answer")?;
                self.code = answer.code();
                match expected.contains(&answer.status) {
                    true => Ok(()),
                    false => Err(format!("answered {}, expected {expected:?}", answer.status)),
                }
            }
            Step::Closed(expected) => match is_closed(self.stream().await.as_mut()).await {
                closed if closed == *expected => Ok(()),
                _ => Err("bytes came where none may".to_owned()),
            },
            Step::Transparent(name) => {
                let question = question(name, 1);
                let Some(answer) = self.subject.ask(&question) else {
                    return Err("no resolver".to_owned());
                };
                let answer = answer.await;
                let address: [u8; 4] = answer[answer.len() - 4..].try_into().unwrap();
                self.dial(SocketAddr::from((address, self.subject.ports().0)))
                    .await
            }
            Step::Dial(address) => self.dial(address.parse().unwrap()).await,
            Step::Ask {
                name,
                kind,
                status,
                answers,
            } => {
                let question = question(name, *kind);
                let Some(answer) = self.subject.ask(&question) else {
                    return Err("no resolver".to_owned());
                };
                let answer = answer.await;
                match (answer[3] & 15, answer[7]) == (*status, *answers) {
                    true => Ok(()),
                    false => Err(format!("answered {answer:?}")),
                }
            }
        }
    }

    async fn dial(&mut self, address: SocketAddr) -> Result<(), String> {
        let Some(dialled) = self.subject.dial(address) else {
            return Err("no such clients".to_owned());
        };
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
        Shaped {
            inner: self.stream.take().unwrap(),
            cuts: how.cuts.iter().copied().collect(),
            records: how.records.clone(),
            out: VecDeque::new(),
            pause: None,
        }
    }

    /// The bytes of a step: `{good}` and `{evil}` are host and port, `{url}` what stands before a path, `{x*9}` nine times x.
    fn fill(&self, text: &str) -> Vec<u8> {
        let (good, evil) = self.subject.ports();
        let mut text = text
            .replace("{url}", &self.base)
            .replace("{good}", &format!("good.test:{good}"))
            .replace("{evil}", &format!("evil.test:{evil}"))
            .replace("{port}", &good.to_string());
        while let Some((before, rest)) = text.split_once("{repeat ") {
            let (inner, after) = rest.split_once('}').unwrap();
            let (count, what) = inner.split_once(' ').unwrap();
            text = format!("{before}{}{after}", what.repeat(count.parse().unwrap()));
        }
        // Bytes that are no text: each character stands for the byte of its number.
        text.chars()
            .map(|char| u8::try_from(u32::from(char)).unwrap_or(b'?'))
            .collect()
    }
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

/// A connection on which the ClientHello goes out in pieces.
struct Shaped {
    inner: Box<dyn Duplex>,
    cuts: VecDeque<usize>,
    records: Vec<usize>,
    out: VecDeque<u8>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Shaped {
    /// Sends what is to go out, with a pause at each cut.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            let size = self
                .cuts
                .front()
                .copied()
                .unwrap_or(self.out.len())
                .min(self.out.len());
            let piece: Vec<_> = self.out.iter().take(size).copied().collect();
            let count = ready!(Pin::new(&mut self.inner).poll_write(context, &piece))?;
            self.out.drain(..count);
            ready!(Pin::new(&mut self.inner).poll_flush(context))?;
            if self.cuts.pop_front().is_some() {
                self.pause = Some(Box::pin(sleep(Duration::from_millis(20))));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Shaped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_drain(context))?;
        let records = std::mem::take(&mut self.records);
        let mut rest = bytes;
        if let ([22, _, _, _, _, body @ ..], false) = (bytes, records.is_empty()) {
            rest = body;
            for size in records.into_iter().chain([usize::from(u16::MAX)]) {
                let (now, later) = rest.split_at(size.min(rest.len()));
                rest = later;
                if !now.is_empty() {
                    self.out.extend([22, 3, 1]);
                    self.out
                        .extend(u16::try_from(now.len()).unwrap().to_be_bytes());
                    self.out.extend(now);
                }
            }
        }
        self.out.extend(rest);
        // What is not drained now goes out with the next call.
        let _ = self.poll_drain(context)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = buffers
            .iter()
            .flat_map(|buffer| buffer.iter().copied())
            .collect();
        self.poll_write(context, &all)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl AsyncRead for Shaped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The answer may come before all was said.
        let _ = self.poll_drain(context)?;
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}
