//! Two runs, side by side. One run a side can raise a suspicion and no more: what changed between them is confounded with
//! whatever else changed in the time between. Pure: the same bundles give the same verdict.
//!
//! A row is *suspect* only if all of these hold: its estimate is at least the margin and the absolute floor, its 95 %
//! interval excludes no change, and so does an interval wide enough for all rows of the comparison together. It is
//! *same* if its 95 % interval lies within the margin. A comparison without a suspect row says so only where a change by a
//! quarter would have been seen, or by the margin where that is more; else it is inconclusive.

use std::collections::BTreeSet;

use meshbed_proxy::draw::Seed;
use serde::Serialize;

use crate::{
    event::RunState,
    measure::Kind,
    report::{Report, run::Run},
    stats::{
        blocks::Blocks,
        histogram::Histogram,
        margins::Margins,
        proportion,
        quantile::{ALPHA, Quantile},
        student,
    },
};

pub mod html;
pub mod json;
pub mod junit;
mod margins;
pub mod text;

/// Drawn runs behind an interval.
const DRAWS: u32 = 2000;
/// Fewer blocks say nothing of how a run varies.
const LEAST_BLOCKS: usize = 5;
/// Offered rates that differ by less are the same.
const RATE: f64 = 0.01;

/// Other programs that use more of the processors than this move every latency. Measured on two cores with 80 % gone: of
/// six runs of one scenario, two answered a thousand times slower than the rest.
const OTHERS: f64 = 0.6;

/// A quantile that is judged: name, share, margin, absolute floor in µs.
type Judged = (&'static str, Quantile, fn(&Margins) -> f64, f64);

/// Quantiles that are judged.
const QUANTILES: [Judged; 3] = [
    ("p50", Quantile::P50, |margins| margins.p50, 200.0),
    ("p90", Quantile::P90, |margins| margins.p90, 200.0),
    ("p99", Quantile::P99, |margins| margins.p99, 1000.0),
];
/// Samples a side that the quantiles above need.
const LEAST_SAMPLES: [u64; 3] = [100, 100, 1000];
/// Share of real changes that a detectable one is called in.
const POWER: f64 = 0.8;
/// A comparison that would not have seen a change of this size, or of its margin where that is more, has not shown that
/// there is none.
const COARSE: f64 = 0.25;
/// Margin and floor of the share of errors.
const ERROR_MARGIN: f64 = 0.001;
const ERROR_FLOOR: u64 = 5;

/// A run against another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Version of this form.
    pub schema: u32,
    /// The first.
    pub a: Side,
    /// The second.
    pub b: Side,
    /// Why the two are not alike; they are compared all the same only by force.
    pub unlike: Vec<String>,
    /// Why one of them is no valid experiment.
    pub invalid: Vec<String>,
    /// What else differs.
    pub differences: Vec<String>,
    /// What was measured, side by side.
    pub rows: Vec<Row>,
    /// What it comes to.
    pub verdict: Verdict,
}

/// A run's name tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Its folder.
    pub dir: String,
    /// Its id.
    pub id: String,
    /// When it started.
    pub started: String,
    /// Its seed.
    pub seed: u64,
}

/// A metric on both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The service.
    pub service: String,
    /// The phase; `None`: all recorded ones.
    pub phase: Option<String>,
    /// `response`, `service`, or `requests` for shares.
    pub kind: String,
    /// `p50`, `p90`, `p99`, `error_share`.
    pub metric: &'static str,
    /// Unit of `a` and `b`.
    pub unit: &'static str,
    /// The first side.
    pub a: Option<f64>,
    /// The second side.
    pub b: Option<f64>,
    /// Samples on both sides.
    pub n: [u64; 2],
    /// How far they are apart: the ratio less 1 for a quantile, the difference for a share.
    pub change: Option<f64>,
    /// 95 % interval of the change.
    pub interval: Option<(f64, f64)>,
    /// What change matters.
    pub margin: f64,
    /// The least change that four comparisons in five would have told from chance, whatever matters; `None`: unknown.
    pub detectable: Option<f64>,
    /// What it comes to.
    pub verdict: RowVerdict,
}

impl Row {
    /// Whether a change of a size that nobody could call small would have been seen.
    fn would_have_shown(&self) -> bool {
        self.detectable
            .is_some_and(|change| change <= COARSE.max(self.margin))
    }
}

