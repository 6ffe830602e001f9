//! Fault rules: which requests are hit, and by what. All matching rules are drawn, in order; delays add up; the first
//! terminal effect ends it, and those chosen after it are superseded. What shapes an answer ([`Shape`]) adds up, too.

use std::{sync::Arc, time::Duration};

use super::matcher::{self, Matcher, RequestView};
use crate::{
    draw::{Draw, Key, Seed},
    unit::{ByteSize, Share},
};

pub mod abort;
mod counters;
pub mod delay;
pub mod header;
pub mod rewrite;
pub mod tcp;
pub mod throttle;
pub mod tls;
pub mod truncate;

pub use counters::{Active, Book, Counter, Counters};

/// A rule: when, for which requests, with which chance, what.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The fault's id, in records.
    pub id: Arc<str>,
    /// What names its draws: `ID@CALLER>SERVICE` (its id, who calls, who is called).
    pub name: String,
    /// Intended times, in whole milliseconds since the run's start, in which requests meet it; empty: always.
    pub windows: Vec<Window>,
    /// Which requests it is for.
    pub matcher: Matcher,
    /// Which of those are chosen.
    pub select: Select,
    /// Requests that may suffer it at once; more are counted as capped.
    pub max_active: Option<u32>,
    /// What names the count of those; rules of the same group share it, and a request counts once. `None`: the rule's name.
    pub group: Option<String>,
    /// Where requests meet it.
    pub place: Place,
    /// What happens to a chosen request.
    pub kind: Fault,
}

/// Where requests meet a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// Once, before timeouts and retries, as in Envoy.
    #[default]
    Request,
    /// In each attempt, so that timeouts and retries meet it.
    Attempt,
}

impl Default for Rule {
    /// Every request, always, without a name; and no delay.
    fn default() -> Self {
        Self {
            id: Arc::from(""),
            name: String::new(),
            windows: Vec::new(),
            matcher: Matcher::default(),
            select: Select::Share(Share::ALL),
            max_active: None,
            group: None,
            place: Place::Request,
            kind: Fault::Delay(delay::Delay::Fixed(Duration::ZERO)),
        }
    }
}

/// A half-open window of intended time, in milliseconds since the run's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First millisecond.
    pub begin_ms: u32,
    /// First millisecond after it.
    pub end_ms: u32,
}

/// Which of the requests that match are chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum Select {
    /// This share, by draw.
    Share(Share),
    /// A share that grows from `from` to `to` over the time from a window's begin, then stays.
    Ramp {
        /// At the window's begin.
        from: Share,
        /// After `over`.
        to: Share,
        /// How long it takes.
        over: Duration,
    },
    /// The first so many, by arrival.
    First(u64),
    /// Every so many-th (the n-th, 2n-th, …), by arrival.
    Every(u64),
    /// These ordinals, ascending: `first` and `every` where the plan knows the requests.
    Ordinals(Arc<[u64]>),
}

/// What happens to a chosen request; one file a kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// It waits before it is sent on.
    Delay(delay::Delay),
    /// Its answer waits before it is passed on.
    DelayAnswer(delay::Delay),
    /// It is answered here, or its client is cut off.
    Abort(abort::Abort),
    /// Its answer's body comes slowly.
    Throttle(throttle::Throttle),
    /// Its answer's body breaks off.
    Truncate(truncate::Truncate),
    /// Its answer is another one.
    Rewrite(rewrite::Rewrite),
    /// What its own headers ask for.
    Header(header::Header),
}

/// How each kind is written in a scenario: its key, its examples. A new kind adds a line.
pub const KINDS: &[(&str, &[&str])] = &[
    ("delay", delay::EXAMPLES),
    ("abort", abort::EXAMPLES),
    ("throttle", throttle::EXAMPLES),
    ("truncate", truncate::EXAMPLES),
    ("rewrite", rewrite::EXAMPLES),
];

