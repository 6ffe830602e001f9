//! Replays some requests of a run: the scenario's services and shadows come up once more, nothing is broken or judged, and
//! only those requests are sent, under their old ordinals, so that the samples choose them again.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use meshbed_proxy::{
    config::tls,
    policy::{matcher::Matcher, mirror::SampleKey},
    unit::Share,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::{
    Command, Failure, Options, Outcome, chain,
    engine::{self, Given},
};
use crate::{
    event::{Micros, RunEvent},
    replay::{Lane, Planned, Prepared, Schedule, schedule},
    scenario::{Connections, Phase, Rewrite, Scenario, Source, SourceKind},
};

/// Time between two requests: what differs under no load at all does not differ because of it.
const APART_US: Micros = 20_000;

/// After the last request answers and copies get this long, beside their own deadlines.
const TAIL_US: Micros = 500_000;

/// The requests of a run that are replayed.
#[derive(Debug)]
pub struct Chosen {
    schedule: Schedule,
    /// They are no scenario's: every shadow gets all of them.
    given: bool,
    /// How parties are spoken to that speak TLS themselves, by label.
    ends: BTreeMap<String, tls::Client>,
}

/// Connections that given requests go by.
const CONNECTIONS: u32 = 4;
/// A given request is given up after this.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Chosen {
    /// These requests of the scenario's schedule. `sha256`: that of the run whose ordinals they are; with another schedule
    /// they would be other requests. `None`: it is the very scenario that was run.
    ///
    /// # Errors
    /// When the schedule cannot be made, is not the run's, or has none of the requests.
    pub fn of(
        scenario: &Scenario,
        sha256: Option<&str>,
        ordinals: &BTreeSet<u64>,
    ) -> Result<Self, Failure> {
        let whole = schedule::build(scenario).map_err(|error| Failure::Scenario(chain(&error)))?;
        if sha256.is_some_and(|sha256| whole.sha256 != sha256) {
            return Err(Failure::Scenario(
                "the scenario's requests are not those of the run any more: its traffic, seed, variables or capture have changed"
                    .to_owned(),
            ));
        }
        let schedule = whole.only(ordinals, APART_US);
        if schedule.planned.is_empty() {
            return Err(Failure::Scenario(
                "none of the requests is in the run's schedule".to_owned(),
            ));
        }
        Ok(Self {
            schedule,
            given: false,
            ends: BTreeMap::new(),
        })
    }

    /// These requests, each under its ordinal, to the scenario's first service: live traffic has no schedule.
    ///
    /// # Errors
    /// When there are none, or no service.
    pub fn given(
        scenario: &Scenario,
        requests: impl IntoIterator<Item = (u64, Prepared)>,
    ) -> Result<Self, Failure> {
        let missing = |what: &str| Failure::Scenario(format!("there is no {what} to replay"));
        let service = scenario
            .services
            .first()
            .ok_or_else(|| missing("service"))?;
        let planned: Vec<Planned> = requests
            .into_iter()
            .zip(0..)
            .map(|((ordinal, request), index)| Planned {
                ordinal,
                source: 0,
                due_us: index * APART_US,
                connection: 0,
                request: Arc::new(request),
            })
            .collect();
        let span_us = planned.last().ok_or_else(|| missing("request"))?.due_us;
        let lane = Lane {
            id: SOURCE.into(),
            service: service.id.clone(),
            protocol: service.protocol,
            connections: Connections::Pool(CONNECTIONS),
            max_in_flight: planned.len() as u32,
            timeout: TIMEOUT,
            trace: None,
        };
        let schedule = Schedule {
            planned,
            sources: vec![lane],
            sha256: String::new(),
            span_us,
        };
        Ok(Self {
            schedule,
            given: true,
            ends: BTreeMap::new(),
        })
    }

    /// The same to parties that speak TLS themselves; by label.
    #[must_use]
    pub fn over_tls(self, ends: BTreeMap<String, tls::Client>) -> Self {
        Self { ends, ..self }
    }

    /// How many requests.
    pub fn len(&self) -> usize {
        self.schedule.planned.len()
    }

    /// Whether there are none; [`Chosen::of`] refuses that.
    pub fn is_empty(&self) -> bool {
        self.schedule.planned.is_empty()
    }
}

