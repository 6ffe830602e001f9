//! How fast a shadow is beside its primary: both answers to the same requests, in blocks of a few seconds.

use super::{Measured, Window};
use crate::{
    event::{Id, Micros},
    stats::paired::{self, Called, Change, GATES, MOST_BLOCKS, Pair},
};

/// The shortest block: what happens within it happens to all of its requests.
const BLOCK_US: Micros = 3 * SECOND_US;

const SECOND_US: Micros = 1_000_000;

/// Fewer pairs are no block: a window's end, or traffic that has hardly begun.
const LEAST_PAIRS: u64 = 20;

/// No more than one copy in so many may be lost.
const MOST_LOST: u64 = 100;

/// What a shadow's speed comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Speed {
    /// There is enough to judge by.
    Judged(Vec<Change>),
    /// There is not.
    Insufficient {
        /// Blocks with pairs.
        blocks: usize,
        /// Pairs in them.
        pairs: u64,
    },
    /// The control, which is the primary's equal, is slower or faster itself: nothing can be said of the candidate.
    Invalid(Vec<Change>),
    /// So many copies were not sent, or not answered in full. The slowest may be among them: those that were say too little.
    Lost {
        /// Not sent, or not answered in full.
        lost: u64,
        /// Of so many that were chosen.
        chosen: u64,
    },
}

/// Fewest blocks that a verdict is called from.
pub fn least_blocks() -> usize {
    paired::least_blocks(GATES.len())
}

/// Blocks of at least three whole seconds that these windows are cut into: a dozen at most, so that longer windows have
/// longer ones. What is shorter than a block is left out.
pub fn blocks(windows: &[Window]) -> Vec<Window> {
    let whole: Micros = windows.iter().map(Window::length_us).sum();
    let length = whole.div_ceil(MOST_BLOCKS as Micros);
    let length = length.next_multiple_of(SECOND_US).max(BLOCK_US);
    let cut = |window: &Window| {
        let (begin, whole) = (window.begin_us, window.length_us());
        let count = whole / length;
        (0..count).map(move |number| Window {
            begin_us: begin + whole * number / count,
            end_us: begin + whole * (number + 1) / count,
        })
    };
    windows.iter().flat_map(cut).collect()
}

impl Measured {
    /// How fast a shadow answers, beside its primary, over these windows.
    pub fn speed(&self, shadow: &Id, windows: &[Window]) -> Speed {
        let shadows = self.shadows();
        let mut pairs = Vec::new();
        let mut noise = Vec::new();
        let control = shadows.control_of(shadow);
        let is_enough = |pair: &Pair| pair.baseline.count() >= LEAST_PAIRS;
        for block in blocks(windows) {
            let pair = shadows.times(shadow, block);
            let own = control.map(|control| shadows.times(control, block));
            if is_enough(&pair) && own.as_ref().is_none_or(is_enough) {
                pairs.push(pair);
                noise.extend(own);
            }
        }
        let control = control.map(|_| noise.as_slice());
        let margins = &self.setup.margins;
        let own = control.map(|control| paired::judge(control, None, margins));
        let (Some(changes), None | Some(Some(_))) = (paired::judge(&pairs, control, margins), &own)
        else {
            let least = |pairs: &[Pair]| pairs.iter().map(Pair::count).sum::<u64>();
            return Speed::Insufficient {
                blocks: pairs.len(),
                pairs: least(&pairs).min(control.map_or(u64::MAX, least)),
            };
        };
        let all = shadows.over(shadow, windows);
        let lost = all.shed.values().chain(all.failed.values()).sum::<u64>();
        if lost * MOST_LOST > all.chosen {
            let chosen = all.chosen;
            return Speed::Lost { lost, chosen };
        }
        match own.flatten() {
            Some(own) if apart(&own) => Speed::Invalid(own),
            _ => Speed::Judged(changes),
        }
    }
}

/// They are slower or faster.
fn apart(changes: &[Change]) -> bool {
    matches!(
        paired::overall(changes),
        Some(Called::Regressed | Called::Improved)
    )
}

