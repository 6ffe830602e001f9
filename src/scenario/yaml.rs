//! YAML 1.2 text as a tree of nodes, each of which knows where it stands.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::problem::{Place, Problem};

/// Levels of maps and lists within one another; a scenario has ten or so, and every level costs stack where it is read.
pub(super) const MAX_DEPTH: usize = 64;

/// Nodes of one file, aliases expanded: a handful of nested anchors could otherwise fill the memory.
const MAX_NODES: usize = 200_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) data: Data,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) at: Place,
}

/// A text that is not yet held against what it should be.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// It was in quotes or a block: a text, whatever it looks like.
    pub(super) quoted: bool,
    /// What may be shown of it: variables of the environment are left as written.
    pub(super) shown: Option<String>,
    /// For each character of `text`, how far right of the node's place it stands; empty: not known.
    pub(super) columns: Vec<u32>,
    /// A variable in it has no value, which was told: nothing more is said of it.
    pub(super) told: bool,
}

impl Scalar {
    /// `key:` with nothing after it, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        !self.quoted && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// What may be shown of it.
    pub(super) fn shown(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.text)
    }
}

impl Node {
    /// What it is, in words.
    pub(super) fn shape(&self) -> &'static str {
        match &self.data {
            Data::Scalar(scalar) if scalar.is_null() => "nothing",
            Data::Scalar(_) => "a single value",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match &self.data {
            Data::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.name == name)
                .map(|(_, node)| node),
            _ => None,
        }
    }

    pub(super) fn scalar(&self) -> Option<&Scalar> {
        match &self.data {
            Data::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    fn count(&self) -> usize {
        1 + match &self.data {
            Data::Scalar(_) => 0,
            Data::List(items) => items.iter().map(Self::count).sum(),
            Data::Map(entries) => entries.iter().map(|(_, node)| node.count()).sum(),
        }
    }

    /// The same with every place replaced: a default stands where the map stands that lacks it.
    pub(super) fn moved_to(mut self, at: Place) -> Self {
        self.at = at;
        match &mut self.data {
            Data::Scalar(scalar) => scalar.columns.clear(),
            Data::List(items) => {
                for item in items {
                    *item = std::mem::replace(item, Self::null(at)).moved_to(at);
                }
            }
            Data::Map(entries) => {
                for (key, node) in entries {
                    key.at = at;
                    *node = std::mem::replace(node, Self::null(at)).moved_to(at);
                }
            }
        }
        self
    }

    pub(super) fn null(at: Place) -> Self {
        Self {
            at,
            data: Data::Scalar(Scalar::default()),
        }
    }
}

/// Reads one document. What is wrong with it is told to `problems`; `None`: nothing can be made of it.
pub(super) fn read(text: &str, file: u16, problems: &mut Vec<Problem>) -> Option<Node> {
    // A byte order mark is no part of the text (YAML 1.2 §5.2).
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        file,
        lines: text.lines().collect(),
        problems,
        anchors: BTreeMap::new(),
        open: Vec::new(),
        nodes: 0,
        root: None,
        documents: 0,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                let mark = error.marker();
                let place = Place::new(file, mark.line(), mark.col() + 1, 1);
                let what = format!("this is not YAML: {}", error.info());
                builder
                    .problems
                    .push(Problem::at(place, what).help(syntax_help(error.info())));
                return None;
            }
        }
    }
    let root = builder.root;
    if root.is_none() {
        problems.push(
            Problem::at(Place::new(file, 1, 1, 1), "the file is empty")
                .help("a scenario has at least `name`, `topology`, `traffic` and `checks`"),
        );
    }
    root
}

/// What usually lies behind a syntax error.
fn syntax_help(info: &str) -> &'static str {
    if info.contains("tab") {
        "indent with spaces"
    } else {
        "texts with `: `, ` #`, `{`, `[` or a leading `*`, `&`, `!`, `%`, `@` need quotes; indent with spaces"
    }
}

/// A map or list that is not closed yet.
struct Open {
    anchor: usize,
    node: Node,
    /// The key that waits for its value.
    key: Option<Key>,
    seen: BTreeSet<String>,
}

struct Builder<'a> {
    file: u16,
    lines: Vec<&'a str>,
    problems: &'a mut Vec<Problem>,
    anchors: BTreeMap<usize, Node>,
    open: Vec<Open>,
    nodes: usize,
    root: Option<Node>,
    documents: u32,
}

