//! Writes header sections.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::{OVERHEAD, TABLE, statics};

/// Headers that are another's with each message: indexing them would only drive out what comes again.
const CHANGING: [HeaderName; 12] = [
    header::AGE,
    header::CONTENT_LENGTH,
    header::ETAG,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::LAST_MODIFIED,
    header::LOCATION,
    header::SET_COOKIE,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("x-envoy-upstream-service-time"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-request-id"),
];

/// Headers whose values are no table's, neither here nor behind the peer (RFC 7541 §7.1.3).
const SECRET: [HeaderName; 3] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
];

const PLACES: usize = 256;

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(known);

/// What is known of a header by its name alone.
#[derive(Debug, Clone, Default)]
struct Known {
    name: Option<HeaderName>,
    hash: u32,
    /// In the static table; 0: it is in none.
    index: usize,
    value: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Plain,
    Changing,
    Secret,
}

/// The table of what a peer is sent.
#[derive(Debug)]
pub struct Encoder {
    /// The oldest first, each with what finds it.
    entries: Vec<Entry>,
    fields: Vec<u32>,
    names: Vec<u32>,
    /// So many of them are gone.
    gone: usize,
    size: usize,
    bound: usize,
    /// The table's size is to be said: the least it had since it was said last.
    say: Option<usize>,
}

#[derive(Debug)]
struct Entry {
    name: Owner,
    value: HeaderValue,
}

/// Whose value it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    Authority,
    Header(HeaderName),
}

/// The places of known names, found by their hashes.
fn known() -> Vec<Known> {
    let mut places = vec![Known::default(); PLACES];
    let mut put = |name: HeaderName, index: Option<usize>, value: Option<Kind>| {
        let hash = hash(0, name.as_str().as_bytes());
        let mut at = hash as usize;
        loop {
            let Some(place) = places.get_mut(at % PLACES) else {
                return;
            };
            if place.name.as_ref().is_none_or(|known| *known == name) {
                place.name = Some(name);
                place.hash = hash;
                place.index = index.unwrap_or(place.index);
                place.value = value.unwrap_or(place.value);
                return;
            }
            at += 1;
        }
    };
    for (index, name) in statics::headers() {
        put(name, Some(index), None);
    }
    for name in CHANGING {
        put(name, None, Some(Kind::Changing));
    }
    for name in SECRET {
        put(name, None, Some(Kind::Secret));
    }
    places
}

fn look_up(known: &[Known], hash: u32, name: &HeaderName) -> (usize, Kind) {
    let mut at = hash as usize;
    while let Some(place) = known.get(at % PLACES)
        && let Some(found) = &place.name
    {
        if place.hash == hash && found == name {
            return (place.index, place.value);
        }
        at += 1;
    }
    (0, Kind::Plain)
}

/// A hash that is quick for a few bytes. Who can make two fields collide makes the search for them longer by a comparison.
fn hash(seed: u32, bytes: &[u8]) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = u64::from(seed) ^ (bytes.len() as u64);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(ODD);
    }
    let mut last = 0;
    for byte in rest {
        last = last << 8 | u64::from(*byte);
    }
    hash = (hash.rotate_left(23) ^ last).wrapping_mul(ODD);
    (hash >> 32) as u32
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            fields: Vec::new(),
            names: Vec::new(),
            gone: 0,
            size: 0,
            bound: TABLE,
            say: None,
        }
    }
}

impl Encoder {
    /// The peer keeps a table of at most so many bytes. More than the usual is not used.
    pub fn bound(&mut self, bytes: usize) {
        let bytes = bytes.min(TABLE);
        if bytes == self.bound {
            return;
        }
        self.bound = bytes;
        self.say = Some(self.say.map_or(bytes, |least| least.min(bytes)));
        self.evict(0);
    }

