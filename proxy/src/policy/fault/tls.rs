//! Handshakes that fail as they do in practice: which connections, and how. A connection draws once, before anything of it
//! is read.

use std::sync::Arc;

use crate::{
    draw::{Draw, Key, Seed},
    unit::Share,
};

/// How it is written in a scenario.
pub const EXAMPLES: &[&str] = &["expired", "wrong_name", "unknown_ca", "stall"];

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
    /// Which share of the connections, by draw.
    pub share: Share,
    /// What is wrong.
    pub kind: Tls,
}

/// Rules, ready to be asked.
#[derive(Debug, Default)]
pub struct Rules(Vec<(Rule, Draw)>);

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

    /// The first rule that chooses the connection with this number, opened again so many times.
    pub fn decide(&self, connection: u64, reopenings: u32) -> Option<&Rule> {
        let key = Key {
            ordinal: connection,
            n: reopenings,
            attempt: 0,
            method: "TCP",
            path: "",
        };
        self.0
            .iter()
            .find(|(rule, draw)| draw.unit(&key) < rule.share.get())
            .map(|(rule, _)| rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str, share: f64, kind: Tls) -> Rule {
        Rule {
            id: id.into(),
            name: format!("{id}@client>shop"),
            share: Share::new(share).unwrap(),
            kind,
        }
    }

    #[test]
    fn every_name_is_that_of_its_kind() {
        for name in EXAMPLES {
            assert_eq!(Tls::named(name).map(Tls::name), Some(*name));
        }
        assert_eq!(Tls::named("old"), None);
    }

    #[test]
    fn connections_are_chosen_by_their_number_alone() {
        let rules = [rule("a", 0.25, Tls::Expired), rule("b", 0.5, Tls::Stall)];
        let (one, two) = (Rules::new(&rules, Seed(7)), Rules::new(&rules, Seed(7)));
        let chosen = |rules: &Rules, id: &str| -> Vec<u64> {
            (0..4_000)
                .filter(|it| rules.decide(*it, 0).is_some_and(|rule| &*rule.id == id))
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
            assert_eq!(rules.decide(connection, 2).is_some(), chosen);
        }
    }
}
