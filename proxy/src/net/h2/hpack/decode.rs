//! Reads header sections.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::{Name, OVERHEAD, TABLE, huffman, statics};

/// A value; `None`: one that no header may have.
pub type Value = Option<HeaderValue>;

/// A field as it was read.
#[derive(Debug, Clone)]
pub struct Field {
    /// Whose value it is.
    pub name: Name,
    /// It.
    pub value: Value,
    /// Bytes of both.
    pub length: usize,
}

/// A section that cannot be read. What follows on its connection cannot either, since the table is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undecodable;

/// The table of what a peer sends.
#[derive(Debug)]
pub struct Decoder {
    /// The youngest first.
    table: VecDeque<Field>,
    size: usize,
    /// What the peer has bounded it to, and what it may.
    bound: usize,
    most: usize,
    /// Of strings that are packed.
    unpacked: Vec<u8>,
}

impl Decoder {
    /// A table that the peer may make so large.
    pub fn new(most: usize) -> Self {
        Self {
            table: VecDeque::new(),
            size: 0,
            bound: TABLE,
            // What the peer does not know yet, it cannot keep to.
            most: most.max(TABLE),
            unpacked: Vec::new(),
        }
    }

    /// Reads a section. A field that is of the table is lent: it may be one of many thousands.
    pub fn decode(
        &mut self,
        mut block: &[u8],
        mut take: impl FnMut(Read<'_>),
    ) -> Result<(), Undecodable> {
        let mut begun = false;
        while let Some(first) = block.first().copied() {
            let indexed = first & 0x80 != 0;
            if first & 0xe0 == 0x20 {
                // RFC 7541 §4.2: the table's size is said first.
                let bound = integer(&mut block, 5)?;
                if begun || bound > self.most {
                    return Err(Undecodable);
                }
                self.bound = bound;
                self.evict();
                continue;
            }
            begun = true;
            if indexed {
                match integer(&mut block, 7)? {
                    at @ 1..=statics::COUNT => {
                        let (name, value) = statics::get(at).ok_or(Undecodable)?;
                        take(Read::Owned(Field::new(name, Some(value))));
                    }
                    at => take(Read::Lent(self.get(at)?)),
                }
                continue;
            }
            let kept = first & 0xc0 == 0x40;
            let at = integer(&mut block, if kept { 6 } else { 4 })?;
            let (name, length) = self.name(at, &mut block)?;
            let value = self.string(&mut block)?;
            let length = length + value.len();
            let field = Field {
                name,
                value: HeaderValue::from_maybe_shared(value).ok(),
                length,
            };
            if kept {
                take(Read::Lent(&field));
                self.keep(field);
            } else {
                take(Read::Owned(field));
            }
        }
        // What a large section needed is not kept for those that follow.
        self.unpacked.shrink_to(TABLE);
        Ok(())
    }

    fn get(&self, index: usize) -> Result<&Field, Undecodable> {
        let at = index.checked_sub(statics::COUNT + 1).ok_or(Undecodable)?;
        self.table.get(at).ok_or(Undecodable)
    }

    /// A literal's name, and its length.
    fn name(&mut self, index: usize, block: &mut &[u8]) -> Result<(Name, usize), Undecodable> {
        match index {
            0 => {
                let name = self.string(block)?;
                Ok((Name::read(&name), name.len()))
            }
            1..=statics::COUNT => {
                let (name, _) = statics::get(index).ok_or(Undecodable)?;
                let length = name.length();
                Ok((name, length))
            }
            _ => {
                let field = self.get(index)?;
                Ok((field.name.clone(), field.name.length()))
            }
        }
    }

    fn string(&mut self, block: &mut &[u8]) -> Result<Bytes, Undecodable> {
        let packed = block.first().ok_or(Undecodable)? & 0x80 != 0;
        let length = integer(block, 7)?;
        let (string, rest) = block.split_at_checked(length).ok_or(Undecodable)?;
        *block = rest;
        if !packed {
            return Ok(Bytes::copy_from_slice(string));
        }
        self.unpacked.clear();
        huffman::decode(string, &mut self.unpacked).ok_or(Undecodable)?;
        Ok(Bytes::copy_from_slice(&self.unpacked))
    }

    fn keep(&mut self, field: Field) {
        self.size += field.length + OVERHEAD;
        self.table.push_front(field);
        self.evict();
    }

    fn evict(&mut self) {
        while self.size > self.bound
            && let Some(oldest) = self.table.pop_back()
        {
            self.size -= oldest.length + OVERHEAD;
        }
    }
}

/// A field that was read: the reader's own, or the table's.
#[derive(Debug)]
pub enum Read<'a> {
    /// The reader's.
    Owned(Field),
    /// The table's.
    Lent(&'a Field),
}

impl Read<'_> {
    /// The field.
    pub fn get(&self) -> &Field {
        match self {
            Self::Owned(field) => field,
            Self::Lent(field) => field,
        }
    }

    /// It, to be kept.
    pub fn into_owned(self) -> Field {
        match self {
            Self::Owned(field) => field,
            Self::Lent(field) => field.clone(),
        }
    }
}

impl Field {
    fn new(name: Name, value: Value) -> Self {
        let length = name.length() + value.as_ref().map_or(0, HeaderValue::len);
        Self {
            name,
            value,
            length,
        }
    }
}

