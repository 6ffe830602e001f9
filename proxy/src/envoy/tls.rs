//! Transport sockets: TLS contexts of listeners and clusters.

use base64::{Engine, prelude::BASE64_STANDARD};
use envoy_types::pb::envoy::{
    config::{
        cluster::v3::Cluster,
        core::v3::{
            DataSource, TransportSocket, UpstreamHttpProtocolOptions, data_source::Specifier,
            transport_socket::ConfigType,
        },
    },
    extensions::transport_sockets::{
        raw_buffer::v3::RawBuffer,
        tls::v3::{
            CertificateValidationContext, CommonTlsContext, DownstreamTlsContext,
            SpiffeCertValidatorConfig, SubjectAltNameMatcher, TlsCertificate, TlsParameters,
            UpstreamTlsContext,
            certificate_validation_context::TrustChainVerification,
            common_tls_context::ValidationContextType,
            downstream_tls_context::{OcspStaplePolicy, SessionTicketKeysType},
            subject_alt_name_matcher::SanType,
            tls_parameters::TlsProtocol,
        },
    },
    extensions::upstreams::http::v3::HttpProtocolOptions,
};

use super::{
    Notes,
    filter::{duration, open},
    route,
    secret::Secrets,
};
use crate::config::tls::{
    Certificate, Client, Common, Name, NameKind, Params, Server, Source, Toggle, TrustDomain,
    Validation, Version,
};

/// Cipher suites of TLS 1.2 that we have, by OpenSSL's names.
const CIPHERS: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
];
/// Groups of the key exchange that we have, by BoringSSL's names.
const CURVES: [&str; 4] = ["X25519", "P-256", "P-384", "X25519MLKEM768"];

/// The listener's side of a transport socket; `None`: it is plain, or cannot be made, with the reason among the notes.
pub(super) fn downstream(
    it: Option<&TransportSocket>,
    secrets: &Secrets,
    path: &str,
    notes: &mut Notes,
) -> Option<Server> {
    let path = format!("{path}.transport_socket");
    let context: DownstreamTlsContext = context(it?, &path, notes)?;
    let path = format!("{path}.typed_config");
    let common = common(context.common_tls_context.as_ref(), secrets, &path, notes);
    if common.certificates.is_empty() {
        notes.invalid(
            format!("{path}.common_tls_context"),
            "a certificate is needed: `tls_certificates` or `tls_certificate_sds_secret_configs`",
        );
    }
    if context.ocsp_staple_policy != i32::from(OcspStaplePolicy::LenientStapling) {
        notes.unsupported(
            format!("{path}.ocsp_staple_policy"),
            "other than `LENIENT_STAPLING`",
        );
    }
    let tickets = match &context.session_ticket_keys_type {
        Some(SessionTicketKeysType::DisableStatelessSessionResumption(true)) => Toggle::Off,
        // Others are reported by the walk.
        _ => Toggle::On,
    };
    Some(Server {
        common,
        require_client_certificate: context
            .require_client_certificate
            .is_some_and(|it| it.value),
        full_scan: context
            .full_scan_certs_on_sni_mismatch
            .is_some_and(|it| it.value),
        prefer_client_ciphers: context.prefer_client_ciphers,
        tickets,
        stateful_resumption: if context.disable_stateful_session_resumption {
            Toggle::Off
        } else {
            Toggle::On
        },
        session_timeout: duration(
            context.session_timeout.as_ref(),
            &format!("{path}.session_timeout"),
            notes,
        ),
        ..Server::default()
    })
}

/// The cluster's side of a transport socket; `None`: it is plain, or cannot be made, with the reason among the notes.
pub(super) fn upstream(
    cluster: &Cluster,
    socket: Option<&TransportSocket>,
    secrets: &Secrets,
    path: &str,
    notes: &mut Notes,
) -> Option<Client> {
    let path = format!("{path}.transport_socket");
    let socket = socket?;
    let context: UpstreamTlsContext = context(socket, &path, notes)?;
    let path = format!("{path}.typed_config");
    if context.sni.len() > 255 {
        notes.invalid(
            format!("{path}.sni"),
            format!("it must have at most 255 bytes, not {}", context.sni.len()),
        );
    }
    let common = common(context.common_tls_context.as_ref(), secrets, &path, notes);
    if common.certificates.len() > 1 {
        notes.invalid(
            format!("{path}.common_tls_context.tls_certificates"),
            "a cluster shows one certificate",
        );
    }
    let by_request = by_request(cluster);
    #[expect(deprecated, reason = "Envoy still honours it")]
    let enforce_rsa_key_usage = context.enforce_rsa_key_usage.is_none_or(|it| it.value);
    Some(Client {
        common,
        sni: context.sni,
        auto_host_sni: context.auto_host_sni,
        sni_header: by_request.as_ref().filter(|it| it.auto_sni).map(|it| {
            match it.override_auto_sni_header.as_str() {
                "" | ":authority" => "host".to_owned(),
                name => name.to_ascii_lowercase(),
            }
        }),
        auto_san_validation: context.auto_sni_san_validation
            || by_request.is_some_and(|it| it.auto_san_validation),
        max_session_keys: context.max_session_keys.map(|it| it.value),
        enforce_rsa_key_usage,
    })
}

