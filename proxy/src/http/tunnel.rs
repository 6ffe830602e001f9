//! Upgraded connections: after the 101, bytes pass both ways until either side has ended. The request ends with them.

use http::{HeaderValue, Response, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional_with_sizes, task::spawn_local, time::Instant};

use super::{body::Download, body::Upload, log::Log, normalize};
use crate::{cluster::pool::Lease, net::body::Incoming, observe::Flags};

/// Bytes under way in each direction: large enough that bulk data costs few calls.
const BUFFER: usize = 64 << 10;

/// Answers 101 and joins the two connections.
pub(super) fn open(
    mut log: Box<Log>,
    mut response: Response<Incoming>,
    lease: Lease<Upload>,
    client: Option<OnUpgrade>,
) -> Response<Download> {
    let upstream = hyper::upgrade::on(&mut response);
    let (mut head, _) = response.into_parts();
    let protocol = head.headers.get(header::UPGRADE).cloned();
    normalize::strip_answer(&mut head.headers);
    if let Some(protocol) = protocol {
        head.headers.insert(header::UPGRADE, protocol);
        head.headers
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let mut answer = Response::new(Download::none());
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    let hold = log.client.core.hold();
    spawn_local(async move {
        let ended = match client {
            Some(client) => join(client, upstream, &mut log).await,
            None => false,
        };
        // The connection is the tunnel's: it is never lent again.
        drop(lease);
        if !ended {
            log.flags.set(Flags::DC);
        }
        log.finish(ended, Instant::now());
        drop(hold);
    });
    answer
}

/// Whether both sides ended in order.
async fn join(client: OnUpgrade, upstream: OnUpgrade, log: &mut Log) -> bool {
    let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) else {
        return false;
    };
    let (mut client, mut upstream) = (io(client), io(upstream));
    let copied = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await;
    let Ok((up, down)) = copied else {
        return false;
    };
    log.bytes_in = Some(std::rc::Rc::new(std::cell::Cell::new(up)));
    log.bytes_out = down;
    true
}

fn io(upgraded: Upgraded) -> TokioIo<Upgraded> {
    TokioIo::new(upgraded)
}
