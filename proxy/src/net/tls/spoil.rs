//! Certificates with one thing wrong, for faults: issued by the authority that the settings name, so that nothing else is.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};
use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer},
    sign::CertifiedKey,
};

use super::{Wrong, facts::Facts, read};
use crate::{config::tls::Certificate, policy::fault::tls::Tls};

/// The only name of a certificate that is for another one. RFC 6761 §6.4: nobody has it.
const WRONG_NAME: &str = "wrong-name.invalid";

/// A certificate in place of that of which the facts are. Without an issuer it is issued by an authority that nobody knows.
pub(super) fn certificate(
    kind: Tls,
    facts: &Facts,
    issuer: Option<&Certificate>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Wrong> {
    let wrong = |error: rcgen::Error| Wrong::new("issuer", format!("it cannot issue: {error}"));
    let key = KeyPair::generate().map_err(wrong)?;
    let params = params(kind, facts).map_err(wrong)?;
    let leaf = if let Some(issuer) = issuer.filter(|_| kind != Tls::UnknownCa) {
        let chain = text(&issuer.chain, "issuer.certificate_chain")?;
        let signer = KeyPair::from_pem(&text(&issuer.key, "issuer.private_key")?).map_err(wrong)?;
        let issuer = Issuer::from_ca_cert_pem(&chain, signer).map_err(wrong)?;
        params.signed_by(&key, &issuer).map_err(wrong)?
    } else {
        let mut authority = CertificateParams::default();
        authority.distinguished_name = common_name("unknown authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::new(authority, KeyPair::generate().map_err(wrong)?);
        params.signed_by(&key, &issuer).map_err(wrong)?
    };
    let key = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|error| Wrong::new("issuer", error))?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| Wrong::new("issuer", error.to_string()))?;
    Ok(CertifiedKey::new(
        vec![CertificateDer::from(leaf.der().to_vec())],
        key,
    ))
}

fn params(kind: Tls, facts: &Facts) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(facts.common_name.as_deref().unwrap_or_default());
    if kind == Tls::Expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 12, 31);
    }
    if kind == Tls::WrongName {
        params.distinguished_name = common_name(WRONG_NAME);
        params.subject_alt_names = vec![SanType::DnsName(WRONG_NAME.try_into()?)];
        return Ok(params);
    }
    for name in &facts.dns {
        let name = SanType::DnsName(name.as_str().try_into()?);
        params.subject_alt_names.push(name);
    }
    for uri in &facts.uris {
        let uri = SanType::URI(uri.as_str().try_into()?);
        params.subject_alt_names.push(uri);
    }
    let ips = facts.ips.iter().filter_map(|ip| ip.parse().ok());
    params.subject_alt_names.extend(ips.map(SanType::IpAddress));
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn text(source: &crate::config::tls::Source, field: &str) -> Result<String, Wrong> {
    String::from_utf8(read::bytes(source, field)?).map_err(|_| Wrong::new(field, "it is not PEM"))
}
