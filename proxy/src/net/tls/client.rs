//! Begins TLS on connections to endpoints.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use arc_swap::ArcSwap;
use http::HeaderName;
use rustls::{ClientConfig, client::Resumption, pki_types::ServerName, sign::SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Failure, Peer, Session, Wrong,
    facts::Facts,
    params::{cipher_name, provider, version_name, versions},
    read,
    server::curve,
    verify::{self, Verifier},
};
use crate::config::tls::{self, Version};

/// Endpoints of which sessions are remembered at least: rustls counts endpoints, Envoy sessions.
const REMEMBERED: usize = 256;

/// The cluster's side of TLS.
#[derive(Debug)]
pub struct Client {
    settings: tls::Client,
    sni: Option<ServerName<'static>>,
    sni_header: Option<HeaderName>,
    current: ArcSwap<Built>,
}

#[derive(Debug)]
struct Built {
    /// With what is in files of secrets.
    common: tls::Common,
    config: Arc<ClientConfig>,
    local: Option<Arc<Facts>>,
}

impl Client {
    /// Reads what the settings name.
    pub fn new(settings: tls::Client) -> Result<Self, Wrong> {
        let built = Built::new(&settings)?;
        let sni = match settings.sni.as_str() {
            "" => None,
            name => Some(
                ServerName::try_from(name.to_owned())
                    .map_err(|_| Wrong::new("sni", format!("`{name}` is not a host name")))?,
            ),
        };
        let sni_header = settings.sni_header.as_deref().map(HeaderName::try_from);
        let sni_header = sni_header.transpose().map_err(|_| {
            Wrong::new(
                "sni",
                "the header that it is read from has no header's name",
            )
        })?;
        Ok(Self {
            settings,
            sni,
            sni_header,
            current: ArcSwap::from_pointee(built),
        })
    }

    /// What it was made from.
    pub fn settings(&self) -> &tls::Client {
        &self.settings
    }

    /// The header of requests whose value is the name to ask for; `None`: the name is the settings'.
    pub fn sni_header(&self) -> Option<&HeaderName> {
        self.sni_header.as_ref()
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

    /// What its certificate says.
    pub(super) fn shown(&self) -> Vec<Arc<Facts>> {
        self.current.load().local.iter().cloned().collect()
    }

    /// Does the handshake with the endpoint at `address`. `sni`: the name to ask for instead of the settings'. `alpn`: the
    /// protocols to offer where the settings name none. It has no bound in time of its own.
    pub async fn connect<S>(
        &self,
        stream: S,
        address: SocketAddr,
        sni: Option<&str>,
        alpn: &[&'static [u8]],
    ) -> Result<(TlsStream<S>, Session), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match sni {
            Some(sni) => ServerName::try_from(sni.to_owned()).ok(),
            None => None,
        };
        // No name is asked for where the name is an address (RFC 6066 §3).
        let name = name.or_else(|| self.sni.clone()).unwrap_or_else(|| {
            let ip: IpAddr = address.ip();
            ServerName::IpAddress(ip.into())
        });
        let built = self.current.load_full();
        let connector = TlsConnector::from(Arc::clone(&built.config));
        let stream = if self.settings.common.alpn.is_empty() && !alpn.is_empty() {
            let alpn = alpn.iter().map(|protocol| protocol.to_vec()).collect();
            connector.with_alpn(alpn).connect(name, stream).await?
        } else {
            connector.connect(name, stream).await?
        };
        let (_, connection) = stream.get_ref();
        let session = Session {
            alpn: connection.alpn_protocol().map(Box::from),
            version: version_name(connection.protocol_version()),
            cipher: cipher_name(connection.negotiated_cipher_suite()),
            curve: connection
                .negotiated_key_exchange_group()
                .map_or("", |group| curve(group.name())),
            resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            peer: Peer::new(connection.peer_certificates()),
            local: built.local.clone(),
            ..Session::default()
        };
        Ok((stream, session))
    }
}

/// The store makes one context of equal settings.
impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Client {}

impl Built {
    fn new(settings: &tls::Client) -> Result<Self, Wrong> {
        let resolved = read::resolve(&settings.common)?;
        let common = &resolved;
        let provider = provider(&common.params);
        let mut verifier =
            Verifier::new(common.validation.as_ref(), verify::Peer::Server, &provider)?;
        verifier.asked_name = settings.auto_san_validation;
        verifier.enforce_rsa_key_usage = settings.enforce_rsa_key_usage;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(&common.params, Version::Tls12))
            .map_err(|error| Wrong::new("tls_params", format!("they cannot be used: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut local = None;
        let mut config = match common.certificates.first() {
            None => builder.with_no_client_auth(),
            Some(it) => {
                let (key, facts) = read::certificate(it, "tls_certificates[0]", &provider)?;
                local = Some(Arc::new(facts));
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
        };
        config.alpn_protocols = common
            .alpn
            .iter()
            .map(|protocol| protocol.clone().into_bytes())
            .collect();
        config.resumption = match settings.max_session_keys {
            Some(0) => Resumption::disabled(),
            Some(count) => Resumption::in_memory_sessions(REMEMBERED.max(count as usize)),
            None => Resumption::in_memory_sessions(REMEMBERED),
        };
        config.enable_sni = true;
        Ok(Self {
            common: resolved,
            config: Arc::new(config),
            local,
        })
    }
}
