//! `meshbed replay`: plays a capture to an address, without a scenario and without a mesh.

use std::{
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
use meshbed_proxy::unit::Rate;
use tokio::{net::TcpStream, time::Instant};

use self::{bundle::Bundle, summary::Summary};
use super::{
    Global, complain, exit,
    run::{absolute, begin, run_number, tell_undone},
};
use crate::{
    event::{RunEvent, RunState},
    journal::{self, Journal},
    replay::{self, AHEAD, Drive, Driving, Schedule, Totals},
};

mod bundle;
mod plan;
mod summary;

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
    /// Write the report into this folder instead of one under `reports`
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

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

/// Plays, says on stderr how it went, and writes the report.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    let code = match replay(args, global) {
        Ok(code) => code,
        Err(Problem::File(error)) => {
            complain(&*error);
            exit::USAGE
        }
        Err(Problem::Environment(error)) => {
            complain(&*error);
            exit::ENVIRONMENT
        }
    };
    code.into()
}

/// Whose fault it is that nothing can be played.
enum Problem {
    /// The capture's.
    File(Box<dyn std::error::Error>),
    /// This machine's, or the target's.
    Environment(Box<dyn std::error::Error>),
}

fn replay(args: &Args, global: &Global) -> Result<exit::Exit, Problem> {
    let environment = |error: Box<dyn std::error::Error>| Problem::Environment(error);
    let schedule = plan::schedule(args).map_err(|error| Problem::File(error.into()))?;
    let schedule = Arc::new(schedule);
    let target = args.to.resolve().map_err(|why| environment(why.into()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| environment(error.into()))?;
    runtime
        .block_on(TcpStream::connect(target))
        .map_err(|error| environment(format!("cannot connect to {target}: {error}").into()))?;
    let scenario = Arc::new(plan::scenario(args, &schedule));
    journal::recover(&journal::folder())
        .map(|undone| tell_undone("left by a killed run", &undone))
        .map_err(|error| environment(error.into()))?;
    let mark = format!("{:010x}", run_number(&scenario));
    let journal =
        Journal::open(&journal::folder(), &mark).map_err(|error| environment(error.into()))?;
    let code = begin(&scenario, args.out.as_deref(), &journal)
        .map_err(|error| environment(error.into()))
        .and_then(|(writer, entry)| {
            let partial = absolute(writer.partial());
            let bundle = Bundle::begin(&scenario, writer);
            let code = report(&schedule, target, global, &runtime, bundle);
            // Renamed, or removed with the writer.
            if let Some(entry) = entry.filter(|_| !partial.exists()) {
                let _ = journal.undone(entry);
            }
            code
        });
    tell_undone("left by this replay", &journal.close());
    code
}

/// Plays the schedule and writes its report.
fn report(
    schedule: &Arc<Schedule>,
    target: SocketAddr,
    global: &Global,
    runtime: &tokio::runtime::Runtime,
    mut bundle: Bundle,
) -> Result<exit::Exit, Problem> {
    let environment = |error: Box<dyn std::error::Error>| Problem::Environment(error);
    let (totals, state) = runtime
        .block_on(play(schedule, target, global, &mut bundle))
        .map_err(environment)?;
    let unanswered = totals.stats.done == 0;
    let code = match state {
        RunState::Interrupted => exit::INTERRUPTED,
        _ if unanswered => exit::ENVIRONMENT,
        _ => exit::PASS,
    };
    let summary = Summary {
        schedule,
        totals,
        measured: bundle.measured(),
        failures: bundle.failures(),
    };
    if !global.quiet {
        eprint!("{summary}");
    }
    let dir = bundle
        .finish(schedule, &totals, state, code)
        .map_err(|error| environment(error.into()))?;
    if !global.quiet {
        eprintln!("report: {}", dir.display());
    }
    if unanswered {
        eprintln!("error: {target} answered no request");
    }
    Ok(code)
}

/// Drives the schedule to its end, or until a signal.
async fn play(
    schedule: &Arc<Schedule>,
    target: SocketAddr,
    global: &Global,
    bundle: &mut Bundle,
) -> Result<(Totals, RunState), Box<dyn std::error::Error>> {
    let (tell, told) = mpsc::channel();
    let drive = Drive {
        targets: schedule
            .sources
            .iter()
            .map(|lane| (Arc::clone(&lane.service), target))
            .collect(),
        run: std::process::id().into(),
        origin: Instant::now() + AHEAD,
        tls: std::collections::BTreeMap::new(),
        numbers: None,
    };
    bundle.begun();
    let driving = replay::start(Arc::clone(schedule), &drive, move |event| {
        // Nobody listens any more only when the program ends.
        let _ = tell.send(event);
    })?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn(watch(Arc::clone(&interrupted)));
    let totals = drive_to_the_end(driving, global, &interrupted, &told, bundle).await;
    watcher.abort();
    let totals = totals?;
    let state = if interrupted.load(Ordering::Relaxed) {
        RunState::Interrupted
    } else {
        RunState::Finished
    };
    bundle.ended(state);
    Ok((totals, state))
}

/// Sets the flag at the first Ctrl-C, SIGTERM, or closing of the terminal.
async fn watch(interrupted: Arc<AtomicBool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut hangup)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    interrupted.store(true, Ordering::Relaxed);
}

/// Waits for the end with a line a second; a signal stops it.
async fn drive_to_the_end(
    driving: Driving,
    global: &Global,
    interrupted: &AtomicBool,
    told: &mpsc::Receiver<RunEvent>,
    bundle: &mut Bundle,
) -> Result<Totals, replay::Died> {
    let begin = Instant::now() + AHEAD;
    // Finer than a second, so that a signal is met soon and events do not pile up.
    let mut poll = tokio::time::interval(Duration::from_millis(50));
    let mut sec = 0;
    let mut stopping = false;
    loop {
        let over = tokio::select! {
            () = driving.ended() => true,
            _ = poll.tick() => false,
        };
        for event in told.try_iter() {
            bundle.add(&event);
        }
        if over {
            return driving.join().await;
        }
        if interrupted.load(Ordering::Relaxed) && !stopping {
            stopping = true;
            driving.stop(GRACE);
        }
        let now = Instant::now().saturating_duration_since(begin);
        if now.as_secs() > sec {
            let tick = driving.tick(sec);
            sec += 1;
            if !global.quiet {
                eprintln!("{}", summary::line(&tick));
            }
            bundle.add(&RunEvent::Tick(tick));
        }
    }
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
