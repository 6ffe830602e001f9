//! Which endpoint gets a request, and which does not: health checks, ejections, breakers, limits, balancing by what
//! endpoints do, names.

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use meshbed_proxy::{
    app::{Deps, Handle, Proxy},
    config::{Address, Config, Discovery, Dns, Endpoint, Family, Forward, Keepalive, tls},
    observe::{Change, Flags, Observer, Record, What},
    policy::{
        balance::{Balance, peak_ewma},
        breaker::{Priority, trip},
        health::{Check, Http, Probe},
        outlier,
    },
};

use super::support::{Message, PATIENCE, Wire, cluster, config, route, service, start};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// What was told of endpoints and requests.
#[derive(Default)]
struct Told {
    changes: Mutex<Vec<String>>,
    flags: Mutex<Vec<Flags>>,
}

impl Observer for Told {
    fn request(&self, record: &Record<'_>) {
        self.flags.lock().unwrap().push(record.flags);
    }

    fn changed(&self, change: &Change<'_>) {
        let Change {
            what,
            from,
            to,
            why,
            ..
        } = change;
        let text = format!("{} {from} > {to}: {why}", what.name());
        self.changes.lock().unwrap().push(text);
    }
}

impl Told {
    /// Waits until this has been told so often.
    fn wait(&self, text: &str, times: usize) {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let changes = self.changes.lock().unwrap().clone();
            if changes.iter().filter(|it| *it == text).count() >= times {
                return;
            }
            assert!(tokio::time::Instant::now() < end, "{text}: {changes:?}");
            thread::sleep(MS(5));
        }
    }
}

struct Mesh {
    handle: Handle,
    told: Arc<Told>,
    address: SocketAddr,
}

impl Mesh {
    fn start(config: Config) -> Self {
        let told = Arc::new(Told::default());
        let observer = Arc::clone(&told) as Arc<dyn Observer>;
        let handle = Proxy::start(
            config,
            Deps {
                observer,
                ..Deps::default()
            },
        )
        .unwrap();
        let address = handle.address("main").unwrap();
        Self {
            handle,
            told,
            address,
        }
    }

    fn get(&self) -> Message {
        let mut wire = Wire::connect(self.address);
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        wire.message().unwrap()
    }

    fn gets(&self, count: usize) -> Vec<u16> {
        (0..count).map(|_| self.get().status()).collect()
    }
}

/// A service whose answers a test sets: their status, how long they take, the status of its health.
#[derive(Default)]
struct Actor {
    served: AtomicUsize,
    status: AtomicU64,
    delay_ms: AtomicU64,
    ill: AtomicBool,
}

impl Actor {
    fn start(status: u64) -> (Arc<Self>, SocketAddr) {
        let actor = Arc::new(Self::default());
        actor.answer(status);
        let shared = Arc::clone(&actor);
        let address = service(move |mut wire| {
            while let Some(request) = wire.message() {
                let status = if request.head.starts_with("GET /healthz ") {
                    if shared.ill.load(Ordering::SeqCst) {
                        503
                    } else {
                        200
                    }
                } else {
                    shared.served.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(MS(shared.delay_ms.load(Ordering::SeqCst)));
                    shared.status.load(Ordering::SeqCst)
                };
                if !wire.try_send(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n")) {
                    return;
                }
            }
        });
        (actor, address)
    }

    fn answer(&self, status: u64) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Requests that it has served since this was asked last.
    fn served(&self) -> usize {
        self.served.swap(0, Ordering::SeqCst)
    }
}

fn over(addresses: &[SocketAddr]) -> Config {
    let mut config = config(addresses[0]);
    config.clusters = vec![cluster("up", addresses)];
    config
}

fn checked() -> Check {
    Check {
        probe: Probe::Http(Http {
            path: "/healthz".to_owned(),
            ..Http::default()
        }),
        timeout: PATIENCE,
        interval: MS(20),
        no_traffic_interval: MS(20),
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        ..Check::default()
    }
}

#[test]
fn an_endpoint_that_is_not_well_gets_nothing_until_it_is() {
    let ((one, at_one), (two, at_two)) = (Actor::start(200), Actor::start(200));
    one.ill.store(true, Ordering::SeqCst);
    let mut config = over(&[at_one, at_two]);
    config.clusters[0].health = vec![checked()];
    config.clusters[0].spread.panic_threshold = 0.0;
    // Nobody is served before the first checks: the first request knows already.
    let mesh = Mesh::start(config);
    assert_eq!(mesh.gets(10), [200; 10]);
    assert_eq!((one.served(), two.served()), (0, 10));
    one.ill.store(false, Ordering::SeqCst);
    mesh.told
        .wait("health unhealthy > healthy: check succeeded", 2);
    mesh.gets(10);
    assert_eq!((one.served(), two.served()), (5, 5));
    one.ill.store(true, Ordering::SeqCst);
    mesh.told
        .wait("health healthy > unhealthy: check answered badly", 1);
    mesh.gets(10);
    assert_eq!((one.served(), two.served()), (0, 10));
}

