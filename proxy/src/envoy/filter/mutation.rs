//! The header mutation filter.

use envoy_types::pb::envoy::extensions::filters::http::header_mutation::v3::Mutations;

use super::super::{Notes, headers};
use crate::config::Steps;

pub(super) fn steps(it: &Mutations, path: &str, notes: &mut Notes) -> Steps {
    Steps {
        request: headers::mutations(
            &it.request_mutations,
            &format!("{path}.request_mutations"),
            notes,
        ),
        response: headers::mutations(
            &it.response_mutations,
            &format!("{path}.response_mutations"),
            notes,
        ),
    }
}
