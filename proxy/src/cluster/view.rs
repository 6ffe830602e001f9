//! A set of endpoints by priority, health and locality, and whose turn it is among them. Made again whenever one of them
//! comes, goes, or feels otherwise.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Elsewhere, Settings,
    roster::{Member, Wellness},
};
use crate::policy::balance::{
    Ask, Balancer, Bounded, Candidate, Loads,
    levels::{Among, Census, Levels},
    schedule::Schedule,
};

/// A set of endpoints. Indexes are those of the cluster's endpoints.
#[derive(Default)]
pub(super) struct View {
    levels: Levels,
    only: Option<(usize, Among)>,
    priorities: Vec<Priority>,
}

/// The endpoints of one priority.
#[derive(Default)]
struct Priority {
    all: Group,
    healthy: Group,
    degraded: Group,
    localities: Option<Localities>,
}

/// Endpoints by locality, where localities have weights.
struct Localities {
    healthy: Vec<Group>,
    healthy_turns: Schedule,
    healthy_weights: Vec<f64>,
    degraded: Vec<Group>,
    degraded_turns: Schedule,
    degraded_weights: Vec<f64>,
}

/// Endpoints that are balanced over. The policy's state is made when it is first asked: a ring costs a millisecond.
#[derive(Default)]
struct Group {
    hosts: Vec<usize>,
    shares: Vec<f64>,
    balancer: Option<Box<dyn Balancer>>,
    turns: u64,
}

/// What a pick needs besides the view.
pub(super) struct Question<'a> {
    pub(super) settings: &'a Settings,
    pub(super) members: &'a [Arc<Member>],
    pub(super) key: Option<u64>,
    pub(super) elsewhere: Option<Elsewhere<'a>>,
    pub(super) attempt: u32,
    pub(super) loads: &'a dyn Loads,
    pub(super) random: &'a mut dyn FnMut() -> u64,
}

/// What came of a pick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) host: Option<usize>,
    /// Too few are healthy, so all were considered.
    pub(super) panic: bool,
}

impl View {
    /// The view of these endpoints; `weighted`: localities have weights. Turns go on where they were in its predecessor.
    pub(super) fn new(
        settings: &Settings,
        members: &[Arc<Member>],
        hosts: &[usize],
        weighted: bool,
        before: Option<&Self>,
    ) -> Self {
        let count = hosts
            .iter()
            .filter_map(|index| members.get(*index))
            .map(|member| member.endpoint.priority as usize + 1)
            .max()
            .unwrap_or(0);
        let mut by_priority = vec![Vec::new(); count];
        for index in hosts {
            if let Some(member) = members.get(*index)
                && let Some(hosts) = by_priority.get_mut(member.endpoint.priority as usize)
            {
                hosts.push(*index);
            }
        }
        let census = by_priority
            .iter()
            .map(|hosts| census(settings, members, hosts))
            .collect();
        let spread = &settings.spread;
        let levels = Levels::new(census, spread.overprovisioning, spread.panic_threshold);
        let priorities = by_priority
            .iter()
            .enumerate()
            .map(|(at, hosts)| {
                let before = before.and_then(|before| before.priorities.get(at));
                Priority::new(settings, members, hosts, weighted, before)
            })
            .collect();
        Self {
            only: levels.only(),
            levels,
            priorities,
        }
    }

    /// It has no endpoint.
    pub(super) fn is_empty(&self) -> bool {
        self.priorities
            .iter()
            .all(|priority| priority.all.hosts.is_empty())
    }

    /// Whose turn it is.
    pub(super) fn pick(&mut self, question: &mut Question<'_>) -> Found {
        let elsewhere = question
            .elsewhere
            .and_then(|Elsewhere { tried, after }| self.levels.elsewhere(tried, after as usize));
        let levels = elsewhere.as_ref().unwrap_or(&self.levels);
        let only = match &elsewhere {
            None => self.only,
            Some(levels) => levels.only(),
        };
        let (priority, among) = match (only, question.key) {
            (Some(only), _) => only,
            (None, Some(key)) if question.settings.balance.is_keyed() => levels.choose(key),
            (None, _) => levels.choose((question.random)()),
        };
        let panic = among == Among::All;
        let host = self.priorities.get_mut(priority).and_then(|priority| {
            if panic && question.settings.spread.fail_on_panic {
                return None;
            }
            priority.pick(among, question)
        });
        Found { host, panic }
    }
}

