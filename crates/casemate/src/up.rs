//! `casemate up`: the whole server by one command. It looks after a gateway, which looks after the others.
//!
//! It holds the sockets, so that whoever connects while a gateway is started again waits instead of being refused; it decides
//! nothing and reads no request.

mod child;
mod first_key;
mod others;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::AsFd as _,
    path::Path,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use casemate_api::{BindError, Listener};
use casemate_store::StateDir;
use serde_json::json;
use tokio::{
    runtime::Builder,
    time::{sleep, timeout},
};

use self::child::{Child, Ended};
use crate::{
    activation,
    config::ConfigArgs,
    exit::Exit,
    hold::{self, Hold, NotHeld, Role},
    report::{self, Delivery, Failure},
    run::Signals,
    serve::{Around, Heard, Order, Sockets},
};

/// Where others are heard when nobody says it: on this host only.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7480);

/// How long it takes until a gateway is started again that ended; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// But never longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A gateway that served for so long was a good one.
const STEADY: Duration = Duration::from_secs(30);
/// How long the sockets of one that is ending are waited for.
const TAKE_OVER: Duration = Duration::from_secs(3);
const TAKE_OVER_CHECK: Duration = Duration::from_millis(50);
/// How long the first gateway may take until calls can be run.
const FIRST_START: Duration = Duration::from_mins(1);
/// How long a gateway may take to end, beyond the time that calls have.
const END_TIMEOUT: Duration = Duration::from_secs(15);

/// Start the whole server: gateway, keeper, identity and egress, looked after until it is stopped.
///
/// Without a configuration it is heard on 127.0.0.1:7480 by the holders of API keys, the first of which it makes and prints once,
/// and by this user on a Unix socket. Ctrl-C stops it with everything in it.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    config: ConfigArgs,

    /// Print JSON objects, one a line: the first key, and that it is ready
    #[arg(long)]
    json: bool,

    /// Say in answers to calls how long each step took
    #[arg(long, hide = true)]
    timings: bool,
}

pub(crate) fn run(args: &UpArgs) -> Result<Exit, Failure> {
    // First: no process that is started here gets them.
    let given = activation::sockets()?;
    let mut config = args.config.load()?;
    match activation::address_of(&given)? {
        Some(_) if config.listen.is_some() => {
            activation::refuse_unheard(&given, config.listen)?;
        }
        Some(address) => config.listen = Some(address),
        None => drop(config.listen.get_or_insert(LISTEN)),
    }
    let heard = match config.callers {
        Some(_) => Heard::Nobody,
        None => Heard::Keys,
    };
    let mut order = Order {
        root: config.root()?,
        config,
        heard,
        timings: args.timings,
    };
    // Whatever can be said at once is said before anything is started.
    drop(Around::of(&order)?);
    StateDir::open(&order.root).map_err(Failure::failed)?;
    let _hold = Hold::take(&order.root, Role::Up).map_err(NotHeld::explained)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(error).context("cannot start"))?;
    runtime.block_on(async {
        let listeners = Listeners::of(&order, given).await?;
        order.config.listen = Some(listeners.address);
        let voice = Voice {
            json: args.json,
            url: listeners.url(&order),
        };
        if order.heard == Heard::Keys {
            voice.first_key(&order.root)?;
        }
        let signals = Signals::catch().context("cannot catch signals");
        let signals = signals.map_err(Failure::failed)?;
        let before = others::found(&order.root);
        let mut has_served = false;
        let done = supervise(&order, listeners, &voice, signals, &mut has_served).await;
        // A start that failed ends what it started, and no session that outlived an earlier server.
        let spared = match done.is_err() && !has_served {
            true => before,
            false => Vec::new(),
        };
        others::end(&order.root, &spared).await;
        done
    })
}

/// The sockets, for as long as this lives.
struct Listeners {
    local: Listener,
    network: TcpListener,
    address: SocketAddr,
}

impl Listeners {
    /// Those that are given, and for what is not given those that an order names.
    async fn of(order: &Order, given: Sockets) -> Result<Self, Failure> {
        let local = match given.local {
            Some(given) => Listener::given(given).map_err(Failure::usage)?,
            None => Self::local(order).await?,
        };
        let network = match given.network {
            Some(given) => TcpListener::from(given),
            None => {
                let address = order.config.listen.unwrap_or(LISTEN);
                TcpListener::bind(address).map_err(|error| {
                    Failure::failed(error)
                        .context(format!("cannot listen on {address}"))
                        .hint("name another address with --listen")
                })?
            }
        };
        let address = network.local_addr().map_err(Failure::failed)?;
        Ok(Self {
            local,
            network,
            address,
        })
    }

    async fn local(order: &Order) -> Result<Listener, Failure> {
        let socket = order.socket();
        hold::run_dir(&order.root)?;
        let started = Instant::now();
        loop {
            match Listener::bind(&socket).await {
                // Of one whose supervisor died: it is ending.
                Err(BindError::Taken { .. }) if started.elapsed() < TAKE_OVER => {
                    sleep(TAKE_OVER_CHECK).await;
                }
                bound => return bound.map_err(Failure::failed),
            }
        }
    }

