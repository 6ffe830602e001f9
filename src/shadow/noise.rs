//! What differs by itself and what the candidate brought: counts per endpoint, field and kind, tested against the
//! control.
//!
//! Of the pairs compared on a field's endpoint, `b` differ between primary and candidate only, `c` between primary and
//! control only, `both` in both. If the candidate were like the control, `b` would be a fair coin's share of `b + c`
//! (McNemar). The p-values of all fields of a run that no rule ignores are adjusted together (Holm).
//!
//! A field is **material** when the share it adds, `(b − c) / total`, is at least `min_effect` and its adjusted p at
//! most `alpha`; or when its kind is structural, `b` is at least [`MIN_STRUCTURAL`], and either the control never
//! differed there or the adjusted p is at most `alpha`. What is neither material nor ignored is noise.

use serde::{Deserialize, Serialize};

use super::Kind;
use crate::stats::{benjamini_hochberg, holm, mcnemar};

/// The fewest pairs in which a structural difference is called where the control never differed: five heads in a row
/// are the first that a test at 5 % would call (p = 0.031).
pub const MIN_STRUCTURAL: u64 = 5;

/// When a difference is material.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// The largest adjusted p that counts.
    pub alpha: f64,
    /// The smallest share of pairs that counts, as a fraction.
    pub min_effect: f64,
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            min_effect: 0.001,
        }
    }
}

/// How often the answers of a run differ in one field. Without a control `c` and `both` are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// How they differ.
    pub kind: Kind,
    /// A rule says not to look: it gets its p, and is no part of the family that is adjusted for.
    pub ignored: bool,
    /// There is no control, and every answer has another value of a form that is made for one answer, such as a UUID.
    pub learnt: bool,
    /// Pairs in which only the candidate differs.
    pub b: u64,
    /// Pairs in which only the control differs.
    pub c: u64,
    /// Pairs in which both do.
    pub both: u64,
    /// Pairs compared on this endpoint.
    pub total: u64,
}

/// What a field's differences amount to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// Exact one-sided McNemar: P(Bin(b + c, ½) ≥ b).
    pub p: f64,
    /// Holm over the fields that no rule ignores; of an ignored field, `p`.
    pub p_adjusted: f64,
    /// Benjamini and Hochberg over the same: where it stands among them, for looking through them.
    pub q: f64,
    /// What it counts as.
    pub class: Class,
}

/// What a difference counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// More than the control shows by itself.
    Material,
    /// Not more than that.
    Noise,
    /// A rule says so.
    Ignored,
}

/// Judges the fields of one candidate's run together, in their order.
pub fn judge(fields: &[Counted], noise: Noise) -> Vec<Verdict> {
    let tested = fields.iter().filter(|field| !field.ignored);
    let tested: Vec<f64> = tested.map(Counted::p).collect();
    let ranks = benjamini_hochberg::adjust(&tested);
    let mut adjusted = holm::adjust(&tested).into_iter().zip(ranks);
    let verdict = |field: &Counted| {
        let p = field.p();
        if field.ignored {
            return Verdict {
                p,
                p_adjusted: p,
                q: p,
                class: Class::Ignored,
            };
        }
        let (p_adjusted, q) = adjusted.next().unwrap_or((1.0, 1.0));
        let class = if !field.learnt && field.is_material(p_adjusted, noise) {
            Class::Material
        } else {
            Class::Noise
        };
        Verdict {
            p,
            p_adjusted,
            q,
            class,
        }
    };
    fields.iter().map(verdict).collect()
}

impl Counted {
    fn p(&self) -> f64 {
        mcnemar::one_sided(self.b, self.c)
    }

