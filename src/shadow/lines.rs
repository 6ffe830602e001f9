//! Which lines of a text an ignore rule means: `text`, `text[*]`, `text[3]`, `text['generated at *']`.

use meshbed_proxy::policy::matcher::{How, Test, Text};

use super::{
    InvalidPath,
    diff::TEXT,
    path::{Step, Unreadable, quoted},
};

mod rule;

pub use rule::narrow;

/// Lines of a text.
#[derive(Debug, Clone)]
pub(super) enum Lines {
    /// All of them.
    All,
    /// The one at this place, from 0.
    At(usize),
    /// Those that are like this, as a whole: `*` is any run of characters.
    Like(String, Test),
}

impl PartialEq for Lines {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, Self::All) => true,
            (Self::At(place), Self::At(other)) => place == other,
            // The one is made from the other.
            (Self::Like(like, _), Self::Like(other, _)) => like == other,
            _ => false,
        }
    }
}

impl Lines {
    /// Reads a path; `None`: it is none into a text.
    pub(super) fn parse(path: &str) -> Option<Result<Self, InvalidPath>> {
        let which = path.strip_prefix(TEXT)?;
        if !(which.is_empty() || which.starts_with('[')) {
            return None;
        }
        let invalid = |expected| InvalidPath {
            path: path.to_owned(),
            at: TEXT.len(),
            expected,
        };
        Some(Self::read(which).map_err(invalid))
    }

    fn read(which: &str) -> Result<Self, &'static str> {
        if matches!(which, "" | "[*]") {
            return Ok(Self::All);
        }
        if let Some(quote) = which.strip_prefix("['") {
            let (like, after) = quoted(quote).map_err(Unreadable::expected)?;
            if !after.is_empty() {
                return Err("nothing after `']`: a line has no parts");
            }
            let glob = Text {
                how: How::Glob(like.clone()),
                ignore_case: false,
            };
            let test = Test::new(&glob).map_err(|_| "a line such as `generated at *`")?;
            return Ok(Self::Like(like, test));
        }
        let place = which.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        place
            .and_then(|place| place.parse().ok())
            .map(Self::At)
            .ok_or("`[*]`, `[3]` or `['generated at *']`")
    }

    /// Whether it is every line.
    pub(super) fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Whether it is lines by what they are, wherever they are.
    pub(super) fn is_anywhere(&self) -> bool {
        matches!(self, Self::Like(..))
    }

    /// Whether what the sides have where a walk is are such lines; `None`: the side has none.
    pub(super) fn cover(&self, trail: &[Step<'_>], sides: [Option<&str>; 2]) -> bool {
        match self {
            Self::All => true,
            Self::At(place) => trail.first() == Some(&Step::Index(*place)),
            Self::Like(_, test) => {
                let mut lines = sides.into_iter().flatten().peekable();
                lines.peek().is_some() && lines.all(|line| test.holds(line.as_bytes()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_all_or_one_or_those_like_a_pattern() {
        let parse = |path: &str| Lines::parse(path).unwrap();
        for (path, place, sides, covered) in [
            ("text", 7, [Some("a"), None], true),
            ("text[*]", 7, [Some("a"), Some("b")], true),
            ("text[3]", 3, [Some("a"), Some("b")], true),
            ("text[3]", 4, [Some("a"), Some("b")], false),
            ("text['at *']", 0, [Some("at 1"), Some("at 2")], true),
            ("text['at *']", 0, [Some("at 1"), Some("on 2")], false),
            ("text['at *']", 0, [None, Some("at 2")], true),
            ("text['at *']", 0, [None, None], false),
            (r"text['it\'s *']", 0, [Some("it's 1"), None], true),
        ] {
            let lines = parse(path).unwrap();
            assert_eq!(lines.cover(&[Step::Index(place)], sides), covered, "{path}");
        }
        assert!(Lines::parse("$.text").is_none() && Lines::parse("texts").is_none());
        for path in ["text[x]", "text[3", "text['a", "text['a'].b", "text[-1]"] {
            let wrong = parse(path).unwrap_err();
            assert_eq!((wrong.at, &*wrong.path), (4, path), "{wrong}");
            let accepted = "accepted: text, text[3], text['line like *']";
            assert!(wrong.to_string().ends_with(accepted), "{wrong}");
        }
    }
}
