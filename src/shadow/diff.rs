//! The comparison itself: status, headers, then the bodies, walked side by side.

use std::collections::BTreeSet;

use serde_json::Value;

use super::body::{self, Content, Readable, Unread};
use super::json::cut;
use super::{Answer, Difference, Kind, Rules, walk};

/// The most differences of one pair that are told; two unlike documents have as many as they have fields.
pub const MAX_DIFFERENCES: usize = 1_000;

/// The root of paths into lines of text.
pub(super) const TEXT: &str = "text";

/// Says how the candidate's answer differs from the primary's; nothing when they agree. Differences that a rule
/// ignores are among them, with the rule. `target` is the request's: it says which types a gRPC call has.
///
/// An answer of another status is another answer: its headers and body are not compared; nor are those of another
/// `grpc-status`. Bodies are compared as JSON, lines of JSON, events, forms, messages of gRPC or lines of text by their
/// content type, otherwise by length and hash; so are bodies that cannot be read, or of which only the beginning was kept, as
/// far as it was.
pub fn compare(
    target: &str,
    primary: &Answer,
    candidate: &Answer,
    rules: &Rules,
) -> Vec<Difference> {
    let mut found = Vec::new();
    let http = (Some(primary.status.into()), Some(candidate.status.into()));
    let shown = |answer| grpc_status(answer).map(|status| Value::from(lossy(status)));
    let grpc = (shown(primary), shown(candidate));
    for (path, statuses) in [("status", http), ("grpc-status", grpc)] {
        if statuses.0 != statuses.1 {
            let difference = flat(path, Kind::Status, statuses, rules);
            let is_another = difference.ignored_by.is_none();
            found.push(difference);
            if is_another {
                return found;
            }
        }
    }
    found.extend(fields(
        "header",
        (&primary.headers, &candidate.headers),
        rules,
    ));
    let rest = primary.rest.zip(candidate.rest);
    if primary.body != candidate.body
        || primary.length != candidate.length
        || rest.is_some_and(|(primary, candidate)| primary != candidate)
        || primary.header("content-encoding") != candidate.header("content-encoding")
    {
        compare_bodies(target, primary, candidate, rules, &mut found);
    }
    if !(primary.trailers.is_empty() && candidate.trailers.is_empty()) {
        found.extend(fields(
            "trailer",
            (&primary.trailers, &candidate.trailers),
            rules,
        ));
    }
    found
}

/// The status of a gRPC call, whether it came with headers or after the body.
fn grpc_status(answer: &Answer) -> Option<&[u8]> {
    let trailers = answer.trailers.iter().chain(&answer.headers);
    let mut statuses = trailers.filter(|(name, _)| name == "grpc-status");
    statuses.next().map(|(_, value)| value.as_slice())
}

fn fields(place: &str, sides: (&[Field], &[Field]), rules: &Rules) -> Vec<Difference> {
    let more = (place == "trailer").then_some("grpc-message");
    let names = rules.headers().iter().map(String::as_str).chain(more);
    let differing = names.filter_map(|name| {
        // Most are the same: nothing is made of them.
        if values(sides.0, name).eq(values(sides.1, name)) {
            return None;
        }
        let shown = (shown_header(sides.0, name), shown_header(sides.1, name));
        (shown.0 != shown.1).then(|| flat(&format!("{place}:{name}"), Kind::Header, shown, rules))
    });
    differing.collect()
}

/// A header or trailer.
type Field = (String, Vec<u8>);

fn values<'a>(fields: &'a [Field], name: &str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |(known, _)| known == name)
        .map(|(_, value)| value.as_slice())
}

fn lossy(value: &[u8]) -> String {
    cut(&String::from_utf8_lossy(value))
}

/// A header's values as one text; of `set-cookie` the names of the cookies, in order of the alphabet.
fn shown_header(fields: &[Field], name: &str) -> Option<Value> {
    let values = values(fields, name);
    let text = if name == "set-cookie" {
        let names: BTreeSet<_> = values
            .map(|value| value.split(|byte| *byte == b'=').next().unwrap_or_default())
            .map(|name| String::from_utf8_lossy(name).trim().to_owned())
            .collect();
        names.into_iter().collect::<Vec<_>>()
    } else {
        values
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect::<Vec<_>>()
    };
    (!text.is_empty()).then(|| Value::from(cut(&text.join(", "))))
}

