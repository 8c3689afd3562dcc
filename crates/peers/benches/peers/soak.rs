//! Whether ours grows: an hour of a little of everything, and its memory each minute.

use std::{
    env, fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use casemate_attacks::Roots;
use rustls::{ClientConfig, client::Resumption, pki_types::CertificateDer};
use serde_json::{Value, json};
use tokio::time::{interval, sleep};

use crate::{
    Failure,
    agent::{Agent, Counts, Way},
    equipped,
    load::{Connection, Route},
    names, origin,
    peer::{Peer, Rules},
    speed::memory,
};

/// Of each process, a second.
const STEPS: u32 = 20;
/// Names that requests go to.
const DESTINATIONS: u32 = 10_000;
/// How many steps a call has before the next one comes.
const CALL_STEPS: u32 = 200;
/// How many steps a credential has.
const KEY_STEPS: u32 = 50;
/// Pieces of a stream before it is cut.
const PIECES: usize = 3;
const MINUTE: Duration = Duration::from_secs(60);

pub(crate) fn soak() -> Result<(), Failure> {
    let minutes = env::var("CASEMATE_SOAK_MINUTES").ok();
    let minutes = minutes.map_or(Ok(60), |minutes| minutes.parse::<u32>())?;
    let binary = PathBuf::from(env::var_os("CASEMATE_BINARY").ok_or("which casemate?")?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(load(&binary, minutes))?;
    println!("{report:#}");
    Ok(())
}

async fn load(binary: &Path, minutes: u32) -> Result<Value, Failure> {
    let mut known = names::names(&[]);
    let here = known.get("good.test").cloned().unwrap_or_default();
    known.extend((0..DESTINATIONS).map(|at| (destination(at), here.clone())));
    let _names = names::serve(known).await?;
    let roots = Roots::new();
    let certified = ["good.test", "*.good.test"];
    let origin = origin::serve(roots.server(&certified, &[b"http/1.1"], |_| {})).await?;
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let path = directory.path().join("roots.pem");
    fs::write(&path, &roots.pem)?;
    let own = directory.path().join("equipped");
    fs::create_dir(&own)?;
    let allowed = [("good.test".to_owned(), origin)];
    let peer = equipped::start(
        &Rules {
            directory: &own,
            port: 20_000,
            plain: 1,
            allowed: &allowed,
            roots: &path,
        },
        equipped::NAME,
    )?;
    let agent = Agent::start(binary, &directory.path().join("agent"), &path).await?;
    let (agent_pid, peer_pid) = (agent.pid(), peer.child.id());
    let counts = Arc::new(Counts::default());
    let agent = tokio::spawn(calls(agent, origin, minutes, Arc::clone(&counts)));
    let peer = tokio::spawn(keys(peer, origin, minutes));
    let mut samples = Vec::new();
    for minute in 0..=minutes {
        // The first mark is after the first seconds: what there is one of is there by then.
        sleep(if minute == 0 { MINUTE / 6 } else { MINUTE }).await;
        if agent.is_finished() || peer.is_finished() {
            break;
        }
        let sample = json!({
            "minute": minute,
            "agent_kib": memory(agent_pid, "VmRSS")?,
            "equipped_kib": memory(peer_pid, "VmRSS")?,
        });
        eprintln!("{sample}");
        samples.push(sample);
    }
    let (agent_steps, peer_steps) = (agent.await??, peer.await??);
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::SeqCst);
    Ok(json!({
        "minutes": minutes,
        "samples": samples,
        "agent_steps": agent_steps,
        "equipped_steps": peer_steps,
        "sent": count(&counts.sent),
        "ended": count(&counts.ended),
        "denied": count(&counts.denied),
    }))
}

fn destination(at: u32) -> String {
    format!("h{at}.good.test")
}

/// When a soak of so many minutes is over: a little after its last sample.
fn until(minutes: u32) -> Instant {
    Instant::now() + MINUTE * minutes + MINUTE / 3
}

/// One client of a proxy, which does a little of everything.
struct Client {
    proxy: u16,
    origin: u16,
    trust: Arc<ClientConfig>,
    kept: Option<Connection>,
}

impl Client {
    fn new(proxy: u16, origin: u16, authority: &CertificateDer<'static>) -> Self {
        let mut trust = Peer::trusting(authority, &[]);
        trust.resumption = Resumption::disabled();
        Self {
            proxy,
            origin,
            trust: Arc::new(trust),
            kept: None,
        }
    }

    async fn open(&self, name: &str) -> Result<Connection, Failure> {
        let route = Route {
            name: name.to_owned(),
            proxy: Some(self.proxy),
            origin: self.origin,
            trust: Arc::clone(&self.trust),
        };
        Connection::open(&route).await
    }

    /// A stream that has begun.
    async fn stream(&self) -> Result<Connection, Failure> {
        let mut stream = self.open("good.test").await?;
        stream.ask("/endless").await?;
        for _ in 0..PIECES {
            stream.some().await?;
        }
        Ok(stream)
    }

    async fn step(&mut self, number: u32) -> Result<(), Failure> {
        match number % 5 {
            // A destination that was long not asked for.
            0 => {
                let name = destination(number / 5 % DESTINATIONS);
                self.open(&name).await?.get("/").await?;
            }
            // What is refused, before a tunnel and in one.
            1 => {
                if self.open("evil.test").await.is_ok() {
                    return Err("evil.test was reached".into());
                }
            }
            2 => {
                let mut kept = self.open("good.test").await?;
                kept.say("DELETE", "/").await?;
                if !kept.status().await?.starts_with("HTTP/1.1 4") {
                    return Err("DELETE was sent".into());
                }
            }
            // A stream that its client leaves.
            3 => drop(self.stream().await?),
            _ => {
                let mut kept = match self.kept.take() {
                    Some(kept) => kept,
                    None => self.open("good.test").await?,
                };
                kept.get("/").await?;
                self.kept = Some(kept);
            }
        }
        Ok(())
    }
}

/// Calls of the process of an agent, one after the other; each ends with a stream that is cut off.
async fn calls(
    agent: Agent,
    origin: u16,
    minutes: u32,
    counts: Arc<Counts>,
) -> Result<u32, Failure> {
    let rules = equipped::profile(&[origin], None);
    let mut beat = interval(Duration::from_secs(1) / STEPS);
    let (until, mut number) = (until(minutes), 0);
    while Instant::now() < until {
        // Other rules now and then, as they come with other profiles.
        let rules = format!("{rules}# {}\n", number / CALL_STEPS % 200);
        let way: Way = agent.open(&rules, Arc::clone(&counts) as _).await?;
        let mut client = Client::new(way.port, origin, &way.authority);
        for _ in 0..CALL_STEPS {
            beat.tick().await;
            client.step(number).await?;
            number += 1;
        }
        let mut stream = client.stream().await?;
        way.served.close().await?;
        stream.drain().await;
    }
    Ok(number)
}

/// Credentials of a proxy of one call that lasts, one after the other; and rules that are withdrawn.
async fn keys(mut peer: Peer, origin: u16, minutes: u32) -> Result<u32, Failure> {
    let mut beat = interval(Duration::from_secs(1) / STEPS);
    let (until, mut number) = (until(minutes), 0);
    let mut client = Client::new(peer.port, origin, &peer.authority.clone());
    let mut told = peer.child.stdin.take().ok_or("nobody listens")?;
    while Instant::now() < until {
        beat.tick().await;
        client.step(number).await?;
        number += 1;
        if number % KEY_STEPS == 0 {
            let key: String = (0..40).map(|_| fastrand::alphanumeric()).collect();
            writeln!(told, "{key}")?;
        }
        if number % CALL_STEPS == 0 {
            let mut stream = client.stream().await?;
            writeln!(told)?;
            stream.drain().await;
            writeln!(told)?;
            client.kept = None;
            // On a busy machine it takes a while until they are given back.
            for _ in 0..100 {
                sleep(Duration::from_millis(20)).await;
                if client.stream().await.is_ok() {
                    break;
                }
            }
        }
    }
    Ok(number)
}
