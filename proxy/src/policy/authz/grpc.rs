//! A service that is asked by gRPC, with Envoy's `envoy.service.auth.v3.Authorization/Check`.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use envoy_types::pb::{
    envoy::{
        config::core::v3::{
            Address, HeaderValueOption, Metadata, SocketAddress, address,
            header_value_option::HeaderAppendAction, socket_address::PortSpecifier,
        },
        service::auth::v3::{
            AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
            attribute_context::{HttpRequest, Peer, Request, TlsSession},
            check_response::HttpResponse,
        },
    },
    google::protobuf::Timestamp,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, request, uri::PathAndQuery,
};
use prost::Message;

use super::{Asked, Changes, Denial, Told, Verdict};
use crate::policy::{
    grpc,
    headers::{Append, Mutation, Mutations, Render},
};

const PATH: PathAndQuery = PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Check");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// What a message has before it: whether it is compressed, and its length.
const FRAME: usize = 5;
/// More headers than this no message is meant to have.
const MOST: usize = 1_000;

/// How such a service is asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// The host that is asked for.
    pub authority: String,
    /// Headers that the call has besides.
    pub metadata: Vec<Mutation>,
    /// The body is told as bytes, else as text.
    pub bytes: bool,
    /// The client's certificate is told.
    pub certificate: bool,
    /// What a TLS session began with is told.
    pub session: bool,
}

/// [`Settings`] that can be asked.
#[derive(Debug)]
pub struct Compiled {
    authority: HeaderValue,
    metadata: Mutations,
    settings: Settings,
}

/// What is told of the connection that a request came by, and of the request besides its head and its body.
#[derive(Debug)]
pub struct Circumstances<'a> {
    /// A number of the request's.
    pub id: u64,
    /// When it began, since 1970.
    pub began: Option<Duration>,
    /// The protocol of its client.
    pub protocol: &'a str,
    /// How much of its body has come.
    pub received: u64,
    /// Its client.
    pub source: End<'a>,
    /// Where the client has connected to.
    pub destination: End<'a>,
    /// The name that was asked for in TLS; empty: none.
    pub server_name: &'a str,
}

/// An end of a connection.
#[derive(Debug)]
pub struct End<'a> {
    /// Its address.
    pub address: SocketAddr,
    /// Who it is by its certificate; empty: nobody.
    pub principal: &'a str,
    /// Its certificate, in PEM encoded as in a URL; asked for only where it is told.
    pub certificate: String,
}

impl Compiled {
    /// Compiles the settings; the error names what of them cannot be.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            authority: HeaderValue::try_from(&settings.authority)
                .map_err(|_| format!("`{}` is not a host", settings.authority.escape_debug()))?,
            metadata: Mutations::new(&settings.metadata)?,
            settings: settings.clone(),
        })
    }

    /// The client's certificate is told.
    pub fn wants_certificate(&self) -> bool {
        self.settings.certificate
    }

    /// The head of the call.
    pub fn head(&self, timeout: Option<Duration>, render: &impl Render) -> request::Parts {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = Method::POST;
        head.uri = Uri::from(PATH);
        let headers = &mut head.headers;
        headers.insert(header::HOST, self.authority.clone());
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if let Some(timeout) = timeout {
            let text = HeaderValue::try_from(grpc::deadline::write(timeout)).ok();
            headers.extend(text.map(|text| (TIMEOUT, text)));
        }
        let kind = HeaderValue::from_static("application/grpc");
        headers.insert(header::CONTENT_TYPE, kind);
        self.metadata.apply(headers, render);
        head
    }

    /// The call's message, framed.
    pub fn message(
        &self,
        all: &super::Compiled,
        asked: &Asked<'_>,
        context: &BTreeMap<String, String>,
        of: Circumstances<'_>,
    ) -> Bytes {
        let text = |value: Option<&HeaderValue>| {
            value.map_or_else(String::new, |value| sanitized(value.as_bytes()))
        };
        let headers = &asked.head.headers;
        let path = asked.head.uri.path_and_query();
        let mut request = HttpRequest {
            id: of.id.to_string(),
            method: asked.head.method.to_string(),
            path: path.map_or("", PathAndQuery::as_str).to_owned(),
            host: text(headers.get(header::HOST)),
            scheme: headers
                .get("x-forwarded-proto")
                .map_or_else(|| "http".to_owned(), |value| sanitized(value.as_bytes())),
            size: i64::try_from(of.received).unwrap_or(i64::MAX),
            protocol: of.protocol.to_owned(),
            headers: all.told(asked).into_iter().map(told).collect(),
            ..HttpRequest::default()
        };
        match asked.body {
            Some(body) if self.settings.bytes => request.raw_body = body.data.to_vec(),
            Some(body) => request.body = sanitized(body.data),
            None => {}
        }
        let service = text(headers.get("x-envoy-downstream-service-cluster"));
        let session = self.settings.session.then(|| TlsSession {
            sni: of.server_name.to_owned(),
        });
        let message = CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(Peer {
                    service,
                    ..peer(of.source)
                }),
                destination: Some(peer(of.destination)),
                request: Some(Request {
                    time: of.began.map(|began| Timestamp {
                        seconds: i64::try_from(began.as_secs()).unwrap_or(i64::MAX),
                        nanos: i32::try_from(began.subsec_nanos()).unwrap_or_default(),
                    }),
                    http: Some(request),
                }),
                context_extensions: context.clone().into_iter().collect(),
                metadata_context: Some(Metadata::default()),
                route_metadata_context: Some(Metadata::default()),
                tls_session: session,
            }),
        };
        framed(&message)
    }
}