fn compare_bodies(
    target: &str,
    primary: &Answer,
    candidate: &Answer,
    rules: &Rules,
    found: &mut Vec<Difference>,
) {
    let mut tell = |kind, why: Option<Unread>| {
        found.push(whole((primary, candidate), kind, why, rules));
    };
    if primary.is_truncated() || candidate.is_truncated() {
        return tell(Kind::Value, Some(Unread::Truncated));
    }
    let read = |answer| Readable::of(answer, target, rules);
    let (of_primary, of_candidate) = match (read(primary), read(candidate)) {
        (Ok(of_primary), Ok(of_candidate)) => (of_primary, of_candidate),
        (Err(why), Err(other)) if why == other => return tell(Kind::Value, Some(why)),
        (Err(why), _) | (_, Err(why)) => return tell(Kind::Type, Some(why)),
    };
    match (of_primary.is_empty(), of_candidate.is_empty()) {
        (true, true) => return,
        (true, false) => return tell(Kind::Extra, None),
        (false, true) => return tell(Kind::Missing, None),
        (false, false) => {}
    }
    let contents = (of_primary.content(), of_candidate.content());
    match &contents {
        (Content::Json(of_primary), Content::Json(of_candidate)) => {
            found.extend(walk::differences("$", of_primary, of_candidate, rules));
        }
        (Content::Text(of_primary, why), Content::Text(of_candidate, other)) if why == other => {
            if let Some(words) = rules.ignored_text() {
                if of_primary != of_candidate {
                    let ignored_by = Some(words.to_owned());
                    found.push(Difference {
                        ignored_by,
                        ..sealed(TEXT, (primary, candidate), Kind::Value, rules)
                    });
                }
                return;
            }
            found.extend(walk::texts(of_primary, of_candidate, rules));
        }
        (Content::Bytes(why), Content::Bytes(other)) if why == other => {
            tell(Kind::Value, *why);
        }
        (of_primary, of_candidate) => {
            tell(Kind::Type, of_primary.why().or(of_candidate.why()));
        }
    }
}

/// A difference of two bodies that are not looked into.
fn whole(sides: (&Answer, &Answer), kind: Kind, why: Option<Unread>, rules: &Rules) -> Difference {
    let path = why.map_or_else(|| "body".to_owned(), |why| format!("body:{why}"));
    sealed(&path, sides, kind, rules)
}

/// The same under this path.
fn sealed(path: &str, sides: (&Answer, &Answer), kind: Kind, rules: &Rules) -> Difference {
    let shown = (Some(body::summary(sides.0)), Some(body::summary(sides.1)));
    flat(path, kind, shown, rules)
}

