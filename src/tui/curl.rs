//! A request as curl commands: one that asks the primary, one that asks the shadow.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::app::{App, Example};
use crate::{event::Asked, shadow::REDACTED};

/// Two commands, and what a person should know of them. No comment is in the commands: not every interactive shell
/// takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Curl {
    /// What they are, and what is to be set before.
    pub notes: Vec<String>,
    /// Asks the primary.
    pub primary: String,
    /// Asks the shadow.
    pub shadow: String,
}

impl Curl {
    /// Both commands.
    pub fn text(&self) -> String {
        format!("{}{}", self.primary, self.shadow)
    }
}

/// The commands for an example; what is not known is a variable of the shell, which complains where it is not set.
pub fn of(app: &App, shadow: &str, example: &Example) -> Curl {
    let of = app
        .facts
        .shadows
        .iter()
        .find(|(id, _, _)| **id == *shadow)
        .map_or("", |(_, of, _)| of);
    let mut wanted = Vec::new();
    let [primary, shadow] = [of, shadow].map(|id| {
        let base = match app.facts.addresses.get(id) {
            // A mirror's ends may say how they are spoken to.
            Some(address) if address.contains("://") => address.trim_end_matches('/').to_owned(),
            Some(address) => format!("http://{address}"),
            None => variable(&mut wanted, id, "url"),
        };
        command(&base, example, &mut wanted)
    });
    let mut notes = vec![format!(
        "request #{}: {} {}",
        example.ordinal, example.method, example.target
    )];
    if !wanted.is_empty() {
        notes.push(format!("set these before: {}", wanted.join(" ")));
    }
    match &example.asked {
        None => notes.push("its headers and its body were not kept".to_owned()),
        Some(asked) if !asked.is_whole() => notes.push(format!(
            "the {} bytes of its body were not kept: put them into body.bin",
            asked.length
        )),
        Some(asked)
            if asked
                .body
                .windows(REDACTED.len())
                .any(|it| it == REDACTED.as_bytes()) =>
        {
            notes.push("secrets in its body are not shown".to_owned());
        }
        Some(_) => {}
    }
    Curl {
        notes,
        primary,
        shadow,
    }
}

/// A shell variable that must be set, noted among those.
fn variable(wanted: &mut Vec<String>, of: &str, what: &str) -> String {
    let name = format!("{of}_{what}");
    let name: String = name
        .trim_matches('_')
        .chars()
        .map(|c| match c {
            'a'..='z' => c.to_ascii_uppercase(),
            'A'..='Z' | '0'..='9' => c,
            _ => '_',
        })
        .collect();
    if !wanted.contains(&name) {
        wanted.push(name.clone());
    }
    format!("${{{name}:?}}")
}

fn command(base: &str, example: &Example, wanted: &mut Vec<String>) -> String {
    let mut text = "curl -sS -i".to_owned();
    match example.method.as_str() {
        "GET" => {}
        // With -X alone curl would wait for a body.
        "HEAD" => text += " --head",
        method => {
            let _ = write!(text, " -X {}", quoted(method));
        }
    }
    // What is between braces or brackets is part of the path, no pattern of curl's.
    text += " -g";
    let _ = match base.strip_prefix('$') {
        Some(_) => write!(text, " \"{base}\"{}", quoted(&example.target)),
        None => write!(text, " {}", quoted(&format!("{base}{}", example.target))),
    };
    if let Some(asked) = &example.asked {
        for part in headers(asked, wanted) {
            let _ = write!(text, " \\\n  {part}");
        }
        if let Some(part) = body(asked) {
            let _ = write!(text, " \\\n  {part}");
        }
    }
    text.push('\n');
    text
}

