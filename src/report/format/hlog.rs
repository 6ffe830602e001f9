//! `latency.hlog`: `HdrHistogram`'s log, version 1.3, V2 deflate, a line a second and tag; values are microseconds.

use std::{collections::BTreeMap, fmt::Write as _};

use base64::Engine as _;
use hdrhistogram::{
    Histogram as Dense,
    serialization::{
        Deserializer, Serializer as _, V2DeflateSerializer,
        interval_log::{IntervalLogIterator, LogEntry},
    },
};

use crate::{
    measure::{Filter, Kind, Measured},
    stats::histogram::{Histogram, MAX_VALUE, bounds_of, bucket_of},
};

const SECOND_US: u64 = 1_000_000;

/// What was measured of one tag in one second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// What it is about.
    pub tag: Tag,
    /// From when.
    pub begin_us: u64,
    /// How long.
    pub length_us: u64,
    /// The latencies.
    pub histogram: Histogram,
}

/// `service/side/phase/kind`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    /// The service.
    pub service: String,
    /// `primary` or the shadow's id.
    pub side: String,
    /// The phase.
    pub phase: String,
    /// What the latency is the time of.
    pub kind: Kind,
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.service,
            self.side,
            self.phase,
            self.kind.name()
        )
    }
}

impl Tag {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let mut part = || parts.next().map(str::to_owned);
        let (service, side, phase, kind) = (part()?, part()?, part()?, part()?);
        Some(Self {
            service,
            side,
            phase,
            kind: Kind::named(&kind)?,
        })
    }
}

/// What was measured, by second and tag, in that order.
pub fn intervals(measured: &Measured) -> Vec<Interval> {
    let mut by_second: BTreeMap<(u64, Tag), (u64, u64, Histogram)> = BTreeMap::new();
    for (subject, series) in measured.subjects() {
        if subject.filter != Filter::default() {
            continue;
        }
        for (begin, cell) in series.cells() {
            let phases = &measured.setup().phases;
            let Some((phase, window, _)) = phases
                .iter()
                .find(|(_, window, _)| (window.begin_us..window.end_us).contains(&begin))
            else {
                continue;
            };
            let second = begin / SECOND_US;
            let from = (second * SECOND_US).max(window.begin_us);
            let length = measured.slice_us().max(SECOND_US);
            let to = (second * SECOND_US + length).min(window.end_us);
            for kind in Kind::ALL {
                let Some(latency) = cell.latency(kind) else {
                    continue;
                };
                let tag = Tag {
                    service: subject.service.to_string(),
                    side: measured.side_name(subject.side).to_owned(),
                    phase: phase.to_string(),
                    kind,
                };
                let (_, _, histogram) = by_second
                    .entry((second, tag))
                    .or_insert_with(|| (from, to - from, Histogram::default()));
                histogram.merge(latency);
            }
        }
    }
    by_second
        .into_iter()
        .map(|((_, tag), (begin_us, length_us, histogram))| Interval {
            tag,
            begin_us,
            length_us,
            histogram,
        })
        .collect()
}

/// The log's text. `started` is when the run started, in milliseconds since the epoch.
pub fn write(intervals: &[Interval], started_ms: u64) -> Result<String, String> {
    let started = format!("{}.{:03}", started_ms / 1000, started_ms % 1000);
    let mut text = format!(
        "#[Histogram log format version 1.3]\n\
         #[Values are microseconds, times are seconds from the start of the run]\n\
         #[StartTime: {started} (seconds since epoch)]\n\
         #[BaseTime: {started} (seconds since epoch)]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"HdrHistogram_CompressedHistogram\"\n"
    );
    let mut serializer = V2DeflateSerializer::new();
    for interval in intervals {
        let blob = blob(&interval.histogram, &mut serializer)?;
        let max = interval.histogram.max().unwrap_or(0);
        writeln!(
            text,
            "Tag={},{},{},{max}.000,{blob}",
            interval.tag,
            seconds(interval.begin_us),
            seconds(interval.length_us),
        )
        .map_err(|error| error.to_string())?;
    }
    Ok(text)
}

/// Reads a log that [`write()`] made, or any other with such tags.
pub fn parse(text: &str) -> Result<Vec<Interval>, String> {
    // The column heads are a line of their own that the format's grammar does not know.
    let legend = text
        .lines()
        .find(|line| line.starts_with('"'))
        .unwrap_or_default();
    let lines = if legend.is_empty() {
        text.to_owned()
    } else {
        text.replacen(legend, "#", 1)
    };
    let mut deserializer = Deserializer::new();
    let mut intervals = Vec::new();
    for (number, entry) in IntervalLogIterator::new(lines.as_bytes()).enumerate() {
        let entry = match entry {
            Ok(LogEntry::Interval(entry)) => entry,
            Ok(_) => continue,
            Err(error) => return Err(format!("entry {}: {error:?}", number + 1)),
        };
        let wrong = |what: &str| format!("entry {}: {what}", number + 1);
        let tag = entry.tag().map(|tag| tag.as_str()).unwrap_or_default();
        let tag = Tag::parse(tag)
            .ok_or_else(|| wrong(&format!("tag `{tag}` is not service/side/phase/kind")))?;
        let blob = base64::engine::general_purpose::STANDARD
            .decode(entry.encoded_histogram())
            .map_err(|error| wrong(&error.to_string()))?;
        let dense: Dense<u64> = deserializer
            .deserialize(&mut blob.as_slice())
            .map_err(|error| wrong(&error.to_string()))?;
        let mut histogram = Histogram::default();
        for step in dense.iter_recorded() {
            histogram.add(
                bucket_of(step.value_iterated_to()),
                step.count_at_value() as u32,
            );
        }
        intervals.push(Interval {
            tag,
            begin_us: entry.start_timestamp().as_micros() as u64,
            length_us: entry.duration().as_micros() as u64,
            histogram,
        });
    }
    Ok(intervals)
}

fn blob(histogram: &Histogram, serializer: &mut V2DeflateSerializer) -> Result<String, String> {
    let mut dense =
        Dense::<u64>::new_with_bounds(1, MAX_VALUE, 3).map_err(|error| error.to_string())?;
    for (bucket, count) in histogram.buckets() {
        let value = bounds_of(bucket).0;
        dense
            .record_n(value, u64::from(count))
            .map_err(|error| error.to_string())?;
    }
    let mut bytes = Vec::new();
    serializer
        .serialize(&dense, &mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn seconds(us: u64) -> String {
    // Milliseconds are what the format has; phases begin on whole ones.
    format!("{}.{:03}", us / SECOND_US, us % SECOND_US / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 900, 2049, 655_000, MAX_VALUE] {
            histogram.record(value);
        }
        let tag = Tag {
            service: "shop".into(),
            side: "primary".into(),
            phase: "steady".into(),
            kind: Kind::Response,
        };
        let intervals = vec![Interval {
            tag,
            begin_us: 1_500_000,
            length_us: 500_000,
            histogram,
        }];
        let text = write(&intervals, 1_700_000_000_123).unwrap();
        assert!(
            text.starts_with("#[Histogram log format version 1.3]\n"),
            "{text}"
        );
        assert_eq!(parse(&text).unwrap(), intervals);
    }

    #[test]
    fn a_foreign_tag_is_named() {
        let error = parse("Tag=x,0.000,1.000,1.000,AAAA\n").unwrap_err();
        assert_eq!(error, "entry 1: tag `x` is not service/side/phase/kind");
    }
}