fn flat(
    path: &str,
    kind: Kind,
    sides: (Option<Value>, Option<Value>),
    rules: &Rules,
) -> Difference {
    Difference {
        template: path.to_owned(),
        path: path.to_owned(),
        kind,
        primary: sides.0,
        candidate: sides.1,
        shape: None,
        ignored_by: rules.ignored_by_name(path).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shadow::{Arrays, Ignore, Settings, Tolerance};
    use bytes::Bytes;
    use jiff::civil::date;
    use proptest::prelude::*;
    use serde_json::json;

    fn typed(content_type: &str, body: impl Into<Bytes>) -> Answer {
        let body = body.into();
        let headers = vec![(
            "content-type".to_owned(),
            content_type.as_bytes().to_owned(),
        )];
        Answer {
            status: 200,
            headers,
            length: body.len() as u64,
            body,
            ..Answer::default()
        }
    }

    fn answer(body: &Value) -> Answer {
        typed("application/json", body.to_string())
    }

    fn rules(settings: &Settings) -> Rules {
        Rules::compile(settings, date(2026, 1, 1)).unwrap()
    }

    /// Differences in short: kind, path, template where it is another.
    fn told(found: &[Difference]) -> Vec<String> {
        let line = |difference: &Difference| {
            let Difference {
                kind,
                path,
                template,
                ..
            } = difference;
            if path == template {
                format!("{kind} {path}")
            } else {
                format!("{kind} {path} {template}")
            }
        };
        found.iter().map(line).collect()
    }

    fn differences(primary: &Value, candidate: &Value, settings: &Settings) -> Vec<String> {
        told(&compare(
            "/",
            &answer(primary),
            &answer(candidate),
            &rules(settings),
        ))
    }

    #[test]
    fn each_kind_is_found_where_it_is() {
        for (primary, candidate, expected) in [
            (json!({ "a": 1 }), json!({ "a": 1 }), vec![]),
            (json!({ "a": 1, "b": 2 }), json!({ "b": 2, "a": 1 }), vec![]),
            (json!({ "a": 1 }), json!({ "a": 2 }), vec!["value $.a"]),
            (json!({ "a": 1 }), json!({ "a": "1" }), vec!["type $.a"]),
            (json!({ "a": null }), json!({ "a": 1 }), vec!["type $.a"]),
            (
                json!({ "a": true }),
                json!({ "a": false }),
                vec!["value $.a"],
            ),
            (
                json!({ "a": 1, "b": 2 }),
                json!({ "b": 2 }),
                vec!["missing $.a"],
            ),
            (
                json!({ "b": 2 }),
                json!({ "a": null, "b": 2 }),
                vec!["extra $.a"],
            ),
            (json!([1, 2, 3]), json!([3, 2, 1]), vec!["order $"]),
            (json!([1, 2, 3]), json!([1, 9, 3]), vec!["value $[1] $[*]"]),
            (json!([1, 2, 3]), json!([1, 3]), vec!["missing $[1] $[*]"]),
            (
                json!([1, 3]),
                json!([0, 1, 2, 3]),
                vec!["extra $[0] $[*]", "extra $[2] $[*]"],
            ),
            (
                json!({ "items": [{ "sku": 1, "tax": 2 }, { "sku": 2, "tax": 3 }] }),
                json!({ "items": [{ "sku": 1, "tax": 2 }, { "sku": 2 }] }),
                vec!["missing $.items[1].tax $.items[*].tax"],
            ),
            (
                json!({ "by_id": { "1042": { "x": 1 } } }),
                json!({ "by_id": { "1042": { "x": 2 } } }),
                vec!["value $.by_id.1042.x $.by_id.*.x"],
            ),
            (json!({ "a": [] }), json!({ "a": {} }), vec!["type $.a"]),
        ] {
            assert_eq!(
                differences(&primary, &candidate, &Settings::default()),
                expected,
                "{primary} {candidate}"
            );
        }
    }

    #[test]
    fn numbers_are_compared_by_value_without_rounding() {
        let body = |text: &str| typed("application/json", text.to_owned());
        for (primary, candidate, same) in [
            ("1", "1.0", true),
            ("1e2", "100", true),
            ("-0", "0", true),
            ("9007199254740993", "9007199254740992", false),
            ("0.1", "0.10", true),
            ("0.1", "0.11", false),
        ] {
            let found = compare("/", &body(primary), &body(candidate), &Rules::default());
            assert_eq!(found.is_empty(), same, "{primary} {candidate}");
        }
    }

    #[test]
    fn an_array_with_a_key_is_aligned_by_it() {
        let settings = Settings {
            arrays: vec![("$.items".into(), Arrays::Key("sku".into()))],
            ..Settings::default()
        };
        let primary = json!({ "items": [{ "sku": "a", "n": 1 }, { "sku": "b", "n": 2 }, { "sku": "c", "n": 3 }] });
        let candidate = json!({ "items": [{ "sku": "c", "n": 3 }, { "sku": "a", "n": 9 }, { "sku": "d", "n": 4 }] });
        assert_eq!(
            differences(&primary, &candidate, &settings),
            [
                "value $.items[0].n $.items[*].n",
                "missing $.items[1] $.items[*]",
                "extra $.items[2] $.items[*]",
            ]
        );
    }

    #[test]
    fn a_set_has_no_order() {
        let settings = Settings {
            arrays: vec![("$".into(), Arrays::Set)],
            ..Settings::default()
        };
        assert!(differences(&json!([1, 2, 2]), &json!([2, 1, 2]), &settings).is_empty());
        assert_eq!(
            differences(&json!([1, 2, 2]), &json!([2, 1, 3]), &settings),
            ["missing $[2] $[*]", "extra $[2] $[*]"]
        );
        // Elements that only a rule makes equal still find each other.
        let tolerant = Settings {
            tolerance: vec![("$[*].x".into(), Tolerance::Absolute(0.5))],
            ..settings
        };
        assert!(
            differences(
                &json!([{ "x": 1 }, { "x": 5 }]),
                &json!([{ "x": 5.2 }, { "x": 1.2 }]),
                &tolerant
            )
            .is_empty()
        );
    }

    #[test]
    fn tolerance_and_format_let_values_differ() {
        let settings = Settings {
            tolerance: vec![("$.total".into(), Tolerance::Absolute(0.1))],
            format: vec![("$.id".into(), "uuid".into())],
            ..Settings::default()
        };
        let body = |total: f64, id: &str| json!({ "total": total, "id": id });
        let (one, two) = (
            "58843708-37ee-4052-969e-5cb4286e4d3b",
            "d58b962b-83a4-426c-9c60-2bff029f3807",
        );
        assert!(differences(&body(0.2, one), &body(0.3, two), &settings).is_empty());
        assert_eq!(
            differences(&body(0.2, one), &body(0.31, "none"), &settings),
            ["value $.total", "value $.id"]
        );
    }

    #[test]
    fn what_is_ignored_is_told_with_its_rule() {
        let ignore = Ignore {
            path: "$.trace".into(),
            why: "random".into(),
            until: None,
        };
        let settings = Settings {
            ignore: vec![ignore],
            ..Settings::default()
        };
        let (primary, candidate) = (
            json!({ "trace": { "id": 1 }, "a": 1 }),
            json!({ "trace": { "id": 2 }, "a": 2 }),
        );
        let found = compare(
            "/",
            &answer(&primary),
            &answer(&candidate),
            &rules(&settings),
        );
        assert_eq!(told(&found), ["value $.trace.id", "value $.a"]);
        assert_eq!(
            found[0].ignored_by.as_deref(),
            Some("ignore $.trace: random")
        );
        assert_eq!(
            (found[1].ignored_by.as_deref(), &found[1].primary),
            (None, &Some(json!(1)))
        );
        assert_eq!(found[1].candidate, Some(json!(2)));
    }

    #[test]
    fn an_answer_of_another_status_is_not_looked_into() {
        let mut other = typed("text/html", "oops");
        other.status = 503;
        let found = compare("/", &answer(&json!({ "a": 1 })), &other, &Rules::default());
        assert_eq!(told(&found), ["status status"]);
        assert_eq!(
            (&found[0].primary, &found[0].candidate),
            (&Some(json!(200)), &Some(json!(503)))
        );
    }

    #[test]
    fn what_has_a_name_can_be_ignored_by_it() {
        let ignored = |path: &str| Ignore {
            path: path.into(),
            why: "known".into(),
            until: None,
        };
        let settings = Settings {
            ignore: ["status", "header:Content-Type", "body"]
                .map(ignored)
                .to_vec(),
            ..Settings::default()
        };
        let (mut primary, mut candidate) = (typed("image/png", "a"), typed("image/gif", "b"));
        (primary.status, candidate.status) = (200, 203);
        let found = compare("/", &primary, &candidate, &rules(&settings));
        // An answer whose status does not matter is looked into.
        let expected = ["status status", "header header:content-type", "value body"];
        assert_eq!(told(&found), expected);
        assert!(
            found
                .iter()
                .all(|difference| difference.ignored_by.is_some())
        );
        let found = compare(
            "/",
            &typed("text/json", "{"),
            &typed("text/json", "[]"),
            &rules(&settings),
        );
        assert_eq!(told(&found), ["type body:not_json"]);
        assert!(found[0].ignored_by.is_some());
    }

    #[test]
    fn trailers_and_the_status_of_a_call_are_compared() {
        let with = |trailers: &[(&str, &str)]| Answer {
            trailers: trailers
                .iter()
                .map(|(name, value)| ((*name).into(), value.as_bytes().into()))
                .collect(),
            ..typed("application/grpc", "")
        };
        let said = |primary: &Answer, candidate: &Answer| {
            told(&compare("/", primary, candidate, &Rules::default()))
        };
        let fine = with(&[("grpc-status", "0")]);
        assert_eq!(said(&fine, &fine), Vec::<String>::new());
        let gone = with(&[("grpc-status", "5"), ("grpc-message", "gone")]);
        assert_eq!(said(&fine, &gone), ["status grpc-status"]);
        let other = with(&[("grpc-status", "5"), ("grpc-message", "not here")]);
        assert_eq!(said(&gone, &other), ["header trailer:grpc-message"]);
        // Without a body it comes with the headers.
        let mut at_once = with(&[]);
        at_once.headers.push(("grpc-status".into(), b"0".to_vec()));
        assert_eq!(said(&fine, &at_once), Vec::<String>::new());
    }

    #[test]
    fn arrays_that_nest_deep_are_compared_in_time() {
        let nested = |depth: usize, end: &str| "[".repeat(depth) + end + &"]".repeat(depth);
        let json = |body: String| typed("application/json", body);
        for (primary, candidate, kinds) in [
            (nested(128, "1"), nested(128, "2"), 1),
            (nested(100, "1"), nested(101, "1"), 1),
            (nested(60, "1,2,3"), nested(60, "1,3"), 1),
            // Arrays of arrays without anything in common, at every level of another length.
            (
                (0..60).fold("1".to_owned(), |inner, n| format!("[{n},[{n}],{inner}]")),
                (0..60).fold("2".to_owned(), |inner, n| {
                    format!("[{inner},-{n},[[{n}]],8]")
                }),
                1,
            ),
        ] {
            let found = compare("/", &json(primary), &json(candidate), &Rules::default());
            assert!(found.len() >= kinds);
        }
        // Wide and deep: 200 elements at each of 60 levels.
        let wide = |last: &str| {
            (0..60).fold(last.to_owned(), |inner, _| {
                format!("[{}{inner}]", "[1],".repeat(200))
            })
        };
        let found = compare(
            "/",
            &json(wide("3")),
            &json(wide("[1],4")),
            &Rules::default(),
        );
        assert!(!found.is_empty());
    }

    #[test]
    fn headers_are_compared_as_listed_and_cookies_by_name() {
        let with = |headers: &[(&str, &str)]| Answer {
            status: 200,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).into(), value.as_bytes().into()))
                .collect(),
            ..Answer::default()
        };
        let primary = with(&[
            ("location", "/a"),
            ("set-cookie", "s=1; Path=/"),
            ("date", "x"),
            ("content-type", "a/b"),
        ]);
        let candidate = with(&[
            ("location", "/b"),
            ("set-cookie", "s=2"),
            ("set-cookie", "t=1"),
            ("date", "y"),
        ]);
        let found = compare("/", &primary, &candidate, &Rules::default());
        assert_eq!(
            told(&found),
            [
                "header header:content-type",
                "header header:location",
                "header header:set-cookie"
            ]
        );
        assert_eq!(
            (&found[0].primary, &found[0].candidate),
            (&Some(json!("a/b")), &None)
        );
        assert_eq!(found[2].candidate, Some(json!("s, t")));
    }

    #[test]
    fn bodies_that_cannot_be_read_are_compared_whole() {
        let json = |body: &'static str| typed("application/json", body);
        let cut = |body: &'static str, length| Answer {
            length,
            ..json(body)
        };
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for (primary, candidate, expected) in [
            (
                typed("image/png", "\u{1}"),
                typed("image/png", "\u{2}"),
                vec!["value body"],
            ),
            (
                typed("image/png", "\u{1}"),
                typed("image/png", "\u{1}"),
                vec![],
            ),
            (json("{}"), json("{"), vec!["type body:not_json"]),
            (json("{}"), json(""), vec!["missing body"]),
            (json(""), json("{}"), vec!["extra body"]),
            (
                json("{\"a\""),
                json("{\"b\""),
                vec!["value text[0] text[*]"],
            ),
            (
                cut("{\"a\":1", 100),
                cut("{\"a\":2", 100),
                vec!["value body:truncated"],
            ),
            (
                cut("{\"a\":1", 100),
                cut("{\"a\":1", 101),
                vec!["value body:truncated"],
            ),
            (cut("{\"a\":1", 100), cut("{\"a\":1", 100), vec![]),
            (
                Answer {
                    rest: Some(1),
                    ..cut("{", 100)
                },
                Answer {
                    rest: Some(2),
                    ..cut("{", 100)
                },
                vec!["value body:truncated"],
            ),
            (
                Answer {
                    rest: Some(1),
                    ..cut("{", 100)
                },
                Answer {
                    rest: Some(1),
                    ..cut("{", 100)
                },
                vec![],
            ),
            (
                typed("application/json", deep.clone() + " "),
                typed("application/json", deep),
                vec!["value text[0] text[*]"],
            ),
            (
                typed("application/json", &b"\"\xff\""[..]),
                typed("application/json", &b"\"\xfe\""[..]),
                vec!["value body:not_utf8"],
            ),
        ] {
            assert_eq!(
                told(&compare("/", &primary, &candidate, &Rules::default())),
                expected
            );
        }
    }

    #[test]
    fn lines_of_a_text_can_be_ignored() {
        let told = |path: &str, candidate: &'static str| {
            let settings = Settings {
                ignore: vec![Ignore {
                    path: path.into(),
                    why: "a clock".into(),
                    until: None,
                }],
                ..Settings::default()
            };
            let text = |body: &'static str| typed("text/html", body);
            let primary = text("<p>\nat 10:00\n<b>1</b>\n");
            let found = compare("/", &primary, &text(candidate), &rules(&settings));
            let told = found.iter().map(|it| {
                let mark = if it.ignored_by.is_some() { "-" } else { "" };
                format!("{mark}{} {}", it.kind, it.path)
            });
            told.collect::<Vec<_>>().join(", ")
        };
        let (clock, more) = ("<p>\nat 10:01\n<b>1</b>\n", "<p>\nat 10:01\n<b>2</b>\n");
        let moved = "<p>\n<b>1</b>\nat 10:01\n";
        for (path, candidate, expected) in [
            ("text", more, "-value text"),
            ("text[*]", more, "-value text"),
            ("text[1]", clock, ""),
            ("text[1]", more, "value text[2]"),
            ("text['at *']", clock, ""),
            ("text['at *']", more, "value text[2]"),
            // Wherever it is: the others are compared with one another.
            ("text['at *']", moved, ""),
            ("text['at *']", "<p>\n<b>1</b>\nat 10:00\n", ""),
            ("text['at *']", "at 10:00\n<p>\n<b>1</b>\n", ""),
            ("text['at *']", "<b>1</b>\nat 10:00\n<p>\n", "order text"),
            (
                "text['at *']",
                "<p>\nat 10:00\n<b>2</b>\nat 10:01\n",
                "value text[2], -extra text[3]",
            ),
            ("text['at *']", "<p>\n<b>1</b>\n", "-missing text[1]"),
            (
                "text['at *']",
                "<p>\n<b>1</b>\nat 10:00\n<i>\n",
                "extra text[3]",
            ),
            ("text['on *']", clock, "value text[1]"),
            // A path into JSON says nothing of lines.
            ("$[1]", clock, "value text[1]"),
        ] {
            assert_eq!(told(path, candidate), expected, "{path} {candidate:?}");
        }
        assert_eq!(told("text[*]", "<p>\nat 10:00\n<b>1</b>\n"), "");
    }

    #[test]
    fn rules_for_json_say_nothing_of_lines() {
        let settings = Settings {
            arrays: vec![("$".into(), Arrays::Set)],
            format: vec![("$[*]".into(), "integer".into())],
            tolerance: vec![("$[*]".into(), Tolerance::Absolute(9.0))],
            ..Settings::default()
        };
        let text = |body: &'static str| typed("text/plain", body);
        let found = |candidate| {
            let found = compare("/", &text("1\n2\n3\n"), &text(candidate), &rules(&settings));
            told(&found)
        };
        assert_eq!(found("3\n2\n1\n"), ["order text"]);
        assert_eq!(found("1\n7\n3\n"), ["value text[1] text[*]"]);
    }

    #[test]
    fn lines_are_compared_as_lines() {
        let json = |body: &'static str| typed("application/x-ndjson", body);
        let found = compare(
            "/",
            &json("{\"a\":1}\n{\"a\":2}\n"),
            &json("{\"a\":1}\n{\"a\":3}\n"),
            &Rules::default(),
        );
        assert_eq!(told(&found), ["value $[1].a $[*].a"]);
        let text = |body: &'static str| typed("text/plain; charset=utf-8", body);
        let found = compare(
            "/",
            &text("one\ntwo\nthree\n"),
            &text("one\nthree\nfour"),
            &Rules::default(),
        );
        assert_eq!(
            told(&found),
            ["missing text[1] text[*]", "extra text[2] text[*]"]
        );
    }

    #[test]
    fn compressed_bodies_are_compared_by_what_they_hold() {
        let packed = |value: &Value, level: u32| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
            std::io::Write::write_all(&mut encoder, value.to_string().as_bytes()).unwrap();
            let mut packed = typed("application/json", encoder.finish().unwrap());
            packed
                .headers
                .push(("content-encoding".into(), b"gzip".into()));
            packed
        };
        let value = json!({ "a": "x".repeat(300), "b": 1 });
        assert!(
            compare(
                "/",
                &packed(&value, 0),
                &packed(&value, 9),
                &Rules::default()
            )
            .is_empty()
        );
        let found = compare(
            "/",
            &packed(&value, 0),
            &packed(&json!({ "a": "x".repeat(300) }), 9),
            &Rules::default(),
        );
        assert_eq!(told(&found), ["missing $.b"]);
        let mut broken = packed(&value, 0);
        broken.body = Bytes::from_static(b"\x1f\x8bgarbage");
        broken.length = broken.body.len() as u64;
        assert_eq!(
            told(&compare(
                "/",
                &packed(&value, 0),
                &broken,
                &Rules::default()
            )),
            ["type body:coding"]
        );
    }

    #[test]
    fn two_unlike_documents_are_told_up_to_a_bound() {
        let many = |offset: usize| Value::from((0..5_000).map(|n| n + offset).collect::<Vec<_>>());
        assert_eq!(
            differences(&many(0), &many(10_000), &Settings::default()).len(),
            MAX_DIFFERENCES
        );
    }

    #[test]
    fn the_order_of_an_objects_fields_never_matters() {
        let fields = |order: &mut dyn Iterator<Item = usize>| {
            Value::Object(order.map(|n| (format!("f{n}x"), n.into())).collect())
        };
        let (primary, candidate) = (fields(&mut (0..2_000)), fields(&mut (1..2_001).rev()));
        let found = differences(&primary, &candidate, &Settings::default());
        assert_eq!(found, ["missing $.f0x", "extra $.f2000x"]);
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..9).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn there_is_a_difference_exactly_when_the_values_differ(primary in document(), candidate in document()) {
            let found = compare("/", &answer(&primary), &answer(&candidate), &Rules::default());
            prop_assert_eq!(found.is_empty(), primary == candidate);
        }

        #[test]
        fn the_other_way_round_the_same_places_differ(primary in document(), candidate in document()) {
            let count = |found: Vec<Difference>, kind| found.iter().filter(|difference| difference.kind == kind).count();
            let (one, two) = (answer(&primary), answer(&candidate));
            for (kind, mirrored) in [(Kind::Value, Kind::Value), (Kind::Type, Kind::Type), (Kind::Order, Kind::Order)] {
                // Alignments of arrays need not be unique, so only documents without arrays are compared by count.
                if !primary.to_string().contains('[') && !candidate.to_string().contains('[') {
                    let there = count(compare("/", &one, &two, &Rules::default()), kind);
                    prop_assert_eq!(there, count(compare("/", &two, &one, &Rules::default()), mirrored));
                }
            }
        }
    }
}