/// Replays them; blocks its thread, and returns after rollback.
///
/// # Errors
/// When the environment failed before the first request.
pub fn execute(
    scenario: &Scenario,
    chosen: Chosen,
    options: Options<'_>,
    events: UnboundedSender<RunEvent>,
    commands: UnboundedReceiver<Command>,
) -> Result<Outcome, Failure> {
    let mut scenario = quiet(scenario, chosen.schedule.span_us + TAIL_US);
    if chosen.given {
        open(&mut scenario, &chosen.schedule);
    }
    let given = Given {
        schedule: Some(chosen.schedule),
        ends: chosen.ends,
    };
    engine::execute_given(&scenario, given, options, events, commands)
}

/// The source of given requests.
const SOURCE: &str = "replay";

/// Gives given requests their way in, and all of them to every shadow.
fn open(scenario: &mut Scenario, schedule: &Schedule) {
    scenario.traffic = schedule
        .sources
        .iter()
        .map(|lane| Source {
            id: lane.id.clone(),
            to: lane.service.clone(),
            protocol: lane.protocol,
            // What it sends is in the schedule.
            kind: SourceKind::Trace {
                file: PathBuf::new(),
                speed: 1.0,
                window: None,
                loops: 1,
                filter: Matcher::default(),
            },
            connections: lane.connections,
            max_in_flight: lane.max_in_flight,
            timeout: lane.timeout,
            rewrite: Rewrite::default(),
        })
        .collect();
    for shadow in &mut scenario.shadows {
        shadow.percent = Share::ALL;
        shadow.key = SampleKey::Ordinal;
    }
}

