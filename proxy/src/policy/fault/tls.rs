//! Handshakes that fail as they do in practice: which connections, and how. A connection draws once, before anything of it
//! is read.

use std::sync::Arc;

use super::tcp::{Number, Select};
use crate::draw::{Draw, Seed};

/// How it is written in a scenario.
pub const EXAMPLES: &[&str] = &[
    "tls: expired",
    "tls: wrong_name",
    "tls: unknown_ca",
    "tls: stall",
];

/// What is wrong with a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tls {
    /// The certificate that is shown is beyond its dates.
    Expired,
    /// The certificate that is shown is for another name.
    WrongName,
    /// The certificate that is shown was issued by nobody that is known.
    UnknownCa,
    /// Nothing is answered.
    Stall,
}

/// A rule: which connections, and what is wrong with their handshake.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The fault's id, in records.
    pub id: Arc<str>,
    /// What names its draws: `ID@CALLER>SERVICE`.
    pub name: String,
    /// Which connections.
    pub select: Select,
    /// What is wrong.
    pub kind: Tls,
}

/// Rules, ready to be asked.
#[derive(Debug, Default)]
pub struct Rules(Vec<(Rule, Draw)>);

/// What was drawn for one connection.
#[derive(Debug, Default)]
pub struct Drawn {
    /// The rules that were asked, in file order.
    pub considered: Vec<Arc<str>>,
    /// Those that chose it, in file order; the first is what happens.
    pub hits: Vec<Hit>,
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
    /// What is wrong.
    pub kind: Tls,
}

impl Drawn {
    /// What is wrong with the handshake; `None`: nothing.
    pub fn kind(&self) -> Option<Tls> {
        self.hits.first().map(|hit| hit.kind)
    }
}

impl Tls {
    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "expired" => Self::Expired,
            "wrong_name" => Self::WrongName,
            "unknown_ca" => Self::UnknownCa,
            "stall" => Self::Stall,
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::WrongName => "wrong_name",
            Self::UnknownCa => "unknown_ca",
            Self::Stall => "stall",
        }
    }
}

impl Rules {
    /// The rules with their draws.
    pub fn new(rules: &[Rule], seed: Seed) -> Self {
        let with_draw = |rule: &Rule| (rule.clone(), seed.rule(&rule.name));
        Self(rules.iter().map(with_draw).collect())
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// There is one of this kind.
    pub fn have(&self, kind: Tls) -> bool {
        self.0.iter().any(|(rule, _)| rule.kind == kind)
    }

    /// Asks all of them about a connection.
    pub fn draw(&self, number: Number) -> Drawn {
        let mut drawn = Drawn::default();
        for (rule, draw) in &self.0 {
            drawn.considered.push(Arc::clone(&rule.id));
            let (chosen, u, p) = rule.select.choose(*draw, number);
            if chosen {
                drawn.hits.push(Hit {
                    fault: Arc::clone(&rule.id),
                    u,
                    p,
                    kind: rule.kind,
                });
            }
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::Share;

    fn number(connection: u64, reopenings: u32) -> Number {
        Number {
            connection,
            reopenings,
        }
    }

    fn rule(id: &str, share: f64, kind: Tls) -> Rule {
        Rule {
            id: id.into(),
            name: format!("{id}@client>shop"),
            select: Select::Share(Share::new(share).unwrap()),
            kind,
        }
    }

    #[test]
    fn every_name_is_that_of_its_kind() {
        for name in EXAMPLES {
            let name = name.strip_prefix("tls: ").unwrap();
            assert_eq!(Tls::named(name).map(Tls::name), Some(name));
        }
        assert_eq!(Tls::named("old"), None);
    }

    #[test]
    fn connections_are_chosen_by_their_number_alone() {
        let rules = [rule("a", 0.25, Tls::Expired), rule("b", 0.5, Tls::Stall)];
        let (one, two) = (Rules::new(&rules, Seed(7)), Rules::new(&rules, Seed(7)));
        let chosen = |rules: &Rules, id: &str| -> Vec<u64> {
            (0..4_000)
                .filter(|it| {
                    let drawn = rules.draw(number(*it, 0));
                    drawn.hits.first().is_some_and(|hit| &*hit.fault == id)
                })
                .collect()
        };
        assert_eq!(chosen(&one, "a"), chosen(&two, "a"));
        assert_ne!(chosen(&one, "a"), chosen(&Rules::new(&rules, Seed(8)), "a"));
        // A quarter, and half of the rest: each within three standard deviations.
        for (id, expected) in [("a", 1_000.0_f64), ("b", 1_500.0)] {
            let share = expected / 4_000.0;
            let deviation = (4_000.0 * share * (1.0 - share)).sqrt();
            let found = chosen(&one, id).len() as f64;
            assert!((found - expected).abs() < 3.0 * deviation, "{id}: {found}");
        }
    }

    #[test]
    fn the_key_is_that_of_the_contract() {
        // K = le64(connection) | le32(reopenings) | le32(0) | "TCP ".
        let rules = [rule("a", 0.5, Tls::Expired)];
        let draw = Seed(7).rule("a@client>shop");
        let rules = Rules::new(&rules, Seed(7));
        for connection in 0..64_u64 {
            let mut key = connection.to_le_bytes().to_vec();
            key.extend(2_u32.to_le_bytes());
            key.extend(0_u32.to_le_bytes());
            key.extend(b"TCP ");
            let chosen = draw.unit_of(&key) < 0.5;
            assert_eq!(rules.draw(number(connection, 2)).kind().is_some(), chosen);
        }
    }
}
