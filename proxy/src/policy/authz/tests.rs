//! What is told, what is meant, and what becomes of it are Envoy 1.40's, measured.

use bytes::Bytes;
use envoy_types::pb::{
    envoy::{
        config::core::v3::{HeaderValue as Pair, HeaderValueOption, QueryParameter},
        service::auth::v3::{
            CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
            check_response::HttpResponse,
        },
        r#type::v3::HttpStatus,
    },
    google::{protobuf::BoolValue, rpc::Status},
};
use http::{HeaderMap, HeaderValue, Request};
use prost::Message;

use super::*;
use crate::policy::{
    format::Format,
    headers::{Addition, Append, Mutation, Render},
    matcher::How,
};

/// There are no formats.
struct Plain;

impl Render for Plain {
    fn render(&self, _format: &Format, _headers: &HeaderMap, _out: &mut Vec<u8>) {}
}

fn names(how: impl Fn(String) -> How, names: &[&str]) -> Vec<Text> {
    let text = |name: &&str| Text {
        how: how((*name).to_owned()),
        ignore_case: false,
    };
    names.iter().map(text).collect()
}

fn settings(service: Service) -> Settings {
    Settings {
        stat_prefix: String::new(),
        cluster: "authz".to_owned(),
        timeout: None,
        service,
        enabled: Share::ALL,
        refuses_others: false,
        on_error: OnError::Refuse,
        error_status: 403,
        body: None,
        allowed: None,
        disallowed: Vec::new(),
        reroutes: false,
    }
}

fn head() -> request::Parts {
    let request = Request::post("/x?a=1&b=2&b=3&c=4")
        .header("host", "shop.test")
        .header("authorization", "secret")
        .header("x-a", "1")
        .header("x-a", "2")
        .header("x-b", "b")
        .header("content-length", "7")
        .header("connection", "upgrade")
        .header("x-envoy-auth-partial-body", "mine");
    request.body(()).unwrap().into_parts().0
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let line =
        |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let mut lines: Vec<_> = headers.iter().map(line).collect();
    lines.sort();
    lines
}

fn web(settings: web::Settings) -> (Compiled, Settings) {
    let settings = super::tests::settings(Service::Web(settings));
    (Compiled::new(&settings).unwrap(), settings)
}

fn of_web(all: &Compiled) -> &web::Compiled {
    match &all.service {
        CompiledService::Web(web) => web,
        CompiledService::Grpc(_) => panic!("the service is one of HTTP"),
    }
}

#[test]
fn a_service_of_http_is_asked_like_the_client_asks() {
    let (_, mut settings) = web(web::Settings {
        path_prefix: "/check".to_owned(),
        add: vec![Mutation::Add(Addition {
            name: "x-b".to_owned(),
            value: "over".to_owned(),
            how: Append::Overwrite,
            keep_empty: false,
        })],
        ..web::Settings::default()
    });
    settings.allowed = Some(names(How::Prefix, &["x-", "con"]));
    settings.disallowed = names(How::Exact, &["x-never"]);
    let all = Compiled::new(&settings).unwrap();
    let mut head = head();
    head.headers
        .insert("x-never", HeaderValue::from_static("1"));
    let asked = Asked {
        head: &head,
        body: Some(Beginning {
            data: b"abc",
            partial: true,
        }),
    };
    let question = of_web(&all).question(&all, &asked, &Plain).unwrap();
    assert_eq!(question.method, "POST");
    assert_eq!(question.uri, "/check/x?a=1&b=2&b=3&c=4");
    assert_eq!(
        lines(&question.headers),
        [
            "authorization: secret",
            "content-length: 3",
            "host: shop.test",
            "x-a: 1,2",
            "x-b: over",
            "x-envoy-auth-partial-body: true"
        ]
    );
    head.method = Method::CONNECT;
    let asked = Asked {
        head: &head,
        body: None,
    };
    assert!(of_web(&all).question(&all, &asked, &Plain).is_none());
}

