//! Ends TLS on connections that were accepted.

use std::{
    future::Future,
    io::ErrorKind,
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    NamedGroup, ServerConfig, SignatureAlgorithm,
    crypto::{CryptoProvider, aws_lc_rs::Ticketer},
    server::{
        ClientHello, NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache,
        StoresServerSessions,
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor, server::TlsStream};

use super::{
    Failure, Peer, Session, Wrong,
    facts::Facts,
    names::covers,
    params::{cipher_name, provider, version_name, versions},
    read, spoil,
    verify::{self, Verifier},
};
use crate::{
    config::tls::{self, Toggle, Version},
    policy::fault::tls::Tls,
};

/// Sessions that are kept to be resumed by their id, of those who cannot use tickets.
const SESSIONS: usize = 1024;

/// The listener's side of TLS.
#[derive(Debug)]
pub struct Server {
    settings: tls::Server,
    current: ArcSwap<Built>,
}

/// What the settings and the files come to.
#[derive(Debug)]
pub(super) struct Built {
    /// With what is in files of secrets.
    common: tls::Common,
    shown: Vec<Shown>,
    full_scan: bool,
    /// What faults show; made when the first is.
    spoilt: [OnceLock<Spoilt>; 3],
}

/// What connections are made with whose certificate is spoilt, and what it says.
type Spoilt = (Arc<ServerConfig>, Arc<Facts>);

/// A certificate, and what connections that are shown it are made with.
#[derive(Debug)]
struct Shown {
    /// Its host names, lower case.
    names: Vec<String>,
    key: Arc<CertifiedKey>,
    facts: Arc<Facts>,
    config: Arc<ServerConfig>,
    /// For clients that speak none of our protocols: they are served, without a choice, as by Envoy.
    plain: Arc<ServerConfig>,
}

/// A protocol that was chosen, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// None was.
    None,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Another.
    Other,
}

impl Server {
    /// Reads what the settings name.
    pub fn new(settings: tls::Server) -> Result<Self, Wrong> {
        let built = Built::new(&settings)?;
        Ok(Self {
            settings,
            current: ArcSwap::from_pointee(built),
        })
    }

    /// What it was made from.
    pub fn settings(&self) -> &tls::Server {
        &self.settings
    }

    /// Reads the files again; on an error the old ones stay.
    pub(super) fn reload(&self) -> Result<(), Wrong> {
        self.current.store(Arc::new(Built::new(&self.settings)?));
        Ok(())
    }

    /// The settings with what is in files of secrets.
    pub(super) fn resolved(&self) -> tls::Common {
        self.current.load().common.clone()
    }

    /// What its certificates say.
    pub(super) fn shown(&self) -> Vec<Arc<Facts>> {
        let built = self.current.load();
        built.shown.iter().map(|it| Arc::clone(&it.facts)).collect()
    }

    /// Does the handshake. It has no bound in time of its own.
    pub async fn accept<S>(&self, stream: S) -> Result<(TlsStream<S>, Session), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let built = self.current.load_full();
        let hello = start.client_hello();
        let shown = built.choose(&hello).ok_or_else(|| {
            Failure::Protocol(rustls::Error::General("there is no certificate".to_owned()))
        })?;
        let config = if shown.speaks_with(&hello) {
            &shown.config
        } else {
            &shown.plain
        };
        let stream = start.into_stream(Arc::clone(config)).await?;
        let session = session(&stream, &shown.facts);
        Ok((stream, session))
    }

    /// [`Server::accept`], within so long.
    pub async fn accept_within<S>(
        &self,
        stream: S,
        within: Option<Duration>,
    ) -> Result<(TlsStream<S>, Session), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        in_time(self.accept(stream), within).await
    }

    /// Does the handshake as a fault wants it, within so long.
    pub async fn spoil_within<S>(
        &self,
        stream: S,
        kind: Tls,
        within: Option<Duration>,
    ) -> Result<(TlsStream<S>, Session), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        in_time(self.accept_spoilt(stream, kind), within)
            .await
            .map_err(|failure| Failure::Spoilt(Box::new(failure)))
    }

    /// With a certificate that has this wrong, or without an answer.
    async fn accept_spoilt<S>(
        &self,
        mut stream: S,
        kind: Tls,
    ) -> Result<(TlsStream<S>, Session), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if kind == Tls::Stall {
            let mut heard = [0; 1024];
            while stream.read(&mut heard).await? > 0 {}
            return Err(Failure::Io(ErrorKind::UnexpectedEof.into()));
        }
        let built = self.current.load_full();
        let (config, facts) = built
            .spoilt(kind, &self.settings)
            .map_err(|wrong| Failure::Protocol(rustls::Error::General(wrong.to_string())))?;
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let mut session = session(&stream, &facts);
        session.spoilt = true;
        Ok((stream, session))
    }
}