impl Builder<'_> {
    /// `None`: it makes no sense to read on.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = self.place(span);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let problem = Problem::at(
                        at,
                        "a scenario file is one document; a second one begins here",
                    )
                    .help("write a second file");
                    self.problems.push(problem);
                    return None;
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                let scalar = self.scalar(text.into_owned(), style, span);
                let at = Place {
                    width: at.width.max(1),
                    ..at
                };
                let node = Node {
                    at,
                    data: Data::Scalar(scalar),
                };
                self.keep(anchor, &node);
                self.put(node)?;
            }
            // The span of a flow map's begin takes in blanks behind the brace.
            Event::SequenceStart(anchor, _) => {
                self.push(anchor, Place { width: 1, ..at }, Data::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, _) => {
                self.push(anchor, Place { width: 1, ..at }, Data::Map(Vec::new()))?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.keep(open.anchor, &open.node);
                    self.put(open.node)?;
                }
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    self.problems.push(
                        Problem::at(at, "this alias stands inside the value that it names")
                            .help("name a value that is complete before the alias"),
                    );
                    return None;
                };
                self.nodes += node.count();
                self.put(node)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Some(())
    }

    fn place(&self, span: Span) -> Place {
        let width = if span.start.line() == span.end.line() {
            span.end.col().saturating_sub(span.start.col())
        } else {
            1
        };
        Place::new(
            self.file,
            span.start.line(),
            span.start.col() + 1,
            width.max(1),
        )
    }

    fn scalar(&self, text: String, style: ScalarStyle, span: Span) -> Scalar {
        let quoted = style != ScalarStyle::Plain;
        let skip = u32::from(matches!(
            style,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted
        ));
        // Escapes and folded lines move characters; then columns are not known.
        let line = self
            .lines
            .get(span.start.line().saturating_sub(1))
            .copied()
            .unwrap_or("");
        let same = line
            .chars()
            .skip(span.start.col() + skip as usize)
            .take(text.chars().count())
            .eq(text.chars());
        let columns = if same {
            (skip..).take(text.chars().count()).collect()
        } else {
            Vec::new()
        };
        Scalar {
            text,
            quoted,
            shown: None,
            columns,
            told: false,
        }
    }

    fn push(&mut self, anchor: usize, at: Place, data: Data) -> Option<()> {
        if self.open.len() >= MAX_DEPTH {
            self.problems.push(
                Problem::at(at, "maps and lists stand too deep within one another")
                    .help(format!("at most {MAX_DEPTH} levels")),
            );
            return None;
        }
        self.open.push(Open {
            anchor,
            node: Node { at, data },
            key: None,
            seen: BTreeSet::new(),
        });
        Some(())
    }

    fn keep(&mut self, anchor: usize, node: &Node) {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
    }

    fn put(&mut self, node: Node) -> Option<()> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.problems.push(
                Problem::at(node.at, "the file has too many values")
                    .help(format!("at most {MAX_NODES}, aliases expanded")),
            );
            return None;
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        match &mut open.node.data {
            Data::List(items) => items.push(node),
            Data::Map(entries) => {
                if let Some(key) = open.key.take() {
                    if open.seen.insert(key.name.clone()) {
                        entries.push((key, node));
                    } else {
                        let what = format!("the key `{}` stands here twice", key.name);
                        self.problems
                            .push(Problem::at(key.at, what).help("remove one of them"));
                    }
                } else if let Data::Scalar(scalar) = node.data {
                    open.key = Some(Key {
                        name: scalar.text,
                        at: node.at,
                    });
                } else {
                    self.problems.push(
                        Problem::at(node.at, "a key of a map must be a single value")
                            .help("texts with braces or brackets need quotes, as in `\"$.items[*]\": set`"),
                    );
                    return None;
                }
            }
            Data::Scalar(_) => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Node {
        let mut problems = Vec::new();
        let node = read(text, 0, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        node.unwrap()
    }

    fn bad(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        read(text, 0, &mut problems);
        problems
            .iter()
            .map(|problem| format!("{}:{} {}", problem.line(), problem.column(), problem.what))
            .collect()
    }

    #[test]
    fn nodes_know_their_line_and_column() {
        let root = good("a: 1\nb:\n  - x: 'two words'\n");
        let Data::List(items) = &root.get("b").unwrap().data else {
            panic!("not a list")
        };
        let node = items[0].get("x").unwrap();
        assert_eq!((node.at.line, node.at.column, node.at.width), (3, 8, 11));
        let scalar = node.scalar().unwrap();
        assert!(scalar.quoted && scalar.text == "two words");
        assert_eq!(scalar.columns.first(), Some(&1));
    }

    #[test]
    fn escapes_leave_the_columns_unknown() {
        let root = good(r#"a: "x\ty""#);
        assert!(root.get("a").unwrap().scalar().unwrap().columns.is_empty());
    }

    #[test]
    fn anchors_are_expanded_and_bounded() {
        let root = good("a: &x { b: 1 }\nc: *x\n");
        assert_eq!(
            root.get("c")
                .unwrap()
                .get("b")
                .unwrap()
                .scalar()
                .unwrap()
                .text,
            "1"
        );
        let mut bomb = String::from("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n");
        for level in 1..9 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(
            bad(&bomb)
                .iter()
                .any(|text| text.contains("too many values"))
        );
        assert!(
            bad(&"[".repeat(200))
                .iter()
                .any(|text| text.contains("too deep"))
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        assert_eq!(bad("a: 1\na: 2\n"), ["2:1 the key `a` stands here twice"]);
        assert_eq!(bad(""), ["1:1 the file is empty"]);
        assert!(bad("a: [1, 2\n")[0].contains("this is not YAML"));
        assert!(bad("a: 1\n---\nb: 2\n")[0].contains("one document"));
        assert!(bad("a: &x [*x]\n")[0].contains("inside the value"));
    }
}
