//! Holds a tree of YAML against the tables of keys: unknown keys, wrong shapes, missing units, missing keys and keys that
//! are not built yet are told, all of them; what is left out is filled in.

use std::{collections::BTreeMap, net::SocketAddr};

use meshbed_proxy::unit::{self, ByteSize, Rate, Share};
use serde_json::{Map, Value as Json};

use super::{
    key::{Key as Row, Kind, Naming, Need, Table, Word},
    problem::{Place, Problem, suggest},
    value::{Item, Value},
    yaml::{self, Data, Key, Node, Scalar},
};
use crate::expr::{self, Unit};

/// Reads a whole tree.
pub(super) fn read(root: &Node, table: &'static Table, problems: &mut Vec<Problem>) -> Item {
    let mut reader = Reader { problems };
    reader.item(root, &Kind::Map(table), "")
}

/// Reads a value of any kind.
#[cfg(test)]
pub(super) fn read_as(node: &Node, kind: &Kind, problems: &mut Vec<Problem>) -> Item {
    Reader { problems }.item(node, kind, "")
}

/// Whether a value that stands alone is of a kind; what is accepted, if not.
pub(super) fn is_of(scalar: &Scalar, kind: &Kind) -> Result<(), String> {
    single(scalar, kind).map(drop)
}

