//! Listeners, their chains, and how bytes are passed on.

use std::{net::SocketAddr, sync::Arc};

use super::Compiler;
use crate::{
    access_log::Logs,
    config,
    policy::fault,
    snapshot::{
        listener::{self, Chain, Listener, Serve},
        tcp::Tcp,
    },
};

impl<'a> Compiler<'a> {
    pub(in crate::snapshot) fn listeners(&mut self) -> Vec<Listener> {
        let config = self.config;
        // In the order of the bound ones, so that an index means the same in every snapshot.
        let mut listeners = Vec::new();
        for (name, bound) in self.bound {
            let found = config
                .listeners
                .iter()
                .enumerate()
                .find(|(_, listener)| listener.name == *name);
            match found {
                Some((index, listener)) => listeners.push(self.listener(index, listener, *bound)),
                None => self.problem(
                    "listeners",
                    format!("the listener `{name}` is missing: a listener cannot be removed while the proxy runs"),
                ),
            }
        }
        for (index, listener) in config.listeners.iter().enumerate() {
            if !self.bound.iter().any(|(name, _)| *name == listener.name) {
                self.problem(
                    format!("listeners[{index}]"),
                    format!(
                        "the listener `{}` is new: a listener cannot be added while the proxy runs",
                        listener.name
                    ),
                );
            }
        }
        listeners
    }

    fn listener(
        &mut self,
        index: usize,
        listener: &'a config::Listener,
        bound: SocketAddr,
    ) -> Listener {
        let path = format!("listeners[{index}]");
        let access = (!listener.access_logs.is_empty())
            .then(|| Arc::new(self.access_logs(&path, &listener.access_logs)));
        let chains = listener
            .chains
            .iter()
            .enumerate()
            .map(|(at, chain)| {
                let path = format!("{path}.chains[{at}]");
                self.chain(&path, listener, chain, access.as_ref())
            })
            .collect();
        let default = listener.default_chain.as_ref().map(|chain| {
            let path = format!("{path}.default_chain");
            self.chain(&path, listener, chain, access.as_ref())
        });
        // As Envoy: the address, in which a colon would be a word's end.
        let stat_prefix = listener
            .stat_prefix
            .clone()
            .unwrap_or_else(|| bound.to_string().replace(':', "_"))
            .into();
        Listener::new(
            stat_prefix,
            listener.inspect.clone(),
            access,
            chains,
            default,
        )
    }

    fn chain(
        &mut self,
        path: &str,
        listener: &config::Listener,
        chain: &config::Chain,
        access: Option<&Arc<Logs>>,
    ) -> Chain {
        let name: Arc<str> = chain.name.as_str().into();
        let serve = match &chain.serve {
            config::Serve::Http(manager) => {
                let http = self.http(&format!("{path}.http"), listener, manager);
                self.http.push(http);
                Serve::Http(self.http.len() - 1)
            }
            config::Serve::Tcp(proxy) => {
                let tcp = self.tcp(path, listener, proxy);
                self.tcp.push(Tcp {
                    outer: access.cloned(),
                    chain: Arc::clone(&name),
                    ..tcp
                });
                Serve::Tcp(self.tcp.len() - 1)
            }
        };
        let tls = chain
            .tls
            .as_ref()
            .and_then(|it| match self.lasting.tls.server(it) {
                Ok(server) => Some(server),
                Err(wrong) => {
                    self.wrong_tls(path, &wrong);
                    None
                }
            });
        Chain {
            name,
            matches: chain.matches.clone(),
            tls,
            spoiling: (!chain.spoilt.is_empty()).then(|| listener::Spoiling {
                rules: fault::tls::Rules::new(&chain.spoilt, self.config.seed),
                listener: Arc::clone(&listener.name),
                place: listener.place.clone(),
                numbered: chain.numbered,
                arrivals: self
                    .lasting
                    .arrivals(&format!("{} handshakes", listener.name).into()),
            }),
            handshake_timeout: chain.handshake_timeout,
            limit: chain.limit.as_ref().map(|limit| listener::Limit {
                stat_prefix: limit.stat_prefix.as_str().into(),
                most: limit.most,
                delay: limit.delay,
                active: self
                    .lasting
                    .connections(&format!("{} {}", listener.name, limit.stat_prefix)),
            }),
            serve,
        }
    }

    fn tcp(&mut self, path: &str, listener: &config::Listener, proxy: &config::TcpProxy) -> Tcp {
        let access = self.access_logs(&format!("{path}.tcp"), &proxy.access_logs);
        let faults = fault::tcp::Rules::compile(&proxy.faults, self.config.seed);
        let faults = faults.unwrap_or_else(|what| {
            self.problem(format!("{path}.tcp.faults"), what);
            fault::tcp::Rules::default()
        });
        let faults = Arc::new(faults);
        Tcp {
            access,
            outer: None,
            chain: Arc::from(""),
            live: proxy
                .live
                .then(|| self.lasting.live(&listener.name, &faults)),
            numbered: proxy.numbered,
            faults,
            name: Arc::clone(&listener.name),
            stat_prefix: proxy.stat_prefix.as_str().into(),
            place: listener.place.clone(),
            clusters: proxy
                .clusters
                .iter()
                .map(|(name, weight)| (self.clusters.get(name.as_str()).copied(), *weight))
                .collect(),
            cluster_by_server_name: proxy.cluster_by_server_name,
            choice: self.config.seed.rule(&format!("clusters {path}")),
            idle_timeout: proxy.idle_timeout,
            max_duration: proxy.max_duration,
            max_connect_attempts: proxy.max_connect_attempts,
            hash_source_ip: proxy.hash_source_ip,
            arrivals: self.lasting.arrivals(&listener.name),
        }
    }
}
