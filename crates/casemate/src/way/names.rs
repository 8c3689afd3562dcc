//! Addresses of names: from the hosts file, and from the servers that the system's configuration names.
//!
//! Both files are read once: whoever asks later may have no files at all.

use std::{fs, io, net::IpAddr, sync::Arc, time::Duration};

use casemate_egress::{Name, Pending, ResolveError, Resolver};
use hickory_resolver::{
    Hosts, TokioResolver,
    config::{LookupIpStrategy, ResolverConfig, ResolverOpts},
    net::runtime::TokioRuntimeProvider,
    system_conf::parse_resolv_conf,
};

/// Who knows names beside the servers.
const HOSTS: &str = "/etc/hosts";
/// Which servers there are.
const SERVERS: &str = "/etc/resolv.conf";
/// How long one server has for one answer.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often they are asked.
const ATTEMPTS: usize = 2;

/// Asks fixed servers. Whatever they answer is vetted.
#[derive(Debug)]
pub(super) struct Names(TokioResolver);

/// Why nobody can be asked for addresses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NamesError {
    /// The file cannot be read.
    #[error("cannot read `{0}`")]
    Read(&'static str, #[source] io::Error),
    /// The client cannot be made.
    #[error("nobody can be asked for addresses")]
    Client(#[source] hickory_resolver::net::NetError),
}

impl Names {
    /// As the files of this system say. Where they name no server, only the hosts file is asked.
    ///
    /// # Errors
    /// When one of them is there and cannot be read.
    pub(super) fn of_system() -> Result<Self, NamesError> {
        let mut hosts = Hosts::default();
        let known = text(HOSTS)?;
        let read = hosts.read_hosts_conf(known.as_slice());
        read.map_err(|error| NamesError::Read(HOSTS, error))?;
        // A file that names no server is no error: then there is none.
        let found = parse_resolv_conf(text(SERVERS)?);
        let servers =
            found.map_or_else(|_| Vec::new(), |(config, _)| config.name_servers().to_vec());
        // A name means itself: no domain is tried behind it.
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options();
        let mut resolver = builder.build().map_err(NamesError::Client)?;
        resolver.set_hosts(Arc::new(hosts));
        Ok(Self(resolver))
    }
}

fn options() -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = SERVER_TIMEOUT;
    options.attempts = ATTEMPTS;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // What was vetted is dialled, and the next request asks again.
    options.cache_size = 0;
    options.case_randomization = true;
    options
}

fn text(path: &'static str) -> Result<Vec<u8>, NamesError> {
    match fs::read(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(NamesError::Read(path, error)),
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, name: &'a Name) -> Pending<'a, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async move {
            // The dot says that nothing is to be put behind it.
            let found = self.0.lookup_ip(format!("{name}.")).await;
            let mut addresses: Vec<_> = found.map_err(|_| ResolveError)?.iter().collect();
            addresses.sort_unstable();
            addresses.dedup();
            match addresses.is_empty() {
                true => Err(ResolveError),
                false => Ok(addresses),
            }
        })
    }
}
