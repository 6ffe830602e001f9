//! `meshbed mirror`: copies of live traffic go to shadow versions, and their answers are compared.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args as ClapArgs;
use meshbed_proxy::{
    policy::mirror::SampleKey,
    unit::{ByteSize, Share, parse_duration},
};
use tokio::sync::mpsc::unbounded_channel;

use self::{bundle::Bundle, show::Shown, watch::Watch};
use super::{
    Global, check, complain, exit,
    run::{absolute, begin, run_number, tell_undone},
};
use crate::{
    journal::{self, Journal},
    mirror::Session,
    run::Failure,
    scenario::Scenario,
};

mod bundle;
pub(super) mod ends;
mod show;
pub(super) mod wanted;
mod watch;
mod way;

/// Mirror live traffic to shadow versions and compare the answers, until stopped
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    way: Way,
    /// The primary, which answers the clients: HOST:PORT or `https://HOST:PORT`; with `--intercept` found where it listens
    #[arg(long, value_name = "ADDR", required_unless_present_any = ["tap", "intercept"], conflicts_with = "tap")]
    to: Option<String>,
    /// A shadow version: HOST:PORT or `https://HOST:PORT`; several get the same requests, or each its own share of them
    #[arg(long, value_name = "[ID=]ADDR[,percent=P]", required = true)]
    shadow: Vec<String>,
    /// A second instance of the primary's version, whose differences are noise; `self`: the primary is asked twice
    #[arg(long, value_name = "[ID=]ADDR[,percent=P]")]
    control: Option<String>,
    /// Copy this share of the requests, to shadows that name none of their own
    #[arg(long, value_name = "P", default_value = "100%", value_parser = share)]
    percent: Share,
    /// What the choice of requests is keyed by: `ordinal`, `header:NAME` or `cookie:NAME`
    #[arg(long, value_name = "KEY", default_value = "ordinal", value_parser = wanted::key)]
    key: SampleKey,
    /// Copy only requests of these methods
    #[arg(long, value_name = "METHOD")]
    method: Vec<String>,
    /// Copy only requests of paths like this: `/cart/*`
    #[arg(long, value_name = "GLOB")]
    path: Option<String>,
    /// What to do with requests that may change something (all but GET, HEAD, OPTIONS, TRACE)
    #[arg(long = "unsafe", value_name = "WHAT", default_value = "refuse")]
    unsafe_methods: Unsafe,
    /// Set a header on copies, such as another credential: `NAME: VALUE`; `NAME: $(env.VAR)` takes it from the environment
    #[arg(long, visible_alias = "header", value_name = "NAME: VALUE", value_parser = wanted::header)]
    set_header: Vec<(String, String)>,
    /// Remove a header from copies
    #[arg(long, value_name = "NAME", value_parser = wanted::header_name)]
    remove_header: Vec<String>,
    /// Copies under way at once, for each shadow and event loop [default: 64]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: Option<u32>,
    /// Copies that may wait; more are shed [default: 256]
    #[arg(long, value_name = "N")]
    queue: Option<u32>,
    /// Longest time from a copy's sending to the end of its answer [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    deadline: Option<Duration>,
    /// Longest request body that is copied [default: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    request_body: Option<ByteSize>,
    /// So much of each answer's body is compared; beyond it length and hash [default: 256KiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    response_body: Option<ByteSize>,
    /// How answers are compared: a YAML file with `diff:` as in a scenario; read again when it changes, and on SIGHUP
    #[arg(long, value_name = "FILE", visible_alias = "scenario")]
    diff: Option<PathBuf>,
    /// What primary and shadows speak: `auto` is what the client speaks
    #[arg(long, value_name = "WHAT", default_value = "auto")]
    protocol: Spoken,
    #[command(flatten)]
    tls: ends::Tls,
    /// Event loops [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// The seed of the choice of requests [default: drawn]
    #[arg(long, value_name = "N", value_parser = check::seed)]
    seed: Option<u64>,
    /// End by itself after this time
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// Show no screens, only one status line a second
    #[arg(long)]
    headless: bool,
    /// Write the report into this folder instead of one under `reports`
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// How to get at the traffic: exactly one.
#[derive(Debug, ClapArgs)]
struct Way {
    /// Listen here for the clients of the primary: HOST:PORT
    #[arg(long, value_name = "ADDR", required_unless_present_any = ["tap", "intercept"], conflicts_with_all = ["tap", "intercept"])]
    listen: Option<String>,
    /// Read requests and answers off this network interface (`any` is all); the primary is not touched
    #[arg(
        long,
        value_name = "IFACE",
        requires = "port",
        conflicts_with = "intercept"
    )]
    tap: Option<String>,
    /// With `--tap`: the primary's port
    #[arg(long, value_name = "PORT", requires = "tap", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Take over this port of the machine: new connections to it come to us, and none is dropped on the way in or out
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    intercept: Option<u16>,
    /// With `--intercept`: on the way out wait so long for redirected connections [default: 30s]
    #[arg(long, value_name = "TIME", requires = "intercept", value_parser = duration)]
    leave_within: Option<Duration>,
}