impl Name {
    fn read(bytes: &[u8]) -> Self {
        match bytes {
            b":authority" => Self::Authority,
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":protocol" => Self::Protocol,
            b":scheme" => Self::Scheme,
            b":status" => Self::Status,
            // Upper case is none of HTTP/2's (RFC 9113 §8.2.1).
            _ => HeaderName::from_lowercase(bytes).map_or(Self::Bad(bytes.len()), Self::Header),
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Authority => 10,
            Self::Method | Self::Scheme | Self::Status => 7,
            Self::Path => 5,
            Self::Protocol => 9,
            Self::Header(name) => name.as_str().len(),
            Self::Bad(length) => *length,
        }
    }
}

/// An integer behind a prefix of so many bits (RFC 7541 §5.1).
fn integer(block: &mut &[u8], prefix: u32) -> Result<usize, Undecodable> {
    let (first, mut rest) = block.split_first().ok_or(Undecodable)?;
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(*first) & most;
    if value == most {
        // Four bytes more are beyond all that there may be.
        let mut shift = 0;
        loop {
            let (byte, more) = rest.split_first().ok_or(Undecodable)?;
            rest = more;
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
            if shift > 21 {
                return Err(Undecodable);
            }
        }
    }
    *block = rest;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    }

    fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Undecodable> {
        let mut rows = Vec::new();
        decoder.decode(block, |field| {
            let field = field.into_owned();
            let name = match &field.name {
                Name::Header(name) => name.as_str().to_owned(),
                pseudo => format!("{pseudo:?}"),
            };
            let value = field
                .value
                .map(|value| value.to_str().unwrap_or("?").to_owned());
            rows.push(format!("{name}: {}", value.as_deref().unwrap_or("bad")));
        })?;
        Ok(rows)
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 7541 Appendix C.3 and C.4: three requests, plain and packed.
        for requests in [
            [
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                "8286 84be 5808 6e6f 2d63 6163 6865",
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
            ],
            [
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                "8286 84be 5886 a8eb 1064 9cbf",
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ],
        ] {
            let mut decoder = Decoder::new(TABLE);
            let expected = [
                "Method: GET, Scheme: http, Path: /, Authority: www.example.com",
                "Method: GET, Scheme: http, Path: /, Authority: www.example.com, cache-control: no-cache",
                "Method: GET, Scheme: https, Path: /index.html, Authority: www.example.com, custom-key: custom-value",
            ];
            for (request, expected) in requests.iter().zip(expected) {
                let rows = read(&mut decoder, &bytes(request)).unwrap();
                assert_eq!(rows.join(", "), expected);
            }
            assert_eq!(decoder.size, 164);
        }
    }

    #[test]
    fn what_does_not_fit_is_evicted() {
        // RFC 7541 Appendix C.5: a table of 256 bytes.
        let mut decoder = Decoder::new(TABLE);
        decoder.bound = 256;
        let first = "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
             2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d";
        read(&mut decoder, &bytes(first)).unwrap();
        assert_eq!(decoder.size, 222);
        let rows = read(&mut decoder, &bytes("4803 3330 37c1 c0bf")).unwrap();
        assert_eq!(
            rows,
            [
                "Status: 307",
                "cache-control: private",
                "date: Mon, 21 Oct 2013 20:13:21 GMT",
                "location: https://www.example.com",
            ]
        );
        assert_eq!(decoder.size, 222);
        // A table of nothing keeps nothing.
        assert_eq!(read(&mut decoder, &bytes("20 84")).unwrap(), ["Path: /"]);
        assert_eq!((decoder.size, decoder.table.len()), (0, 0));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (name, block) in [
            ("index 0", "80"),
            ("an index beyond the table", "be"),
            ("a name beyond the table", "7f 00"),
            ("an integer without end", "ff ff ff ff ff ff ff"),
            ("an integer that breaks off", "ff 80"),
            ("a string that breaks off", "04 05 61"),
            ("a string that is not there", "44"),
            ("a table that is too large", "3f e2 1f"),
            ("a table's size behind a field", "84 20"),
            ("padding of zeros", "04 81 06"),
        ] {
            let read = read(&mut Decoder::new(TABLE), &bytes(block));
            assert_eq!(read, Err(Undecodable), "{name}");
        }
        // As large as it may be.
        assert_eq!(
            read(&mut Decoder::new(TABLE), &bytes("3f e1 1f")),
            Ok(vec![])
        );
        assert_eq!(
            read(&mut Decoder::new(8_192), &bytes("3f e1 3f")),
            Ok(vec![])
        );
    }

    #[test]
    fn a_field_that_is_none_is_told_and_keeps_its_place() {
        let mut decoder = Decoder::new(TABLE);
        let rows = read(
            &mut decoder,
            &bytes("40 01 41 01 61  40 01 61 01 0a  40 02 3a 61 00"),
        );
        assert_eq!(rows.unwrap(), ["Bad(1): a", "a: bad", "Bad(2): "]);
        assert_eq!(read(&mut decoder, &bytes("bf")).unwrap(), ["a: bad"]);
        // Named by one that is none.
        read(&mut decoder, &bytes("7e 01 62")).unwrap();
        assert_eq!(decoder.size, 3 * 34 + 35);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_do_harm(blocks: Vec<Vec<u8>>) {
            let mut decoder = Decoder::new(TABLE);
            for block in blocks {
                let _ = read(&mut decoder, &block);
                assert!(decoder.size <= TABLE);
                let size: usize = decoder.table.iter().map(|field| field.length + OVERHEAD).sum();
                assert_eq!(size, decoder.size);
            }
        }
    }
}
