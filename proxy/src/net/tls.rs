//! TLS on both sides of the proxy: [`Server`] ends it on connections that were accepted, [`Client`] begins it on those to
//! endpoints. Both are made once from plain settings by the [`Store`], shared by all event loops, and read their files
//! again when these change; connections that are open keep what they were made with.

use std::{
    cell::{OnceCell, RefCell},
    fmt, io,
    sync::Arc,
};

use http::HeaderValue;
use rustls::{CertificateError, pki_types::CertificateDer};

use crate::{
    config::ClientCert,
    metrics::{ListenerTls, Upstream},
};

pub mod authority;
mod client;
pub mod facts;
mod names;
pub mod params;
mod read;
mod server;
mod spoil;
mod store;
mod verify;

pub use client::Client;
pub(crate) use server::in_time;
pub use server::{Alpn, Server};
pub use store::{Shown, Store};
pub use verify::Refusal;

pub use facts::Facts;
use facts::{hex, pem, sha1, sha256};

/// A setting that cannot be used: which, below the context that it is of, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Its path, such as `tls_certificates[0].private_key`.
    pub field: String,
    /// What is wrong.
    pub what: String,
}

/// What a handshake settled.
#[derive(Debug, Default)]
pub struct Session {
    /// The listener looked at what the client sent before the handshake.
    pub inspected: bool,
    /// The name that the client asked for.
    pub sni: Option<Box<str>>,
    /// The protocol that both chose.
    pub alpn: Option<Box<[u8]>>,
    /// The version as Envoy writes it, such as `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite as Envoy writes it.
    pub cipher: &'static str,
    /// The group of the key exchange as Envoy writes it; empty where the session was resumed without one.
    pub curve: &'static str,
    /// It goes on with an earlier session.
    pub resumed: bool,
    /// A fault has spoilt it, and the peer did not mind.
    pub spoilt: bool,
    /// The peer's certificate; `None`: it showed none.
    pub peer: Option<Peer>,
    /// What our certificate says; `None`: we showed none.
    pub local: Option<Arc<Facts>>,
    /// What requests are told of the peer, and by which settings.
    pub stated: RefCell<Option<(ClientCert, HeaderValue)>>,
}

/// A peer's certificate. What it says is read when it is first asked for.
#[derive(Debug, Default)]
pub struct Peer {
    chain: Vec<CertificateDer<'static>>,
    facts: OnceCell<Facts>,
    digest: OnceCell<String>,
}

impl Session {
    /// The name that the client asked for, where that was found out before the handshake, as Envoy has it.
    pub fn asked_name(&self) -> Option<&str> {
        self.sni.as_deref().filter(|_| self.inspected)
    }
}

/// Why there was no handshake.
#[derive(Debug)]
pub enum Failure {
    /// The peer showed no certificate, but must.
    NoCertificate,
    /// The peer's certificate is not believed, for its chain.
    Untrusted(CertificateError),
    /// The peer's certificate is not believed, for another reason.
    Refused(Refusal),
    /// It took too long.
    Timeout,
    /// The connection broke.
    Io(io::Error),
    /// What the peer sent is not TLS, or nothing fits both.
    Protocol(rustls::Error),
    /// It was spoilt by a fault, and ended so.
    Spoilt(Box<Self>),
}

