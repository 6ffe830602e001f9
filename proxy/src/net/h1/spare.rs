//! Maps of headers that are used again. One has room for most heads, which is more than what an allocator keeps at hand: to
//! get and return its memory would cost as much as to read a head.

use std::cell::RefCell;

use http::HeaderMap;

/// Headers that most heads have no more of, with what the proxy adds to them: growing means hashing all again.
const ROOM: usize = 24;

/// Maps that an event loop keeps: so many requests and answers are under way at once on most.
const SPARES: usize = 64;

thread_local! {
    static MAPS: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// An empty map.
pub(super) fn take() -> HeaderMap {
    let spare = MAPS.with_borrow_mut(Vec::pop);
    spare.unwrap_or_else(|| HeaderMap::with_capacity(ROOM))
}

/// Empties the map, and keeps it if it is one of those.
pub fn give_back(mut headers: HeaderMap) {
    // One that has grown keeps its own memory for nobody: for names, or for names that came again.
    let again = headers.len() - headers.keys_len();
    if !(ROOM..2 * ROOM).contains(&headers.capacity()) || again > ROOM {
        return;
    }
    headers.clear();
    MAPS.with_borrow_mut(|maps| {
        if maps.len() < SPARES {
            maps.push(headers);
        }
    });
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    fn kept() -> usize {
        MAPS.with_borrow(Vec::len)
    }

    #[test]
    fn a_map_is_used_again_and_has_nothing_of_before() {
        let mut map = take();
        map.append(header::HOST, HeaderValue::from_static("a"));
        map.append(header::HOST, HeaderValue::from_static("b"));
        give_back(map);
        assert_eq!(kept(), 1);
        let map = take();
        assert_eq!((map.len(), map.get(header::HOST), kept()), (0, None, 0));
    }

    #[test]
    fn neither_many_nor_large_or_empty_ones_are_kept() {
        let maps: Vec<_> = (0..2 * SPARES).map(|_| take()).collect();
        maps.into_iter().for_each(give_back);
        assert_eq!(kept(), SPARES);
        take();
        let before = kept();
        give_back(HeaderMap::new());
        give_back(HeaderMap::with_capacity(4 * ROOM));
        let mut cookies = take();
        for _ in 0..4 * ROOM {
            cookies.append(header::COOKIE, HeaderValue::from_static("a"));
        }
        give_back(cookies);
        give_back(HeaderMap::with_capacity(ROOM));
        assert_eq!(kept(), before);
    }
}
