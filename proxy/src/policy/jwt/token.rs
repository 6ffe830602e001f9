//! A token (RFC 7519), taken apart; nothing of it is believed before its signature has been looked at.

use std::{fmt, str::FromStr};

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    prelude::BASE64_STANDARD,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{failure::Failure, keys::Algorithm};

/// With or without padding, as Envoy takes it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    /// How it says that it is signed.
    pub algorithm: Algorithm,
    /// The name of the key; empty: not said.
    pub key: String,
    /// Who has made it; empty: not said.
    pub issuer: String,
    /// Whom it is about; empty: not said.
    pub subject: String,
    /// Whom it is for.
    pub audiences: Vec<String>,
    /// From when on it holds, in seconds since 1970.
    pub not_before: u64,
    /// Until when it holds; 0: for ever.
    pub expires: u64,
    /// All that it says.
    pub claims: Map<String, Value>,
    /// That, as it was written.
    pub payload: String,
    /// What is signed.
    pub signed: String,
    /// The signature.
    pub signature: Vec<u8>,
}

impl FromStr for Token {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let mut parts = text.split('.').filter(|part| !part.is_empty());
        let (Some(head), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Failure::Form);
        };
        let header = object(head, Failure::HeaderBase64, Failure::HeaderJson)?;
        let algorithm = header.get("alg").and_then(Value::as_str);
        let algorithm = algorithm.ok_or(Failure::NoAlgorithm)?;
        let algorithm = algorithm.parse().map_err(|()| Failure::Algorithm)?;
        let key = words(&header, "kid").map_err(|()| Failure::KeyName)?;
        let claims = object(payload, Failure::PayloadBase64, Failure::PayloadJson)?;
        let issuer = claim(&claims, "iss")?;
        let subject = claim(&claims, "sub")?;
        time(&claims, "iat")?;
        let not_before = time(&claims, "nbf")?;
        let expires = time(&claims, "exp")?;
        claim(&claims, "jti")?;
        Ok(Self {
            algorithm,
            key,
            issuer,
            subject,
            audiences: audiences(&claims)?,
            not_before,
            expires,
            claims,
            payload: payload.to_owned(),
            signed: format!("{head}.{payload}"),
            signature: decode(signature).ok_or(Failure::SignatureBase64)?,
        })
    }
}

impl Token {
    /// Whether it holds at a time, give or take a skew of the clocks; all in seconds.
    pub(super) fn in_time(&self, now: u64, skew: u64) -> Result<(), Failure> {
        if now.saturating_add(skew) < self.not_before {
            return Err(Failure::Early);
        }
        if self.expires != 0 && now > self.expires.saturating_add(skew) {
            return Err(Failure::Expired);
        }
        Ok(())
    }

    /// What a header is told of a claim, of lists and objects their JSON in base64; `None`: there is no such one, or
    /// nothing to tell. A name with dots leads inward.
    pub(super) fn tell(&self, name: &str) -> Option<String> {
        let mut steps = name.split('.');
        let mut found = self.claims.get(steps.next()?)?;
        for step in steps {
            found = found.as_object()?.get(step)?;
        }
        let text = match found {
            Value::String(text) => text.clone(),
            Value::Bool(it) => it.to_string(),
            Value::Number(number) => number_text(number.as_f64()?),
            Value::Array(_) | Value::Object(_) => BASE64_STANDARD.encode(found.to_string()),
            Value::Null => return None,
        };
        (!text.is_empty()).then_some(text)
    }
}

/// What base64 of the form for URLs stands for.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// As Envoy: whole numbers as they are, others with six digits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is whole and in the range"
)]
fn number_text(number: f64) -> String {
    /// 2⁶⁴
    const END: f64 = 18_446_744_073_709_551_616.0;
    if (0.0..END).contains(&number) && number.fract() == 0.0 {
        (number as u64).to_string()
    } else {
        format!("{number:.6}")
    }
}

fn object(text: &str, base64: Failure, json: Failure) -> Result<Map<String, Value>, Failure> {
    let bytes = decode(text).ok_or(base64)?;
    let Object(fields) = serde_json::from_slice(&bytes).map_err(|_| json)?;
    Ok(fields)
}

/// A JSON object; of a name that is there twice, readers take this one or that (RFC 7519 §4), so it is refused.
struct Object(Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Object(Map::new()))
    }
}

impl<'de> Visitor<'de> for Object {
    type Value = Self;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if self.0.insert(name, value).is_some() {
                return Err(de::Error::custom("a name is there twice"));
            }
        }
        Ok(self)
    }
}

/// A text; empty where there is none.
fn words(of: &Map<String, Value>, name: &str) -> Result<String, ()> {
    match of.get(name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(()),
    }
}

fn claim(claims: &Map<String, Value>, name: &'static str) -> Result<String, Failure> {
    words(claims, name).map_err(|()| Failure::NotText(name))
}

/// A time in seconds since 1970, without its fraction; 0 where there is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is in the range; a fraction is cut off, as in Envoy"
)]
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<u64, Failure> {
    /// 2⁶⁴
    const END: f64 = 18_446_744_073_709_551_616.0;
    let Some(value) = claims.get(name) else {
        return Ok(0);
    };
    let number = value.as_f64().ok_or(Failure::NotNumber(name))?;
    if (0.0..END).contains(&number) {
        Ok(number as u64)
    } else {
        Err(Failure::Range(name))
    }
}

fn audiences(claims: &Map<String, Value>) -> Result<Vec<String>, Failure> {
    match claims.get("aud") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(list)) => {
            let texts = list.iter().map(|it| it.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or(Failure::NotTexts)
        }
        Some(_) => Err(Failure::NotTexts),
    }
}
