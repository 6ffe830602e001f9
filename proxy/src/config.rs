//! Plain data that a scenario and an Envoy file both become. Nothing here owns a handle.

use std::net::SocketAddr;

use crate::draw::Seed;

pub mod access_log;
mod cluster;
mod filter;
mod inspect;
mod listener;
mod local_reply;
mod problem;
mod route;
mod signature;
mod tcp;
pub mod tls;
mod tries;

pub use access_log::AccessLog;
pub use cluster::{
    Address, Cluster, Discovery, Dns, Endpoint, Family, Keepalive, Locality, Spread, Status,
};
pub use filter::{Filter, Named, RateLimit, Steps};
pub use inspect::{Except, Inspect, Inspector, Late};
pub use listener::{
    Chain, ClientCert, ConnectionLimit, Direction, ForwardClientCert, HttpManager, Listener, Place,
    Serve,
};
pub use local_reply::{BodyFormat, LocalReplies, Mapper};
pub use problem::Problem;
pub use route::{Action, ClusterName, Forward, Port, Route, Routing, Target, VirtualHost};
pub use signature::Signature;
pub use tcp::TcpProxy;
pub use tries::{Fallback, Tries};

/// All that a proxy does.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The seed of its draws.
    pub seed: Seed,
    /// The testbed run whose trace ids name ordinal, side and due time (40 bits); `None`: ordinals are those of arrival.
    pub run: Option<u64>,
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Where it sends.
    pub clusters: Vec<Cluster>,
    /// Where its admin port listens.
    pub admin: Option<SocketAddr>,
}

impl Config {
    /// Everything that is wrong with it, at once: names taken twice, clusters that are not there, bad regular expressions,
    /// weights that add up to nothing, fault rules and mirrors that cannot be.
    pub fn check(&self) -> Vec<Problem> {
        problem::find(self)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        policy::{
            fault::{self, Fault, Select, abort::Abort},
            matcher::{How, Matcher, Text},
            mirror::{Mirror, SampleKey},
            rewrite::{HostRewrite, PathRewrite},
        },
        unit::Share,
    };

    fn sound() -> Config {
        let cluster = |name: &str| Cluster {
            name: Arc::from(name),
            endpoints: vec![Endpoint::at(Address::Socket(([127, 0, 0, 1], 80).into()))],
            ..Cluster::default()
        };
        Config {
            seed: Seed(1),
            run: None,
            listeners: vec![Listener::http(
                "in",
                ([127, 0, 0, 1], 0).into(),
                HttpManager {
                    virtual_hosts: vec![VirtualHost {
                        name: "all".to_owned(),
                        domains: vec!["*".to_owned()],
                        routes: vec![Route {
                            action: Action::Forward(Forward::to("shop")),
                            ..Route::default()
                        }],
                        ..VirtualHost::default()
                    }],
                    ..HttpManager::default()
                },
            )],
            clusters: vec![cluster("shop"), cluster("shadow")],
            admin: None,
        }
    }

    fn manager(config: &mut Config) -> &mut HttpManager {
        config.listeners[0].manager_mut().unwrap()
    }

    fn forward(config: &mut Config) -> &mut Forward {
        match &mut manager(config).virtual_hosts[0].routes[0].action {
            Action::Forward(forward) => forward,
            _ => panic!("the route of the sound configuration forwards"),
        }
    }

    #[test]
    fn a_sound_configuration_has_no_problems() {
        assert_eq!(sound().check(), []);
    }

