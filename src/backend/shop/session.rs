//! Session cookies, checked without a store: `session=USER.NONCE.SEAL`.
//!
//! The seal's key is fixed, so that a cookie in a recording is still good when the recording is replayed. It guards
//! nothing: the shop is a stage set.

use http::HeaderMap;
use http::header::COOKIE;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const KEY: u64 = 0x5e55_1011;

/// Issues the token of a user.
pub(super) fn issue(user: &str, nonce: u64) -> String {
    let open = format!("{user}.{nonce:016x}");
    format!("{open}.{:016x}", xxh3_64_with_seed(open.as_bytes(), KEY))
}

/// The user whose valid session a request carries.
pub(super) fn user(headers: &HeaderMap) -> Option<String> {
    let cookies = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut tokens = cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().strip_prefix("session="));
    tokens.find_map(|token| {
        let (open, _) = token.rsplit_once('.')?;
        let (user, nonce) = open.rsplit_once('.')?;
        let nonce = u64::from_str_radix(nonce, 16).ok()?;
        (issue(user, nonce) == token).then(|| user.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_cookie(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(COOKIE, text.parse().unwrap())])
    }

    #[test]
    fn an_issued_token_names_its_user() {
        let token = issue("ann", 7);
        assert_eq!(
            user(&with_cookie(&format!("theme=dark; session={token}"))),
            Some("ann".to_owned())
        );
    }

    #[test]
    fn a_token_of_another_make_is_refused() {
        let token = issue("ann", 7).replace("ann", "bob");
        for bad in [token.as_str(), "", "x", "a.b.c"] {
            assert_eq!(user(&with_cookie(&format!("session={bad}"))), None, "{bad}");
        }
    }
}