    /// A section begins.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(least) = self.say.take() {
            // RFC 7541 §4.2: the least it had, and what it has.
            integer(out, 0x20, 5, least);
            if least != self.bound {
                integer(out, 0x20, 5, self.bound);
            }
        }
    }

    /// Writes `:method`.
    pub fn method(&mut self, out: &mut Vec<u8>, method: &Method) {
        match *method {
            Method::GET => out.push(0x82),
            Method::POST => out.push(0x83),
            _ => literal(out, 0, 2, method.as_str().as_bytes()),
        }
    }

    /// Writes `:scheme`.
    pub fn scheme(&mut self, out: &mut Vec<u8>, secure: bool) {
        out.push(if secure { 0x87 } else { 0x86 });
    }

    /// Writes `:path`.
    pub fn path(&mut self, out: &mut Vec<u8>, path: &str) {
        match path {
            "/" => out.push(0x84),
            _ => literal(out, 0, 4, path.as_bytes()),
        }
    }

    /// Writes `:protocol` (RFC 8441).
    pub fn protocol(&mut self, out: &mut Vec<u8>, protocol: &[u8]) {
        out.push(0);
        string(out, b":protocol");
        string(out, protocol);
    }

    /// Writes `:authority`.
    pub fn authority(&mut self, out: &mut Vec<u8>, authority: &HeaderValue) {
        let name = hash(0, b":authority");
        self.field(out, &Owner::Authority, name, 1, authority);
    }

    /// Writes `:status`.
    pub fn status(&mut self, out: &mut Vec<u8>, status: StatusCode) {
        match status.as_u16() {
            200 => out.push(0x88),
            204 => out.push(0x89),
            206 => out.push(0x8a),
            304 => out.push(0x8b),
            400 => out.push(0x8c),
            404 => out.push(0x8d),
            500 => out.push(0x8e),
            _ => literal(out, 0, 8, status.as_str().as_bytes()),
        }
    }

    /// Writes headers.
    pub fn headers(&mut self, out: &mut Vec<u8>, headers: &HeaderMap) {
        let known = &**KNOWN;
        for (name, value) in headers {
            self.header(out, known, name, value);
        }
    }

    fn header(
        &mut self,
        out: &mut Vec<u8>,
        known: &[Known],
        name: &HeaderName,
        value: &HeaderValue,
    ) {
        let hash = hash(0, name.as_str().as_bytes());
        let (index, kind) = look_up(known, hash, name);
        if kind == Kind::Plain && !value.is_sensitive() {
            self.field(out, &Owner::Header(name.clone()), hash, index, value);
            return;
        }
        // A name that is in no table yet is worth its place.
        let owner = Owner::Header(name.clone());
        let index = if index > 0 {
            index
        } else {
            self.name(hash, &owner)
        };
        if index == 0 && kind == Kind::Changing && !value.is_sensitive() {
            self.field(out, &owner, hash, 0, value);
            return;
        }
        let never = kind == Kind::Secret || value.is_sensitive();
        let first = if never { 0x10 } else { 0 };
        if index > 0 {
            literal(out, first, index, value.as_bytes());
        } else {
            out.push(first);
            string(out, name.as_str().as_bytes());
            string(out, value.as_bytes());
        }
    }

    /// Writes a field that may be of the table, and is after it.
    fn field(
        &mut self,
        out: &mut Vec<u8>,
        owner: &Owner,
        name: u32,
        index: usize,
        value: &HeaderValue,
    ) {
        let field = hash(name, value.as_bytes());
        let found = self.find(&self.fields, field, |entry| {
            entry.name == *owner && entry.value.as_bytes() == value.as_bytes()
        });
        if let Some(found) = found {
            integer(out, 0x80, 7, found);
            return;
        }
        let index = if index > 0 {
            index
        } else {
            self.name(name, owner)
        };
        let size = owner.length() + value.len() + OVERHEAD;
        // What is large would drive out all others.
        let keep = size <= self.bound / 2;
        let first = if keep { 0x40 } else { 0 };
        if index > 0 {
            integer(out, first, if keep { 6 } else { 4 }, index);
        } else {
            out.push(first);
            string(out, owner.as_str().as_bytes());
        }
        string(out, value.as_bytes());
        if keep {
            self.evict(size);
            self.size += size;
            self.entries.push(Entry {
                name: owner.clone(),
                // What it is a part of is not kept for it.
                value: copy(value),
            });
            self.fields.push(field);
            self.names.push(name);
        }
    }

    /// The index of an entry of this name; 0: there is none.
    fn name(&self, hash: u32, owner: &Owner) -> usize {
        let found = self.find(&self.names, hash, |entry| entry.name == *owner);
        found.unwrap_or(0)
    }

    fn find(&self, hashes: &[u32], hash: u32, is: impl Fn(&Entry) -> bool) -> Option<usize> {
        let here = hashes.get(self.gone..)?;
        let mut upto = here.len();
        // The youngest first: its index is the shortest.
        while let Some(at) = here.get(..upto)?.iter().rposition(|known| *known == hash) {
            if self.entries.get(self.gone + at).is_some_and(&is) {
                return Some(statics::COUNT + here.len() - at);
            }
            upto = at;
        }
        None
    }

    /// Makes room for so much.
    fn evict(&mut self, room: usize) {
        while self.size + room > self.bound
            && let Some(oldest) = self.entries.get(self.gone)
        {
            self.size -= oldest.name.length() + oldest.value.len() + OVERHEAD;
            self.gone += 1;
        }
        if self.gone > 64 && self.gone > self.entries.len() / 2 {
            self.entries.drain(..self.gone);
            self.fields.drain(..self.gone);
            self.names.drain(..self.gone);
            self.gone = 0;
        }
    }
}

