//! Who gave the answers of a replay: where a sidecar could not ask its service it answers itself, which is no answer to be
//! compared. Two of them are alike, and a difference would seem to be gone. What a service does with a request that it
//! has got is its own, also where it answers nothing: that is compared, as in a run. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    event::{Flags, Hop, Id, Mirror, MirrorOutcome},
    mirror::ends::Ends,
};

/// The number of the primary among the sides of a request.
const PRIMARY: u8 = 0;

/// A request at a side of a service.
type Asked = (Id, u64, u8);

/// Answers that wait until it is known who gave them.
#[derive(Debug)]
pub(super) struct Reached {
    /// The sides that speak TLS themselves.
    over_tls: BTreeSet<u8>,
    /// The number of each shadow.
    sides: BTreeMap<Id, u8>,
    asked: HashMap<Asked, Went>,
    /// Services that have answered at all, by side.
    answered: HashSet<(Id, u8)>,
    waiting: Vec<Arc<Mirror>>,
}

/// What became of a request at a sidecar, from the best to the worst.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Went {
    /// The service has got it.
    Reached,
    /// The connection ended without an answer: by TLS 1.3 also the want of a client's certificate is told only when the
    /// handshake is over. Who has ever answered wants none.
    Ended(String),
    /// The service has not got it, and why.
    Unreached(String),
}

/// What a person can do about it.
const CERTIFICATE: &str = "; where it asks for a client's certificate: a replay has none to show";

impl Reached {
    /// Nothing is known yet; the shadows in the scenario's order.
    pub(super) fn new(shadows: impl IntoIterator<Item = Id>, ends: &Ends) -> Self {
        let sides: BTreeMap<Id, u8> = shadows.into_iter().zip(1_u8..).collect();
        let of_shadows = ends.shadows.keys().filter_map(|id| sides.get(id).copied());
        let over_tls = ends.primary.iter().map(|_| PRIMARY).chain(of_shadows);
        Self {
            over_tls: over_tls.collect(),
            sides,
            asked: HashMap::new(),
            answered: HashSet::new(),
            waiting: Vec::new(),
        }
    }

    /// Takes in what a sidecar has seen.
    pub(super) fn hop(&mut self, hop: &Hop) {
        if !hop.inbound {
            return;
        }
        if hop.attempts.iter().any(|attempt| attempt.status.is_some()) {
            self.answered.insert((hop.service.clone(), hop.side));
        }
        let went = went(hop, self.over_tls.contains(&hop.side));
        let key = (hop.service.clone(), hop.ordinal, hop.side);
        // One of several calls is enough to doubt them all.
        let known = self.asked.entry(key).or_insert(Went::Reached);
        if went > *known {
            *known = went;
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
            match self.asked.get(&key) {
                None => false,
                Some(Went::Ended(_)) => self.has_answered(mirror, side),
                Some(Went::Reached | Went::Unreached(_)) => true,
            }
        };
        let side = self.sides.get(&mirror.shadow);
        mirror.outcome != MirrorOutcome::Compared
            || (asked(PRIMARY) && side.is_none_or(|side| asked(*side)))
    }

    fn has_answered(&self, mirror: &Mirror, side: u8) -> bool {
        self.answered.contains(&(mirror.service.clone(), side))
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
            let side = side?;
            let key = (mirror.service.clone(), mirror.ordinal, side);
            match self.asked.get(&key)? {
                Went::Reached => None,
                Went::Ended(_) if self.has_answered(mirror, side) => None,
                Went::Ended(why) => Some(format!("{name} has answered nothing: {why}")),
                Went::Unreached(why) => Some(format!("{name} was not reached: {why}")),
            }
        })
    }
}

/// Flags of a request that its service has not got.
const NOT_SENT: [Flags; 6] = [
    Flags::UF,
    Flags::UH,
    Flags::UO,
    Flags::NR,
    Flags::NC,
    Flags::FI,
];

/// Alerts of who wants a client's certificate, by TLS 1.2: within the handshake.
const ALERTS: [&str; 5] = [
    "ALERT_HANDSHAKE_FAILURE",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_ACCESS_DENIED",
    "ALERT_CERTIFICATE_REQUIRED",
];

