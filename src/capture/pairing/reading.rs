//! What the bytes of a lane are: messages, another protocol, or nothing that is known yet.

use super::lane::{Bit, Input, Lane, Mode};
use super::{Connection, SEARCH_MAX, Side, Sink};
use crate::capture::Keep;
use crate::capture::http1::{Guess, HTTP2, Parser, Role, guess};

impl Connection {
    /// Lets both lanes go on with what they hold, until neither can.
    pub(super) fn pump(&mut self, sink: &mut Sink) {
        loop {
            // The questions before the answers.
            let client = self.client.unwrap_or(Side::First);
            let asking = self.pump_lane(client, sink);
            let answering = self.pump_lane(client.other(), sink);
            if !asking && !answering {
                return;
            }
        }
    }

    /// Whether anything was done.
    pub(super) fn pump_lane(&mut self, side: Side, sink: &mut Sink) -> bool {
        let mut moved = false;
        loop {
            if matches!(self.lanes.get(side).mode, Mode::Sniff) {
                let forced = *self.forced.get(side);
                let Some((bytes, is_all)) = self.lanes.get(side).held_beginning() else {
                    return moved;
                };
                let found = self.sniffed(side, &bytes, !is_all || forced, sink);
                if !found {
                    return moved;
                }
            }
            let Some(input) = self.lanes.get_mut(side).release() else {
                return moved;
            };
            match input {
                Input::Data(piece) => {
                    if let Err(used) = self.data(side, Bit::of(&piece), sink) {
                        let rest = Bit::of(&piece).after(used).piece();
                        let lane = self.lanes.get_mut(side);
                        lane.hold_again(Input::Data(rest));
                        if matches!(lane.mode, Mode::Sniff) {
                            moved |= used > 0;
                            continue;
                        }
                        return moved || used > 0;
                    }
                }
                Input::Gap { offset, length } => self.gap(side, offset, length, sink),
                Input::End { at } => self.end(side, at, sink),
            }
            moved = true;
        }
    }

    /// Decides what a lane carries that begins with these bytes. `forced`: no more will come. Whether it could decide.
    pub(super) fn sniffed(
        &mut self,
        side: Side,
        bytes: &[u8],
        forced: bool,
        sink: &mut Sink,
    ) -> bool {
        let mode = match guess(bytes) {
            Guess::Unclear if !forced => return false,
            Guess::Request if self.client != Some(side.other()) => {
                self.client = Some(side);
                Mode::Http(Box::new(Parser::new(
                    Role::Request,
                    sink.keep != Keep::Lines,
                )))
            }
            Guess::Response if self.client != Some(side) => {
                self.client = Some(side.other());
                Mode::Http(Box::new(Parser::new(
                    Role::Response,
                    sink.keep != Keep::Lines,
                )))
            }
            Guess::Tls => Mode::Opaque("tls"),
            Guess::Http2 => Mode::Opaque(HTTP2),
            Guess::Request | Guess::Response | Guess::Unclear | Guess::Other => Mode::Search,
        };
        if let Mode::Opaque(reason) = mode {
            // The other half speaks the same, though its first bytes may not tell.
            let other = self.lanes.get_mut(side.other());
            if matches!(other.mode, Mode::Sniff | Mode::Search) {
                other.mode = Mode::Opaque(reason);
                other.blame("not_http", reason);
            }
        }
        if !self.halves.get(side).from_start {
            // The capture began later than the stream: messages may have come before.
            self.is_disrupted = true;
            let lane = self.lanes.get_mut(side);
            lane.disrupted_at = lane.disrupted_at.or(Some(0));
        }
        self.lanes.get_mut(side).mode = mode;
        true
    }

    /// Reads bytes. `Err` says after how many of them the lane has to wait.
    pub(super) fn data(&mut self, side: Side, bit: Bit<'_>, sink: &mut Sink) -> Result<(), usize> {
        let mut used = 0;
        loop {
            let rest = bit.after(used);
            match &self.lanes.get(side).mode {
                Mode::Http(_) => {
                    let (n, go_on) = self.message(side, rest, sink).map_err(|()| used)?;
                    used += n;
                    if !go_on {
                        return Ok(());
                    }
                }
                Mode::Opaque(_) => {
                    self.lanes
                        .get_mut(side)
                        .pass(rest.offset, rest.data.len() as u64);
                    sink.summary.payload.unused += rest.data.len() as u64;
                    return Ok(());
                }
                Mode::Sniff => {
                    if rest.data.is_empty() {
                        return Ok(());
                    }
                    if !self.sniffed(side, rest.data, false, sink) {
                        return Err(used);
                    }
                }
                Mode::Search => {
                    if rest.data.is_empty() {
                        return Ok(());
                    }
                    // Messages begin where segments begin, or else the place is lost anyway.
                    let is_known = self.client.is_some();
                    let lane = self.lanes.get_mut(side);
                    if used == 0 && !lane.is_rejected(rest.offset) {
                        let role = match guess(rest.data) {
                            Guess::Request => Some(Role::Request),
                            Guess::Response => Some(Role::Response),
                            Guess::Unclear if Lane::is_worth_sniffing(rest.data) => {
                                lane.reject(rest.offset);
                                lane.mode = Mode::Sniff;
                                return Err(0);
                            }
                            _ => None,
                        };
                        let fits = match role {
                            Some(Role::Request) => self.client != Some(side.other()),
                            Some(Role::Response) => self.client != Some(side),
                            None => false,
                        };
                        if fits && self.sniffed(side, rest.data, false, sink) {
                            continue;
                        }
                    }
                    let lane = self.lanes.get_mut(side);
                    lane.lose(rest.offset, rest.data.len() as u64, "not_http");
                    lane.searched += rest.data.len() as u64;
                    sink.summary.payload.unused += rest.data.len() as u64;
                    if !is_known && lane.searched > SEARCH_MAX {
                        lane.mode = Mode::Opaque("not_http");
                    }
                    return Ok(());
                }
            }
        }
    }
}
