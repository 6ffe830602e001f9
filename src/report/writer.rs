//! Writes a bundle while the run lasts: events are handed to a thread of its own, which joins hops to their requests.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use meshbed_proxy::draw::{Draw, Seed};
use serde_json::Value;

use crate::{
    event::{Hop, Mirror, Request, RunEvent},
    measure::{ErrorRule, Measured},
    replay::{clock, naps},
    report::{
        Error, Facts, build,
        format::{self, hlog},
        lines,
        machine::Usage,
        reservoir::Reservoir,
        run::{EventsPart, RequestsPart},
        samples::Samples,
        store::{self, DIFFS, EVENTS, HLOG, REQUESTS, RUN},
    },
    scenario::{Phase, Requests, Scenario},
};

/// More requests than these are counted, not written.
const MAX_REQUESTS: u64 = 1_000_000;
/// Events that may wait for a slow disk: about 100 MB.
const MAX_WAITING: usize = 200_000;
/// Of fewer than `MUCH` so many are written between one giving way and the next to whoever is measured: some 20 us of work.
const SIP: usize = 8;
const MUCH: usize = 2_000;
/// Share of the requests in a `sampled` bundle.
const SAMPLED: f64 = 0.1;
/// A request's line waits so long for hops that end after it.
const GRACE_US: u64 = 1_000_000;

/// A bundle being written. Dropped without [`Writer::finish`] it leaves nothing behind.
#[derive(Debug)]
pub struct Writer {
    sender: Option<mpsc::Sender<RunEvent>>,
    thread: Option<JoinHandle<io::Result<Written>>>,
    scenario: Arc<Scenario>,
    name: String,
    partial: PathBuf,
    whole: PathBuf,
    began: Option<Usage>,
    /// Events that wait for the thread.
    waiting: Arc<AtomicUsize>,
    /// Events of copies that found too many waiting.
    left_out: AtomicU64,
}

impl Writer {
    /// Begins a bundle: in `out`, if that is given, else in the folder of reports that the scenario names, under its
    /// name and seed; beside what is there already, never over it.
    pub fn create(scenario: &Arc<Scenario>, out: Option<&Path>) -> Result<Self, Error> {
        Self::create_after(scenario, out, &mut |_| Ok(()))
    }

