//! Redirects that the proxy follows: what the upstream is asked, what the client gets, what is told.

use std::sync::{Arc, Mutex};

use meshbed_proxy::{
    config::{Action, Config, Forward},
    policy::redirect::{Condition, Policy},
};

use super::support::{Message, Running, config, route, service, start};

type Asked = Arc<Mutex<Vec<Message>>>;

/// A service that answers a request with what its `x-go` says (`status location`), unless its path ends with `end`.
fn upstream() -> (Config, Asked) {
    let asked = Asked::default();
    let kept = Arc::clone(&asked);
    let address = service(move |mut wire| {
        while let Some(request) = wire.message() {
            let path = request.head.split(' ').nth(1).unwrap().to_owned();
            let go = request.header("x-go").filter(|_| !path.ends_with("end"));
            kept.lock().unwrap().push(request);
            let head = match go {
                None => "200 OK".to_owned(),
                Some(go) => {
                    let (status, place) = go.split_once(' ').unwrap();
                    format!("{status} Go\r\nlocation: {place}\r\nx-copy: told")
                }
            };
            if !wire.try_send(format!("HTTP/1.1 {head}\r\ncontent-length: 4\r\n\r\nbody")) {
                return;
            }
        }
    });
    (config(address), asked)
}

/// `/a` follows by this policy, `/b` by the default one, `/c` not at all.
fn following(policy: Policy) -> (Running, Asked) {
    let (mut config, asked) = upstream();
    let forward = |policy: Option<Policy>| Forward {
        redirects: policy.map(Box::new),
        ..Forward::to("up")
    };
    let here = meshbed_proxy::config::Route {
        action: Action::Respond {
            status: 200,
            body: "here".to_owned(),
        },
        ..route("/here", Forward::to("up"))
    };
    config.listeners[0].manager_mut().unwrap().virtual_hosts[0].routes = vec![
        route("/a", forward(Some(policy))),
        route("/b", forward(Some(Policy::default()))),
        route("/c", forward(None)),
        here,
    ];
    (start(config), asked)
}

fn ask(running: &Running, head: &str, go: &str, body: &str) -> Message {
    let mut wire = running.connect();
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    wire.send(format!(
        "{head} HTTP/1.1\r\nhost: a.test\r\nx-go: {go}\r\n{length}\r\n{body}"
    ));
    wire.message_to(head.split(' ').next().unwrap()).unwrap()
}

fn lines(asked: &Asked) -> Vec<String> {
    let asked = asked.lock().unwrap();
    let line = |it: &Message| it.head.lines().next().unwrap().replace(" HTTP/1.1", "");
    asked.iter().map(line).collect()
}

