//! Tokens signed by keys that are made here.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaKeyPair,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::matcher::How, *};

/// The time of all tests, in seconds since 1970.
const NOW_S: u64 = 1_800_000_000;

struct Signer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    secret: &'static [u8],
}

impl Signer {
    fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
            secret: b"a secret of thirty-two bytes, or more",
        }
    }

    fn rsa_parts(&self) -> (String, String) {
        let key = self.rsa.public_key();
        (
            base64(key.modulus().big_endian_without_leading_zero()),
            base64(key.exponent().big_endian_without_leading_zero()),
        )
    }

    /// Keys of all sorts, none for one algorithm only.
    fn keys(&self) -> Vec<Value> {
        let (n, e) = self.rsa_parts();
        let point = self.ec.public_key().as_ref();
        vec![
            json!({"kty": "RSA", "kid": "rsa", "n": n, "e": e}),
            json!({"kty": "EC", "kid": "ec", "crv": "P-256",
                "x": base64(&point[1..33]), "y": base64(&point[33..])}),
            json!({"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": base64(self.ed.public_key().as_ref())}),
            json!({"kty": "oct", "kid": "oct", "k": base64(self.secret)}),
        ]
    }

    fn sign(&self, algorithm: &str, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |padding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa
                .sign(padding, &random, text, &mut signature)
                .unwrap();
            signature
        };
        match algorithm {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "ES256" => self.ec.sign(&random, text).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed.sign(text).as_ref().to_vec(),
            "HS256" => mac(self.secret, text),
            _ => Vec::from(b"nothing"),
        }
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let text = unsigned(header, claims);
        let algorithm = header["alg"].as_str().unwrap_or_default();
        format!("{text}.{}", base64(&self.sign(algorithm, text.as_bytes())))
    }

    fn settings(&self) -> Settings {
        let provider = Provider {
            issuer: "issuer.test".to_owned(),
            audiences: vec!["https://books.test/".to_owned()],
            skew_s: CLOCK_SKEW_S,
            keys: json!({"keys": self.keys()}).to_string(),
            ..Provider::default()
        };
        Settings {
            providers: vec![("first".to_owned(), provider)],
            rules: vec![(Matcher::default(), of("first"))],
            ..Settings::default()
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn mac(secret: &[u8], text: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::sign(&key, text).as_ref().to_vec()
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |it: &Value| base64(it.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

fn of(provider: &str) -> Requirement {
    Requirement::Provider(provider.to_owned(), Vec::new())
}

fn good() -> Value {
    json!({"iss": "issuer.test", "aud": "books.test", "sub": "alpha", "exp": NOW_S + 600})
}

/// Good claims, with others over them.
fn with(over: &Value) -> Value {
    let mut claims = good();
    for (name, value) in over.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

struct Request {
    headers: HeaderMap,
    uri: Uri,
}

impl Request {
    fn new(path: &str, headers: &[(&'static str, &str)]) -> Self {
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        Self {
            headers: headers.iter().map(header).collect(),
            uri: path.parse().unwrap(),
        }
    }

    fn with(token: &str) -> Self {
        Self::new("/", &[("authorization", &format!("Bearer {token}"))])
    }

    fn judge(&mut self, by: &Compiled, route: &Route) -> Verdict {
        let mut asked = Asked {
            method: &Method::GET,
            authority: "a.test",
            headers: &mut self.headers,
            uri: &mut self.uri,
        };
        by.judge(route, &mut asked, Duration::from_secs(NOW_S))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

fn judge(settings: &Settings, token: &str) -> Verdict {
    let compiled = Compiled::new(settings).unwrap();
    Request::with(token).judge(&compiled, &Route::Rules)
}

fn refused(failure: Failure) -> Verdict {
    Verdict::Refused(failure)
}

#[test]
fn tokens_of_all_algorithms_are_good_where_their_key_is_known() {
    let signer = Signer::new();
    let settings = signer.settings();
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA", "HS256"] {
        let token = signer.token(&json!({"alg": algorithm}), &good());
        assert_eq!(judge(&settings, &token), Verdict::Allowed, "{algorithm}");
        let stranger = Signer {
            secret: b"another secret",
            ..Signer::new()
        };
        let token = stranger.token(&json!({"alg": algorithm}), &good());
        let expected = refused(Failure::Verification);
        assert_eq!(judge(&settings, &token), expected, "{algorithm}");
    }
}

/// RFC 8725 §2.1: a public key as a secret, `none`, and what else a token may say of itself.
#[test]
fn a_token_does_not_choose_what_its_key_is_for() {
    let signer = Signer::new();
    let settings = signer.settings();
    let keys = signer.keys();
    for (kid, secret) in [
        ("rsa", keys[0]["n"].as_str().unwrap()),
        ("ec", keys[1]["x"].as_str().unwrap()),
        ("ed", keys[2]["x"].as_str().unwrap()),
    ] {
        let text = unsigned(&json!({"alg": "HS256", "kid": kid}), &good());
        for secret in [token::decode(secret).unwrap(), secret.as_bytes().to_vec()] {
            let token = format!("{text}.{}", base64(&mac(&secret, text.as_bytes())));
            assert_eq!(judge(&settings, &token), refused(Failure::Verification));
        }
    }
    for name in ["none", "None", "nOnE", "", "HS1", "RS257", "é256"] {
        for signature in ["", "AAAA"] {
            let text = unsigned(&json!({"alg": name}), &good());
            let expected = if signature.is_empty() {
                Failure::Form
            } else {
                Failure::Algorithm
            };
            let token = format!("{text}.{signature}");
            assert_eq!(judge(&settings, &token), refused(expected), "{name}");
        }
    }
    // A key with a name and an algorithm is for no other.
    let mut settings = signer.settings();
    let mut key = keys[0].clone();
    key["alg"] = json!("RS256");
    settings.providers[0].1.keys = json!({"keys": [key]}).to_string();
    for header in [
        json!({"alg": "PS256"}),
        json!({"alg": "RS256", "kid": "lost"}),
    ] {
        let token = signer.token(&header, &good());
        assert_eq!(judge(&settings, &token), refused(Failure::NoKey));
    }
}

#[test]
fn claims_are_looked_at_in_envoys_order() {
    let signer = Signer::new();
    let settings = signer.settings();
    for (claims, expected) in [
        (json!({}), None),
        (json!({"aud": ["maps", "https://books.test"]}), None),
        (json!({"exp": NOW_S - 60}), None),
        (json!({"exp": NOW_S - 61}), Some(Failure::Expired)),
        (json!({"exp": 0}), None),
        (json!({"nbf": NOW_S + 60}), None),
        (
            json!({"nbf": NOW_S + 61, "aud": "maps"}),
            Some(Failure::Early),
        ),
        (json!({"aud": "maps"}), Some(Failure::Audience)),
        (json!({"iss": "other", "exp": 1}), Some(Failure::Issuer)),
        (json!({"iss": 1}), Some(Failure::NotText("iss"))),
        (json!({"sub": []}), Some(Failure::NotText("sub"))),
        (json!({"exp": "1"}), Some(Failure::NotNumber("exp"))),
        (json!({"nbf": -1}), Some(Failure::Range("nbf"))),
        (json!({"iat": 1e300}), Some(Failure::Range("iat"))),
        (json!({"aud": [1]}), Some(Failure::NotTexts)),
    ] {
        let token = signer.token(&json!({"alg": "ES256"}), &with(&claims));
        let expected = expected.map_or(Verdict::Allowed, refused);
        assert_eq!(judge(&settings, &token), expected, "{claims}");
    }
}

#[test]
fn a_provider_bounds_whom_a_token_is_about_and_how_long_it_lasts() {
    let signer = Signer::new();
    let mut settings = signer.settings();
    settings.providers[0].1.subject = Some(Text {
        how: How::Prefix("al".to_owned()),
        ignore_case: false,
    });
    let verdict = |settings: &Settings, claims: Value| {
        judge(
            settings,
            &signer.token(&json!({"alg": "EdDSA"}), &with(&claims)),
        )
    };
    let no = refused(Failure::Verification);
    assert_eq!(verdict(&settings, json!({})), Verdict::Allowed);
    assert_eq!(verdict(&settings, json!({"sub": "beta"})), no);
    assert_eq!(verdict(&settings, json!({"exp": 0})), Verdict::Allowed);
    settings.providers[0].1.must_end = true;
    assert_eq!(verdict(&settings, json!({"exp": 0})), no);
    settings.providers[0].1.lifetime = Some(Duration::from_mins(10));
    assert_eq!(verdict(&settings, json!({"exp": 0})), no);
    assert_eq!(verdict(&settings, json!({})), no);
    assert_eq!(
        verdict(&settings, json!({"exp": NOW_S + 599})),
        Verdict::Allowed
    );
}

#[test]
fn what_a_token_says_goes_on_and_the_token_does_not() {
    let signer = Signer::new();
    let mut settings = signer.settings();
    let provider = &mut settings.providers[0].1;
    provider.payload_header = Some("x-payload".to_owned());
    provider.pad_payload = true;
    provider.claims = [
        ("x-sub", "sub"),
        ("x-deep", "a.b"),
        ("x-half", "half"),
        ("x-list", "aud"),
        ("x-lines", "lines"),
    ]
    .map(|(header, name)| Claim {
        header: header.to_owned(),
        name: name.to_owned(),
    })
    .to_vec();
    let claims =
        json!({"a": {"b": true}, "half": 0.5, "aud": ["books.test"], "lines": "a\r\nx: y"});
    let token = signer.token(&json!({"alg": "RS256"}), &with(&claims));
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("x-sub", "forged"),
        ("x-list", "forged"),
    ];
    let mut request = Request::new("/", &headers);
    let compiled = Compiled::new(&settings).unwrap();
    assert_eq!(request.judge(&compiled, &Route::Rules), Verdict::Allowed);
    assert_eq!(request.header("authorization"), None);
    assert_eq!(request.header("x-sub"), Some("alpha"));
    assert_eq!(request.header("x-deep"), Some("true"));
    assert_eq!(request.header("x-half"), Some("0.500000"));
    assert_eq!(
        (request.header("x-list"), request.header("x-lines")),
        (Some("WyJib29rcy50ZXN0Il0="), None)
    );
    let payload = token.split('.').nth(1).unwrap();
    let told = request.header("x-payload").unwrap();
    assert_eq!((told.trim_end_matches('='), told.len() % 4), (payload, 0));

    settings.providers[0].1.forward = true;
    let compiled = Compiled::new(&settings).unwrap();
    let mut request = Request::new("/", &headers);
    assert_eq!(request.judge(&compiled, &Route::Rules), Verdict::Allowed);
    assert_eq!(request.header("authorization"), Some(bearer.as_str()));
}

#[test]
fn only_we_tell_what_tokens_say() {
    let signer = Signer::new();
    let mut settings = signer.settings();
    settings.providers[0].1.payload_header = Some("x-payload".to_owned());
    settings.rules.clear();
    let compiled = Compiled::new(&settings).unwrap();
    let lost = Route::Named("lost".to_owned());
    for route in [Route::Rules, Route::Off, lost] {
        let mut request = Request::new("/", &[("x-payload", "forged")]);
        request.judge(&compiled, &route);
        assert_eq!(request.header("x-payload"), None, "{route:?}");
    }
}

#[test]
fn what_may_be_read_in_two_ways_is_refused() {
    let signer = Signer::new();
    let compiled = Compiled::new(&signer.settings()).unwrap();
    let token = signer.token(&json!({"alg": "ES256"}), &good());
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()); 2];
    let told = Request::new("/", &headers).judge(&compiled, &Route::Rules);
    assert_eq!(told, refused(Failure::Form));
    for (header, claims, expected) in [
        (
            r#"{"alg":"HS256"}"#,
            r#"{"iss":"a","iss":"b"}"#,
            Failure::PayloadJson,
        ),
        (
            r#"{"alg":"HS256","alg":"HS256"}"#,
            "{}",
            Failure::HeaderJson,
        ),
    ] {
        let text = format!(
            "{}.{}.AAAA",
            base64(header.as_bytes()),
            base64(claims.as_bytes())
        );
        assert_eq!(text.parse::<Token>(), Err(expected));
    }
}

#[test]
fn tokens_are_found_where_the_provider_says() {
    let signer = Signer::new();
    let token = signer.token(&json!({"alg": "ES256"}), &good());
    let bad = signer.token(&json!({"alg": "ES256"}), &with(&json!({"exp": 1})));
    let parameter = format!("/?b=1&access_token={token}");
    let cookie = format!("a=b; jar={token}");
    let defaults = Compiled::new(&signer.settings()).unwrap();
    let mut settings = signer.settings();
    let provider = &mut settings.providers[0].1;
    provider.headers = vec![("x-token".to_owned(), String::new())];
    provider.cookies = vec!["jar".to_owned()];
    let chosen = Compiled::new(&settings).unwrap();
    let missing = refused(Failure::Missing);
    let bearer = format!("Bearer {token}");
    for (by, path, headers, expected) in [
        (
            &defaults,
            "/",
            vec![("authorization", bearer.as_str())],
            Verdict::Allowed,
        ),
        (
            &defaults,
            "/",
            vec![("authorization", "Basic YTpi")],
            missing.clone(),
        ),
        (&defaults, parameter.as_str(), vec![], Verdict::Allowed),
        (
            &defaults,
            "/",
            vec![("cookie", cookie.as_str())],
            missing.clone(),
        ),
        (
            &chosen,
            "/",
            vec![("cookie", cookie.as_str())],
            Verdict::Allowed,
        ),
        (
            &chosen,
            "/",
            vec![("x-token", token.as_str())],
            Verdict::Allowed,
        ),
        (&chosen, parameter.as_str(), vec![], missing),
        // All must be good.
        (
            &defaults,
            &parameter,
            vec![("authorization", &format!("Bearer {bad}"))],
            refused(Failure::Expired),
        ),
    ] {
        let mut request = Request::new(path, &headers);
        assert_eq!(
            request.judge(by, &Route::Rules),
            expected,
            "{path} {headers:?}"
        );
        if expected == Verdict::Allowed && path != "/" {
            assert_eq!(request.uri, "/?b=1");
        }
    }
}

#[test]
fn requirements_are_joined_and_chosen() {
    let signer = Signer::new();
    let mut settings = signer.settings();
    let mut second = settings.providers[0].1.clone();
    second.issuer = "second.test".to_owned();
    second.headers = vec![("x-second".to_owned(), String::new())];
    settings.providers.push(("second".to_owned(), second));
    let both = || vec![of("first"), of("second")];
    let mut lenient = both();
    lenient.push(Requirement::Missing);
    let maps = Requirement::Provider("first".to_owned(), vec!["maps".to_owned()]);
    settings.named = [
        ("all", Requirement::All(both())),
        ("any", Requirement::Any(both())),
        ("failed", Requirement::MissingOrFailed),
        ("lenient", Requirement::Any(lenient)),
        ("maps", maps),
        ("missing", Requirement::Missing),
        ("nothing", Requirement::Nothing),
    ]
    .map(|(name, it)| (name.to_owned(), it))
    .to_vec();
    let compiled = Compiled::new(&settings).unwrap();
    let es = json!({"alg": "ES256"});
    let first = format!("Bearer {}", signer.token(&es, &good()));
    let second = signer.token(&es, &with(&json!({"iss": "second.test"})));
    let old = signer.token(&es, &with(&json!({"iss": "second.test", "exp": 1})));
    let yes = || Verdict::Allowed;
    let missing = || refused(Failure::Missing);
    let one = [("authorization", first.as_str())];
    let two = [one[0], ("x-second", second.as_str())];
    let half = [one[0], ("x-second", old.as_str())];
    let foreign = [("x-second", &first["Bearer ".len()..])];
    for (name, headers, expected) in [
        ("all", &two[..], yes()),
        ("all", &one, missing()),
        ("all", &half, refused(Failure::Expired)),
        ("any", &one, yes()),
        ("any", &half, yes()),
        ("any", &half[1..], refused(Failure::Expired)),
        ("any", &foreign, refused(Failure::Issuer)),
        ("any", &[], missing()),
        ("lenient", &[], yes()),
        ("lenient", &foreign, refused(Failure::Issuer)),
        ("maps", &one, refused(Failure::Audience)),
        ("missing", &[], yes()),
        ("missing", &two, yes()),
        ("missing", &half[1..], refused(Failure::Expired)),
        ("failed", &half, yes()),
        ("nothing", &half, yes()),
        (
            "lost",
            &two,
            Verdict::Unknown(
                "Wrong requirement_name: lost. It should be one of [all,any,failed,lenient,maps,missing,nothing]"
                    .to_owned(),
            ),
        ),
    ] {
        let mut request = Request::new("/", headers);
        let route = Route::Named(name.to_owned());
        assert_eq!(request.judge(&compiled, &route), expected, "{name} {headers:?}");
    }
    assert_eq!(Request::new("/", &[]).judge(&compiled, &Route::Off), yes());
    assert_eq!(
        Request::new("/", &[]).judge(&compiled, &Route::Rules),
        missing()
    );
}

#[test]
fn key_sets_that_cannot_be_used_say_why() {
    let (n, e) = Signer::new().rsa_parts();
    let short = base64(&[0xff; 128]);
    for (set, expected) in [
        (json!([]), "the key set is not a JSON object"),
        (json!({}), "the key set has no `keys`"),
        (json!({"keys": {}}), "`keys` of the key set is not a list"),
        (json!({"keys": []}), "the key set has no key"),
        (
            json!({"keys": [{"kty": "DSA"}]}),
            "key 0 of the key set: `kty` `DSA` is not `RSA`, `EC`, `OKP` or `oct`",
        ),
        (
            json!({"keys": [{"kty": "RSA", "alg": "HS256", "n": n, "e": e}]}),
            "key 0 of the key set: `alg` `HS256` is not for a key of `kty` `RSA`",
        ),
        (
            json!({"keys": [{"kty": "RSA", "n": n, "e": "AQ"}]}),
            "key 0 of the key set: `e` is neither 3 nor 65537",
        ),
        (
            json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}]}),
            "key 0 of the key set: it is not a point of its curve",
        ),
        (
            json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES384", "x": "AQ", "y": "AQ"}]}),
            "key 0 of the key set: `crv` `P-256` is not one of its algorithm",
        ),
        (
            json!({"keys": [{"kty": "oct"}]}),
            "key 0 of the key set: `k` is not a base64url text",
        ),
    ] {
        let told = Keys::read(&set.to_string()).unwrap_err();
        assert_eq!(told, NoKeys::Invalid(expected.to_owned()), "{set}");
    }
    for set in [
        json!({"keys": [{"kty": "RSA", "n": short, "e": e}]}),
        json!({"a": "-----BEGIN CERTIFICATE-----\n"}),
    ] {
        let told = Keys::read(&set.to_string()).unwrap_err();
        assert!(matches!(told, NoKeys::Unsupported(_)), "{set}");
    }
    // One that cannot be read does not spoil the others.
    let set = json!({"keys": [{"kty": "DSA"}, {"kty": "RSA", "n": n, "e": e}]});
    assert!(Keys::read(&set.to_string()).is_ok());
}

proptest! {
    #[test]
    fn no_text_is_a_token_by_chance(text in ".{0,60}", parts in prop::collection::vec("[\\x20-\\x7e]{0,20}", 3)) {
        let _: Result<Token, _> = text.parse();
        let signer = [&parts[0], &parts[1], &parts[2]].map(|part| base64(part.as_bytes()));
        prop_assert!(signer.join(".").parse::<Token>().is_err() || parts[0].contains("alg"));
    }

    #[test]
    fn claims_of_any_form_are_read_or_refused(
        name in prop::sample::select(vec!["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "kid", "alg"]),
        value in prop::sample::select(vec!["1e308", "-0.0", "[[]]", "{}", "null", "\"\"", "18446744073709551616", "true", "[\"\", 1]"]),
        cut in 0_usize..90,
    ) {
        let claims = format!("{{\"{name}\": {value}}}");
        for header in [r#"{"alg": "ES256"}"#.to_owned(), claims.clone()] {
            let text = format!("{}.{}.AAAA", base64(header.as_bytes()), base64(claims.as_bytes()));
            for text in [text.as_str(), text.get(..cut).unwrap_or_default()] {
                if let Ok(token) = text.parse::<Token>() {
                    let _ = (token.tell(name), token.in_time(u64::MAX, u64::MAX));
                }
            }
        }
    }
}
