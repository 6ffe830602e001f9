//! One service of a Compose file.

use std::collections::BTreeMap;

use super::{Taken, bare, list, map, named, text};
use crate::scenario::yaml::{Data, Key, Node};

/// What only matters where services are run for good: a warning.
const ASIDE: &[&str] = &[
    "annotations",
    "attach",
    "container_name",
    "hostname",
    "init",
    "labels",
    "logging",
    "networks",
    "platform",
    "profiles",
    "pull_policy",
    "restart",
    "scale",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "tty",
];

/// What is honoured.
const HONOURED: &[&str] = &[
    "build",
    "command",
    "cpus",
    "depends_on",
    "deploy",
    "entrypoint",
    "environment",
    "expose",
    "healthcheck",
    "image",
    "links",
    "mem_limit",
    "ports",
];

/// What a service may not be able to do without: an error.
const LATER: &[&str] = &[
    "blkio_config",
    "cap_add",
    "cap_drop",
    "cgroup",
    "cgroup_parent",
    "configs",
    "cpu_count",
    "cpu_percent",
    "cpu_period",
    "cpu_quota",
    "cpu_rt_period",
    "cpu_rt_runtime",
    "cpu_shares",
    "cpuset",
    "credential_spec",
    "device_cgroup_rules",
    "devices",
    "develop",
    "dns",
    "dns_opt",
    "dns_search",
    "domainname",
    "driver_opts",
    "env_file",
    "extends",
    "external_links",
    "extra_hosts",
    "gpus",
    "group_add",
    "ipc",
    "isolation",
    "label_file",
    "mac_address",
    "mem_reservation",
    "mem_swappiness",
    "memswap_limit",
    "models",
    "network_mode",
    "oom_kill_disable",
    "oom_score_adj",
    "pid",
    "pids_limit",
    "post_start",
    "pre_stop",
    "privileged",
    "provider",
    "read_only",
    "runtime",
    "secrets",
    "security_opt",
    "shm_size",
    "storage_opt",
    "sysctls",
    "tmpfs",
    "ulimits",
    "use_api_socket",
    "user",
    "userns_mode",
    "uts",
    "volumes",
    "volumes_from",
    "working_dir",
];

/// A service is waited for so long, unless the scenario says otherwise: health checks come every 30 s by default.
const READY_WITHIN: &str = "2m";

/// The port that a service listens on, and where that is said: the first of `expose`, else of `ports`.
pub(super) fn port(service: &Node) -> Option<(String, &Node)> {
    ["expose", "ports"]
        .iter()
        .filter_map(|name| match &service.get(name)?.data {
            Data::List(items) => items.first(),
            _ => None,
        })
        .find_map(|item| Some((container_port(item)?, item)))
}

/// The container's side of `80`, `8080:80`, `127.0.0.1:8080:80/tcp` or `{ target: 80 }`.
fn container_port(item: &Node) -> Option<String> {
    let scalar = match &item.data {
        Data::Map(_) => item.get("target")?.scalar()?,
        _ => item.scalar()?,
    };
    let (port, protocol) = scalar.text.split_once('/').unwrap_or((&scalar.text, "tcp"));
    let port = port.rsplit(':').next()?;
    // Of a range the first.
    let port = port.split('-').next()?;
    (protocol == "tcp" && port.parse::<u16>().is_ok()).then(|| port.to_owned())
}

