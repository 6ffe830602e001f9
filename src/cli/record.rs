//! `meshbed record`: packets from a network interface into a file.

use std::{
    fs::File,
    io::{self, BufWriter},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Args as ClapArgs;
use tokio::signal::unix::{SignalKind, signal};

use super::{complain, exit};
use crate::capture::{
    live::{Error, Live},
    write::Writer,
};

/// Record the packets of a network interface into a pcap file, until stopped (Ctrl-C)
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Args {
    /// The interface; `any` is all of them
    #[arg(short, long, value_name = "IFACE")]
    interface: String,
    /// Which packets, as in pcap-filter(7): `tcp port 8080`
    #[arg(short, long, value_name = "BPF")]
    filter: Option<String>,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args, quiet: bool) -> ExitCode {
    // Signals are awaited before anything can be lost to them.
    let stop = match stop_on_signals() {
        Ok(stop) => stop,
        Err(e) => {
            eprintln!("error: cannot listen to signals: {e}");
            return exit::ENVIRONMENT.into();
        }
    };
    let mut live = match Live::open(&args.interface, args.filter.as_deref()) {
        Ok(live) => live,
        Err(e) => {
            complain(&e);
            let is_usage = matches!(e, Error::Filter { .. });
            return if is_usage {
                exit::USAGE.into()
            } else {
                exit::ENVIRONMENT.into()
            };
        }
    };
    let out = File::create(&args.write).and_then(|f| Writer::new(BufWriter::new(f), live.link()));
    let mut out = match out {
        Ok(out) => out,
        Err(e) => {
            eprintln!("error: cannot write `{}`: {e}", args.write.display());
            return exit::ENVIRONMENT.into();
        }
    };
    if !quiet {
        eprintln!(
            "recording {} into {} (Ctrl-C stops)",
            args.interface,
            args.write.display()
        );
    }
    match live.record(&mut out, || stop.load(Ordering::Relaxed)) {
        Ok(o) => {
            if !quiet || o.dropped + o.interface_dropped > 0 {
                eprintln!(
                    "{} packets, {} bytes; dropped: {} by the kernel, {} by the interface",
                    o.packets, o.bytes, o.dropped, o.interface_dropped
                );
            }
            ExitCode::SUCCESS
        }
        Err(e) => {
            complain(&e);
            exit::ENVIRONMENT.into()
        }
    }
}

/// A flag that SIGINT and SIGTERM raise.
fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(inside);
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            raised.store(true, Ordering::Relaxed);
        })?;
    Ok(stop)
}
