//! Faults that come and go while connections are open, and connections that bear the number they were opened with.

use std::{
    io::{ErrorKind, Read},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use meshbed_proxy::{
    app::{Deps, Proxy},
    config::{Config, Except, Inspect, Inspector, Late, Listener, TcpProxy},
    net::numbers::Numbers,
    observe::{Connection, Observer, Record},
    policy::fault::tcp::{Direction, Fault, Number, Rule, Select, latency::Latency},
    unit::Share,
};
use tokio::time::Instant;

use crate::support::{Wire, config, service};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// `NUMBER considered ID` and `NUMBER EFFECT ID`.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn request(&self, _record: &Record<'_>) {}

    fn connection(&self, connection: &Connection<'_>) {
        let Number {
            connection: number,
            reopenings,
        } = connection.number;
        let mut told = self.0.lock().unwrap();
        for id in connection.considered {
            told.push(format!("{number}.{reopenings} considered {id}"));
        }
        for hit in connection.hits {
            told.push(format!(
                "{number}.{reopenings} {} {}",
                hit.effect.name(),
                hit.fault
            ));
        }
    }
}

impl Told {
    fn await_last(&self, last: &str) -> Vec<String> {
        for _ in 0..500 {
            let told = self.0.lock().unwrap().clone();
            if told.last().is_some_and(|it| it == last) {
                return told;
            }
            std::thread::sleep(ms(10));
        }
        panic!("{last} is not told: {:?}", self.0.lock().unwrap());
    }
}

fn rule(id: &str, kind: Fault) -> Rule {
    Rule {
        id: id.into(),
        name: format!("{id}@client>shop"),
        select: Select::Share(Share::ALL),
        direction: Direction::Downstream,
        kind,
    }
}

fn before_echo(faults: Vec<Rule>) -> Config {
    let echo = service(|wire| {
        let _ = std::io::copy(&mut &wire.tcp, &mut &wire.tcp);
    });
    let proxy = TcpProxy {
        faults,
        live: true,
        numbered: true,
        ..TcpProxy::to("up")
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        listeners: vec![Listener::tcp("main", any, proxy)],
        ..config(echo)
    }
}

fn with(config: &Config, faults: Vec<Rule>) -> Config {
    let mut config = config.clone();
    let proxy = TcpProxy {
        faults,
        live: true,
        numbered: true,
        ..TcpProxy::to("up")
    };
    config.listeners = vec![Listener::tcp("main", config.listeners[0].address, proxy)];
    config
}

fn ping(wire: &mut Wire) -> Duration {
    let begin = Instant::now();
    wire.send("ping");
    assert_eq!(wire.exactly(4), b"ping");
    begin.elapsed()
}

#[test]
fn an_open_connection_meets_a_fault_while_it_is_on() {
    let told = Arc::<Told>::default();
    let config = before_echo(Vec::new());
    let deps = Deps {
        observer: told.clone(),
        ..Deps::default()
    };
    let proxy = Proxy::start(config.clone(), deps).unwrap();
    let mut wire = Wire::connect(proxy.address("main").unwrap());
    assert!(ping(&mut wire) < ms(100));

    let late = Latency {
        delay: ms(150),
        jitter: ms(0),
    };
    let late = rule("late", Fault::Latency(late));
    proxy.publish(with(&config, vec![late.clone()])).unwrap();
    // The event loop learns of it without any byte; this only waits until it has.
    told.await_last("0.0 considered late");
    assert!(ping(&mut wire) >= ms(150));
    told.await_last("0.0 applied late");

    proxy.publish(with(&config, Vec::new())).unwrap();
    let quick = (0..50).any(|_| ping(&mut wire) < ms(100));
    assert!(quick, "the fault is still on");

    // Its second time is drawn and told no more.
    proxy
        .publish(with(&config, vec![late, rule("cut", Fault::Reset(ms(50)))]))
        .unwrap();
    let error = (&wire.tcp).read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(
        told.await_last("0.0 applied cut"),
        [
            "0.0 considered late",
            "0.0 applied late",
            "0.0 considered cut",
            "0.0 applied cut"
        ]
    );
}

