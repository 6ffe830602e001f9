//! Benjamini and Hochberg's step-up adjustment: a ranking of many tests, for looking through them.

/// Adjusted p-values, in the order of `p`: of the tests up to one of value q, a share of at most q are false alarms, in
/// the long run. Nothing is called by it; for that one false alarm must be unlikely at all ([`super::holm`]).
pub fn adjust(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = p.iter().copied().enumerate().collect();
    order.sort_by(|(_, x), (_, y)| x.total_cmp(y));
    let mut adjusted = vec![1.0; p.len()];
    let mut least: f64 = 1.0;
    for (rank, (place, p)) in order.into_iter().enumerate().rev() {
        least = least.min(p * adjusted.len() as f64 / (rank + 1) as f64);
        if let Some(slot) = adjusted.get_mut(place) {
            *slot = least;
        }
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_p_is_multiplied_by_the_tests_and_divided_by_its_rank() {
        let cases: [(&[f64], &[f64]); 4] = [
            (&[], &[]),
            (&[0.2], &[0.2]),
            // 0.02 · 5/3, and 0.04 · 5/4.
            (
                &[0.04, 0.001, 0.3, 0.01, 0.02],
                &[0.05, 0.005, 0.3, 0.025, 0.1 / 3.0],
            ),
            // The smaller is never above the larger.
            (&[0.03, 0.031], &[0.031, 0.031]),
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
}
