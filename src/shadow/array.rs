//! Which element of the primary's array goes with which of the candidate's.
//!
//! By key or as a set where a rule says so. Otherwise in order: what is equal at both ends is set aside; what is left
//! is the same elements in another order (one `order` difference), or equally many (place by place), or it is aligned
//! along its longest common subsequence, so that one inserted element does not make all that follow differ.

use std::collections::{HashMap, VecDeque};

use super::diff::TEXT;
use super::json::Node;
use super::path::Step;
use super::walk::Walk;
use super::{Arrays, Kind};

/// The most comparisons that an alignment may cost; larger arrays are compared place by place.
const MAX_CELLS: usize = 4_096;

/// Compares two arrays; `whole` are the same as values.
pub(super) fn walk<'a>(
    walk: &mut Walk<'_, 'a>,
    primary: &'a [Node<'a>],
    candidate: &'a [Node<'a>],
    whole: (&'a Node<'a>, &'a Node<'a>),
) {
    match walk.arrays() {
        Some(Arrays::Key(key)) => by_key(walk, primary, candidate, key),
        Some(Arrays::Set) => as_set(walk, primary, candidate),
        None => in_order(walk, primary, candidate, whole),
    }
}

fn by_key<'a>(
    walk: &mut Walk<'_, 'a>,
    primary: &'a [Node<'a>],
    candidate: &'a [Node<'a>],
    key: &str,
) {
    let mut places: HashMap<Option<&str>, VecDeque<usize>> = HashMap::new();
    for (place, element) in candidate.iter().enumerate() {
        places
            .entry(key_of(element, key))
            .or_default()
            .push_back(place);
    }
    for (place, element) in primary.iter().enumerate() {
        let partner = places
            .get_mut(&key_of(element, key))
            .and_then(VecDeque::pop_front);
        match partner.and_then(|partner| candidate.get(partner)) {
            Some(other) => walk.step(Step::Index(place), element, other),
            None => walk.only(Step::Index(place), Some(element), None),
        }
    }
    let mut left: Vec<_> = places.into_values().flatten().collect();
    left.sort_unstable();
    extra(walk, candidate, left);
}

/// The value of an element's key; elements without one share `None`.
fn key_of<'a>(element: &'a Node<'a>, key: &str) -> Option<&'a str> {
    let Node::Map(fields) = element else {
        return None;
    };
    match fields.iter().find(|(name, _)| name == key)? {
        (_, Node::Text(text) | Node::Number(text)) => Some(text),
        _ => None,
    }
}

fn as_set<'a>(walk: &mut Walk<'_, 'a>, primary: &'a [Node<'a>], candidate: &'a [Node<'a>]) {
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    for (place, element) in candidate.iter().enumerate().rev() {
        places.entry(canonical(element)).or_default().push(place);
    }
    let equal = |element| places.get_mut(&canonical(element)).and_then(Vec::pop);
    let mut alone: Vec<_> = {
        let mut equal = equal;
        primary
            .iter()
            .enumerate()
            .filter(|(_, element)| equal(element).is_none())
            .collect()
    };
    let mut left: Vec<_> = places.into_values().flatten().collect();
    left.sort_unstable();
    // What is not the same may still count as equal under the rules.
    if alone.len() * left.len() <= MAX_CELLS && !walk.is_tired() {
        alone.retain(|&(place, element)| {
            let partner = left.iter().position(|&other| {
                candidate
                    .get(other)
                    .is_some_and(|other| walk.same(Step::Index(place), element, other))
            });
            partner.map(|at| left.remove(at)).is_none()
        });
    }
    for (place, element) in alone {
        walk.only(Step::Index(place), Some(element), None);
    }
    extra(walk, candidate, left);
}

fn in_order<'a>(
    walk: &mut Walk<'_, 'a>,
    primary: &'a [Node<'a>],
    candidate: &'a [Node<'a>],
    whole: (&'a Node<'a>, &'a Node<'a>),
) {
    // Who asks only whether they are the same is told by what is at each place: to look for a better order at every level
    // of nested arrays would take time beyond all bounds.
    if walk.is_probing() || walk.is_tired() {
        return between(walk, (primary, candidate), (0, 0));
    }
    let pairs = primary.iter().zip(candidate).enumerate();
    let before = pairs
        .take_while(|&(place, (a, b))| walk.same(walk.to_primary(place), a, b))
        .count();
    let (first, second) = (
        primary.get(before..).unwrap_or_default(),
        candidate.get(before..).unwrap_or_default(),
    );
    let pairs = first.iter().rev().zip(second.iter().rev()).enumerate();
    let after = pairs
        .take_while(|&(place, (a, b))| walk.same(walk.to_primary(primary.len() - 1 - place), a, b))
        .count();
    let first = first.get(..first.len() - after).unwrap_or_default();
    let second = second.get(..second.len() - after).unwrap_or_default();
    if first.len() == second.len() && first.len() > 1 && are_the_same(first, second) {
        return walk.note(Kind::Order, Some(whole.0), Some(whole.1));
    }
    let mut at = (0, 0);
    // Equally many elements of JSON are the same places with other values; lines of text have no places.
    let in_place = first.len() == second.len() && walk.root != TEXT;
    let anchors = if in_place {
        Vec::new()
    } else {
        aligned(walk, first, second, before)
    };
    for anchor in anchors.into_iter().chain([(first.len(), second.len())]) {
        let gap = (
            first.get(at.0..anchor.0).unwrap_or_default(),
            second.get(at.1..anchor.1).unwrap_or_default(),
        );
        between(walk, gap, (before + at.0, before + at.1));
        at = (anchor.0 + 1, anchor.1 + 1);
    }
}

