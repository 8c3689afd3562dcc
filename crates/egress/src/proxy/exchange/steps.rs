//! From a head to a request that may be sent.

use std::sync::atomic::Ordering;

use casemate_model::{Digest, has_escaped_slash, is_header, query_names};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version, header, uri::PathAndQuery};

use super::{
    super::{
        draft::Draft,
        flow::{Outgoing, field_bytes},
        links::Sender,
        reply::{Body, full},
    },
    Leg,
    whole::whole,
};
use crate::{
    Allowance, BodyLength, Code, Denial, Destination, Entry, Facts, Flow, InjectError, Injection,
    Scheme, Whole,
    head::{Aim, Head, Length, Path},
    judge::make_readable,
    limits::MAX_JUDGED_BODY_BYTES,
};

/// A request with one destination, which everything in it names.
pub(super) struct Aimed {
    facts: Facts,
    body: Body,
}

/// A request that may be made.
pub(super) struct Allowed {
    facts: Facts,
    body: Body,
    allowance: Allowance,
}

/// And a connection to its destination, whose addresses were vetted and whose certificate is right.
pub(super) struct Reached {
    allowed: Allowed,
    sender: Sender,
    /// Whether the credential was presented to it.
    presented: bool,
}

/// And its credential.
pub(super) struct Injected {
    reached: Reached,
    injection: Option<Injection>,
}

/// And a record. This can be sent, and nothing else.
pub(super) struct Ready {
    pub(super) request: Request<Outgoing>,
    pub(super) sender: Sender,
    pub(super) facts: Facts,
    pub(super) allowance: Allowance,
    pub(super) injection: Option<Injection>,
}

impl Aimed {
    /// Finds the one destination of a request.
    pub(super) fn new(
        leg: &Leg,
        head: Head,
        body: Body,
        draft: &mut Draft,
    ) -> Result<Self, Denial> {
        draft.record.method = Some(head.method.to_string());
        let (target, path, entry) = match (&leg.fixed, head.aim) {
            (Some(target), Aim::Origin { host, port, path }) => {
                if !target.is(&host, port) {
                    return Err(Code::AuthorityMismatch.into());
                }
                (target.clone(), path, leg.entry)
            }
            (
                None,
                Aim::Absolute {
                    scheme,
                    host,
                    port,
                    path,
                },
            ) => {
                let port = port.unwrap_or(scheme.port());
                (crate::Target { scheme, host, port }, path, Entry::Absolute)
            }
            (None, Aim::Origin { path, .. }) => {
                let mut routes = leg.inner.routes.iter();
                let found = routes.find_map(|route| route.resolve(&path));
                let (target, path) = found.ok_or(Code::EgressDenied)??;
                draft.record.entry = Entry::Route;
                draft.record.target = Some(target.clone());
                // Whoever can speak that knows its destination by name.
                if head.websocket {
                    return Err(Code::UpgradeRefused.into());
                }
                (target, path, Entry::Route)
            }
            // A whole URL where only a path can be meant.
            (Some(_), Aim::Absolute { .. }) => return Err(Code::Framing.into()),
            (_, Aim::Tunnel { .. }) => return Err(Code::MethodRefused.into()),
        };
        draft.record.entry = entry;
        draft.record.target = Some(target.clone());
        draft.record.path = Some(path.path.clone());
        let destination = Destination::new(
            target,
            &leg.origin,
            leg.inner.judge.as_ref(),
            &leg.inner.vetting,
        )?;
        draft.record.class = Some(destination.class());
        draft.record.rule = Some(destination.rule().to_owned());
        let mut fields = head.fields;
        if let Some(placeholders) = &leg.inner.placeholders {
            placeholders.take(&mut fields);
        }
        if leg.inner.filters.looks() {
            // As it is sent it is judged.
            make_readable(&mut fields);
        }
        let Path { path, query } = path;
        let length = match head.length {
            Length::Nothing => BodyLength::Empty,
            Length::Bytes(bytes) => BodyLength::Bytes(bytes),
            Length::Chunked | Length::Stream => BodyLength::Unknown,
        };
        let facts = Facts {
            decision: draft.record.decision,
            origin: leg.origin.clone(),
            entry,
            destination,
            server_name: draft.record.server_name.clone(),
            method: head.method,
            path,
            query,
            fields,
            length,
            body: None,
            websocket: head.websocket,
        };
        Ok(Self { facts, body })
    }