    /// The same; `before` is told of the folder before it is made, and may refuse.
    pub fn create_after(
        scenario: &Arc<Scenario>,
        out: Option<&Path>,
        before: &mut dyn FnMut(&Path) -> io::Result<()>,
    ) -> Result<Self, Error> {
        let named = store::name_of(&scenario.name, scenario.seed);
        let (parent, name) = match out {
            Some(out) => {
                let name = out
                    .file_name()
                    .map_or(named, |name| name.to_string_lossy().into_owned());
                (out.parent().unwrap_or(Path::new("")).to_owned(), name)
            }
            None => (scenario.report.dir.clone(), named),
        };
        let parent = if parent.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            parent
        };
        let unwritable = |source| Error::Unwritable {
            path: parent.join(&name),
            source,
        };
        let (name, partial) = store::reserve(&parent, &name, before).map_err(unwritable)?;
        let (sender, receiver) = mpsc::channel();
        let mut files = Files::create(&partial, scenario).map_err(unwritable)?;
        let waiting = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&waiting);
        let thread = thread::Builder::new()
            .name("report".to_owned())
            .spawn(move || {
                clock::after_others();
                let mut added = Ok(());
                naps::in_bursts(
                    || receiver.recv().ok(),
                    || receiver.try_recv().ok(),
                    |event| {
                        added = files.add(&event);
                        let left = taken.fetch_sub(1, Ordering::Relaxed);
                        if left < MUCH && left.is_multiple_of(SIP) {
                            naps::give_way();
                        }
                        added.is_ok()
                    },
                );
                added?;
                files.finish()
            })
            .map_err(unwritable)?;
        Ok(Self {
            sender: Some(sender),
            thread: Some(thread),
            scenario: scenario.clone(),
            whole: parent.join(&name),
            name,
            partial,
            began: Usage::now(),
            waiting,
            left_out: AtomicU64::new(0),
        })
    }

    /// Says in the report that this was run: what it came to be differs from what it began as.
    pub fn describe(&mut self, scenario: Arc<Scenario>) {
        self.scenario = scenario;
    }

    /// The folder while it is being written.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// The folder that it will be.
    pub fn whole(&self) -> &Path {
        &self.whole
    }

    /// Hands an event over. Never blocks. Where events are sampled anyway, those of copies are left out, and counted, while
    /// the disk is too slow: memory is bounded.
    pub fn event(&self, event: &RunEvent) {
        let sampled = self.scenario.report.max_events.is_some();
        if sampled
            && matches!(event, RunEvent::Mirror(_))
            && self.waiting.load(Ordering::Relaxed) >= MAX_WAITING
        {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Some(sender) = &self.sender {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            // Fails only when the thread has ended on an error, which `finish` tells.
            drop(sender.send(event.clone()));
        }
    }

    /// Writes all that is left and gives the folder its name. Blocks until all is on the disk.
    pub fn finish(mut self, measured: &Measured, facts: &Facts) -> Result<PathBuf, Error> {
        let at = |name: &str| self.partial.join(name);
        let unwritable = |name: &str| {
            let path = at(name);
            move |source| Error::Unwritable { path, source }
        };
        self.sender.take();
        let written = self
            .thread
            .take()
            .ok_or(Error::Lost)?
            .join()
            .map_err(|_| Error::Lost)?
            .map_err(unwritable(EVENTS))?;
        let others_cpu = Usage::now()
            .zip(self.began)
            .and_then(|(now, then)| now.others_since(&then));
        let left_out = self.left_out.load(Ordering::Relaxed);
        let events = EventsPart {
            of: written.events.of + left_out,
            left_out,
            ..written.events
        };
        let run = build::run(
            &self.name,
            &self.scenario,
            measured,
            facts,
            (written.requests, events),
            others_cpu,
        );

        let mut text = serde_json::to_string_pretty(&run).map_err(|source| Error::NotJson {
            path: at(RUN),
            source,
        })?;
        text.push('\n');
        fs::write(at(RUN), text).map_err(unwritable(RUN))?;

        let log = hlog::write(&hlog::intervals(measured), started_ms(&facts.host.started))
            .map_err(|what| Error::Log {
                path: at(HLOG),
                what,
            })?;
        fs::write(at(HLOG), log).map_err(unwritable(HLOG))?;

        let mut diffs = BufWriter::new(File::create(at(DIFFS)).map_err(unwritable(DIFFS))?);
        for line in written.samples.lines(&run) {
            writeln!(diffs, "{line}").map_err(unwritable(DIFFS))?;
        }
        diffs.flush().map_err(unwritable(DIFFS))?;

        let report = store::read(&self.partial)?;
        for format in format::FORMATS {
            if self
                .scenario
                .report
                .formats
                .iter()
                .any(|wanted| wanted == format.name)
            {
                fs::write(at(format.file), (format.write)(&report))
                    .map_err(unwritable(format.file))?;
            }
        }
        let rename = |source| Error::Unwritable {
            path: self.whole.clone(),
            source,
        };
        fs::rename(&self.partial, &self.whole).map_err(rename)?;
        Ok(self.whole.clone())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.sender.take();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        // Renamed by then, if it was finished.
        drop(fs::remove_dir_all(&self.partial));
    }
}

/// What the thread gives back.
#[derive(Debug)]
struct Written {
    requests: RequestsPart,
    events: EventsPart,
    samples: Samples,
}

/// The files that grow with the run.
struct Files {
    events: Reservoir,
    /// What chooses the events that are kept.
    ranks: Draw,
    /// A line in the making.
    line: Vec<u8>,
    requests: Option<zstd::Encoder<'static, BufWriter<File>>>,
    kept: Requests,
    chosen: Draw,
    phases: Vec<Phase>,
    errors: ErrorRule,
    checks: Vec<String>,
    seq: u64,
    /// Requests so far, and those written.
    counted: (u64, u64),
    now_us: u64,
    /// Requests whose line waits for hops.
    waiting: VecDeque<Arc<Request>>,
    hops: HashMap<u64, Vec<Arc<Hop>>>,
    written: Bitmap,
    left_out: Bitmap,
    samples: Samples,
}