/// What is taken from each request: in the cluster's extension options, or in the older field of its own.
#[expect(deprecated, reason = "files that have the older field still run")]
fn by_request(cluster: &Cluster) -> Option<UpstreamHttpProtocolOptions> {
    cluster
        .typed_extension_protocol_options
        .values()
        .find_map(|any| open::<HttpProtocolOptions>(any)?.upstream_http_protocol_options)
        .or_else(|| cluster.upstream_http_protocol_options.clone())
}

/// Whether the transport socket is TLS at all.
fn context<M>(it: &TransportSocket, path: &str, notes: &mut Notes) -> Option<M>
where
    M: prost::Message + prost::Name + Default,
{
    let Some(ConfigType::TypedConfig(any)) = &it.config_type else {
        if it.name != "envoy.transport_sockets.raw_buffer" {
            notes.invalid(path, "a `typed_config` is needed");
        }
        return None;
    };
    if open::<RawBuffer>(any).is_some() {
        return None;
    }
    let context = open::<M>(any);
    if context.is_none()
        && (open::<DownstreamTlsContext>(any).is_some()
            || open::<UpstreamTlsContext>(any).is_some())
    {
        notes.invalid(
            format!("{path}.typed_config"),
            format!("it must be a `{}` here", M::full_name()),
        );
    }
    // Others are reported by the walk.
    context
}

fn common(
    it: Option<&CommonTlsContext>,
    secrets: &Secrets,
    path: &str,
    notes: &mut Notes,
) -> Common {
    let path = format!("{path}.common_tls_context");
    let Some(it) = it else {
        return Common::default();
    };
    let mut certificates: Vec<_> = it
        .tls_certificates
        .iter()
        .enumerate()
        .filter_map(|(index, it)| {
            certificate(it, &format!("{path}.tls_certificates[{index}]"), notes)
        })
        .collect();
    for (index, it) in it.tls_certificate_sds_secret_configs.iter().enumerate() {
        let path = format!("{path}.tls_certificate_sds_secret_configs[{index}]");
        certificates.extend(secrets.certificate(it, &path, notes));
    }
    Common {
        certificates,
        validation: validation_of(it, secrets, &path, notes),
        alpn: alpn(&it.alpn_protocols, &path, notes),
        params: it
            .tls_params
            .as_ref()
            .map(|it| params(it, &format!("{path}.tls_params"), notes))
            .unwrap_or_default(),
    }
}

fn alpn(protocols: &[String], path: &str, notes: &mut Notes) -> Vec<String> {
    // Envoy splits them at commas.
    let split: Vec<String> = protocols
        .iter()
        .flat_map(|them| them.split(','))
        .map(str::to_owned)
        .collect();
    if split.iter().any(|one| one.is_empty() || one.len() > 255) {
        notes.invalid(
            format!("{path}.alpn_protocols"),
            "a protocol must have from 1 to 255 bytes",
        );
    }
    split
}

fn validation_of(
    it: &CommonTlsContext,
    secrets: &Secrets,
    path: &str,
    notes: &mut Notes,
) -> Option<Validation> {
    let all = joined_validation(it, secrets, path, notes)?;
    let rootless = all.trusted_ca.is_none() && all.domains.is_empty() && all.secret.is_none();
    for (field, there) in [
        ("match_typed_subject_alt_names", !all.names.is_empty()),
        ("crl", all.crl.is_some()),
    ] {
        if rootless && there {
            notes.invalid(
                format!("{path}.validation_context.{field}"),
                "it means nothing without a `trusted_ca`",
            );
        }
    }
    Some(all)
}