fn census(settings: &Settings, members: &[Arc<Member>], hosts: &[usize]) -> Census {
    let mut census = Census::default();
    for member in hosts.iter().filter_map(|index| members.get(*index)) {
        let weight = if settings.spread.weighted_priority_health {
            u64::from(member.endpoint.weight)
        } else {
            1
        };
        census.all += weight;
        match member.shown() {
            Wellness::Healthy => census.healthy += weight,
            Wellness::Degraded => census.degraded += weight,
            Wellness::Unhealthy => {}
        }
        if member.state.is_excluded() {
            census.excluded += weight;
        }
    }
    census
}

impl Priority {
    fn new(
        settings: &Settings,
        members: &[Arc<Member>],
        hosts: &[usize],
        weighted: bool,
        before: Option<&Self>,
    ) -> Self {
        let of = |wellness| -> Vec<usize> {
            let is = |index: &usize| members.get(*index).is_some_and(|it| it.shown() == wellness);
            hosts.iter().copied().filter(is).collect()
        };
        let (healthy, degraded) = (of(Wellness::Healthy), of(Wellness::Degraded));
        let group = |hosts: &[usize], before: Option<&Group>| {
            let shares = if weighted {
                shares_by_locality(members, hosts)
            } else {
                shares(members, hosts, 1.0)
            };
            Group::new(hosts, shares, before)
        };
        Self {
            localities: (weighted && !settings.balance.is_keyed())
                .then(|| Localities::new(settings, members, hosts, &healthy, &degraded)),
            all: group(hosts, before.map(|it| &it.all)),
            healthy: group(&healthy, before.map(|it| &it.healthy)),
            degraded: group(&degraded, before.map(|it| &it.degraded)),
        }
    }

    fn pick(&mut self, among: Among, question: &mut Question<'_>) -> Option<usize> {
        let localities = self.localities.as_mut().filter(|_| among != Among::All);
        if let Some(group) = localities.and_then(|localities| localities.next(among)) {
            return group.pick(question);
        }
        match among {
            Among::All => self.all.pick(question),
            Among::Healthy => self.healthy.pick(question),
            Among::Degraded => self.degraded.pick(question),
        }
    }
}

impl Localities {
    fn new(
        settings: &Settings,
        members: &[Arc<Member>],
        hosts: &[usize],
        healthy: &[usize],
        degraded: &[usize],
    ) -> Self {
        let overprovisioning = f64::from(settings.spread.overprovisioning) / 100.0;
        let all = by_locality(members, hosts);
        let groups = |hosts: &[usize]| -> (Vec<Group>, Vec<f64>) {
            let mut some = by_locality(members, hosts);
            all.iter()
                .map(|(locality, (weight, all))| {
                    let hosts = some.remove(locality).map_or(Vec::new(), |(_, hosts)| hosts);
                    let excluded = all.iter().filter(|index| {
                        members
                            .get(**index)
                            .is_some_and(|it| it.state.is_excluded())
                    });
                    let count = all.len() - excluded.count();
                    let available = if count == 0 {
                        0.0
                    } else {
                        (overprovisioning * hosts.len() as f64 / count as f64).min(1.0)
                    };
                    let shares = shares(members, &hosts, 1.0);
                    let weight = f64::from(*weight) * available;
                    (Group::new(&hosts, shares, None), weight)
                })
                .unzip()
        };
        let (healthy, healthy_weights) = groups(healthy);
        let (degraded, degraded_weights) = groups(degraded);
        Self {
            healthy_turns: Schedule::new(healthy_weights.iter().copied()),
            degraded_turns: Schedule::new(degraded_weights.iter().copied()),
            healthy,
            healthy_weights,
            degraded,
            degraded_weights,
        }
    }

    fn next(&mut self, among: Among) -> Option<&mut Group> {
        let (turns, weights, groups) = if among == Among::Degraded {
            (
                &mut self.degraded_turns,
                &self.degraded_weights,
                &mut self.degraded,
            )
        } else {
            (
                &mut self.healthy_turns,
                &self.healthy_weights,
                &mut self.healthy,
            )
        };
        let index = turns.next(|index| weights.get(index).copied().unwrap_or(0.0))?;
        groups.get_mut(index)
    }
}