#[test]
fn a_redirect_is_followed_and_told_as_one_request_more() {
    let (running, asked) = following(Policy {
        copied: vec!["x-copy".to_owned(), "x-go".to_owned()],
        ..Policy::default()
    });
    let answer = ask(&running, "GET /a/1?q=1", "302 http://b.test/c/2?r=2#f", "");
    assert_eq!((answer.status(), answer.body.as_str()), (200, "body"));
    assert_eq!(answer.header("location"), None);
    assert_eq!(lines(&asked), ["GET /a/1?q=1", "GET /c/2?r=2"]);
    let asked = asked.lock().unwrap();
    let [first, second] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert_eq!(second.header("host").as_deref(), Some("b.test"));
    assert_eq!(
        second.header("x-envoy-original-url").as_deref(),
        Some("http://a.test/a/1?q=1")
    );
    assert_eq!(first.header("x-copy"), None);
    assert_eq!(second.header("x-copy").as_deref(), Some("told"));
    assert_eq!(second.header("x-go"), None, "the answer has none");
    assert_eq!(first.header("x-request-id"), second.header("x-request-id"));
    let records = running.told.records(2);
    let told: Vec<_> = records
        .iter()
        .map(|it| {
            (
                it.status,
                it.details.as_str(),
                it.route.as_str(),
                it.bytes_out,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (Some(302), "internal_redirect", "/c", 0),
            (Some(200), "via_upstream", "/c", 4),
        ]
    );
    let followed = "envoy_cluster_upstream_internal_redirect_succeeded_total";
    assert_eq!(running.metric(followed), 1);
}

#[test]
fn what_the_policy_does_not_allow_is_the_clients() {
    let safe = Policy {
        cross_scheme: true,
        conditions: vec![Condition::SafeScheme],
        ..Policy::default()
    };
    let listed = Policy {
        conditions: vec![Condition::Routes(vec!["/b".to_owned()])],
        ..Policy::default()
    };
    // Counted as by Envoy; what is of no concern to a policy is not.
    for (policy, path, go, counted) in [
        (Policy::default(), "/a", "302 /c/end", "bad_location"),
        (Policy::default(), "/a", "301 http://b.test/c/end", ""),
        (
            Policy::default(),
            "/a",
            "302 https://b.test/c/end",
            "unsafe_scheme",
        ),
        (
            Policy::default(),
            "/a",
            "302 http://b.test/none",
            "no_route",
        ),
        (Policy::default(), "/c", "302 http://b.test/c/end", ""),
        (safe, "/a", "302 https://b.test/c/end", "predicate"),
        (listed, "/a", "302 http://b.test/c/end", "predicate"),
        (
            Policy {
                most: 0,
                ..Policy::default()
            },
            "/a",
            "302 http://b.test/c/end",
            "too_many_redirects",
        ),
    ] {
        let (running, asked) = following(policy);
        let answer = ask(&running, &format!("GET {path}"), go, "");
        let (status, place) = go.split_once(' ').unwrap();
        assert_eq!(answer.status().to_string(), status, "{path} {go}");
        assert_eq!(answer.header("location").as_deref(), Some(place));
        assert_eq!((lines(&asked).len(), answer.body.as_str()), (1, "body"));
        let record = running.told.record();
        assert_eq!(
            (record.details.as_str(), record.route.as_str()),
            ("via_upstream", path)
        );
        let whys = [
            "bad_location",
            "unsafe_scheme",
            "too_many_redirects",
            "no_route",
            "predicate",
        ];
        for why in whys {
            let name = format!("envoy_http_passthrough_internal_redirect_{why}");
            assert_eq!(running.metric(&name), u64::from(why == counted), "{go}");
        }
        let failed = running.metric("envoy_cluster_upstream_internal_redirect_failed_total");
        assert_eq!(failed, u64::from(!counted.is_empty()), "{go}");
    }
}

#[test]
fn so_many_in_a_row_are_followed() {
    for (policy, expected) in [
        (
            Policy {
                most: 3,
                ..Policy::default()
            },
            4,
        ),
        (
            Policy {
                most: 9,
                conditions: vec![Condition::NewRoute],
                ..Policy::default()
            },
            2,
        ),
    ] {
        let (running, asked) = following(policy);
        let answer = ask(&running, "GET /a/1", "302 http://b.test/a/2", "");
        assert_eq!((answer.status(), lines(&asked).len()), (302, expected));
        running.told.records(expected);
    }
}

#[test]
fn a_body_is_sent_again_unless_it_is_to_be_looked_up() {
    let statuses = Policy {
        statuses: vec![301, 302, 303, 307],
        ..Policy::default()
    };
    for (head, status, again, bytes) in [
        ("POST /a", 302, "POST", 12),
        ("PUT /a", 307, "PUT", 12),
        ("POST /a", 301, "POST", 12),
        ("POST /a", 303, "GET", 6),
    ] {
        let (running, asked) = following(statuses.clone());
        let answer = ask(
            &running,
            head,
            &format!("{status} http://b.test/c/end"),
            "abcdef",
        );
        assert_eq!(answer.status(), 200);
        assert_eq!(lines(&asked), [head, &format!("{again} /c/end")]);
        let body = if again == "GET" { "" } else { "abcdef" };
        assert_eq!(asked.lock().unwrap()[1].body, body);
        // As Envoy counts them.
        let records = running.told.records(2);
        assert_eq!((records[0].bytes_in, records[1].bytes_in), (6, bytes));
    }
}

#[test]
fn a_body_that_is_not_kept_is_not_sent_again() {
    let (running, asked) = following(Policy::default());
    let long = "a".repeat((1 << 20) + 1);
    let answer = ask(&running, "POST /a", "302 http://b.test/c/end", &long);
    assert_eq!((answer.status(), lines(&asked).len()), (302, 1));
}

#[test]
fn a_redirect_may_lead_to_an_answer_of_our_own_and_the_connection_goes_on() {
    let (running, _asked) = following(Policy::default());
    let mut wire = running.connect();
    for _ in 0..2 {
        wire.send("GET /a HTTP/1.1\r\nhost: a.test\r\nx-go: 302 http://b.test/here\r\n\r\n");
        let answer = wire.message().unwrap();
        assert_eq!((answer.status(), answer.body.as_str()), (200, "here"));
    }
    let records = running.told.records(4);
    assert_eq!(records[1].details, "direct_response");
}
