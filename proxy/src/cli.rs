//! The command line of a stand-alone proxy, for `meshbed-proxy` and `meshbed proxy`.

use std::{
    fs, io, num::NonZeroUsize, path::PathBuf, process::ExitCode, sync::Arc, thread, time::Duration,
};

use clap::ValueEnum;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    app::{Deps, Handle, Proxy, StartError},
    draw::Seed,
    envoy::{self, Loaded, Options},
    observe::Silent,
};

/// How long requests under way may take to end after SIGTERM or SIGINT; a second signal ends them at once.
const DRAIN: Duration = Duration::from_secs(10);
/// Exit code for a file that cannot be used.
const INVALID: u8 = 2;
/// Exit code for a port that cannot be had, and the like.
const ENVIRONMENT: u8 = 3;

/// Run one stand-alone proxy by an Envoy v3 bootstrap file
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Envoy v3 bootstrap, YAML or JSON
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Event loops; default: one a core
    #[arg(long, value_name = "N")]
    pub concurrency: Option<NonZeroUsize>,
    /// Seed of all choices (faults, mirrored shares); default: drawn and printed
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Serve, or only say whether the file can be used
    #[arg(long, value_enum, default_value_t = Mode::Serve)]
    pub mode: Mode,
    /// Warn of what is not supported yet instead of refusing it
    #[arg(long)]
    pub lenient: bool,
}

/// What is done with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Run the proxy.
    Serve,
    /// Read the file, tell what is wrong, touch nothing.
    Validate,
}

/// Runs the proxy until SIGTERM, SIGINT or `POST /quitquitquit`; `quiet`: only problems are told. Exit codes: 0 done,
/// 2 the file cannot be used, 3 a port or a thread cannot be had.
pub fn run(args: &Args, quiet: bool) -> ExitCode {
    let say = |text: &str| {
        if !quiet {
            eprintln!("{text}");
        }
    };
    let path = args.config.display();
    let seed = Seed(args.seed.unwrap_or_else(rand::random));
    let Loaded {
        config,
        warnings,
        bootstrap,
    } = match load(args, seed) {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in problems {
                eprintln!("error: {path}: {problem}");
            }
            return INVALID.into();
        }
    };
    for warning in warnings {
        eprintln!("warning: {path}: {warning}");
    }
    if args.mode == Mode::Validate {
        say(&format!(
            "{path}: can be used (listeners: {}, clusters: {})",
            config.listeners.len(),
            config.clusters.len()
        ));
        return ExitCode::SUCCESS;
    }
    let end = match End::listen() {
        Ok(end) => end,
        Err(error) => {
            eprintln!("error: cannot wait for signals: {error}");
            return ENVIRONMENT.into();
        }
    };
    let deps = Deps {
        observer: Arc::new(Silent),
        workers: workers(args.concurrency),
        ..Deps::default()
    };
    let handle = match Proxy::start(config, deps) {
        Ok(handle) => handle,
        Err(error) => {
            eprintln!("error: {path}: {error}");
            return match error {
                StartError::Config(_) => INVALID.into(),
                StartError::Bind { .. } | StartError::Worker(_) => ENVIRONMENT.into(),
            };
        }
    };
    handle.describe(bootstrap);
    say(&format!("seed {}", seed.0));
    for (name, address) in handle.addresses() {
        say(&format!("{name} listens on {address}"));
    }
    end.serve(handle);
    ExitCode::SUCCESS
}

fn load(args: &Args, seed: Seed) -> Result<Loaded, Vec<String>> {
    let text = fs::read_to_string(&args.config).map_err(|error| vec![error.to_string()])?;
    let options = Options {
        seed,
        lenient: args.lenient,
    };
    envoy::read(&text, options)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn workers(concurrency: Option<NonZeroUsize>) -> usize {
    concurrency
        .or_else(|| thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get)
}

/// The reasons to end, listened for from before the proxy is started: a signal that comes early is not missed.
struct End {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    reopen: Signal,
}

impl End {
    fn listen() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let reopen = signal(SignalKind::user_defined1())?;
        drop(entered);
        Ok(Self {
            runtime,
            terminate,
            interrupt,
            reopen,
        })
    }

    /// Waits for a reason to end, drains, and ends; a second signal ends the draining.
    fn serve(self, handle: Handle) {
        let Self {
            runtime,
            mut terminate,
            mut interrupt,
            mut reopen,
        } = self;
        let handle = Arc::new(handle);
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => break,
                    _ = interrupt.recv() => break,
                    () = handle.asked_to_quit() => break,
                    _ = reopen.recv() => handle.reopen_logs(),
                }
            }
            let draining = Arc::clone(&handle);
            tokio::select! {
                _ = tokio::task::spawn_blocking(move || draining.drain(DRAIN)) => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        handle.flush_logs();
        // A drain that was cut short still waits on its thread; the process ends without it.
        runtime.shutdown_background();
    }
}
