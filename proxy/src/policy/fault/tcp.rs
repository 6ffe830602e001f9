//! Faults of connections that are passed on byte by byte. A rule chooses connections; what it does to the bytes of a
//! direction is a stage of its [`Line`]: pieces in, pieces with their time out. Bytes are never reordered.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use crate::{
    draw::{Draw, Key, Seed},
    unit::{ByteSize, Share, show_duration},
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
    /// What names its draws: `ID@CALLER>SERVICE`.
    pub name: String,
    /// Which connections.
    pub select: Select,
    /// Which of their bytes.
    pub direction: Direction,
    /// What happens.
    pub kind: Fault,
}

/// Which connections a rule chooses.
#[derive(Debug, Clone, PartialEq)]
pub enum Select {
    /// Each by its draw.
    Share(Share),
    /// Those with these numbers, ascending.
    Numbers(Arc<[u64]>),
    /// The first so many to arrive.
    First(u64),
    /// Every so many-th to arrive.
    Every(u64),
}

/// Which connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Number {
    /// Its number where it was opened; the order of arrival, where that is not known.
    pub connection: u64,
    /// How often it had been opened before.
    pub reopenings: u32,
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

/// How each kind is written in a scenario: its key, its examples. A new kind adds a line.
pub const KINDS: &[(&str, &[&str])] = &[
    ("latency", latency::EXAMPLES),
    ("bandwidth", bandwidth::EXAMPLES),
    ("slow_close", &["slow_close: { delay: 500ms }"]),
    ("blackhole", &["blackhole: { after: 1s }", "blackhole: {}"]),
    ("reset", &["reset: { after: 1s }", "reset: {}"]),
    ("slicer", slicer::EXAMPLES),
    ("limit_data", limit_data::EXAMPLES),
    ("loss", loss::EXAMPLES),
    ("refuse", &["refuse: {}"]),
    ("slow_accept", &["slow_accept: { delay: 200ms }"]),
    ("half_open", &["half_open: {}"]),
];

/// Rules, ready to be asked.
#[derive(Debug, Default, PartialEq)]
pub struct Rules(Vec<Compiled>);

#[derive(Debug, PartialEq)]
struct Compiled {
    rule: Rule,
    draw: Draw,
    amount: Draw,
}

/// What happens to one connection. Times are counted from its begin.
#[derive(Debug, Default)]
pub struct Plan {
    /// The rules that were drawn for it, in file order.
    pub considered: Vec<Arc<str>>,
    /// The rules that chose it, in file order.
    pub hits: Vec<Hit>,
    /// It is reset at once.
    pub refuse: bool,
    /// Nobody is connected to.
    pub half_open: bool,
    /// The service is connected to after this.
    pub accept_after: Duration,
    /// It is reset at this age.
    pub reset_at: Option<Duration>,
    reset_by: Option<Acted>,
    /// What happens to the bytes to the service.
    pub up: Line,
    /// What happens to the bytes to the client.
    pub down: Line,
}

/// A rule chose a connection.
#[derive(Debug, Clone)]
pub struct Hit {
    /// The rule's id.
    pub fault: Arc<str>,
    /// The draw; `NaN` where the rule does not draw.
    pub u: f64,
    /// What it was held against.
    pub p: f64,
    /// The delay that was asked for.
    pub asked: Option<Duration>,
    /// An earlier rule ends the connection.
    pub superseded: bool,
    acted: Acted,
}

/// Whether a hit has done something yet.
#[derive(Debug, Clone, Default)]
struct Acted(Rc<Cell<bool>>);

/// What happens to the bytes of one direction.
#[derive(Debug, Default)]
pub struct Line {
    stages: Vec<Stage>,
    close_after: Vec<(Duration, Acted)>,
    silent_from: Option<(Duration, Acted)>,
    swallowed: bool,
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
    amount: Draw,
    connection: u64,
    /// Chunks so far.
    chunks: u32,
    acted: Acted,
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
    /// The key that it has in a scenario.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Latency(_) => "latency",
            Self::Bandwidth(_) => "bandwidth",
            Self::Slicer(_) => "slicer",
            Self::LimitData(_) => "limit_data",
            Self::Loss(_) => "loss",
            Self::SlowClose(_) => "slow_close",
            Self::Blackhole(_) => "blackhole",
            Self::Reset(_) => "reset",
            Self::Refuse => "refuse",
            Self::SlowAccept(_) => "slow_accept",
            Self::HalfOpen => "half_open",
        }
    }

    /// What it does, in a few words.
    pub fn words(&self) -> String {
        match self {
            Self::Latency(it) => format!("latency of {}", show_duration(it.delay)),
            Self::Bandwidth(it) => format!("bandwidth of {}/s", ByteSize(it.bytes_per_second)),
            Self::Slicer(it) => format!("slices of {}", ByteSize(it.size as u64)),
            Self::LimitData(it) => format!("end after {}", ByteSize(it.bytes)),
            Self::Loss(it) => format!("loss of {}", it.share),
            Self::SlowClose(delay) => format!("close {} late", show_duration(*delay)),
            Self::Blackhole(after) => format!("blackhole after {}", show_duration(*after)),
            Self::Reset(after) => format!("reset after {}", show_duration(*after)),
            Self::Refuse => "refuse".to_owned(),
            Self::SlowAccept(delay) => format!("accept {} late", show_duration(*delay)),
            Self::HalfOpen => "half open".to_owned(),
        }
    }

    /// It is about the bytes of a direction, and not about the connection as a whole.
    pub fn is_of_bytes(&self) -> bool {
        !matches!(
            self,
            Self::Reset(_) | Self::Refuse | Self::SlowAccept(_) | Self::HalfOpen
        )
    }

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

    /// It is about how a connection begins, so those that are there already do not meet it.
    fn is_of_begin(&self) -> bool {
        matches!(self, Self::Refuse | Self::SlowAccept(_))
    }

    fn asked(&self) -> Option<Duration> {
        match self {
            Self::Latency(it) => Some(it.delay),
            Self::SlowClose(delay) | Self::SlowAccept(delay) => Some(*delay),
            _ => None,
        }
    }
}