impl Fault {
    /// The key that it has in a scenario.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Delay(_) | Self::DelayAnswer(_) => "delay",
            Self::Abort(_) => "abort",
            Self::Throttle(_) => "throttle",
            Self::Truncate(_) => "truncate",
            Self::Rewrite(_) => "rewrite",
            Self::Header(_) => "header",
        }
    }

    /// What it does, in a few words, for kinds that are not delays: `abort 503`, `truncate after 1KiB`.
    pub fn words(&self) -> String {
        match self {
            Self::Delay(_) => "delay".to_owned(),
            Self::DelayAnswer(_) => "delay of the answer".to_owned(),
            Self::Abort(abort) => abort.words(),
            Self::Throttle(throttle) => {
                format!("throttle to {}/s", ByteSize(throttle.bytes_per_second))
            }
            Self::Truncate(truncate) => format!("truncate after {}", ByteSize(truncate.after)),
            Self::Rewrite(rewrite) => match rewrite.status {
                Some(status) => format!("rewrite to {status}"),
                None => "rewrite".to_owned(),
            },
            Self::Header(_) => "what headers ask for".to_owned(),
        }
    }

    /// The effect of the settings, drawn at `u`; the error says what is wrong with them.
    fn compile(&self) -> Result<Effect, String> {
        match self {
            Self::Delay(delay) => delay.check().map(|()| Effect::Delay(delay.clone())),
            Self::DelayAnswer(delay) => delay.check().map(|()| Effect::DelayAnswer(delay.clone())),
            Self::Abort(abort) => abort.end().map(Effect::End),
            Self::Throttle(throttle) => throttle.check().map(|()| Effect::Throttle(*throttle)),
            Self::Truncate(truncate) => Ok(Effect::Truncate(*truncate)),
            Self::Rewrite(rewrite) => rewrite.compile().map(|it| Effect::Rewrite(Arc::new(it))),
            Self::Header(header) => Ok(Effect::Header(*header)),
        }
    }
}

/// Rules of one route or listener, ready to be asked.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    id: Arc<str>,
    name: String,
    windows: Vec<Window>,
    matcher: matcher::Compiled,
    select: Select,
    max_active: Option<u32>,
    group: Option<String>,
    place: Place,
    effect: Effect,
    choice: Draw,
    amount: Draw,
}

/// What a kind does, physically.
#[derive(Debug, Clone)]
enum Effect {
    /// The request goes on after this long.
    Delay(delay::Delay),
    /// The answer goes on after this long.
    DelayAnswer(delay::Delay),
    /// The request ends so.
    End(abort::End),
    /// The answer's body has this rate.
    Throttle(throttle::Throttle),
    /// The answer's body ends after this.
    Truncate(truncate::Truncate),
    /// The answer is made this.
    Rewrite(Arc<rewrite::Compiled>),
    /// What headers ask for.
    Header(header::Header),
}

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