fn joined_validation(
    it: &CommonTlsContext,
    secrets: &Secrets,
    path: &str,
    notes: &mut Notes,
) -> Option<Validation> {
    match it.validation_context_type.as_ref()? {
        ValidationContextType::ValidationContext(it) => {
            Some(validation(it, &format!("{path}.validation_context"), notes))
        }
        ValidationContextType::ValidationContextSdsSecretConfig(it) => {
            let path = format!("{path}.validation_context_sds_secret_config");
            secrets.validation(it, None, &path, notes)
        }
        ValidationContextType::CombinedValidationContext(it) => {
            let path = format!("{path}.combined_validation_context");
            let base = it
                .default_validation_context
                .as_ref()
                .map(|it| validation(it, &format!("{path}.default_validation_context"), notes));
            if let Some(it) = &it.validation_context_sds_secret_config {
                let path = format!("{path}.validation_context_sds_secret_config");
                secrets.validation(it, base, &path, notes)
            } else {
                notes.invalid(&path, "a `validation_context_sds_secret_config` is needed");
                base
            }
        }
        // Reported by the walk.
        _ => None,
    }
}

/// A certificate and its key; the notes have why there is none.
pub(super) fn certificate(
    it: &TlsCertificate,
    path: &str,
    notes: &mut Notes,
) -> Option<Certificate> {
    let chain = needed(
        it.certificate_chain.as_ref(),
        path,
        "certificate_chain",
        notes,
    );
    let key = needed(it.private_key.as_ref(), path, "private_key", notes);
    Some(Certificate {
        chain: chain?,
        key: key?,
        ocsp: it
            .ocsp_staple
            .as_ref()
            .and_then(|it| source(it, &format!("{path}.ocsp_staple"), notes)),
        secret: None,
        watched: it
            .watched_directory
            .as_ref()
            .map(|watched| watched.path.clone().into()),
    })
}

fn needed(it: Option<&DataSource>, path: &str, field: &str, notes: &mut Notes) -> Option<Source> {
    if let Some(it) = it {
        source(it, &format!("{path}.{field}"), notes)
    } else {
        notes.invalid(path, format!("a `{field}` is needed"));
        None
    }
}

fn source(it: &DataSource, path: &str, notes: &mut Notes) -> Option<Source> {
    match &it.specifier {
        Some(Specifier::Filename(name)) => Some(Source::File(name.into())),
        Some(Specifier::InlineString(text)) => Some(Source::Inline(text.as_bytes().into())),
        Some(Specifier::InlineBytes(bytes)) => Some(Source::Inline(bytes.as_slice().into())),
        // Reported by the walk.
        Some(_) => None,
        None => {
            notes.invalid(
                path,
                "a `filename`, an `inline_string` or `inline_bytes` is needed",
            );
            None
        }
    }
}

/// Which certificates of peers are believed.
pub(super) fn validation(
    it: &CertificateValidationContext,
    path: &str,
    notes: &mut Notes,
) -> Validation {
    let verification =
        TrustChainVerification::try_from(it.trust_chain_verification).unwrap_or_default();
    let names: Vec<_> = it
        .match_typed_subject_alt_names
        .iter()
        .enumerate()
        .filter_map(|(index, it)| {
            let path = format!("{path}.match_typed_subject_alt_names[{index}]");
            name(it, &path, notes)
        })
        .collect();
    #[expect(deprecated, reason = "Envoy still honours it")]
    let older = it.match_subject_alt_names.iter().enumerate();
    let older: Vec<_> = older
        .filter_map(|(index, it)| {
            let path = format!("{path}.match_subject_alt_names[{index}]");
            Some(Name {
                kind: NameKind::Any,
                text: route::string(it, &path, notes)?,
            })
        })
        .collect();
    let domains = domains(it, path, notes);
    let trusted_ca = it
        .trusted_ca
        .as_ref()
        .and_then(|it| source(it, &format!("{path}.trusted_ca"), notes));
    Validation {
        trusted_ca,
        crl: it
            .crl
            .as_ref()
            .and_then(|it| source(it, &format!("{path}.crl"), notes)),
        crl_of_leaf_only: it.only_verify_leaf_cert_crl,
        names: names.into_iter().chain(older).collect(),
        hashes: digests(
            &it.verify_certificate_hash,
            from_hex,
            &format!("{path}.verify_certificate_hash"),
            "64 hexadecimal digits, with or without colons",
            notes,
        ),
        keys: digests(
            &it.verify_certificate_spki,
            |text| BASE64_STANDARD.decode(text).ok(),
            &format!("{path}.verify_certificate_spki"),
            "32 bytes in base64",
            notes,
        ),
        allow_expired: it.allow_expired_certificate,
        accept_untrusted: verification == TrustChainVerification::AcceptUntrusted,
        hide_roots: it.suppress_client_ca_list,
        domains,
        secret: None,
        watched: it
            .watched_directory
            .as_ref()
            .map(|watched| watched.path.clone().into()),
    }
}