    fn url(&self, order: &Order) -> String {
        let scheme = match order.config.tls.certificate {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}", self.address)
    }
}

/// What is said on standard output.
struct Voice {
    json: bool,
    url: String,
}

impl Voice {
    /// Makes the first key, if there never was one, and says it this once.
    fn first_key(&self, root: &Path) -> Result<(), Failure> {
        if activation::is_logged() {
            report::line(
                "no first key is made, as it would stay in the log: `casemate callers keys new` makes one",
            );
            return Ok(());
        }
        first_key::make(root, |id, key| self.say_key(id, key))
    }

    fn say_key(&self, id: &str, key: &str) -> Result<(), Failure> {
        let url = &self.url;
        let delivered = match self.json {
            true => report::deliver(format_args!("{}\n", json!({ "url": url, "api_key": key }))),
            false => report::deliver(format_args!("CASEMATE_URL={url}\nCASEMATE_API_KEY={key}\n")),
        };
        let unread = match delivered {
            Ok(Delivery::Delivered) => {
                report::line(&format!(
                    "made the API key {id}, valid for {} days; it is shown this once",
                    first_key::DAYS
                ));
                return Ok(());
            }
            Ok(Delivery::Unwanted) => Failure::failed(anyhow!("nobody reads standard output")),
            Err(error) => error,
        };
        Err(unread
            .context("the first key could not be shown, and was taken back")
            .hint("`casemate callers keys new` makes another"))
    }

    fn ready(&self) -> Result<(), Failure> {
        let url = &self.url;
        report::line(&format!("ready on {url}; Ctrl-C stops it"));
        activation::notify_ready();
        if self.json {
            report::print(format_args!("{}\n", json!({ "url": url, "ready": true })))?;
        }
        Ok(())
    }
}

/// Keeps a gateway there until a signal says not to.
async fn supervise(
    order: &Order,
    listeners: Listeners,
    voice: &Voice,
    mut signals: Signals,
    has_served: &mut bool,
) -> Result<Exit, Failure> {
    let mut failures = 0_u32;
    let patience = order.config.limits.start_ms;
    let patience = patience.map_or(FIRST_START, Duration::from_millis);
    loop {
        let local = listeners.local.shared().map_err(Failure::failed)?;
        let started = Child::start(order, local.as_fd(), listeners.network.as_fd());
        let mut gateway =
            started.map_err(|error| Failure::failed(error).context("cannot start the gateway"))?;
        let since = Instant::now();
        let mut late = pin!(sleep(patience));
        let ended = loop {
            tokio::select! {
                said = gateway.next() => match said {
                    None if !*has_served => {
                        *has_served = true;
                        voice.ready()?;
                    }
                    None => report::line("ready again"),
                    Some(ended) => break ended,
                },
                _ = signals.next() => {
                    // Who comes now is refused, and does not wait for an end.
                    drop(listeners);
                    stop(order, gateway, signals).await;
                    return Ok(Exit::Success);
                }
                () = &mut late, if !*has_served => {
                    stop(order, gateway, signals).await;
                    return Err(Failure::failed(anyhow!(
                        "no calls could be run within {} ms",
                        patience.as_millis()
                    ))
                    .hint("what is missing is said above; `limits.start_ms` waits longer"));
                }
            }
        };
        if !*has_served {
            // It has said why.
            return Err(never_served(&ended));
        }
        failures = match since.elapsed() > STEADY {
            true => 0,
            false => failures.saturating_add(1),
        };
        let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(10));
        report::line(&format!("the gateway ended ({ended}); it is started again"));
        tokio::select! {
            () = sleep(pause.min(LONGEST_PAUSE)) => {}
            _ = signals.next() => return Ok(Exit::Success),
        }
    }
}

fn never_served(ended: &Ended) -> Failure {
    let failure = Failure::failed(anyhow!("the gateway did not start: {ended}"));
    match ended.code() {
        Some(1) => failure.exits(Exit::Invalid),
        Some(2) => failure.exits(Exit::Usage),
        _ => failure,
    }
}

/// Lets a gateway end its calls; whoever asks twice is in a hurry.
async fn stop(order: &Order, mut gateway: Child, mut signals: Signals) {
    gateway.ask_to_end();
    let drain = order.config.limits.drain_ms.unwrap_or(30_000);
    let patience = Duration::from_millis(drain) + END_TIMEOUT;
    let ended = async {
        loop {
            tokio::select! {
                said = gateway.next() => if said.is_some() {
                    return;
                },
                _ = signals.next() => gateway.ask_to_end(),
            }
        }
    };
    // What does not end by then is killed as it is dropped.
    drop(timeout(patience, ended).await);
}
