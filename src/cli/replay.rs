//! `meshbed replay`: plays a capture to an address, without a scenario and without a mesh.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use clap::Args as ClapArgs;
use meshbed_proxy::{
    draw::Seed,
    policy::matcher::Matcher,
    unit::{Rate, show_duration},
};
use tokio::{net::TcpStream, time::Instant};

use super::{Global, complain, exit};
use crate::{
    event::{Request, RunEvent},
    replay::{self, AHEAD, Drive, Driving, Schedule, Totals, schedule},
    scenario::{Connections, Rewrite, Source, SourceKind},
    stats::{histogram::Histogram, quantile::Quantile},
};

/// Play a capture to an address.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The capture.
    capture: PathBuf,
    /// Where its requests go: `http://HOST[:PORT][/PREFIX]`; the `host` header becomes this host.
    #[arg(long, value_name = "URL", value_parser = Target::parse)]
    to: Target,
    /// Play so many times as fast as it was recorded.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = speed, conflicts_with = "rate")]
    speed: f64,
    /// Send evenly at this rate instead of at the recorded times: `400/s`.
    #[arg(long, value_name = "N/s", value_parser = rate)]
    rate: Option<Rate>,
    /// Play it so many times, one after the other.
    #[arg(long = "loop", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    loops: u32,
}

/// Requests that may be under way at once, as a scenario's default: far more than a server that keeps up ever has.
const MAX_IN_FLIGHT: u32 = 2000;

/// Longest that an answer may take, as a scenario's default.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What is under way gets this long after Ctrl-C.
const GRACE: Duration = Duration::from_secs(1);

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    /// Host and port as written.
    authority: String,
    /// Put before every path.
    prefix: String,
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        let accepted = "http://HOST[:PORT][/PREFIX]";
        let uri: http::Uri = text
            .parse()
            .map_err(|_| format!("it is not a URL such as {accepted}"))?;
        match (uri.scheme_str(), uri.authority(), uri.query()) {
            (Some("https"), ..) => Err("not supported yet: https".to_owned()),
            (Some("http"), Some(authority), None) if !authority.as_str().contains('@') => {
                Ok(Self {
                    authority: authority.as_str().to_owned(),
                    prefix: uri.path().trim_end_matches('/').to_owned(),
                })
            }
            _ => Err(format!("it is not a URL such as {accepted}")),
        }
    }

    fn resolve(&self) -> Result<SocketAddr, String> {
        let has_port = self
            .authority
            .parse::<http::uri::Authority>()
            .is_ok_and(|authority| authority.port().is_some());
        let with_port = if has_port {
            self.authority.clone()
        } else {
            format!("{}:80", self.authority)
        };
        with_port
            .to_socket_addrs()
            .map_err(|error| format!("cannot find {with_port}: {error}"))?
            .next()
            .ok_or_else(|| format!("{with_port} has no address"))
    }
}

fn speed(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|speed: &f64| *speed > 0.0 && speed.is_finite())
        .ok_or_else(|| "it is not a number above 0, such as 2 or 0.5".to_owned())
}

fn rate(text: &str) -> Result<Rate, String> {
    Rate::parse(text).map_err(|error| error.to_string())
}

/// Plays, and says on stderr how it went.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    let planned = match plan(args) {
        Ok(planned) => Arc::new(planned),
        Err(error) => {
            complain(&error);
            return exit::USAGE.into();
        }
    };
    let target = match args.to.resolve() {
        Ok(target) => target,
        Err(why) => {
            eprintln!("error: {why}");
            return exit::ENVIRONMENT.into();
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return exit::ENVIRONMENT.into();
        }
    };
    match runtime.block_on(play(&planned, target, global)) {
        Ok((summary, interrupted)) => {
            if !global.quiet {
                eprint!("{}", summary.shown(&planned));
            }
            if interrupted {
                exit::INTERRUPTED.into()
            } else if summary.totals.stats.done == 0 {
                eprintln!("error: {target} answered no request");
                exit::ENVIRONMENT.into()
            } else {
                exit::PASS.into()
            }
        }
        Err(why) => {
            eprintln!("error: {why}");
            exit::ENVIRONMENT.into()
        }
    }
}

