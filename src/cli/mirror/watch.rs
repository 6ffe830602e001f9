//! Runs a session, and turns signals and changes of the file into orders.

use std::{
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
};

use super::wanted::Asked;
use crate::{
    cli::exit,
    event::RunEvent,
    mirror::{Mirrored, Order, Session, Source},
    tui,
};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The first signal ends it, the second does so without waiting, one more ends the program as it is.
const PATIENCE: u32 = 2;

/// Signals, from when it is made.
pub(super) struct Watch {
    runtime: tokio::runtime::Runtime,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (interrupt, terminate, hangup) = {
            let _entered = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            )
        };
        Ok(Self {
            runtime,
            interrupt,
            terminate,
            hangup,
        })
    }

    /// Runs the session to its end.
    pub(super) fn run(
        self,
        session: Session,
        source: Source,
        asked: &Asked,
        (order, mut orders): (UnboundedSender<Order>, UnboundedReceiver<Order>),
        show: impl FnMut(&RunEvent),
    ) -> Mirrored {
        let Self {
            runtime,
            mut interrupt,
            mut terminate,
            mut hangup,
        } = self;
        runtime.block_on(async {
            let session = session.run(source, &mut orders, show);
            tokio::pin!(session);
            let mut look = tokio::time::interval(LOOK);
            let mut seen = asked.file().and_then(stamp);
            let mut asked_to_end = 0_u32;
            loop {
                let reload = tokio::select! {
                    biased;
                    _ = interrupt.recv() => false,
                    _ = terminate.recv() => false,
                    _ = hangup.recv() => {
                        seen = asked.file().and_then(stamp);
                        true
                    }
                    _ = look.tick(), if asked.file().is_some() => {
                        let now = asked.file().and_then(stamp);
                        // A file that is being replaced is not there for a moment.
                        if now.is_none() || now == seen {
                            continue;
                        }
                        seen = now;
                        true
                    }
                    mirrored = &mut session => return mirrored,
                };
                if reload {
                    let _ = order.send(reloaded(asked));
                    continue;
                }
                asked_to_end += 1;
                if asked_to_end > PATIENCE {
                    tui::terminal::restore();
                    // The journal has what is left; the next run or `cleanup` undoes it.
                    std::process::exit(i32::from(exit::INTERRUPTED.0));
                }
                let _ = order.send(Order::Stop);
            }
        })
    }
}

/// What tells one state of a file from another.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let facts = std::fs::metadata(path).ok()?;
    Some((facts.modified().ok()?, facts.len()))
}

fn reloaded(asked: &Asked) -> Order {
    if asked.file().is_none() {
        return Order::Note("nothing to reload: there is no `--diff` file".to_owned());
    }
    match asked.again() {
        Ok(scenario) => Order::Reload(Box::new(scenario)),
        Err(problems) => Order::Note(format!("not reloaded, the old settings stay: {problems}")),
    }
}
