//! Who a request comes from, as its headers tell the next hop.

use std::{borrow::Cow, net::IpAddr};

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{client::Client, shadow::own_address};
use crate::policy::origin::{Found, Origin};

/// `x-forwarded-for`.
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `x-envoy-internal`.
pub(super) const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");

/// What only the mesh's own may say, besides what they wish of retries and timeouts.
const OF_THE_MESH: [&str; 6] = [
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
];

/// What is not to be heard of where a request enters the mesh.
const OF_THE_INNER_MESH: [&str; 5] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
];

/// Finds the client and tells the next hop. `known`: there is an `x-forwarded-for`; `envoys`: there are headers for the
/// mesh's own.
pub(super) fn settle(
    headers: &mut HeaderMap,
    client: &Client,
    origin: &Origin,
    known: bool,
    envoys: bool,
) -> Found {
    let peer = client.peer.ip();
    let found = {
        let list = if known { joined(headers) } else { None };
        origin.find(peer, list.as_deref())
    };
    if origin.use_remote_address && !origin.skip_append {
        // Envoy's: a client on the same machine is known to others by the machine's address.
        let address = if peer.is_loopback() {
            own_address()
        } else {
            peer
        };
        append(headers, address);
    }
    if envoys {
        headers.remove(INTERNAL);
        if !found.internal {
            for name in OF_THE_MESH {
                headers.remove(name);
            }
        }
        if found.edge {
            for name in OF_THE_INNER_MESH {
                headers.remove(name);
            }
        }
    }
    if found.internal {
        headers.insert(INTERNAL, HeaderValue::from_static("true"));
    } else if let Some(address) = found.client.filter(|_| found.edge)
        && let Ok(value) = HeaderValue::try_from(address.to_string())
    {
        headers.insert(EXTERNAL_ADDRESS, value);
    }
    found
}

/// Adds an address to `x-forwarded-for`, whose rows become one.
pub(super) fn append(headers: &mut HeaderMap, address: IpAddr) {
    let mut value = BytesMut::new();
    let rows = headers.get_all(FORWARDED_FOR).iter();
    for known in rows.filter(|known| !known.is_empty()) {
        value.put_slice(known.as_bytes());
        value.put_u8(b',');
    }
    value.put_slice(address.to_string().as_bytes());
    if let Ok(value) = HeaderValue::from_maybe_shared(value.freeze()) {
        headers.insert(FORWARDED_FOR, value);
    }
}

fn joined(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let mut rows = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut all = Cow::Borrowed(rows.next()?);
    for row in rows {
        let all = all.to_mut();
        all.push(',');
        all.push_str(row);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_added_to_all_rows() {
        for (rows, expected) in [
            (&[][..], "9.9.9.9"),
            (&[""], "9.9.9.9"),
            (&["1.1.1.1"], "1.1.1.1,9.9.9.9"),
            (
                &["1.1.1.1, 2.2.2.2", "3.3.3.3"],
                "1.1.1.1, 2.2.2.2,3.3.3.3,9.9.9.9",
            ),
        ] {
            let mut headers = HeaderMap::new();
            for row in rows {
                headers.append(FORWARDED_FOR, HeaderValue::from_static(row));
            }
            append(&mut headers, "9.9.9.9".parse().unwrap());
            assert_eq!(joined(&headers).as_deref(), Some(expected));
        }
    }
}
