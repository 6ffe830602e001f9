//! Ids of builtin services.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A version 4 UUID made of these bytes.
pub(super) fn of(bytes: &[u8]) -> String {
    let (high, low) = (xxh3_64_with_seed(bytes, 3), xxh3_64_with_seed(bytes, 4));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_well_formed_and_depends_on_its_text() {
        let id = of(b"c1");
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&id.as_bytes()[19]));
        assert_ne!(id, of(b"c2"));
    }
}