fn domains(it: &CertificateValidationContext, path: &str, notes: &mut Notes) -> Vec<TrustDomain> {
    let Some(custom) = &it.custom_validator_config else {
        return Vec::new();
    };
    let path = format!("{path}.custom_validator_config.typed_config");
    let Some(spiffe) = custom
        .typed_config
        .as_ref()
        .and_then(open::<SpiffeCertValidatorConfig>)
    else {
        // Others are reported by the walk.
        return Vec::new();
    };
    if spiffe.trust_domains.is_empty() {
        notes.invalid(&path, "a trust domain is needed");
    }
    let mut domains: Vec<TrustDomain> = Vec::new();
    for (index, it) in spiffe.trust_domains.iter().enumerate() {
        let path = format!("{path}.trust_domains[{index}]");
        if it.name.is_empty() || domains.iter().any(|known| known.name == it.name) {
            notes.invalid(
                format!("{path}.name"),
                format!("`{}` is empty or taken", it.name),
            );
        }
        if let Some(roots) = needed(it.trust_bundle.as_ref(), &path, "trust_bundle", notes) {
            domains.push(TrustDomain {
                name: it.name.clone(),
                roots,
            });
        }
    }
    domains
}

fn name(it: &SubjectAltNameMatcher, path: &str, notes: &mut Notes) -> Option<Name> {
    let kind = match SanType::try_from(it.san_type).unwrap_or_default() {
        SanType::Email => NameKind::Email,
        SanType::Dns => NameKind::Dns,
        SanType::Uri => NameKind::Uri,
        SanType::IpAddress => NameKind::Ip,
        SanType::OtherName => {
            notes.unsupported(format!("{path}.san_type"), "`OTHER_NAME`");
            return None;
        }
        SanType::Unspecified => {
            notes.invalid(
                format!("{path}.san_type"),
                "it must be `EMAIL`, `DNS`, `URI` or `IP_ADDRESS`",
            );
            return None;
        }
    };
    let Some(matcher) = &it.matcher else {
        notes.invalid(path, "a `matcher` is needed");
        return None;
    };
    Some(Name {
        kind,
        text: route::string(matcher, &format!("{path}.matcher"), notes)?,
    })
}

fn digests(
    texts: &[String],
    decode: impl Fn(&str) -> Option<Vec<u8>>,
    path: &str,
    wanted: &str,
    notes: &mut Notes,
) -> Vec<[u8; 32]> {
    let mut found = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match decode(text).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            Some(digest) => found.push(digest),
            None => notes.invalid(
                format!("{path}[{index}]"),
                format!("`{text}` is not a SHA-256: {wanted}"),
            ),
        }
    }
    found
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.replace(':', "");
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect()
}

fn params(it: &TlsParameters, path: &str, notes: &mut Notes) -> Params {
    let mut version = |value: i32, field: &str| {
        let protocol = TlsProtocol::try_from(value).unwrap_or_default();
        match protocol {
            TlsProtocol::TlsAuto => None,
            TlsProtocol::TlSv12 => Some(Version::Tls12),
            TlsProtocol::TlSv13 => Some(Version::Tls13),
            TlsProtocol::TlSv10 | TlsProtocol::TlSv11 => {
                notes.unsupported(
                    format!("{path}.{field}"),
                    format!("`{}`: TLS 1.2 and 1.3 are spoken", protocol.as_str_name()),
                );
                None
            }
        }
    };
    let min = version(
        it.tls_minimum_protocol_version,
        "tls_minimum_protocol_version",
    );
    let max = version(
        it.tls_maximum_protocol_version,
        "tls_maximum_protocol_version",
    );
    if min.zip(max).is_some_and(|(min, max)| min > max) {
        notes.invalid(
            format!("{path}.tls_minimum_protocol_version"),
            "it must not be above the `tls_maximum_protocol_version`",
        );
    }
    Params {
        min,
        max,
        ciphers: listed(
            &it.cipher_suites,
            &CIPHERS,
            &format!("{path}.cipher_suites"),
            notes,
        ),
        curves: listed(
            &it.ecdh_curves,
            &CURVES,
            &format!("{path}.ecdh_curves"),
            notes,
        ),
    }
}

/// The names that we have, in their order; `[A|B]` are of the same rank.
fn listed(names: &[String], known: &[&str], path: &str, notes: &mut Notes) -> Vec<String> {
    let mut found = Vec::new();
    for (index, group) in names.iter().enumerate() {
        let group = group.trim_start_matches('[').trim_end_matches(']');
        for name in group.split('|') {
            if known.contains(&name) {
                found.push(name.to_owned());
            } else {
                notes.unsupported(
                    format!("{path}[{index}]"),
                    format!("`{name}`; there are {}", known.join(", ")),
                );
            }
        }
    }
    found
}
