//! Faults of connections that are passed on byte by byte. A rule chooses connections; what it does to the bytes of a
//! direction is a stage of its [`Line`]: pieces in, pieces with their time out. Bytes are never reordered.

use std::{sync::Arc, time::Duration};

use crate::{
    draw::{Draw, Seed},
    unit::Share,
};

pub mod bandwidth;
pub mod latency;
pub mod limit_data;
pub mod loss;
pub mod slicer;

use bandwidth::Bandwidth;
use latency::Latency;
use limit_data::LimitData;
use loss::Loss;
use slicer::Slicer;

/// Which connections, which direction, what.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The fault's id, in counts.
    pub id: Arc<str>,
    /// What names its draws.
    pub name: String,
    /// Which connections: a draw by the order of their arrival.
    pub share: Share,
    /// Which of their bytes.
    pub direction: Direction,
    /// What happens.
    pub kind: Fault,
}

/// Which bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// All.
    #[default]
    Both,
    /// To the service.
    Upstream,
    /// To the client.
    Downstream,
}

/// What happens to a chosen connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Bytes come late.
    Latency(Latency),
    /// Bytes come slowly.
    Bandwidth(Bandwidth),
    /// Bytes come in small pieces.
    Slicer(Slicer),
    /// Only so many bytes come, then the connection ends.
    LimitData(LimitData),
    /// Some bytes come as late as if they had been lost and sent again.
    Loss(Loss),
    /// The end of a stream comes so late.
    SlowClose(Duration),
    /// From this age of the connection on, nothing comes any more.
    Blackhole(Duration),
    /// At this age of the connection, both sides see a reset.
    Reset(Duration),
    /// The client sees a reset, and the service nothing.
    Refuse,
    /// The service is connected to so late.
    SlowAccept(Duration),
    /// The connection is there for the client, and nobody behind it.
    HalfOpen,
}

/// Rules, ready to be asked.
#[derive(Debug, Default)]
pub struct Rules(Vec<(Rule, Draw)>);

/// What happens to one connection. Times are counted from its begin.
#[derive(Debug, Default)]
pub struct Plan {
    /// The rules that chose it.
    pub hits: Vec<Arc<str>>,
    /// It is reset at once.
    pub refuse: bool,
    /// Nobody is connected to.
    pub half_open: bool,
    /// The service is connected to after this.
    pub accept_after: Duration,
    /// It is reset at this age.
    pub reset_at: Option<Duration>,
    /// What happens to the bytes to the service.
    pub up: Line,
    /// What happens to the bytes to the client.
    pub down: Line,
}

/// What happens to the bytes of one direction.
#[derive(Debug, Default)]
pub struct Line {
    stages: Vec<Stage>,
    close_after: Duration,
    silent_from: Option<Duration>,
    draws: u64,
}

/// Bytes that go on at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// When, counted from the connection's begin.
    pub at: Duration,
    /// How many.
    pub bytes: usize,
}

/// What comes after bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// More bytes, or their end.
    More,
    /// The connection ends.
    Cut,
}

#[derive(Debug)]
struct Stage {
    kind: Working,
    draw: Draw,
    ordinal: u64,
}

#[derive(Debug)]
enum Working {
    Latency(latency::Working),
    Bandwidth(bandwidth::Working),
    Slicer(slicer::Working),
    LimitData(limit_data::Working),
    Loss(loss::Working),
}