impl Taken<'_> {
    /// A service as it would stand in the scenario. `ports` says where each service of the file listens.
    pub(super) fn service(
        &mut self,
        key: &Key,
        service: &Node,
        ports: &BTreeMap<String, String>,
    ) -> Option<Node> {
        let path = format!("services.{}", key.name);
        let Data::Map(entries) = &service.data else {
            let what = format!("a service is a map, this is {}", service.shape());
            self.refuse(service.at, &path, what, "`image:`, `build:` and so on");
            return None;
        };
        let calls = self.calls(service, &path);
        let mut container = Vec::new();
        for (key, node) in entries {
            self.key(key, node, &path, &mut container);
        }
        if let Some(environment) = service.get("environment") {
            let env = self.environment(environment, &path, &calls, ports);
            container.push((named("env", environment.at), env));
        }
        match port(service) {
            Some((port, at)) => container.push((named("port", at.at), bare(at.at, port))),
            None if self.own.get(&key.name).is_some_and(|own| own.port) => {}
            None => self.refuse(
                key.at,
                &path,
                format!("`{}` does not say where it listens", key.name),
                "`expose` or `ports` here, or `container: { port: 8080 }` in the scenario's own `services`",
            ),
        }
        let ready = map(
            service.at,
            vec![(named("within", service.at), bare(service.at, READY_WITHIN))],
        );
        container.push((named("ready", service.at), ready));
        let calls: Vec<Node> = calls
            .into_iter()
            .map(|(name, node)| text(node.at, name))
            .collect();
        Some(map(
            service.at,
            vec![
                (named("container", key.at), map(service.at, container)),
                (named("calls", key.at), list(service.at, calls)),
            ],
        ))
    }

    /// What one key becomes.
    fn key(&mut self, key: &Key, node: &Node, service: &str, container: &mut Vec<(Key, Node)>) {
        let name = key.name.as_str();
        let path = format!("{service}.{name}");
        match name {
            "image" => container.push((key.clone(), node.clone())),
            "build" => {
                let build = self.build(node, &path);
                container.push((key.clone(), build));
            }
            "command" | "entrypoint" => {
                if let Some(words) = self.words(node, &path) {
                    container.push((key.clone(), words));
                }
            }
            "mem_limit" => container.push((named("memory", key.at), size(node))),
            "cpus" => container.push((key.clone(), unquoted(node))),
            "deploy" => self.deploy(node, &path, container),
            "healthcheck" => {
                if let Some(check) = self.healthcheck(node, &path) {
                    container.push((key.clone(), check));
                }
            }
            "ports" => {
                if published(node) {
                    self.warn(
                        key.at,
                        &path,
                        "ports are not published on this machine".to_owned(),
                        "its sidecar stands in front of it; traffic and peers go through that",
                    );
                }
            }
            // Looked at as a whole.
            "environment" | "expose" | "depends_on" | "links" => {}
            _ if ASIDE.contains(&name) => self.warn(
                key.at,
                &path,
                format!("`{name}` is not honoured"),
                "it does not change what the service answers",
            ),
            _ if LATER.contains(&name) => self.refuse(
                key.at,
                &path,
                format!("not supported yet: {path}"),
                "leave it out, or give the service another backing in the scenario's own `services`",
            ),
            _ if name.starts_with("x-") => {}
            _ => {
                let known: Vec<&str> = HONOURED.iter().chain(ASIDE).copied().collect();
                self.unknown(key, &path, &known);
            }
        }
    }

    fn build(&mut self, node: &Node, path: &str) -> Node {
        let Data::Map(entries) = &node.data else {
            return node.clone();
        };
        let mut build = Vec::new();
        for (key, node) in entries {
            match key.name.as_str() {
                "context" | "dockerfile" | "target" => build.push((key.clone(), node.clone())),
                "args" => {
                    let args = self.pairs(node, path);
                    build.push((key.clone(), args));
                }
                "cache_from" | "cache_to" | "labels" | "tags" | "pull" | "no_cache"
                | "platforms" | "provenance" | "sbom" => self.warn(
                    key.at,
                    path,
                    format!("`{}` of a build is not honoured", key.name),
                    "it does not change what the service answers",
                ),
                name => {
                    let what = format!("not supported yet: {path}.{name}");
                    self.refuse(key.at, path, what, "leave it out");
                }
            }
        }
        map(node.at, build)
    }

    /// A command: a list, or a line that is split as a shell would.
    fn words(&mut self, node: &Node, path: &str) -> Option<Node> {
        let Some(scalar) = node.scalar() else {
            return Some(node.clone());
        };
        if scalar.is_null() {
            return None;
        }
        let Some(words) = shlex::split(&scalar.text) else {
            self.refuse(
                node.at,
                path,
                format!("`{}` has a quote that does not end", scalar.shown()),
                "a command as in a shell, or a list of its words",
            );
            return None;
        };
        let words = words.into_iter().map(|word| text(node.at, word));
        Some(list(node.at, words.collect()))
    }

    fn deploy(&mut self, node: &Node, path: &str, container: &mut Vec<(Key, Node)>) {
        let Data::Map(entries) = &node.data else {
            return;
        };
        for (key, node) in entries {
            if key.name == "replicas" {
                container.push((key.clone(), unquoted(node)));
                continue;
            }
            let limits = node.get("limits").filter(|_| key.name == "resources");
            let Some(limits) = limits else {
                self.warn(
                    key.at,
                    path,
                    format!("`deploy.{}` is not honoured", key.name),
                    "only `deploy.replicas` and `deploy.resources.limits` are",
                );
                continue;
            };
            if let Some(memory) = limits.get("memory") {
                container.push((named("memory", memory.at), size(memory)));
            }
            if let Some(cpus) = limits.get("cpus") {
                container.push((named("cpus", cpus.at), unquoted(cpus)));
            }
        }
    }

    fn healthcheck(&mut self, node: &Node, path: &str) -> Option<Node> {
        let Data::Map(entries) = &node.data else {
            return Some(node.clone());
        };
        let off = |test: &Node| match &test.data {
            Data::List(items) => items
                .first()
                .and_then(Node::scalar)
                .is_some_and(|word| word.text == "NONE"),
            _ => false,
        };
        let disabled = node
            .get("disable")
            .and_then(Node::scalar)
            .is_some_and(|word| word.text == "true");
        if disabled || node.get("test").is_some_and(off) {
            return None;
        }
        let mut check = Vec::new();
        for (key, value) in entries {
            match key.name.as_str() {
                "test" => {
                    let test = match value.scalar() {
                        Some(line) => list(
                            value.at,
                            vec![
                                text(value.at, "CMD-SHELL"),
                                text(value.at, line.text.clone()),
                            ],
                        ),
                        None => value.clone(),
                    };
                    check.push((key.clone(), test));
                }
                "interval" | "timeout" | "start_period" | "retries" => {
                    check.push((key.clone(), value.clone()));
                }
                "disable" => {}
                name => self.warn(
                    key.at,
                    path,
                    format!("`healthcheck.{name}` is not honoured"),
                    "test, interval, timeout, retries and start_period are",
                ),
            }
        }
        if node.get("interval").is_none() {
            // Compose's default, not ours.
            check.push((named("interval", node.at), bare(node.at, "30s")));
        }
        Some(map(node.at, check))
    }

    /// The services that it calls, as far as `depends_on` and `links` tell: those of the file.
    fn calls<'n>(&mut self, service: &'n Node, path: &str) -> Vec<(String, &'n Node)> {
        let mut calls: Vec<(String, &Node)> = Vec::new();
        for name in ["depends_on", "links"] {
            let Some(node) = service.get(name) else {
                continue;
            };
            let named: Vec<(String, &Node)> = match &node.data {
                Data::List(items) => items
                    .iter()
                    .filter_map(|item| Some((item.scalar()?.text.clone(), item)))
                    .collect(),
                Data::Map(entries) => entries
                    .iter()
                    .map(|(key, node)| (key.name.clone(), node))
                    .collect(),
                Data::Scalar(_) => Vec::new(),
            };
            for (peer, at) in named {
                let (peer, alias) = match peer.split_once(':') {
                    Some((peer, alias)) => (peer.to_owned(), Some(alias.to_owned())),
                    None => (peer, None),
                };
                if let Some(alias) = alias.filter(|alias| *alias != peer) {
                    let what = format!("not supported yet: the name `{alias}` for `{peer}`");
                    self.refuse(at.at, path, what, "use the service's own name");
                }
                if !calls.iter().any(|(other, _)| *other == peer) {
                    calls.push((peer, at));
                }
            }
        }
        calls
    }

    /// A service's environment. `PEER:PORT` of a service that it calls becomes its own sidecar's address for that peer.
    fn environment(
        &mut self,
        node: &Node,
        path: &str,
        calls: &[(String, &Node)],
        ports: &BTreeMap<String, String>,
    ) -> Node {
        let mut env = self.pairs(node, path);
        if let Data::Map(entries) = &mut env.data {
            for (_, node) in entries {
                if let Data::Scalar(scalar) = &mut node.data {
                    for (peer, _) in calls {
                        if let Some(port) = ports.get(peer) {
                            scalar.text = through_sidecar(&scalar.text, peer, port);
                        }
                    }
                }
            }
        }
        env
    }

    /// `{ NAME: value }` or `[NAME=value]`; a name without a value takes that of the environment, if there is one.
    fn pairs(&mut self, node: &Node, path: &str) -> Node {
        let pairs: Vec<(Key, Node)> = match &node.data {
            Data::Map(entries) => entries
                .iter()
                .filter_map(|(key, node)| match node.scalar() {
                    Some(scalar) if scalar.is_null() => {
                        let value = (self.env)(&key.name)?;
                        Some((key.clone(), text(node.at, value)))
                    }
                    Some(_) => Some((key.clone(), quoted(node))),
                    None => Some((key.clone(), node.clone())),
                })
                .collect(),
            Data::List(items) => {
                let mut pairs = Vec::new();
                for item in items {
                    let Some(scalar) = item.scalar() else {
                        self.refuse(
                            item.at,
                            path,
                            format!("`NAME=VALUE` is expected, this is {}", item.shape()),
                            "a list of texts, or a map",
                        );
                        continue;
                    };
                    let pair = match scalar.text.split_once('=') {
                        Some((name, value)) => Some((name, value.to_owned())),
                        None => (self.env)(&scalar.text).map(|value| (scalar.text.as_str(), value)),
                    };
                    pairs.extend(
                        pair.map(|(name, value)| (named(name, item.at), text(item.at, value))),
                    );
                }
                pairs
            }
            Data::Scalar(_) => return node.clone(),
        };
        map(node.at, pairs)
    }
}