fn headers(asked: &Asked, wanted: &mut Vec<String>) -> Vec<String> {
    let mut parts = Vec::new();
    for (name, value) in &asked.headers {
        let part = match (name.as_str(), value.as_str()) {
            (_, REDACTED) => format!("-H \"{name}: {}\"", variable(wanted, "", name)),
            // curl frames by itself.
            ("accept-encoding", "identity") | ("te" | "transfer-encoding" | "connection", _) => {
                continue;
            }
            ("accept-encoding", _) => "--compressed".to_owned(),
            ("content-type", value) if value.starts_with("application/grpc") => {
                parts.push("--http2-prior-knowledge -H 'te: trailers'".to_owned());
                format!("-H {}", quoted(&format!("{name}: {value}")))
            }
            // curl takes a name without a value for one to be left out; with a semicolon it is sent.
            (name, "") => format!("-H {}", quoted(&format!("{name};"))),
            (name, value) => format!("-H {}", quoted(&format!("{name}: {value}"))),
        };
        parts.push(part);
    }
    let has = |wanted: &str| asked.headers.iter().any(|(name, _)| name == wanted);
    if asked.length > 0 && !has("content-type") {
        parts.push("-H 'content-type:'".to_owned());
    }
    parts
}

fn body(asked: &Asked) -> Option<String> {
    if asked.length == 0 {
        return None;
    }
    if !asked.is_whole() {
        return Some("--data-binary @body.bin".to_owned());
    }
    Some(match std::str::from_utf8(&asked.body) {
        Ok(text)
            if !text
                .chars()
                .any(|c| c.is_control() && c != '\n' && c != '\t') =>
        {
            format!("--data-raw {}", quoted(text))
        }
        _ => format!(
            "--data-binary @<(printf %s {} | base64 -d)",
            quoted(&STANDARD.encode(&asked.body))
        ),
    })
}

/// As one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::{process::Command, sync::Arc};

    use super::*;
    use crate::tui::Facts;

    fn app() -> App {
        App::new(Facts {
            shadows: vec![("new-shop".into(), "shop".into(), "candidate")],
            addresses: [("shop".into(), "127.0.0.1:9001".to_owned())].into(),
            ..Facts::default()
        })
    }

    fn example(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Example {
        let headers = headers.iter().copied();
        Example {
            ordinal: 17,
            method: method.to_owned(),
            target: target.to_owned(),
            asked: Some(Arc::new(Asked {
                headers: headers
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                body: body.to_vec(),
                length: body.len() as u64,
            })),
            ..Example::default()
        }
    }

    #[test]
    fn both_sides_are_asked_and_what_is_not_known_is_named() {
        let example = example(
            "GET",
            "/cart/7?x=it's",
            &[
                ("accept", "*/*"),
                ("cookie", REDACTED),
                ("accept-encoding", "gzip"),
            ],
            b"",
        );
        let curl = of(&app(), "new-shop", &example);
        assert_eq!(
            curl.notes,
            [
                "request #17: GET /cart/7?x=it's",
                "set these before: COOKIE NEW_SHOP_URL"
            ]
        );
        assert_eq!(
            curl.text(),
            r#"curl -sS -i -g 'http://127.0.0.1:9001/cart/7?x=it'\''s' \
  -H 'accept: */*' \
  -H "cookie: ${COOKIE:?}" \
  --compressed
curl -sS -i -g "${NEW_SHOP_URL:?}"'/cart/7?x=it'\''s' \
  -H 'accept: */*' \
  -H "cookie: ${COOKIE:?}" \
  --compressed
"#
        );
    }

    #[test]
    fn a_body_is_sent_as_it_was() {
        let part = |body: &[u8], length: u64| {
            let asked = Asked {
                headers: Vec::new(),
                body: body.to_vec(),
                length,
            };
            super::body(&asked)
        };
        assert_eq!(part(b"", 0), None);
        assert_eq!(part(b"@a'b", 4).as_deref(), Some(r"--data-raw '@a'\''b'"));
        assert_eq!(
            part(b"\0\xff", 2).as_deref(),
            Some("--data-binary @<(printf %s 'AP8=' | base64 -d)")
        );
        assert_eq!(
            part(b"abc", 5000).as_deref(),
            Some("--data-binary @body.bin")
        );
    }

    #[test]
    fn a_shell_reads_the_words_as_they_were() {
        let nasty = "$HOME `id` \\ \"x\" 'y' {a,b} *\n;";
        let script = format!("printf %s {}", quoted(nasty));
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), nasty);
    }
}