/// What a row comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowVerdict {
    /// Any change is within the margin.
    Same,
    /// Worse, as far as one run a side can tell.
    Suspect,
    /// Better, as far as one run a side can tell.
    SuspectImproved,
    /// Neither the one nor the other.
    Inconclusive,
    /// Too little data to say.
    Insufficient,
}

impl RowVerdict {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Suspect => "suspect",
            Self::SuspectImproved => "suspect-improved",
            Self::Inconclusive => "inconclusive",
            Self::Insufficient => "insufficient",
        }
    }
}

/// What a comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The runs are not alike, and nobody forced a comparison.
    Unlike,
    /// One of the runs is no valid experiment.
    Invalid,
    /// At least one metric is worse, as far as one run a side can tell.
    Suspect,
    /// No metric is suspect, and a change by a quarter, or by the margin where that is more, would have been seen.
    NoSuspectedRegression,
    /// No metric is suspect, and not even such a change would have been seen.
    Inconclusive,
}

impl Verdict {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unlike => "unlike",
            Self::Invalid => "invalid",
            Self::Suspect => "suspect",
            Self::NoSuspectedRegression => "no suspected regression",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// Compares the second run with the first, by the margins of the second: it is what is judged.
pub fn compare(a: &Report, b: &Report, force: bool) -> Comparison {
    let unlike = unlike(&a.run, &b.run);
    let invalid: Vec<String> = [a, b].into_iter().flat_map(invalid).collect();
    let mut comparison = Comparison {
        schema: 1,
        a: Side::of(a),
        b: Side::of(b),
        differences: differences(&a.run, &b.run),
        rows: Vec::new(),
        verdict: Verdict::Unlike,
        unlike,
        invalid,
    };
    if !comparison.unlike.is_empty() && !force {
        return comparison;
    }
    comparison.rows = rows(a, b);
    comparison.verdict = if comparison.invalid.is_empty() {
        verdict(&comparison.rows)
    } else {
        Verdict::Invalid
    };
    comparison
}

impl Side {
    fn of(report: &Report) -> Self {
        Self {
            dir: report.dir.display().to_string(),
            id: report.run.id.clone(),
            started: report.run.host.started.clone(),
            seed: report.run.seed,
        }
    }
}

fn verdict(rows: &[Row]) -> Verdict {
    let any = |wanted: &[RowVerdict]| rows.iter().any(|row| wanted.contains(&row.verdict));
    if any(&[RowVerdict::Suspect]) {
        Verdict::Suspect
    } else if rows.iter().any(Row::would_have_shown) {
        Verdict::NoSuspectedRegression
    } else {
        Verdict::Inconclusive
    }
}

/// Why two runs are not alike.
fn unlike(a: &Run, b: &Run) -> Vec<String> {
    let mut reasons = Vec::new();
    let trace = |run: &Run| run.trace.as_ref().map(|trace| trace.sha256.clone());
    if trace(a) != trace(b) {
        let name = |run: &Run| {
            run.trace.as_ref().map_or_else(
                || "no trace".to_owned(),
                |trace| {
                    format!(
                        "{} ({})",
                        trace.path,
                        trace.sha256.get(..12).unwrap_or(&trace.sha256)
                    )
                },
            )
        };
        reasons.push(format!("other trace: {} and {}", name(a), name(b)));
    }
    if a.schedule.sha256 != b.schedule.sha256 {
        let rate = |run: &Run| run.schedule.planned as f64 / (run.length_us().max(1) as f64 / 1e6);
        let (first, second) = (rate(a), rate(b));
        if (first - second).abs() > RATE * first.max(second) {
            reasons.push(format!(
                "other offered rate: {first:.1}/s and {second:.1}/s"
            ));
        }
    }
    if a.phases != b.phases {
        let names = |run: &Run| {
            let phase = |phase: &crate::report::run::PhasePart| {
                let length = (phase.end_us - phase.begin_us) as f64 / 1e6;
                format!("{} {length} s", phase.id)
            };
            run.phases.iter().map(phase).collect::<Vec<_>>().join(", ")
        };
        reasons.push(format!("other phases: {} and {}", names(a), names(b)));
    }
    reasons
}

/// Why a run is no valid experiment.
fn invalid(report: &Report) -> Vec<String> {
    let run = &report.run;
    let dir = report.dir.display();
    let mut reasons = Vec::new();
    if run.state != RunState::Finished {
        let state = serde_json::to_value(run.state).ok();
        let state = state
            .as_ref()
            .and_then(|state| state.as_str())
            .unwrap_or("unfinished")
            .to_owned();
        reasons.push(format!("{dir} did not come to its end: {state}"));
    }
    if !run.generator.valid {
        reasons.push(format!(
            "{dir} failed its gates: {}",
            run.generator.why.join(", ")
        ));
    }
    if let Some(others) = run.generator.others_cpu.filter(|others| *others > OTHERS) {
        let percent = (others * 100.0).round();
        reasons.push(format!(
            "other programs used {percent} % of the processors during {dir}"
        ));
    }
    reasons
}

/// What else differs, for who reads the verdict.
fn differences(a: &Run, b: &Run) -> Vec<String> {
    let mut told = Vec::new();
    let mut differ = |what: &str, a: &str, b: &str| {
        if a != b {
            told.push(format!("{what}: {a} and {b}"));
        }
    };
    differ("seed", &a.seed.to_string(), &b.seed.to_string());
    let short = |sha: &str| sha.get(..12).unwrap_or(sha).to_owned();
    differ(
        "schedule",
        &short(&a.schedule.sha256),
        &short(&b.schedule.sha256),
    );
    differ(
        "scenario",
        &short(&a.scenario.sha256),
        &short(&b.scenario.sha256),
    );
    differ(
        "margins",
        &margins::words(margins::of(a)),
        &margins::words(margins::of(b)),
    );
    let faults = |run: &Run| run.scenario.resolved.get("faults").cloned();
    if faults(a) != faults(b) {
        told.push("fault plan".to_owned());
    }
    let mut differ = |what: &str, a: String, b: String| {
        if a != b {
            told.push(format!("{what}: {a} and {b}"));
        }
    };
    differ("version", a.build.version.clone(), b.build.version.clone());
    differ("build", a.build.git.clone(), b.build.git.clone());
    differ("cores", a.host.cores.to_string(), b.host.cores.to_string());
    differ(
        "workers",
        a.host.workers.to_string(),
        b.host.workers.to_string(),
    );
    differ("kernel", a.host.kernel.clone(), b.host.kernel.clone());
    told
}

/// The seconds of a phase on one side.
fn seconds(report: &Report, service: &str, kind: Kind, phase: &str) -> Vec<Histogram> {
    let Some(window) = report.run.phases.iter().find(|one| one.id == phase) else {
        return Vec::new();
    };
    let first = window.begin_us / 1_000_000;
    let last = window.end_us.saturating_sub(1) / 1_000_000;
    let mut seconds = vec![Histogram::default(); (last + 1).saturating_sub(first) as usize];
    for interval in &report.intervals {
        let tag = &interval.tag;
        if tag.service == service && tag.side == "primary" && tag.kind == kind && tag.phase == phase
        {
            let at = (interval.begin_us / 1_000_000).saturating_sub(first) as usize;
            if let Some(second) = seconds.get_mut(at) {
                second.merge(&interval.histogram);
            }
        }
    }
    seconds
}

fn rows(a: &Report, b: &Report) -> Vec<Row> {
    let recorded: Vec<&str> = a
        .run
        .recorded()
        .map(|phase| phase.id.as_str())
        .filter(|phase| b.run.phases.iter().any(|other| other.id == *phase))
        .collect();
    let driven = a.run.driven();
    let mut services: Vec<String> = driven.iter().map(|service| (*service).to_owned()).collect();
    let others: BTreeSet<&str> = a
        .run
        .latency
        .iter()
        .filter(|row| {
            row.side == "primary"
                && row.kind == "service"
                && !driven.contains(&row.service.as_str())
        })
        .map(|row| row.service.as_str())
        .collect();
    services.extend(others.into_iter().map(str::to_owned));

    let margins = margins::of(&b.run);
    let mut spreads = Vec::new();
    for service in &services {
        let is_driven = driven.contains(&service.as_str());
        let kind = if is_driven {
            Kind::Response
        } else {
            Kind::Service
        };
        let mut windows: Vec<(Option<&str>, Vec<&str>)> = vec![(None, recorded.clone())];
        if recorded.len() > 1 {
            windows.extend(recorded.iter().map(|phase| (Some(*phase), vec![*phase])));
        }
        for (phase, phases) in windows {
            spreads.extend(Spread::of((a, b), &margins, service, kind, phase, &phases));
        }
    }
    // As many rows as could call a change share the chance of a false one.
    let family = spreads
        .iter()
        .filter(|spread| spread.is_sufficient())
        .count()
        .max(1);
    let mut rows: Vec<Row> = spreads
        .into_iter()
        .map(|spread| spread.judge(family))
        .collect();
    rows.extend(
        driven
            .iter()
            .filter_map(|service| errors(a, b, service, &recorded)),
    );
    rows
}

/// A quantile on both sides, and how it varies when the seconds are drawn again.
#[derive(Debug)]
struct Spread {
    row: Row,
    quantile: usize,
    /// Logarithms of the ratio b/a in the drawn runs, ascending.
    drawn: Vec<f64>,
    /// The fewer of the blocks of the two sides.
    blocks: usize,
}

impl Spread {
    fn of(
        (a, b): (&Report, &Report),
        margins: &Margins,
        service: &str,
        kind: Kind,
        phase: Option<&str>,
        phases: &[&str],
    ) -> Vec<Self> {
        let side = |report: &Report| -> Vec<Vec<Histogram>> {
            phases
                .iter()
                .map(|phase| seconds(report, service, kind, phase))
                .collect()
        };
        let (first, second) = (side(a), side(b));
        let whole = |stretches: &[Vec<Histogram>]| {
            let mut all = Histogram::default();
            stretches
                .iter()
                .flatten()
                .for_each(|second| all.merge(second));
            all
        };
        let (all_a, all_b) = (whole(&first), whole(&second));
        let (blocks_a, blocks_b) = (Blocks::new(&first), Blocks::new(&second));
        let name = format!("{service} {} {}", phase.unwrap_or("all"), kind.name());
        let mut chance = chance(&name, &all_a, &all_b);
        let mut drawn: [Vec<f64>; 3] = Default::default();
        let enough = all_a.count().min(all_b.count()) >= LEAST_SAMPLES[0];
        for _ in 0..if enough { DRAWS } else { 0 } {
            let (one, other) = (blocks_a.draw(&mut chance), blocks_b.draw(&mut chance));
            for ((_, quantile, _, _), drawn) in QUANTILES.iter().zip(&mut drawn) {
                if let (Some(a), Some(b)) = (one.quantile(*quantile), other.quantile(*quantile)) {
                    drawn.push(log_ratio(a, b));
                }
            }
        }
        let blocks = blocks_a.count().min(blocks_b.count());
        QUANTILES
            .iter()
            .zip(drawn)
            .enumerate()
            .map(|(index, ((metric, quantile, margin, _), mut drawn))| {
                drawn.sort_by(f64::total_cmp);
                let (value_a, value_b) = (all_a.quantile(*quantile), all_b.quantile(*quantile));
                Self {
                    row: Row {
                        service: service.to_owned(),
                        phase: phase.map(str::to_owned),
                        kind: kind.name().to_owned(),
                        metric,
                        unit: "us",
                        a: value_a.map(|us| us as f64),
                        b: value_b.map(|us| us as f64),
                        n: [all_a.count(), all_b.count()],
                        change: value_a.zip(value_b).map(|(a, b)| log_ratio(a, b).exp_m1()),
                        interval: None,
                        margin: margin(margins),
                        detectable: None,
                        verdict: RowVerdict::Insufficient,
                    },
                    quantile: index,
                    drawn,
                    blocks,
                }
            })
            .collect()
    }