impl Files {
    fn create(dir: &Path, scenario: &Scenario) -> io::Result<Self> {
        let events = Reservoir::create(dir.join(EVENTS), scenario.report.max_events)?;
        let kept = scenario.report.requests;
        let requests = match kept {
            Requests::None => None,
            Requests::All | Requests::Sampled => Some(zstd::Encoder::new(
                BufWriter::new(File::create(dir.join(REQUESTS))?),
                3,
            )?),
        };
        Ok(Self {
            events,
            ranks: scenario.seed.rule("events.jsonl"),
            line: Vec::new(),
            requests,
            kept,
            chosen: scenario.seed.rule("requests.jsonl"),
            phases: scenario.phases.clone(),
            errors: scenario.errors.clone(),
            checks: scenario
                .checks
                .iter()
                .map(|check| check.id.to_string())
                .collect(),
            seq: 0,
            counted: (0, 0),
            now_us: 0,
            waiting: VecDeque::new(),
            hops: HashMap::new(),
            written: Bitmap::default(),
            left_out: Bitmap::default(),
            samples: Samples::new(Seed(scenario.seed.0), scenario.diff.control.clone()),
        })
    }

    fn add(&mut self, event: &RunEvent) -> io::Result<()> {
        if let RunEvent::Mirror(mirror) = event {
            self.samples.add(mirror);
            return self.write_mirror(mirror);
        }
        for line in lines::of_event(event, |index| self.checks.get(index).cloned()) {
            let rank = match event {
                // Without these nobody knows what the others are part of.
                RunEvent::Run { .. } | RunEvent::Phase { .. } | RunEvent::Note { .. } => 0,
                _ => self.rank(),
            };
            self.write_event(line, rank)?;
        }
        match event {
            RunEvent::Request(request) => {
                self.now_us = self.now_us.max(request.done_us);
                self.counted.0 += 1;
                if self.keeps(request.ordinal)
                    && self.counted.1 + (self.waiting.len() as u64) < MAX_REQUESTS
                {
                    self.waiting.push_back(request.clone());
                } else {
                    // Its hops go the same way, those to come too.
                    self.left_out.set(request.ordinal);
                    self.hops.remove(&request.ordinal);
                }
                self.write_due(GRACE_US)
            }
            RunEvent::Hop(hop) => self.add_hop(hop),
            RunEvent::Tick(tick) => {
                self.now_us = self.now_us.max(tick.t_us);
                self.write_due(GRACE_US)
            }
            _ => Ok(()),
        }
    }

    fn add_hop(&mut self, hop: &Arc<Hop>) -> io::Result<()> {
        if self.requests.is_none() {
            return Ok(());
        }
        if !hop.scheduled {
            // Its ordinal is the order of arrival: no request's of the schedule.
            return match self.kept {
                Requests::All => self.write_request(&lines::of_late(None, std::iter::once(&**hop))),
                Requests::Sampled | Requests::None => Ok(()),
            };
        }
        if !self.keeps(hop.ordinal) || self.left_out.has(hop.ordinal) {
            return Ok(());
        }
        if self.written.has(hop.ordinal) {
            return self.write_request(&lines::of_late(Some(hop.ordinal), std::iter::once(&**hop)));
        }
        self.hops.entry(hop.ordinal).or_default().push(hop.clone());
        Ok(())
    }

    /// Writes the requests that have waited long enough for their hops.
    fn write_due(&mut self, grace_us: u64) -> io::Result<()> {
        while let Some(request) = self.waiting.front() {
            if request.done_us.saturating_add(grace_us) > self.now_us {
                break;
            }
            if let Some(request) = self.waiting.pop_front() {
                self.write_whole(&request)?;
            }
        }
        Ok(())
    }

