//! Exchanges as they happen: packets in, and each exchange out as soon as its answer is whole. Sans-io.
//!
//! Memory is bounded: connections by the tracker's limits, bodies by [`Follower::new`]'s.

use super::{Exchange, Keep, Summary, link, pairing::Sink, tracker::Tracker};

/// Follows the connections of a capture while it lasts.
#[derive(Debug)]
pub struct Follower {
    link: u32,
    sink: Sink,
    tracker: Tracker,
}

impl Follower {
    /// Packets of this link type. Of each body the first `body_max` bytes are kept, and of all exchanges that are open
    /// together `bodies_max`: beyond it a body is kept in part, as its lengths tell.
    pub fn new(link: u32, body_max: usize, bodies_max: usize) -> Self {
        Self {
            link,
            sink: Sink {
                keep: Keep::Bodies {
                    max_bytes: body_max,
                },
                bodies_max: Some(bodies_max),
                eager: true,
                ..Sink::default()
            },
            tracker: Tracker::default(),
        }
    }

    /// Takes a packet captured at `at` (nanoseconds since the epoch), and gives the exchanges that are whole by it.
    pub fn packet(&mut self, at: u64, data: &[u8]) -> impl Iterator<Item = Exchange> {
        self.sink.summary.packets += 1;
        match link::segment(self.link, data) {
            Ok(segment) => self.tracker.segment(&segment, at, &mut self.sink),
            Err(skip) => self.sink.skip(skip.name()),
        }
        self.sink.exchanges.drain(..)
    }

    /// What was seen so far, and what was left out, by reason. Exchanges that are open are in neither yet.
    pub fn summary(&self) -> &Summary {
        &self.sink.summary
    }

    /// Ends: gives what is open, as far as it goes, and what was seen.
    pub fn finish(mut self) -> (Vec<Exchange>, Summary) {
        // It fails only where the exchanges are written to a file.
        let _ = self.tracker.finish(&mut self.sink, |_| Ok(()));
        (self.sink.exchanges, self.sink.summary)
    }
}

#[cfg(test)]
mod tests {
    use super::super::write::{Dialogue, ETHERNET, Packet};
    use super::*;

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const MS: u64 = 1_000_000;

    fn dialogue(port: u16) -> Dialogue {
        let client = format!("10.0.0.1:{port}").parse().unwrap();
        Dialogue::open(client, "10.0.0.2:8080".parse().unwrap(), 1)
    }

    fn follow(follower: &mut Follower, shape: &Dialogue, packets: &[Packet]) -> Vec<String> {
        let mut found = Vec::new();
        for packet in packets {
            let frame = shape.frame(packet);
            for exchange in follower.packet(packet.at, &frame) {
                let target = String::from_utf8_lossy(&exchange.request.target).into_owned();
                found.push(target);
            }
        }
        found
    }

    #[test]
    fn an_exchange_comes_out_with_the_last_byte_of_its_answer() {
        let mut follower = Follower::new(ETHERNET, 1024, 1 << 20);
        let mut talk = dialogue(40_000);
        talk.ask(MS, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
        let (head, tail) = OK.split_at(30);
        talk.answer(2 * MS, head);
        let so_far = talk.packets.len();
        assert!(follow(&mut follower, &talk, &talk.packets).is_empty());
        talk.answer(3 * MS, tail);
        let more = talk.packets.split_off(so_far);
        assert_eq!(follow(&mut follower, &talk, &more), ["/a"]);
        // The connection is still open, and has more to ask.
        talk.ask(4 * MS, b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n")
            .answer(5 * MS, OK);
        let more = talk.packets.split_off(so_far);
        assert_eq!(follow(&mut follower, &talk, &more), ["/b"]);
        let (open, summary) = follower.finish();
        assert!(open.is_empty());
        assert_eq!((summary.requests, summary.responses), (2, 2));
    }

    #[test]
    fn what_its_connection_left_unanswered_comes_out_with_its_end() {
        let mut follower = Follower::new(ETHERNET, 1024, 1 << 20);
        let mut talk = dialogue(40_000);
        talk.ask(MS, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            .answer(2 * MS, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut")
            .close(3 * MS);
        assert_eq!(follow(&mut follower, &talk, &talk.packets), ["/a"]);
        assert_eq!(follower.sink.bodies, 0);
        assert!(follower.finish().0.is_empty());
    }

    #[test]
    fn bodies_of_open_exchanges_are_bounded_together() {
        let mut follower = Follower::new(ETHERNET, 60_000, 100_000);
        let mut open = Vec::new();
        for port in 40_000..40_004 {
            let mut talk = dialogue(port);
            talk.ask(MS, b"PUT /x HTTP/1.1\r\nContent-Length: 50000\r\n\r\n")
                .ask(MS, &vec![b'x'; 50_000]);
            follow(&mut follower, &talk, &talk.packets);
            talk.packets.clear();
            open.push(talk);
        }
        assert_eq!(follower.sink.bodies, 100_000);
        let mut kept = Vec::new();
        for mut talk in open {
            talk.answer(2 * MS, OK);
            for packet in &talk.packets {
                for exchange in follower.packet(packet.at, &talk.frame(packet)) {
                    assert_eq!(exchange.request.body.bytes, 50_000);
                    kept.push(exchange.request.body.is_kept_whole());
                }
            }
        }
        assert_eq!(kept, [true, true, false, false]);
        assert_eq!(follower.sink.bodies, 0);
    }
}