#[test]
fn without_lists_a_service_of_http_is_told_little_and_clients_all() {
    let (all, _) = web(web::Settings::default());
    let head = head();
    let asked = Asked {
        head: &head,
        body: None,
    };
    let question = of_web(&all).question(&all, &asked, &Plain).unwrap();
    assert_eq!(
        lines(&question.headers),
        [
            "authorization: secret",
            "content-length: 0",
            "host: shop.test"
        ]
    );
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-why", "1"),
        ("date", "then"),
        ("content-length", "9"),
        ("x-envoy-auth-headers-to-remove", "x-a"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let denied = of_web(&all).verdict(StatusCode::FOUND, &headers, Bytes::from("go"));
    let Verdict::Denied(denial) = denied else {
        panic!("{denied:?}");
    };
    assert_eq!(denial.status, Some(StatusCode::FOUND));
    assert_eq!(denial.body, "go");
    let mut answer = HeaderMap::new();
    answer.insert("x-why", HeaderValue::from_static("route's"));
    denial.dress(&mut answer);
    assert_eq!(lines(&answer), ["x-why: 1"]);
}

#[test]
fn statuses_of_a_service_of_http_decide() {
    let (all, _) = web(web::Settings::default());
    for (status, allowed, failed) in [
        (101, false, true),
        (200, true, false),
        (201, false, false),
        (204, false, false),
        (302, false, false),
        (403, false, false),
        (500, false, true),
        (503, false, true),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let verdict = of_web(&all).verdict(status, &HeaderMap::new(), Bytes::new());
        assert_eq!(matches!(verdict, Verdict::Allowed(_)), allowed, "{status}");
        assert_eq!(matches!(verdict, Verdict::Failed(_)), failed, "{status}");
    }
}

#[test]
fn headers_of_an_answer_by_http_replace_append_and_remove() {
    let (all, _) = web(web::Settings {
        upstream: names(How::Prefix, &["x-set", "x-both", "tr", "con"]),
        upstream_append: names(How::Prefix, &["x-a", "x-both", "con"]),
        client_on_success: names(How::Prefix, &["x-ok", "con"]),
        ..web::Settings::default()
    });
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-set", "1"),
        ("x-set", "2"),
        ("x-a", "3"),
        ("x-both", "4"),
        ("x-ok", "5"),
        ("x-ok", "6"),
        ("x-other", "7"),
        ("content-length", "0"),
        ("transfer-encoding", "chunked"),
        ("x-envoy-auth-headers-to-remove", "authorization, x-b"),
        ("x-envoy-auth-headers-to-remove", "host,, :path"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    let verdict = of_web(&all).verdict(StatusCode::OK, &headers, Bytes::new());
    let Verdict::Allowed(changes) = verdict else {
        panic!("{verdict:?}");
    };
    assert!(changes.may_reroute());
    let mut head = head();
    changes.apply(&mut head);
    assert_eq!(
        lines(&head.headers),
        [
            "connection: upgrade",
            "content-length: 7",
            "host: shop.test",
            "x-a: 1",
            "x-a: 2",
            "x-a: 3",
            "x-both: 4",
            "x-both: 4",
            "x-envoy-auth-partial-body: mine",
            "x-set: 2"
        ]
    );
    let mut answer = HeaderMap::new();
    answer.insert("x-ok", HeaderValue::from_static("0"));
    changes.apply_to_answer(&mut answer);
    assert_eq!(lines(&answer), ["x-ok: 0", "x-ok: 5", "x-ok: 6"]);
}

fn message(response: &CheckResponse) -> Vec<u8> {
    let message = response.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &message].concat()
}

fn judged(response: &CheckResponse) -> Verdict {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = message(response);
    grpc::verdict(StatusCode::OK, &HeaderMap::new(), &body, Some(&trailers))
}

#[expect(deprecated, reason = "it is what services say")]
fn option(key: &str, append: Option<bool>, action: i32) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(Pair {
            key: key.to_owned(),
            value: "n".to_owned(),
            ..Pair::default()
        }),
        append: append.map(|value| BoolValue { value }),
        append_action: action,
        ..HeaderValueOption::default()
    }
}

