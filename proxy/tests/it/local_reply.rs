//! The proxy's own answers follow rules; the upstreams' do not.

use meshbed_proxy::{
    config::{
        BodyFormat, LocalReplies, Mapper,
        access_log::{Compare, Comparison, Filter, Line},
    },
    policy::{
        format::{
            Format,
            json::{Json, Style},
        },
        headers::{Addition, Append},
    },
};
use serde_json::json;

use crate::support::{Running, config, nobody, once, start};

/// 404 becomes 410 with another body; refused connections are told with the path; the rest is JSON.
fn rules() -> LocalReplies {
    LocalReplies {
        mappers: vec![
            Mapper {
                filter: Filter::Status(Comparison {
                    how: Compare::Equal,
                    value: 404,
                }),
                status: Some(410),
                body: Some("nothing here".to_owned()),
                format: None,
                add: vec![Addition {
                    name: "x-mapped".to_owned(),
                    value: "%RESPONSE_CODE% of %REQ(:path)%".to_owned(),
                    how: Append::Overwrite,
                    keep_empty: false,
                }],
            },
            Mapper {
                filter: Filter::Flags(vec!["UF".to_owned()]),
                status: None,
                body: None,
                format: Some(BodyFormat {
                    line: Line::Text {
                        format: Format::compile("%REQ(:path)%: down").unwrap(),
                        unset: "-",
                    },
                    content_type: "text/x-told".to_owned(),
                }),
                add: Vec::new(),
            },
        ],
        format: Some(BodyFormat {
            line: Line::Json {
                format: Json::compile(
                    &json!({"code": "%RESPONSE_CODE%", "text": "%LOCAL_REPLY_BODY%"}),
                )
                .unwrap(),
                style: Style {
                    typed: true,
                    omit_empty: false,
                },
            },
            content_type: "application/json".to_owned(),
        }),
    }
}

fn ruled(up: std::net::SocketAddr, domain: &str) -> Running {
    let mut config = config(up);
    let manager = config.listeners[0].manager_mut().unwrap();
    manager.local_replies = rules();
    manager.virtual_hosts[0].domains = vec![domain.to_owned()];
    start(config)
}

#[test]
fn the_first_rule_that_is_for_an_answer_changes_it() {
    let lost = ruled(nobody(), "other.test").get("/lost");
    assert_eq!(lost.status(), 410);
    assert_eq!(lost.body, "{\"code\":410,\"text\":\"nothing here\"}\n");
    assert_eq!(lost.header("x-mapped").as_deref(), Some("404 of /lost"));
    assert_eq!(
        lost.header("content-type").as_deref(),
        Some("application/json")
    );

    let down = ruled(nobody(), "*").get("/down");
    assert_eq!((down.status(), &*down.body), (503, "/down: down"));
    assert_eq!(down.header("content-type").as_deref(), Some("text/x-told"));
}

#[test]
fn an_upstreams_answer_is_left_as_it_is() {
    let up = once("HTTP/1.1 404 Not Found\r\ncontent-length: 6\r\n\r\ntheirs");
    let answer = ruled(up, "*").get("/");
    assert_eq!((answer.status(), &*answer.body), (404, "theirs"));
}

#[test]
fn what_no_rule_is_for_is_written_as_the_manager_has_it() {
    let up = once("nonsense\r\n\r\n");
    let running = ruled(up, "*");
    let answer = running.get("/");
    let record = running.told.record();
    assert_eq!(record.status, Some(answer.status()));
    assert!(
        answer.body.starts_with(&format!(
            "{{\"code\":{},\"text\":\"upstream connect error",
            answer.status()
        )),
        "{}",
        answer.body
    );
}
