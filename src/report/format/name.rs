//! Names of whatever length a service gives its fields, at a length that people read.

use std::borrow::Cow;

use crate::shadow::sha256;

/// Bytes of a name that is shown whole: longer than those that people write, even of deep fields.
const WHOLE: usize = 256;

/// Bytes that are shown of a longer one.
const SHOWN: usize = 120;

/// Hex digits that tell longer ones apart.
const DIGITS: usize = 12;

/// A name as it is, or its beginning with its length and what tells it from others that begin alike.
pub fn name(name: &str) -> Cow<'_, str> {
    if name.len() <= WHOLE {
        return name.into();
    }
    let (shown, _) = name.split_at(name.floor_char_boundary(SHOWN));
    let sum = sha256(name.as_bytes());
    let sum = sum.get(..DIGITS).unwrap_or(&sum);
    format!("{shown}… ({} bytes, sha256 {sum})", name.len()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_and_stays_unlike_any_other() {
        let short = format!("$.{}", "é".repeat(127));
        assert_eq!(name(&short), short);
        let long = |end: &str| format!("$.a{}{end}", "é".repeat(50_000));
        let cut = name(&long("1")).into_owned();
        let shown = format!("$.a{}… (100004 bytes, sha256 ", "é".repeat(58));
        assert!(cut.starts_with(&shown), "{cut}");
        assert_eq!(cut.len(), shown.len() + DIGITS + 1);
        assert_ne!(cut, name(&long("2")));
    }
}
