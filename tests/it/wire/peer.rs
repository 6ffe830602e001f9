//! A plain server and a plain client of HTTP/1.1.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::{PATIENCE, net::Space};

/// What a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Its name.
    Plain,
    /// Its name, and what it was asked, in JSON.
    Json,
    /// No HTTP: its name at once, then what it hears.
    Echo,
}

/// A server, until the test's process ends.
pub(crate) struct Server {
    port: u16,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: u64,
    /// Each request's head, and who asked.
    heads: Vec<(SocketAddr, String)>,
}

impl Server {
    /// Listens in a namespace.
    pub(crate) fn start(
        space: &Space,
        host: &'static str,
        port: u16,
        name: &'static str,
        style: Style,
    ) -> Self {
        let listener = space.within(|| TcpListener::bind((host, port)).unwrap());
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&shared);
                seen.lock().unwrap().connections += 1;
                thread::spawn(move || serve(tcp, name, style, &seen));
            }
        });
        Self { port, seen }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn connections(&self) -> u64 {
        self.seen.lock().unwrap().connections
    }

    pub(crate) fn requests(&self) -> u64 {
        self.seen.lock().unwrap().heads.len() as u64
    }

    /// How many requests this client's address has sent.
    pub(crate) fn requests_of(&self, client: SocketAddr) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.heads
            .iter()
            .filter(|(from, _)| *from == client)
            .count()
    }

    /// Whether any request's head contains this.
    pub(crate) fn has_seen(&self, what: &str) -> bool {
        let seen = self.seen.lock().unwrap();
        seen.heads.iter().any(|(_, head)| head.contains(what))
    }
}

fn serve(mut tcp: TcpStream, name: &str, style: Style, seen: &Mutex<Seen>) {
    let peer = tcp.peer_addr().unwrap();
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    tcp.set_nodelay(true).unwrap();
    if style == Style::Echo {
        tcp.write_all(name.as_bytes()).unwrap();
        let mut back = tcp.try_clone().unwrap();
        let _ = std::io::copy(&mut tcp, &mut back);
        return;
    }
    while let Some((head, _)) = message(&mut tcp, false) {
        seen.lock().unwrap().heads.push((peer, head.clone()));
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        if path == "/slow" {
            thread::sleep(Duration::from_secs(1));
        }
        let (kind, body) = match style {
            Style::Plain | Style::Echo => ("text/plain", name.to_owned()),
            Style::Json => (
                "application/json",
                format!(r#"{{"name":"{name}","path":"{path}"}}"#),
            ),
        };
        let length = body.len() + usize::from(path == "/broken");
        let mut answer =
            format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
        if method != "HEAD" {
            answer.push_str(&body);
        }
        if tcp.write_all(answer.as_bytes()).is_err() || path == "/broken" {
            return;
        }
    }
}

/// A client with at most one connection, which it keeps as long as the server lets it.
pub(crate) struct Client {
    to: (&'static str, u16),
    tcp: Option<TcpStream>,
    begun: String,
}

impl Client {
    /// One that is connected.
    pub(crate) fn new(host: &'static str, port: u16) -> Self {
        let mut this = Self {
            to: (host, port),
            tcp: None,
            begun: String::new(),
        };
        this.connected();
        this
    }

    /// Asks once; `None`: no connection, or no answer.
    pub(crate) fn try_get(host: &'static str, port: u16, path: &str) -> Option<String> {
        let mut tcp = TcpStream::connect((host, port)).ok()?;
        tcp.set_read_timeout(Some(PATIENCE)).ok()?;
        tcp.write_all(format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes())
            .ok()?;
        message(&mut tcp, false).map(|(head, body)| head + &body)
    }

    pub(crate) fn get(&mut self, path: &str) -> String {
        self.send("GET", path, "")
    }

    /// Asks; the answer's head and body.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: &str) -> String {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.connected().write_all(request.as_bytes()).unwrap();
        self.answer(method == "HEAD", path == "/broken")
    }

    /// Sends the first half of a request.
    pub(crate) fn begin(&mut self, path: &str) {
        self.begun = format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n");
        let half = self.begun.split_off(self.begun.len() / 2);
        let first = std::mem::replace(&mut self.begun, half);
        self.connected().write_all(first.as_bytes()).unwrap();
    }

    /// Sends the other half.
    pub(crate) fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.begun);
        self.connected().write_all(rest.as_bytes()).unwrap();
        self.answer(false, false)
    }

    pub(crate) fn close(&mut self) {
        self.tcp = None;
    }

    /// Its own address.
    pub(crate) fn local(&mut self) -> SocketAddr {
        self.connected().local_addr().unwrap()
    }

    fn connected(&mut self) -> &mut TcpStream {
        let to = self.to;
        self.tcp.get_or_insert_with(|| {
            let tcp = TcpStream::connect(to).unwrap();
            tcp.set_nodelay(true).unwrap();
            tcp.set_read_timeout(Some(PATIENCE)).unwrap();
            tcp
        })
    }

    fn answer(&mut self, is_head: bool, may_break: bool) -> String {
        let Some((head, body)) = message(self.connected(), is_head) else {
            self.tcp = None;
            assert!(may_break, "the connection was dropped");
            return String::new();
        };
        if head.contains("connection: close") {
            self.tcp = None;
        }
        head + &body
    }
}

/// A message: head, lower case but for its first line, and body. `None`: the connection ended before it was whole.
fn message(tcp: &mut TcpStream, is_head: bool) -> Option<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if tcp.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let (line, rows) = head.split_once("\r\n").unwrap();
    let head = format!("{line}\r\n{}", rows.to_lowercase());
    let length = head
        .lines()
        .find_map(|row| row.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse().unwrap());
    let mut body = vec![0; if is_head { 0 } else { length }];
    tcp.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8_lossy(&body).into_owned()))
}
