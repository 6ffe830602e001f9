//! Services and clients that speak raw HTTP/1.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// Longer than anything in these tests takes, even on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Request {
    head: String,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A service that notes what it is asked.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Peer {
    pub(super) fn new(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let address = serve(move |mut wire| {
            while let Some((head, body)) = wire.message() {
                let request = Request { head, body };
                let bytes = answer(&request);
                noted.lock().unwrap().push(request);
                if wire.tcp.write_all(&bytes).is_err() {
                    return;
                }
            }
        });
        Self { address, seen }
    }

    pub(super) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn paths(&self) -> BTreeSet<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .map(|request| request.path().to_owned())
            .collect()
    }
}

/// An answer of JSON.
pub(super) fn json(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A service that gives this answer to every request.
pub(super) fn answer(text: &'static str) -> SocketAddr {
    Peer::new(|_| text.as_bytes().to_vec()).address
}

/// Shadows that do all that a shadow must not, by what they do.
pub(super) fn misbehaving() -> Vec<(&'static str, SocketAddr)> {
    let refuses = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    vec![
        ("hangs", serve(|mut wire| while wire.message().is_some() {})),
        ("refuses", refuses),
        (
            "resets",
            serve(|mut wire| {
                wire.message();
                // With unread bytes or without a linger the kernel sends RST.
                let socket = rustix_linger(&wire.tcp);
                drop(socket);
            }),
        ),
        (
            "floods",
            serve(|mut wire| {
                wire.message();
                let chunk = [b"2000\r\n", &[b'x'; 0x2000][..], b"\r\n"].concat();
                let mut ok = wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                while ok {
                    ok = wire.send(&chunk);
                }
            }),
        ),
        (
            "slow-body",
            serve(|mut wire| {
                wire.message();
                let mut ok = wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
                while ok {
                    thread::sleep(Duration::from_millis(20));
                    ok = wire.send(b"x");
                }
            }),
        ),
        (
            "half-closes",
            serve(|mut wire| {
                wire.message();
                wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
                let _ = wire.tcp.shutdown(Shutdown::Write);
                while wire.message().is_some() {}
            }),
        ),
        (
            "huge-body",
            serve(|mut wire| {
                while wire.message().is_some() {
                    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n";
                    if !(wire.send(head) && wire.send(&vec![b'x'; 1 << 20])) {
                        return;
                    }
                }
            }),
        ),
        (
            "garbage",
            serve(|mut wire| {
                wire.message();
                wire.send(b"\x00\xff no HTTP at all\r\n\r\n");
            }),
        ),
        (
            "other-type",
            answer("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 3\r\n\r\n<p>"),
        ),
    ]
}

/// What closes a connection with RST: bytes that nobody has read.
fn rustix_linger(tcp: &TcpStream) -> Option<TcpStream> {
    let socket = tcp.try_clone().ok()?;
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).ok()?;
    Some(socket)
}

/// Serves every connection on a thread of its own.
fn serve(each: impl Fn(Wire) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let each = Arc::new(each);
    thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let each = Arc::clone(&each);
            thread::spawn(move || {
                tcp.set_nodelay(true).unwrap();
                each(Wire::new(tcp));
            });
        }
    });
    address
}

/// A connection.
struct Wire {
    tcp: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    fn new(tcp: TcpStream) -> Self {
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            tcp,
            buffer: Vec::new(),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> bool {
        self.tcp.write_all(bytes).is_ok()
    }

    /// Head and body of a message; `None`: the other side has closed, or is silent.
    fn message(&mut self) -> Option<(String, Vec<u8>)> {
        let end = loop {
            let found = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(at) = found {
                break at + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        while self.buffer.len() < end + length {
            self.more()?;
        }
        let body = self.buffer[end..end + length].to_vec();
        self.buffer.drain(..end + length);
        Some((head, body))
    }

    fn more(&mut self) -> Option<()> {
        let mut bytes = [0; 1 << 14];
        let count = self.tcp.read(&mut bytes).ok().filter(|count| *count > 0)?;
        self.buffer.extend_from_slice(&bytes[..count]);
        Some(())
    }
}

/// A client with one connection.
pub(super) struct Client(Wire);

/// What it was answered.
pub(super) struct Answer {
    head: String,
    body: String,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(super) fn body(&self) -> &str {
        &self.body
    }
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_nodelay(true).unwrap();
        Self(Wire::new(tcp))
    }

    pub(super) fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
    }

    pub(super) fn send(&mut self, request: &[u8]) -> Answer {
        assert!(self.0.send(request));
        let (head, body) = self.0.message().unwrap();
        Answer {
            head,
            body: String::from_utf8(body).unwrap(),
        }
    }
}