/// What becomes of requests that may change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Unsafe {
    /// They are not copied, and counted.
    Refuse,
    /// They are copied like others.
    Allow,
}

/// What primary and shadows speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Spoken {
    /// What the client speaks: HTTP/1.1, or HTTP/2 without TLS.
    Auto,
    /// HTTP/2 without TLS.
    H2,
}

fn share(text: &str) -> Result<Share, String> {
    Share::parse(text).map_err(|error| error.to_string())
}

fn size(text: &str) -> Result<ByteSize, String> {
    ByteSize::parse(text).map_err(|error| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .map_err(|error| error.to_string())
        .and_then(|duration| {
            if duration.is_zero() {
                Err("it is no time at all".to_owned())
            } else {
                Ok(duration)
            }
        })
}

/// Mirrors, and writes the report at the end.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    // First of all, so that from here on a signal ends it in good order.
    let watch = match Watch::new() {
        Ok(watch) => watch,
        Err(error) => {
            eprintln!("error: cannot catch signals: {error}");
            return exit::ENVIRONMENT.into();
        }
    };
    // A take-over that was killed may still stand between us and the service.
    if args.way.intercept.is_some()
        && let Err(error) = recover()
    {
        complain(&error);
        return exit::ENVIRONMENT.into();
    }
    let way = match way::Way::of(args) {
        Ok(way) => way,
        Err(way::NoWay::Usage(problem)) => {
            eprintln!("error: {problem}");
            return exit::USAGE.into();
        }
        Err(way::NoWay::Environment(error)) => {
            complain(&error);
            return exit::ENVIRONMENT.into();
        }
    };
    let wanted = match wanted::Asked::of(args, way) {
        Ok(wanted) => wanted,
        Err(problem) => {
            eprintln!("{problem}");
            return exit::USAGE.into();
        }
    };
    let code = match mirror(args, global, watch, &wanted) {
        Ok(code) => code,
        Err(error) => {
            complain(&*error);
            exit::ENVIRONMENT
        }
    };
    code.into()
}

fn mirror(
    args: &Args,
    global: &Global,
    watch: Watch,
    asked: &wanted::Asked,
) -> Result<exit::Exit, Box<dyn std::error::Error>> {
    let scenario = Arc::new(asked.scenario());
    // With `--intercept` that was done first of all.
    if args.way.intercept.is_none() {
        recover()?;
    }
    let mark = format!("{:010x}", run_number(&scenario));
    let journal = Journal::open(&journal::folder(), &mark)?;
    let code = play(args, global, watch, asked, &scenario, &journal);
    tell_undone("left by this mirror", &journal.close());
    code
}

/// Undoes what killed runs have left.
fn recover() -> Result<(), Failure> {
    let folder = journal::folder();
    let undone = journal::recover(&folder).map_err(|error| {
        let folder = folder.display();
        Failure::Environment(format!("cannot read the journals in {folder}: {error}"))
    })?;
    tell_undone("left by a killed run", &undone);
    Ok(())
}

/// Gets at the traffic, mirrors it into a report, and ends.
fn play(
    args: &Args,
    global: &Global,
    watch: Watch,
    asked: &wanted::Asked,
    scenario: &Arc<Scenario>,
    journal: &Journal,
) -> Result<exit::Exit, Box<dyn std::error::Error>> {
    let session = Session::start(Arc::clone(scenario))?;
    let (source, take_over) = asked
        .way
        .open(scenario, asked.ends.clone(), &session, journal)?;
    let (writer, entry) = begin(scenario, args.out.as_deref(), journal)?;
    let partial = absolute(writer.partial());
    let (order, orders) = unbounded_channel();
    let mut shown = Shown::start(scenario, &asked.ends, args.headless, global, order.clone());
    shown.begins(&source.describe());
    let bundle = Bundle::begin(writer);
    let mirrored = watch.run(session, source, asked, (order, orders), |event| {
        bundle.add(event);
        shown.event(event);
    });
    if let Some(take_over) = take_over {
        take_over.end(journal)?;
    }
    let summary = show::summary(&mirrored);
    let dir = bundle.finish(&mirrored);
    shown.close();
    // Renamed, or removed with the writer.
    if let Some(entry) = entry.filter(|_| !partial.exists()) {
        let _ = journal.undone(entry);
    }
    if !global.quiet {
        eprint!("{summary}");
        eprintln!("report: {}", dir?.display());
    }
    Ok(exit::PASS)
}
