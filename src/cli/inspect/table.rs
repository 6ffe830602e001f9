//! The people's form: a line an exchange, then what the capture held and what was left out.

use std::io::{self, Write};

use super::Show;
use crate::capture::{Exchange, Summary};

/// How many losses are listed; the rest is in the JSON form.
const LOST_SHOWN: usize = 20;

/// The people's form.
#[derive(Debug)]
pub(super) struct Table {
    /// Whether a terminal reads it, on which control characters of a capture must not act.
    is_terminal: bool,
    start: Option<u64>,
}

impl Table {
    /// The form for a terminal or for a file.
    pub(super) fn new(is_terminal: bool) -> Self {
        Self {
            is_terminal,
            start: None,
        }
    }

    fn clean(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        if self.is_terminal {
            text.chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                .collect()
        } else {
            text.into()
        }
    }
}

impl Show for Table {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{:>12} {:>6} {:<7} {:<30} {:>6} {:>10} {:>10} {:>10}  target",
            "seconds", "stream", "method", "host", "status", "asked B", "answered B", "took ms"
        )
    }

    fn exchange(&mut self, out: &mut dyn Write, e: &Exchange) -> io::Result<()> {
        let start = *self.start.get_or_insert(e.at);
        let (status, answered, took) = match &e.response {
            Some(r) => (
                format!("{}{}", r.status, if e.is_complete() { "" } else { "*" }),
                r.body.bytes.to_string(),
                format!("{:.3}", r.last_byte.saturating_sub(e.at) as f64 / 1e6),
            ),
            None => ("-".into(), "-".into(), "-".into()),
        };
        writeln!(
            out,
            "{:>12.6} {:>6} {:<7} {:<30} {status:>6} {:>10} {answered:>10} {took:>10}  {}",
            e.at.saturating_sub(start) as f64 / 1e9,
            e.stream,
            self.clean(e.request.method.as_bytes()),
            self.clean(&e.request.authority),
            e.request.body.bytes,
            self.clean(&e.request.target),
        )
    }

    fn end(&mut self, out: &mut dyn Write, s: &Summary) -> io::Result<()> {
        let p = s.payload;
        writeln!(out)?;
        writeln!(
            out,
            "{} packets, {} TCP streams, {} requests, {} responses",
            s.packets, s.streams, s.requests, s.responses
        )?;
        writeln!(
            out,
            "TCP payload: {} bytes = {} used + {} duplicate + {} not used; {} missing",
            p.total, p.used, p.duplicate, p.unused, p.missing
        )?;
        for (reason, count) in &s.skipped {
            writeln!(out, "skipped: {count} x {reason}")?;
        }
        for l in s.lost.iter().take(LOST_SHOWN) {
            let (direction, reason) = (l.direction.name(), l.reason);
            writeln!(
                out,
                "lost: stream {}, {direction}, {} bytes at {}: {reason}",
                l.stream, l.bytes, l.offset
            )?;
        }
        if s.lost.len() > LOST_SHOWN {
            writeln!(
                out,
                "lost: {} more (all with --json)",
                s.lost.len() - LOST_SHOWN
            )?;
        }
        Ok(())
    }
}