macro_rules! count {
    ($block:ident, $visible:vis $count:ident) => {
        impl $block {
            /// Counts how a handshake ended.
            $visible fn $count<S>(&self, shaken: &Result<(S, Session), Failure>) {
                match shaken {
                    Ok((_, session)) => {
                        self.tls_handshakes.inc();
                        if session.resumed {
                            self.tls_resumed.inc();
                        }
                        if session.peer.is_none() {
                            self.tls_no_certificate.inc();
                        }
                        match session.version {
                            "TLSv1.3" => self.tls_1_3.inc(),
                            _ => self.tls_1_2.inc(),
                        }
                    }
                    Err(Failure::NoCertificate) => self.tls_fail_no_certificate.inc(),
                    Err(Failure::Refused(Refusal::Name)) => self.tls_fail_name.inc(),
                    Err(Failure::Refused(Refusal::Digest)) => self.tls_fail_digest.inc(),
                    Err(Failure::Refused(_) | Failure::Untrusted(_)) => self.tls_fail_chain.inc(),
                    Err(Failure::Protocol(_)) => self.tls_errors.inc(),
                    // As Envoy: a connection that just ends is no error of TLS.
                    Err(Failure::Timeout | Failure::Io(_) | Failure::Spoilt(_)) => {}
                }
            }
        }
    };
}

count!(ListenerTls, count_genuine);
count!(Upstream, pub count);

impl ListenerTls {
    /// Counts how a handshake ended, or that it was spoilt.
    pub fn count<S>(&self, shaken: &Result<(S, Session), Failure>) {
        match shaken {
            Ok((_, Session { spoilt: true, .. })) | Err(Failure::Spoilt(_)) => {
                self.tls_spoilt.inc();
            }
            genuine => self.count_genuine(genuine),
        }
    }
}

impl Peer {
    fn new(chain: Option<&[CertificateDer<'static>]>) -> Option<Self> {
        let chain = chain.filter(|chain| !chain.is_empty())?;
        Some(Self {
            chain: chain.to_vec(),
            ..Self::default()
        })
    }

    /// One of which this is known.
    #[cfg(test)]
    pub(crate) fn known(facts: Facts, digest: String) -> Self {
        Self {
            chain: Vec::new(),
            facts: facts.into(),
            digest: digest.into(),
        }
    }

    /// What it says.
    pub fn facts(&self) -> &Facts {
        self.facts.get_or_init(|| {
            self.chain
                .first()
                .and_then(|leaf| Facts::read(leaf))
                .unwrap_or_default()
        })
    }

    /// SHA-256 of it, hexadecimal.
    pub fn digest(&self) -> &str {
        self.digest.get_or_init(|| {
            self.chain
                .first()
                .map(|leaf| hex(&sha256(leaf)))
                .unwrap_or_default()
        })
    }

    /// SHA-1 of it, hexadecimal.
    pub fn sha1_digest(&self) -> String {
        self.chain
            .first()
            .map(|leaf| hex(&sha1(leaf)))
            .unwrap_or_default()
    }

    /// It in PEM.
    pub fn pem(&self) -> String {
        self.chain.first().map(|leaf| pem(leaf)).unwrap_or_default()
    }

    /// It in PEM, encoded as in a URL.
    pub fn url_encoded_pem(&self) -> String {
        url_encoded(&self.pem())
    }

    /// It and the certificates that it came with in PEM, encoded as in a URL.
    pub fn url_encoded_chain_pem(&self) -> String {
        let all: String = self.chain.iter().map(|der| pem(der)).collect();
        url_encoded(&all)
    }
}

/// What PEM has that a header's value or a URL could not.
fn url_encoded(pem: &str) -> String {
    let mut text = String::with_capacity(pem.len() + pem.len() / 8);
    for c in pem.chars() {
        match c {
            '\n' => text.push_str("%0A"),
            ' ' => text.push_str("%20"),
            '+' => text.push_str("%2B"),
            '/' => text.push_str("%2F"),
            '=' => text.push_str("%3D"),
            c => text.push(c),
        }
    }
    text
}

impl Wrong {
    fn new(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.what)
    }
}

impl std::error::Error for Wrong {}

