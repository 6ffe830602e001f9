//! Path templates: `/shop/{item}/{rest=**}`. `*` is one segment, `**` any number of them, `{name}` a segment with a name.

use std::fmt::Write as _;

/// What a segment is made of (RFC 3986 §3.3).
const SEGMENT: &str = r"[a-zA-Z0-9\-._~%!$&'()+,;:@]+";
const SEGMENTS: &str = r"[a-zA-Z0-9\-._~%!$&'()+,;:@/]*";

/// A template that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The expression that the whole path must match; its groups are the variables.
    pub expression: String,
    /// The variables' names, by group, from group 1.
    pub variables: Vec<String>,
}

impl Template {
    /// Reads a template that paths are held against.
    pub fn read(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is not a path template: {why}");
        let path = text
            .strip_prefix('/')
            .ok_or_else(|| wrong("it must begin with `/`"))?;
        let mut template = Self {
            expression: String::new(),
            variables: Vec::new(),
        };
        for segment in segments(path) {
            template.expression.push('/');
            match segment
                .strip_prefix('{')
                .map(|inner| inner.strip_suffix('}'))
            {
                None => template.expression += &pattern(segment).map_err(|why| wrong(&why))?,
                Some(None) => return Err(wrong("a variable is a whole segment")),
                Some(Some(variable)) => template.variable(variable).map_err(|why| wrong(&why))?,
            }
        }
        Ok(template)
    }

    fn variable(&mut self, text: &str) -> Result<(), String> {
        let (name, inner) = text.split_once('=').unwrap_or((text, "*"));
        let plain = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_alphabetic())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if !plain(name) {
            return Err(format!("`{name}` is not the name of a variable"));
        }
        if self.variables.iter().any(|known| known == name) {
            return Err(format!("the variable `{name}` is there twice"));
        }
        let inner: Vec<_> = inner.split('/').map(pattern).collect::<Result<_, _>>()?;
        let _ = write!(self.expression, "({})", inner.join("/"));
        self.variables.push(name.to_owned());
        Ok(())
    }

    /// A rewrite such as `/{rest}/{item}`, as a substitution with `\1` for the first variable.
    pub fn substitution(&self, rewrite: &str) -> Result<String, String> {
        if !rewrite.starts_with('/') {
            return Err(format!("`{rewrite}` must begin with `/`"));
        }
        let mut made = String::new();
        let mut rest = rewrite;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| format!("`{rewrite}` has a `{{` without its `}}`"))?;
            let group = self.variables.iter().position(|known| known == name);
            let group =
                group.ok_or_else(|| format!("the path template has no variable `{name}`"))?;
            let _ = write!(made, "{before}\\{}", group + 1);
            rest = after;
        }
        made.push_str(rest);
        Ok(made)
    }
}

/// At slashes outside of braces.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    path.split(move |character| {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        character == '/' && depth == 0
    })
}

fn pattern(segment: &str) -> Result<String, String> {
    match segment {
        "*" => Ok(SEGMENT.to_owned()),
        "**" => Ok(SEGMENTS.to_owned()),
        _ if segment.contains(['*', '{', '}']) => Err(format!(
            "`{segment}` is neither a text nor `*`, `**` or `{{name}}`"
        )),
        text => Ok(regex::escape(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_matches_and_names_its_parts() {
        let template = Template::read("/t/{a}/*/{b=x/**}").unwrap();
        assert_eq!(template.variables, ["a", "b"]);
        let regex = regex::Regex::new(&format!("^{}$", template.expression)).unwrap();
        for (path, expected) in [
            ("/t/1/y/x/2/3", Some(("1", "x/2/3"))),
            ("/t/1/y/x/", Some(("1", "x/"))),
            ("/t/1/y/x", None),
            ("/t//y/x/2", None),
            ("/t/1/y/z/2", None),
        ] {
            let got = regex.captures(path);
            let got = got
                .as_ref()
                .map(|it| (it.get(1).unwrap().as_str(), it.get(2).unwrap().as_str()));
            assert_eq!(got, expected, "{path}");
        }
        assert_eq!(
            template.substitution("/{b}-{a}/z"),
            Ok(r"/\2-\1/z".to_owned())
        );
        assert_eq!(
            template.substitution("/{c}"),
            Err("the path template has no variable `c`".to_owned())
        );
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["a/b", "/{a", "/{a}b", "/{}", "/{a}/{a}", "/a*", "/{1}"] {
            assert!(Template::read(text).is_err(), "{text}");
        }
    }
}
