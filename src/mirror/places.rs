//! Bounds what a mirror without end can distinguish: paths that no template joins, and objects keyed by user, would each be
//! counted apart for ever.

use std::{collections::HashSet, sync::Arc};

use xxhash_rust::xxh3::xxh3_64;

use crate::event::Mirror;

/// Endpoints that are told apart. Services have tens.
const MAX_ENDPOINTS: usize = 1_000;

/// Places (shadow, endpoint, path, kind) that are told apart.
const MAX_PLACES: usize = 10_000;

/// What all others are counted as.
const OTHER: &str = "(other)";

/// The endpoints and places so far.
#[derive(Debug, Default)]
pub(super) struct Places {
    endpoints: HashSet<String>,
    /// By hash: what they are is in the counts.
    places: HashSet<u64>,
}

impl Places {
    /// Counts what is one too many with the others.
    pub(super) fn bound(&mut self, mirror: &mut Arc<Mirror>) {
        if !self.endpoints.contains(&mirror.endpoint) {
            if self.endpoints.len() < MAX_ENDPOINTS {
                self.endpoints.insert(mirror.endpoint.clone());
            } else {
                let mirror = Arc::make_mut(mirror);
                mirror.endpoint = format!("{} {OTHER}", mirror.method);
            }
        }
        if mirror.differences.is_empty() {
            return;
        }
        let mirror = Arc::make_mut(mirror);
        for difference in &mut mirror.differences {
            let key = format!(
                "{} {} {} {}",
                mirror.shadow, mirror.endpoint, difference.path, difference.kind
            );
            let place = xxh3_64(key.as_bytes());
            if self.places.contains(&place) {
                continue;
            }
            if self.places.len() < MAX_PLACES {
                self.places.insert(place);
            } else {
                OTHER.clone_into(&mut difference.path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::RunEvent, measure::fixture};

    #[test]
    fn what_is_too_much_to_tell_apart_is_counted_together() {
        let mut places = Places::default();
        let mut seen = HashSet::new();
        for number in 0..2 * MAX_PLACES as u64 {
            let path = format!("$.users.u{number}");
            let RunEvent::Mirror(mut mirror) =
                fixture::mirror("candidate", number, &[(&path, "value")])
            else {
                unreachable!("it is one");
            };
            let endpoint = format!("GET /u{}", number % 3_000);
            Arc::make_mut(&mut mirror).endpoint = endpoint;
            places.bound(&mut mirror);
            assert_eq!(mirror.differences.len(), 1);
            seen.insert((mirror.endpoint.clone(), mirror.differences[0].path.clone()));
        }
        let endpoints: HashSet<_> = seen.iter().map(|(endpoint, _)| endpoint).collect();
        assert_eq!(endpoints.len(), MAX_ENDPOINTS + 1);
        assert!(endpoints.contains(&"GET (other)".to_owned()));
        let paths: HashSet<_> = seen.iter().map(|(_, path)| path).collect();
        assert_eq!(paths.len(), MAX_PLACES + 1);
    }
}
