//! Paths made canonical before they are routed: RFC 3986 §6, as Envoy does it (its answers were measured for each byte).

/// What is done to paths before routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Normalization {
    /// Dots are resolved, escapes of unreserved characters undone, backslashes turned.
    pub normalize: bool,
    /// Slashes in a row become one.
    pub merge_slashes: bool,
    /// What escaped slashes mean.
    pub escaped_slashes: EscapedSlashes,
}

/// What is done with `%2F` and `%5C`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EscapedSlashes {
    /// They stay.
    #[default]
    Keep,
    /// The request is refused.
    Reject,
    /// They are undone, and the client is redirected there.
    Redirect,
    /// They are undone.
    Unescape,
}

/// What became of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Normalized {
    /// It is canonical as it is.
    Same,
    /// It is this.
    Changed(String),
    /// The client has to ask for this.
    Redirect(String),
    /// It is no path. Where that is for its escaped slashes, this is what they are for.
    Refused(Option<String>),
}

impl Normalization {
    /// Whether nothing is done.
    pub fn is_off(&self) -> bool {
        *self == Self::default()
    }

    /// The path and query, canonical. The query is left as it is.
    pub fn apply(&self, path_and_query: &str) -> Normalized {
        let (path, query) = match path_and_query.find('?') {
            Some(at) => path_and_query.split_at(at),
            None => (path_and_query, ""),
        };
        let unescaped = match self.escaped_slashes {
            EscapedSlashes::Keep => None,
            _ => unescape_slashes(path),
        };
        if let (Some(path), EscapedSlashes::Reject) = (&unescaped, self.escaped_slashes) {
            return Normalized::Refused(Some([path, query].concat()));
        }
        let redirect = unescaped.is_some() && self.escaped_slashes == EscapedSlashes::Redirect;
        let mut made = unescaped.unwrap_or_else(|| path.to_owned());
        if self.normalize {
            match canonical(&made) {
                Some(canonical) => made = canonical,
                None => return Normalized::Refused(None),
            }
        }
        if self.merge_slashes {
            made = merge_slashes(&made);
        }
        if redirect {
            Normalized::Redirect(made + query)
        } else if made == path {
            Normalized::Same
        } else {
            Normalized::Changed(made + query)
        }
    }
}

/// `None`: there are none.
fn unescape_slashes(path: &str) -> Option<String> {
    let mut made = String::new();
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        let slash = match escape.get(..3) {
            Some("%2f" | "%2F") => '/',
            Some("%5c" | "%5C") => '\\',
            _ => {
                made.push_str(before);
                made.push('%');
                rest = escape.get(1..).unwrap_or_default();
                continue;
            }
        };
        made.push_str(before);
        made.push(slash);
        rest = escape.get(3..).unwrap_or_default();
    }
    made.push_str(rest);
    (made.len() != path.len()).then_some(made)
}

/// `None`: a path that nobody may ask for.
fn canonical(path: &str) -> Option<String> {
    if !path.starts_with(['/', '\\']) {
        return None;
    }
    let decoded = decode(path)?;
    let mut made: Vec<&str> = Vec::new();
    let mut segments = decoded.get(1..).unwrap_or_default().split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                made.pop();
            }
            segment => {
                made.push(segment);
                continue;
            }
        }
        // A path that ends in dots ends in a slash.
        if last {
            made.push("");
        }
    }
    Some(format!("/{}", made.join("/")))
}

/// Undoes escapes of unreserved characters, escapes what a path may not have, and turns backslashes.
fn decode(path: &str) -> Option<String> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let bytes = path.as_bytes();
    let mut made = String::with_capacity(path.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at).copied() {
        at += 1;
        match byte {
            b'\\' => made.push('/'),
            b'%' => match escaped(bytes.get(at..at + 2)) {
                Some(0) => return None,
                Some(plain) if plain.is_ascii_alphanumeric() || b"-._~".contains(&plain) => {
                    made.push(char::from(plain));
                    at += 2;
                }
                _ => made.push('%'),
            },
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 0..=b' ' | 0x7f.. => {
                made.push('%');
                for digit in [byte >> 4, byte & 15] {
                    made.push(char::from(*DIGITS.get(usize::from(digit))?));
                }
            }
            byte => made.push(char::from(byte)),
        }
    }
    Some(made)
}

fn escaped(digits: Option<&[u8]>) -> Option<u8> {
    let text = std::str::from_utf8(digits?).ok()?;
    text.bytes()
        .all(|digit| digit.is_ascii_hexdigit())
        .then(|| u8::from_str_radix(text, 16).ok())?
}

fn merge_slashes(path: &str) -> String {
    let mut made = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !made.ends_with('/') {
            made.push(character);
        }
    }
    // Of slashes alone, Envoy keeps the first and the last.
    if made == "/" && path.len() > 1 {
        made.push('/');
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_canonical() {
        let all = Normalization {
            normalize: true,
            merge_slashes: true,
            escaped_slashes: EscapedSlashes::Keep,
        };
        for (path, expected) in [
            ("/a/b/../c", "/a/c"),
            ("/a/b/%2e%2E/c", "/a/c"),
            ("/a/./c", "/a/c"),
            ("/../../etc", "/etc"),
            ("//a///c", "/a/c"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/%61dmin", "/admin"),
            ("/x/..%2fadmin", "/x/..%2fadmin"),
            ("/a\\b", "/a/b"),
            ("/a%zz", "/a%zz"),
            ("/a%2", "/a%2"),
            ("/<\"`{|}^>", "/%3C%22%60%7B%7C%7D%5E%3E"),
            ("/a%20%41%7e%2B", "/a%20A~%2B"),
            ("/a/../b?x=../..//y", "/b?x=../..//y"),
            ("/", "/"),
        ] {
            let expected = if path == expected {
                Normalized::Same
            } else {
                Normalized::Changed(expected.to_owned())
            };
            assert_eq!(all.apply(path), expected, "{path}");
        }
        assert_eq!(all.apply("//"), Normalized::Same);
        assert_eq!(all.apply("///?a"), Normalized::Changed("//?a".to_owned()));
        assert_eq!(all.apply("/a%00b"), Normalized::Refused(None));
        assert_eq!(all.apply("*"), Normalized::Refused(None));
    }

    #[test]
    fn escaped_slashes_mean_what_is_asked_for() {
        let of = |escaped_slashes| Normalization {
            escaped_slashes,
            ..Normalization::default()
        };
        for (how, path, expected) in [
            (EscapedSlashes::Keep, "/a%2Fb", Normalized::Same),
            (
                EscapedSlashes::Reject,
                "/a%2Fb?c",
                Normalized::Refused(Some("/a/b?c".to_owned())),
            ),
            (EscapedSlashes::Reject, "/a%20b?%2f", Normalized::Same),
            (
                EscapedSlashes::Unescape,
                "/a%2fb%5Cc?%2f",
                Normalized::Changed("/a/b\\c?%2f".to_owned()),
            ),
            (
                EscapedSlashes::Redirect,
                "/a%2f%2",
                Normalized::Redirect("/a/%2".to_owned()),
            ),
            (EscapedSlashes::Redirect, "/a/b", Normalized::Same),
        ] {
            assert_eq!(of(how).apply(path), expected, "{how:?} {path}");
        }
    }
}
