//! The thread that plays: it asks our own proxy what clients have asked, and answers as the primary did.

use std::{
    cell::RefCell,
    collections::HashMap,
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::mpsc::Receiver,
    task::{JoinSet, LocalSet, spawn_local},
    time::timeout,
};

use super::{Scene, Shared, TAP};

/// Our own proxy and our own stage answer at once; this is for a machine that stands still.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Pause after a failed `accept` (out of descriptors), lest the loop spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Answers that wait to be played, by the mark of their request.
type Prompt = Rc<RefCell<HashMap<HeaderValue, Response<Full<Bytes>>>>>;

/// Where the primary is played.
pub(super) fn stage() -> io::Result<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Plays until every lane has ended.
pub(super) fn start(
    stage: TcpListener,
    proxy: SocketAddr,
    lanes: Vec<Receiver<Box<Scene>>>,
    shared: Arc<Shared>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stage = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(stage)?
    };
    std::thread::Builder::new()
        .name("tap-player".to_owned())
        .spawn(move || {
            let local = LocalSet::new();
            local.block_on(&runtime, async move {
                let prompt = Prompt::default();
                let mut playing = JoinSet::new();
                for (number, scenes) in lanes.into_iter().enumerate() {
                    let lane = Lane {
                        number,
                        proxy,
                        prompt: Rc::clone(&prompt),
                        shared: Arc::clone(&shared),
                        asked: 0,
                    };
                    playing.spawn_local(lane.play(scenes));
                }
                tokio::select! {
                    () = accept(stage, prompt) => {}
                    () = async { while playing.join_next().await.is_some() {} } => {}
                }
            });
        })
}

/// Asks one request after the other.
struct Lane {
    number: usize,
    proxy: SocketAddr,
    prompt: Prompt,
    shared: Arc<Shared>,
    asked: u64,
}

impl Lane {
    async fn play(mut self, mut scenes: Receiver<Box<Scene>>) {
        let mut sender = None;
        while let Some(scene) = scenes.recv().await {
            let size = scene.size();
            self.shared.waiting.fetch_sub(size, Ordering::Relaxed);
            match timeout(ANSWERED_WITHIN, self.ask(&mut sender, *scene)).await {
                Ok(Some(true)) => {}
                Ok(Some(false)) => self.shared.losses.add("refused", 1),
                Ok(None) | Err(_) => {
                    sender = None;
                    self.shared.losses.add("not_played", 1);
                }
            }
        }
    }

    /// Asks; whether the stage has answered, or our proxy without it. `None`: nobody has.
    async fn ask(
        &mut self,
        sender: &mut Option<SendRequest<Full<Bytes>>>,
        scene: Scene,
    ) -> Option<bool> {
        let is_open = match sender.as_mut() {
            Some(open) => open.ready().await.is_ok(),
            None => false,
        };
        if !is_open {
            *sender = Some(self.connect().await?);
        }
        let sender = sender.as_mut()?;
        self.asked += 1;
        let mark = format!("{} {} {}", self.shared.secret, self.number, self.asked);
        let mark = HeaderValue::try_from(mark).ok()?;
        let Scene {
            mut request,
            answer,
            ..
        } = scene;
        request.headers_mut().insert(TAP, mark.clone());
        self.prompt.borrow_mut().insert(mark.clone(), answer);
        let answered = read(sender, request).await;
        // Still there where our proxy has not asked for it.
        self.prompt.borrow_mut().remove(&mark);
        answered
    }

    async fn connect(&self) -> Option<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.proxy).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        spawn_local(async move {
            // A failure is told to the request that meets it.
            let _ = connection.await;
        });
        Some(sender)
    }
}

/// Sends a request and reads its answer to the end: whether it is the stage's.
async fn read(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Option<bool> {
    let answer = sender.send_request(request).await.ok()?;
    let is_staged = answer.headers().contains_key(TAP);
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        frame.ok()?;
    }
    Some(is_staged)
}

async fn accept(stage: tokio::net::TcpListener, prompt: Prompt) {
    loop {
        let Ok((stream, _)) = stage.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let prompt = Rc::clone(&prompt);
        spawn_local(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let prompt = Rc::clone(&prompt);
                async move { Ok::<_, Infallible>(answer(request, &prompt).await) }
            });
            // A connection that breaks is found out by whoever asked.
            let _ = http1::Builder::new()
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The answer that was recorded; whoever else finds us gets none.
async fn answer(request: Request<Incoming>, prompt: &Prompt) -> Response<Full<Bytes>> {
    let (head, mut body) = request.into_parts();
    while let Some(Ok(_)) = body.frame().await {}
    let recorded = head
        .headers
        .get(TAP)
        .and_then(|mark| prompt.borrow_mut().remove(mark));
    recorded.unwrap_or_else(|| {
        let mut unknown = Response::new(Full::default());
        *unknown.status_mut() = StatusCode::NOT_FOUND;
        unknown
    })
}
