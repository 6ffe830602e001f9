//! What a person asks of a run under way.

use tokio::sync::mpsc::UnboundedReceiver;

use crate::run::Command;

/// A person's wish to stop.
pub(super) struct Stop {
    commands: UnboundedReceiver<Command>,
    pub(super) asked: u32,
    /// Nobody can say anything any more.
    closed: bool,
}

impl Stop {
    pub(super) fn new(commands: UnboundedReceiver<Command>) -> Self {
        Self {
            commands,
            asked: 0,
            closed: false,
        }
    }

    /// The next command; never, when nobody can give one.
    pub(super) async fn next(&mut self) -> Command {
        if !self.closed {
            match self.commands.recv().await {
                Some(Command::Stop) => {
                    self.asked += 1;
                    return Command::Stop;
                }
                Some(command) => return command,
                None => self.closed = true,
            }
        }
        std::future::pending().await
    }

    /// What the future gives; `None`: it was stopped before.
    pub(super) async fn or<T>(
        &mut self,
        future: impl std::future::Future<Output = T>,
    ) -> Option<T> {
        tokio::pin!(future);
        loop {
            tokio::select! {
                biased;
                command = self.next() => if command == Command::Stop {
                    return None;
                },
                done = &mut future => return Some(done),
            }
        }
    }

    /// It was asked for twice: nothing is waited for any more.
    pub(super) fn is_hurried(&self) -> bool {
        self.asked > 1
    }
}