    fn write_whole(&mut self, request: &Request) -> io::Result<()> {
        let hops = self.hops.remove(&request.ordinal).unwrap_or_default();
        let phase = self
            .phases
            .iter()
            .find(|phase| (phase.begin_us..phase.end_us).contains(&request.intended_us))
            .map(|phase| phase.id.clone());
        let error = self
            .errors
            .is_error(request.status, request.complete, request.grpc_status);
        let line = lines::of_request(
            request,
            phase.as_deref(),
            error,
            hops.iter().map(|hop| &**hop),
        );
        self.written.set(request.ordinal);
        self.counted.1 += 1;
        self.write_request(&line)
    }

    fn finish(mut self) -> io::Result<Written> {
        self.now_us = u64::MAX;
        self.write_due(0)?;
        // What is left are hops of requests that never ended.
        let rest: BTreeMap<u64, Vec<Arc<Hop>>> = self.hops.drain().collect();
        for (ordinal, hops) in rest {
            self.write_request(&lines::of_late(
                Some(ordinal),
                hops.iter().map(|hop| &**hop),
            ))?;
        }
        if let Some(requests) = self.requests.take() {
            requests.finish()?.flush()?;
        }
        let (events, events_of) = self.events.finish()?;
        let (of, written) = self.counted;
        let kept = match self.kept {
            Requests::None => "none",
            Requests::All if written == of => "all",
            Requests::All | Requests::Sampled => "sampled",
        };
        Ok(Written {
            requests: RequestsPart {
                kept: kept.to_owned(),
                written,
                of,
            },
            events: EventsPart {
                kept: if events == events_of {
                    "all"
                } else {
                    "reservoir"
                }
                .to_owned(),
                written: events,
                of: events_of,
                left_out: 0,
            },
            samples: self.samples,
        })
    }

    fn keeps(&self, ordinal: u64) -> bool {
        match self.kept {
            Requests::All => true,
            Requests::Sampled => self.chosen.unit_of(&ordinal.to_le_bytes()) < SAMPLED,
            Requests::None => false,
        }
    }

    /// A hash of the line to come, by its number.
    fn rank(&self) -> u64 {
        // Of numbers from 0 to 1 the order is that of their bits.
        self.ranks.unit_of(&self.seq.to_le_bytes()).to_bits()
    }

    fn write_event(&mut self, mut line: Value, rank: u64) -> io::Result<()> {
        let Some(fields) = line.as_object_mut() else {
            return Ok(());
        };
        let mut numbered = serde_json::Map::with_capacity(fields.len() + 1);
        numbered.insert("seq".to_owned(), self.seq.into());
        numbered.append(fields);
        self.seq += 1;
        self.line.clear();
        serde_json::to_writer(&mut self.line, &numbered)?;
        self.events.add(&self.line, rank)
    }

    /// Most events are these: they are written without a tree of values between.
    fn write_mirror(&mut self, mirror: &Mirror) -> io::Result<()> {
        let rank = self.rank();
        self.line.clear();
        serde_json::to_writer(&mut self.line, &lines::of_mirror(self.seq, mirror))?;
        self.seq += 1;
        self.events.add(&self.line, rank)
    }

    fn write_request(&mut self, line: &Value) -> io::Result<()> {
        let Some(requests) = &mut self.requests else {
            return Ok(());
        };
        serde_json::to_writer(&mut *requests, line)?;
        requests.write_all(b"\n")
    }
}

/// Ordinals of which the line is written: a bit each.
#[derive(Debug, Default)]
struct Bitmap(Vec<u64>);

impl Bitmap {
    fn set(&mut self, ordinal: u64) {
        let word = (ordinal / 64) as usize;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << (ordinal % 64);
        }
    }

    fn has(&self, ordinal: u64) -> bool {
        let word = self.0.get((ordinal / 64) as usize).copied().unwrap_or(0);
        word & (1 << (ordinal % 64)) != 0
    }
}

/// When the run started, in milliseconds since the epoch; 0 where its text is no time.
fn started_ms(started: &str) -> u64 {
    started
        .parse::<jiff::Timestamp>()
        .map_or(0, |time| time.as_millisecond().try_into().unwrap_or(0))
}
