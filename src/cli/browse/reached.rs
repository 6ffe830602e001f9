//! Who gave the answers of a replay: where a sidecar could not ask its service it answers itself, which is no answer to be
//! compared. Two of them are alike, and a difference would seem to be gone. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::event::{Hop, Id, Mirror, MirrorOutcome};

/// The number of the primary among the sides of a request.
const PRIMARY: u8 = 0;

/// A request at a side of a service.
type Asked = (Id, u64, u8);

/// Answers that wait until it is known who gave them.
#[derive(Debug)]
pub(super) struct Reached {
    /// Some ends speak TLS themselves.
    over_tls: bool,
    /// The number of each shadow.
    sides: BTreeMap<Id, u8>,
    /// `Some`: why the service was not reached.
    asked: HashMap<Asked, Option<String>>,
    waiting: Vec<Arc<Mirror>>,
}

impl Reached {
    /// Nothing is known yet; the shadows in the scenario's order.
    pub(super) fn new(shadows: impl IntoIterator<Item = Id>, over_tls: bool) -> Self {
        Self {
            over_tls,
            sides: shadows.into_iter().zip(1_u8..).collect(),
            asked: HashMap::new(),
            waiting: Vec::new(),
        }
    }

    /// Takes in what a sidecar has seen.
    pub(super) fn hop(&mut self, hop: &Hop) {
        if hop.inbound {
            let known = self
                .asked
                .entry((hop.service.clone(), hop.ordinal, hop.side));
            let known = known.or_default();
            // One of several calls is enough to doubt them all.
            *known = known.take().or_else(|| unreached(hop, self.over_tls));
        }
    }

    /// Takes in an answer.
    pub(super) fn answer(&mut self, mirror: Arc<Mirror>) {
        self.waiting.push(mirror);
    }

    /// The answers of which it is known who gave them.
    pub(super) fn known(&mut self) -> Vec<Arc<Mirror>> {
        let (known, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|mirror| self.is_known(mirror));
        self.waiting = waiting;
        self.judged(known)
    }

    /// All that are left.
    pub(super) fn rest(mut self) -> Vec<Arc<Mirror>> {
        let rest = std::mem::take(&mut self.waiting);
        self.judged(rest)
    }

    fn is_known(&self, mirror: &Mirror) -> bool {
        let asked = |side| {
            let key = (mirror.service.clone(), mirror.ordinal, side);
            self.asked.contains_key(&key)
        };
        let side = self.sides.get(&mirror.shadow);
        mirror.outcome != MirrorOutcome::Compared
            || (asked(PRIMARY) && side.is_none_or(|side| asked(*side)))
    }

    fn judged(&self, answers: Vec<Arc<Mirror>>) -> Vec<Arc<Mirror>> {
        let judge = |mirror: Arc<Mirror>| match self.doubt(&mirror) {
            None => mirror,
            Some(why) => Arc::new(Mirror {
                outcome: MirrorOutcome::Failed,
                why: Some(why),
                differences: Vec::new(),
                ..Arc::unwrap_or_clone(mirror)
            }),
        };
        answers.into_iter().map(judge).collect()
    }

    /// Why the answers are not those of the services.
    fn doubt(&self, mirror: &Mirror) -> Option<String> {
        if mirror.outcome != MirrorOutcome::Compared {
            return None;
        }
        let side = self.sides.get(&mirror.shadow).copied();
        let sides = [("the primary", Some(PRIMARY)), ("the shadow", side)];
        sides.into_iter().find_map(|(name, side)| {
            let key = (mirror.service.clone(), mirror.ordinal, side?);
            let why = self.asked.get(&key)?.as_ref()?;
            Some(format!("{name} was not reached: {why}"))
        })
    }
}

/// Why a sidecar has not reached its service; `None`: it has.
fn unreached(hop: &Hop, over_tls: bool) -> Option<String> {
    if hop.attempts.iter().any(|attempt| attempt.status.is_some()) {
        return None;
    }
    let why = hop.attempts.last().and_then(|it| it.why.clone());
    let why = why.unwrap_or_else(|| format!("flags {}", hop.flags));
    // By TLS 1.3 that is told only when the handshake is over, so that it looks like any end of a connection.
    let certificate = "; where it asks for a client's certificate: a replay has none to show";
    Some(why + if over_tls { certificate } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Attempt, RunEvent},
        measure::fixture,
    };

    fn hop(ordinal: u64, side: u8, status: Option<u16>, why: Option<&str>) -> Arc<Hop> {
        let told = fixture::hop("*", "shop", side, |hop| {
            hop.ordinal = ordinal;
            hop.inbound = true;
            hop.attempts = vec![Attempt {
                endpoint: None,
                us: 1,
                status,
                why: why.map(str::to_owned),
            }];
        });
        match told {
            RunEvent::Hop(hop) => hop,
            other => panic!("{other:?}"),
        }
    }

    fn answer(ordinal: u64) -> Arc<Mirror> {
        match fixture::mirror("candidate", ordinal, &[("$.tax", "missing")]) {
            RunEvent::Mirror(mirror) => mirror,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_of_a_sidecars_own_is_not_compared() {
        let mut reached = Reached::new(["candidate".into()], false);
        reached.answer(answer(1));
        reached.answer(answer(2));
        reached.answer(answer(3));
        assert_eq!(reached.known(), []);
        reached.hop(&hop(1, 0, Some(503), None));
        reached.hop(&hop(1, 1, Some(200), None));
        assert_eq!(
            reached.known(),
            [answer(1)],
            "what a service says is its own"
        );
        reached.hop(&hop(2, 0, Some(200), None));
        reached.over_tls = true;
        reached.hop(&hop(2, 1, None, Some("connection termination")));
        reached.over_tls = false;
        let known = reached.known();
        let expected = "the shadow was not reached: connection termination; \
            where it asks for a client's certificate: a replay has none to show";
        assert_eq!(known[0].why.as_deref(), Some(expected));
        assert_eq!(known[0].outcome, MirrorOutcome::Failed);
        reached.hop(&hop(3, 0, None, Some("connection refused")));
        let rest = reached.rest();
        let expected = "the primary was not reached: connection refused";
        assert_eq!(rest[0].why.as_deref(), Some(expected));
    }
}