    #[test]
    fn each_problem_is_told_with_its_path() {
        type Spoil = fn(&mut Config);
        let rows: &[(Spoil, &str)] = &[
            (
                |config| config.clusters[1].name = Arc::from("shop"),
                "clusters[1].name: the name `shop` is taken by clusters[0]",
            ),
            (
                |config| forward(config).clusters = vec![Target::new("shap", 1)],
                "listeners[0].chains[0].http.virtual_hosts[0].routes[0].action.clusters[0]: there is no cluster `shap`; there are `shadow`, `shop`",
            ),
            (
                |config| forward(config).clusters = vec![Target::new("shop", 0)],
                "listeners[0].chains[0].http.virtual_hosts[0].routes[0].action.clusters: the weights add up to 0, but must to something from 1 to 4294967295",
            ),
            (
                |config| {
                    manager(config).virtual_hosts[0].routes[0].matcher.path = Some(Text {
                        how: How::Regex("[".to_owned()),
                        ignore_case: false,
                    });
                },
                "listeners[0].chains[0].http.virtual_hosts[0].routes[0].matcher: `[` is not a regular expression: unclosed character class",
            ),
            (
                |config| {
                    manager(config).virtual_hosts[0].domains = vec!["a.*.b".to_owned()];
                },
                "listeners[0].chains[0].http.virtual_hosts[0].domains[0]: `a.*.b` is not a domain: `shop.test`, `*.shop.test`, `shop.*` or `*`",
            ),
            (
                |config| {
                    manager(config).virtual_hosts[0].routes[0].action = Action::Respond {
                        status: 99,
                        body: String::new(),
                    };
                },
                "listeners[0].chains[0].http.virtual_hosts[0].routes[0].action.status: the status 99 must be from 200 to 599",
            ),
            (
                |config| {
                    config.clusters[0].endpoints[0] =
                        Endpoint::at(Address::Listener(Arc::from("out")));
                },
                "clusters[0].endpoints[0]: there is no listener `out`",
            ),
            (
                |config| {
                    forward(config).path_rewrite = Some(PathRewrite::Prefix("in".to_owned()));
                },
                "listeners[0].chains[0].http.virtual_hosts[0].routes[0].action.path_rewrite: `in` is not a path such as `/api`",
            ),
            (
                |config| {
                    forward(config).host_rewrite = Some(HostRewrite::Literal("a\nb".to_owned()));
                },
                "listeners[0].chains[0].http.virtual_hosts[0].routes[0].action.host_rewrite: `a\\nb` is not a value that a header can have",
            ),
            (
                |config| config.clusters[0].endpoints[0].weight = 0,
                "clusters[0].endpoints[0].weight: it must be above 0",
            ),
            (
                |config| {
                    forward(config).mirrors = vec![Mirror {
                        id: "s".to_owned(),
                        side: 1,
                        cluster: "shadow".to_owned(),
                        key: SampleKey::Header("x y".to_owned()),
                        ..Mirror::default()
                    }];
                },
                "listeners[0].chains[0].http.virtual_hosts[0].routes[0].action.mirrors[0]: `x y` is not the name of a header",
            ),
            (
                |config| {
                    manager(config).faults = vec![fault::Rule {
                        id: Arc::from("f"),
                        name: "f@a>b".to_owned(),
                        windows: Vec::new(),
                        matcher: Matcher::default(),
                        select: Select::Share(Share::ALL),
                        max_active: None,
                        kind: Fault::Abort(Abort::Status {
                            status: 1,
                            body: None,
                        }),
                        ..fault::Rule::default()
                    }];
                },
                "listeners[0].chains[0].http.faults[0]: fault `f`: the status 1 of an abort must be from 200 to 599",
            ),
        ];
        for (spoil, expected) in rows {
            let mut config = sound();
            spoil(&mut config);
            let problems: Vec<_> = config.check().iter().map(ToString::to_string).collect();
            assert_eq!(problems, [*expected]);
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut config = sound();
        config.listeners.push(config.listeners[0].clone());
        config.clusters[0].connect_timeout = Duration::ZERO;
        manager(&mut config).virtual_hosts[0].domains.clear();
        let paths: Vec<_> = config
            .check()
            .into_iter()
            .map(|problem| problem.path)
            .collect();
        assert_eq!(
            paths,
            [
                "listeners[1].name",
                "listeners[0].chains[0].http.virtual_hosts[0].domains",
                "clusters[0].connect_timeout"
            ]
        );
    }
}
