//! Versions, cipher suites and groups by the names that Envoy's files have for them.

use std::sync::Arc;

use rustls::{
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{
        CryptoProvider, SupportedKxGroup,
        aws_lc_rs::{cipher_suite as suite, default_provider, kx_group},
    },
    version::{TLS12, TLS13},
};

use crate::config::tls::{Params, Version};

/// Cipher suites of TLS 1.2, by OpenSSL's names.
pub const CIPHERS: &[(&str, SupportedCipherSuite)] = &[
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Groups of the key exchange, by BoringSSL's names.
pub const CURVES: &[(&str, &dyn SupportedKxGroup)] = &[
    ("X25519", kx_group::X25519),
    ("P-256", kx_group::SECP256R1),
    ("P-384", kx_group::SECP384R1),
    ("X25519MLKEM768", kx_group::X25519MLKEM768),
];

/// The algorithms that are used by these settings. Names that are not known are left out: whoever reads the settings
/// refuses them.
pub(super) fn provider(params: &Params) -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    if !params.ciphers.is_empty() {
        provider
            .cipher_suites
            .retain(|suite| suite.tls13().is_some());
        let named = params.ciphers.iter().filter_map(|name| {
            let (_, suite) = CIPHERS.iter().find(|(known, _)| known == name)?;
            Some(*suite)
        });
        provider.cipher_suites.extend(named);
    }
    if !params.curves.is_empty() {
        provider.kx_groups = params
            .curves
            .iter()
            .filter_map(|name| {
                let (_, group) = CURVES.iter().find(|(known, _)| known == name)?;
                Some(*group)
            })
            .collect();
    }
    Arc::new(provider)
}

/// The versions that are spoken; `max`: the highest where nothing is said.
pub(super) fn versions(params: &Params, max: Version) -> Vec<&'static SupportedProtocolVersion> {
    let min = params.min.unwrap_or(Version::Tls12);
    let max = params.max.unwrap_or(max.max(min));
    [(Version::Tls13, &TLS13), (Version::Tls12, &TLS12)]
        .into_iter()
        .filter(|(version, _)| (min..=max).contains(version))
        .map(|(_, known)| known)
        .collect()
}

/// A version as Envoy writes it.
pub(super) fn version_name(version: Option<rustls::ProtocolVersion>) -> &'static str {
    match version {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "",
    }
}

/// A cipher suite as Envoy writes it.
pub(super) fn cipher_name(suite: Option<SupportedCipherSuite>) -> &'static str {
    let Some(suite) = suite else {
        return "";
    };
    if let Some((name, _)) = CIPHERS
        .iter()
        .find(|(_, known)| known.suite() == suite.suite())
    {
        return name;
    }
    match suite.suite() {
        rustls::CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        rustls::CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        _ => "",
    }
}