    /// Asks whether it may be made, with its body if the decision is about that.
    pub(super) async fn judge(mut self, leg: &Leg, draft: &mut Draft) -> Result<Allowed, Denial> {
        let judge = &leg.inner.judge;
        if let Some(most) = judge.body_bytes(&self.facts) {
            let most = most.min(MAX_JUDGED_BODY_BYTES);
            let bytes = whole(
                self.body,
                most,
                [&leg.inner.share.held, &leg.inner.room.held],
            )
            .await?;
            let digest = Digest::of(&bytes);
            draft.record.body = Some(digest);
            self.body = full(bytes.clone());
            self.facts.length = BodyLength::Bytes(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            self.facts.body = Some(Whole { bytes, digest });
        }
        let allowance = judge.judge(&self.facts).await?;
        draft.record.rule = Some(allowance.rule.clone());
        draft.record.side_effect = Some(allowance.side_effect);
        if matches!(self.facts.length, BodyLength::Bytes(bytes) if bytes > allowance.body_bytes) {
            return Err(denied(Code::BodyTooLarge, &allowance));
        }
        if has_escaped_slash(&self.facts.path) && !allowance.escaped_slash {
            return Err(denied(Code::PathAmbiguous, &allowance));
        }
        if self.facts.websocket && allowance.messages.is_none() {
            return Err(denied(Code::UpgradeRefused, &allowance));
        }
        self.facts.remove(&allowance.without);
        Ok(Allowed {
            facts: self.facts,
            body: self.body,
            allowance,
        })
    }
}

fn unlent(error: InjectError, allowance: &Allowance) -> Denial {
    let code = match error {
        InjectError::Scope => Code::CredScope,
        InjectError::Unavailable => Code::CredUnavailable,
    };
    denied(code, allowance)
}

fn denied(code: Code, allowance: &Allowance) -> Denial {
    Denial {
        rule: Some(allowance.rule.clone()),
        ..code.into()
    }
}

impl Allowed {
    /// Connects to the destination.
    pub(super) async fn reach(self, leg: &Leg, draft: &mut Draft) -> Result<Reached, Denial> {
        // A person may have taken long to consent.
        if !leg.inner.judge.stands(&self.allowance.rule) {
            return Err(denied(Code::Revoked, &self.allowance));
        }
        let (inner, destination) = (&leg.inner, &self.facts.destination);
        let handle = self.allowance.credential.as_ref();
        let presented = handle.filter(|handle| inner.injector.presents(handle));
        let sender = match presented {
            Some(handle) => {
                let presenting = present(&self.facts, &self.allowance, handle, leg, draft);
                Box::pin(presenting).await?
            }
            None => {
                let reaching = leg.links.reach(inner, destination, leg.speaks_h2, draft);
                reaching.await?
            }
        };
        Ok(Reached {
            presented: presented.is_some(),
            allowed: self,
            sender,
        })
    }
}

/// Connects to the destination with a certificate, which is asked for when there is somebody to present it to.
async fn present(
    facts: &Facts,
    allowance: &Allowance,
    handle: &str,
    leg: &Leg,
    draft: &mut Draft,
) -> Result<Sender, Denial> {
    let (inner, destination) = (&leg.inner, &facts.destination);
    if destination.target().scheme != Scheme::Https {
        return Err(denied(Code::PlaintextDenied, allowance));
    }
    let dialled = leg.links.dial(inner, destination, draft).await?;
    draft.record.credential = Some(handle.to_owned());
    let granted = inner.injector.present(handle, &allowance.rule, facts).await;
    let certificate = granted.map_err(|error| unlent(error, allowance))?;
    let links = &leg.links;
    let presenting = links.present(inner, destination, dialled, certificate, draft);
    Ok(presenting.await?)
}

impl Reached {
    /// Asks for the credential, now that the destination has proven who it is.
    pub(super) async fn inject(self, leg: &Leg, draft: &mut Draft) -> Result<Injected, Denial> {
        let Allowed {
            facts, allowance, ..
        } = &self.allowed;
        let Some(handle) = &allowance.credential else {
            return Ok(Injected {
                reached: self,
                injection: None,
            });
        };
        if self.presented {
            return Ok(Injected {
                reached: self,
                injection: Some(Injection::empty()),
            });
        }
        if facts.destination.target().scheme != Scheme::Https {
            return Err(denied(Code::PlaintextDenied, allowance));
        }
        draft.record.credential = Some(handle.clone());
        let injector = &leg.inner.injector;
        let rendered = injector.render(handle, &allowance.rule, facts).await;
        let injection = rendered.map_err(|error| unlent(error, allowance))?;
        Ok(Injected {
            reached: self,
            injection: Some(injection),
        })
    }
}

impl Injected {
    /// Puts the request together from what was judged, and writes down that it is about to be sent.
    pub(super) async fn record(self, leg: &Leg, draft: &mut Draft) -> Result<Ready, Denial> {
        let Self {
            reached:
                Reached {
                    allowed,
                    sender,
                    presented,
                },
            injection,
        } = self;
        let Allowed {
            facts,
            body,
            allowance,
        } = allowed;
        let is_h2 = matches!(sender, Sender::Http2(_));
        let body = match injection.as_ref().and_then(Injection::body) {
            Some(with) if with.len() as u64 > allowance.body_bytes => {
                return Err(denied(Code::BodyTooLarge, &allowance));
            }
            Some(with) => full(with.clone()),
            None => body,
        };
        let mut request = Request::new(Outgoing::new(body, &leg.inner, allowance.clone(), draft));
        *request.method_mut() = facts.method.clone();
        *request.uri_mut() = uri(&facts, injection.as_ref(), is_h2)?;
        *request.version_mut() = if is_h2 {
            Version::HTTP_2
        } else {
            Version::HTTP_11
        };
        let fields = request.headers_mut();
        *fields = facts.sent(injection.is_some());
        if !is_h2 {
            fields.remove(header::TE);
            let host = facts.destination.target().authority();
            fields.insert(header::HOST, value(&host)?);
        }
        if facts.websocket {
            fields.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            fields.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            // Compressed messages could not be looked at.
            fields.remove(header::SEC_WEBSOCKET_EXTENSIONS);
        }
        if let Some(injection) = &injection {
            if has_beside(&facts, fields, injection) {
                return Err(denied(Code::CredScope, &allowance));
            }
            for (name, value) in injection.fields() {
                fields.insert(name, value.clone());
            }
        }
        // Connecting took time, and so did the credential.
        if !leg.inner.judge.stands(&allowance.rule) {
            return Err(denied(Code::Revoked, &allowance));
        }
        if let Some(injection) = &injection {
            let learnt = leg.inner.filters.learn(injection);
            learnt.map_err(|_| denied(Code::CredUnavailable, &allowance))?;
        }
        let bytes = head_bytes(&facts, fields);
        leg.inner.judge.spend(&allowance, Flow::Out, bytes)?;
        draft.moved.bytes.store(bytes, Ordering::Relaxed);
        // A handshake with a credential is on record, and this goes with it.
        if !presented {
            draft
                .sent()
                .await
                .map_err(|code| denied(code, &allowance))?;
        }
        Ok(Ready {
            request,
            sender,
            facts,
            allowance,
            injection,
        })
    }
}

/// Fields that say what a body is.
const DIGESTS: &[&str] = &["content-digest", "content-md5", "digest", "repr-digest"];

/// Whether the client says something beside what is injected: by the same name of the query, or by another spelling of the same field.
/// Servers differ in which of two they take. What cannot be read may be the same.
fn has_beside(facts: &Facts, fields: &HeaderMap, injection: &Injection) -> bool {
    let ours = injection.query().map(String::from_utf8_lossy);
    let theirs = facts.query.as_deref().unwrap_or_default();
    let in_query = ours.is_some_and(|pairs| {
        let ours: Vec<_> = query_names(&pairs).flatten().collect();
        let is_ours = |name: &str| ours.iter().any(|ours| name.eq_ignore_ascii_case(ours));
        query_names(theirs).any(|name| name.is_none_or(|name| is_ours(&name)))
    });
    let mut injected = injection.fields().iter();
    // Of a body that is not the client's any more.
    let is_digest = |name: &HeaderName| DIGESTS.iter().any(|of| is_header(name.as_str(), of));
    in_query
        || injection.body().is_some() && fields.keys().any(is_digest)
        || injected.any(|(ours, _)| {
            let mut theirs = fields.keys().filter(|name| *name != ours);
            theirs.any(|name| is_header(name.as_str(), ours.as_str()))
        })
}

/// Bytes of what a head says: a path, a query or a field carries as much as a body.
fn head_bytes(facts: &Facts, fields: &HeaderMap) -> u64 {
    let query = facts.query.as_ref().map_or(0, |query| 1 + query.len());
    let line = facts.method.as_str().len() + facts.path.len() + query;
    u64::try_from(line)
        .unwrap_or(u64::MAX)
        .saturating_add(field_bytes(fields))
}

fn value(text: &str) -> Result<HeaderValue, Code> {
    HeaderValue::from_str(text).map_err(|_| Code::HostSyntax)
}

/// Where the request goes, in the bytes that were judged, and with what a credential adds to the query.
fn uri(facts: &Facts, injection: Option<&Injection>, whole: bool) -> Result<Uri, Code> {
    let added = injection
        .and_then(Injection::query)
        .map(str::from_utf8)
        .transpose()
        .map_err(|_| Code::CredUnavailable)?;
    let query = match (facts.query.as_deref(), added) {
        (Some(query), Some(added)) if !query.is_empty() => Some(format!("{query}&{added}")),
        (_, Some(added)) => Some(added.to_owned()),
        (query, None) => query.map(ToOwned::to_owned),
    };
    let path = injection.and_then(Injection::path);
    let path = Path {
        path: path.unwrap_or(&facts.path).to_owned(),
        query,
    }
    .joined();
    let parsed = PathAndQuery::try_from(path.as_str()).map_err(|_| Code::PathAmbiguous)?;
    if parsed.as_str() != path {
        return Err(Code::PathAmbiguous);
    }
    if !whole {
        return Ok(Uri::from(parsed));
    }
    let target = facts.destination.target();
    Uri::builder()
        .scheme(target.scheme.as_str())
        .authority(target.authority())
        .path_and_query(parsed)
        .build()
        .map_err(|_| Code::HostSyntax)
}
