//! `meshbed builtin`: a builtin service as a program of its own, as in a container.

use std::{
    collections::BTreeMap,
    net::{IpAddr, TcpListener},
    process::ExitCode,
};

use tokio::signal::unix::{SignalKind, signal};

use super::{complain, exit};
use crate::backend::{self, APPS, Builtin};

/// Serve one service of a builtin app, as a program or in a container
///
/// It listens on $PORT, and finds its peers by MESHBED_<PEER>_URL. SIGTERM or Ctrl-C ends it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The app: shop, planted
    app: String,
    /// Its version
    #[arg(long, default_value = "v1", value_name = "V")]
    version: String,
    /// Which of its services; by default its first
    #[arg(long, value_name = "ID")]
    service: Option<String>,
    /// The address to listen at
    #[arg(long, default_value = "0.0.0.0", value_name = "ADDRESS")]
    bind: IpAddr,
    /// The port to listen on
    #[arg(long, env = "PORT", default_value_t = 8080, value_name = "PORT")]
    port: u16,
    /// Moves its latencies
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let first = APPS
        .iter()
        .find(|app| app.name == args.app)
        .and_then(|app| app.services.first())
        .map_or_else(String::new, |service| service.id.to_owned());
    let spec = Builtin {
        app: args.app.clone(),
        version: args.version.clone(),
        service: args.service.clone().unwrap_or(first),
    };
    if let Err(error) = backend::find(&spec) {
        complain(&error);
        return exit::USAGE.into();
    }
    let listener = match TcpListener::bind((args.bind, args.port)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!(
                "error: cannot listen at {}:{}: {error}",
                args.bind, args.port
            );
            return exit::ENVIRONMENT.into();
        }
    };
    let peers: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("MESHBED_"))
        .collect();
    let running = match backend::start(listener, &spec, peers, args.seed) {
        Ok(running) => running,
        Err(error) => {
            complain(&error);
            return exit::ENVIRONMENT.into();
        }
    };
    eprintln!(
        "{} {} of {} at {}",
        spec.service,
        spec.version,
        spec.app,
        running.address()
    );
    let ended = wait();
    running.stop();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot catch signals: {error}");
            exit::ENVIRONMENT.into()
        }
    }
}

/// Waits to be told to end. As the first process of a container it is not ended by a signal that it does not catch.
fn wait() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}
