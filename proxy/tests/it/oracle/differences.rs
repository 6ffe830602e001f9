//! The reviewed list of deliberate differences from Envoy. It is held against the table, and the manual against it.

use std::{env, fs, path::Path};

use serde::Deserialize;

/// A difference.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Difference {
    /// What differs.
    what: String,
    /// Why it does.
    why: String,
    /// The row of the table that shows it; `None`: no row can.
    pub(super) row: Option<String>,
    /// What of the row's answer differs.
    #[serde(default)]
    pub(super) fields: Vec<String>,
    /// Status, body, flags and details of our answer.
    #[serde(default)]
    pub(super) ours: Vec<String>,
    /// What the manual says of it, in its own words.
    manual: String,
}

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The list.
pub(super) fn read() -> Vec<Difference> {
    serde_json::from_str(&file("tests/differences.json")).unwrap()
}

const BEGIN: &str =
    "<!-- differences: made from tests/differences.json, see tests/it/oracle/differences.rs -->\n";
const END: &str = "<!-- end of differences -->";

#[test]
fn the_manual_announces_every_difference() {
    let manual = file("README.md");
    let (before, rest) = manual.split_once(BEGIN).unwrap();
    let (told, after) = rest.split_once(END).unwrap();
    // Line breaks are where they happen to be. What the list itself has put there announces nothing.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let own = words(&format!("{before}\n{after}"));
    for it in read() {
        assert!(
            own.contains(&words(&it.manual)),
            "the manual does not say `{}`",
            it.manual
        );
        assert_eq!(it.row.is_some(), !it.fields.is_empty(), "{}", it.what);
        assert_eq!(it.row.is_some(), it.ours.len() == 4, "{}", it.what);
        assert!(!it.why.is_empty(), "{}", it.what);
    }
    let mut lines = String::new();
    for it in read() {
        lines += &format!("- {}: {}.\n", it.what, it.why);
    }
    if env::var_os("MESHBED_BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        fs::write(path, format!("{before}{BEGIN}{lines}{END}{after}")).unwrap();
    } else {
        assert_eq!(told, lines, "MESHBED_BLESS=1 writes it anew");
    }
}