impl Owner {
    fn as_str(&self) -> &str {
        match self {
            Self::Authority => ":authority",
            Self::Header(name) => name.as_str(),
        }
    }

    fn length(&self) -> usize {
        self.as_str().len()
    }
}

fn copy(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(value.as_bytes()))
        .unwrap_or_else(|_| value.clone())
}

/// A field that is not of the table, by the index of its name.
fn literal(out: &mut Vec<u8>, first: u8, index: usize, value: &[u8]) {
    integer(out, first, 4, index);
    string(out, value);
}

fn string(out: &mut Vec<u8>, string: &[u8]) {
    integer(out, 0, 7, string.len());
    out.extend_from_slice(string);
}

/// An integer behind the first bits of its byte (RFC 7541 §5.1).
fn integer(out: &mut Vec<u8>, first: u8, prefix: u32, mut value: usize) {
    let most = (1_usize << prefix) - 1;
    if value < most {
        out.push(first | value as u8);
        return;
    }
    out.push(first | most as u8);
    value -= most;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Decoder, Name},
        *,
    };

    fn headers(rows: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn section(encoder: &mut Encoder, headers: &HeaderMap) -> Vec<u8> {
        let mut out = Vec::new();
        encoder.begin(&mut out);
        encoder.headers(&mut out, headers);
        out
    }

    fn read(decoder: &mut Decoder, block: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let take = |field: super::super::Read<'_>| {
            let field = field.into_owned();
            if let Name::Header(name) = field.name {
                headers.append(name, field.value.unwrap());
            }
        };
        decoder.decode(block, take).unwrap();
        headers
    }

    #[test]
    fn what_comes_again_is_a_byte() {
        let mut encoder = Encoder::default();
        let same = headers(&[
            ("server", "a"),
            ("x-own", "b"),
            ("content-type", "text/plain"),
        ]);
        let first = section(&mut encoder, &same);
        let second = section(&mut encoder, &same);
        assert!(first.len() > 20);
        assert_eq!(second, [0xc0, 0xbf, 0xbe]);
        let mut decoder = Decoder::new(TABLE);
        assert_eq!(read(&mut decoder, &first), same);
        assert_eq!(read(&mut decoder, &second), same);
    }

    #[test]
    fn what_changes_keeps_no_place_and_secrets_are_never_indexed() {
        let mut encoder = Encoder::default();
        let mut decoder = Decoder::new(TABLE);
        for at in 0..3 {
            let value = format!("{at}{at}");
            let mut map = headers(&[
                ("x-request-id", &value),
                ("content-length", &value),
                ("authorization", &value),
            ]);
            let mut sensitive = HeaderValue::from_static("s");
            sensitive.set_sensitive(true);
            map.insert("x-key", sensitive);
            let block = section(&mut encoder, &map);
            if at > 0 {
                // The first name has a place; the others are literals: 28 is a length, 23 is never indexed.
                assert_eq!(block[..2], [0x0f, 62 - 15]);
                assert!(block.windows(2).any(|two| two == [0x1f, 23 - 15]));
                assert!(
                    block
                        .windows(6)
                        .any(|it| it == b"\x10\x05x-key"[..6].to_owned())
                );
            }
            assert_eq!(read(&mut decoder, &block), map);
            assert_eq!(encoder.entries.len(), 1);
        }
    }

    #[test]
    fn the_pseudo_headers_are_the_static_tables() {
        let mut encoder = Encoder::default();
        let mut out = Vec::new();
        encoder.method(&mut out, &Method::GET);
        encoder.scheme(&mut out, false);
        encoder.authority(&mut out, &HeaderValue::from_static("www.example.com"));
        encoder.path(&mut out, "/");
        // RFC 7541 Appendix C.3.1, in another order.
        let expected = [&[0x82, 0x86, 0x41, 0x0f][..], b"www.example.com", &[0x84]].concat();
        assert_eq!(out, expected);
        let mut rows = Vec::new();
        let mut more = Vec::new();
        encoder.method(&mut more, &Method::PATCH);
        encoder.path(&mut more, "/item?a=1");
        encoder.protocol(&mut more, b"websocket");
        encoder.status(&mut more, StatusCode::IM_A_TEAPOT);
        Decoder::new(TABLE)
            .decode(&more, |field| {
                let field = field.into_owned();
                rows.push((field.name, field.value.unwrap()));
            })
            .unwrap();
        let expected = [
            (Name::Method, "PATCH"),
            (Name::Path, "/item?a=1"),
            (Name::Protocol, "websocket"),
            (Name::Status, "418"),
        ];
        assert_eq!(rows.len(), expected.len());
        for ((name, value), (wanted, text)) in rows.iter().zip(&expected) {
            assert_eq!((name, value.to_str().unwrap()), (wanted, *text));
        }
    }

    #[test]
    fn a_bound_of_the_peer_is_kept_and_said() {
        let mut encoder = Encoder::default();
        let map = headers(&[("a", "1"), ("b", "2")]);
        section(&mut encoder, &map);
        encoder.bound(0);
        encoder.bound(40);
        encoder.bound(1 << 20);
        let block = section(&mut encoder, &map);
        assert_eq!(block[..4], [0x20, 0x3f, 0xe1, 0x1f]);
        assert_eq!(read(&mut Decoder::new(TABLE), &block), map);
        encoder.bound(0);
        let block = section(&mut encoder, &map);
        assert_eq!(block[0], 0x20);
        assert_eq!((encoder.size, encoder.entries.len() - encoder.gone), (0, 0));
        assert_eq!(read(&mut Decoder::new(TABLE), &block), map);
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(
            bounds in proptest::collection::vec(0_usize..300, 1..8),
            rows in proptest::collection::vec(proptest::collection::vec((0_usize..40, 0_usize..60, 0_u8..4), 0..12), 8),
        ) {
            let mut encoder = Encoder::default();
            let mut decoder = Decoder::new(TABLE);
            for (at, rows) in rows.iter().enumerate() {
                if let Some(bound) = bounds.get(at) {
                    encoder.bound(*bound);
                }
                let mut map = HeaderMap::new();
                for (name, value, kind) in rows {
                    let name = match kind {
                        0 => header::ACCEPT,
                        1 => HeaderName::from_static("x-request-id"),
                        2 => header::COOKIE,
                        _ => HeaderName::from_bytes(format!("x-{name}").as_bytes()).unwrap(),
                    };
                    map.append(name, HeaderValue::from_str(&"v".repeat(*value)).unwrap());
                }
                let block = section(&mut encoder, &map);
                assert_eq!(read(&mut decoder, &block), map);
                assert!(encoder.size <= encoder.bound);
            }
        }
    }
}
