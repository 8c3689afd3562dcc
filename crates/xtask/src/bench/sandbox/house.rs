//! The gateway that is measured, and the calls that are sent to it.

use std::{
    cell::{Cell, RefCell},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::{
    super::contender::{Needs, Program},
    steps::median,
};
use crate::served::{Answer, Client, Gateway, Profile, Tools};

/// How long pools may take to fill.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// An image with numpy and pandas.
const IMAGE: &str = "python-data";

/// What a sandbox has, and how many of them stand ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The host's userland, no interpreter.
    Plain,
    /// The same, with as many ready as begin at once.
    Burst,
    /// An image, and an interpreter with its usual imports.
    Data,
}

impl Route {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Burst => "burst",
            Self::Data => "data",
        }
    }

    pub(super) const fn of(needs: Needs) -> Self {
        match needs {
            Needs::Host => Self::Plain,
            Needs::Image => Self::Data,
        }
    }

    /// Sandboxes that stand ready.
    const fn pool(self, at_once: u32) -> u32 {
        match self {
            Self::Plain | Self::Data => 8,
            Self::Burst => at_once,
        }
    }

    const fn profile(self, at_once: u32) -> Profile {
        let (image, tools) = match self {
            Self::Plain | Self::Burst => ("host", Tools::Shell),
            Self::Data => (IMAGE, Tools::Both),
        };
        let pool = self.pool(at_once);
        Profile {
            route: self.name(),
            session: "thread",
            image,
            tools,
            pool: (pool, pool),
            session_idle_ms: 86_400_000,
            limits: "",
            of_session: "calls = 64",
        }
    }
}

/// A gateway, and one connection to it.
#[derive(Debug)]
pub(super) struct House {
    pub(super) gateway: Gateway,
    pub(super) runtime: Runtime,
    client: RefCell<Client>,
    named: Cell<u64>,
    at_once: u32,
}

impl House {
    /// Starts the gateway in `directory`, with the images of `images` and its pools full.
    pub(super) fn start(
        binary: &Path,
        directory: &Path,
        images: &Path,
        at_once: u32,
    ) -> Result<Self> {
        let routes = [Route::Plain, Route::Burst, Route::Data];
        let profiles = routes.map(|route| route.profile(at_once));
        let gateway = Gateway::start(binary, directory, images, &profiles)?;
        let client = Client::new(&gateway.socket());
        let house = Self {
            gateway,
            runtime: Builder::new_current_thread().enable_all().build()?,
            client: RefCell::new(client),
            named: Cell::new(0),
            at_once,
        };
        for route in routes {
            // A pool is made when somebody asks for the first time.
            let thread = house.thread();
            let opened = house.ask("POST", "/v1/sessions", &open_body(route, &thread))?;
            house.close(&opened)?;
        }
        house.wait_for_pools()?;
        Ok(house)
    }

    /// A name that no thread has had.
    pub(super) fn thread(&self) -> String {
        self.named.set(self.named.get() + 1);
        format!("t{}", self.named.get())
    }

    /// A connection of its own.
    pub(super) fn client(&self) -> Client {
        Client::new(&self.gateway.socket())
    }

    /// Its keeper.
    pub(super) fn keeper(&self) -> Result<i32> {
        let keepers = self.gateway.keepers();
        keepers.first().copied().context("there is no keeper")
    }

    /// Sends one request and waits for its answer.
    pub(super) fn send(&self, method: &str, path: &str, body: String) -> Result<Answer> {
        let mut client = self.client.borrow_mut();
        self.runtime.block_on(client.send(method, path, body))
    }

    /// The same, for an answer that says that all went well.
    pub(super) fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(method, path, body)?.success()
    }

    /// Ends the session of an answer.
    pub(super) fn close(&self, answer: &Value) -> Result<()> {
        self.ask("DELETE", &session_path(answer)?, &Value::Null)?;
        Ok(())
    }

    /// Waits until as many sandboxes stand ready as shall.
    pub(super) fn wait_for_pools(&self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let pools = self.ask("GET", "/v1/pools", &Value::Null)?;
            let pools = pools.get("pools").and_then(Value::as_array);
            let full = |pool: &Value| {
                let ready = pool.get("ready").and_then(Value::as_u64);
                let least = pool.pointer("/size/min").and_then(Value::as_u64);
                ready.is_some() && ready >= least
            };
            if pools.is_some_and(|pools| pools.len() == 3 && pools.iter().all(full)) {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        bail!("the pools did not fill in {} s", PATIENCE.as_secs())
    }

    /// How many sandboxes were made while somebody waited for them.
    pub(super) fn cold(&self) -> Result<u64> {
        let pools = self.ask("GET", "/v1/pools", &Value::Null)?;
        let pools = pools.get("pools").and_then(Value::as_array);
        let cold = |pool: &Value| pool.get("cold").and_then(Value::as_u64);
        Ok(pools.into_iter().flatten().filter_map(cold).sum())
    }

    /// Milliseconds of an empty answer from the gateway, and of one that asks the keeper behind it.
    pub(super) fn hop(&self) -> Result<Option<(f64, f64)>> {
        const ASKED: usize = 200;
        let median_of = |path: &str| {
            let mut times = Vec::new();
            for _ in 0..ASKED {
                let start = Instant::now();
                self.ask("GET", path, &Value::Null)?;
                times.push(start.elapsed().as_secs_f64() * 1_000.0);
            }
            anyhow::Ok(median(times.into_iter()))
        };
        Ok(median_of("/v1/load")?.zip(median_of("/v1/pools")?))
    }

    /// How many sandboxes of [`Route::Burst`] stand ready.
    pub(super) const fn at_once(&self) -> u32 {
        self.at_once
    }
}

/// The path of an answer's session.
pub(super) fn session_path(answer: &Value) -> Result<String> {
    let session = answer.get("session").and_then(Value::as_str);
    let session = session.context("the answer names no session")?;
    Ok(format!("/v1/sessions/{session}"))
}

/// A session to open.
pub(super) fn open_body(route: Route, thread: &str) -> Value {
    json!({ "route": route.name(), "thread": thread })
}

/// A program as a call: Python code is a cell.
pub(super) fn call_body(program: &Program, route: Route, thread: &str) -> Value {
    match program.argv {
        ["/usr/bin/python3", "-c", code] => {
            json!({ "route": route.name(), "thread": thread, "tool": "python", "code": code })
        }
        argv => json!({ "route": route.name(), "thread": thread, "tool": "shell", "argv": argv }),
    }
}

/// The answer of a call that did what it should.
pub(super) fn checked(answer: &Answer, program: &Program) -> Result<Value> {
    let told = answer.success()?;
    let printed = told.get("stdout").and_then(Value::as_str);
    let exit = told.get("exit_code").and_then(Value::as_u64);
    ensure!(
        printed == Some(program.expected) && exit == Some(0),
        "the call did not do what it should: {told}"
    );
    Ok(told)
}