#[test]
fn after_bytes_have_vanished_a_connection_is_of_no_use() {
    let config = before_echo(Vec::new());
    let proxy = Proxy::start(config.clone(), Deps::default()).unwrap();
    let mut wire = Wire::connect(proxy.address("main").unwrap());
    ping(&mut wire);
    let hole = rule("hole", Fault::Blackhole(ms(0)));
    proxy.publish(with(&config, vec![hole])).unwrap();
    wire.tcp.set_read_timeout(Some(ms(100))).unwrap();
    // Whatever was sent before the event loop has learnt of it comes back.
    while let Ok(count) = {
        wire.send("ping");
        (&wire.tcp).read(&mut [0; 64])
    } {
        assert!(count > 0);
    }
    proxy.publish(with(&config, Vec::new())).unwrap();
    wire.tcp.set_read_timeout(Some(ms(5_000))).unwrap();
    let error = (&wire.tcp).read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    // Who comes after it meets nothing.
    ping(&mut Wire::connect(proxy.address("main").unwrap()));
}

/// A connection with the number 4711.2.
fn numbered(numbers: &Numbers, to: SocketAddr) -> Wire {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let from = socket.local_addr().unwrap().as_socket().unwrap();
    let number = Number {
        connection: 4_711,
        reopenings: 2,
    };
    numbers.register(from, number);
    socket.connect(&to.into()).unwrap();
    Wire::new(socket.into())
}

/// Who says nothing is kept waiting until the server has spoken.
fn attending(mut config: Config) -> Config {
    config.listeners[0].inspect = Inspect {
        filters: vec![(Inspector::Http, Except::Never)],
        timeout: Some(ms(20)),
        late: Late::Attend,
    };
    config
}

#[test]
fn a_silent_connection_has_one_number_and_is_drawn_once() {
    let told = Arc::<Told>::default();
    let numbers = Numbers::default();
    let deps = Deps {
        observer: told.clone(),
        numbers: numbers.clone(),
        ..Deps::default()
    };
    let late = rule("late", Fault::SlowAccept(ms(1)));
    let proxy = Proxy::start(attending(before_echo(vec![late])), deps).unwrap();
    let mut wire = numbered(&numbers, proxy.address("main").unwrap());
    std::thread::sleep(ms(60));
    ping(&mut wire);
    drop(wire);
    proxy.shutdown();
    assert_eq!(
        *told.0.lock().unwrap(),
        ["4711.2 considered late", "4711.2 applied late"]
    );
}

#[test]
fn a_silent_connection_is_passed_on_under_its_number() {
    let told = Arc::<Told>::default();
    let numbers = Numbers::default();
    let deps = || Deps {
        observer: told.clone(),
        numbers: numbers.clone(),
        ..Deps::default()
    };
    let late = rule("late", Fault::SlowAccept(ms(1)));
    let inner = Proxy::start(before_echo(vec![late]), deps()).unwrap();
    let mut outer = attending(before_echo(Vec::new()));
    outer.clusters = config(inner.address("main").unwrap()).clusters;
    let outer = Proxy::start(outer, deps()).unwrap();
    for _ in 0..20 {
        let wire = numbered(&numbers, outer.address("main").unwrap());
        assert_eq!(
            told.await_last("4711.2 applied late"),
            ["4711.2 considered late", "4711.2 applied late"]
        );
        told.0.lock().unwrap().clear();
        drop(wire);
    }
}

#[test]
fn a_connection_bears_the_number_that_it_was_opened_with() {
    let told = Arc::<Told>::default();
    let numbers = Numbers::default();
    let deps = Deps {
        observer: told.clone(),
        numbers: numbers.clone(),
        ..Deps::default()
    };
    let faults = vec![
        rule("no", Fault::Refuse),
        rule("late", Fault::SlowAccept(ms(1))),
    ];
    let proxy = Proxy::start(before_echo(faults), deps).unwrap();
    let target = proxy.address("main").unwrap();
    let _open = numbered(&numbers, target);
    assert_eq!(
        told.await_last("4711.2 superseded late"),
        [
            "4711.2 considered no",
            "4711.2 considered late",
            "4711.2 applied no",
            "4711.2 superseded late"
        ]
    );
    // Who has none counts arrivals.
    drop(Wire::connect(target));
    assert!(told.await_last("0.0 superseded late").len() > 4);
}