/// What comes of a handshake, or of a part of one, within so long.
pub(crate) async fn in_time<T, E>(
    handshake: impl Future<Output = Result<T, E>>,
    within: Option<Duration>,
) -> Result<T, Failure>
where
    Failure: From<E>,
{
    let done = match within {
        Some(within) => tokio::time::timeout(within, handshake)
            .await
            .map_err(|_| Failure::Timeout)?,
        None => handshake.await,
    };
    Ok(done?)
}

fn session<S>(stream: &TlsStream<S>, local: &Arc<Facts>) -> Session {
    let (_, connection) = stream.get_ref();
    Session {
        sni: connection.server_name().map(Box::from),
        alpn: connection.alpn_protocol().map(Box::from),
        version: version_name(connection.protocol_version()),
        cipher: cipher_name(connection.negotiated_cipher_suite()),
        curve: connection
            .negotiated_key_exchange_group()
            .map_or("", |group| curve(group.name())),
        resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        peer: Peer::new(connection.peer_certificates()),
        local: Some(Arc::clone(local)),
        ..Session::default()
    }
}

/// A group as Envoy's counts have it.
pub(super) fn curve(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519 => "X25519",
        NamedGroup::secp256r1 => "P-256",
        NamedGroup::secp384r1 => "P-384",
        NamedGroup::X25519MLKEM768 => "X25519MLKEM768",
        _ => "",
    }
}

impl Built {
    fn new(settings: &tls::Server) -> Result<Self, Wrong> {
        let resolved = read::resolve(&settings.common)?;
        let common = &resolved;
        let provider = provider(&common.params);
        let mut verifier =
            Verifier::new(common.validation.as_ref(), verify::Peer::Client, &provider)?;
        verifier.require = settings.require_client_certificate;
        let verifier = Arc::new(verifier);
        let ticketer = ticketer(settings)?;
        let sessions: Arc<dyn StoresServerSessions> = match settings.stateful_resumption {
            Toggle::On => ServerSessionMemoryCache::new(SESSIONS),
            Toggle::Off => Arc::new(NoServerSessionStorage {}),
        };
        let mut shown = Vec::new();
        for (index, it) in common.certificates.iter().enumerate() {
            let field = format!("tls_certificates[{index}]");
            let (key, facts) = read::certificate(it, &field, &provider)?;
            let key = Arc::new(key);
            let mut config = config(&provider, &verifier, &key, common)?;
            config.ignore_client_order = !settings.prefer_client_ciphers;
            config.session_storage = Arc::clone(&sessions);
            if let Some(ticketer) = &ticketer {
                config.ticketer = Arc::clone(ticketer);
            }
            let mut plain = config.clone();
            plain.alpn_protocols = Vec::new();
            shown.push(Shown {
                names: host_names(&facts),
                key,
                facts: Arc::new(facts),
                config: Arc::new(config),
                plain: Arc::new(plain),
            });
        }
        if shown.is_empty() {
            return Err(Wrong::new("tls_certificates", "a certificate is needed"));
        }
        Ok(Self {
            common: resolved,
            shown,
            full_scan: settings.full_scan,
            spoilt: Default::default(),
        })
    }

    fn spoilt(&self, kind: Tls, settings: &tls::Server) -> Result<Spoilt, Wrong> {
        let [expired, name, authority] = &self.spoilt;
        let made = match kind {
            Tls::Expired => expired,
            Tls::WrongName => name,
            Tls::UnknownCa | Tls::Stall => authority,
        };
        if let Some(made) = made.get() {
            return Ok(made.clone());
        }
        let first = self.shown.first();
        let first = first.ok_or_else(|| Wrong::new("tls_certificates", "there is none"))?;
        let provider = first.config.crypto_provider();
        let key = spoil::certificate(kind, &first.facts, settings.issuer.as_ref(), provider)?;
        let facts = key.cert.first().and_then(|leaf| Facts::read(leaf));
        let mut config = (*first.config).clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(key));
        // Nobody is to resume a session that should not have been.
        config.ticketer = Arc::new(NoTickets);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let fresh = (Arc::new(config), Arc::new(facts.unwrap_or_default()));
        Ok(made.get_or_init(|| fresh).clone())
    }

    /// As Envoy: by the exact name, then by wildcard, an elliptic key before an RSA key; else the first, or, where all are
    /// looked through, the first whose key the client can use.
    fn choose(&self, hello: &ClientHello<'_>) -> Option<&Shown> {
        if let [only] = self.shown.as_slice() {
            return Some(only);
        }
        if let Some(name) = hello.server_name() {
            let name = name.to_ascii_lowercase();
            let exact = |it: &&Shown| it.names.contains(&name);
            let covering = |it: &&Shown| it.names.iter().any(|known| covers(known, &name));
            let found = best(self.shown.iter().filter(exact), hello)
                .or_else(|| best(self.shown.iter().filter(covering), hello));
            if found.is_some() {
                return found;
            }
        }
        let scan = self.full_scan || hello.server_name().is_none();
        scan.then(|| best(self.shown.iter(), hello))
            .flatten()
            .or(self.shown.first())
    }
}