/// Compares what lies between two anchors place by place; the surplus of one side is missing or extra.
fn between<'a>(
    walk: &mut Walk<'_, 'a>,
    gap: (&'a [Node<'a>], &'a [Node<'a>]),
    offset: (usize, usize),
) {
    for place in 0..gap.0.len().max(gap.1.len()) {
        if walk.is_over() {
            return;
        }
        match (gap.0.get(place), gap.1.get(place)) {
            (Some(element), Some(other)) => {
                walk.step(walk.to_primary(offset.0 + place), element, other);
            }
            (Some(element), None) => {
                walk.only(walk.to_primary(offset.0 + place), Some(element), None);
            }
            (None, other) => walk.only(walk.to_candidate(offset.1 + place), None, other),
        }
    }
}

/// The places of a longest common subsequence of two stretches; none where that would cost too much.
fn aligned<'a>(
    walk: &mut Walk<'_, 'a>,
    primary: &'a [Node<'a>],
    candidate: &'a [Node<'a>],
    offset: usize,
) -> Vec<(usize, usize)> {
    let (rows, columns) = (primary.len(), candidate.len());
    if rows == 0 || columns == 0 || rows * columns > MAX_CELLS || walk.is_tired() {
        return Vec::new();
    }
    let mut same = Vec::with_capacity(rows * columns);
    for (place, element) in primary.iter().enumerate() {
        same.extend(
            candidate
                .iter()
                .map(|other| walk.same(walk.to_primary(offset + place), element, other)),
        );
    }
    let is_same = |row: usize, column: usize| {
        same.get(row * columns + column)
            .copied()
            .unwrap_or_default()
    };
    // longest[row][column]: of the stretches from there on.
    let width = columns + 1;
    let mut longest = vec![0_u32; (rows + 1) * width];
    let read = |longest: &[u32], row: usize, column: usize| {
        longest
            .get(row * width + column)
            .copied()
            .unwrap_or_default()
    };
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            let value = if is_same(row, column) {
                read(&longest, row + 1, column + 1) + 1
            } else {
                read(&longest, row + 1, column).max(read(&longest, row, column + 1))
            };
            if let Some(cell) = longest.get_mut(row * width + column) {
                *cell = value;
            }
        }
    }
    let (mut row, mut column, mut anchors) = (0, 0, Vec::new());
    while row < rows && column < columns {
        if is_same(row, column) {
            anchors.push((row, column));
            (row, column) = (row + 1, column + 1);
        } else if read(&longest, row + 1, column) >= read(&longest, row, column + 1) {
            row += 1;
        } else {
            column += 1;
        }
    }
    anchors
}

fn extra<'a>(walk: &mut Walk<'_, 'a>, candidate: &'a [Node<'a>], places: Vec<usize>) {
    for place in places {
        walk.only(Step::Index(place), None, candidate.get(place));
    }
}

/// Whether they are the same elements, in whatever order.
fn are_the_same(first: &[Node<'_>], second: &[Node<'_>]) -> bool {
    // Most arrays that differ hold other elements: is the first one there at all?
    let is_there = |one: &Node<'_>| second.iter().any(|other| one.is_like(other));
    first.first().is_some_and(is_there) && sorted(first) == sorted(second)
}

fn sorted(elements: &[Node<'_>]) -> Vec<String> {
    let mut texts: Vec<_> = elements.iter().map(canonical).collect();
    texts.sort_unstable();
    texts
}

fn canonical(element: &Node<'_>) -> String {
    let mut text = String::new();
    element.canonical(&mut text);
    text
}