fn plan(args: &Args) -> Result<Schedule, schedule::Error> {
    let source = Source {
        id: "replay".into(),
        to: "target".into(),
        kind: SourceKind::Trace {
            file: args.capture.clone(),
            speed: args.speed,
            window: None,
            loops: args.loops,
            filter: Matcher::default(),
        },
        connections: Connections::Recorded,
        max_in_flight: MAX_IN_FLIGHT,
        timeout: TIMEOUT,
        rewrite: Rewrite {
            host: Some(args.to.authority.clone()),
            path: if args.to.prefix.is_empty() {
                Vec::new()
            } else {
                vec![("^".to_owned(), args.to.prefix.replace('$', "$$"))]
            },
            ..Rewrite::default()
        },
    };
    let schedule = schedule::from_sources(&[source], Seed(0), u64::MAX)?;
    Ok(match args.rate {
        Some(rate) => schedule.at_rate(rate),
        None => schedule,
    })
}

/// Drives the schedule to its end, or until a signal; `true`: a signal came.
async fn play(
    planned: &Arc<Schedule>,
    target: SocketAddr,
    global: &Global,
) -> Result<(Summary, bool), String> {
    TcpStream::connect(target)
        .await
        .map_err(|error| format!("cannot connect to {target}: {error}"))?;
    let (tell, told) = mpsc::channel();
    let drive = Drive {
        targets: planned
            .sources
            .iter()
            .map(|lane| (Arc::clone(&lane.service), target))
            .collect(),
        run: std::process::id().into(),
        origin: Instant::now() + AHEAD,
    };
    let driving = replay::start(Arc::clone(planned), &drive, move |event| {
        // Nobody listens any more only when the program ends.
        let _ = tell.send(event);
    })
    .map_err(|error| error.to_string())?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(watch(Arc::clone(&interrupted)));
    let totals = drive_to_the_end(driving, global, &interrupted).await;
    watcher.abort();
    let totals = totals.map_err(|error| error.to_string())?;
    let mut summary = Summary::new(totals);
    for event in told {
        if let RunEvent::Request(request) = event {
            summary.add(&request);
        }
    }
    Ok((summary, interrupted.load(Ordering::Relaxed)))
}

/// Sets the flag at the first Ctrl-C or SIGTERM.
async fn watch(interrupted: Arc<AtomicBool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    interrupted.store(true, Ordering::Relaxed);
}

/// Waits for the end with a line a second; a signal stops it.
async fn drive_to_the_end(
    driving: Driving,
    global: &Global,
    interrupted: &AtomicBool,
) -> Result<Totals, replay::Died> {
    let begin = Instant::now();
    // Finer than a second, so that a signal is met soon.
    let mut poll = tokio::time::interval(Duration::from_millis(50));
    let mut sec = 0;
    let mut stopping = false;
    loop {
        tokio::select! {
            () = driving.ended() => return driving.join().await,
            _ = poll.tick() => {}
        }
        if interrupted.load(Ordering::Relaxed) && !stopping {
            stopping = true;
            driving.stop(GRACE);
        }
        if begin.elapsed().as_secs() > sec {
            let tick = driving.tick(sec);
            sec += 1;
            if !global.quiet {
                eprintln!(
                    "{:>4}s  due {}  sent {}  done {}  under way {}  late p99 {}",
                    tick.t_us / 1_000_000,
                    tick.planned,
                    tick.sent,
                    tick.done,
                    tick.in_flight,
                    micros(tick.late_p99_us),
                );
            }
        }
    }
}

/// What a replay came to.
struct Summary {
    totals: Totals,
    /// Response, service, blocked, lateness.
    times: [Histogram; 4],
    statuses: BTreeMap<u16, u64>,
    failures: BTreeMap<String, u64>,
    end_us: u64,
}

const KINDS: [&str; 4] = ["response", "service", "blocked", "lateness"];

impl Summary {
    fn new(totals: Totals) -> Self {
        Self {
            totals,
            times: Default::default(),
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
            end_us: 0,
        }
    }

