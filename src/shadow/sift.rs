//! Lines of a text that a rule covers wherever they are: they are set aside, so that neither their place nor their number
//! moves the others.

use std::{borrow::Cow, collections::HashMap};

use super::{Rules, json::Node};

/// A text without them.
#[derive(Debug)]
pub(super) struct Sifted<'a> {
    /// The other lines.
    pub(super) kept: Node<'a>,
    /// Where each of those is in the whole text.
    pub(super) places: Vec<usize>,
    /// Where those that are covered are, by rule.
    aside: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Sifted<'a> {
    /// Sets them aside; `None`: what is there are no lines.
    pub(super) fn of(text: &'a Node<'a>, rules: &'a Rules) -> Option<Self> {
        let Node::List(lines) = text else {
            return None;
        };
        let (mut kept, mut places) = (Vec::new(), Vec::new());
        let mut aside: HashMap<&str, Vec<usize>> = HashMap::new();
        for (place, line) in lines.iter().enumerate() {
            let text = line.text()?;
            if let Some(words) = rules.ignored_anywhere(text) {
                aside.entry(words).or_default().push(place);
            } else {
                kept.push(Node::Text(Cow::Borrowed(text)));
                places.push(place);
            }
        }
        Some(Self {
            kept: Node::List(kept),
            places,
            aside,
        })
    }

    /// The places of covered lines of which the other text has fewer by the same rule, in order.
    pub(super) fn surplus(&self, other: &Self) -> Vec<usize> {
        let beyond = self.aside.iter().flat_map(|(words, places)| {
            let there = other.aside.get(words).map_or(0, Vec::len);
            places.get(there..).unwrap_or_default()
        });
        let mut places: Vec<usize> = beyond.copied().collect();
        places.sort_unstable();
        places
    }
}