impl Rules {
    /// Compiles rules; the error names the rule and what is wrong with it.
    pub fn compile(rules: &[Rule], seed: Seed) -> Result<Self, String> {
        let rules = rules
            .iter()
            .map(|rule| {
                Compiled::new(rule, seed).map_err(|why| format!("fault `{}`: {why}", rule.id))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// There are some that are met at this place.
    pub fn has(&self, place: Place) -> bool {
        self.rules.iter().any(|rule| rule.place == place)
    }

    /// Draws all rules of a place that concern the request, in order. Delays add up; the first terminal effect ends the request, and
    /// what is chosen after it is superseded. Places under `max_active` are taken here and held by [`Chosen::active`].
    ///
    /// `counters` must have been made for these rules.
    pub fn decide(
        &self,
        place: Place,
        request: &RequestView<'_>,
        who: Who,
        counters: &Counters,
    ) -> Decision {
        let mut decision = Decision::default();
        for (index, (rule, counter)) in self.rules.iter().zip(&counters.0).enumerate() {
            if rule.place != place {
                continue;
            }
            let Some(since_begin) = rule.since_begin(who.intended_ms) else {
                continue;
            };
            if !rule.matcher.matches(request) {
                continue;
            }
            // What headers ask for is not asked for by every request.
            let (effect, cap) = match &rule.effect {
                Effect::Header(header) => match header.asked(request.headers) {
                    Some((effect, cap)) => (effect, cap),
                    None => continue,
                },
                effect => (effect.clone(), None),
            };
            decision.considered.push(Arc::clone(&rule.id));
            let key = Key {
                ordinal: who.ordinal,
                n: who.n,
                attempt: who.attempt,
                method: request.method,
                path: request.path,
            };
            if let Some(drawn) = rule.chooses(&key, who.side, since_begin, counter, cap) {
                decision.add(index, rule, effect, &key, drawn, counter);
            }
        }
        decision
    }
}

impl Compiled {
    fn new(rule: &Rule, seed: Seed) -> Result<Self, String> {
        if let Some(window) = rule.windows.iter().find(|w| w.begin_ms >= w.end_ms) {
            return Err(format!(
                "the window from {} ms to {} ms is empty",
                window.begin_ms, window.end_ms
            ));
        }
        if rule.select == Select::Every(0) {
            return Err("`every` must be at least 1".to_owned());
        }
        Ok(Self {
            id: Arc::clone(&rule.id),
            name: rule.name.clone(),
            windows: rule.windows.clone(),
            matcher: matcher::Compiled::new(&rule.matcher)?,
            select: rule.select.clone(),
            max_active: rule.max_active,
            group: rule.group.clone(),
            place: rule.place,
            effect: rule.kind.compile()?,
            choice: seed.rule(&rule.name),
            amount: seed.rule(&format!("{}#amount", rule.name)),
        })
    }

    /// Milliseconds from the begin of the window that the request is due in, or from the run's start where the rule has
    /// none; `None`: the rule does not concern it.
    fn since_begin(&self, intended_ms: Option<u32>) -> Option<u32> {
        if self.windows.is_empty() {
            return Some(intended_ms.unwrap_or(u32::MAX));
        }
        let due = intended_ms?;
        self.windows
            .iter()
            .find(|window| (window.begin_ms..window.end_ms).contains(&due))
            .map(|window| due - window.begin_ms)
    }

    /// The draw and what it was held against, if the rule chooses the request.
    fn chooses(
        &self,
        key: &Key<'_>,
        side: u8,
        since_begin: u32,
        counter: &Counter,
        cap: Option<f64>,
    ) -> Option<(f64, f64)> {
        let by_draw = |p: f64| {
            let p = cap.map_or(p, |cap| p.min(cap));
            let u = self.choice.unit(key);
            (u < p).then_some((u, p))
        };
        let by_count = |chosen: bool| chosen.then_some((f64::NAN, f64::NAN));
        match &self.select {
            Select::Share(share) => by_draw(share.get()),
            Select::Ramp { from, to, over } => {
                by_draw(ramp(from.get(), to.get(), *over, since_begin))
            }
            Select::First(count) => by_count(counter.arrive(side) < *count),
            Select::Every(count) => by_count((counter.arrive(side) + 1).is_multiple_of(*count)),
            Select::Ordinals(ordinals) => by_count(ordinals.binary_search(&key.ordinal).is_ok()),
        }
    }
}

/// `from + (to - from) * min(1, elapsed / over)`.
fn ramp(from: f64, to: f64, over: Duration, elapsed_ms: u32) -> f64 {
    let over_ms = over.as_nanos() as f64 / 1e6;
    let done = f64::from(elapsed_ms);
    if done >= over_ms {
        return to;
    }
    from + (to - from) * (done / over_ms)
}

impl Decision {
    fn add(
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

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::{
        abort::{Abort, End},
        delay::Delay,
        *,
    };

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn rule(id: &str, select: Select, kind: Fault) -> Rule {
        Rule {
            id: Arc::from(id),
            name: format!("{id}@client>shop"),
            windows: Vec::new(),
            matcher: Matcher::default(),
            select,
            max_active: None,
            kind,
            ..Rule::default()
        }
    }

    fn share(value: f64) -> Select {
        Select::Share(Share::new(value).unwrap())
    }

    fn delay(millis: u64) -> Fault {
        Fault::Delay(Delay::Fixed(MS(millis)))
    }

    fn abort(status: u16) -> Fault {
        Fault::Abort(Abort::Status { status, body: None })
    }

    /// Rules with counters of their own.
    struct Bench(Rules, Counters);

    impl Bench {
        fn new(rules: &[Rule], seed: u64) -> Self {
            let rules = Rules::compile(rules, Seed(seed)).unwrap();
            let counters = Counters::new(&rules, &Book::default());
            Self(rules, counters)
        }

        fn decide(&self, who: Who) -> Decision {
            let headers = HeaderMap::new();
            self.0.decide(Place::Request, &view(&headers), who, &self.1)
        }

        fn chosen(&self, ordinals: std::ops::Range<u64>) -> Vec<u64> {
            ordinals
                .filter(|ordinal| !self.decide(who(*ordinal)).hits.is_empty())
                .collect()
        }
    }

    fn view(headers: &HeaderMap) -> RequestView<'_> {
        RequestView {
            method: "GET",
            authority: "shop.test",
            path: "/cart/1",
            query: None,
            headers,
        }
    }

    fn who(ordinal: u64) -> Who {
        Who {
            ordinal,
            side: 0,
            n: 0,
            attempt: 0,
            intended_ms: None,
        }
    }

    fn fates(decision: &Decision) -> Vec<(&str, Fate)> {
        decision
            .hits
            .iter()
            .map(|hit| (&*hit.id, hit.fate))
            .collect()
    }

    #[test]
    fn every_kind_has_examples_under_its_own_key() {
        let kinds = [
            delay(1),
            abort(503),
            Fault::Throttle(throttle::Throttle {
                bytes_per_second: 1,
            }),
            Fault::Truncate(truncate::Truncate { after: 1 }),
            Fault::Rewrite(rewrite::Rewrite::default()),
        ];
        for kind in &kinds {
            let (_, examples) = KINDS.iter().find(|(key, _)| *key == kind.kind()).unwrap();
            assert!(!examples.is_empty());
            for example in *examples {
                assert!(
                    example.starts_with(&format!("{}: ", kind.kind())),
                    "{example}"
                );
            }
        }
        assert_eq!(KINDS.len(), kinds.len());
    }

    #[test]
    fn delays_add_up_and_the_first_abort_supersedes_what_follows() {
        let bench = Bench::new(
            &[
                rule("a", share(1.0), delay(100)),
                rule("b", share(1.0), delay(20)),
                rule("c", share(1.0), abort(503)),
                rule("d", share(1.0), delay(7)),
                rule("e", share(1.0), abort(418)),
            ],
            1,
        );
        let decision = bench.decide(who(0));
        assert_eq!(decision.delay, MS(120));
        assert_eq!(
            decision
                .end
                .as_ref()
                .and_then(End::status)
                .unwrap()
                .as_u16(),
            503
        );
        assert_eq!(
            fates(&decision),
            [
                ("a", Fate::Applied),
                ("b", Fate::Applied),
                ("c", Fate::Applied),
                ("d", Fate::Superseded),
                ("e", Fate::Superseded),
            ]
        );
        assert_eq!(decision.considered.len(), 5);
        assert_eq!(decision.hits[3].asked, Some(MS(7)));
    }

    #[test]
    fn a_rule_that_hits_nothing_is_considered_and_allocates_no_hits() {
        let bench = Bench::new(&[rule("a", share(0.0), delay(1))], 1);
        let decision = bench.decide(who(0));
        assert_eq!(
            (decision.considered.len(), decision.hits.capacity()),
            (1, 0)
        );
        let none = Bench::new(&[], 1).decide(who(0));
        assert_eq!((none.considered.capacity(), none.hits.capacity()), (0, 0));
    }

    #[test]
    fn a_window_holds_from_its_begin_until_before_its_end() {
        let windowed = Rule {
            windows: vec![
                Window {
                    begin_ms: 10,
                    end_ms: 20,
                },
                Window {
                    begin_ms: 30,
                    end_ms: 31,
                },
            ],
            ..rule("a", share(1.0), delay(1))
        };
        let bench = Bench::new(&[windowed], 1);
        for (due, met) in [
            (Some(9), false),
            (Some(10), true),
            (Some(19), true),
            (Some(20), false),
            (Some(30), true),
            (Some(31), false),
            // When it was due is not known.
            (None, false),
        ] {
            let decision = bench.decide(Who {
                intended_ms: due,
                ..who(0)
            });
            assert_eq!(decision.considered.len(), usize::from(met), "{due:?}");
        }
    }

    #[test]
    fn chosen_requests_depend_on_the_seed_and_the_rule_alone() {
        let of = |id: &str, p: f64, seed| {
            Bench::new(&[rule(id, share(p), delay(1))], seed).chosen(0..4000)
        };
        let chosen = of("a", 0.2, 7);
        assert_eq!(chosen, of("a", 0.2, 7));
        assert_ne!(chosen, of("a", 0.2, 8));
        assert_ne!(chosen, of("b", 0.2, 7));
        // 3 sigma of 4,000 draws at 0.2 is 75.9.
        assert!(
            (chosen.len() as f64 - 800.0).abs() < 75.9,
            "{}",
            chosen.len()
        );
        let more = of("a", 0.4, 7);
        assert!(chosen.iter().all(|ordinal| more.contains(ordinal)));
        // Another rule before it leaves its draws alone.
        let second = Bench::new(
            &[
                rule("b", share(0.0), delay(1)),
                rule("a", share(0.2), delay(1)),
            ],
            7,
        );
        assert_eq!(chosen, second.chosen(0..4000));
    }

    #[test]
    fn aborts_are_drawn_apart_from_delays() {
        let bench = Bench::new(
            &[
                rule("d", share(0.5), delay(1)),
                rule("a", share(0.5), abort(503)),
            ],
            5,
        );
        let mut both = 0;
        for ordinal in 0..4000 {
            both += u32::from(bench.decide(who(ordinal)).hits.len() == 2);
        }
        // A quarter, within 3 sigma (82.2).
        assert!((f64::from(both) - 1000.0).abs() < 82.2, "{both}");
    }

    #[test]
    fn a_ramp_grows_from_a_windows_begin() {
        let ramped = Rule {
            windows: vec![Window {
                begin_ms: 1000,
                end_ms: 9000,
            }],
            ..rule(
                "a",
                Select::Ramp {
                    from: Share::NONE,
                    to: Share::new(0.8).unwrap(),
                    over: MS(4000),
                },
                delay(1),
            )
        };
        let bench = Bench::new(&[ramped], 3);
        for (due, p) in [
            (1000, 0.0),
            (2000, 0.2),
            (3000, 0.4),
            (5000, 0.8),
            (8999, 0.8),
        ] {
            let hits = (0..2000)
                .filter_map(|ordinal| {
                    bench
                        .decide(Who {
                            intended_ms: Some(due),
                            ..who(ordinal)
                        })
                        .hits
                        .pop()
                })
                .inspect(|hit| assert!((hit.p - p).abs() < 1e-12 && hit.u < hit.p, "{hit:?}"))
                .count();
            let sigma = (2000.0 * p * (1.0 - p)).sqrt();
            assert!(
                (hits as f64 - 2000.0 * p).abs() <= 3.0 * sigma,
                "{due}: {hits}"
            );
        }
    }

    #[test]
    fn first_and_every_count_matching_requests_of_each_side() {
        let first = Bench::new(&[rule("a", Select::First(3), delay(1))], 1);
        assert_eq!(first.chosen(0..10), [0, 1, 2]);
        assert!(first.decide(who(10)).hits.is_empty());
        assert_eq!(first.decide(Who { side: 1, ..who(11) }).hits.len(), 1);
        let every = Bench::new(&[rule("a", Select::Every(3), delay(1))], 1);
        assert_eq!(every.chosen(0..10), [2, 5, 8]);
        let listed = Bench::new(
            &[rule("a", Select::Ordinals(Arc::from([2, 3, 9])), delay(1))],
            1,
        );
        assert_eq!(listed.chosen(0..10), [2, 3, 9]);
    }

    #[test]
    fn counts_go_on_when_the_same_rules_are_published_again() {
        let book = Book::default();
        let mut hit = Vec::new();
        for _ in 0..3 {
            let rules = Rules::compile(&[rule("a", Select::First(5), delay(1))], Seed(1)).unwrap();
            let counters = Counters::new(&rules, &book);
            let headers = HeaderMap::new();
            for ordinal in 0..2 {
                hit.push(
                    !rules
                        .decide(Place::Request, &view(&headers), who(ordinal), &counters)
                        .hits
                        .is_empty(),
                );
            }
        }
        assert_eq!(hit, [true, true, true, true, true, false]);
    }

    #[test]
    fn beyond_max_active_a_choice_is_capped_until_a_place_is_free() {
        let capped = Rule {
            max_active: Some(2),
            ..rule("a", share(1.0), delay(5))
        };
        let bench = Bench::new(&[capped, rule("b", share(1.0), delay(1))], 1);
        let held: Vec<_> = (0..2).map(|ordinal| bench.decide(who(ordinal))).collect();
        assert!(held.iter().all(|decision| decision.delay == MS(6)));
        let third = bench.decide(who(2));
        assert_eq!(fates(&third), [("a", Fate::Capped), ("b", Fate::Applied)]);
        assert_eq!(third.delay, MS(1));
        drop(held);
        assert_eq!(bench.decide(who(3)).delay, MS(6));
    }

    #[test]
    fn a_capped_abort_leaves_the_request_to_the_next_rule() {
        let capped = Rule {
            max_active: Some(0),
            ..rule("a", share(1.0), abort(503))
        };
        let bench = Bench::new(&[capped, rule("b", share(1.0), abort(418))], 1);
        let decision = bench.decide(who(0));
        assert_eq!(
            fates(&decision),
            [("a", Fate::Capped), ("b", Fate::Applied)]
        );
        assert_eq!(decision.end.unwrap().status().unwrap().as_u16(), 418);
    }

    #[test]
    fn a_rule_that_cannot_be_names_itself() {
        let every = rule("often", Select::Every(0), delay(1));
        assert_eq!(
            Rules::compile(&[every], Seed(1)).unwrap_err(),
            "fault `often`: `every` must be at least 1"
        );
        let status = rule("odd", share(1.0), abort(700));
        assert_eq!(
            Rules::compile(&[status], Seed(1)).unwrap_err(),
            "fault `odd`: the status 700 of an abort must be from 200 to 599"
        );
    }
}
