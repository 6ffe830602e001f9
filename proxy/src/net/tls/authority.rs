//! An authority of our own, made for one run, whose key never leaves the process: for sidecars whose callers are to speak TLS.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use super::Wrong;
use crate::config::tls::{Certificate, Source};

/// It issues certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A fresh one of this name.
    pub fn new(name: &str) -> Result<Self, Wrong> {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(wrong)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(wrong)?;
        Ok(Self { issuer })
    }

    /// Its certificate, PEM: what clients must believe.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its certificate and its key, for handshakes that are spoilt and yet of a known authority.
    pub fn own(&self) -> Certificate {
        certificate(&self.issuer.pem(), self.issuer.key())
    }

    /// A certificate for a host name and these addresses.
    pub fn issue(&self, name: &str, addresses: &[IpAddr]) -> Result<Certificate, Wrong> {
        let mut params = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in [name, "localhost"] {
            let name = SanType::DnsName(name.try_into().map_err(wrong)?);
            params.subject_alt_names.push(name);
        }
        let addresses = addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
        let key = KeyPair::generate().map_err(wrong)?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(wrong)?;
        Ok(certificate(&leaf.pem(), &key))
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // Wherever the clock of a test stands.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
    params
}

fn certificate(chain: &str, key: &KeyPair) -> Certificate {
    let inline = |text: &str| Source::Inline(text.as_bytes().into());
    Certificate {
        chain: inline(chain),
        key: inline(&key.serialize_pem()),
        ..Certificate::default()
    }
}

fn wrong(error: impl std::fmt::Display) -> Wrong {
    Wrong::new("issuer", format!("it cannot issue: {error}"))
}
