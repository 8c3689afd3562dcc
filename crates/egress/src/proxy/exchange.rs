//! The life of one request: a value that changes type as more is known of it. What sends takes only the last.
//!
//! ```text
//! Head ─same name everywhere─► Aimed ─judge─► Allowed ─resolve, vet, connect, verify─► Reached
//!      ─inject, record─► Ready ─send─► answer
//! ```

mod answer;
mod steps;
mod whole;

use std::sync::Arc;

use http::Response;

pub(crate) use self::answer::strip;
use self::steps::Aimed;
use super::{
    Inner,
    draft::Draft,
    links::Links,
    platform,
    reply::{Body, Reply, full, refusal},
};
use crate::{
    Code, Denial, Enquiry, Entry, Name, Origin, Scheme, Target,
    head::{Aim, Head},
};

/// Where the requests of a client connection come from, and where they may go.
pub(crate) struct Leg {
    pub(crate) inner: Arc<Inner>,
    pub(crate) origin: Origin,
    pub(crate) entry: Entry,
    /// The one destination, if the connection is for one.
    pub(crate) fixed: Option<Target>,
    pub(crate) server_name: Option<Name>,
    /// Whether the client speaks HTTP/2 here.
    pub(crate) speaks_h2: bool,
    links: Arc<Links>,
}

impl Leg {
    /// The connection of a client that knows the proxy.
    pub(crate) fn proxy(inner: Arc<Inner>, origin: Origin) -> Self {
        Self {
            inner,
            origin,
            entry: Entry::Absolute,
            fixed: None,
            server_name: None,
            speaks_h2: false,
            links: Arc::new(Links::new()),
        }
    }

    /// A connection for `target` only.
    pub(crate) fn fixed(
        inner: Arc<Inner>,
        origin: Origin,
        entry: Entry,
        target: Target,
        server_name: Option<Name>,
    ) -> Self {
        Self {
            entry,
            fixed: Some(target),
            server_name,
            ..Self::proxy(inner, origin)
        }
    }

    pub(crate) fn draft(&self) -> Option<Draft> {
        let mut draft = Draft::open(&self.inner, self.origin.clone(), self.entry)?;
        draft.record.target.clone_from(&self.fixed);
        draft.record.server_name = self.server_name.as_ref().map(Name::to_string);
        Some(draft)
    }
}

/// Answers one request: with what its destination answers, or with why not. It is recorded either way.
pub(crate) async fn answer(leg: &Leg, head: Result<Head, Code>, body: Body) -> Reply {
    if let Some(given) = head.as_ref().ok().and_then(|head| placeholder(leg, head)) {
        return Reply::Response(given);
    }
    let Some(mut draft) = leg.draft() else {
        return Reply::Response(refusal(&Code::RecordUnavailable.into(), None));
    };
    match go(leg, head, body, &mut draft).await {
        Ok(answered) => answered.reply(leg, draft),
        Err(denial) => {
            draft.deny(&denial).await;
            Reply::Response(refusal(&denial, Some(draft.record.decision)))
        }
    }
}

/// The answer to a program that asks its platform for credentials. It comes from this process, and nothing leaves it.
fn placeholder(leg: &Leg, head: &Head) -> Option<Response<Body>> {
    let placeholders = leg.inner.placeholders.as_ref()?;
    let (at_platform, path) = match (&leg.fixed, &head.aim) {
        (None, Aim::Origin { path, .. }) => (false, path),
        (
            None,
            Aim::Absolute {
                scheme: Scheme::Http,
                host,
                port,
                path,
            },
        ) => (platform::is_it(host, *port)?, path),
        (Some(target), Aim::Origin { host, port, path }) if target.scheme == Scheme::Http => {
            platform::is_it(&target.host, Some(target.port))?;
            (platform::is_it(host, *port)?, path)
        }
        _ => return None,
    };
    let given = placeholders.give(&Enquiry {
        at_platform,
        method: &head.method,
        path: &path.path,
        query: path.query.as_deref(),
        fields: &head.fields,
    })?;
    Some(given.map(full))
}

async fn go(
    leg: &Leg,
    head: Result<Head, Code>,
    body: Body,
    draft: &mut Draft,
) -> Result<answer::Answer, Denial> {
    draft.enter().await?;
    let aimed = Aimed::new(leg, head?, body, draft)?;
    let allowed = Box::pin(aimed.judge(leg, draft)).await?;
    let reached = Box::pin(allowed.reach(leg, draft)).await?;
    let ready = reached.inject(leg, draft).await?.record(leg, draft).await?;
    Box::pin(ready.send(leg, draft)).await
}