/// The first with an elliptic key that the client can use, else the first with a key that it can use.
fn best<'a>(
    candidates: impl Iterator<Item = &'a Shown>,
    hello: &ClientHello<'_>,
) -> Option<&'a Shown> {
    let mut found = None;
    for it in candidates {
        let usable = it
            .key
            .key
            .choose_scheme(hello.signature_schemes())
            .is_some();
        if usable && it.key.key.algorithm() != SignatureAlgorithm::RSA {
            return Some(it);
        }
        if usable && found.is_none() {
            found = Some(it);
        }
    }
    found
}

impl Shown {
    /// Whether the client, if it names protocols at all, names one of ours.
    fn speaks_with(&self, hello: &ClientHello<'_>) -> bool {
        let Some(mut theirs) = hello.alpn() else {
            return true;
        };
        theirs.any(|protocol| {
            self.config
                .alpn_protocols
                .iter()
                .any(|ours| ours == protocol)
        })
    }
}

fn config(
    provider: &Arc<CryptoProvider>,
    verifier: &Arc<Verifier>,
    key: &Arc<CertifiedKey>,
    common: &tls::Common,
) -> Result<ServerConfig, Wrong> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&versions(&common.params, Version::Tls13))
        .map_err(|error| Wrong::new("tls_params", format!("they cannot be used: {error}")))?;
    let builder = if verifier.asks() {
        builder.with_client_cert_verifier(Arc::clone(verifier) as _)
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from((**key).clone())));
    config.alpn_protocols = common
        .alpn
        .iter()
        .map(|protocol| protocol.clone().into_bytes())
        .collect();
    Ok(config)
}

fn host_names(facts: &Facts) -> Vec<String> {
    let mut names: Vec<_> = facts
        .dns
        .iter()
        .map(|name| name.to_ascii_lowercase())
        .collect();
    if names.is_empty() {
        names.extend(
            facts
                .common_name
                .as_ref()
                .map(|name| name.to_ascii_lowercase()),
        );
    }
    names
}

fn ticketer(settings: &tls::Server) -> Result<Option<Arc<dyn ProducesTickets>>, Wrong> {
    if settings.tickets == Toggle::Off {
        return Ok(None);
    }
    let inner = Ticketer::new()
        .map_err(|error| Wrong::new("session_ticket_keys", format!("there are none: {error}")))?;
    Ok(Some(match settings.session_timeout {
        None => inner,
        Some(lifetime) => Arc::new(Limited { inner, lifetime }),
    }))
}

/// No tickets.
#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _cipher: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Tickets that are good for less long.
#[derive(Debug)]
struct Limited {
    inner: Arc<dyn ProducesTickets>,
    lifetime: Duration,
}

impl Limited {
    fn now() -> u64 {
        rustls::pki_types::UnixTime::now().as_secs()
    }
}

impl ProducesTickets for Limited {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lifetime.as_secs())
            .unwrap_or(u32::MAX)
            .min(self.inner.lifetime())
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut dated = Self::now().to_le_bytes().to_vec();
        dated.extend_from_slice(plain);
        self.inner.encrypt(&dated)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let dated = self.inner.decrypt(cipher)?;
        let (made, plain) = dated.split_first_chunk()?;
        let age = Self::now().saturating_sub(u64::from_le_bytes(*made));
        (age <= self.lifetime.as_secs()).then(|| plain.to_vec())
    }
}

impl Session {
    /// The protocol that was chosen.
    pub fn protocol(&self) -> Alpn {
        match self.alpn.as_deref() {
            None => Alpn::None,
            Some(b"h2") => Alpn::Http2,
            Some(b"http/1.1" | b"http/1.0") => Alpn::Http1,
            Some(_) => Alpn::Other,
        }
    }
}
