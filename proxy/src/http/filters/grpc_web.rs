//! gRPC-Web's filter: a call of it goes on as one of gRPC, and its answer comes back as one of gRPC-Web.

use http::{HeaderMap, HeaderName, HeaderValue, header, request};

use super::Log;
use crate::{net::body::Incoming, policy::grpc::web::Form};

const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// Turns the request, if it is a call of gRPC-Web.
pub(super) fn request(log: &mut Log, head: &mut request::Parts, body: &mut Incoming) {
    let named = |name| {
        let value: Option<&HeaderValue> = head.headers.get(name);
        value.and_then(|value| Form::named(value.as_bytes()))
    };
    let Some(form) = named(header::CONTENT_TYPE) else {
        return;
    };
    let accepted = named(header::ACCEPT).unwrap_or(Form::Binary);
    log.grpc = true;
    log.grpc_web = Some(accepted);
    let headers = &mut head.headers;
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if form == Form::Text {
        body.decode();
    }
}

/// Turns the answer's head. Its body is turned as it goes.
pub(super) fn answer(form: Form, headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(form.content_type()),
    );
}
