//! Why a token is not taken, in Envoy's words.

use std::fmt;

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It has no token.
    Missing,
    /// The token is not three texts with dots between them.
    Form,
    /// Its header is not base64.
    HeaderBase64,
    /// Its header is not a JSON object.
    HeaderJson,
    /// Its header does not name an algorithm.
    NoAlgorithm,
    /// Nobody here knows the algorithm; `none` is not one.
    Algorithm,
    /// The name of its key is not a text.
    KeyName,
    /// Its payload is not base64.
    PayloadBase64,
    /// Its payload is not a JSON object.
    PayloadJson,
    /// A claim is not a text.
    NotText(&'static str),
    /// A claim is not a number.
    NotNumber(&'static str),
    /// A claim is a number that is no time.
    Range(&'static str),
    /// The claim `aud` is neither a text nor a list of texts.
    NotTexts,
    /// Its signature is not base64.
    SignatureBase64,
    /// Whoever has made it is not expected where it was found.
    Issuer,
    /// Its time has not come.
    Early,
    /// Its time is over.
    Expired,
    /// It is not for us.
    Audience,
    /// No key has its name and algorithm.
    NoKey,
    /// An Ed25519 signature does not have 64 bytes.
    Ed25519Length,
    /// The signature is not that of a key; or its subject, or how long it lasts, is not allowed.
    Verification,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Missing => "Jwt is missing",
            Self::Form => {
                "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
            }
            Self::HeaderBase64 => "Jwt header is an invalid Base64url encoded",
            Self::HeaderJson => "Jwt header is an invalid JSON",
            Self::NoAlgorithm => "Jwt header [alg] field is required and must be a string",
            Self::Algorithm => "Jwt header [alg] is not supported",
            Self::KeyName => "Jwt header [kid] field is not a string",
            Self::PayloadBase64 => "Jwt payload is an invalid Base64url encoded",
            Self::PayloadJson => "Jwt payload is an invalid JSON",
            Self::NotText(claim) => {
                return write!(out, "Jwt payload [{claim}] field is not a string");
            }
            Self::NotNumber(claim) => {
                return write!(out, "Jwt payload [{claim}] field is not an integer");
            }
            Self::Range(claim) => {
                return write!(
                    out,
                    "Jwt payload [{claim}] field is not a positive 64 bit integer"
                );
            }
            Self::NotTexts => "Jwt payload [aud] field is not a string or string list",
            Self::SignatureBase64 => "Jwt signature is an invalid Base64url encoded",
            Self::Issuer => "Jwt issuer is not configured",
            Self::Early => "Jwt not yet valid",
            Self::Expired => "Jwt is expired",
            Self::Audience => "Audiences in Jwt are not allowed",
            Self::NoKey => "Jwks doesn't have key to match kid or alg from Jwt",
            Self::Ed25519Length => "Jwt ED25519 signature is wrong length",
            Self::Verification => "Jwt verification fails",
        };
        out.write_str(text)
    }
}