#[test]
fn an_endpoint_that_fails_is_ejected_also_across_a_swap_and_comes_back() {
    let ((bad, at_bad), (good, at_good)) = (Actor::start(500), Actor::start(200));
    let mut config = over(&[at_bad, at_good]);
    config.clusters[0].outlier = Some(outlier::Settings {
        consecutive_5xx: 3,
        most: 50,
        interval: MS(50),
        base: MS(700),
        ..outlier::Settings::default()
    });
    let mesh = Mesh::start(config.clone());
    mesh.gets(20);
    // Turns go round: it fails in the first, third and fifth request.
    assert_eq!((bad.served(), good.served()), (3, 17));
    mesh.told
        .wait("ejection healthy > ejected: consecutive_5xx", 1);
    config.clusters[0].connect_timeout = Duration::from_secs(7);
    mesh.handle.publish(config).unwrap();
    bad.answer(200);
    mesh.gets(6);
    assert_eq!((bad.served(), good.served()), (0, 6));
    mesh.told.wait("ejection ejected > healthy: time passed", 1);
    mesh.gets(6);
    assert_eq!((bad.served(), good.served()), (3, 3));
}

#[test]
fn a_breaker_opens_on_failures_spares_the_service_and_closes_when_it_is_well() {
    let (actor, at) = Actor::start(503);
    let mut config = over(&[at]);
    config.clusters[0].trip = Some(trip::Settings {
        least: 10,
        open: MS(400),
        probes: 2,
        ..trip::Settings::default()
    });
    let mesh = Mesh::start(config);
    mesh.gets(10);
    assert_eq!(actor.served(), 10);
    mesh.told.wait("breaker closed > open: failures", 1);
    let refused = mesh.get();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.header("x-envoy-overloaded").unwrap(), "true");
    mesh.gets(5);
    assert_eq!(actor.served(), 0);
    assert!(
        mesh.told
            .flags
            .lock()
            .unwrap()
            .last()
            .unwrap()
            .has(Flags::UO)
    );
    actor.answer(200);
    thread::sleep(MS(450));
    assert_eq!(mesh.gets(4), [200; 4]);
    mesh.told.wait("breaker open > half_open: time passed", 1);
    mesh.told
        .wait("breaker half_open > closed: probes succeeded", 1);
}

#[test]
fn requests_over_the_limits_are_refused_and_those_that_wait_are_served() {
    let (actor, at) = Actor::start(200);
    actor.delay_ms.store(400, Ordering::SeqCst);
    let mut config = over(&[at]);
    config.clusters[0].limits.default.connections = 1;
    config.clusters[0].limits.default.pending = 1;
    let mesh = Arc::new(Mesh::start(config));
    let mut asking = Vec::new();
    for _ in 0..4 {
        let mesh = Arc::clone(&mesh);
        asking.push(thread::spawn(move || mesh.get()));
        thread::sleep(MS(60));
    }
    let answers: Vec<_> = asking.into_iter().map(|it| it.join().unwrap()).collect();
    let statuses: Vec<_> = answers.iter().map(Message::status).collect();
    assert_eq!(statuses, [200, 200, 503, 503]);
    assert_eq!(answers[3].header("x-envoy-overloaded").unwrap(), "true");
    assert!(answers[3].body.ends_with("reset reason: overflow"));
    assert_eq!(actor.served(), 2);
    assert_eq!(mesh.get().status(), 200);
}

