//! Rules, ready to be asked: each is drawn for every request that it is for.

use std::{sync::Arc, time::Duration};

use super::{Counter, Counters, Decision, Effect, Place, Rule, Select, Who, Window};
use crate::{
    draw::{Draw, Key, Seed},
    policy::matcher::{self, RequestView},
};

/// Rules of one route or listener, ready to be asked.
#[derive(Debug)]
pub struct Rules {
    pub(super) rules: Vec<Compiled>,
}

#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) id: Arc<str>,
    pub(super) name: String,
    pub(super) windows: Vec<Window>,
    pub(super) matcher: matcher::Compiled,
    pub(super) select: Select,
    pub(super) max_active: Option<u32>,
    pub(super) group: Option<String>,
    pub(super) place: Place,
    pub(super) effect: Effect,
    pub(super) choice: Draw,
    pub(super) amount: Draw,
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
    /// what is chosen after it is superseded. Places under `max_active` are taken here and held by [`super::Chosen::active`].
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

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::{
        policy::{
            fault::{
                Book, Fate, Fault,
                abort::{Abort, End},
                delay::Delay,
            },
            matcher::Matcher,
        },
        unit::Share,
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