/// What an answer means: its status, its headers, what came of its body, and the headers after that.
pub fn verdict(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    trailers: Option<&HeaderMap>,
) -> Verdict {
    let told = trailers
        .and_then(grpc::status)
        .or_else(|| grpc::status(headers));
    if status != StatusCode::OK || told != Some(0) {
        return Verdict::Failed(None);
    }
    match read(body) {
        None => Verdict::Failed(None),
        Some(response) => judge(response),
    }
}

fn judge(response: CheckResponse) -> Verdict {
    let allows = response.status.is_none_or(|status| status.code == 0);
    match (allows, response.http_response) {
        // To leave some out might let a client's own stand.
        (true, Some(HttpResponse::OkResponse(ok)))
            if ok.headers.len().max(ok.response_headers_to_add.len()) > MOST =>
        {
            Verdict::Failed(None)
        }
        (true, Some(HttpResponse::OkResponse(ok))) => Verdict::Allowed(Box::new(changes(ok))),
        (true, _) => Verdict::Allowed(Box::default()),
        (false, Some(HttpResponse::ErrorResponse(it))) => Verdict::Failed(Some(denial(it))),
        (false, Some(HttpResponse::DeniedResponse(it))) => Verdict::Denied(Denial {
            status: status(&it).or(Some(StatusCode::FORBIDDEN)),
            ..denial(it)
        }),
        (false, _) => Verdict::Denied(Denial {
            status: Some(StatusCode::FORBIDDEN),
            ..Denial::default()
        }),
    }
}

/// As Envoy: of a request's headers only `append` counts, of an answer's the newer `append_action`, too.
fn changes(ok: OkHttpResponse) -> Changes {
    let mut changes = Changes::default();
    for it in &ok.headers {
        let Some((name, value)) = header_of(it) else {
            continue;
        };
        match appends(it) {
            Some(true) => changes.append(name, value),
            _ => changes.set(name, value),
        }
    }
    for name in &ok.headers_to_remove {
        changes.remove(name);
    }
    for it in ok.query_parameters_to_set {
        changes.set_parameter(it.key, it.value);
    }
    for name in ok.query_parameters_to_remove {
        changes.remove_parameter(name);
    }
    for it in &ok.response_headers_to_add {
        let how =
            match appends(it) {
                Some(true) => Some(Append::Append),
                Some(false) => Some(Append::Overwrite),
                None => HeaderAppendAction::try_from(it.append_action)
                    .ok()
                    .map(|action| match action {
                        HeaderAppendAction::AppendIfExistsOrAdd => Append::Append,
                        HeaderAppendAction::AddIfAbsent => Append::IfAbsent,
                        HeaderAppendAction::OverwriteIfExistsOrAdd => Append::Overwrite,
                        HeaderAppendAction::OverwriteIfExists => Append::OverwriteIfPresent,
                    }),
            };
        if let Some((how, (name, value))) = how.zip(header_of(it)) {
            changes.answer(how, name, value);
        }
    }
    changes
}

/// As Envoy, without headers that are to be appended; at most [`MOST`] of them.
fn denial(it: DeniedHttpResponse) -> Denial {
    let mut denial = Denial {
        status: status(&it),
        ..Denial::default()
    };
    let kept = it.headers.iter().filter(|it| appends(it) != Some(true));
    for header in kept.take(MOST) {
        if let Some((name, value)) = header_of(header) {
            denial.header(name, value);
        }
    }
    denial.body = it.body.into();
    denial
}

/// `None` also where it would not end a request.
fn status(it: &DeniedHttpResponse) -> Option<StatusCode> {
    let code = it.status.as_ref()?.code;
    let status = StatusCode::from_u16(u16::try_from(code).ok()?).ok();
    status.filter(|status| !status.is_informational())
}

fn header_of(it: &HeaderValueOption) -> Option<(&str, &[u8])> {
    let header = it.header.as_ref()?;
    Some((&header.key, header.value.as_bytes()))
}

#[expect(
    deprecated,
    reason = "it is what services that there are say, and Envoy goes by"
)]
fn appends(it: &HeaderValueOption) -> Option<bool> {
    it.append.map(|append| append.value)
}

fn told((name, value): Told<'_>) -> (String, String) {
    (name.to_owned(), sanitized(&value))
}

fn peer(end: End<'_>) -> Peer {
    Peer {
        address: Some(Address {
            address: Some(address::Address::SocketAddress(SocketAddress {
                address: end.address.ip().to_string(),
                port_specifier: Some(PortSpecifier::PortValue(end.address.port().into())),
                ..SocketAddress::default()
            })),
        }),
        principal: end.principal.to_owned(),
        certificate: end.certificate,
        ..Peer::default()
    }
}

/// A text in which each byte that is none of UTF-8 is a `!`, as Envoy writes it.
fn sanitized(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '!'));
    }
    text
}

fn framed(message: &CheckRequest) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(FRAME + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    out.extend_from_slice(&message.encode_to_vec());
    out.freeze()
}

/// The only message of a body; `None`: there is none, or it cannot be read.
fn read(body: &[u8]) -> Option<CheckResponse> {
    let (frame, rest) = body.split_at_checked(FRAME)?;
    let (compressed, length) = frame.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let message = rest.get(..usize::try_from(length).ok()?)?;
    (*compressed == 0)
        .then(|| CheckResponse::decode(message).ok())
        .flatten()
}
