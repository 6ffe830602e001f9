//! Content codings (RFC 9110 §8.4.1), undone.

use std::borrow::Cow;
use std::io::Read;

use brotli_decompressor::Decompressor;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::Unread;

/// The most that a compressed body may become. Larger ones are compared by hash: a small one can hold gigabytes.
const MAX_DECODED: u64 = 4 << 20;

/// The most codings on top of each other that are undone.
const MAX_CODINGS: usize = 4;

/// Bytes that the decoder for `br` reads at a time.
const BUFFER: usize = 4_096;

/// The body as it was before it was coded; `codings` as `content-encoding` lists them, in the order of their doing.
pub(in crate::shadow) fn undone<'a>(
    codings: &[u8],
    body: &'a [u8],
) -> Result<Cow<'a, [u8]>, Unread> {
    let codings = codings.to_ascii_lowercase();
    let codings: Vec<_> = codings
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !matches!(*coding, b"" | b"identity"))
        .collect();
    if codings.len() > MAX_CODINGS {
        return Err(Unread::Coding);
    }
    let mut plain = Cow::Borrowed(body);
    // A body of nothing is none, whatever is said of it: HEAD, 204, 304.
    for coding in codings.into_iter().rev().filter(|_| !body.is_empty()) {
        plain = Cow::Owned(one(coding, &plain)?);
    }
    Ok(plain)
}

fn one(coding: &[u8], body: &[u8]) -> Result<Vec<u8>, Unread> {
    match coding {
        b"gzip" | b"x-gzip" => read(MultiGzDecoder::new(body)),
        // Some send the bare format that RFC 1951 calls so.
        b"deflate" => read(ZlibDecoder::new(body)).or_else(|why| match why {
            Unread::Coding => read(DeflateDecoder::new(body)),
            why => Err(why),
        }),
        b"br" => read(Decompressor::new(body, BUFFER)),
        b"zstd" => read(zstd::Decoder::new(body).map_err(|_| Unread::Coding)?),
        _ => Err(Unread::Coding),
    }
}

fn read(decoder: impl Read) -> Result<Vec<u8>, Unread> {
    let mut body = Vec::new();
    let length = decoder
        .take(MAX_DECODED + 1)
        .read_to_end(&mut body)
        .map_err(|_| Unread::Coding)?;
    if length as u64 > MAX_DECODED {
        return Err(Unread::TooLarge);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_coding_is_undone() {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(b"hello").unwrap();
        let mut bare = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        bare.write_all(b"hello").unwrap();
        // RFC 7932: one uncompressed meta-block of five bytes.
        let brotli = [0x0b, 0x02, 0x80, b'h', b'e', b'l', b'l', b'o', 0x03];
        let zstd = zstd::encode_all(&b"hello"[..], 1).unwrap();
        for (coding, body) in [
            ("", b"hello".to_vec()),
            ("identity", b"hello".to_vec()),
            ("gzip", gzip(b"hello")),
            ("X-GZIP", gzip(b"hello")),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", bare.finish().unwrap()),
            ("br", brotli.to_vec()),
            ("zstd", zstd.clone()),
            ("zstd, gzip", gzip(&zstd)),
        ] {
            let plain = undone(coding.as_bytes(), &body);
            assert_eq!(plain.as_deref(), Ok(&b"hello"[..]), "{coding}");
        }
    }

    #[test]
    fn what_cannot_be_undone_says_so() {
        for coding in [
            "gzip",
            "deflate",
            "br",
            "zstd",
            "compress",
            "gzip, nonsense",
            "br,br,br,br,br",
        ] {
            assert_eq!(
                undone(coding.as_bytes(), b"\xff\xfe garbage"),
                Err(Unread::Coding),
                "{coding}"
            );
            let nothing = undone(coding.as_bytes(), b"");
            assert!(
                nothing.is_ok() || coding.matches(',').count() > 3,
                "{coding}"
            );
        }
        let bomb = gzip(&vec![0; 5 << 20]);
        assert!(bomb.len() < 64 << 10);
        assert_eq!(undone(b"gzip", &bomb), Err(Unread::TooLarge));
    }
}
