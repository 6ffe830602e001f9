//! Public keys by which tokens are signed (RFC 7517), and the signatures themselves. A key is for one sort of algorithm
//! only (RFC 8725 §3.1): who knows a public key cannot use it as a secret, and `none` is no algorithm.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
        ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
        RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
        RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    },
};
use serde_json::Value;

use super::{
    failure::Failure,
    token::{Token, decode},
};

/// Smallest RSA key that is taken, in bytes.
const RSA_LEAST: usize = 256;

/// How a token is signed (RFC 7518 §3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// HMAC, with a secret.
    Hs(Size),
    /// RSA, PKCS #1.
    Rs(Size),
    /// RSA, PSS.
    Ps(Size),
    /// ECDSA.
    Es(Size),
    /// Ed25519.
    Ed,
}

/// The digest, and for ECDSA the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// SHA-256, P-256.
    S256,
    /// SHA-384, P-384.
    S384,
    /// SHA-512, P-521.
    S512,
}

/// Keys of an issuer.
#[derive(Debug, Default)]
pub struct Keys(Vec<Key>);

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoKeys {
    /// None of them can be read.
    Invalid(String),
    /// They are of a form that is not known here.
    Unsupported(String),
}

#[derive(Debug)]
struct Key {
    /// Its name; empty: it has none.
    name: String,
    /// The only algorithm that it is for, if one is said.
    only: Option<Algorithm>,
    form: Form,
}

enum Form {
    Secret(Vec<u8>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Curve(Size, ParsedPublicKey),
    Ed25519(ParsedPublicKey),
}

impl FromStr for Algorithm {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let (sort, size) = name.split_at_checked(2).ok_or(())?;
        if name == "EdDSA" {
            return Ok(Self::Ed);
        }
        let size = match size {
            "256" => Size::S256,
            "384" => Size::S384,
            "512" => Size::S512,
            _ => return Err(()),
        };
        match sort {
            "HS" => Ok(Self::Hs(size)),
            "RS" => Ok(Self::Rs(size)),
            "PS" => Ok(Self::Ps(size)),
            "ES" => Ok(Self::Es(size)),
            _ => Err(()),
        }
    }
}

impl Keys {
    /// Reads a key set; keys that cannot be read are left out if there are others, as in Envoy.
    pub fn read(text: &str) -> Result<Self, NoKeys> {
        let invalid = |what: &str| NoKeys::Invalid(what.to_owned());
        let set: Value = serde_json::from_str(text)
            .map_err(|error| NoKeys::Invalid(format!("the key set is not JSON: {error}")))?;
        let fields = set
            .as_object()
            .ok_or_else(|| invalid("the key set is not a JSON object"))?;
        let Some(keys) = fields.get("keys") else {
            let certificate = |it: &Value| {
                let text = it.as_str().unwrap_or_default();
                text.starts_with("-----BEGIN CERTIFICATE-----")
            };
            return Err(if !fields.is_empty() && fields.values().all(certificate) {
                NoKeys::Unsupported("a key set of certificates".to_owned())
            } else {
                invalid("the key set has no `keys`")
            });
        };
        let list = keys
            .as_array()
            .ok_or_else(|| invalid("`keys` of the key set is not a list"))?;
        let mut read = Vec::new();
        let mut first = None;
        for (index, key) in list.iter().enumerate() {
            match Key::read(key) {
                Ok(key) => read.push(key),
                // It would be silently weaker than it looks.
                Err(NoKeys::Unsupported(what)) => {
                    return Err(NoKeys::Unsupported(format!("key {index}: {what}")));
                }
                Err(NoKeys::Invalid(what)) => {
                    first.get_or_insert(format!("key {index} of the key set: {what}"));
                }
            }
        }
        if read.is_empty() {
            let what = first.unwrap_or_else(|| "the key set has no key".to_owned());
            return Err(NoKeys::Invalid(what));
        }
        Ok(Self(read))
    }

    /// Whether one of them has signed the token.
    pub(super) fn verify(&self, token: &Token) -> Result<(), Failure> {
        let mut known = false;
        for key in &self.0 {
            let named = token.key.is_empty() || key.name.is_empty() || key.name == token.key;
            if !named || key.only.is_some_and(|only| only != token.algorithm) {
                continue;
            }
            known = true;
            if matches!(key.form, Form::Ed25519(_))
                && token.algorithm == Algorithm::Ed
                && token.signature.len() != 64
            {
                return Err(Failure::Ed25519Length);
            }
            if key.form.has_signed(token) {
                return Ok(());
            }
        }
        Err(if known {
            Failure::Verification
        } else {
            Failure::NoKey
        })
    }
}

