//! The statistics of comparison. Pure.

pub mod benjamini_hochberg;
pub mod blocks;
pub mod histogram;
pub mod holm;
pub mod ks;
pub mod margins;
pub mod mcnemar;
pub mod paired;
pub mod proportion;
pub mod quantile;
pub mod student;

#[cfg(test)]
mod vectors {
    use std::path::PathBuf;

    use serde_json::Value;

    /// The file of the shared statistics vectors; `None` where it is absent.
    fn shared() -> Option<PathBuf> {
        let shared = std::env::var_os("MESHBED_SHARED").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")),
            PathBuf::from,
        );
        let path = shared.join("corpus/vectors/stats_vectors.json");
        if !path.exists() {
            eprintln!("absent: the shared statistics vectors");
            return None;
        }
        Some(path)
    }

    /// The shared statistics vectors; `None` where they are absent.
    pub(super) fn all() -> Option<Value> {
        let text = std::fs::read(shared()?).unwrap();
        Some(serde_json::from_slice(&text).unwrap())
    }

    /// A group of the shared statistics vectors; `None` where they are absent.
    pub(super) fn group(name: &str) -> Option<Vec<Value>> {
        let vectors = all()?;
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

    pub(super) fn numbers(value: &Value) -> Vec<f64> {
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
    fn ks_agrees_with_the_vectors() {
        let Some(cases) = group("two_sample") else {
            return;
        };
        let vectors = all().unwrap();
        let mut compared = 0;
        for case in cases.iter().filter(|case| case["n"] == case["m"]) {
            let sample = |side: &str| numbers(&vectors["samples"][case[side].as_str().unwrap()]);
            let apart = super::ks::equal_sizes(&sample("x"), &sample("y")).unwrap();
            let expected = &case["ks_2samp_exact"];
            let (d, p) = (expected["D"].as_f64(), expected["p"].as_f64());
            let (Some(d), Some(p)) = (d, p) else { continue };
            assert!((apart.d - d).abs() <= 1e-12, "{case}: {apart:?}");
            assert!((apart.p - p).abs() <= 1e-9 * p, "{case}: {apart:?}");
            compared += 1;
        }
        assert!(compared > 0, "nothing to compare");
    }

    #[test]
    fn adjustments_agree_with_the_vectors() {
        for case in group("multiple_testing").into_iter().flatten() {
            let p = numbers(&case["p"]);
            for (name, adjusted) in [
                ("holm", super::holm::adjust(&p)),
                ("bh", super::benjamini_hochberg::adjust(&p)),
            ] {
                let expected = numbers(&case[name]);
                assert_eq!(adjusted.len(), expected.len());
                assert!(
                    adjusted
                        .iter()
                        .zip(&expected)
                        .all(|(x, y)| (x - y).abs() < 1e-12),
                    "{case}: {name} {adjusted:?}"
                );
            }
        }
    }

    #[test]
    fn quantile_intervals_agree_with_the_vectors() {
        use super::quantile::Quantile;
        for case in group("quantile_ci_ranks").into_iter().flatten() {
            let percent = case["q"].as_f64().unwrap() * 100.0;
            let text = format!("{percent:.2}");
            let quantile =
                Quantile::parse(text.trim_end_matches('0').trim_end_matches('.')).unwrap();
            let n = case["n"].as_u64().unwrap();
            let expected = (case["rank_lo"].as_u64(), case["rank_hi"].as_u64());
            assert_eq!(quantile.interval_ranks(n), expected, "{case}");
            assert_eq!(
                Some(quantile.rank(n)),
                case["point_rank"].as_u64(),
                "{case}"
            );
        }
    }

    #[test]
    fn shares_agree_with_the_vectors() {
        for case in group("proportions").into_iter().flatten() {
            for side in ["1", "2"] {
                let of = |name: &str| case[format!("{name}{side}")].as_u64().unwrap();
                let (low, high) = super::proportion::wilson(of("x"), of("n"));
                let expected = numbers(&case[format!("wilson{side}")]);
                assert!(
                    (low - expected[0]).abs() < 1e-12 && (high - expected[1]).abs() < 1e-12,
                    "{case}: {low} {high}"
                );
            }
        }
    }

    #[test]
    fn differences_of_shares_agree_with_the_vectors() {
        for case in group("proportions").into_iter().flatten() {
            let of = |name: &str| case[name].as_u64().unwrap();
            let (low, high) =
                super::proportion::newcombe((of("x1"), of("n1")), (of("x2"), of("n2")));
            let expected = numbers(&case["newcombe_diff"]["ci"]);
            assert!(
                (low - expected[0]).abs() < 1e-12 && (high - expected[1]).abs() < 1e-12,
                "{case}: {low} {high}"
            );
        }
    }

    #[test]
    fn student_agrees_with_the_vectors() {
        let Some(path) = shared() else {
            return;
        };
        let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let rows = vectors["primitives"]["student_t_ppf"].as_array().unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            for p in ["0.95", "0.975", "0.995"] {
                let value =
                    super::student::quantile(p.parse().unwrap(), row["df"].as_f64().unwrap());
                let expected = row[p].as_f64().unwrap();
                assert!((value / expected - 1.0).abs() < 1e-9, "{row} {p}: {value}");
            }
        }
    }

    #[test]
    fn histograms_agree_with_the_vectors() {
        use super::{
            histogram::{Histogram, bounds_of, bucket_of},
            quantile::Quantile,
        };
        let Some(path) = shared() else {
            return;
        };
        let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let rows = vectors["hdr"]["equivalent_values_1_to_3.6e9_sig3"]
            .as_array()
            .unwrap();
        assert!(!rows.is_empty());
        for row in rows {
            let of = |name: &str| row[name].as_u64().unwrap();
            let bounds = bounds_of(bucket_of(of("value")));
            assert_eq!(
                bounds,
                (of("lowest_equivalent"), of("highest_equivalent")),
                "{row}"
            );
        }
        for name in ["lat_base", "lat_tail"] {
            let mut histogram = Histogram::default();
            for value in vectors["samples"][name].as_array().unwrap() {
                histogram.record(value.as_u64().unwrap());
            }
            let expected = &vectors["hdr"][name];
            for percentile in ["10", "25", "50", "75", "90", "95", "99", "99.9"] {
                let value = histogram.quantile(Quantile::parse(percentile).unwrap());
                assert_eq!(
                    value,
                    expected["values"][percentile].as_u64(),
                    "{name} p{percentile}"
                );
            }
            assert_eq!(histogram.max(), expected["values"]["100"].as_u64());
            let mean = expected["mean"].as_f64().unwrap();
            assert!(
                (histogram.mean().unwrap() - mean).abs() < 1e-6 * mean,
                "{name}"
            );
        }
    }
}