    fn is_material(&self, p_adjusted: f64, noise: Noise) -> bool {
        let significant = p_adjusted <= noise.alpha;
        let added = self.b.saturating_sub(self.c);
        let effect = added as f64 / self.total.max(1) as f64;
        let undisturbed = self.c == 0 && self.both == 0;
        let structural =
            self.kind.is_structural() && self.b >= MIN_STRUCTURAL && (undisturbed || significant);
        structural || (significant && added > 0 && effect >= noise.min_effect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(kind: Kind, b: u64, c: u64, both: u64, total: u64) -> Counted {
        Counted {
            kind,
            ignored: false,
            learnt: false,
            b,
            c,
            both,
            total,
        }
    }

    fn class(field: Counted) -> Class {
        judge(&[field], Noise::default())[0].class
    }

    #[test]
    fn fields_are_judged_against_the_control() {
        use Class::{Material, Noise};
        for (why, kind, [b, c, both, total], expected) in [
            ("one stray difference", Kind::Value, [1, 0, 0, 1_000], Noise),
            (
                "a regression in a noisy field",
                Kind::Value,
                [400, 100, 900, 2_000],
                Material,
            ),
            ("a random id", Kind::Value, [0, 0, 1_000, 1_000], Noise),
            (
                "coin-flip noise",
                Kind::Value,
                [250, 250, 250, 1_000],
                Noise,
            ),
            (
                "1.2 % lost a field",
                Kind::Missing,
                [12, 0, 0, 1_000],
                Material,
            ),
            (
                "0.04 % of values: real, but less than 0.1 %",
                Kind::Value,
                [40, 0, 0, 100_000],
                Noise,
            ),
            (
                "0.04 % lost a field",
                Kind::Missing,
                [40, 0, 0, 100_000],
                Material,
            ),
            ("five lost a field", Kind::Missing, [5, 0, 0, 500], Material),
            (
                "five of another status",
                Kind::Status,
                [5, 0, 0, 500],
                Material,
            ),
            ("five of another value", Kind::Value, [5, 0, 0, 500], Noise),
            ("four lost a field", Kind::Missing, [4, 0, 0, 500], Noise),
            (
                "a field that comes and goes",
                Kind::Missing,
                [20, 20, 10, 500],
                Noise,
            ),
            (
                "a field that the control loses too",
                Kind::Missing,
                [5, 0, 300, 500],
                Noise,
            ),
            (
                "the control differs more",
                Kind::Missing,
                [5, 50, 0, 500],
                Noise,
            ),
            (
                "a noisy field, 0.2 % more",
                Kind::Value,
                [5_200, 5_000, 5_000, 100_000],
                Noise,
            ),
        ] {
            assert_eq!(class(counted(kind, b, c, both, total)), expected, "{why}");
        }
    }

    #[test]
    fn ignored_fields_are_no_part_of_the_family() {
        let field = counted(Kind::Value, 8, 0, 0, 100);
        let ignored = Counted {
            ignored: true,
            ..field
        };
        let alone = judge(&[field], Noise::default());
        let beside = judge(&[ignored, field, ignored], Noise::default());
        assert_eq!(alone[0], beside[1]);
        assert_eq!(
            (alone[0].p, alone[0].class),
            (0.003_906_25, Class::Material)
        );
        assert_eq!(
            (beside[0].p, beside[0].class),
            (0.003_906_25, Class::Ignored)
        );
    }

    #[test]
    fn without_a_control_what_looks_made_for_one_answer_is_noise() {
        let field = Counted {
            learnt: true,
            ..counted(Kind::Value, 500, 0, 0, 500)
        };
        assert_eq!(class(field), Class::Noise);
    }

    #[test]
    fn many_fields_raise_the_bar() {
        // 2^-8 is below 1 % by itself, three times that is not.
        let field = counted(Kind::Value, 8, 0, 0, 100);
        let verdicts = judge(&[field; 3], Noise::default());
        assert!(
            verdicts.iter().all(|verdict| verdict.class == Class::Noise),
            "{verdicts:?}"
        );
        assert!(
            verdicts
                .iter()
                .all(|verdict| (verdict.p_adjusted - 0.011_718_75).abs() < 1e-12)
        );
        // For looking through them, equals have the rank of the last.
        let q = verdicts.iter().map(|verdict| verdict.q);
        assert!(q.into_iter().all(|q| (q - 0.003_906_25).abs() < 1e-12));
    }
}