impl Key {
    fn read(it: &Value) -> Result<Self, NoKeys> {
        let text = |name: &str| it.get(name).and_then(Value::as_str);
        let bytes = |name: &str| {
            let bytes = text(name).and_then(decode);
            bytes.ok_or_else(|| NoKeys::Invalid(format!("`{name}` is not a base64url text")))
        };
        let invalid = |what: String| Err(NoKeys::Invalid(what));
        let said = text("alg").unwrap_or_default();
        let only: Option<Algorithm> = match said {
            "" => None,
            said => match said.parse() {
                Ok(only) => Some(only),
                Err(()) => return invalid(format!("`alg` is `{said}`, which is not known")),
            },
        };
        let kind = text("kty").unwrap_or_default();
        let form = match (kind, only) {
            ("oct", None | Some(Algorithm::Hs(_))) => {
                let secret = bytes("k")?;
                if secret.is_empty() {
                    return invalid("`k` is empty".to_owned());
                }
                Form::Secret(secret)
            }
            ("RSA", None | Some(Algorithm::Rs(_) | Algorithm::Ps(_))) => {
                rsa(&bytes("n")?, &bytes("e")?)?
            }
            ("EC", None | Some(Algorithm::Es(_))) => {
                let size = match (text("crv"), only) {
                    (Some("P-256"), None | Some(Algorithm::Es(Size::S256))) | (None, None) => {
                        Size::S256
                    }
                    (Some("P-384"), None | Some(Algorithm::Es(Size::S384))) => Size::S384,
                    (Some("P-521"), None | Some(Algorithm::Es(Size::S512))) => Size::S512,
                    (None, Some(Algorithm::Es(size))) => size,
                    (curve, _) => {
                        let curve = curve.unwrap_or_default();
                        return invalid(format!("`crv` `{curve}` is not one of its algorithm"));
                    }
                };
                Form::Curve(size, point(size, &bytes("x")?, &bytes("y")?)?)
            }
            ("OKP", None | Some(Algorithm::Ed)) => {
                if text("crv") != Some("Ed25519") {
                    return invalid("`crv` is not `Ed25519`".to_owned());
                }
                let key = ParsedPublicKey::new(&ED25519, bytes("x")?);
                Form::Ed25519(key.map_err(|_| not_a_point())?)
            }
            ("oct" | "RSA" | "EC" | "OKP", _) => {
                return invalid(format!("`alg` `{said}` is not for a key of `kty` `{kind}`"));
            }
            _ => {
                return invalid(format!("`kty` `{kind}` is not `RSA`, `EC`, `OKP` or `oct`"));
            }
        };
        Ok(Self {
            name: text("kid").unwrap_or_default().to_owned(),
            only,
            form,
        })
    }
}

impl Form {
    fn has_signed(&self, token: &Token) -> bool {
        let (message, signature) = (token.signed.as_bytes(), token.signature.as_slice());
        match (self, token.algorithm) {
            (Self::Secret(secret), Algorithm::Hs(size)) => {
                let digest = match size {
                    Size::S256 => hmac::HMAC_SHA256,
                    Size::S384 => hmac::HMAC_SHA384,
                    Size::S512 => hmac::HMAC_SHA512,
                };
                let key = hmac::Key::new(digest, secret);
                hmac::verify(&key, message, signature).is_ok()
            }
            (Self::Rsa { n, e }, Algorithm::Rs(size)) => {
                let how = match size {
                    Size::S256 => &RSA_PKCS1_2048_8192_SHA256,
                    Size::S384 => &RSA_PKCS1_2048_8192_SHA384,
                    Size::S512 => &RSA_PKCS1_2048_8192_SHA512,
                };
                signed_by_rsa(n, e, how, message, signature)
            }
            (Self::Rsa { n, e }, Algorithm::Ps(size)) => {
                let how = match size {
                    Size::S256 => &RSA_PSS_2048_8192_SHA256,
                    Size::S384 => &RSA_PSS_2048_8192_SHA384,
                    Size::S512 => &RSA_PSS_2048_8192_SHA512,
                };
                signed_by_rsa(n, e, how, message, signature)
            }
            (Self::Curve(curve, key), Algorithm::Es(size)) => {
                *curve == size && key.verify_sig(message, signature).is_ok()
            }
            (Self::Ed25519(key), Algorithm::Ed) => key.verify_sig(message, signature).is_ok(),
            _ => false,
        }
    }
}

/// Without the key: one is a secret.
impl fmt::Debug for Form {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Secret(_) => "Secret",
            Self::Rsa { .. } => "Rsa",
            Self::Curve(..) => "Curve",
            Self::Ed25519(_) => "Ed25519",
        })
    }
}

fn signed_by_rsa(
    n: &[u8],
    e: &[u8],
    how: &RsaParameters,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let key = RsaPublicKeyComponents { n, e };
    key.verify(how, message, signature).is_ok()
}

fn rsa(n: &[u8], e: &[u8]) -> Result<Form, NoKeys> {
    let (n, e) = (without_zeros(n), without_zeros(e));
    if !matches!(e, [3] | [1, 0, 1]) {
        let what = "`e` is neither 3 nor 65537".to_owned();
        return Err(NoKeys::Invalid(what));
    }
    if n.len() < RSA_LEAST || (n.len() == RSA_LEAST && n.first().is_some_and(|it| *it < 0x80)) {
        let what = "an RSA key of less than 2,048 bits".to_owned();
        return Err(NoKeys::Unsupported(what));
    }
    Ok(Form::Rsa {
        n: n.to_vec(),
        e: e.to_vec(),
    })
}

/// A point of a curve, uncompressed (SEC 1 §2.3.3).
fn point(size: Size, x: &[u8], y: &[u8]) -> Result<ParsedPublicKey, NoKeys> {
    let (how, width) = match size {
        Size::S256 => (&ECDSA_P256_SHA256_FIXED, 32),
        Size::S384 => (&ECDSA_P384_SHA384_FIXED, 48),
        Size::S512 => (&ECDSA_P521_SHA512_FIXED, 66),
    };
    let mut bytes = vec![4];
    for number in [x, y] {
        let number = without_zeros(number);
        let zeros = width - number.len().min(width);
        bytes.extend(std::iter::repeat_n(0, zeros));
        bytes.extend_from_slice(number);
    }
    ParsedPublicKey::new(how, bytes).map_err(|_| not_a_point())
}

fn not_a_point() -> NoKeys {
    NoKeys::Invalid("it is not a point of its curve".to_owned())
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
