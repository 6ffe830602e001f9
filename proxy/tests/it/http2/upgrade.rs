//! Upgrades over HTTP/2: an extended `CONNECT` (RFC 8441) on either side of the bridge.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::{ext::Protocol, server};
use http::{Method, Request, Response, StatusCode};
use meshbed_proxy::{config::Config, policy::protocol::Upstream};

use super::{
    super::support::{config, service, start},
    peer::{self, Client, whole},
};

fn websockets(up: SocketAddr, protocol: Upstream) -> Config {
    let mut config = config(up);
    config.clusters[0].protocol = protocol;
    let manager = config.listeners[0].manager_mut().unwrap();
    manager.upgrades = vec!["websocket".to_owned()];
    manager.http2.allow_connect = true;
    config
}

/// Takes an upgrade of HTTP/1, says hello, and says what it is told in capitals.
fn http1() -> SocketAddr {
    service(|mut wire| {
        let head = wire.head().unwrap().to_ascii_lowercase();
        assert!(head.starts_with("get /ws http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello");
        let said = wire.exactly(4).to_ascii_uppercase();
        wire.send(said);
    })
}

/// The same by an extended `CONNECT`.
fn http2() -> SocketAddr {
    let mut builder = server::Builder::new();
    builder.enable_connect_protocol();
    peer::service(builder, |request, mut respond| async move {
        assert_eq!(request.method(), Method::CONNECT);
        assert_eq!(request.uri(), "http://shop.test/ws");
        let protocol = request.extensions().get::<Protocol>().unwrap();
        assert_eq!(protocol.as_str(), "websocket");
        assert!(!request.headers().contains_key("upgrade"));
        let mut stream = request.into_body();
        let mut send = respond.send_response(Response::new(()), false).unwrap();
        send.send_data(Bytes::from_static(b"hello"), false).unwrap();
        let said = stream.data().await.unwrap().unwrap().to_ascii_uppercase();
        send.send_data(Bytes::from(said), true).unwrap();
    })
}

/// Asks for a websocket on `/ws`; its status, and all that is said in answer to `ping`.
fn talk(client: &Client) -> (StatusCode, Bytes) {
    client.run(async {
        let mut request = Request::connect("http://shop.test/ws").body(()).unwrap();
        request
            .extensions_mut()
            .insert(Protocol::from_static("websocket"));
        let mut send = client.send.clone().ready().await.unwrap();
        while !send.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let (answer, mut stream) = send.send_request(request, false).unwrap();
        let answer = answer.await.unwrap();
        let status = answer.status();
        assert!(!answer.headers().contains_key("upgrade"));
        let _ = stream.send_data(Bytes::from_static(b"ping"), false);
        (status, whole(&mut answer.into_body()).await.unwrap())
    })
}

#[test]
fn a_websocket_of_http_2_goes_on_as_one_of_either_version() {
    for (up, protocol) in [(http1(), Upstream::Http1), (http2(), Upstream::Http2)] {
        let proxy = start(websockets(up, protocol));
        let client = Client::connect(proxy.address);
        let (status, said) = talk(&client);
        assert_eq!(
            (status, &*said),
            (StatusCode::OK, &b"helloPING"[..]),
            "{protocol:?}"
        );
        let record = proxy.told.record();
        assert_eq!((record.bytes_in, record.bytes_out), (4, 9), "{protocol:?}");
    }
}

#[test]
fn a_websocket_of_http_1_goes_on_as_one_of_http_2() {
    let proxy = start(websockets(http2(), Upstream::Http2));
    let mut wire = proxy.connect();
    wire.send(
        "GET /ws HTTP/1.1\r\nhost: shop.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n",
    );
    let head = wire.head().unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert_eq!(wire.exactly(5), b"hello");
    wire.send("ping");
    assert_eq!(wire.rest(), b"PING");
}

#[test]
fn a_websocket_that_is_not_allowed_is_refused() {
    let mut config = websockets(http1(), Upstream::Http1);
    config.listeners[0].manager_mut().unwrap().upgrades.clear();
    let proxy = start(config);
    let (status, said) = talk(&Client::connect(proxy.address));
    assert_eq!((status, &*said), (StatusCode::FORBIDDEN, &b""[..]));
    assert_eq!(proxy.told.record().details, "upgrade_failed");
}

#[test]
fn an_endpoint_that_takes_no_extended_connect_is_not_asked() {
    let proxy = start(websockets(peer::echo(), Upstream::Http2));
    let (status, _) = talk(&Client::connect(proxy.address));
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}
