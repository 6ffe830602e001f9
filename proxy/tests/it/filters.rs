//! What requests pass on the way to their cluster, in the order of the file.

use meshbed_proxy::{
    config::{Filter, Forward},
    policy::{
        fault::{Fault, Rule, Select, abort::Abort},
        matcher::Matcher,
    },
    unit::{ByteSize, Share},
};

use super::support::{Wire, config, echo, route, start};

fn aborts() -> Vec<Rule> {
    vec![Rule {
        id: "down".into(),
        name: "down@client>up".to_owned(),
        windows: Vec::new(),
        matcher: Matcher::default(),
        select: Select::Share(Share::ALL),
        max_active: None,
        kind: Fault::Abort(Abort::Status {
            status: 503,
            body: None,
        }),
        ..Rule::default()
    }]
}

fn post(wire: &mut Wire, path: &str, body: &str) -> u16 {
    wire.send(format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    wire.message().unwrap().status()
}

#[test]
fn a_gathered_request_has_a_length_and_is_bounded() {
    let mut config = config(echo());
    config.listeners[0].manager_mut().unwrap().filters = vec![Filter::Buffer(ByteSize(10))];
    let proxy = start(config);
    let mut wire = proxy.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    wire.send("2\r\nde\r\n0\r\n\r\n");
    let answer = wire.message().unwrap();
    assert!(answer.body.contains("content-length: 5\r\n"), "{answer:?}");
    assert!(answer.body.ends_with("\r\n\r\nabcde"), "{answer:?}");
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n");
    wire.send("12345678901");
    let answer = wire.message().unwrap();
    assert_eq!(
        (answer.status(), answer.body.as_str()),
        (413, "Payload Too Large")
    );
    let records = proxy.told.records(2);
    assert_eq!(records[1].details, "request_payload_too_large");
    assert_eq!((records[1].bytes_in, records[1].attempts), (11, 0));
}

#[test]
fn filters_are_passed_in_their_order_and_a_route_may_have_its_own() {
    for (filters, expected) in [
        (vec![Filter::Faults, Filter::Buffer(ByteSize(1))], 503),
        (vec![Filter::Buffer(ByteSize(1)), Filter::Faults], 413),
        // Where no filter says when, faults come first.
        (vec![Filter::Buffer(ByteSize(1))], 503),
    ] {
        let mut config = config(echo());
        config.listeners[0].manager_mut().unwrap().filters = filters;
        config.listeners[0].manager_mut().unwrap().faults = aborts();
        let mut own = route("/own", Forward::to("up"));
        own.filters = Some(Vec::new());
        own.faults = Some(Vec::new());
        config.listeners[0].manager_mut().unwrap().virtual_hosts[0]
            .routes
            .insert(0, own);
        let proxy = start(config);
        assert_eq!(post(&mut proxy.connect(), "/", "abc"), expected);
        assert_eq!(post(&mut proxy.connect(), "/own", "abc"), 200);
    }
}