impl Speed {
    /// The verdict; `None`: it is open.
    pub fn called(&self) -> Option<Called> {
        match self {
            Self::Judged(changes) => paired::overall(changes),
            Self::Insufficient { .. } | Self::Invalid(_) | Self::Lost { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::{
        event::{MirrorOutcome, RunEvent},
        measure::fixture::{setup, timed},
    };

    fn window(begin_s: u64, end_s: u64) -> Window {
        Window {
            begin_us: begin_s * 1_000_000,
            end_us: end_s * 1_000_000,
        }
    }

    #[test]
    fn windows_are_cut_into_a_dozen_blocks_of_three_seconds_or_more() {
        assert_eq!(blocks(&[window(0, 2)]), []);
        assert_eq!(blocks(&[window(2, 8)]), [window(2, 5), window(5, 8)]);
        assert_eq!(blocks(&[window(0, 36)]).len(), 12);
        // A twelfth of 53 s is more than 4 s.
        let two = blocks(&[window(0, 20), window(20, 53)]);
        assert_eq!(
            (two.len(), two[0], two[9].end_us),
            (10, window(0, 5), 53_000_000)
        );
        let long = blocks(&[window(0, 3_600)]);
        assert_eq!((long.len(), long[0]), (12, window(0, 300)));
        assert_eq!(blocks(&[]), []);
        assert_eq!(blocks(&[window(0, 3); 13]), []);
    }

    /// 30 s at 100 pairs a second; each side takes so long, but for the same jitter.
    fn measured(candidate_us: u64, control_us: u64) -> Measured {
        measured_by(candidate_us, |_| Some(control_us))
    }

    fn measured_by(candidate_us: u64, control_us: impl Fn(u64) -> Option<u64>) -> Measured {
        let mut setup = setup();
        for (_, phase, _) in &mut setup.phases {
            phase.end_us = phase.end_us.max(31_000_000);
        }
        let mut measured = Measured::new(setup);
        for ordinal in 0..3_000 {
            let jitter = ordinal * 7_919 % 300;
            let at_ms = 1_000 + 10 * ordinal as u32;
            let sides = [
                ("candidate", Some(candidate_us)),
                ("control", control_us(ordinal)),
            ];
            for (shadow, us) in sides {
                let Some(us) = us else { continue };
                measured.add(&timed(
                    shadow,
                    ordinal,
                    at_ms,
                    (10_000 + jitter, us + jitter),
                ));
            }
        }
        measured
    }

    #[test]
    fn a_shadow_is_slower_the_same_or_faster() {
        for (us, expected) in [
            (12_000, Called::Regressed),
            (10_100, Called::Same),
            (8_000, Called::Improved),
        ] {
            let speed = measured(us, 10_000).speed(&"candidate".into(), &[window(1, 31)]);
            assert_eq!(speed.called(), Some(expected), "{speed:?}");
        }
    }

    #[test]
    fn too_short_a_window_says_nothing() {
        let measured = measured(20_000, 10_000);
        let speed = measured.speed(&"candidate".into(), &[window(1, 19)]);
        let few = Speed::Insufficient {
            blocks: 6,
            pairs: 1_800,
        };
        assert_eq!(speed, few);
        assert_eq!(speed.called(), None);
        assert_eq!(least_blocks(), 7);
    }

    #[test]
    fn a_control_with_too_few_answers_leaves_it_open() {
        let mut measured = measured_by(20_000, |ordinal| (ordinal % 4 == 0).then_some(10_000));
        let (shadow, windows) = ("candidate".into(), [window(1, 31)]);
        let few = Speed::Insufficient {
            blocks: 10,
            pairs: 750,
        };
        assert_eq!(measured.speed(&shadow, &windows), few);
        measured = measured_by(20_000, |_| None);
        let none = Speed::Insufficient {
            blocks: 0,
            pairs: 0,
        };
        assert_eq!(measured.speed(&shadow, &windows), none);
    }

    #[test]
    fn copies_that_are_lost_leave_it_open() {
        let mut measured = measured(10_000, 10_000);
        let (shadow, windows) = ("candidate".into(), [window(1, 31)]);
        for lost in 1..=31 {
            let at_ms = 1_000 + 900 * lost as u32;
            let RunEvent::Mirror(mirror) =
                timed("candidate", 3_000 + lost, at_ms, (10_000, 10_000))
            else {
                unreachable!();
            };
            let mut mirror = Arc::unwrap_or_clone(mirror);
            mirror.outcome = MirrorOutcome::Failed;
            mirror.why = Some("timeout".into());
            measured.add(&RunEvent::Mirror(Arc::new(mirror)));
            if lost == 30 {
                let speed = measured.speed(&shadow, &windows);
                assert_eq!(speed.called(), Some(Called::Same));
            }
        }
        let lost = Speed::Lost {
            lost: 31,
            chosen: 3_031,
        };
        assert_eq!(measured.speed(&shadow, &windows), lost);
    }

    #[test]
    fn a_control_that_is_slower_or_faster_itself_leaves_it_open() {
        let windows = [window(1, 31)];
        let faster = measured(8_000, 5_000).speed(&"candidate".into(), &windows);
        assert!(matches!(faster, Speed::Invalid(_)), "{faster:?}");
        let measured = measured(20_000, 15_000);
        let speed = measured.speed(&"candidate".into(), &windows);
        assert!(matches!(speed, Speed::Invalid(_)), "{speed:?}");
        // By itself the control is like any shadow.
        let control = measured.speed(&"control".into(), &windows);
        assert_eq!(control.called(), Some(Called::Regressed));
    }
}