/// The scenario without what breaks, judges or stops it, in one phase.
fn quiet(scenario: &Scenario, length_us: Micros) -> Scenario {
    Scenario {
        phases: vec![Phase::alone("replay", length_us)],
        faults: Vec::new(),
        steady_state: Vec::new(),
        guards: Vec::new(),
        checks: Vec::new(),
        ..scenario.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use meshbed_proxy::{
        app::{Deps, Handle, Proxy},
        config::{Action, Config, Forward, Listener},
        draw::Seed,
        net::tls::authority::Authority,
    };
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::{
        event::MirrorOutcome,
        journal::Journal,
        run::{fixture, mesh, outcome::Ending},
        scenario::Backing,
    };

    /// What a replay that ends well has told.
    fn played(scenario: &Scenario, chosen: Chosen, id: &str) -> UnboundedReceiver<RunEvent> {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("state"), id).unwrap();
        let options = Options {
            run: 0x12_3456_789b,
            logs: folder.path(),
            journal: &journal,
        };
        let (events, told) = unbounded_channel();
        let (_commands, to_engine) = unbounded_channel();
        let outcome = execute(scenario, chosen, options, events, to_engine).unwrap();
        assert_eq!(outcome.ending, Ending::Finished);
        told
    }

    fn request(path: &str) -> Prepared {
        Prepared {
            method: http::Method::GET,
            uri: path.parse().unwrap(),
            headers: http::HeaderMap::from_iter([(
                http::header::HOST,
                http::HeaderValue::from_static("shop.test"),
            )]),
            body: bytes::Bytes::new(),
        }
    }

    #[test]
    fn only_the_chosen_requests_are_sent_and_their_shadow_answers_again() {
        let scenario = fixture::scenario();
        let sha256 = schedule::build(&scenario).unwrap().sha256;
        let ordinals = BTreeSet::from([3, 120, 249, 9_999]);
        let chosen = Chosen::of(&scenario, Some(&sha256), &ordinals).unwrap();
        assert_eq!(chosen.len(), 3, "9999 is beyond its end");
        let mut told = played(&scenario, chosen, "t-again");
        let mut mirrored = Vec::new();
        while let Ok(event) = told.try_recv() {
            match event {
                RunEvent::Mirror(mirror) => mirrored.push((mirror.ordinal, mirror.outcome)),
                RunEvent::Hop(hop) => assert!(hop.hits.is_empty(), "nothing is broken"),
                _ => {}
            }
        }
        mirrored.sort_unstable();
        let expected = [3, 120, 249].map(|ordinal| (ordinal, MirrorOutcome::Compared));
        assert_eq!(mirrored, expected);
    }

    #[test]
    fn given_requests_go_to_the_first_service_and_to_every_shadow() {
        let mut scenario = fixture::scenario();
        scenario.traffic.clear();
        // What its sample leaves out is replayed all the same.
        scenario.shadows[0].of = "shop".into();
        scenario.shadows[0].percent = Share::NONE;
        let requests = [(17, request("/cart/1")), (400, request("/cart/2?x=1"))];
        let chosen = Chosen::given(&scenario, requests).unwrap();
        let mut told = played(&scenario, chosen, "t-given");
        let mut mirrored = Vec::new();
        while let Ok(event) = told.try_recv() {
            if let RunEvent::Mirror(mirror) = event {
                mirrored.push((mirror.ordinal, mirror.path.clone(), mirror.outcome));
            }
        }
        mirrored.sort_unstable();
        let expected = [(17, "/cart/1"), (400, "/cart/2?x=1")]
            .map(|(ordinal, path)| (ordinal, path.to_owned(), MirrorOutcome::Compared));
        assert_eq!(mirrored, expected);
        assert!(Chosen::given(&scenario, []).is_err());
    }

    /// A server over TLS, which answers itself, and what believes it.
    fn over_tls(authority: &Authority) -> (Handle, SocketAddr, tls::Client) {
        let mut manager = mesh::manager("tls".to_owned(), Forward::to("nowhere"), Vec::new());
        manager.virtual_hosts[0].routes[0].action = Action::Respond {
            status: 200,
            body: "here".to_owned(),
        };
        let mut listener = Listener::http("tls", ([127, 0, 0, 1], 0).into(), manager);
        let certificate = authority.issue("localhost", &[]).unwrap();
        for chain in &mut listener.chains {
            chain.tls = Some(tls::Server {
                common: tls::Common {
                    certificates: vec![certificate.clone()],
                    ..tls::Common::default()
                },
                ..tls::Server::default()
            });
        }
        let config = Config {
            seed: Seed(1),
            run: None,
            listeners: vec![listener],
            clusters: Vec::new(),
            admin: None,
        };
        let proxy = Proxy::start(config, Deps::default()).unwrap();
        let address = proxy.address("tls").unwrap();
        let client = tls::Client::trusting(&authority.pem(), "localhost");
        (proxy, address, client)
    }

    #[test]
    fn given_requests_reach_ends_that_speak_tls() {
        let (authority, other) = (
            Authority::new("a test").unwrap(),
            Authority::new("another").unwrap(),
        );
        let (_first, primary, to_primary) = over_tls(&authority);
        let (_second, shadow, to_shadow) = over_tls(&authority);
        let mut scenario = fixture::scenario();
        scenario.traffic.clear();
        scenario.services.truncate(1);
        scenario.services[0].calls.clear();
        scenario.services[0].backing = Backing::Address(vec![primary]);
        scenario.shadows[0].of = "shop".into();
        scenario.shadows[0].backing = Backing::Address(vec![shadow]);
        let mut ends = BTreeMap::from([
            ("shop".to_owned(), to_primary),
            (format!("~{}", scenario.shadows[0].id), to_shadow),
        ]);
        let statuses = |ends: &BTreeMap<String, tls::Client>, id: &str| {
            let chosen = Chosen::given(&scenario, [(7, request("/cart/1"))]).unwrap();
            let mut told = played(&scenario, chosen.over_tls(ends.clone()), id);
            loop {
                if let RunEvent::Mirror(mirror) = told.try_recv().unwrap() {
                    let sides = [mirror.primary.as_ref(), mirror.answer.as_ref()];
                    break sides.map(|side| side.map(|side| side.status));
                }
            }
        };
        assert_eq!(statuses(&ends, "t-tls"), [Some(200), Some(200)]);
        for client in ends.values_mut() {
            *client = tls::Client::trusting(&other.pem(), "localhost");
        }
        // The sidecars' own.
        assert_eq!(statuses(&ends, "t-not-believed"), [Some(503), Some(503)]);
    }

    #[test]
    fn ordinals_of_another_schedule_are_refused() {
        let mut scenario = fixture::scenario();
        let sha256 = schedule::build(&scenario).unwrap().sha256;
        scenario.phases.pop();
        let refused = Chosen::of(&scenario, Some(&sha256), &BTreeSet::from([3])).unwrap_err();
        assert!(
            refused.to_string().contains("not those of the run"),
            "{refused}"
        );
        let sha256 = schedule::build(&scenario).unwrap().sha256;
        let none = Chosen::of(&scenario, Some(&sha256), &BTreeSet::from([9_999])).unwrap_err();
        assert!(none.to_string().contains("none of the requests"), "{none}");
    }
}
