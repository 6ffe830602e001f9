//! One half of a connection on its way from bytes to messages.

use std::collections::VecDeque;

use super::Sink;
use crate::capture::http1::Parser;
use crate::capture::stream::Piece;
use crate::capture::summary::{Direction, Lost};

/// The longest start line that is waited for when a new beginning is looked for.
const BEGINNING_MAX: usize = 64 * 1024;
/// How many losses a lane keeps to join what follows on the like.
const LOSSES_MAX: usize = 64;
/// What held input costs beside its bytes.
const INPUT_COST: usize = 64;

/// Bytes in their place, borrowed from a packet or a held piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bit<'a> {
    pub offset: u64,
    pub at: u64,
    pub ack: Option<u32>,
    pub data: &'a [u8],
}

impl<'a> Bit<'a> {
    /// The bytes of a held piece.
    pub(super) fn of(piece: &'a Piece) -> Self {
        Self {
            offset: piece.offset,
            at: piece.at,
            ack: piece.ack,
            data: &piece.data,
        }
    }

    /// What follows the first `n` bytes.
    pub(super) fn after(self, n: usize) -> Bit<'a> {
        Bit {
            offset: self.offset + n as u64,
            data: self.data.get(n..).unwrap_or_default(),
            ..self
        }
    }

    /// A copy that can be held.
    pub(super) fn piece(self) -> Piece {
        Piece {
            offset: self.offset,
            at: self.at,
            ack: self.ack,
            data: self.data.to_vec(),
        }
    }
}

/// What comes to a lane, in order.
#[derive(Debug)]
pub(super) enum Input {
    Data(Piece),
    Gap { offset: u64, length: u64 },
    End { at: u64 },
}

impl Input {
    fn cost(&self) -> usize {
        match self {
            Self::Data(piece) => piece.data.len() + INPUT_COST,
            Self::Gap { .. } | Self::End { .. } => INPUT_COST,
        }
    }
}

/// How a lane reads.
#[derive(Debug, Default)]
pub(super) enum Mode {
    /// Not known yet: the first bytes will tell.
    #[default]
    Sniff,
    /// Messages.
    Http(Box<Parser>),
    /// The place is lost, or never was known: a message is looked for where segments begin.
    Search,
    /// Nothing for us, for this reason.
    Opaque(&'static str),
}

impl Mode {
    /// The same mode for another lane; one that has state begins anew.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Sniff | Self::Http(_) => Self::Sniff,
            Self::Search => Self::Search,
            Self::Opaque(reason) => Self::Opaque(reason),
        }
    }
}

/// Where a message begins.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Begun {
    pub offset: u64,
    pub at: u64,
    pub ack: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Loss {
    offset: u64,
    bytes: u64,
    reason: &'static str,
}

impl Begun {
    /// A message that begins with these bytes.
    fn of(bit: Bit<'_>) -> Self {
        Self {
            offset: bit.offset,
            at: bit.at,
            ack: bit.ack,
        }
    }
}

/// One half of a connection on its way from bytes to messages.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub mode: Mode,
    /// What waits until the lane can go on.
    pub held: VecDeque<Input>,
    /// What that costs in memory.
    pub held_cost: usize,
    /// The head that is being read.
    pub begun: Option<Begun>,
    /// The ordinal of the request that the present message is, or answers.
    pub current: Option<u64>,
    /// Where the present message begins.
    pub message: u64,
    /// How many bytes of it were seen.
    pub seen: u64,
    /// When the last of them was.
    pub last: u64,
    /// Whether bytes are missing from its body.
    pub is_damaged: bool,
    /// Whether it is an interim answer.
    pub is_interim: bool,
    /// The request whose answer says what follows it.
    pub awaits: Option<u64>,
    /// Where messages may last have been missed.
    pub disrupted_at: Option<u64>,
    /// How many bytes were searched in vain.
    pub searched: u64,
    /// Whether the end was delivered.
    pub has_ended: bool,
    /// Where a beginning was looked for in vain.
    rejected: Option<u64>,
    losses: Vec<Loss>,
}

