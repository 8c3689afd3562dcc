//! A server that takes messages, or does not. Tests of other crates use it too.
#![allow(dead_code, reason = "not every test asks everything")]

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// A message as it came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A server on this host.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    /// One that gives these answers, and then 204.
    pub(crate) fn answering(answers: &[&str]) -> Self {
        Self::on(&TcpListener::bind("127.0.0.1:0").unwrap(), answers)
    }

    pub(crate) fn on(listener: &TcpListener, answers: &[&str]) -> Self {
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            got: Arc::default(),
        };
        let got = Arc::clone(&receiver.got);
        let listener = listener.try_clone().unwrap();
        let mut answers: Vec<_> = answers
            .iter()
            .rev()
            .map(|&answer| answer.to_owned())
            .collect();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let answer = answers.pop().unwrap_or_else(|| "204 No Content".into());
                if let Some(message) = take(stream, &answer) {
                    got.lock().unwrap().push(message);
                }
            }
        });
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// The first so many messages, when they are there.
    pub(crate) fn wait(&self, count: usize) -> Vec<Got> {
        for _ in 0..6_000 {
            let got = self.got();
            if got.len() >= count {
                return got;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("{} messages instead of {count}", self.got().len());
    }
}

fn take(mut stream: TcpStream, answer: &str) -> Option<Got> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    assert!(line.starts_with("POST /in HTTP/1.1"), "{line}");
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    reader.read_exact(&mut body).ok()?;
    write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").ok()?;
    let body = String::from_utf8(body).unwrap();
    answer.starts_with('2').then_some(Got { headers, body })
}