#[test]
fn a_service_of_grpc_changes_requests_and_answers() {
    let verdict = judged(&CheckResponse {
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers: vec![
                option("x-a", Some(true), 0),
                option("x-b", None, 0),
                option("x-absent", Some(true), 0),
                option("X-New", None, 1),
                option(":path", None, 0),
                option(":authority", None, 0),
                option(":method", None, 0),
                option("not a name", None, 0),
            ],
            headers_to_remove: vec!["authorization".to_owned(), "Host".to_owned()],
            response_headers_to_add: vec![
                option("x-there", None, 0),
                option("x-set", Some(false), 0),
                option("x-there", None, 1),
                option("x-if-absent", None, 1),
                option("x-if-there", None, 3),
                option("x-unknown", None, 9),
            ],
            query_parameters_to_set: vec![QueryParameter {
                key: "b".to_owned(),
                value: "9 9".to_owned(),
            }],
            query_parameters_to_remove: vec!["c".to_owned()],
            ..OkHttpResponse::default()
        })),
        ..CheckResponse::default()
    });
    let Verdict::Allowed(changes) = verdict else {
        panic!("{verdict:?}");
    };
    let mut head = head();
    head.headers.remove("connection");
    changes.apply(&mut head);
    assert_eq!(head.method, "n");
    // `:path` was none.
    assert_eq!(head.uri, "/x?a=1&b=9%209");
    assert_eq!(
        lines(&head.headers),
        [
            "content-length: 7",
            "host: n",
            "x-a: 1,n",
            "x-a: 2",
            "x-b: n",
            "x-envoy-auth-partial-body: mine",
            "x-new: n"
        ]
    );
    let mut answer = HeaderMap::new();
    for name in ["x-there", "x-set"] {
        answer.insert(name, HeaderValue::from_static("0"));
    }
    changes.apply_to_answer(&mut answer);
    assert_eq!(
        lines(&answer),
        ["x-if-absent: n", "x-set: n", "x-there: 0", "x-there: n"]
    );
}

#[test]
fn a_refusal_by_grpc_has_a_status_headers_and_a_body() {
    let denied = |code, response: Option<HttpResponse>| {
        judged(&CheckResponse {
            status: Some(Status {
                code,
                ..Status::default()
            }),
            http_response: response,
            ..CheckResponse::default()
        })
    };
    let response = DeniedHttpResponse {
        status: Some(HttpStatus { code: 429 }),
        headers: vec![option("x-a", None, 0), option("x-b", Some(true), 0)],
        body: "slow down".to_owned(),
    };
    let with = |status| Denial {
        status,
        headers: vec![("x-a".parse().unwrap(), HeaderValue::from_static("n"))],
        body: Bytes::from("slow down"),
    };
    let limited = Some(StatusCode::TOO_MANY_REQUESTS);
    let plain = Denial {
        status: Some(StatusCode::FORBIDDEN),
        ..Denial::default()
    };
    for (code, response, expected) in [
        (
            7,
            Some(HttpResponse::DeniedResponse(response.clone())),
            Verdict::Denied(with(limited)),
        ),
        (
            13,
            Some(HttpResponse::ErrorResponse(response.clone())),
            Verdict::Failed(Some(with(limited))),
        ),
        (7, None, Verdict::Denied(plain.clone())),
        (
            16,
            Some(HttpResponse::OkResponse(OkHttpResponse::default())),
            Verdict::Denied(plain),
        ),
        (
            0,
            Some(HttpResponse::DeniedResponse(response)),
            Verdict::Allowed(Box::default()),
        ),
    ] {
        assert_eq!(denied(code, response), expected);
    }
}

#[test]
fn what_is_no_answer_of_grpc_decides_nothing() {
    let good = message(&CheckResponse::default());
    let status = |status: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from_static(status));
        headers
    };
    let (none, ok) = (HeaderMap::new(), status("0"));
    let judge = |code: u16, headers: &HeaderMap, body: &[u8], trailers: &HeaderMap| {
        let code = StatusCode::from_u16(code).unwrap();
        grpc::verdict(code, headers, body, Some(trailers))
    };
    assert!(matches!(judge(200, &none, &good, &ok), Verdict::Allowed(_)));
    for (code, headers, body, trailers) in [
        (503, &none, &good[..], &ok),
        (200, &none, &good, &none),
        (200, &none, &good, &status("14")),
        (200, &status("14"), b"", &none),
        (200, &none, b"", &ok),
        (200, &none, &good[..4], &ok),
        (200, &none, b"\0\0\0\0\x03\xff\xff\xff", &ok),
        (200, &none, b"\x01\0\0\0\0", &ok),
        (200, &none, b"\0\0\0\0\x09", &ok),
    ] {
        let verdict = judge(code, headers, body, trailers);
        assert_eq!(verdict, Verdict::Failed(None), "{code} {body:?}");
    }
}