impl Rules {
    /// Compiles rules; the error names the rule and what is wrong with it.
    pub fn compile(rules: &[Rule], seed: Seed) -> Result<Self, String> {
        let compiled = rules.iter().map(|rule| {
            let checked = rule.kind.check();
            checked.map_err(|why| format!("fault `{}`: {why}", rule.id))?;
            Ok(Compiled {
                draw: seed.rule(&rule.name),
                amount: seed.rule(&format!("{}#amount", rule.name)),
                rule: rule.clone(),
            })
        });
        compiled.collect::<Result<_, String>>().map(Self)
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What happens to a connection. `age`: how long it has been there; what is about the beginning of connections does not
    /// concern one that has begun.
    pub fn decide(&self, number: Number, age: Duration) -> Plan {
        let mut plan = Plan::default();
        for one in &self.0 {
            if !age.is_zero() && one.rule.kind.is_of_begin() {
                continue;
            }
            plan.considered.push(Arc::clone(&one.rule.id));
            let (chosen, u, p) = one.rule.select.choose(one.draw, number);
            if !chosen {
                continue;
            }
            let hit = Hit {
                fault: Arc::clone(&one.rule.id),
                u,
                p,
                asked: one.rule.kind.asked(),
                superseded: plan.refuse || plan.half_open,
                acted: Acted::default(),
            };
            if !hit.superseded {
                plan.add(one, &hit.acted, number.connection, age);
            }
            plan.hits.push(hit);
        }
        plan
    }
}

impl Select {
    /// Whether the connection is chosen, and the draw and the share, where there are.
    pub(super) fn choose(&self, draw: Draw, number: Number) -> (bool, f64, f64) {
        let counted = |chosen| (chosen, f64::NAN, f64::NAN);
        match self {
            Self::Share(share) => {
                let u = draw.unit(&key(number.connection, number.reopenings, 0));
                (u < share.get(), u, share.get())
            }
            Self::Numbers(numbers) => counted(numbers.binary_search(&number.connection).is_ok()),
            Self::First(count) => counted(number.connection < *count),
            Self::Every(count) => counted((number.connection + 1).is_multiple_of((*count).max(1))),
        }
    }
}

/// The key of a draw about a connection.
fn key(connection: u64, n: u32, attempt: u32) -> Key<'static> {
    Key {
        ordinal: connection,
        n,
        attempt,
        method: "TCP",
        path: "",
    }
}

impl Hit {
    /// It has done something to the connection.
    pub fn has_acted(&self) -> bool {
        self.acted.0.get()
    }
}

impl Acted {
    fn mark(&self) {
        self.0.set(true);
    }
}

impl Plan {
    /// Nothing happens.
    pub fn is_empty(&self) -> bool {
        self.hits.iter().all(|hit| hit.superseded)
    }

    /// It is reset, at [`Plan::reset_at`].
    pub fn reset(&self) {
        if let Some(acted) = &self.reset_by {
            acted.mark();
        }
    }