impl Lane {
    /// A head begins here.
    pub(super) fn begin(&mut self, bit: Bit<'_>) {
        self.begun = Some(Begun::of(bit));
        self.message = bit.offset;
    }

    /// Holds input until the lane can go on.
    pub(super) fn hold(&mut self, input: Input) {
        self.held_cost += input.cost();
        self.held.push_back(input);
    }

    /// Puts input back that could not be used.
    pub(super) fn hold_again(&mut self, input: Input) {
        self.held_cost += input.cost();
        self.held.push_front(input);
    }

    /// The next held input.
    pub(super) fn release(&mut self) -> Option<Input> {
        let input = self.held.pop_front()?;
        self.held_cost -= input.cost();
        Some(input)
    }

    /// What it keeps until it can go on, in bytes of memory.
    pub(super) fn buffered(&self) -> usize {
        let head = if let Mode::Http(parser) = &self.mode {
            parser.waiting()
        } else {
            0
        };
        self.held_cost + head
    }

    /// Whether it holds input that does not wait for the other lane.
    pub(super) fn is_about_to_read(&self) -> bool {
        !self.held.is_empty() && self.awaits.is_none()
    }

    /// The held bytes up to the first gap or end, and whether more may follow them; `None` if nothing is held.
    pub(super) fn held_beginning(&self) -> Option<(Vec<u8>, bool)> {
        if self.held.is_empty() {
            return None;
        }
        let mut bytes = Vec::new();
        for input in &self.held {
            match input {
                Input::Data(piece) if bytes.len() < BEGINNING_MAX => {
                    bytes.extend_from_slice(&piece.data);
                }
                _ => return Some((bytes, false)),
            }
        }
        Some((bytes, true))
    }

    /// Whether a line that begins like this is worth being waited for: what follows a word.
    pub(super) fn is_worth_sniffing(bytes: &[u8]) -> bool {
        bytes.len() < BEGINNING_MAX
    }

    /// Notes that what begins here, if anything, was looked at.
    pub(super) fn reject(&mut self, offset: u64) {
        self.rejected = Some(offset);
    }

    /// Whether what begins here was looked at before.
    pub(super) fn is_rejected(&self, offset: u64) -> bool {
        self.rejected == Some(offset)
    }

    /// Notes bytes that nobody wants.
    pub(super) fn pass(&mut self, offset: u64, bytes: u64) {
        if let Mode::Opaque(reason) = self.mode {
            self.lose(offset, bytes, reason);
        }
    }

    /// Notes bytes that give no exchange. What follows on the like is one loss.
    pub(super) fn lose(&mut self, offset: u64, bytes: u64, reason: &'static str) {
        match self.losses.last_mut() {
            Some(last)
                if last.reason == reason
                    && (last.offset + last.bytes == offset
                        || matches!(self.mode, Mode::Opaque(_))) =>
            {
                last.bytes += bytes;
            }
            _ => self.losses.push(Loss {
                offset,
                bytes,
                reason,
            }),
        }
    }

    /// Gives losses another reason, now that it is known.
    pub(super) fn blame(&mut self, from: &'static str, to: &'static str) {
        for loss in self.losses.iter_mut().filter(|l| l.reason == from) {
            loss.reason = to;
        }
    }

    /// Whether there are so many losses that they should be reported before the end.
    pub(super) fn has_many_losses(&self) -> bool {
        self.losses.len() > LOSSES_MAX
    }

    /// Says what was lost.
    pub(super) fn report(&mut self, stream: u64, direction: Direction, sink: &mut Sink) {
        for Loss {
            offset,
            bytes,
            reason,
        } in std::mem::take(&mut self.losses)
        {
            sink.lose(Lost {
                stream,
                direction,
                offset,
                reason,
                bytes,
            });
        }
    }
}
