//! The filter that gathers whole requests.

use envoy_types::pb::envoy::extensions::filters::http::buffer::v3::Buffer;

use super::Notes;

/// How long a request may be; `None` where it is not said, with the reason among the notes.
pub(super) fn bytes(it: Buffer, path: &str, notes: &mut Notes) -> Option<u32> {
    let most = it.max_request_bytes.map_or(0, |bytes| bytes.value);
    if most == 0 {
        notes.invalid(
            format!("{path}.max_request_bytes"),
            "it is needed, and must be above 0",
        );
        return None;
    }
    Some(most)
}