struct Reader<'a> {
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn item(&mut self, node: &Node, kind: &Kind, path: &str) -> Item {
        let value = self.value(node, kind, path);
        let scalar = node.scalar();
        Item {
            at: node.at,
            path: path.to_owned(),
            value,
            given: true,
            shown: scalar.and_then(|scalar| scalar.shown.clone()),
            columns: scalar.map_or_else(Vec::new, |scalar| scalar.columns.clone()),
        }
    }

    fn value(&mut self, node: &Node, kind: &Kind, path: &str) -> Value {
        match (kind, &node.data) {
            (_, Data::Scalar(scalar)) if scalar.told => Value::Bad,
            (Kind::Anything, _) => Value::Json(json(node), shown_json(node)),
            (Kind::Either(kinds), _) => self.either(node, kinds, path),
            (Kind::OneOrMore(kind), Data::Scalar(scalar)) if !scalar.is_null() => {
                let item = self.item(node, kind, path);
                Value::List(vec![item])
            }
            (Kind::List(kind) | Kind::OneOrMore(kind), Data::List(nodes)) => Value::List(
                nodes
                    .iter()
                    .enumerate()
                    .map(|(index, node)| self.item(node, kind, &format!("{path}[{index}]")))
                    .collect(),
            ),
            (Kind::Things(table), Data::List(nodes)) => self.things(nodes, table, path),
            (Kind::Named(naming, kind), Data::Map(entries)) => {
                self.named(entries, *naming, kind, path)
            }
            (Kind::Map(table), Data::Map(entries)) => self.table(node, entries, table, path),
            // `builtin:` with nothing after it is a map without keys, if that is enough for it.
            (Kind::Map(table), Data::Scalar(scalar)) if scalar.is_null() => {
                self.table(node, &[], table, path)
            }
            (
                Kind::List(_)
                | Kind::OneOrMore(_)
                | Kind::Things(_)
                | Kind::Named(..)
                | Kind::Map(_),
                _,
            ) => self.misfit(node, kind, path),
            (_, Data::Scalar(scalar)) => match single(scalar, kind) {
                Ok(value) => value,
                Err(accepted) => self.refuse(node, scalar, kind, &accepted, path),
            },
            (_, _) => self.misfit(node, kind, path),
        }
    }

    fn tell(&mut self, problem: Problem) -> Value {
        self.problems.push(problem);
        Value::Bad
    }

    fn misfit(&mut self, node: &Node, kind: &Kind, path: &str) -> Value {
        self.tell(
            Problem::at(node.at, format!("{} is not accepted", node.shape()))
                .path(path)
                .help(format!("accepted: {}", kind.accepted())),
        )
    }

    fn either(&mut self, node: &Node, kinds: &[Kind], path: &str) -> Value {
        let fitting: Vec<&Kind> = kinds.iter().filter(|kind| fits(kind, node)).collect();
        if let [kind] = fitting.as_slice() {
            return self.value(node, kind, path);
        }
        let Data::Scalar(scalar) = &node.data else {
            return self.misfit(node, &Kind::Either(&[]), path);
        };
        let mut accepted = Vec::new();
        for kind in &fitting {
            match single(scalar, kind) {
                Ok(value) => return value,
                Err(text) => accepted.push(text),
            }
        }
        // A word that is not built yet says more than what else would be accepted.
        let later = accepted.iter().find(|text| text.starts_with(LATER));
        let accepted = later.cloned().unwrap_or_else(|| {
            kinds
                .iter()
                .map(Kind::accepted)
                .collect::<Vec<_>>()
                .join(", or ")
        });
        self.refuse(node, scalar, &Kind::Text, &accepted, path)
    }

    /// Says that a single value is not what it should be.
    fn refuse(
        &mut self,
        node: &Node,
        scalar: &Scalar,
        kind: &Kind,
        accepted: &str,
        path: &str,
    ) -> Value {
        let shown = shorten(scalar.shown());
        let (what, help) = if accepted.starts_with(LATER) {
            (format!("{LATER}: {path}: {shown}"), built_words(kind))
        } else if scalar.is_null() {
            (
                "a value is missing".to_owned(),
                help_for(scalar, kind, accepted),
            )
        } else {
            (
                format!("`{shown}` is not accepted"),
                help_for(scalar, kind, accepted),
            )
        };
        self.tell(Problem::at(node.at, what).path(path).help(help))
    }

    fn things(&mut self, nodes: &[Node], table: &'static Table, path: &str) -> Value {
        let mut seen: BTreeMap<String, Place> = BTreeMap::new();
        let mut items = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let id = node.get("id").and_then(|id| Some((id.at, id.scalar()?)));
            let path = match id {
                Some((_, scalar)) => format!("{path}[{}]", scalar.text),
                None => format!("{path}[{index}]"),
            };
            if let Some((at, scalar)) = id
                && let Some(first) = seen.insert(scalar.text.clone(), at)
            {
                self.tell(
                    Problem::at(at, format!("the id `{}` is taken", scalar.text))
                        .path(&path)
                        .help(format!(
                            "line {} has it; ids of one list must differ",
                            first.line
                        )),
                );
            }
            items.push(self.item(node, &Kind::Map(table), &path));
        }
        Value::List(items)
    }

    fn named(&mut self, entries: &[(Key, Node)], naming: Naming, kind: &Kind, path: &str) -> Value {
        let mut items = Vec::new();
        for (key, node) in entries {
            let good = match naming {
                Naming::Id => is_id(&key.name),
                Naming::Variable => {
                    !key.name.is_empty()
                        && key
                            .name
                            .chars()
                            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
                }
                Naming::Free => !key.name.is_empty(),
            };
            if !good {
                let accepted = match naming {
                    Naming::Id => Kind::Id.accepted(),
                    Naming::Variable => "letters, digits, `_` and `-`".to_owned(),
                    Naming::Free => "a name".to_owned(),
                };
                self.tell(
                    Problem::at(key.at, format!("`{}` is not a name here", key.name))
                        .path(path)
                        .help(format!("accepted: {accepted}")),
                );
            }
            let path = match naming {
                Naming::Free => format!("{path}[{}]", key.name),
                _ => format!("{path}.{}", key.name),
            };
            items.push((key.clone(), self.item(node, kind, &path)));
        }
        Value::Map(items)
    }

    fn table(
        &mut self,
        node: &Node,
        entries: &[(Key, Node)],
        table: &'static Table,
        path: &str,
    ) -> Value {
        let below = |name: &str| match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        let mut items = Vec::new();
        for (key, node) in entries {
            let path = below(&key.name);
            let Some(row) = table.keys.iter().find(|row| row.name == key.name) else {
                let known: Vec<&str> = table
                    .keys
                    .iter()
                    .filter(|row| row.built)
                    .map(|row| row.name)
                    .collect();
                self.tell(
                    Problem::at(key.at, format!("unknown key `{}`", key.name))
                        .path(&path)
                        .help(suggest(&key.name, known.iter().copied())),
                );
                continue;
            };
            if !row.built {
                self.tell(
                    Problem::at(key.at, format!("{LATER}: {path}"))
                        .path(&path)
                        .help(built_help(row, table)),
                );
                continue;
            }
            items.push((key.clone(), self.item(node, &row.kind, &path)));
        }
        let mut groups: Vec<&str> = Vec::new();
        for row in table.keys {
            let absent = !entries.iter().any(|(key, _)| key.name == row.name);
            match row.need {
                Need::Required if absent => {
                    let known: Vec<&str> =
                        entries.iter().map(|(key, _)| key.name.as_str()).collect();
                    // A key that was misspelt was told already.
                    let misspelt = known.iter().any(|name| {
                        !table.keys.iter().any(|row| row.name == *name)
                            && super::problem::meant(name, [row.name]).is_some()
                    });
                    if !misspelt {
                        self.tell(
                            Problem::at(node.at, format!("the key `{}` is missing", row.name))
                                .path(path)
                                .help(missing_help(row)),
                        );
                    }
                }
                Need::Default(text) if absent => {
                    items.push(self.default(row, text, node.at, &below(row.name)));
                }
                Need::OneOf(group) if !groups.contains(&group) => {
                    groups.push(group);
                    self.one_of(group, table, entries, node, path);
                }
                _ => {}
            }
        }
        Value::Map(items)
    }

    fn default(&mut self, row: &Row, text: &str, at: Place, path: &str) -> (Key, Item) {
        let mut none = Vec::new();
        let node = yaml::read(text, at.file, &mut none).unwrap_or_else(|| Node::null(at));
        debug_assert!(
            none.is_empty(),
            "a default must be YAML: {} {none:?}",
            row.name
        );
        let mut item = self.item(&node.moved_to(at), &row.kind, path);
        item.given = false;
        let key = Key {
            name: row.name.to_owned(),
            at,
        };
        (key, item)
    }

    fn one_of(
        &mut self,
        group: &str,
        table: &'static Table,
        entries: &[(Key, Node)],
        node: &Node,
        path: &str,
    ) {
        let members = || {
            table
                .keys
                .iter()
                .filter(|row| matches!(row.need, Need::OneOf(other) if other == group))
        };
        let present: Vec<&Key> = entries
            .iter()
            .map(|(key, _)| key)
            .filter(|key| members().any(|row| row.name == key.name))
            .collect();
        let names: Vec<&str> = members()
            .filter(|row| row.built)
            .map(|row| row.name)
            .collect();
        match present.as_slice() {
            [] => {
                // An unknown key that was meant to be it was told already.
                let misspelt = entries
                    .iter()
                    .any(|(key, _)| !table.keys.iter().any(|row| row.name == key.name));
                if !misspelt {
                    self.tell(
                        Problem::at(
                            node.at,
                            format!("a {} needs exactly one of {}", table.name, names.join(", ")),
                        )
                        .path(path)
                        .help(
                            members()
                                .find(|row| row.built)
                                .map_or_else(String::new, missing_help),
                        ),
                    );
                }
            }
            [_] => {}
            [first, others @ ..] => {
                for key in others {
                    self.tell(
                        Problem::at(
                            key.at,
                            format!("`{}` stands beside `{}`", key.name, first.name),
                        )
                        .path(path)
                        .help(format!(
                            "a {} has exactly one of {}",
                            table.name,
                            names.join(", ")
                        )),
                    );
                }
            }
        }
    }
}

