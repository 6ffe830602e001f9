//! What a certificate says: names, dates, digests. The texts are Envoy's.

use std::{fmt::Write, net::IpAddr};

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::FromDer,
    x509::{AttributeTypeAndValue, X509Name},
};

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Its subject as RFC 2253 writes it; empty where it has none.
    pub subject: String,
    /// Who has signed it, as RFC 2253 writes it.
    pub issuer: String,
    /// The common name in its subject.
    pub common_name: Option<String>,
    /// Its number, hexadecimal.
    pub serial: String,
    /// Its host names.
    pub dns: Vec<String>,
    /// Its identities.
    pub uris: Vec<String>,
    /// Its addresses of mail.
    pub emails: Vec<String>,
    /// Its IP addresses, as text.
    pub ips: Vec<String>,
    /// It is good from then on, in seconds since 1970.
    pub not_before: i64,
    /// It is good until then, in seconds since 1970.
    pub not_after: i64,
    /// Its key is an RSA key.
    pub rsa: bool,
    /// It says what its key may be used for, and signing is not among it.
    pub must_not_sign: bool,
    /// SHA-256 of its public key.
    pub key_digest: [u8; 32],
}

impl Facts {
    /// Reads a certificate; `None`: it is none.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, it) = X509Certificate::from_der(der).ok()?;
        let mut facts = Self {
            subject: rfc2253(it.subject()),
            issuer: rfc2253(it.issuer()),
            common_name: it
                .subject()
                .iter_common_name()
                .next()
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned),
            serial: serial(it.raw_serial()),
            not_before: it.validity().not_before.timestamp(),
            not_after: it.validity().not_after.timestamp(),
            // RFC 8017 appendix C, rsaEncryption.
            rsa: it.public_key().algorithm.algorithm.to_id_string() == "1.2.840.113549.1.1.1",
            must_not_sign: it
                .key_usage()
                .ok()
                .flatten()
                .is_some_and(|usage| !usage.value.digital_signature()),
            key_digest: sha256(it.public_key().raw),
            ..Self::default()
        };
        if let Ok(Some(names)) = it.subject_alternative_name() {
            for name in &names.value.general_names {
                match name {
                    GeneralName::DNSName(name) => facts.dns.push((*name).to_owned()),
                    GeneralName::URI(name) => facts.uris.push((*name).to_owned()),
                    GeneralName::RFC822Name(name) => facts.emails.push((*name).to_owned()),
                    GeneralName::IPAddress(bytes) => facts.ips.extend(ip(bytes)),
                    _ => {}
                }
            }
        }
        Some(facts)
    }
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    <[u8; 32]>::try_from(digest.as_ref()).unwrap_or_default()
}

/// SHA-1, by which certificates are still known in logs.
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    <[u8; 20]>::try_from(digest.as_ref()).unwrap_or_default()
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A certificate in PEM (RFC 7468), with lines of 64 characters.
pub fn pem(der: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let body = BASE64_STANDARD.encode(der);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

/// Positive, without the zero that DER puts before a high bit.
fn serial(raw: &[u8]) -> String {
    let raw = match raw {
        [0, rest @ ..] if !rest.is_empty() => rest,
        raw => raw,
    };
    hex(raw)
}

fn ip(bytes: &[u8]) -> Option<String> {
    let address = match *bytes {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(address.to_string())
}

/// The last part comes first (RFC 2253 §2.1); parts that belong together are joined by `+`.
fn rfc2253(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for part in parts.into_iter().rev() {
        if !text.is_empty() {
            text.push(',');
        }
        let values: Vec<_> = part.iter().collect();
        for (index, value) in values.into_iter().rev().enumerate() {
            if index > 0 {
                text.push('+');
            }
            attribute(value, &mut text);
        }
    }
    text
}

fn attribute(it: &AttributeTypeAndValue<'_>, text: &mut String) {
    let id = it.attr_type().to_id_string();
    match (short_name(&id), it.as_str()) {
        (Some(name), Ok(value)) => {
            text.push_str(name);
            text.push('=');
            escape(value, text);
        }
        (name, _) => {
            let _ = write!(text, "{}=#", name.unwrap_or(&id));
            let value = it.attr_value();
            let mut der = vec![value.tag().0 as u8];
            let length = value.data.len();
            if length < 0x80 {
                der.push(length as u8);
            } else {
                der.extend([0x82, (length >> 8) as u8, length as u8]);
            }
            der.extend(value.data);
            text.push_str(&hex(&der).to_uppercase());
        }
    }
}

/// BoringSSL's short names.
fn short_name(id: &str) -> Option<&'static str> {
    Some(match id {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.13" => "description",
        "2.5.4.17" => "postalCode",
        "2.5.4.41" => "name",
        "2.5.4.42" => "GN",
        "2.5.4.43" => "initials",
        "2.5.4.44" => "generationQualifier",
        "2.5.4.46" => "dnQualifier",
        "2.5.4.97" => "organizationIdentifier",
        "1.2.840.113549.1.9.1" => "emailAddress",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        _ => return None,
    })
}

/// RFC 2253 §2.4; what is not printable ASCII, byte by byte.
fn escape(value: &str, text: &mut String) {
    let last = value.len().wrapping_sub(1);
    for (index, byte) in value.bytes().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b'#' if index == 0 => text.push_str("\\#"),
            b' ' if index == 0 || index == last => text.push_str("\\ "),
            0x20..0x7f => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:02X}");
            }
        }
    }
}
