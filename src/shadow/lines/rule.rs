//! The rule that ignores one line of a text and, as far as it can be told, no other.

use crate::shadow::{REDACTED, json::SHOWN_TEXT, path::write_quoted};

/// The rule for a line as the sides have it, at this place: like the line, with `*` for what changes, or else by its
/// place, which is what it is told of where its words say too little.
pub fn narrow(at: &str, primary: Option<&str>, shadow: Option<&str>) -> String {
    let like = match (primary, shadow) {
        (Some(primary), Some(shadow)) => changing(primary, shadow),
        (Some(line), None) | (None, Some(line)) => [line, ""].map(str::to_owned).into(),
        (None, None) => None,
    };
    let whole = primary.is_none() || shadow.is_none();
    let is_cut = [primary, shadow]
        .iter()
        .flatten()
        .any(|line| line.len() > SHOWN_TEXT);
    let Some([before, after]) = like.filter(|parts| !is_cut && is_telling(parts)) else {
        return at.to_owned();
    };
    let star = if whole { "" } else { "*" };
    let mut path = super::TEXT.to_owned();
    write_quoted(&mut path, &format!("{before}{star}{after}"));
    path
}

/// What is before and after that which changes, by whole words.
fn changing(a: &str, b: &str) -> Option<[String; 2]> {
    let in_word = |c: char| c.is_alphanumeric() || "-_.:+".contains(c);
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    while before > 0 && a.get(before - 1).is_some_and(|c| in_word(*c)) {
        before -= 1;
    }
    let most = a.len().min(b.len()) - before;
    let backwards = a.iter().rev().zip(b.iter().rev()).take(most);
    let mut after = backwards.take_while(|(a, b)| a == b).count();
    while after > 0 && a.get(a.len() - after).is_some_and(|c| in_word(*c)) {
        after -= 1;
    }
    let text = |part: Option<&[char]>| part.map(|part| part.iter().collect());
    Some([text(a.get(..before))?, text(a.get(a.len() - after..))?])
}

/// Whether the words say which line it is: more than marks and tags, which other lines have, too.
fn is_telling(parts: &[String; 2]) -> bool {
    let [before, after] = parts;
    let is_plain = |part: &String| !part.contains('*') && !part.contains(REDACTED);
    let (mut in_tag, mut letters) = (false, 0);
    for c in before.chars().chain(after.chars()) {
        match c {
            '<' => in_tag = true,
            '>' => in_tag = false,
            c if !in_tag && c.is_alphabetic() => letters += 1,
            _ => {}
        }
    }
    is_plain(before) && is_plain(after) && letters > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_named_by_what_stays_of_it() {
        let long = "a ".repeat(SHOWN_TEXT);
        for (primary, shadow, expected) in [
            (Some("at 10:00:01"), Some("at 10:00:07"), "text['at *']"),
            (
                Some("<b>id x-1</b>"),
                Some("<b>id x-2</b>"),
                "text['<b>id *</b>']",
            ),
            (Some("it's 1"), Some("it's 2"), r"text['it\'s *']"),
            (Some("sums: 1 1"), Some("sums: 1 1 1"), "text['sums: 1 *']"),
            (Some("a line"), None, "text['a line']"),
            (None, Some("a line"), "text['a line']"),
            // Others have such marks, too, or it is not known what it is.
            (Some("<p>1</p>"), Some("<p>2</p>"), "text[7]"),
            (
                Some("<p class=\"x\">1</p>"),
                Some("<p class=\"x\">2</p>"),
                "text[7]",
            ),
            (Some("10:00"), Some("10:01"), "text[7]"),
            (Some("</div>"), None, "text[7]"),
            (Some("all * of 1"), Some("all * of 2"), "text[7]"),
            (
                Some("key [redacted] 1"),
                Some("key [redacted] 2"),
                "text[7]",
            ),
            (Some(&long), None, "text[7]"),
            (None, None, "text[7]"),
        ] {
            assert_eq!(narrow("text[7]", primary, shadow), expected, "{primary:?}");
        }
    }

    #[test]
    fn the_rule_covers_the_line_and_not_the_next() {
        let rule = narrow("text[1]", Some("at 10:00"), Some("at 10:01"));
        let lines = super::super::Lines::parse(&rule).unwrap().unwrap();
        assert!(lines.cover(&[], [Some("at 10:00"), Some("at 11:59")]));
        assert!(!lines.cover(&[], [Some("in 10"), Some("in 11")]));
    }
}
