//! What `casemate serve` needs to be heard over a network, checked before anything starts.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::anyhow;
use casemate_api::{Network, NetworkError, TlsFiles, tls_config};
use casemate_callers::{Callers, CallersError};
use casemate_gateway::Clock as _;

use crate::{
    callers,
    report::{self, Failure},
    state::callers_in,
    system::System,
};

/// Over which network the gateway is heard, and by whom.
#[derive(Debug, clap::Args)]
pub(super) struct NetworkArgs {
    /// Listen on this address too, such as 127.0.0.1:8443, for those whom --callers names
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    /// Who may call over the network (.toml)
    #[arg(long, value_name = "FILE")]
    callers: Option<PathBuf>,

    /// The certificate of the server, and those that vouch for it (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Its key (PEM), for this user only to read
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// The authorities that vouch for clients (PEM): a client that presents a certificate must have one of theirs
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
}

/// A network on which the gateway is to be heard.
#[derive(Debug)]
pub(super) struct Front {
    address: SocketAddr,
    tls: Option<TlsFiles>,
    pub(super) callers: Arc<Callers>,
}

impl Front {
    /// What the command line asks for, if it asks for a network.
    pub(super) fn of(args: &NetworkArgs, root: &std::path::Path) -> Result<Option<Self>, Failure> {
        let (address, file) = match (args.listen, &args.callers) {
            (None, None) if args.tls_cert.is_none() => return Ok(None),
            (None, _) => {
                let idle = anyhow!("--callers and --tls-cert are for a network, and there is none");
                return Err(Failure::usage(idle).hint("add --listen with an address"));
            }
            (Some(address), None) => {
                let open = anyhow!("nobody says who may call on {address}");
                return Err(Failure::usage(open)
                    .hint("name a file with --callers: docs/callers.md has one to begin with"));
            }
            (Some(address), Some(file)) => (address, file),
        };
        let tls = args.tls_cert.clone().zip(args.tls_key.clone());
        let tls = tls.map(|(certificates, key)| TlsFiles {
            certificates,
            key,
            client_authorities: args.client_ca.clone(),
        });
        if tls.is_none() && !address.ip().is_loopback() {
            return Err(readable(NetworkError::Readable(address)));
        }
        let text = callers::read(file)?;
        let opened = Callers::open(&text, &callers_in(root), System.now_ms());
        let callers = opened.map_err(|error| match error {
            CallersError::Config(faults) => callers::explain(file, &faults),
            error => Failure::failed(error),
        })?;
        if callers.takes_certificates() && args.client_ca.is_none() {
            let unheard = anyhow!(
                "the callers file has rules for certificates, and no client is asked for one"
            );
            return Err(Failure::usage(unheard).hint("name their authorities with --client-ca"));
        }
        Ok(Some(Self {
            address,
            tls,
            callers: Arc::new(callers),
        }))
    }

    /// Listens.
    pub(super) async fn bind(&self) -> anyhow::Result<Network> {
        let tls = self.tls.as_ref().map(tls_config).transpose()?;
        let network = Network::bind(self.address, tls).await?;
        report::line(&format!("listening on {}", network.address()?));
        Ok(network)
    }
}

fn readable(error: NetworkError) -> Failure {
    Failure::usage(error).hint("name --tls-cert and --tls-key, or listen on 127.0.0.1")
}
