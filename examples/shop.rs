//! The builtin shop by itself, every service on a port of its own, until its standard input ends:
//! `cargo run --example shop -- [--port 8080] [--version v1] [--seed 1]`. The captures in `captures/` were recorded
//! from it.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpListener;
use std::process::ExitCode;

use meshbed::backend::{self, Builtin};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let (mut port, mut version, mut seed) = (8080_u16, "v1".to_owned(), 1_u64);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--port" => port = value.parse()?,
            "--version" => version = value,
            "--seed" => seed = value.parse()?,
            _ => {
                return Err(format!(
                    "unknown argument {name}; accepted: --port, --version, --seed"
                )
                .into());
            }
        }
    }
    let app = backend::shop::APP;
    let mut env = BTreeMap::new();
    let mut listeners = Vec::new();
    for (service, offset) in app.services.iter().zip(0_u16..) {
        // Port 0 asks for any free port, for each service.
        let port = if port == 0 { 0 } else { port + offset };
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let name = format!("MESHBED_{}_URL", service.id.to_uppercase());
        env.insert(name, format!("http://{}", listener.local_addr()?));
        listeners.push((service.id, listener));
    }
    let mut running = Vec::new();
    for (id, listener) in listeners {
        let spec = Builtin {
            app: app.name.to_owned(),
            version: version.clone(),
            service: id.to_owned(),
        };
        let service = backend::start(listener, &spec, env.clone(), seed)?;
        println!("{id} http://{}", service.address());
        running.push(service);
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    running.into_iter().for_each(backend::Running::stop);
    Ok(())
}