    fn add(&mut self, request: &Request) {
        self.end_us = self.end_us.max(request.done_us);
        let [response, service, blocked, lateness] = &mut self.times;
        // Only whole answers have a response time; lateness is the generator's own and has nothing to do with answers.
        record(lateness, Some(request.lateness_us()));
        record(blocked, request.blocked_us());
        if request.complete {
            record(response, Some(request.response_us()));
            record(service, request.service_us());
        }
        match (&request.why, request.status) {
            (Some(why), _) => *self.failures.entry(why.clone()).or_default() += 1,
            (None, Some(status)) => *self.statuses.entry(status).or_default() += 1,
            (None, None) => {}
        }
    }

    fn shown(&self, planned: &Schedule) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(planned, &mut text);
        text
    }

    fn write(&self, planned: &Schedule, to: &mut String) -> std::fmt::Result {
        let stats = self.totals.stats;
        let connections: std::collections::BTreeSet<u64> =
            planned.planned.iter().map(|one| one.connection).collect();
        writeln!(
            to,
            "\n{} of {} requests sent over {} connections in {}, {} answered in full",
            stats.sent,
            planned.planned.len(),
            connections.len(),
            micros(self.end_us),
            stats.done
        )?;
        for trace in planned
            .sources
            .iter()
            .filter_map(|lane| lane.trace.as_ref())
        {
            for (reason, count) in &trace.skipped {
                writeln!(to, "  not in the schedule: {count} {reason}")?;
            }
        }
        writeln!(
            to,
            "\n{:<10}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "", "p50", "p90", "p99", "p99.9", "max"
        )?;
        for (kind, times) in KINDS.iter().zip(&self.times) {
            write!(to, "{kind:<10}")?;
            for value in [
                times.quantile(Quantile::P50),
                times.quantile(Quantile::P90),
                times.quantile(Quantile::P99),
                times.quantile(Quantile::P999),
                times.max(),
            ] {
                let value = value.map_or_else(|| "-".to_owned(), micros);
                write!(to, "{value:>10}")?;
            }
            writeln!(to)?;
        }
        writeln!(
            to,
            "response: from when a request was due; service: from when it was sent"
        )?;
        if !self.statuses.is_empty() {
            write!(to, "\nstatus  ")?;
            for (status, count) in &self.statuses {
                write!(to, "  {status}: {count}")?;
            }
            writeln!(to)?;
        }
        for (why, count) in &self.failures {
            writeln!(to, "no response: {count} {why}")?;
        }
        if stats.overflow > 0 {
            writeln!(
                to,
                "{} requests waited because {MAX_IN_FLIGHT} were under way: the server could not keep up",
                stats.overflow
            )?;
        }
        Ok(())
    }
}

fn record(times: &mut Histogram, us: Option<u64>) {
    if let Some(us) = us {
        times.record(us);
    }
}

/// Microseconds for people: three digits are what the histogram knows.
fn micros(us: u64) -> String {
    show_duration(Duration::from_micros(us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused_with_what_is_accepted() {
        for (text, authority, prefix) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", ""),
            ("http://shop.test/", "shop.test", ""),
            ("http://shop.test/v1/", "shop.test", "/v1"),
            ("http://[::1]:80", "[::1]:80", ""),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!((&*target.authority, &*target.prefix), (authority, prefix));
        }
        for (text, says) in [
            ("https://shop.test", "not supported yet: https"),
            ("shop.test:80", "http://HOST"),
            ("/path", "http://HOST"),
            ("http://a@shop.test", "http://HOST"),
            ("http://shop.test?q=1", "http://HOST"),
            ("", "http://HOST"),
        ] {
            let error = Target::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn an_address_without_a_port_is_port_80() {
        let resolve = |text| Target::parse(text).unwrap().resolve().unwrap().to_string();
        assert_eq!(resolve("http://127.0.0.1"), "127.0.0.1:80");
        assert_eq!(resolve("http://[::1]"), "[::1]:80");
        assert_eq!(resolve("http://127.0.0.1:8080"), "127.0.0.1:8080");
    }

    #[test]
    fn speeds_and_rates_are_above_0() {
        assert!(speed("0").is_err() && speed("-1").is_err() && speed("nan").is_err());
        assert!(speed("0.5").is_ok());
        assert!(rate("0/s").is_err() && rate("400").is_err() && rate("400/s").is_ok());
    }
}