    fn is_sufficient(&self) -> bool {
        let least = LEAST_SAMPLES
            .get(self.quantile)
            .copied()
            .unwrap_or(u64::MAX);
        self.row.n.iter().all(|n| *n >= least)
            && self.blocks >= LEAST_BLOCKS
            && self.drawn.len() > 1
    }

    fn judge(self, family: usize) -> Row {
        let Some((_, _, _, floor)) = QUANTILES.get(self.quantile).copied() else {
            return self.row;
        };
        let margin = self.row.margin;
        let (true, Some(a), Some(b)) = (self.is_sufficient(), self.row.a, self.row.b) else {
            return self.row;
        };
        let estimate = (b.max(1.0) / a.max(1.0)).ln();
        let at = |share: f64| {
            let rank = (share * (self.drawn.len() - 1) as f64).round() as usize;
            self.drawn.get(rank).copied().unwrap_or(estimate)
        };
        // Never narrower than a bucket of the histogram, which hides that much.
        let bucket = 1.0 / 1024.0;
        let interval = (
            at(ALPHA / 2.0).min(estimate - bucket),
            at(1.0 - ALPHA / 2.0).max(estimate + bucket),
        );
        let error = standard_error(&self.drawn, self.blocks);
        let degrees = (self.blocks - 1) as f64;
        let apart = student::quantile(1.0 - ALPHA / 2.0 / family as f64, degrees) * error;
        let detectable = (apart + student::quantile(POWER, degrees) * error).exp_m1();
        let sure = estimate.abs() > apart && (interval.0 > 0.0 || interval.1 < 0.0);
        let matters = estimate.abs() >= margin.ln_1p() && (b - a).abs() >= floor;
        let within = interval.0 >= -margin.ln_1p() && interval.1 <= margin.ln_1p();
        Row {
            interval: Some((interval.0.exp_m1(), interval.1.exp_m1())),
            detectable: Some(detectable),
            verdict: if sure && matters && estimate > 0.0 {
                RowVerdict::Suspect
            } else if sure && matters {
                RowVerdict::SuspectImproved
            } else if within {
                RowVerdict::Same
            } else {
                RowVerdict::Inconclusive
            },
            ..self.row
        }
    }
}

/// The share of errors of a driven service, as a row.
fn errors(a: &Report, b: &Report, service: &str, recorded: &[&str]) -> Option<Row> {
    let side = |report: &Report| {
        let rows = report.run.counts.iter();
        let rows =
            rows.filter(|row| row.service == service && recorded.contains(&row.phase.as_str()));
        rows.fold((0, 0), |(errors, requests), row| {
            (errors + row.errors, requests + row.requests)
        })
    };
    let (first, second) = (side(a), side(b));
    if first.1 == 0 || second.1 == 0 {
        return None;
    }
    let share = |(errors, requests): (u64, u64)| errors as f64 / requests as f64;
    let (low, high) = proportion::newcombe(first, second);
    let change = share(second) - share(first);
    let matters = change.abs() >= ERROR_MARGIN && first.0.abs_diff(second.0) >= ERROR_FLOOR;
    let verdict = if matters && low > 0.0 {
        RowVerdict::Suspect
    } else if matters && high < 0.0 {
        RowVerdict::SuspectImproved
    } else if low >= -ERROR_MARGIN && high <= ERROR_MARGIN {
        RowVerdict::Same
    } else {
        RowVerdict::Inconclusive
    };
    Some(Row {
        service: service.to_owned(),
        phase: None,
        kind: "requests".to_owned(),
        metric: "error_share",
        unit: "share",
        a: Some(share(first)),
        b: Some(share(second)),
        n: [first.1, second.1],
        change: Some(change),
        interval: Some((low, high)),
        margin: ERROR_MARGIN,
        detectable: None,
        verdict,
    })
}

fn log_ratio(a: u64, b: u64) -> f64 {
    (b.max(1) as f64 / a.max(1) as f64).ln()
}

/// Standard deviation of the drawn estimates, made good for the few blocks they rest on.
fn standard_error(drawn: &[f64], blocks: usize) -> f64 {
    let n = drawn.len() as f64;
    let mean = drawn.iter().sum::<f64>() / n;
    let variance = drawn
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / (n - 1.0).max(1.0);
    (variance * blocks as f64 / (blocks as f64 - 1.0).max(1.0)).sqrt()
}

/// Numbers in [0, 1) that follow from what is compared.
fn chance(name: &str, a: &Histogram, b: &Histogram) -> impl FnMut() -> f64 {
    let mut bytes = name.as_bytes().to_vec();
    for histogram in [a, b] {
        for (bucket, count) in histogram.buckets() {
            bytes.extend(bucket.to_le_bytes());
            bytes.extend(count.to_le_bytes());
        }
        bytes.push(0);
    }
    let inputs = (Seed(0).rule("compare").unit_of(&bytes) * (1_u64 << 53) as f64) as u64;
    let draw = Seed(inputs).rule(name);
    let mut counter = 0_u64;
    move || {
        counter += 1;
        draw.unit_of(&counter.to_le_bytes())
    }
}

#[cfg(test)]
mod tests;
