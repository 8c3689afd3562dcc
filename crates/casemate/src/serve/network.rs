//! What `casemate serve` needs to be heard over a network, checked before anything starts.

use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc};

use anyhow::anyhow;
use casemate_api::{Network, TlsFiles, tls_config};
use casemate_callers::{Callers, CallersError};
use casemate_gateway::Clock as _;

use super::Order;
use crate::{
    callers,
    config::Config,
    report::{self, Failure},
    state::callers_in,
    system::System,
};

/// What a file of callers says for those who have none: the API keys of this gateway count.
const ONLY_KEYS: &str = "audience = \"casemate-run\"\n[api_keys]\n";

/// A network on which the gateway is to be heard.
#[derive(Debug)]
pub(super) struct Front {
    address: SocketAddr,
    tls: Option<TlsFiles>,
    pub(super) callers: Arc<Callers>,
}

impl Front {
    /// What an order asks for, if it asks for a network.
    pub(super) fn of(order: &Order) -> Result<Option<Self>, Failure> {
        let config = &order.config;
        let Some(address) = config.listen else {
            return Ok(None);
        };
        let text = match &config.callers {
            Some(file) => callers::read(file)?,
            None => ONLY_KEYS.to_owned(),
        };
        let opened = Callers::open(&text, &callers_in(&order.root), System.now_ms());
        let callers = opened.map_err(|error| match (error, &config.callers) {
            (CallersError::Config(faults), Some(file)) => callers::explain(file, &faults),
            (error, _) => Failure::failed(error),
        })?;
        if callers.takes_certificates() && config.tls.client_ca.is_none() {
            let unheard = anyhow!(
                "the callers file has rules for certificates, and no client is asked for one"
            );
            return Err(Failure::usage(unheard).hint("name their authorities with --client-ca"));
        }
        Ok(Some(Self {
            address,
            tls: files(config),
            callers: Arc::new(callers),
        }))
    }

    /// Listens, on a socket that is given or its own.
    pub(super) async fn listen(&self, given: Option<OwnedFd>) -> anyhow::Result<Network> {
        let tls = self.tls.as_ref().map(tls_config).transpose()?;
        let network = match given {
            Some(given) => Network::given(given, tls)?,
            None => Network::bind(self.address, tls).await?,
        };
        report::line(&format!("listening on {}", network.address()?));
        Ok(network)
    }
}

fn files(config: &Config) -> Option<TlsFiles> {
    let tls = config.tls.certificate.clone().zip(config.tls.key.clone());
    tls.map(|(certificates, key)| TlsFiles {
        certificates,
        key,
        client_authorities: config.tls.client_ca.clone(),
    })
}

/// Whether the files for TLS can be used, if there are any.
pub(crate) fn tls_of(config: &Config) -> Result<(), Failure> {
    match files(config) {
        Some(files) => tls_config(&files).map(drop).map_err(Failure::invalid),
        None => Ok(()),
    }
}
