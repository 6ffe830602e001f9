//! The least that passing bytes on can cost: a thread for each direction of each connection, which does nothing but
//! splice(2) in and out of a pipe. A yardstick of the benchmarks.
//!
//! ```text
//! splice_loop LISTEN UPSTREAM
//! ```

use std::{
    env, error, io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    thread,
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// As large as the system lets a pipe be for anyone.
const CAPACITY: usize = 1 << 20;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("splice_loop: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Box<dyn error::Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [listen, upstream] = words.as_slice() else {
        return Err("usage: splice_loop LISTEN UPSTREAM".into());
    };
    let upstream: SocketAddr = upstream.parse()?;
    for client in TcpListener::bind(listen)?.incoming() {
        let client = client?;
        let server = TcpStream::connect(upstream)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from, to) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || pass(&from, &to));
        thread::spawn(move || pass(&server, &client));
    }
    Ok(())
}

fn pass(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    let _ = fcntl_setpipe_size(&write, CAPACITY);
    loop {
        let mut held = splice(from, None, &write, None, CAPACITY, SpliceFlags::MOVE)?;
        if held == 0 {
            return to.shutdown(Shutdown::Write);
        }
        while held > 0 {
            held -= splice(&read, None, to, None, held, SpliceFlags::MOVE)?;
        }
    }
}