#[test]
fn a_service_of_grpc_is_told_of_request_and_connection() {
    let grpc = grpc::Settings {
        authority: "authz".to_owned(),
        session: true,
        ..grpc::Settings::default()
    };
    let all = Compiled::new(&settings(Service::Grpc(grpc))).unwrap();
    let CompiledService::Grpc(grpc) = &all.service else {
        panic!("the service is one of gRPC");
    };
    let mut head = head();
    let bad = HeaderValue::from_bytes(b"a\xffb\xc3\xa9").unwrap();
    head.headers.insert("x-b", bad);
    let asked = Asked {
        head: &head,
        body: Some(Beginning {
            data: b"\xffa",
            partial: false,
        }),
    };
    let end = |port, principal| grpc::End {
        address: ([10, 0, 0, 1], port).into(),
        principal,
        certificate: String::new(),
    };
    let context = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let of = grpc::Circumstances {
        id: 7,
        began: Some(Duration::from_millis(1_500)),
        protocol: "HTTP/1.1",
        received: 2,
        source: end(1, "spiffe://mesh.test/a"),
        destination: end(2, ""),
        server_name: "shop.test",
    };
    let framed = grpc.message(&all, &asked, &context, of);
    assert_eq!(
        framed.len(),
        5 + usize::from(framed[4]) + (usize::from(framed[3]) << 8)
    );
    let told = CheckRequest::decode(&framed[5..])
        .unwrap()
        .attributes
        .unwrap();
    assert_eq!(told.source.unwrap().principal, "spiffe://mesh.test/a");
    assert_eq!(told.context_extensions["k"], "v");
    assert_eq!(told.tls_session.unwrap().sni, "shop.test");
    let request = told.request.unwrap();
    assert_eq!(request.time.unwrap().nanos, 500_000_000);
    let http = request.http.unwrap();
    assert_eq!((http.id.as_str(), http.size), ("7", 2));
    assert_eq!(
        (http.method.as_str(), http.host.as_str()),
        ("POST", "shop.test")
    );
    assert_eq!((http.body.as_str(), http.scheme.as_str()), ("!a", "http"));
    for (name, value) in [
        (":path", "/x?a=1&b=2&b=3&c=4"),
        ("x-a", "1,2"),
        ("x-b", "a!bé"),
        ("x-envoy-auth-partial-body", "false"),
    ] {
        assert_eq!(http.headers[name], value);
    }
    let head = grpc.head(Some(Duration::from_millis(200)), &Plain);
    assert_eq!(head.uri, "/envoy.service.auth.v3.Authorization/Check");
    assert_eq!(
        lines(&head.headers),
        [
            "content-type: application/grpc",
            "grpc-timeout: 200m",
            "host: authz",
            "te: trailers"
        ]
    );
}

#[test]
fn a_route_adds_to_what_is_told_and_has_its_own_switches() {
    let outer = Route {
        context: BTreeMap::from([("a".into(), "host".into()), ("b".into(), "host".into())]),
        body: Some(Body {
            most: 5,
            partial: true,
        }),
        ..Route::default()
    };
    let inner = Route {
        context: BTreeMap::from([("a".into(), "route".into())]),
        ..Route::default()
    };
    let both = inner.over(&outer);
    let context = [("a", "route"), ("b", "host")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(both.context, BTreeMap::from(context));
    let own = Some(Body {
        most: 10,
        partial: false,
    });
    assert_eq!(both.body(own), own);
    assert_eq!(outer.body(own), outer.body);
    let bodiless = Route {
        bodiless: true,
        ..Route::default()
    };
    assert_eq!(bodiless.body(own), None);
}
