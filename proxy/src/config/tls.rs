//! TLS, both sides: which certificates are shown, which are believed, what is negotiated. Plain data; files are named here
//! and read where a connection's context is built.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use crate::policy::matcher::Text;

/// How a listener ends TLS.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Server {
    /// What both sides have in common.
    pub common: Common,
    /// A client without a certificate is refused.
    pub require_client_certificate: bool,
    /// Where no certificate has the asked name: all are looked through for one whose key the client can use, not just the
    /// first taken.
    pub full_scan: bool,
    /// The client's order of cipher suites counts.
    pub prefer_client_ciphers: bool,
    /// Sessions may be resumed by tickets.
    pub tickets: Toggle,
    /// Sessions may be resumed by their id.
    pub stateful_resumption: Toggle,
    /// A ticket is good for so long; `None`: 12 h.
    pub session_timeout: Option<Duration>,
    /// Who issues the certificates of faults; `None`: an authority that nobody knows.
    pub issuer: Option<Certificate>,
}

/// How a cluster's connections begin TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Client {
    /// What both sides have in common.
    pub common: Common,
    /// The name that is asked for; empty: none.
    pub sni: String,
    /// Without [`Client::sni`]: the host name of the endpoint.
    pub auto_host_sni: bool,
    /// The name that is asked for is the value of this header of the request, without a port, such as `host`; lower case.
    pub sni_header: Option<String>,
    /// The certificate must be for the name that was asked for.
    pub auto_san_validation: bool,
    /// Sessions that are kept to be resumed; 0: none. `None`: 1, as in Envoy.
    pub max_session_keys: Option<u32>,
    /// A certificate with an RSA key must allow signatures.
    pub enforce_rsa_key_usage: bool,
}

/// What both sides have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Common {
    /// Certificates that are shown.
    pub certificates: Vec<Certificate>,
    /// Which certificates of peers are believed; `None`: none is asked for, or any is.
    pub validation: Option<Validation>,
    /// Protocols that are spoken on it, the preferred first.
    pub alpn: Vec<String>,
    /// Versions and algorithms.
    pub params: Params,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Certificate {
    /// The certificate, then those that lead to its root; PEM.
    pub chain: Source,
    /// Its private key; PEM.
    pub key: Source,
    /// An OCSP response that is sent with it; DER.
    pub ocsp: Option<Source>,
    /// All of it is in a file of secrets instead.
    pub secret: Option<SecretFile>,
    /// Its files are read again when something in this folder moves, and not when they themselves change.
    pub watched: Option<PathBuf>,
}

/// Which certificates of peers are believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Validation {
    /// Roots, PEM; `None`: any chain.
    pub trusted_ca: Option<Source>,
    /// Revocation lists, PEM.
    pub crl: Option<Source>,
    /// Only the peer's own certificate is looked up in [`Validation::crl`].
    pub crl_of_leaf_only: bool,
    /// One of the certificate's names must be one of these; empty: any.
    pub names: Vec<Name>,
    /// SHA-256 of the certificate must be one of these, or that of its key one of [`Validation::keys`]; both empty: any.
    pub hashes: Vec<[u8; 32]>,
    /// SHA-256 of the certificate's public key.
    pub keys: Vec<[u8; 32]>,
    /// A certificate beyond its dates is believed.
    pub allow_expired: bool,
    /// A certificate that does not pass is taken all the same.
    pub accept_untrusted: bool,
    /// Clients are not told which roots are believed.
    pub hide_roots: bool,
    /// Roots by the trust domain of SPIFFE ids; where there are any, `trusted_ca` must not be set.
    pub domains: Vec<TrustDomain>,
    /// More of it is in a file of secrets; what that has comes on top.
    pub secret: Option<SecretFile>,
    /// Its files are read again when something in this folder moves, and not when they themselves change.
    pub watched: Option<PathBuf>,
}

/// The roots of one SPIFFE trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustDomain {
    /// Its name, such as `cluster.local`.
    pub name: String,
    /// Its roots, PEM.
    pub roots: Source,
}

/// A condition on one of a certificate's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Which sort of names is looked at.
    pub kind: NameKind,
    /// What one of them must be.
    pub text: Text,
}

/// Sorts of names in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// A host's name. An exact one is also met by a wildcard in the certificate.
    Dns,
    /// An identity such as `spiffe://cluster.local/ns/shop/sa/cart`.
    Uri,
    /// An address of mail.
    Email,
    /// An IP address, written as usual.
    Ip,
    /// Any of them.
    Any,
}

/// Versions and algorithms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params {
    /// The lowest version; `None`: 1.2.
    pub min: Option<Version>,
    /// The highest version; `None`: as in Envoy 1.3 for listeners, 1.2 for clusters.
    pub max: Option<Version>,
    /// Cipher suites of TLS 1.2 by OpenSSL's names, the preferred first; empty: all.
    pub ciphers: Vec<String>,
    /// Groups of the key exchange by BoringSSL's names, the preferred first; empty: all.
    pub curves: Vec<String>,
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Something that is on where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Toggle {
    /// On.
    #[default]
    On,
    /// Off.
    Off,
}

/// A secret in a file of resources, as Envoy's SDS reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// The file.
    pub path: PathBuf,
    /// The secret's name in it.
    pub name: String,
}

/// Where bytes come from. What is written in the configuration is never shown: it may be a private key.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// The configuration itself.
    Inline(Arc<[u8]>),
}

impl Default for Source {
    fn default() -> Self {
        Self::Inline(Arc::default())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.fmt(f),
            Self::Inline(bytes) => write!(f, "<{} bytes>", bytes.len()),
        }
    }
}

impl Client {
    /// Speaks TLS 1.2 or 1.3 to one of this name, with a certificate of this authority (PEM).
    pub fn trusting(pem: &str, name: &str) -> Self {
        let validation = Validation {
            trusted_ca: Some(Source::Inline(pem.as_bytes().into())),
            ..Validation::default()
        };
        Self {
            common: Common {
                validation: Some(validation),
                params: Params {
                    max: Some(Version::Tls13),
                    ..Params::default()
                },
                ..Common::default()
            },
            sni: name.to_owned(),
            auto_san_validation: true,
            ..Self::default()
        }
    }
}

impl Validation {
    /// With what another says on top: its single values replace ours, its lists come after ours (Envoy's
    /// `combined_validation_context`).
    #[must_use]
    pub fn with(self, top: &Self) -> Self {
        let joined = |a: Vec<Name>, b: &[Name]| a.into_iter().chain(b.iter().cloned()).collect();
        let digests = |mut a: Vec<[u8; 32]>, b: &[[u8; 32]]| {
            a.extend_from_slice(b);
            a
        };
        Self {
            trusted_ca: top.trusted_ca.clone().or(self.trusted_ca),
            crl: top.crl.clone().or(self.crl),
            crl_of_leaf_only: top.crl_of_leaf_only || self.crl_of_leaf_only,
            names: joined(self.names, &top.names),
            hashes: digests(self.hashes, &top.hashes),
            keys: digests(self.keys, &top.keys),
            allow_expired: top.allow_expired || self.allow_expired,
            accept_untrusted: top.accept_untrusted || self.accept_untrusted,
            hide_roots: top.hide_roots || self.hide_roots,
            domains: if top.domains.is_empty() {
                self.domains
            } else {
                top.domains.clone()
            },
            secret: self.secret,
            watched: top.watched.clone().or(self.watched),
        }
    }
}
