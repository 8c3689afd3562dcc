//! What a decider is asked.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    frame::MAX_FRAME_BYTES,
    wire::{fit, is_line, is_name},
};

/// So much of a body is shown at most, whatever a decider asks for.
pub const MAX_SHOWN_BYTES: usize = 1 << 20;
/// Of a host, a server name and a path.
const MAX_NAME_BYTES: usize = 8 << 10;

/// One request, as it would be sent, without what is put in.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The method.
    pub method: &'q str,
    /// The host.
    pub host: &'q str,
    /// The port.
    pub port: u16,
    /// The name that TLS was asked for, if it was.
    pub server_name: Option<&'q str>,
    /// The path.
    pub path: &'q str,
    /// The query, without its `?`.
    pub query: &'q str,
    /// The headers. `host` among them is said apart.
    pub headers: &'q [(&'q str, &'q [u8])],
    /// The body.
    pub body: QuestionBody<'q>,
}

/// The body of a request, if a decider wants to see it.
#[derive(Clone, Copy, Debug)]
pub enum QuestionBody<'q> {
    /// All of it.
    Whole(&'q [u8]),
    /// Its beginning: there is more.
    Beginning(&'q [u8]),
    /// It is not there yet, and cannot be shown.
    Stream,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'q> {
    t: &'static str,
    id: u64,
    method: &'q str,
    host: &'q str,
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_header: Option<&'q str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    sni: &'q str,
    path: &'q str,
    #[serde(skip_serializing_if = "str::is_empty")]
    query: &'q str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: &'q BTreeMap<String, Vec<String>>,
}

impl Question<'_> {
    /// The message with a number, or nothing if the protocol cannot carry the request.
    pub(crate) fn message(&self) -> Option<impl FnOnce(u64) -> Option<Vec<u8>>> {
        let mut headers = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in self.headers {
            // As Node reads bytes that are not ASCII.
            let value: String = value.iter().map(|byte| char::from(*byte)).collect();
            let name = name.to_ascii_lowercase();
            if !is_name(&name) || !is_line(&value) {
                return None;
            }
            headers.entry(name).or_default().push(value);
        }
        let hosts = headers.remove("host").unwrap_or_default();
        let sni = self.server_name.unwrap_or_default();
        let host = hosts.first().map(String::as_str);
        let fits = hosts.len() <= 1
            && fit(&headers)
            && [self.host, host.unwrap_or_default(), sni, self.path]
                .iter()
                .all(|text| text.len() <= MAX_NAME_BYTES)
            && ![self.method, self.host, self.path].contains(&"")
            && self.port != 0;
        let message = Message {
            t: "req",
            // The longest there is, so that no number makes it too long.
            id: (1 << 53) - 1,
            method: self.method,
            host: self.host,
            port: self.port,
            host_header: host,
            sni,
            path: self.path,
            query: self.query,
            headers: &headers,
        };
        let longest = fits.then(|| serde_json::to_value(&message).ok())??;
        (longest.to_string().len() <= MAX_FRAME_BYTES).then_some(move |id: u64| {
            let mut message = longest;
            message.as_object_mut()?.insert("id".to_owned(), id.into());
            serde_json::to_vec(&message).ok()
        })
    }
}
