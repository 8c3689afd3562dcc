//! Our proxy, as the corpus attacks it.

use std::net::SocketAddr;

use casemate_attacks::{Case, Destinations, Duplex, Later, Subject, Within};
use casemate_egress::Stage;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::{
    client::{config, config_of},
    world::{Rule, World},
};

pub(crate) struct Ours {
    world: World,
    roots: Vec<u8>,
}

impl Ours {
    /// A proxy as `case` needs it, and where its attacks lead to.
    pub(crate) async fn new(case: &Case) -> (Self, Destinations) {
        let destinations = Destinations::new().await.unwrap();
        let is_plain = case.place == Some(Within::Plain) || case.plaintext;
        let good = match is_plain {
            true => &destinations.plain,
            false => &destinations.good,
        };
        let world = World::new(&destinations.roots.pem, Vec::new());
        world.allow(
            "good.test",
            Rule {
                plaintext: is_plain,
                ..Rule::local(good.port)
            },
        );
        for (name, addresses) in &case.names {
            world.allow(name, Rule::public());
            world
                .addresses
                .known
                .lock()
                .unwrap()
                .insert(name.clone(), addresses.clone());
        }
        let roots = destinations.roots.pem.clone();
        (Self { world, roots }, destinations)
    }
}

impl Subject for Ours {
    fn connect(&self) -> Later<'_, Box<dyn Duplex>> {
        Box::pin(async { Box::new(self.world.connect()) as Box<dyn Duplex> })
    }

    fn dial(&self, address: SocketAddr) -> Option<Later<'_, Box<dyn Duplex>>> {
        Some(Box::pin(async move {
            Box::new(self.world.connect_to(address)) as Box<dyn Duplex>
        }))
    }

    fn ask<'a>(&'a self, message: &'a [u8]) -> Option<Later<'a, Vec<u8>>> {
        Some(Box::pin(async {
            self.world
                .proxy
                .answer_dns(message, &self.world.origin)
                .await
                .unwrap()
        }))
    }

    fn trust(&self, alpn: &[&[u8]], pinned: bool) -> ClientConfig {
        if !pinned {
            return config(&self.world.proxy, alpn);
        }
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&self.roots).unwrap())
            .unwrap();
        config_of(roots, alpn)
    }

    fn denials(&self) -> Later<'_, Option<Vec<String>>> {
        Box::pin(async {
            // Connections that are still being closed write their records, if they have any.
            while self.world.proxy.connections() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            let all = self.world.records.all.lock().unwrap();
            let codes = all.iter().filter_map(|record| match record.stage {
                Stage::Denied(code) | Stage::Ended(Some(code)) => Some(code.to_string()),
                Stage::Sent | Stage::Ended(None) => None,
            });
            Some(codes.collect())
        })
    }
}
