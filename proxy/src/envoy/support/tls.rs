//! TLS, and where its secrets come from.

use super::Row;

pub(super) const ROWS: &[Row] = &[
    (
        "envoy.config.core.v3.TransportSocket",
        &["name*", "typed_config"],
    ),
    (
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
        &[],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        &[
            "common_tls_context",
            "require_client_certificate",
            "full_scan_certs_on_sni_mismatch",
            "prefer_client_ciphers",
            "disable_stateless_session_resumption",
            "disable_stateful_session_resumption",
            "session_timeout",
            "ocsp_staple_policy",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        &[
            "common_tls_context",
            "sni",
            "auto_host_sni",
            "auto_sni_san_validation",
            "max_session_keys",
            "enforce_rsa_key_usage",
            // TLS 1.3 has no renegotiation, and no server needs it of us in 1.2.
            "allow_renegotiation*",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext",
        &[
            "tls_params",
            "tls_certificates",
            "tls_certificate_sds_secret_configs",
            "validation_context",
            "validation_context_sds_secret_config",
            "combined_validation_context",
            "alpn_protocols",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext",
        &[
            "default_validation_context",
            "validation_context_sds_secret_config",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.TlsParameters",
        &[
            "tls_minimum_protocol_version",
            "tls_maximum_protocol_version",
            "cipher_suites",
            "ecdh_curves",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.TlsCertificate",
        &[
            "certificate_chain",
            "private_key",
            "ocsp_staple",
            "watched_directory",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext",
        &[
            "trusted_ca",
            "crl",
            "only_verify_leaf_cert_crl",
            "match_typed_subject_alt_names",
            "match_subject_alt_names",
            "verify_certificate_hash",
            "verify_certificate_spki",
            "trust_chain_verification",
            "allow_expired_certificate",
            "suppress_client_ca_list",
            "custom_validator_config",
            "watched_directory",
        ],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher",
        &["san_type", "matcher"],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
        &["trust_domains"],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.TrustDomain",
        &["name", "trust_bundle"],
    ),
    ("envoy.config.core.v3.WatchedDirectory", &["path"]),
    (
        "envoy.extensions.transport_sockets.tls.v3.Secret",
        &["name", "tls_certificate", "validation_context"],
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig",
        &["name", "sds_config"],
    ),
    (
        "envoy.service.discovery.v3.DiscoveryResponse",
        &["resources", "version_info*", "type_url*", "nonce*"],
    ),
    (
        "envoy.config.core.v3.ConfigSource",
        &[
            "path",
            "path_config_source",
            "resource_api_version*",
            "initial_fetch_timeout*",
        ],
    ),
    (
        "envoy.config.core.v3.PathConfigSource",
        &["path", "watched_directory*"],
    ),
];
