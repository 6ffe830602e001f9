//! Holm's step-down adjustment for many tests.

/// Adjusted p-values, in the order of `p`: the chance of even one false alarm among those called stays below the level
/// they are called at.
pub fn adjust(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = p.iter().copied().enumerate().collect();
    order.sort_by(|(_, x), (_, y)| x.total_cmp(y));
    let mut adjusted = vec![1.0; p.len()];
    let mut largest: f64 = 0.0;
    for (rank, (place, p)) in order.into_iter().enumerate() {
        let left = adjusted.len() - rank;
        largest = largest.max((p * left as f64).min(1.0));
        if let Some(slot) = adjusted.get_mut(place) {
            *slot = largest;
        }
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_p_is_multiplied_by_the_tests_left() {
        let cases: [(&[f64], &[f64]); 4] = [
            (&[], &[]),
            (&[0.2], &[0.2]),
            (
                &[0.04, 0.001, 0.3, 0.01, 0.02],
                &[0.08, 0.005, 0.3, 0.04, 0.06],
            ),
            (&[0.05, 0.05, 0.05], &[0.15, 0.15, 0.15]),
        ];
        for (p, expected) in cases {
            let adjusted = adjust(p);
            assert_eq!(adjusted.len(), expected.len());
            assert!(
                adjusted
                    .iter()
                    .zip(expected)
                    .all(|(x, y)| (x - y).abs() < 1e-12),
                "{adjusted:?}"
            );
        }
    }

    #[test]
    fn an_adjusted_p_never_exceeds_one() {
        assert_eq!(adjust(&[0.9, 0.8]), [1.0, 1.0]);
    }
}