/// The beginning of what is said of a key or word that is not built.
const LATER: &str = "not supported yet";

fn built_help(row: &Row, table: &Table) -> String {
    if let Need::OneOf(group) = row.need {
        let others: Vec<&str> = table
            .keys
            .iter()
            .filter(|other| other.built && other.need == Need::OneOf(group))
            .map(|other| other.name)
            .collect();
        return format!("supported: {}", others.join(", "));
    }
    format!("{}; leave it out", row.doc)
}

fn missing_help(row: &Row) -> String {
    if row.example.is_empty() {
        format!("{}: {}", row.doc, row.kind.accepted())
    } else {
        format!("{}, as in `{}: {}`", row.doc, row.name, row.example)
    }
}

fn fits(kind: &Kind, node: &Node) -> bool {
    match (kind, &node.data) {
        (Kind::Anything | Kind::OneOrMore(_), _) => true,
        (Kind::Either(kinds), _) => kinds.iter().any(|kind| fits(kind, node)),
        (Kind::List(_) | Kind::Things(_), data) => matches!(data, Data::List(_)),
        (Kind::Named(..) | Kind::Map(_), data) => matches!(data, Data::Map(_)),
        (_, data) => matches!(data, Data::Scalar(_)),
    }
}

/// What is built of the words of a kind.
fn built_words(kind: &Kind) -> String {
    match kind {
        Kind::Word(words) => format!("supported: {}", Word::built(words).join(", ")),
        _ => "leave it out".to_owned(),
    }
}

