//! What a table of keys says: its keys, what each accepts, its default, and whether it is built yet. The reader, the
//! JSON Schema and the manual are all made from these tables.

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any single value.
    Text,
    /// An id: `[a-z][a-z0-9-]*`.
    Id,
    /// `true` or `false`.
    Flag,
    /// A whole number within these bounds.
    Whole(u64, u64),
    /// A number that is at least this.
    Number(f64),
    /// `250ms`.
    Duration,
    /// `400/s`.
    Rate,
    /// `64KiB`.
    Size,
    /// `5%` or `0.05`.
    Share,
    /// `+5s`.
    Offset,
    /// `0s..30s`.
    Span,
    /// A number with or without a unit: the bound of a check.
    Bound,
    /// `127.0.0.1:9001`.
    Address,
    /// `2027-06-30`.
    Date,
    /// A path of the file system.
    Path,
    /// A path of a request, from `/`.
    HttpPath,
    /// An HTTP method.
    Method,
    /// The name of a header.
    Header,
    /// A regular expression.
    Regex,
    /// An expression of the language of checks.
    Expression,
    /// A class or kind of answer: `5xx`, `404`, `no_response`.
    ErrorClass,
    /// One of these words.
    Word(&'static [Word]),
    /// A list.
    List(&'static Kind),
    /// One, or a list.
    OneOrMore(&'static Kind),
    /// A map from names of the user's choice.
    Named(Naming, &'static Kind),
    /// A map with these keys.
    Map(&'static Table),
    /// A list of maps with an id; lists of several files merge by it.
    Things(&'static Table),
    /// Any of these.
    Either(&'static [Kind]),
    /// Any YAML.
    Anything,
}

/// What the names of a map may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Ids.
    Id,
    /// Names of variables: letters, digits, `_` and `-`.
    Variable,
    /// Any text.
    Free,
}

/// A word that a key accepts.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    /// The word.
    pub name: &'static str,
    /// Whether it is built.
    pub built: bool,
}

impl Word {
    /// The names of those that are built.
    pub(super) fn built(words: &[Self]) -> Vec<&'static str> {
        words
            .iter()
            .filter(|word| word.built)
            .map(|word| word.name)
            .collect()
    }
}

/// A map with fixed keys.
#[derive(Debug)]
pub struct Table {
    /// What it describes: `service`, `fault`, …
    pub name: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// A key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it accepts.
    pub kind: Kind,
    /// What its absence means.
    pub need: Need,
    /// Whether it is built; if not, it is refused as not supported yet.
    pub built: bool,
    /// What it is for, in one sentence.
    pub doc: &'static str,
    /// An example of its value, where the kind's own says too little.
    pub example: &'static str,
}

/// What the absence of a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must be there.
    Required,
    /// This, in YAML.
    Default(&'static str),
    /// Something that no value says, in words.
    Optional(&'static str),
    /// Exactly one key of this group must be there.
    OneOf(&'static str),
}

pub(super) const fn key(name: &'static str, kind: Kind, need: Need, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        need,
        built: true,
        doc,
        example: "",
    }
}

impl Key {
    /// The same, not built yet.
    pub(super) const fn later(self) -> Self {
        Self {
            built: false,
            ..self
        }
    }

    pub(super) const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }
}

pub(super) const fn word(name: &'static str) -> Word {
    Word { name, built: true }
}

pub(super) const fn later(name: &'static str) -> Word {
    Word { name, built: false }
}

impl Kind {
    /// What it accepts, in words that fit after `accepted: `.
    pub fn accepted(&self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Id => "an id: a small letter, then small letters, digits and `-`".to_owned(),
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Whole(low, high) if low == high => format!("{low}"),
            Self::Whole(low, u64::MAX) => format!("a whole number, at least {low}"),
            Self::Whole(low, high) => format!("a whole number from {low} to {high}"),
            Self::Number(low) => format!("a number, at least {low}"),
            Self::Duration => meshbed_proxy::unit::DURATION_ACCEPTED.to_owned(),
            Self::Rate => meshbed_proxy::unit::Rate::ACCEPTED.to_owned(),
            Self::Size => meshbed_proxy::unit::ByteSize::ACCEPTED.to_owned(),
            Self::Share => meshbed_proxy::unit::Share::ACCEPTED.to_owned(),
            Self::Offset => "an offset such as `+5s`".to_owned(),
            Self::Span => "two durations such as `0s..30s`, the second the longer".to_owned(),
            Self::Bound => {
                "a number with the unit of what is judged: `600ms`, `1%`, `400/s`, `1MB`, `1.2`"
                    .to_owned()
            }
            Self::Address => "an address and port such as `127.0.0.1:9001`".to_owned(),
            Self::Date => "a day such as `2027-06-30`".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::HttpPath => "a path that begins with `/`".to_owned(),
            Self::Method => "an HTTP method in capitals such as `GET`".to_owned(),
            Self::Header => "the name of a header such as `x-user`".to_owned(),
            Self::Regex => "a regular expression such as `^/v1/(.*)`".to_owned(),
            Self::Expression => "an expression such as `\"p99[shop] < 250ms\"`".to_owned(),
            Self::ErrorClass => {
                "a status such as `404`, a class such as `5xx`, `no_response` or `grpc_nonzero`"
                    .to_owned()
            }
            Self::Word(words) => one_of(Word::built(words).into_iter()),
            Self::List(kind) => format!("a list, each {}", kind.accepted()),
            Self::OneOrMore(kind) => format!("{}, or a list of such", kind.accepted()),
            Self::Named(_, kind) => format!("a map from names, each to {}", kind.accepted()),
            Self::Map(table) => format!(
                "a map with {}",
                one_of(
                    table
                        .keys
                        .iter()
                        .filter(|key| key.built)
                        .map(|key| key.name)
                )
            ),
            Self::Things(_) => "a list of maps, each with an `id`".to_owned(),
            Self::Either(kinds) => kinds
                .iter()
                .filter(|kind| kind.is_built())
                .map(Self::accepted)
                .collect::<Vec<_>>()
                .join(", or "),
            Self::Anything => "any value".to_owned(),
        }
    }
}

impl Kind {
    /// Whether any value of it is supported.
    fn is_built(&self) -> bool {
        match self {
            Self::Map(table) => table.keys.iter().any(|key| key.built),
            _ => true,
        }
    }
}

/// `` `a`, `b` or `c` ``.
fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}