    fn add(&mut self, one: &Compiled, acted: &Acted, connection: u64, age: Duration) {
        match &one.rule.kind {
            Fault::Refuse => {
                self.refuse = true;
                acted.mark();
            }
            Fault::HalfOpen if age.is_zero() => {
                self.half_open = true;
                acted.mark();
            }
            Fault::HalfOpen => {
                // There is somebody behind it already: from now on it is as if there were not.
                for line in [&mut self.up, &mut self.down] {
                    line.silence(age, acted);
                }
            }
            Fault::SlowAccept(delay) => {
                self.accept_after += *delay;
                acted.mark();
            }
            Fault::Reset(after) => {
                let at = age + *after;
                if self.reset_at.is_none_or(|before| at < before) {
                    self.reset_at = Some(at);
                    self.reset_by = Some(acted.clone());
                }
            }
            kind => {
                for line in self.lines(one.rule.direction).into_iter().flatten() {
                    line.add(kind, one.amount, connection, age, acted);
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
        self.stages.is_empty() && self.close_after.is_empty() && self.silent_from.is_none()
    }

    /// Bytes have vanished in it: what comes after them is worth nothing.
    pub fn has_swallowed(&self) -> bool {
        self.swallowed
    }

    /// It comes in place of one in which bytes have vanished. Whether it is silent still.
    pub fn stays_silent(&mut self, now: Duration) -> bool {
        self.swallowed = self.is_silent(now);
        self.swallowed
    }

    fn add(&mut self, kind: &Fault, amount: Draw, connection: u64, age: Duration, acted: &Acted) {
        let kind = match kind {
            Fault::Latency(it) => Working::Latency(it.begin()),
            Fault::Bandwidth(it) => Working::Bandwidth(it.begin()),
            Fault::Slicer(it) => Working::Slicer(it.begin()),
            Fault::LimitData(it) => Working::LimitData(it.begin()),
            Fault::Loss(it) => Working::Loss(it.begin()),
            Fault::SlowClose(delay) => {
                self.close_after.push((*delay, acted.clone()));
                return;
            }
            Fault::Blackhole(after) => return self.silence(age + *after, acted),
            Fault::Reset(_) | Fault::Refuse | Fault::SlowAccept(_) | Fault::HalfOpen => return,
        };
        self.stages.push(Stage {
            kind,
            amount,
            connection,
            chunks: 0,
            acted: acted.clone(),
        });
    }

    /// Nothing comes from then on, or from an earlier time that was said before.
    fn silence(&mut self, from: Duration, acted: &Acted) {
        if self
            .silent_from
            .as_ref()
            .is_none_or(|(before, _)| from < *before)
        {
            self.silent_from = Some((from, acted.clone()));
        }
    }

    /// It is silent by now; then its fault has acted.
    fn is_silent(&self, now: Duration) -> bool {
        match &self.silent_from {
            Some((from, acted)) if *from <= now => {
                acted.mark();
                true
            }
            _ => false,
        }
    }

    /// So many bytes have come: when which of them go on, and what comes then.
    pub fn pass(&mut self, now: Duration, bytes: usize) -> (Vec<Piece>, After) {
        if self.is_silent(now) {
            self.swallowed = true;
            return (Vec::new(), After::More);
        }
        let mut pieces = vec![Piece { at: now, bytes }];
        let mut after = After::More;
        for stage in &mut self.stages {
            let mut out = Vec::new();
            for piece in pieces {
                if stage.step(piece, &mut out) == After::Cut {
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
    pub fn end(&mut self, now: Duration) -> Option<Duration> {
        if self.is_silent(now) {
            self.swallowed = true;
            return None;
        }
        let late = self.close_after.iter().map(|(delay, acted)| {
            acted.mark();
            *delay
        });
        Some(now + late.sum::<Duration>())
    }
}

impl Stage {
    fn step(&mut self, piece: Piece, out: &mut Vec<Piece>) -> After {
        let (connection, chunk, amount) = (self.connection, self.chunks, self.amount);
        self.chunks = self.chunks.wrapping_add(1);
        // A chunk that needs more than one draw counts them where the key of a request has its tries.
        let draw = |which: u64| amount.unit(&key(connection, chunk, which as u32));
        let before = out.len();
        let mut after = After::More;
        match &mut self.kind {
            Working::Latency(it) => out.push(it.step(piece, draw(0))),
            Working::Bandwidth(it) => it.step(piece, out),
            Working::Slicer(it) => it.step(piece, draw, out),
            Working::LimitData(it) => after = it.step(piece, out),
            Working::Loss(it) => it.step(piece, draw, out),
        }
        let changed = after == After::Cut || out.get(before..) != Some(&[piece]);
        if changed && !self.acted.0.get() {
            self.acted.mark();
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(share: f64, direction: Direction, kind: Fault) -> Rule {
        Rule {
            id: Arc::from("f"),
            name: "f@a>b".to_owned(),
            select: Select::Share(Share::new(share).unwrap()),
            direction,
            kind,
        }
    }

    fn number(connection: u64) -> Number {
        Number {
            connection,
            reopenings: 0,
        }
    }

    fn plan(rules: &[Rule]) -> Plan {
        let rules = Rules::compile(rules, Seed(7)).unwrap();
        rules.decide(number(3), Duration::ZERO)
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
                .filter(|it| !rules.decide(number(*it), Duration::ZERO).is_empty())
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
        let mut plan = plan(&[
            rule(1.0, both, Fault::SlowAccept(ms(7))),
            rule(1.0, both, Fault::Reset(ms(90))),
            rule(1.0, both, Fault::Reset(ms(80))),
            rule(1.0, Direction::Downstream, Fault::SlowClose(ms(9))),
            rule(1.0, Direction::Upstream, Fault::Blackhole(ms(50))),
            rule(1.0, both, Fault::HalfOpen),
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