/// Why a value is not accepted: a bare number where a unit is needed is the common case.
fn help_for(scalar: &Scalar, kind: &Kind, accepted: &str) -> String {
    let unit = matches!(
        kind,
        Kind::Duration | Kind::Rate | Kind::Size | Kind::Offset
    );
    let number = scalar.text.trim_start_matches('+').parse::<f64>().is_ok();
    if unit && number {
        return format!("a unit is missing; accepted: {accepted}");
    }
    if let Kind::Word(words) = kind {
        return suggest(&scalar.text, Word::built(words));
    }
    format!("accepted: {accepted}")
}

/// A value that stands alone; else what would be accepted.
fn single(scalar: &Scalar, kind: &Kind) -> Result<Value, String> {
    let text = scalar.text.as_str();
    if scalar.is_null() {
        return Err(kind.accepted());
    }
    let value = match kind {
        Kind::Text | Kind::Path | Kind::Expression => Some(Value::Text(text.to_owned())),
        Kind::Id => is_id(text).then(|| Value::Id(text.into())),
        Kind::Flag => match text {
            _ if scalar.quoted => None,
            "true" => Some(Value::Flag(true)),
            "false" => Some(Value::Flag(false)),
            _ => None,
        },
        Kind::Whole(low, high) => text
            .parse()
            .ok()
            .filter(|number| (low..=high).contains(&number))
            .map(Value::Whole),
        Kind::Number(low) => text
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite() && number >= low)
            .map(Value::Number),
        Kind::Duration => unit::parse_duration(text)
            .ok()
            .filter(|_| text.trim() != "0")
            .map(Value::Duration),
        Kind::Rate => Rate::parse(text).ok().map(Value::Rate),
        Kind::Size => ByteSize::parse(text).ok().map(Value::Size),
        Kind::Share => Share::parse(text).ok().map(Value::Share),
        Kind::Offset => text
            .strip_prefix('+')
            .and_then(|rest| unit::parse_duration(rest).ok())
            .map(Value::Duration),
        Kind::Span => text.split_once("..").and_then(|(begin, end)| {
            let begin = unit::parse_duration(begin).ok()?;
            let end = unit::parse_duration(end).ok()?;
            (begin < end).then_some(Value::Span(begin, end))
        }),
        Kind::Bound => expr::parse_literal(text).map(|(number, unit)| Value::Bound(number, unit)),
        Kind::Address => text.parse::<SocketAddr>().ok().map(Value::Address),
        Kind::Date => text.parse().ok().map(Value::Date),
        Kind::HttpPath => (text.starts_with('/') && !text.contains(char::is_whitespace))
            .then(|| Value::Text(text.to_owned())),
        Kind::Method => (!text.is_empty()
            && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-'))
        .then(|| Value::Text(text.to_owned())),
        Kind::Header => is_header(text).then(|| Value::Text(text.to_ascii_lowercase())),
        Kind::Regex => regex::Regex::new(text)
            .is_ok()
            .then(|| Value::Text(text.to_owned())),
        Kind::ErrorClass => is_error_class(text).then(|| Value::Text(text.to_owned())),
        Kind::Word(words) => match words.iter().find(|word| word.name == text) {
            Some(word) if word.built => Some(Value::Text(text.to_owned())),
            Some(word) => return Err(format!("{LATER}: {}", word.name)),
            None => None,
        },
        Kind::Either(kinds) => kinds.iter().find_map(|kind| single(scalar, kind).ok()),
        Kind::Anything => Some(Value::Json(
            scalar_json(scalar, &scalar.text),
            scalar_json(scalar, scalar.shown()),
        )),
        Kind::List(_) | Kind::OneOrMore(_) | Kind::Named(..) | Kind::Map(_) | Kind::Things(_) => {
            None
        }
    };
    value.ok_or_else(|| kind.accepted())
}

