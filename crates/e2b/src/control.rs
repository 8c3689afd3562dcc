//! The control plane: sandboxes as they are asked for, and as they are shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::ENVD_VERSION;

/// A sandbox to make, in either version.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NewSandbox {
    /// From what.
    #[serde(rename = "templateID")]
    pub template: String,
    /// For how long, in seconds.
    pub timeout: Option<u64>,
    /// Words about it.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Variables of its programs.
    pub env_vars: Option<BTreeMap<String, String>>,
    /// Whether it is to be paused when its time is over.
    pub auto_pause: Option<bool>,
    /// What wakes it up.
    pub auto_resume: Option<Value>,
    /// Whether it may reach others.
    #[serde(rename = "allow_internet_access")]
    pub allow_internet_access: Option<bool>,
    /// Whom it may reach, and who it.
    pub network: Option<Network>,
    /// Servers of the Model Context Protocol in it.
    pub mcp: Option<Value>,
    /// Tokens of identities.
    pub iam: Option<Value>,
    /// Volumes.
    pub volume_mounts: Option<Vec<Value>>,
}

/// Rules of a network.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Network {
    /// Whom it may reach.
    pub allow_out: Option<Vec<String>>,
    /// Whom it may not.
    pub deny_out: Option<Vec<String>>,
    /// Whether anybody reaches its ports.
    pub allow_public_traffic: Option<bool>,
    /// Names for its programs.
    pub dns_servers: Option<Vec<String>>,
    /// A proxy.
    pub egress_proxy: Option<Value>,
    /// What its programs are told to be called.
    pub mask_request_host: Option<String>,
    /// Ports on which it speaks TLS.
    pub https_ports: Option<Vec<u16>>,
    /// What is done with requests on their way.
    pub rules: Option<Value>,
}

/// For how long, from now on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Timeout {
    /// In seconds.
    pub timeout: Option<u64>,
}

/// A sandbox, for whoever made it or connects to it.
#[derive(Debug, Serialize)]
pub struct Sandbox {
    /// From what it was made.
    #[serde(rename = "templateID")]
    pub template: String,
    /// Its id.
    #[serde(rename = "sandboxID")]
    pub id: String,
    /// Always the same.
    #[serde(rename = "clientID")]
    pub client: &'static str,
    /// The template's other name.
    pub alias: String,
    /// Which features there are.
    #[serde(rename = "envdVersion")]
    pub envd_version: &'static str,
    /// What proves who uses it.
    #[serde(rename = "envdAccessToken")]
    pub access_token: String,
    /// What proves who uses its ports.
    #[serde(rename = "trafficAccessToken")]
    pub traffic_token: String,
    /// Where its ports are, if somewhere else than where the client looks.
    pub domain: Option<String>,
}

/// The one who always asks.
pub const CLIENT: &str = "casemate";

/// What there is to say of a sandbox.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// From what it was made.
    #[serde(rename = "templateID")]
    pub template: String,
    /// Its id.
    #[serde(rename = "sandboxID")]
    pub id: String,
    /// Always the same.
    #[serde(rename = "clientID")]
    pub client: &'static str,
    /// The template's other name.
    pub alias: String,
    /// Since when.
    #[serde(rename = "startedAt")]
    pub started_at: String,
    /// Until when.
    #[serde(rename = "endAt")]
    pub end_at: String,
    /// Which features there are.
    #[serde(rename = "envdVersion")]
    pub envd_version: &'static str,
    /// Cores.
    #[serde(rename = "cpuCount")]
    pub cpus: u64,
    /// Memory, in MiB.
    #[serde(rename = "memoryMB")]
    pub memory_mib: u64,
    /// Disk, in MiB.
    #[serde(rename = "diskSizeMB")]
    pub disk_mib: u64,
    /// `running`.
    pub state: &'static str,
    /// Words about it.
    pub metadata: BTreeMap<String, String>,
}

/// A sandbox, for whoever asks after it.
#[derive(Debug, Serialize)]
pub struct Detail {
    /// What lists say too.
    #[serde(flatten)]
    pub listed: Listed,
    /// What proves who uses it.
    #[serde(rename = "envdAccessToken")]
    pub access_token: String,
    /// Whether its profile lets it reach anybody.
    #[serde(rename = "allowInternetAccess")]
    pub allow_internet_access: bool,
    /// Where its ports are.
    pub domain: Option<String>,
}

/// The version of `envd` that clients are told.
#[must_use]
pub const fn envd_version() -> &'static str {
    ENVD_VERSION
}

/// A time, in milliseconds since 1970, as RFC 3339 writes it.
#[must_use]
pub fn time(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.3}")
}

/// What a sandbox uses.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// When.
    pub timestamp: String,
    /// When, in seconds since 1970.
    pub timestamp_unix: u64,
    /// Cores.
    pub cpu_count: u64,
    /// How much of them, in percent.
    pub cpu_used_pct: f64,
    /// Memory, in bytes.
    pub mem_used: u64,
    /// The most.
    pub mem_total: u64,
    /// Of that, what can be taken back.
    pub mem_cache: u64,
    /// Disk, in bytes.
    pub disk_used: u64,
    /// The most.
    pub disk_total: u64,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_a_new_sandbox_are_read() {
        for text in [
            r#"{"templateID":"base"}"#,
            r#"{"templateID":"base","timeout":300,"secure":true,"autoPause":false,"metadata":{"a":"b"},"envVars":{"X":"1"},
               "allow_internet_access":true,"autoPauseMemory":true,"autoResume":{},"network":{"allowOut":["*"]},"later":1}"#,
        ] {
            let new: NewSandbox = serde_json::from_str(text).unwrap();
            assert_eq!(new.template, "base");
        }
        assert!(serde_json::from_str::<NewSandbox>(r#"{"templateID":"a","timeout":-1}"#).is_err());
    }

    #[test]
    fn times_are_read_by_clients() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(1_795_838_400_123), "2026-11-28T04:00:00.123Z");
    }
}
