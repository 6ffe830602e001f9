//! Whether a peer's certificate is believed: its chain, its names, its digest. One check for both sides.

use std::{collections::HashMap, fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{
    Wrong,
    facts::{Facts, sha256},
    names::{Names, covers},
    read,
};
use crate::config::tls::{Source, Validation};

/// Why a certificate is not believed, beyond what its chain says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// None of its names is one that is asked for.
    Name,
    /// Its digest is not one that is asked for.
    Digest,
    /// Its identity is of no trust domain that is known.
    Domain,
    /// Its key may not be used for signatures.
    KeyUsage,
}

/// Who shows the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Client,
    Server,
}

/// The check of peers' certificates.
#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    roots: Option<Roots>,
    domains: HashMap<String, Roots>,
    names: Names,
    hashes: Vec<[u8; 32]>,
    keys: Vec<[u8; 32]>,
    allow_expired: bool,
    accept_untrusted: bool,
    /// The certificate must be for the name that was asked for.
    pub(super) asked_name: bool,
    pub(super) enforce_rsa_key_usage: bool,
    /// A client is asked for its certificate.
    ask: bool,
    /// A client must have one.
    pub(super) require: bool,
    hints: Vec<DistinguishedName>,
}

#[derive(Debug)]
struct Roots {
    chain: Chain,
    /// A certificate that is itself believed needs no chain.
    anchors: Vec<CertificateDer<'static>>,
}

#[derive(Debug)]
enum Chain {
    Client(Arc<dyn ClientCertVerifier>),
    Server(Arc<WebPkiServerVerifier>),
}

impl Verifier {
    pub(super) fn new(
        it: Option<&Validation>,
        peer: Peer,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Wrong> {
        let field = "validation_context";
        let mut verifier = Self {
            provider: Arc::clone(provider),
            roots: None,
            domains: HashMap::new(),
            names: Names::default(),
            hashes: Vec::new(),
            keys: Vec::new(),
            allow_expired: false,
            accept_untrusted: false,
            asked_name: false,
            enforce_rsa_key_usage: false,
            ask: false,
            require: false,
            hints: Vec::new(),
        };
        let Some(it) = it else {
            return Ok(verifier);
        };
        if let Some(source) = &it.trusted_ca {
            let at = format!("{field}.trusted_ca");
            let roots = roots(source, &at, it, peer, provider)?;
            if !it.hide_roots {
                verifier.hints = roots.hints();
            }
            verifier.roots = Some(roots);
        }
        for (index, domain) in it.domains.iter().enumerate() {
            let at = format!("{field}.custom_validator_config.typed_config.trust_domains[{index}]");
            let roots = roots(
                &domain.roots,
                &format!("{at}.trust_bundle"),
                it,
                peer,
                provider,
            )?;
            if !it.hide_roots {
                verifier.hints.extend(roots.hints());
            }
            verifier.domains.insert(domain.name.clone(), roots);
        }
        verifier.names = Names::new(&it.names)
            .map_err(|what| Wrong::new(format!("{field}.match_typed_subject_alt_names"), what))?;
        verifier.hashes.clone_from(&it.hashes);
        verifier.keys.clone_from(&it.keys);
        verifier.allow_expired = it.allow_expired;
        verifier.accept_untrusted = it.accept_untrusted;
        verifier.ask = verifier.roots.is_some()
            || !verifier.domains.is_empty()
            || !verifier.hashes.is_empty()
            || !verifier.keys.is_empty();
        Ok(verifier)
    }

    /// Whether a client is asked for a certificate.
    pub(super) fn asks(&self) -> bool {
        self.ask || self.require
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        asked: Option<&ServerName<'_>>,
        now: UnixTime,
    ) -> Result<(), Error> {
        // As Envoy: a certificate that is taken although it is not believed is not looked at any further.
        match self.check_chain(leaf, between, now) {
            Err(_) if self.accept_untrusted => return Ok(()),
            result => result?,
        }
        let named = !self.names.is_empty() || self.asked_name;
        if !named && self.hashes.is_empty() && self.keys.is_empty() && !self.enforce_rsa_key_usage {
            return Ok(());
        }
        let facts =
            Facts::read(leaf).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.enforce_rsa_key_usage && facts.rsa && facts.must_not_sign {
            return Err(Refusal::KeyUsage.into());
        }
        let result = self.check_facts(leaf, &facts, asked);
        if self.accept_untrusted {
            return Ok(());
        }
        result
    }

    fn check_facts(
        &self,
        leaf: &CertificateDer<'_>,
        facts: &Facts,
        asked: Option<&ServerName<'_>>,
    ) -> Result<(), Error> {
        if !self.names.is_empty() && !self.names.hold(facts) {
            return Err(Refusal::Name.into());
        }
        if self.asked_name
            && let Some(asked) = asked
        {
            let found = match asked {
                ServerName::DnsName(name) => {
                    let name = name.as_ref().to_ascii_lowercase();
                    facts.dns.iter().any(|pattern| covers(pattern, &name))
                }
                // Nothing was asked for.
                _ => true,
            };
            if !found {
                return Err(Refusal::Name.into());
            }
        }
        let digests = !self.hashes.is_empty() || !self.keys.is_empty();
        if digests && !self.hashes.contains(&sha256(leaf)) && !self.keys.contains(&facts.key_digest)
        {
            return Err(Refusal::Digest.into());
        }
        Ok(())
    }

    fn check_chain(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let roots = if self.domains.is_empty() {
            self.roots.as_ref()
        } else {
            Some(self.roots_of_domain(leaf)?)
        };
        let Some(roots) = roots else {
            return Ok(());
        };
        let mut now = now;
        // A chain has few certificates; each may be beyond its dates.
        for _ in 0..=between.len() + 1 {
            let result = roots.check(leaf, between, now);
            let at = match &result {
                Err(Error::InvalidCertificate(CertificateError::ExpiredContext {
                    not_after,
                    ..
                })) => *not_after,
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) => *not_before,
                _ => return result,
            };
            if !self.allow_expired {
                return result;
            }
            now = at;
        }
        roots.check(leaf, between, now)
    }

