//! Certificates, keys and revocation lists, out of files and out of the configuration.

use std::fs;

use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};

use super::Wrong;
use crate::{
    config::tls::{Certificate, Common, SecretFile, Source},
    envoy::{self, Secret},
    net::tls::facts::Facts,
};

/// The settings with what files of secrets have in place of their names.
pub(super) fn resolve(common: &Common) -> Result<Common, Wrong> {
    let mut common = common.clone();
    for (index, it) in common.certificates.iter_mut().enumerate() {
        let Some(file) = it.secret.take() else {
            continue;
        };
        let field = format!("tls_certificate_sds_secret_configs[{index}]");
        let Secret::Certificate(found) = secret(&file, &field)? else {
            return Err(Wrong::new(
                field,
                format!("the secret `{}` is no certificate", file.name),
            ));
        };
        *it = Certificate {
            secret: Some(file),
            ..found
        };
    }
    if let Some(it) = &mut common.validation
        && let Some(file) = &it.secret
    {
        let field = "validation_context_sds_secret_config";
        let Secret::Validation(found) = secret(file, field)? else {
            return Err(Wrong::new(
                field,
                format!("the secret `{}` is no validation context", file.name),
            ));
        };
        *it = it.clone().with(&found);
    }
    Ok(common)
}

fn secret(file: &SecretFile, field: &str) -> Result<Secret, Wrong> {
    let path = file.path.display();
    let text = fs::read_to_string(&file.path)
        .map_err(|error| Wrong::new(field, format!("`{path}` cannot be read: {error}")))?;
    envoy::read_secret(&text, &file.name)
        .map_err(|why| Wrong::new(field, format!("`{path}`: {why}")))
}

/// The bytes; `field`: whose they are.
pub(super) fn bytes(source: &Source, field: &str) -> Result<Vec<u8>, Wrong> {
    match source {
        Source::Inline(bytes) => Ok(bytes.to_vec()),
        Source::File(path) => fs::read(path).map_err(|error| {
            Wrong::new(
                field,
                format!("`{}` cannot be read: {error}", path.display()),
            )
        }),
    }
}

/// A certificate that can be shown, and what it says.
pub(super) fn certificate(
    it: &Certificate,
    field: &str,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, Facts), Wrong> {
    let at = format!("{field}.certificate_chain");
    let chain = certificates(&it.chain, &at)?;
    let facts = chain
        .first()
        .and_then(|leaf| Facts::read(leaf))
        .ok_or_else(|| Wrong::new(&at, format!("{} is not a certificate", name(&it.chain))))?;
    let at = format!("{field}.private_key");
    let text = bytes(&it.key, &at)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let what = match error {
            pem::Error::NoItemsFound if encrypted(&text) => "is encrypted".to_owned(),
            pem::Error::NoItemsFound => "has no private key in PEM".to_owned(),
            error => format!("is not PEM: {error}"),
        };
        Wrong::new(&at, format!("{} {what}", name(&it.key)))
    })?;
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        Wrong::new(
            &at,
            format!("the private key in {} cannot be used", name(&it.key)),
        )
    })?;
    let mut certified = CertifiedKey::new(chain, key);
    if matches!(
        certified.keys_match(),
        Err(rustls::Error::InconsistentKeys(
            rustls::InconsistentKeys::KeyMismatch
        ))
    ) {
        return Err(Wrong::new(
            &at,
            format!(
                "the private key in {} is not that of the certificate in {}",
                name(&it.key),
                name(&it.chain)
            ),
        ));
    }
    if let Some(ocsp) = &it.ocsp {
        certified.ocsp = Some(bytes(ocsp, &format!("{field}.ocsp_staple"))?);
    }
    Ok((certified, facts))
}

fn encrypted(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.contains("ENCRYPTED")
}

/// At least one certificate.
pub(super) fn certificates(
    source: &Source,
    field: &str,
) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let text = bytes(source, field)?;
    let found = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Wrong::new(field, format!("{} is not PEM: {error}", name(source))))?;
    if found.is_empty() {
        return Err(Wrong::new(
            field,
            format!("{} has no certificate in PEM", name(source)),
        ));
    }
    Ok(found)
}

/// Roots, and the certificates that they are.
pub(super) fn roots(
    source: &Source,
    field: &str,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), Wrong> {
    let found = certificates(source, field)?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in found.iter().enumerate() {
        roots.add(certificate.clone()).map_err(|error| {
            Wrong::new(
                field,
                format!(
                    "certificate {} of {} cannot be used: {error}",
                    index + 1,
                    name(source)
                ),
            )
        })?;
    }
    Ok((roots, found))
}

/// At least one revocation list.
pub(super) fn revocations(
    source: &Source,
    field: &str,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Wrong> {
    let text = bytes(source, field)?;
    let found = CertificateRevocationListDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Wrong::new(field, format!("{} is not PEM: {error}", name(source))))?;
    if found.is_empty() {
        return Err(Wrong::new(
            field,
            format!("{} has no revocation list in PEM", name(source)),
        ));
    }
    Ok(found)
}

fn name(source: &Source) -> String {
    match source {
        Source::File(path) => format!("`{}`", path.display()),
        Source::Inline(_) => "what is written there".to_owned(),
    }
}