impl Fault {
    /// What is wrong with the settings, if something is.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Bandwidth(it) if it.bytes_per_second == 0 => {
                Err("the rate of a bandwidth must be above 0".to_owned())
            }
            Self::Slicer(it) if it.size == 0 || it.variation >= it.size => {
                Err("the size of a slicer must be above 0, and above its variation".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl Rules {
    /// Compiles rules; the error names the rule and what is wrong with it.
    pub fn compile(rules: &[Rule], seed: Seed) -> Result<Self, String> {
        let compiled = rules.iter().map(|rule| {
            let checked = rule.kind.check();
            checked.map_err(|why| format!("fault `{}`: {why}", rule.id))?;
            Ok((rule.clone(), seed.rule(&rule.name)))
        });
        compiled.collect::<Result<_, String>>().map(Self)
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What happens to the connection with this ordinal; `None`: nothing.
    pub fn decide(&self, ordinal: u64) -> Option<Plan> {
        let mut plan = Plan::default();
        for (rule, draw) in &self.0 {
            if draw.unit_of(&ordinal.to_le_bytes()) < rule.share.get() {
                plan.hits.push(Arc::clone(&rule.id));
                plan.add(rule, *draw, ordinal);
            }
        }
        (!plan.hits.is_empty()).then_some(plan)
    }
}

impl Plan {
    fn add(&mut self, rule: &Rule, draw: Draw, ordinal: u64) {
        match &rule.kind {
            Fault::Refuse => self.refuse = true,
            Fault::HalfOpen => self.half_open = true,
            Fault::SlowAccept(delay) => self.accept_after += *delay,
            Fault::Reset(after) => {
                self.reset_at = Some(self.reset_at.map_or(*after, |at| at.min(*after)));
            }
            kind => {
                for line in self.lines(rule.direction).into_iter().flatten() {
                    line.add(kind, draw, ordinal);
                }
            }
        }
    }

    fn lines(&mut self, direction: Direction) -> [Option<&mut Line>; 2] {
        match direction {
            Direction::Both => [Some(&mut self.up), Some(&mut self.down)],
            Direction::Upstream => [Some(&mut self.up), None],
            Direction::Downstream => [None, Some(&mut self.down)],
        }
    }
}

impl Line {
    /// Bytes go on as they come.
    pub fn is_plain(&self) -> bool {
        self.stages.is_empty() && self.close_after.is_zero() && self.silent_from.is_none()
    }

    fn add(&mut self, kind: &Fault, draw: Draw, ordinal: u64) {
        let kind = match kind {
            Fault::Latency(it) => Working::Latency(it.begin()),
            Fault::Bandwidth(it) => Working::Bandwidth(it.begin()),
            Fault::Slicer(it) => Working::Slicer(it.begin()),
            Fault::LimitData(it) => Working::LimitData(it.begin()),
            Fault::Loss(it) => Working::Loss(it.begin()),
            Fault::SlowClose(delay) => {
                self.close_after += *delay;
                return;
            }
            Fault::Blackhole(after) => {
                self.silent_from = Some(self.silent_from.map_or(*after, |at| at.min(*after)));
                return;
            }
            Fault::Reset(_) | Fault::Refuse | Fault::SlowAccept(_) | Fault::HalfOpen => return,
        };
        self.stages.push(Stage {
            kind,
            draw,
            ordinal,
        });
    }

    /// So many bytes have come: when which of them go on, and what comes then.
    pub fn pass(&mut self, now: Duration, bytes: usize) -> (Vec<Piece>, After) {
        if self.silent_from.is_some_and(|from| from <= now) {
            return (Vec::new(), After::More);
        }
        let mut pieces = vec![Piece { at: now, bytes }];
        let mut after = After::More;
        for stage in &mut self.stages {
            let mut out = Vec::new();
            for piece in pieces {
                let number = self.draws;
                self.draws += 1;
                if stage.step(piece, number, &mut out) == After::Cut {
                    after = After::Cut;
                    break;
                }
            }
            pieces = out;
        }
        pieces.retain(|piece| piece.bytes > 0);
        (pieces, after)
    }

    /// When the end of the stream goes on; `None`: it does not.
    pub fn end(&self, now: Duration) -> Option<Duration> {
        if self.silent_from.is_some_and(|from| from <= now) {
            return None;
        }
        Some(now + self.close_after)
    }
}

impl Stage {
    fn step(&mut self, piece: Piece, number: u64, out: &mut Vec<Piece>) -> After {
        let draw = |which: u64| {
            let key = [
                self.ordinal.to_le_bytes(),
                number.to_le_bytes(),
                which.to_le_bytes(),
            ];
            self.draw.unit_of(key.as_flattened())
        };
        match &mut self.kind {
            Working::Latency(it) => out.push(it.step(piece, draw(0))),
            Working::Bandwidth(it) => it.step(piece, out),
            Working::Slicer(it) => it.step(piece, draw, out),
            Working::LimitData(it) => return it.step(piece, out),
            Working::Loss(it) => it.step(piece, draw, out),
        }
        After::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(share: f64, direction: Direction, kind: Fault) -> Rule {
        Rule {
            id: Arc::from("f"),
            name: "f@a>b".to_owned(),
            share: Share::new(share).unwrap(),
            direction,
            kind,
        }
    }

    fn plan(rules: &[Rule]) -> Plan {
        let rules = Rules::compile(rules, Seed(7)).unwrap();
        rules.decide(3).unwrap()
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_same_connections_are_chosen_for_the_same_seed_and_as_many_as_asked_for() {
        let chosen = |seed| -> Vec<u64> {
            let rules = Rules::compile(&[rule(0.2, Direction::Both, Fault::Refuse)], Seed(seed));
            let rules = rules.unwrap();
            (0..10_000)
                .filter(|ordinal| rules.decide(*ordinal).is_some())
                .collect()
        };
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
        // 2,000 expected, the standard deviation is 40.
        assert!((1_880..=2_120).contains(&chosen(1).len()));
    }

    #[test]
    fn stages_follow_one_another_and_times_add_up() {
        let latency = |delay| {
            rule(
                1.0,
                Direction::Upstream,
                Fault::Latency(Latency {
                    delay,
                    jitter: Duration::ZERO,
                }),
            )
        };
        let limit = rule(
            1.0,
            Direction::Upstream,
            Fault::LimitData(LimitData { bytes: 10 }),
        );
        let mut plan = plan(&[latency(ms(30)), latency(ms(20)), limit]);
        assert!(plan.down.is_plain() && !plan.up.is_plain());
        let at = |at, bytes| Piece { at: ms(at), bytes };
        assert_eq!(plan.up.pass(ms(5), 8), (vec![at(55, 8)], After::More));
        assert_eq!(plan.up.pass(ms(6), 8), (vec![at(56, 2)], After::Cut));
    }

    #[test]
    fn what_is_not_about_bytes_is_of_the_connection() {
        let both = Direction::Both;
        let plan = plan(&[
            rule(1.0, both, Fault::SlowAccept(ms(7))),
            rule(1.0, both, Fault::Reset(ms(90))),
            rule(1.0, both, Fault::Reset(ms(80))),
            rule(1.0, both, Fault::HalfOpen),
            rule(1.0, Direction::Downstream, Fault::SlowClose(ms(9))),
            rule(1.0, Direction::Upstream, Fault::Blackhole(ms(50))),
        ]);
        assert_eq!((plan.accept_after, plan.reset_at), (ms(7), Some(ms(80))));
        assert!(plan.half_open && !plan.refuse);
        assert_eq!(plan.down.end(ms(1)), Some(ms(10)));
        assert_eq!(
            (plan.up.end(ms(49)), plan.up.end(ms(50))),
            (Some(ms(49)), None)
        );
        let mut up = plan.up;
        assert_eq!(up.pass(ms(49), 5).0.len(), 1);
        assert_eq!(up.pass(ms(50), 5), (Vec::new(), After::More));
    }

    #[test]
    fn settings_that_cannot_be_are_told() {
        for kind in [
            Fault::Bandwidth(Bandwidth {
                bytes_per_second: 0,
            }),
            Fault::Slicer(Slicer {
                size: 5,
                variation: 5,
                pause: ms(1),
            }),
        ] {
            assert!(Rules::compile(&[rule(1.0, Direction::Both, kind)], Seed(1)).is_err());
        }
    }
}
