//! What rules decide of a request.

use std::{sync::Arc, time::Duration};

use super::{
    Effect, abort,
    counters::{Active, Counter},
    rewrite,
    rules::Compiled,
    throttle, truncate,
};
use crate::draw::Key;

/// What is done to an answer.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// It waits so long before it is passed on.
    pub delay: Duration,
    /// Its body has this rate.
    pub throttle: Option<throttle::Throttle>,
    /// Its body breaks off after this.
    pub truncate: Option<truncate::Truncate>,
    /// It is made this, one after the other.
    pub rewrites: Vec<Arc<rewrite::Compiled>>,
}

impl Shape {
    /// Nothing is done to it.
    pub fn is_empty(&self) -> bool {
        self.delay.is_zero()
            && self.throttle.is_none()
            && self.truncate.is_none()
            && self.rewrites.is_empty()
    }
}

/// Which request is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    /// Its place in the schedule, or of arrival.
    pub ordinal: u64,
    /// 0: primary; else the shadow's number. It moves no draw; arrivals are counted apart.
    pub side: u8,
    /// Which of the caller's equal calls it is, from 0.
    pub n: u32,
    /// Which try it is; always 0 outside the retry loop.
    pub attempt: u32,
    /// When it was due; `None`: not known, and rules with windows do not concern it.
    pub intended_ms: Option<u32>,
}

/// What is to be done to a request. Empty, and made without allocating, when no rule concerns it.
#[derive(Debug, Default)]
pub struct Decision {
    /// Ids of the rules that matched and were drawn, in their order.
    pub considered: Vec<Arc<str>>,
    /// Those of them that chose the request, in their order.
    pub hits: Vec<Chosen>,
    /// The applied delays' sum.
    pub delay: Duration,
    /// After the delay, the request ends so.
    pub end: Option<abort::End>,
    /// What is done to the answer.
    pub shape: Shape,
}

/// A rule chose the request.
#[derive(Debug)]
pub struct Chosen {
    /// The rule's id.
    pub id: Arc<str>,
    /// Its place among the rules.
    pub rule: usize,
    /// The draw; `NaN` where the rule does not draw (`first`, `every`, ordinals).
    pub u: f64,
    /// What it was held against; `NaN` likewise.
    pub p: f64,
    /// What becomes of it.
    pub fate: Fate,
    /// The delay that the rule asks for, applied or not.
    pub asked: Option<Duration>,
    /// What it does it does to the answer.
    pub to_answer: bool,
    /// The status that the rule asks for, applied or not.
    pub status: Option<http::StatusCode>,
    /// Its place under `max_active`, while it is held.
    pub active: Option<Active>,
    group: Option<String>,
}

/// What becomes of a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done.
    Applied,
    /// An earlier terminal effect ends the request.
    Superseded,
    /// `max_active` requests suffer it already.
    Capped,
}

impl Decision {
    pub(super) fn add(
        &mut self,
        index: usize,
        rule: &Compiled,
        effect: Effect,
        key: &Key<'_>,
        (u, p): (f64, f64),
        counter: &Arc<Counter>,
    ) {
        let mut active = None;
        let fate = if self.end.is_some() {
            Fate::Superseded
        } else if let Some(most) = rule.max_active
            && !self.holds(rule)
        {
            active = Counter::enter(counter, most);
            if active.is_some() {
                Fate::Applied
            } else {
                Fate::Capped
            }
        } else {
            Fate::Applied
        };
        let applied = fate == Fate::Applied;
        let (mut asked, mut status, mut to_answer) = (None, None, true);
        match effect {
            Effect::Delay(delay) | Effect::DelayAnswer(delay) if !applied => {
                asked = Some(delay.sample(rule.amount.unit(key)));
            }
            Effect::Delay(delay) => {
                let sample = delay.sample(rule.amount.unit(key));
                (asked, to_answer) = (Some(sample), false);
                self.delay += sample;
            }
            Effect::DelayAnswer(delay) => {
                let sample = delay.sample(rule.amount.unit(key));
                asked = Some(sample);
                self.shape.delay += sample;
            }
            Effect::End(end) => {
                (status, to_answer) = (end.status(), false);
                if applied {
                    self.end = Some(end);
                }
            }
            _ if !applied => {}
            // Of several, the tightest counts.
            Effect::Throttle(throttle) => {
                let known = self.shape.throttle.take();
                self.shape.throttle = Some(known.map_or(throttle, |known| known.min(throttle)));
            }
            Effect::Truncate(truncate) => {
                let known = self.shape.truncate.take();
                self.shape.truncate = Some(known.map_or(truncate, |known| known.min(truncate)));
            }
            Effect::Rewrite(rewrite) => self.shape.rewrites.push(rewrite),
            Effect::Header(_) => {}
        }
        self.hits.push(Chosen {
            id: Arc::clone(&rule.id),
            rule: index,
            u,
            p,
            fate,
            asked,
            to_answer,
            status,
            active,
            group: rule.group.clone(),
        });
    }

    /// The request has a place of the rule's group already.
    fn holds(&self, rule: &Compiled) -> bool {
        rule.group.is_some()
            && self
                .hits
                .iter()
                .any(|hit| hit.active.is_some() && hit.group == rule.group)
    }
}