/// Replaces `peer:port` where it stands as a whole.
fn through_sidecar(value: &str, peer: &str, port: &str) -> String {
    let name = peer.to_uppercase().replace('-', "_");
    let wanted = format!("{peer}:{port}");
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find(&wanted) {
        let (before, found) = rest.split_at(at);
        let (found, after) = found.split_at(wanted.len());
        let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let joined = before.chars().next_back().is_some_and(of_name)
            || after.starts_with(|c: char| c.is_ascii_digit());
        out.push_str(before);
        if joined {
            out.push_str(found);
        } else {
            out.push_str(&format!(
                "${{MESHBED_{name}_HOST}}:${{MESHBED_{name}_PORT}}"
            ));
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Whether a list of ports asks for a port of this machine.
fn published(ports: &Node) -> bool {
    let Data::List(items) = &ports.data else {
        return false;
    };
    items.iter().any(|item| match &item.data {
        Data::Map(_) => item.get("published").is_some(),
        _ => item
            .scalar()
            .is_some_and(|scalar| scalar.text.contains(':')),
    })
}

/// `256m` as `256MiB`: Compose's units are binary, and a bare number is bytes.
fn size(node: &Node) -> Node {
    let Some(scalar) = node.scalar() else {
        return node.clone();
    };
    let low = scalar.text.trim().to_ascii_lowercase();
    let digits = low.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match low.get(digits.len()..).unwrap_or_default() {
        "" | "b" => "B",
        "k" | "kb" => "KiB",
        "m" | "mb" => "MiB",
        "g" | "gb" => "GiB",
        _ => return node.clone(),
    };
    bare(node.at, format!("{}{unit}", digits.trim()))
}

fn unquoted(node: &Node) -> Node {
    match node.scalar() {
        Some(scalar) => bare(node.at, scalar.text.clone()),
        None => node.clone(),
    }
}

fn quoted(node: &Node) -> Node {
    let mut node = node.clone();
    if let Data::Scalar(scalar) = &mut node.data {
        scalar.quoted = true;
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_called_through_the_sidecar_where_it_stands_as_a_whole() {
        let replaced = "http://${MESHBED_CART_HOST}:${MESHBED_CART_PORT}/x";
        assert_eq!(through_sidecar("http://cart:80/x", "cart", "80"), replaced);
        for kept in ["http://my-cart:80/", "cart:8080", "cart", "x.cart:80"] {
            assert_eq!(through_sidecar(kept, "cart", "80"), kept);
        }
    }

    #[test]
    fn the_containers_side_of_a_port_is_the_last() {
        let mut none = Vec::new();
        for (ports, expected) in [
            ("80", Some("80")),
            ("\"8080:80\"", Some("80")),
            ("127.0.0.1:8080:80/tcp", Some("80")),
            ("{ target: 80, published: 8080 }", Some("80")),
            ("6060:6060/udp", None),
        ] {
            let node = crate::scenario::yaml::read(ports, 0, &mut none).unwrap();
            assert_eq!(container_port(&node).as_deref(), expected, "{ports}");
        }
    }
}