/// Requests of both priorities wait, the urgent one longer, and the connection of the other is free, or gone.
#[test]
fn who_cannot_use_a_free_connection_does_not_keep_it_from_others() {
    for closes in [false, true] {
        let let_go = Arc::<[AtomicBool; 2]>::default();
        let gates = Arc::clone(&let_go);
        let up = service(move |mut wire| {
            while let Some(request) = wire.message() {
                let gate = match request.head.split(' ').nth(1) {
                    Some("/first") => Some(0),
                    Some("/urgent/first") => Some(1),
                    _ => None,
                };
                while gate.is_some_and(|gate: usize| !gates[gate].load(Ordering::SeqCst)) {
                    thread::sleep(MS(2));
                }
                let close = if closes { "connection: close\r\n" } else { "" };
                wire.try_send(format!(
                    "HTTP/1.1 200 OK\r\n{close}content-length: 0\r\n\r\n"
                ));
                if closes {
                    return;
                }
            }
        });
        let mut config = config(up);
        let limits = &mut config.clusters[0].limits;
        (limits.default.connections, limits.high.connections) = (1, 1);
        let manager = config.listeners[0].manager_mut().unwrap();
        let urgent = Forward {
            priority: Priority::High,
            ..Forward::to("up")
        };
        let routes = &mut manager.virtual_hosts[0].routes;
        routes.insert(0, route("/urgent", urgent));
        let running = start(config);
        let ask = |path: &str| {
            let mut wire = running.connect();
            wire.send(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
            wire
        };
        let active = "envoy_cluster_upstream_rq_active";
        let pending = "envoy_cluster_upstream_rq_pending_active";
        let mut first = ask("/first");
        running.await_metric(active, 1);
        let mut urgent = ask("/urgent/first");
        running.await_metric(active, 2);
        let mut waits = ask("/urgent/second");
        running.await_metric(pending, 1);
        let mut second = ask("/second");
        running.await_metric(pending, 2);

        let_go[0].store(true, Ordering::SeqCst);
        assert_eq!(first.message().unwrap().status(), 200);
        assert_eq!(second.message().unwrap().status(), 200);
        let_go[1].store(true, Ordering::SeqCst);
        assert_eq!(urgent.message().unwrap().status(), 200);
        assert_eq!(waits.message().unwrap().status(), 200);
    }
}

#[test]
fn idle_connections_of_one_priority_do_not_keep_the_other_from_its_first() {
    let (_, at) = Actor::start(200);
    let mut config = over(&[at]);
    config.clusters[0].limits.host_connections = Some(1);
    let manager = config.listeners[0].manager_mut().unwrap();
    let urgent = Forward {
        priority: Priority::High,
        ..Forward::to("up")
    };
    let routes = &mut manager.virtual_hosts[0].routes;
    routes.insert(0, route("/urgent", urgent));
    let running = start(config);
    assert_eq!(running.get("/").status(), 200);
    assert_eq!(running.get("/urgent").status(), 200);
    assert_eq!(running.get("/").status(), 200);
    assert_eq!(running.metric("envoy_cluster_upstream_cx_total"), 2);
}

#[test]
fn requests_that_come_together_do_not_wait_for_each_others_connections() {
    // One that waits to be accepted is all it takes: others get no answer at all.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _waiting = TcpStream::connect(address).unwrap();
    let mut config = config(address);
    config.clusters[0].connect_timeout = MS(400);
    let running = start(config);
    let begin = tokio::time::Instant::now();
    let asked: Vec<_> = (0..4)
        .map(|_| {
            let mut wire = running.connect();
            wire.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
            wire
        })
        .collect();
    for mut wire in asked {
        assert_eq!(wire.message().unwrap().status(), 503);
    }
    let took = begin.elapsed();
    assert!(took >= MS(400) && took < MS(1_200), "{took:?}");
}

#[test]
fn peak_ewma_gives_a_slow_endpoint_less_than_a_tenth() {
    let actors: Vec<_> = (0..3).map(|_| Actor::start(200)).collect();
    actors[2].0.delay_ms.store(100, Ordering::SeqCst);
    let addresses: Vec<_> = actors.iter().map(|(_, at)| *at).collect();
    let mut config = over(&addresses);
    config.clusters[0].balance = Balance::PeakEwma(peak_ewma::Settings::default());
    let mesh = Arc::new(Mesh::start(config));
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let mesh = Arc::clone(&mesh);
            thread::spawn(move || mesh.gets(100))
        })
        .collect();
    for asking in asking {
        assert_eq!(asking.join().unwrap(), [200; 100]);
    }
    let slow = actors[2].0.served();
    assert!(slow < 40, "{slow} of 400");
}

#[test]
fn names_of_endpoints_are_resolved() {
    let (actor, at) = Actor::start(200);
    let mut config = over(&[at]);
    config.clusters[0].discovery = Discovery::StrictDns(Dns {
        family: Family::V4,
        ..Dns::default()
    });
    let named = Address::Name("localhost".into(), at.port());
    config.clusters[0].endpoints = vec![Endpoint::at(named)];
    let mesh = Mesh::start(config);
    assert_eq!(mesh.gets(3), [200; 3]);
    assert_eq!(actor.served(), 3);
}

#[test]
fn first_checks_of_resolved_endpoints_count_at_once() {
    let actors: Vec<_> = (0..3).map(|_| Actor::start(200)).collect();
    let mut config = over(&[actors[0].1]);
    let cluster = &mut config.clusters[0];
    cluster.discovery = Discovery::StrictDns(Dns {
        family: Family::V4,
        ..Dns::default()
    });
    let named = actors
        .iter()
        .map(|(_, at)| Endpoint::at(Address::Name("localhost".into(), at.port())));
    cluster.endpoints = named.collect();
    cluster.health = vec![checked()];
    cluster.spread.panic_threshold = 0.0;
    // Later changes wait for longer than the test lasts.
    cluster.spread.merge_window = PATIENCE * 2;
    let mesh = Mesh::start(config);
    mesh.told
        .wait("health unhealthy > healthy: check succeeded", 3);
    mesh.gets(6);
    let served: Vec<_> = actors.iter().map(|(actor, _)| actor.served()).collect();
    assert_eq!(served, [2; 3]);
}

