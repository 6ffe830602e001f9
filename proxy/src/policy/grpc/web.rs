//! gRPC-Web: gRPC for clients that see no trailers, such as browsers. Trailers come as the last message of the body; the
//! whole may be in base64 (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>).

use http::HeaderMap;

/// How a message of gRPC-Web is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Binary,
    /// In base64.
    Text,
}

/// What a client sends in base64, piece by piece.
#[derive(Debug, Default)]
pub struct Decoder {
    quantum: [u8; 4],
    have: usize,
}

/// It is not base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid;

/// The bit that tells trailers from a message.
const TRAILERS: u8 = 0x80;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Form {
    /// The form that a content type names; `None`: it is none of gRPC-Web.
    pub fn named(content_type: &[u8]) -> Option<Self> {
        let rest = content_type.strip_prefix(b"application/grpc-web")?;
        match rest {
            b"" | b"+proto" => Some(Self::Binary),
            b"-text" | b"-text+proto" => Some(Self::Text),
            _ => None,
        }
    }

    /// Its content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Binary => "application/grpc-web+proto",
            Self::Text => "application/grpc-web-text+proto",
        }
    }

    /// A piece of an answer in this form.
    pub fn write(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Binary => data.to_vec(),
            Self::Text => data.chunks(3).flat_map(encode).collect(),
        }
    }

    /// An answer's trailers in this form.
    pub fn write_trailers(self, trailers: &HeaderMap) -> Vec<u8> {
        let mut rows = Vec::new();
        for (name, value) in trailers {
            rows.extend_from_slice(name.as_str().as_bytes());
            rows.push(b':');
            rows.extend_from_slice(value.as_bytes());
            rows.extend_from_slice(b"\r\n");
        }
        let mut message = vec![TRAILERS];
        message.extend_from_slice(&(rows.len() as u32).to_be_bytes());
        message.append(&mut rows);
        self.write(&message)
    }
}

impl Decoder {
    /// What a piece, with what was left of those before, amounts to. Padding may end each message, not only the last.
    pub fn read(&mut self, piece: &[u8]) -> Result<Vec<u8>, Invalid> {
        let mut data = Vec::with_capacity(piece.len() / 4 * 3 + 3);
        for byte in piece {
            if let Some(place) = self.quantum.get_mut(self.have) {
                *place = *byte;
            }
            self.have += 1;
            if self.have == self.quantum.len() {
                self.have = 0;
                decode(self.quantum, &mut data)?;
            }
        }
        Ok(data)
    }

    /// Nothing is left of what has come.
    pub fn is_done(&self) -> bool {
        self.have == 0
    }
}

fn encode(bytes: &[u8]) -> [u8; 4] {
    let at = |index: usize| u32::from(bytes.get(index).copied().unwrap_or(0));
    let bits = at(0) << 16 | at(1) << 8 | at(2);
    std::array::from_fn(|index| {
        if index > bytes.len() {
            return b'=';
        }
        let digit = bits >> (18 - 6 * index) & 63;
        DIGITS.get(digit as usize).copied().unwrap_or(b'=')
    })
}

fn decode(quantum: [u8; 4], data: &mut Vec<u8>) -> Result<(), Invalid> {
    // Padding stands at the end, or nowhere.
    let padding = match quantum {
        [_, _, b'=', b'='] => 2,
        [_, _, _, b'='] => 1,
        _ => 0,
    };
    let mut bits = 0_u32;
    for (at, byte) in quantum.iter().enumerate() {
        let digit = if at + padding >= quantum.len() {
            0
        } else {
            DIGITS.iter().position(|it| it == byte).ok_or(Invalid)?
        };
        bits = bits << 6 | digit as u32;
    }
    data.extend(bits.to_be_bytes().iter().skip(1).take(3 - padding));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_named_by_the_content_type() {
        for (name, form) in [
            ("application/grpc-web", Some(Form::Binary)),
            ("application/grpc-web+proto", Some(Form::Binary)),
            ("application/grpc-web-text", Some(Form::Text)),
            ("application/grpc-web-text+proto", Some(Form::Text)),
            ("application/grpc-webx", None),
            ("application/grpc", None),
        ] {
            assert_eq!(Form::named(name.as_bytes()), form, "{name}");
        }
    }

    /// The vectors of RFC 4648 §10.
    #[test]
    fn text_is_base64() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(Form::Text.write(plain.as_bytes()), text.as_bytes());
            let mut decoder = Decoder::default();
            let mut all = Vec::new();
            for byte in text.as_bytes().chunks(1) {
                all.extend(decoder.read(byte).unwrap());
            }
            assert!(decoder.is_done());
            assert_eq!(all, plain.as_bytes());
        }
        assert_eq!(Decoder::default().read(b"Zg==Zm8=").unwrap(), b"ffo");
        for wrong in ["Z===", "=Zg=", "Zm9*", "Z=g="] {
            assert_eq!(
                Decoder::default().read(wrong.as_bytes()),
                Err(Invalid),
                "{wrong}"
            );
        }
    }

    #[test]
    fn trailers_are_a_message_of_their_own() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        let written = Form::Binary.write_trailers(&trailers);
        assert_eq!(written, b"\x80\0\0\0\x0fgrpc-status:0\r\n");
    }
}