impl Group {
    fn new(hosts: &[usize], shares: Vec<f64>, before: Option<&Self>) -> Self {
        Self {
            hosts: hosts.to_vec(),
            shares,
            balancer: None,
            turns: before.map_or(0, |before| {
                before
                    .balancer
                    .as_ref()
                    .map_or(before.turns, |balancer| balancer.turns())
            }),
        }
    }

    fn pick(&mut self, question: &mut Question<'_>) -> Option<usize> {
        if let [only] = self.hosts.as_slice() {
            return Some(*only);
        }
        if self.balancer.is_none() {
            let mut candidates = Vec::with_capacity(self.hosts.len());
            for (index, share) in self.hosts.iter().zip(&self.shares) {
                let member = question.members.get(*index)?;
                candidates.push(Candidate {
                    weight: member.endpoint.weight,
                    share: *share,
                    key: &member.key,
                });
            }
            // Of localities without weight nothing is hashed.
            if question.settings.balance.is_keyed() {
                let mut shares = self.shares.iter();
                self.hosts
                    .retain(|_| shares.next().is_some_and(|share| *share > 0.0));
                candidates.retain(|candidate| candidate.share > 0.0);
            }
            let settings = question.settings;
            let balancer = settings.balance.over(&candidates, self.turns);
            self.balancer = Some(match settings.spread.hash_bound {
                Some(factor) if settings.balance.is_keyed() => {
                    Box::new(Bounded::new(balancer, factor, &candidates))
                }
                _ => balancer,
            });
        }
        let loads = Mapped {
            loads: question.loads,
            hosts: &self.hosts,
        };
        let picked = self.balancer.as_mut()?.pick(&mut Ask {
            key: question.key,
            attempt: question.attempt,
            loads: &loads,
            random: &mut *question.random,
        })?;
        self.hosts.get(picked).copied()
    }
}

/// Loads by the index in a group.
struct Mapped<'a> {
    loads: &'a dyn Loads,
    hosts: &'a [usize],
}

impl Mapped<'_> {
    fn host(&self, index: usize) -> usize {
        self.hosts.get(index).copied().unwrap_or(usize::MAX)
    }
}

impl Loads for Mapped<'_> {
    fn active(&self, index: usize) -> u32 {
        self.loads.active(self.host(index))
    }

    fn active_in_all(&self) -> u32 {
        self.loads.active_in_all()
    }

    fn cost(&self, index: usize, settings: &crate::policy::balance::peak_ewma::Settings) -> f64 {
        self.loads.cost(self.host(index), settings)
    }

    fn healthy_for(&self, index: usize) -> std::time::Duration {
        self.loads.healthy_for(self.host(index))
    }
}

/// The weight and the endpoints of each locality.
fn by_locality<'a>(
    members: &'a [Arc<Member>],
    hosts: &[usize],
) -> BTreeMap<&'a crate::config::Locality, (u32, Vec<usize>)> {
    let mut localities = BTreeMap::<_, (u32, Vec<usize>)>::new();
    for index in hosts {
        if let Some(member) = members.get(*index) {
            let (weight, hosts) = localities.entry(&member.endpoint.locality).or_default();
            *weight = member.endpoint.locality_weight;
            hosts.push(*index);
        }
    }
    localities
}

/// Each endpoint's part of all load, in the order of `hosts`.
fn shares(members: &[Arc<Member>], hosts: &[usize], of: f64) -> Vec<f64> {
    let weights: Vec<_> = hosts
        .iter()
        .map(|index| members.get(*index).map_or(0, |it| it.endpoint.weight))
        .collect();
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    weights
        .iter()
        .map(|weight| f64::from(*weight) * of / sum.max(1) as f64)
        .collect()
}

fn shares_by_locality(members: &[Arc<Member>], hosts: &[usize]) -> Vec<f64> {
    let localities = by_locality(members, hosts);
    let sum: u64 = localities
        .values()
        .map(|(weight, _)| u64::from(*weight))
        .sum();
    let mut by_host = BTreeMap::new();
    for (weight, hosts) in localities.values() {
        let of = f64::from(*weight) / sum.max(1) as f64;
        by_host.extend(hosts.iter().copied().zip(shares(members, hosts, of)));
    }
    hosts
        .iter()
        .map(|index| by_host.get(index).copied().unwrap_or(0.0))
        .collect()
}