#[test]
fn connections_come_from_the_address_they_are_to_come_from() {
    let seen = Arc::new(Mutex::new(None));
    let saw = Arc::clone(&seen);
    let at = service(move |mut wire| {
        *saw.lock().unwrap() = Some(wire.tcp.peer_addr().unwrap().ip());
        wire.message();
        wire.try_send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
    let mut config = over(&[at]);
    config.clusters[0].source = Some(([127, 0, 0, 7], 0).into());
    config.clusters[0].keepalive = Some(Keepalive {
        probes: Some(3),
        time: Some(Duration::from_secs(9)),
        interval: Some(Duration::from_secs(2)),
    });
    assert_eq!(Mesh::start(config).get().status(), 200);
    assert_eq!(*seen.lock().unwrap(), Some([127, 0, 0, 7].into()));
}

#[test]
fn changes_have_the_names_of_events() {
    for (what, name) in [
        (What::Breaker, "breaker"),
        (What::Ejection, "ejection"),
        (What::Health, "health"),
    ] {
        assert_eq!(what.name(), name);
    }
}

#[test]
fn connections_are_not_kept_where_their_endpoint_gets_tls_or_loses_it() {
    // It speaks no TLS: who begins it there gets nothing.
    let (actor, at) = Actor::start(200);
    let mut config = over(&[at]);
    config.clusters[0].sockets = vec![Some(tls::Client::default())];
    config.clusters[0].connect_timeout = MS(300);
    let mesh = Mesh::start(config.clone());
    for (socket, statuses) in [
        (None, [200; 3]),
        (Some(0), [503; 3]),
        (None, [200; 3]),
        (Some(0), [503; 3]),
    ] {
        config.clusters[0].endpoints[0].socket = socket;
        mesh.handle.publish(config.clone()).unwrap();
        assert_eq!(mesh.gets(3), statuses, "{socket:?}");
    }
    assert_eq!(actor.served(), 6);
}

#[test]
fn endpoints_with_one_address_keep_a_socket_each() {
    let ((_, at), (other, at_other)) = (Actor::start(200), Actor::start(200));
    let mut config = over(&[at, at, at_other]);
    let cluster = &mut config.clusters[0];
    cluster.sockets = vec![Some(tls::Client::default())];
    cluster.connect_timeout = MS(300);
    cluster.endpoints[1].socket = Some(0);
    cluster.endpoints[0].health_unchecked = true;
    cluster.endpoints[1].health_unchecked = true;
    cluster.health = vec![checked()];
    cluster.spread.panic_threshold = 0.0;
    let mesh = Mesh::start(config.clone());
    let statuses = |count| {
        let mut statuses = mesh.gets(count);
        statuses.sort_unstable();
        statuses
    };
    assert_eq!(statuses(3), [200, 200, 503]);
    // The endpoints are looked at anew, as one of them has changed.
    other.ill.store(true, Ordering::SeqCst);
    mesh.told
        .wait("health healthy > unhealthy: check answered badly", 1);
    assert_eq!(statuses(4), [200, 200, 503, 503]);
    // And so they are in a configuration that says nothing new of them.
    config.clusters[0].limits.default.requests = 99;
    mesh.handle.publish(config.clone()).unwrap();
    assert_eq!(statuses(4), [200, 200, 503, 503]);
}

#[test]
fn an_endpoint_is_asked_for_by_its_new_name_after_a_swap() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let at = service(move |mut wire| {
        let mut hello = vec![0; 4096];
        let length = wire.tcp.read(&mut hello).unwrap();
        hears.lock().unwrap().extend_from_slice(&hello[..length]);
    });
    let mut config = over(&[at]);
    config.clusters[0].tls = Some(tls::Client {
        auto_host_sni: true,
        ..tls::Client::default()
    });
    config.clusters[0].endpoints[0].hostname = "one.test".into();
    let mesh = Mesh::start(config.clone());
    let asks_for = |name: &str| {
        heard.lock().unwrap().clear();
        assert_eq!(mesh.get().status(), 503);
        let hello = heard.lock().unwrap();
        hello.windows(name.len()).any(|it| it == name.as_bytes())
    };
    assert!(asks_for("one.test"));
    config.clusters[0].endpoints[0].hostname = "two.test".into();
    mesh.handle.publish(config.clone()).unwrap();
    assert!(asks_for("two.test"));
}
