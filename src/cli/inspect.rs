//! `meshbed inspect`: every exchange in a capture, and every reason something was skipped.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args as ClapArgs;

mod json;
mod table;

use super::{complain, exit};
use crate::capture::{self, Error, Exchange, Options, Summary};

/// List every exchange in a capture, and every reason something was skipped
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Args {
    /// The capture: pcap or pcapng, gzipped or not
    pub capture: PathBuf,
    /// Print one JSON object a line: exchanges in order of their first byte, then one summary
    #[arg(long)]
    pub json: bool,
    /// Secrets to open TLS with (`SSLKEYLOGFILE`)
    #[arg(long, value_name = "FILE", hide = true)]
    pub keylog: Option<PathBuf>,
}

/// How exchanges are shown.
trait Show {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()>;
    fn exchange(&mut self, out: &mut dyn Write, exchange: &Exchange) -> io::Result<()>;
    fn end(&mut self, out: &mut dyn Write, summary: &Summary) -> io::Result<()>;
}

/// Why the listing stopped.
enum Stop {
    Capture(Error),
    Output(io::Error),
}

/// Runs the subcommand.
pub(crate) fn run(args: &Args) -> ExitCode {
    if args.keylog.is_some() {
        eprintln!("error: not supported yet: TLS key logs (`--keylog`)");
        return exit::USAGE.into();
    }
    let mut show: Box<dyn Show> = if args.json {
        Box::new(json::Json::default())
    } else {
        Box::new(table::Table::new(io::stdout().is_terminal()))
    };
    match list(args, show.as_mut()) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has seen enough (`| head`) is no failure.
        Err(Stop::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Stop::Output(e)) => {
            eprintln!("error: cannot write to standard output: {e}");
            exit::ENVIRONMENT.into()
        }
        Err(Stop::Capture(e)) => {
            complain(&e);
            let is_ours = matches!(e, Error::Sort { .. });
            if is_ours {
                exit::ENVIRONMENT.into()
            } else {
                exit::USAGE.into()
            }
        }
    }
}

fn list(args: &Args, show: &mut dyn Show) -> Result<(), Stop> {
    let mut reader = capture::open(&args.capture, &Options::default()).map_err(Stop::Capture)?;
    let mut out = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
    show.begin(&mut out).map_err(Stop::Output)?;
    let mut failure = None;
    for exchange in &mut reader {
        match exchange {
            Ok(exchange) => show.exchange(&mut out, &exchange).map_err(Stop::Output)?,
            // What was found before the damage is shown all the same.
            Err(e) => failure = Some(e),
        }
    }
    show.end(&mut out, reader.summary())
        .and_then(|()| out.flush())
        .map_err(Stop::Output)?;
    drop(out);
    failure.map_or(Ok(()), |e| Err(Stop::Capture(e)))
}