    /// The roots of the trust domain that the certificate's only identity is of.
    fn roots_of_domain(&self, leaf: &CertificateDer<'_>) -> Result<&Roots, Error> {
        let facts =
            Facts::read(leaf).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let domain = match facts.uris.as_slice() {
            [only] => only
                .strip_prefix("spiffe://")
                .and_then(|rest| rest.split('/').next()),
            _ => None,
        };
        domain
            .and_then(|domain| self.domains.get(domain))
            .ok_or_else(|| Refusal::Domain.into())
    }
}

fn roots(
    source: &Source,
    field: &str,
    it: &Validation,
    peer: Peer,
    provider: &Arc<CryptoProvider>,
) -> Result<Roots, Wrong> {
    let (store, anchors) = read::roots(source, field)?;
    let store = Arc::new(store);
    let crls = match &it.crl {
        Some(crl) => read::revocations(crl, "validation_context.crl")?,
        None => Vec::new(),
    };
    let wrong = |error: &dyn fmt::Display| Wrong::new(field, format!("it cannot be used: {error}"));
    let chain = match peer {
        Peer::Client => {
            let mut builder =
                WebPkiClientVerifier::builder_with_provider(store, Arc::clone(provider))
                    .with_crls(crls)
                    .enforce_revocation_expiration();
            if it.crl_of_leaf_only {
                builder = builder.only_check_end_entity_revocation();
            }
            Chain::Client(builder.build().map_err(|error| wrong(&error))?)
        }
        Peer::Server => {
            let mut builder =
                WebPkiServerVerifier::builder_with_provider(store, Arc::clone(provider))
                    .with_crls(crls)
                    .enforce_revocation_expiration();
            if it.crl_of_leaf_only {
                builder = builder.only_check_end_entity_revocation();
            }
            Chain::Server(builder.build().map_err(|error| wrong(&error))?)
        }
    };
    Ok(Roots { chain, anchors })
}

impl Roots {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.anchors.iter().any(|anchor| anchor == leaf) {
            return dates(leaf, now);
        }
        match &self.chain {
            Chain::Client(chain) => chain.verify_client_cert(leaf, between, now).map(drop),
            Chain::Server(chain) => {
                // The name is looked at last, and is not ours to check here.
                let nobody = ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into());
                match chain.verify_server_cert(leaf, between, &nobody, &[], now) {
                    Err(Error::InvalidCertificate(
                        CertificateError::NotValidForName
                        | CertificateError::NotValidForNameContext { .. },
                    ))
                    | Ok(_) => Ok(()),
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn hints(&self) -> Vec<DistinguishedName> {
        match &self.chain {
            Chain::Client(chain) => chain.root_hint_subjects().to_vec(),
            Chain::Server(_) => Vec::new(),
        }
    }
}

fn dates(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let facts =
        Facts::read(leaf).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let time = |seconds: i64| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            u64::try_from(seconds).unwrap_or(0),
        ))
    };
    let (not_before, not_after) = (time(facts.not_before), time(facts.not_after));
    let error = if now.as_secs() < not_before.as_secs() {
        CertificateError::NotValidYetContext {
            time: now,
            not_before,
        }
    } else if now.as_secs() > not_after.as_secs() {
        CertificateError::ExpiredContext {
            time: now,
            not_after,
        }
    } else {
        return Ok(());
    };
    Err(Error::InvalidCertificate(error))
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.asks()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.require
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates, None, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, Some(server_name), now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "SAN matcher",
            Self::Digest => "cert hash and spki",
            Self::Domain => "no trust bundle for its trust domain",
            Self::KeyUsage => "the key may not be used for signatures",
        })
    }
}

impl std::error::Error for Refusal {}