/// Envoy's words, as far as they can be known: `BoringSSL` numbers what it finds wrong.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verify = |f: &mut fmt::Formatter<'_>, why: &dyn fmt::Display| {
            write!(
                f,
                "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: {why}:TLS_error_end"
            )
        };
        match self {
            Self::NoCertificate => f.write_str(
                "TLS_error:|268435647:SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE:TLS_error_end",
            ),
            Self::Untrusted(error) => verify(
                f,
                &format_args!(
                    "X509_verify_cert: certificate verification error at depth 0: {}",
                    words(error)
                ),
            ),
            Self::Refused(refusal) => verify(f, refusal),
            Self::Timeout => f.write_str("connection timeout"),
            Self::Spoilt(failure) => failure.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Protocol(error) => {
                let (number, words) = protocol_words(error);
                write!(
                    f,
                    "TLS_error:|{number}:SSL routines:OPENSSL_internal:{words}:TLS_error_end"
                )
            }
        }
    }
}

impl std::error::Error for Failure {}

fn words(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not yet valid".to_owned()
        }
        CertificateError::UnknownIssuer => "unable to get local issuer certificate".to_owned(),
        CertificateError::Revoked => "certificate revoked".to_owned(),
        CertificateError::UnknownRevocationStatus => "unable to get certificate CRL".to_owned(),
        CertificateError::BadSignature => "certificate signature failure".to_owned(),
        other => other.to_string(),
    }
}

/// What `BoringSSL` calls it, with its number.
fn protocol_words(error: &rustls::Error) -> (u32, String) {
    use rustls::{AlertDescription as Alert, Error, InvalidMessage};
    /// A library's number, in the upper bits of all its errors' numbers.
    const SSL: u32 = 0x1000_0000;
    let (number, words) = match error {
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => (247, "WRONG_VERSION_NUMBER"),
        Error::PeerIncompatible(_) => (266, "UNSUPPORTED_PROTOCOL"),
        Error::NoApplicationProtocol => (307, "NO_APPLICATION_PROTOCOL"),
        Error::AlertReceived(alert) => {
            let number = 1000 + u32::from(u8::from(*alert));
            let words = match alert {
                Alert::HandshakeFailure => "SSLV3_ALERT_HANDSHAKE_FAILURE",
                Alert::BadCertificate => "SSLV3_ALERT_BAD_CERTIFICATE",
                Alert::UnsupportedCertificate => "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
                Alert::CertificateRevoked => "SSLV3_ALERT_CERTIFICATE_REVOKED",
                Alert::CertificateExpired => "SSLV3_ALERT_CERTIFICATE_EXPIRED",
                Alert::CertificateUnknown => "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
                Alert::IllegalParameter => "SSLV3_ALERT_ILLEGAL_PARAMETER",
                Alert::UnknownCA => "TLSV1_ALERT_UNKNOWN_CA",
                Alert::AccessDenied => "TLSV1_ALERT_ACCESS_DENIED",
                Alert::DecodeError => "TLSV1_ALERT_DECODE_ERROR",
                Alert::DecryptError => "TLSV1_ALERT_DECRYPT_ERROR",
                Alert::ProtocolVersion => "TLSV1_ALERT_PROTOCOL_VERSION",
                Alert::InternalError => "TLSV1_ALERT_INTERNAL_ERROR",
                Alert::UnrecognisedName => "TLSV1_ALERT_UNRECOGNIZED_NAME",
                Alert::CertificateRequired => "TLSV1_ALERT_CERTIFICATE_REQUIRED",
                Alert::NoApplicationProtocol => "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
                _ => return (SSL + number, format!("{alert:?}")),
            };
            (number, words)
        }
        other => return (SSL + 68, other.to_string()),
    };
    (SSL + number, words.to_owned())
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            Some(inner) => inner.clone().into(),
            None => Self::Io(error),
        }
    }
}

