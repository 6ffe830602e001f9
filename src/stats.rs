//! The statistics of comparison. Pure.

pub mod histogram;
pub mod holm;
pub mod mcnemar;
pub mod proportion;
pub mod quantile;

#[cfg(test)]
mod vectors {
    use std::path::PathBuf;

    use serde_json::Value;

    /// A group of the shared statistics vectors; `None` where they are absent.
    fn group(name: &str) -> Option<Vec<Value>> {
        let shared = std::env::var_os("MESHBED_SHARED").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")),
            PathBuf::from,
        );
        let Ok(text) = std::fs::read(shared.join("corpus/vectors/stats_vectors.json")) else {
            eprintln!("absent: the shared statistics vectors");
            return None;
        };
        let vectors: Value = serde_json::from_slice(&text).unwrap();
        let group = vectors
            .get(name)
            .unwrap_or_else(|| panic!("no group {name}"));
        let cases = group
            .get("cases")
            .unwrap_or(group)
            .as_array()
            .unwrap()
            .clone();
        assert!(!cases.is_empty(), "nothing to compare in {name}");
        Some(cases)
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|number| number.as_f64().unwrap())
            .collect()
    }

    #[test]
    fn mcnemar_agrees_with_the_vectors() {
        for case in group("response_diff_noise").into_iter().flatten() {
            let count = |name: &str| case[name].as_u64().unwrap();
            let p = super::mcnemar::one_sided(
                count("only_candidate_differs"),
                count("only_secondary_differs"),
            );
            let expected = case["mcnemar_exact_one_sided_p"].as_f64().unwrap();
            assert!((p - expected).abs() <= 1e-9 * expected, "{case}: {p}");
        }
    }

    #[test]
    fn holm_agrees_with_the_vectors() {
        for case in group("multiple_testing").into_iter().flatten() {
            let (adjusted, expected) = (
                super::holm::adjust(&numbers(&case["p"])),
                numbers(&case["holm"]),
            );
            assert_eq!(adjusted.len(), expected.len());
            assert!(
                adjusted
                    .iter()
                    .zip(&expected)
                    .all(|(x, y)| (x - y).abs() < 1e-12),
                "{case}: {adjusted:?}"
            );
        }
    }
}
