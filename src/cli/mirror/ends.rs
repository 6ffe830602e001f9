//! Addresses as typed, and what is typed for TLS.

use std::{
    fs::File,
    net::{SocketAddr, ToSocketAddrs as _},
    path::{Path, PathBuf},
};

use clap::Args as ClapArgs;
use meshbed_proxy::unit::Share;

use crate::mirror::ends::{Believed, to_server};

/// Where authorities stand that machines believe: Debian, Red Hat, Alpine.
const AUTHORITIES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// What is typed for TLS.
#[derive(Debug, Clone, ClapArgs)]
pub(in crate::cli) struct Tls {
    /// With `--listen`: clients speak TLS, and are shown this certificate (PEM); read again when it changes
    #[arg(long = "tls-cert", value_name = "FILE", requires_all = ["key_file", "listen"])]
    pub(super) cert_file: Option<PathBuf>,
    /// The private key of `--tls-cert` (PEM)
    #[arg(long = "tls-key", value_name = "FILE", requires = "cert_file")]
    pub(super) key_file: Option<PathBuf>,
    /// The authorities whose certificates are believed of `https://` addresses (PEM) [default: the machine's]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Believe any certificate of `https://` addresses
    #[arg(long)]
    insecure: bool,
}

impl Tls {
    /// As a saved mirror was told it.
    pub(in crate::cli) fn saved(ca: Option<PathBuf>, insecure: bool) -> Self {
        Self {
            cert_file: None,
            key_file: None,
            ca,
            insecure,
        }
    }

    /// Whose certificates are believed, where that is said.
    pub(in crate::cli) fn said(&self) -> Result<Option<Believed>, String> {
        if self.insecure {
            return Ok(Some(Believed::Any));
        }
        let file = self.ca.as_deref().map(|file| readable("--ca", file));
        Ok(file.transpose()?.map(Believed::By))
    }

    /// Whose certificates are believed.
    fn believed(&self) -> Result<Believed, String> {
        if let Some(said) = self.said()? {
            return Ok(said);
        }
        let own = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let mut found = own.into_iter().chain(AUTHORITIES.map(PathBuf::from));
        found
            .find(|file| file.is_file())
            .map(Believed::By)
            .ok_or_else(|| {
                "this machine names no authorities; give them with `--ca FILE`".to_owned()
            })
    }

    /// How an address is spoken to.
    pub(in crate::cli) fn to(
        &self,
        option: &str,
        target: &Target,
    ) -> Result<Option<meshbed_proxy::config::tls::Client>, String> {
        let Some(name) = &target.tls_name else {
            return Ok(None);
        };
        let believed = self.believed();
        let believed = believed.map_err(|why| format!("{option}: {why}"))?;
        Ok(Some(to_server(name, &believed)))
    }
}

/// A file that can be read; the answer is where it is, wherever this program goes.
pub(super) fn readable(option: &str, file: &Path) -> Result<PathBuf, String> {
    let failed = |error| format!("{option}: cannot read {}: {error}", file.display());
    File::open(file).map_err(failed)?;
    std::path::absolute(file).map_err(failed)
}

/// An address as typed: HOST:PORT, `http://HOST[:PORT]` or `https://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Target {
    /// Where it is.
    pub(in crate::cli) address: SocketAddr,
    /// With `https`: the name that its certificate must be for.
    pub(in crate::cli) tls_name: Option<String>,
}

impl Target {
    /// Reads an address, and resolves it.
    pub(in crate::cli) fn of(option: &str, written: &str) -> Result<Self, String> {
        let (scheme, rest) = match written.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest.trim_end_matches('/')),
            None => (None, written),
        };
        let port = match scheme {
            None => None,
            Some("http") => Some(80),
            Some("https") => Some(443),
            Some(other) => {
                return Err(format!(
                    "{option}: `{other}` is no scheme; accepted: http, https"
                ));
            }
        };
        let has_port = rest
            .rsplit_once(':')
            .is_some_and(|(host, port)| !port.contains(']') && !host.is_empty());
        let whole = match port {
            Some(port) if !has_port => format!("{rest}:{port}"),
            _ => rest.to_owned(),
        };
        let address = whole
            .to_socket_addrs()
            .map_err(|error| {
                format!("{option}: `{written}` is no address such as 127.0.0.1:8080 ({error})")
            })?
            .next()
            .ok_or_else(|| format!("{option}: `{written}` has no address"))?;
        let host = whole.rsplit_once(':').map_or(&*whole, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            address,
            tls_name: (scheme == Some("https")).then(|| host.to_owned()),
        })
    }
}

/// A shadow as typed: `[ID=]ADDR[,percent=P]`; the answer is its id, if it has one, its address and its share.
pub(super) fn parts<'a>(
    option: &str,
    written: &'a str,
) -> Result<(Option<&'a str>, &'a str, Option<Share>), String> {
    let (place, settings) = match written.split_once(',') {
        Some((place, settings)) => (place, Some(settings)),
        None => (written, None),
    };
    let percent = match settings.map(|settings| settings.split_once('=')) {
        None => None,
        Some(Some(("percent", share))) => {
            let share = Share::parse(share);
            Some(share.map_err(|error| format!("{option}: `percent`: {error}"))?)
        }
        Some(_) => {
            let settings = settings.unwrap_or_default();
            return Err(format!(
                "{option}: `{settings}` says nothing of a shadow; accepted: percent=P, as in `v2=127.0.0.1:9001,percent=10%`"
            ));
        }
    };
    Ok(match place.split_once('=') {
        Some((id, address)) => (Some(id), address, percent),
        None => (None, place, percent),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_a_url() {
        for (written, address, name) in [
            ("127.0.0.1:81", "127.0.0.1:81", None),
            ("http://127.0.0.1/", "127.0.0.1:80", None),
            ("http://[::1]:81/", "[::1]:81", None),
            ("https://127.0.0.1", "127.0.0.1:443", Some("127.0.0.1")),
            ("https://[::1]", "[::1]:443", Some("::1")),
            ("https://[::1]:8443", "[::1]:8443", Some("::1")),
            ("https://localhost:8443/", "", Some("localhost")),
        ] {
            let target = Target::of("--to", written).unwrap();
            assert!(
                address.is_empty() || target.address.to_string() == address,
                "{written}: {target:?}"
            );
            assert_eq!(target.tls_name.as_deref(), name, "{written}");
        }
        for wrong in [
            "127.0.0.1",
            "ftp://127.0.0.1:1",
            "https://",
            "http://127.0.0.1:1/path",
        ] {
            let error = Target::of("--to", wrong).unwrap_err();
            assert!(error.starts_with("--to: "), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_shadow_may_have_a_share_of_its_own() {
        let five = Share::parse("5%").unwrap();
        for (written, expected) in [
            ("a:1", (None, "a:1", None)),
            ("v2=a:1", (Some("v2"), "a:1", None)),
            (
                "v2=https://a,percent=5%",
                (Some("v2"), "https://a", Some(five)),
            ),
            ("a:1,percent=0.05", (None, "a:1", Some(five))),
        ] {
            assert_eq!(parts("--shadow", written).unwrap(), expected, "{written}");
        }
        for wrong in ["a:1,percent=200%", "a:1,percent", "a:1,", "a:1,share=5%"] {
            assert!(parts("--shadow", wrong).is_err(), "{wrong}");
        }
    }
}