/// What became of it at this sidecar, whose service speaks TLS or does not.
fn went(hop: &Hop, over_tls: bool) -> Went {
    let answered = hop.attempts.iter().any(|attempt| attempt.status.is_some());
    let unsent = hop.attempts.is_empty() || NOT_SENT.iter().any(|flag| hop.flags.has(*flag));
    let ended = !unsent && over_tls && hop.flags.has(Flags::UC);
    if answered || !(unsent || ended) {
        return Went::Reached;
    }
    let why = hop.attempts.last().and_then(|it| it.why.clone());
    let why = why.unwrap_or_else(|| format!("flags {}", hop.flags));
    if ended {
        return Went::Ended(why + CERTIFICATE);
    }
    let wanted = over_tls && ALERTS.iter().any(|alert| why.contains(alert));
    Went::Unreached(why + if wanted { CERTIFICATE } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Attempt, RunEvent},
        measure::fixture,
        mirror::ends::{Believed, to_server},
    };

    fn hop(ordinal: u64, side: u8, went: Result<u16, (Flags, &str)>) -> Arc<Hop> {
        let told = fixture::hop("*", "shop", side, |hop| {
            hop.ordinal = ordinal;
            hop.inbound = true;
            hop.flags = went.err().map(|(flags, _)| flags).unwrap_or_default();
            hop.attempts = vec![Attempt {
                endpoint: None,
                us: 1,
                status: went.ok(),
                why: went.err().map(|(_, why)| why.to_owned()),
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

    fn why(answers: &[Arc<Mirror>]) -> Vec<Option<&str>> {
        answers.iter().map(|answer| answer.why.as_deref()).collect()
    }

    fn clear() -> Reached {
        Reached::new(["candidate".into()], &Ends::default())
    }

    /// The shadow speaks TLS.
    fn over_tls() -> Reached {
        let client = to_server("localhost", &Believed::Any);
        let ends = Ends {
            shadows: BTreeMap::from([("candidate".into(), client)]),
            ..Ends::default()
        };
        Reached::new(["candidate".into()], &ends)
    }

    const REFUSED: (Flags, &str) = (Flags::UF, "Connection refused");
    const TERMINATED: (Flags, &str) = (Flags::UC, "connection termination");

    #[test]
    fn an_answer_of_a_sidecars_own_is_not_compared() {
        let mut reached = clear();
        for ordinal in 1..=3 {
            reached.answer(answer(ordinal));
        }
        assert_eq!(reached.known(), []);
        reached.hop(&hop(1, 0, Ok(503)));
        reached.hop(&hop(1, 1, Ok(200)));
        assert_eq!(
            reached.known(),
            [answer(1)],
            "what a service says is its own"
        );
        reached.hop(&hop(2, 0, Ok(200)));
        reached.hop(&hop(2, 1, Err(REFUSED)));
        let known = reached.known();
        let expected = "the shadow was not reached: Connection refused";
        assert_eq!(why(&known), [Some(expected)]);
        assert_eq!(known[0].outcome, MirrorOutcome::Failed);
        reached.hop(&hop(3, 0, Err(REFUSED)));
        let expected = "the primary was not reached: Connection refused";
        assert_eq!(why(&reached.rest()), [Some(expected)]);
    }

    #[test]
    fn what_a_service_does_with_a_request_is_its_own() {
        for went in [
            TERMINATED,
            (Flags::UR, "remote reset"),
            (Flags::UPE, "protocol error"),
            (Flags::UT, "response timeout"),
            (Flags::default(), "max duration timeout"),
        ] {
            let mut reached = clear();
            reached.answer(answer(1));
            reached.hop(&hop(1, 0, Ok(200)));
            reached.hop(&hop(1, 1, Err(went)));
            assert_eq!(reached.known(), [answer(1)], "{went:?}");
        }
    }

    #[test]
    fn who_speaks_tls_and_answers_nothing_may_want_a_certificate() {
        let mut reached = over_tls();
        let alert = "TLS_error:|268436496:SSL routines:OPENSSL_internal:SSLV3_ALERT_HANDSHAKE_FAILURE:TLS_error_end";
        for (ordinal, went) in [(1, REFUSED), (2, (Flags::UF, alert)), (3, TERMINATED)] {
            reached.answer(answer(ordinal));
            reached.hop(&hop(ordinal, 0, Ok(200)));
            reached.hop(&hop(ordinal, 1, Err(went)));
        }
        let known = reached.known();
        let of_alert = format!("the shadow was not reached: {alert}{CERTIFICATE}");
        let refused = "the shadow was not reached: Connection refused";
        assert_eq!(why(&known), [Some(refused), Some(&of_alert)]);
        let expected =
            format!("the shadow has answered nothing: connection termination{CERTIFICATE}");
        assert_eq!(why(&reached.rest()), [Some(expected.as_str())]);
    }

    #[test]
    fn who_has_answered_over_tls_wants_no_certificate() {
        let mut reached = over_tls();
        reached.answer(answer(1));
        reached.hop(&hop(1, 0, Ok(200)));
        reached.hop(&hop(1, 1, Err(TERMINATED)));
        assert_eq!(reached.known(), []);
        reached.hop(&hop(2, 1, Ok(200)));
        assert_eq!(reached.known(), [answer(1)]);
    }
}