/// Whether a text is an id: `[a-z][a-z0-9-]*`.
pub(super) fn is_id(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// RFC 9110 §5.6.2: a token.
fn is_header(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_error_class(text: &str) -> bool {
    match text {
        "no_response" | "grpc_nonzero" => true,
        _ => match text.strip_suffix("xx") {
            Some(class) => matches!(class, "1" | "2" | "3" | "4" | "5"),
            None => text
                .parse::<u16>()
                .is_ok_and(|status| (100..600).contains(&status)),
        },
    }
}

/// Long values are cut in messages.
fn shorten(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST {
        text.to_owned()
    } else {
        text.chars().take(MOST).chain(['…']).collect()
    }
}

/// YAML as JSON, by the core schema of YAML 1.2 §10.3.
pub(super) fn json(node: &Node) -> Json {
    json_by(node, &|scalar| scalar_json(scalar, &scalar.text))
}

/// The same as it may be shown: variables of the environment are left as written.
fn shown_json(node: &Node) -> Json {
    json_by(node, &|scalar| scalar_json(scalar, scalar.shown()))
}

fn json_by(node: &Node, single: &dyn Fn(&Scalar) -> Json) -> Json {
    match &node.data {
        Data::Scalar(scalar) => single(scalar),
        Data::List(items) => items.iter().map(|item| json_by(item, single)).collect(),
        Data::Map(entries) => Json::Object(
            entries
                .iter()
                .map(|(key, node)| (key.name.clone(), json_by(node, single)))
                .collect::<Map<_, _>>(),
        ),
    }
}

fn scalar_json(scalar: &Scalar, text: &str) -> Json {
    if scalar.quoted {
        return Json::String(text.to_owned());
    }
    if scalar.is_null() {
        return Json::Null;
    }
    match text {
        "true" | "True" | "TRUE" => return Json::Bool(true),
        "false" | "False" | "FALSE" => return Json::Bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Json::from(number);
    }
    let numeric =
        text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+' || c == '.');
    match text.parse::<f64>() {
        Ok(number) if numeric && number.is_finite() => Json::from(number),
        _ => Json::String(text.to_owned()),
    }
}

/// The unit that a bound is in, in words.
pub(super) fn unit_words(unit: Unit) -> &'static str {
    match unit {
        Unit::Micros => "a duration such as `250ms`",
        Unit::Share => "a share such as `1%`",
        Unit::PerSecond => "a rate such as `400/s`",
        Unit::Bytes => "a size such as `64KiB`",
        Unit::Count | Unit::Ratio => "a bare number such as `1.2`",
        Unit::Bool => "a condition",
        Unit::Verdict => "a verdict",
    }
}
