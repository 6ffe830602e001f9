//! Ranges of addresses.

use std::{fmt, net::IpAddr};

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// The addresses whose first `bits` bits are those of `address`; more bits than an address has are all of them.
    pub fn new(address: IpAddr, bits: u32) -> Self {
        let bits = bits.min(width(address)) as u8;
        let address = match address {
            IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() & mask(32, bits) as u32).into()),
            IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & mask(128, bits)).into()),
        };
        Self { address, bits }
    }

    /// How many bits are the same: the more, the narrower the range.
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// Whether the address is in the range. No address of one family is in a range of the other.
    pub fn contains(self, address: IpAddr) -> bool {
        width(address) == width(self.address)
            && Self::new(address, u32::from(self.bits)).address == self.address
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask(width: u32, bits: u8) -> u128 {
    let low = width - u32::from(bits);
    u128::MAX.checked_shl(low).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_range_by_its_first_bits() {
        let rows = [
            ("10.1.2.3", 8, "10.255.0.1", true),
            ("10.1.2.3", 8, "11.0.0.1", false),
            ("10.1.2.3", 32, "10.1.2.3", true),
            ("10.1.2.3", 32, "10.1.2.4", false),
            ("10.1.2.3", 31, "10.1.2.2", true),
            ("10.1.2.3", 0, "200.1.2.3", true),
            ("10.1.2.3", 99, "10.1.2.4", false),
            ("0.0.0.0", 0, "::1", false),
            ("::", 0, "::1", true),
            ("2001:db8::", 32, "2001:db8:ffff::1", true),
            ("2001:db8::", 32, "2001:db9::1", false),
        ];
        for (range, bits, address, inside) in rows {
            let range = Cidr::new(range.parse().unwrap(), bits);
            assert_eq!(
                range.contains(address.parse().unwrap()),
                inside,
                "{address} in {range}"
            );
        }
    }

    #[test]
    fn the_bits_beyond_a_range_do_not_count() {
        let one = Cidr::new("10.1.2.3".parse().unwrap(), 8);
        assert_eq!(one, Cidr::new("10.9.9.9".parse().unwrap(), 8));
        assert_eq!(one.to_string(), "10.0.0.0/8");
    }
}
