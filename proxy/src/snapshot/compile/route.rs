//! Routes, what their requests pass, and where they and their copies go.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use super::Compiler;
use crate::{
    config,
    policy::{
        balance::subset::Metadata,
        fault::{self, Counters},
        headers::Mutations,
        matcher, mirror, redirect,
        rewrite::{CompiledHost, CompiledPath, CompiledRedirect},
        sticky,
    },
    snapshot::{
        Action, Faults, Forward, Mirror, Passed, Route,
        filters::Filters,
        replies,
        target::{Choice, Target, Targets},
        tries::Tries,
    },
};

impl Compiler<'_> {
    pub(super) fn route(
        &mut self,
        path: &str,
        route: &config::Route,
        http: &config::HttpManager,
        outer: &Arc<Filters>,
    ) -> Option<Route> {
        let passed = self.passed(
            path,
            route.filters.as_deref(),
            route.faults.as_deref(),
            http,
            outer,
        );
        let matcher = matcher::Compiled::new(&route.matcher)
            .map_err(|what| self.problem(format!("{path}.match"), what))
            .ok();
        let action = match &route.action {
            config::Action::Respond { status, body } => StatusCode::from_u16(*status)
                .ok()
                .filter(|status| !status.is_informational())
                .map(|status| Action::Respond(status, body.clone()))
                .or_else(|| {
                    self.problem(
                        format!("{path}.status"),
                        format!("{status} is not a status from 200 to 999"),
                    );
                    None
                }),
            config::Action::Redirect { status, to } => StatusCode::from_u16(*status)
                .ok()
                .zip(CompiledRedirect::new(to, &route.matcher).ok())
                .map(|(status, to)| Action::Redirect(status, to)),
            config::Action::Nothing => Some(Action::Nothing),
            config::Action::Forward(forward) => Some(Action::Forward(
                self.forward(path, route, forward, http, outer),
            )),
        };
        // What cannot be compiled was told by the check.
        let edits = route.edits.iter();
        let levels: Vec<_> = edits.filter_map(|it| self.cache.level(it).ok()).collect();
        let body = route.body_format.as_ref().and_then(|format| {
            replies::Format::compile(format)
                .map_err(|what| self.problem(format!("{path}.body_format"), what))
                .ok()
        });
        let passed = passed?;
        let action = action?;
        let of_targets = match &action {
            Action::Forward(forward) => forward.targets.all.as_slice(),
            _ => &[],
        };
        Some(Route {
            name: route.name.clone(),
            matcher: matcher?,
            share: route.share.map(|share| {
                let name = format!("route {path}");
                (self.config.seed.rule(&name), share.get())
            }),
            recalls: passed.filters.recalls()
                || of_targets
                    .iter()
                    .filter_map(|it| it.passed.as_ref())
                    .any(|passed| passed.filters.recalls())
                || body.as_ref().is_some_and(replies::Format::recalls)
                || levels
                    .iter()
                    .chain(of_targets.iter().filter_map(|it| it.level.as_ref()))
                    .any(|level| level.recalls),
            action,
            passed,
            levels,
            body,
        })
    }

    /// What requests pass; where nothing is said of filters or fault rules, the manager's.
    fn passed(
        &mut self,
        path: &str,
        filters: Option<&[config::Filter]>,
        faults: Option<&[fault::Rule]>,
        http: &config::HttpManager,
        outer: &Arc<Filters>,
    ) -> Option<Passed> {
        let rules = faults.unwrap_or(&http.faults);
        let compiled = fault::Rules::compile(rules, self.config.seed)
            .map_err(|what| self.problem(format!("{path}.faults"), what))
            .ok();
        // Most routes say nothing of their own, and share the manager's.
        let filters = if filters.is_none() && faults.is_none() {
            Arc::clone(outer)
        } else {
            let list = filters.unwrap_or(&http.filters);
            self.filters(&format!("{path}.filters"), list, !rules.is_empty())
        };
        let rules = compiled?;
        Some(Passed {
            filters,
            faults: Faults {
                counters: Counters::new(&rules, &self.lasting.faults),
                at_request: rules.has(fault::Place::Request),
                at_attempt: rules.has(fault::Place::Attempt),
                rules,
            },
        })
    }

    pub(super) fn filters(
        &mut self,
        path: &str,
        list: &[config::Filter],
        faults: bool,
    ) -> Arc<Filters> {
        let clusters = |name: &str| self.clusters.get(name).copied();
        let known = &self.lasting.known;
        let filters = Filters::compile(list, faults, known, &mut self.cache, clusters);
        Arc::new(filters.unwrap_or_else(|(index, what)| {
            self.problem(format!("{path}[{index}]"), what);
            Filters::default()
        }))
    }

    fn forward(
        &mut self,
        path: &str,
        route: &config::Route,
        forward: &config::Forward,
        http: &config::HttpManager,
        outer: &Arc<Filters>,
    ) -> Forward {
        let mut all = Vec::new();
        for (index, target) in forward.clusters.iter().enumerate() {
            // Names that nobody has were told by the check, where they are a mistake.
            let cluster = match &target.cluster {
                config::ClusterName::Fixed(name) => {
                    Choice::Fixed(self.clusters.get(name.as_str()).copied())
                }
                config::ClusterName::Header(name) => match HeaderName::try_from(name) {
                    Ok(name) => Choice::Header(name),
                    Err(_) => Choice::Fixed(None),
                },
            };
            let edits = target.edits.as_ref();
            let passed = target.filters.as_deref().and_then(|filters| {
                let path = format!("{path}.clusters[{index}]");
                self.passed(&path, Some(filters), target.faults.as_deref(), http, outer)
            });
            all.push(Target {
                passed: passed.map(Box::new),
                cluster,
                weight: target.weight,
                level: edits.and_then(|edits| self.cache.level(edits).ok()),
                host: target
                    .host_rewrite
                    .as_deref()
                    .and_then(|host| HeaderValue::from_str(host).ok()),
                metadata: Some(merged(&forward.metadata, &target.metadata))
                    .filter(|metadata| !metadata.is_empty()),
            });
        }
        if all.is_empty() {
            self.problem(format!("{path}.clusters"), "no cluster is named");
        }
        let weights = all.iter().map(|target| u64::from(target.weight));
        let targets = Targets {
            total: weights.sum(),
            all,
            choice: self.config.seed.rule(&format!("clusters {}", route.name)),
            choice_header: forward
                .choice_header
                .as_ref()
                .and_then(|name| HeaderName::try_from(name).ok()),
        };
        let mirrors = forward
            .mirrors
            .iter()
            .enumerate()
            .filter_map(|(at, mirror)| self.mirror(&format!("{path}.mirrors[{at}]"), mirror))
            .collect();
        Forward {
            priority: forward.priority,
            targets,
            not_found: StatusCode::from_u16(forward.not_found_status)
                .unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            timeout: forward.timeout,
            timeout_ms: forward
                .timeout
                .and_then(|timeout| HeaderValue::from_str(&timeout.as_millis().to_string()).ok()),
            idle_timeout: forward.idle_timeout,
            sticky: sticky::Compiled::new(&forward.sticky).unwrap_or_else(|what| {
                self.problem(format!("{path}.sticky"), what);
                sticky::Compiled::default()
            }),
            attempt_count: forward.attempt_count,
            attempt_count_in_answer: forward.attempt_count_in_answer,
            tries: Box::new(
                Tries::compile(&forward.tries, |name| self.clusters.get(name).copied())
                    .unwrap_or_else(|what| {
                        self.problem(format!("{path}.tries"), what);
                        Tries::default()
                    }),
            ),
            path_rewrite: forward
                .path_rewrite
                .as_ref()
                .and_then(|it| CompiledPath::new(it, &route.matcher).ok()),
            host_rewrite: forward
                .host_rewrite
                .as_ref()
                .and_then(|it| CompiledHost::new(it).ok()),
            append_forwarded_host: forward.append_forwarded_host,
            redirects: forward.redirects.as_ref().and_then(|policy| {
                redirect::Compiled::new(policy)
                    .map_err(|what| self.problem(format!("{path}.redirects"), what))
                    .ok()
                    .map(Box::new)
            }),
            upgrades: forward.upgrades.clone(),
            mirrors,
        }
    }

    fn mirror(&mut self, path: &str, mirror: &mirror::Mirror) -> Option<usize> {
        let cluster = self.clusters.get(mirror.cluster.as_str()).copied();
        let choice = mirror::Compiled::new(mirror, self.config.seed)
            .map_err(|what| self.problem(path, what))
            .ok()?;
        let mut set = Vec::new();
        for (name, value) in &mirror.set_headers {
            match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                (Ok(name), Ok(value)) => set.push((name, value)),
                _ => self.problem(
                    format!("{path}.set_headers"),
                    format!("`{name}: {value}` is not a header"),
                ),
            }
        }
        let mut remove = Vec::new();
        for name in &mirror.remove_headers {
            match HeaderName::try_from(name) {
                Ok(name) => remove.push(name),
                Err(_) => self.problem(
                    format!("{path}.remove_headers"),
                    format!("`{name}` is not the name of a header"),
                ),
            }
        }
        let mutations = Mutations::new(&mirror.mutations)
            .map_err(|what| self.problem(path, what))
            .ok()?;
        self.mirrors.push(Arc::new(Mirror {
            id: mirror.id.as_str().into(),
            settings: mirror.clone(),
            choice,
            cluster: cluster.filter(|_| mirror.cluster_header.is_none()),
            cluster_header: mirror
                .cluster_header
                .as_ref()
                .and_then(|name| HeaderName::try_from(name).ok()),
            host: mirror
                .host
                .as_deref()
                .and_then(|host| HeaderValue::from_str(host).ok()),
            mutations,
            set,
            remove,
        }));
        Some(self.mirrors.len() - 1)
    }
}

/// What a route asks for, and what one of its clusters asks for besides, which counts more.
fn merged(route: &Metadata, target: &Metadata) -> Metadata {
    let mut merged = route.clone();
    merged.extend(target.clone());
    merged
}
