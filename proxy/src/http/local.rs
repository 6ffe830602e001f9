//! Our own answers follow the manager's rules before the client sees them.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{edit::OfAnswer, log::Log, view::View};

/// Changes an answer of ours by the first rule that is for it, and writes its body as the manager has it. The record has
/// its status already, and its new one afterwards.
pub(super) fn rewrite(
    log: &mut Log,
    status: &mut StatusCode,
    body: &mut Bytes,
    headers: &mut HeaderMap,
) {
    let local = std::rc::Rc::clone(&log.local);
    let Some(replies) = local
        .snapshot
        .http
        .get(log.http)
        .map(|listener| &listener.manager.replies)
        .filter(|replies| !replies.is_empty())
    else {
        return;
    };
    let mut format = replies.format.as_ref();
    let kind = headers.get(header::CONTENT_TYPE).cloned();
    let mapper = replies.mappers.iter().find(|mapper| {
        let view = View::of_answer(log, headers);
        mapper.filter.passes(&view)
    });
    if let Some(mapper) = mapper {
        if let Some(text) = &mapper.body {
            *body = Bytes::copy_from_slice(text.as_bytes());
        }
        mapper.edit.apply(headers, &OfAnswer(log));
        if let Some(other) = mapper.status {
            *status = other;
            log.status = Some(other);
        }
        format = mapper.format.as_ref().or(format);
    }
    // A type that the rule sets stays.
    let untouched = kind.as_ref() == headers.get(header::CONTENT_TYPE);
    if let Some(format) = format {
        let view = View::of_answer(log, headers).with_body(body);
        *body = Bytes::from(format.render(&view));
        if untouched {
            headers.insert(header::CONTENT_TYPE, format.content_type.clone());
        }
    } else if untouched && mapper.is_some_and(|mapper| mapper.body.is_some()) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    if body.is_empty() {
        headers.remove(header::CONTENT_TYPE);
    }
}