impl From<rustls::Error> for Failure {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                match other.0.downcast_ref::<Refusal>() {
                    Some(refusal) => Self::Refused(*refusal),
                    None => Self::Untrusted(CertificateError::Other(other)),
                }
            }
            rustls::Error::InvalidCertificate(error) => Self::Untrusted(error),
            error => Self::Protocol(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa,
        KeyPair, SanType, date_time_ymd,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::{
        config::tls::{self, Certificate, Name, NameKind, Source, Validation, Version},
        policy::{
            fault::tls::Tls,
            matcher::{How, Text},
        },
    };

    /// An authority that issues certificates.
    struct Ca(CertifiedIssuer<'static, KeyPair>);

    impl Ca {
        fn new(name: &str) -> Self {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            Self(CertifiedIssuer::self_signed(params, key).unwrap())
        }

        fn source(&self) -> Source {
            inline(&self.0.pem())
        }

        fn issue(&self, names: &[&str]) -> Certificate {
            self.issue_with(names, |_| ())
        }

        fn issue_with(
            &self,
            names: &[&str],
            change: impl Fn(&mut CertificateParams),
        ) -> Certificate {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params
                .distinguished_name
                .push(DnType::OrganizationName, "a, b+c");
            params
                .distinguished_name
                .push(DnType::CommonName, "leaf \u{e9}");
            for name in names {
                let text = (*name).try_into().unwrap();
                params.subject_alt_names.push(if name.contains("://") {
                    SanType::URI(text)
                } else {
                    SanType::DnsName(text)
                });
            }
            change(&mut params);
            let key = KeyPair::generate().unwrap();
            let leaf = params.signed_by(&key, &self.0).unwrap();
            Certificate {
                chain: inline(&leaf.pem()),
                key: inline(&key.serialize_pem()),
                ..Certificate::default()
            }
        }
    }

    fn inline(text: &str) -> Source {
        Source::Inline(text.as_bytes().into())
    }

    fn trusting(ca: &Ca) -> Validation {
        Validation {
            trusted_ca: Some(ca.source()),
            ..Validation::default()
        }
    }

    fn server(certificates: Vec<Certificate>) -> tls::Server {
        tls::Server {
            common: tls::Common {
                certificates,
                alpn: vec!["h2".to_owned(), "http/1.1".to_owned()],
                ..tls::Common::default()
            },
            ..tls::Server::default()
        }
    }

    fn client(ca: &Ca, sni: &str) -> tls::Client {
        tls::Client {
            common: tls::Common {
                validation: Some(trusting(ca)),
                params: tls::Params {
                    max: Some(Version::Tls13),
                    ..tls::Params::default()
                },
                ..tls::Common::default()
            },
            sni: sni.to_owned(),
            ..tls::Client::default()
        }
    }

    /// What each side made of it; the connection was used once where both agree.
    async fn meet(
        server: tls::Server,
        client: tls::Client,
    ) -> (Result<Session, Failure>, Result<Session, Failure>) {
        let server = Server::new(server).unwrap();
        let client = Client::new(client).unwrap();
        meet_again(&server, &client).await
    }

    async fn meet_again(
        server: &Server,
        client: &Client,
    ) -> (Result<Session, Failure>, Result<Session, Failure>) {
        let (near, far): (DuplexStream, DuplexStream) = duplex(64 << 10);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let ours = async {
            let (mut stream, session) = server.accept(near).await?;
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            stream.write_all(&byte).await?;
            stream.shutdown().await?;
            Ok(session)
        };
        let theirs = async {
            let (mut stream, session) = client.connect(far, address, None, &[b"http/1.1"]).await?;
            stream.write_all(b"x").await?;
            let mut byte = [0];
            // A refusal by the server comes after the handshake as the client sees it.
            stream.read_exact(&mut byte).await?;
            Ok(session)
        };
        tokio::join!(ours, theirs)
    }

    fn exact(kind: NameKind, text: &str) -> Name {
        Name {
            kind,
            text: Text {
                how: How::Exact(text.to_owned()),
                ignore_case: false,
            },
        }
    }

    #[tokio::test]
    async fn both_sides_learn_who_the_other_is() {
        let ca = Ca::new("ca");
        let mut ours = server(vec![ca.issue(&["shop.test", "spiffe://t/sa/shop"])]);
        ours.common.validation = Some(trusting(&ca));
        ours.require_client_certificate = true;
        let mut theirs = client(&ca, "shop.test");
        theirs.common.certificates = vec![ca.issue(&["spiffe://t/sa/cart", "cart.test"])];
        let (ours, theirs) = meet(ours, theirs).await;
        let ours = ours.unwrap();
        assert_eq!(ours.sni.as_deref(), Some("shop.test"));
        assert_eq!(ours.protocol(), Alpn::Http1);
        assert_eq!(ours.version, "TLSv1.3");
        assert_eq!(ours.curve, "X25519");
        let peer = ours.peer.unwrap();
        assert_eq!(peer.facts().uris, ["spiffe://t/sa/cart"]);
        assert_eq!(peer.facts().dns, ["cart.test"]);
        assert_eq!(peer.facts().subject, r"CN=leaf \C3\A9,O=a\, b\+c");
        assert_eq!(peer.facts().issuer, "CN=ca");
        assert_eq!(peer.digest().len(), 64);
        assert!(peer.pem().starts_with("-----BEGIN CERTIFICATE-----\n"));
        assert_eq!(ours.local.unwrap().uris, ["spiffe://t/sa/shop"]);
        let theirs = theirs.unwrap();
        assert_eq!(theirs.peer.unwrap().facts().dns, ["shop.test"]);
    }

    #[tokio::test]
    async fn a_server_believes_only_whom_it_should() {
        type Change = fn(&mut tls::Server, &mut tls::Client, &Ca, &Ca);
        type Expected = fn(&Failure) -> bool;
        let rows: &[(&str, Change, Expected)] = &[
            (
                "no certificate",
                |_, _, _, _| {},
                |failure| matches!(failure, Failure::NoCertificate),
            ),
            (
                "another authority",
                |_, client, _, stranger| {
                    client.common.certificates = vec![stranger.issue(&["spiffe://t/sa/cart"])];
                },
                |failure| matches!(failure, Failure::Untrusted(CertificateError::UnknownIssuer)),
            ),
            (
                "another name",
                |server, client, ca, _| {
                    client.common.certificates = vec![ca.issue(&["spiffe://t/sa/cart"])];
                    if let Some(validation) = &mut server.common.validation {
                        validation.names = vec![exact(NameKind::Uri, "spiffe://t/sa/front")];
                    }
                },
                |failure| matches!(failure, Failure::Refused(Refusal::Name)),
            ),
            (
                "another digest",
                |server, client, ca, _| {
                    client.common.certificates = vec![ca.issue(&["spiffe://t/sa/cart"])];
                    if let Some(validation) = &mut server.common.validation {
                        validation.hashes = vec![[1; 32]];
                    }
                },
                |failure| matches!(failure, Failure::Refused(Refusal::Digest)),
            ),
            (
                "an old certificate",
                |_, client, ca, _| {
                    client.common.certificates = vec![ca.issue_with(&["a.test"], |params| {
                        params.not_before = date_time_ymd(2001, 1, 1);
                        params.not_after = date_time_ymd(2002, 1, 1);
                    })];
                },
                |failure| {
                    matches!(
                        failure,
                        Failure::Untrusted(CertificateError::ExpiredContext { .. })
                    )
                },
            ),
        ];
        let (ca, stranger) = (Ca::new("ca"), Ca::new("stranger"));
        for (row, change, expected) in rows {
            let mut ours = server(vec![ca.issue(&["shop.test"])]);
            ours.common.validation = Some(trusting(&ca));
            ours.require_client_certificate = true;
            let mut theirs = client(&ca, "shop.test");
            change(&mut ours, &mut theirs, &ca, &stranger);
            let (ours, theirs) = meet(ours, theirs).await;
            let failure = ours.expect_err(row);
            assert!(expected(&failure), "{row}: {failure:?}");
            assert!(theirs.is_err(), "{row}");
        }
    }

    #[tokio::test]
    async fn what_is_allowed_is_taken() {
        type Change = fn(&mut Validation);
        let rows: &[(&str, Change)] = &[
            ("old ones", |it| it.allow_expired = true),
            ("untrusted ones", |it| it.accept_untrusted = true),
        ];
        let ca = Ca::new("ca");
        for (row, change) in rows {
            let mut ours = server(vec![ca.issue(&["shop.test"])]);
            let mut validation = trusting(&ca);
            change(&mut validation);
            ours.common.validation = Some(validation);
            ours.require_client_certificate = true;
            let mut theirs = client(&ca, "shop.test");
            theirs.common.certificates = vec![ca.issue_with(&["a.test"], |params| {
                params.not_before = date_time_ymd(2001, 1, 1);
                params.not_after = date_time_ymd(2002, 1, 1);
            })];
            let (ours, theirs) = meet(ours, theirs).await;
            assert!(ours.is_ok() && theirs.is_ok(), "{row}: {ours:?} {theirs:?}");
        }
    }

    #[tokio::test]
    async fn a_client_believes_only_whom_it_should() {
        let (ca, stranger) = (Ca::new("ca"), Ca::new("stranger"));
        let shop = || server(vec![ca.issue(&["shop.test"])]);
        let (_, theirs) = meet(shop(), client(&stranger, "shop.test")).await;
        assert!(matches!(
            theirs,
            Err(Failure::Untrusted(CertificateError::UnknownIssuer))
        ));
        // As Envoy: the name that was asked for is looked at only where that is asked for.
        let (_, theirs) = meet(shop(), client(&ca, "other.test")).await;
        assert!(theirs.is_ok());
        let mut strict = client(&ca, "other.test");
        strict.auto_san_validation = true;
        let (_, theirs) = meet(shop(), strict).await;
        assert!(matches!(theirs, Err(Failure::Refused(Refusal::Name))));
    }

    #[tokio::test]
    async fn the_certificate_follows_the_name_that_is_asked_for() {
        let ca = Ca::new("ca");
        let certificates = || {
            vec![
                ca.issue(&["first.test"]),
                ca.issue(&["second.test"]),
                ca.issue(&["*.wild.test"]),
            ]
        };
        for (sni, shown) in [
            ("first.test", "first.test"),
            ("SECOND.test", "second.test"),
            ("a.wild.test", "*.wild.test"),
            ("a.b.wild.test", "first.test"),
            ("unknown.test", "first.test"),
            ("", "first.test"),
        ] {
            let (_, theirs) = meet(server(certificates()), client(&ca, sni)).await;
            let peer = theirs.unwrap().peer.unwrap();
            assert_eq!(peer.facts().dns, [shown], "{sni}");
        }
    }

    #[tokio::test]
    async fn sessions_are_resumed_with_what_was_known_of_the_peer() {
        let ca = Ca::new("ca");
        for version in [Version::Tls12, Version::Tls13] {
            let mut ours = server(vec![ca.issue(&["shop.test"])]);
            ours.common.validation = Some(trusting(&ca));
            ours.common.params.max = Some(version);
            let mut theirs = client(&ca, "shop.test");
            theirs.common.certificates = vec![ca.issue(&["spiffe://t/sa/cart"])];
            let (ours, theirs) = (Server::new(ours).unwrap(), Client::new(theirs).unwrap());
            let (first, _) = meet_again(&ours, &theirs).await;
            assert!(!first.unwrap().resumed);
            let (second, _) = meet_again(&ours, &theirs).await;
            let second = second.unwrap();
            assert!(second.resumed, "{version:?}");
            let peer = second.peer.unwrap();
            assert_eq!(peer.facts().uris, ["spiffe://t/sa/cart"]);
        }
    }

    #[tokio::test]
    async fn a_client_without_a_protocol_in_common_is_served_without_one() {
        let ca = Ca::new("ca");
        let mut theirs = client(&ca, "shop.test");
        theirs.common.alpn = vec!["mqtt".to_owned()];
        let (ours, _) = meet(server(vec![ca.issue(&["shop.test"])]), theirs).await;
        assert_eq!(ours.unwrap().protocol(), Alpn::None);
    }

    #[tokio::test]
    async fn a_spoilt_handshake_has_one_thing_wrong() {
        let ca = Ca::new("ca");
        let mut settings = server(vec![ca.issue(&["shop.test", "spiffe://t/sa/shop"])]);
        settings.issuer = Some(Certificate {
            chain: ca.source(),
            key: inline(&ca.0.key().serialize_pem()),
            ..Certificate::default()
        });
        let mut theirs = client(&ca, "shop.test");
        theirs.auto_san_validation = true;
        let client = Client::new(theirs).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        for kind in [Tls::Expired, Tls::WrongName, Tls::UnknownCa] {
            let server = Server::new(settings.clone()).unwrap();
            let (near, far) = duplex(64 << 10);
            let (ours, theirs) = tokio::join!(
                server.spoil_within(near, kind, None),
                client.connect(far, address, None, &[])
            );
            assert!(matches!(ours, Err(Failure::Spoilt(_))), "{kind:?}");
            let failure = theirs.map(drop).unwrap_err();
            let expected = match kind {
                Tls::Expired => matches!(
                    failure,
                    Failure::Untrusted(CertificateError::ExpiredContext { .. })
                ),
                Tls::WrongName => matches!(failure, Failure::Refused(Refusal::Name)),
                _ => matches!(failure, Failure::Untrusted(CertificateError::UnknownIssuer)),
            };
            assert!(expected, "{kind:?}: {failure:?}");
        }
    }

    #[tokio::test]
    async fn a_stalled_handshake_ends_with_the_client_or_its_time() {
        let ca = Ca::new("ca");
        let settings = server(vec![ca.issue(&["shop.test"])]);
        let server = Server::new(settings).unwrap();
        let (near, far) = duplex(64 << 10);
        let begin = tokio::time::Instant::now();
        let within = Some(Duration::from_millis(50));
        let stalled = server.spoil_within(near, Tls::Stall, within).await;
        let Err(Failure::Spoilt(failure)) = stalled else {
            panic!("it was not spoilt");
        };
        assert!(matches!(*failure, Failure::Timeout));
        assert!(begin.elapsed() >= Duration::from_millis(50));
        drop(far);
        let (near, far) = duplex(64 << 10);
        drop(far);
        let stalled = server.spoil_within(near, Tls::Stall, None).await;
        assert!(matches!(stalled, Err(Failure::Spoilt(_))));
    }

    #[test]
    fn what_cannot_be_used_is_told_by_its_field() {
        let ca = Ca::new("ca");
        let good = ca.issue(&["a.test"]);
        let other = ca.issue(&["a.test"]);
        let rows = [
            (
                Certificate {
                    chain: Source::File("/nowhere/x.pem".into()),
                    ..good.clone()
                },
                "tls_certificates[0].certificate_chain: `/nowhere/x.pem` cannot be read: No such file or directory (os error 2)",
            ),
            (
                Certificate {
                    chain: inline("nothing"),
                    ..good.clone()
                },
                "tls_certificates[0].certificate_chain: what is written there has no certificate in PEM",
            ),
            (
                Certificate {
                    key: good.chain.clone(),
                    ..good.clone()
                },
                "tls_certificates[0].private_key: what is written there has no private key in PEM",
            ),
            (
                Certificate {
                    key: other.key,
                    ..good.clone()
                },
                "tls_certificates[0].private_key: the private key in what is written there is not that of the certificate in what is written there",
            ),
        ];
        for (certificate, expected) in rows {
            let wrong = Server::new(server(vec![certificate])).unwrap_err();
            assert_eq!(wrong.to_string(), expected);
        }
    }
}
