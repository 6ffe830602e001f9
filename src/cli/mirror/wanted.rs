//! The command line → what is asked for.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use http::{HeaderName, HeaderValue};
use meshbed_proxy::{
    config::tls,
    policy::{
        matcher::{How, Matcher, Text},
        mirror::{Limits, SampleKey},
    },
};

use super::{
    Args, Spoken, Unsafe,
    ends::{Target, parts, readable},
    way::Way,
};
use crate::{
    event::Id,
    mirror::{
        ends::{Ends, to_clients},
        plan::{Compared, Side, Wanted},
    },
    scenario::{self, Protocol, Role, Scenario},
};

/// Id of the first candidate and of the control, unless they are given others.
const CANDIDATE: &str = "candidate";
const CONTROL: &str = "control";

/// In place of a control's address, and then its id: the primary is its own control.
const SELF: &str = "self";

/// What is asked for, resolved.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// How to get at the traffic.
    pub(super) way: Way,
    /// Where TLS is spoken.
    pub(super) ends: Ends,
    wanted: Wanted,
    /// Limits of the command line, which win over the file's.
    own: OwnLimits,
}

#[derive(Debug, Clone, Copy)]
struct OwnLimits {
    in_flight: Option<u32>,
    queue: Option<u32>,
    deadline: Option<std::time::Duration>,
    request_body: Option<meshbed_proxy::unit::ByteSize>,
    response_body: Option<meshbed_proxy::unit::ByteSize>,
}

impl Asked {
    /// Reads what was typed, resolves names, and reads the file. The error is for people, as it is.
    pub(super) fn of(args: &Args, way: Way) -> Result<Self, String> {
        let wrong = |what: String| format!("error: {what}");
        let primary = way.primary(args).map_err(wrong)?;
        let (shadows, tls_shadows) = shadows(args, &way, &primary).map_err(wrong)?;
        let (written, target) = primary;
        let ends = Ends {
            clients: clients(args).map_err(wrong)?,
            primary: args.tls.to("--to", &target).map_err(wrong)?,
            shadows: tls_shadows,
        };
        let primary = (written, target.address);
        let own = OwnLimits {
            in_flight: args.in_flight,
            queue: args.queue,
            deadline: args.deadline,
            request_body: args.request_body,
            response_body: args.response_body,
        };
        let mut asked = Self {
            wanted: Wanted {
                from: way.describe(),
                primary,
                shadows,
                protocol: match args.protocol {
                    Spoken::Auto => Protocol::Auto,
                    Spoken::H2 => Protocol::H2,
                },
                believed: args.tls.said().map_err(wrong)?,
                percent: args.percent,
                key: args.key.clone(),
                matcher: Matcher {
                    methods: args.method.clone(),
                    path: args.path.clone().map(|glob| Text {
                        how: How::Glob(glob),
                        ignore_case: false,
                    }),
                    ..Matcher::default()
                },
                allow_unsafe: args.unsafe_methods == Unsafe::Allow,
                set: args.set_header.clone(),
                remove: args.remove_header.clone(),
                limits: own.over(&Limits::default()),
                compared: Compared::default(),
                seed: args
                    .seed
                    .unwrap_or_else(|| u64::from(rand::random::<u32>())),
                workers: args.workers.map_or_else(
                    || std::thread::available_parallelism().map_or(1, usize::from),
                    usize::from,
                ),
                duration: args.duration,
            },
            own,
            way,
            ends,
        };
        if let Some(file) = &args.diff {
            asked.read(file)?;
        }
        Ok(asked)
    }

    /// The scenario of it.
    pub(super) fn scenario(&self) -> Scenario {
        self.wanted.scenario()
    }

    /// The file that says how answers are compared.
    pub(super) fn file(&self) -> Option<&Path> {
        self.wanted.compared.file.as_deref()
    }

    /// The same with what the file says now.
    pub(super) fn again(&self) -> Result<Scenario, String> {
        let mut asked = self.clone();
        if let Some(file) = self.file() {
            asked.read(file)?;
        }
        Ok(asked.scenario())
    }

    fn read(&mut self, file: &Path) -> Result<(), String> {
        let (compared, warnings) = scenario::compared(file, self.wanted.control())
            .map_err(|problems| problems.to_string())?;
        for warning in warnings {
            eprintln!("{warning}");
        }
        self.wanted.limits = self.own.over(&compared.limits.unwrap_or_default());
        self.wanted.compared = Compared {
            file: Some(file.to_owned()),
            diff: compared.diff,
            redact: compared.redact,
        };
        Ok(())
    }
}

impl OwnLimits {
    fn over(self, limits: &Limits) -> Limits {
        Limits {
            in_flight: self.in_flight.unwrap_or(limits.in_flight),
            queue: self.queue.unwrap_or(limits.queue),
            deadline: self.deadline.unwrap_or(limits.deadline),
            request_body: self.request_body.unwrap_or(limits.request_body),
            response_body: self.response_body.unwrap_or(limits.response_body),
            ..limits.clone()
        }
    }
}

/// What clients are shown, if they speak TLS.
fn clients(args: &Args) -> Result<Option<tls::Server>, String> {
    let (Some(chain), Some(key)) = (&args.tls.cert_file, &args.tls.key_file) else {
        return Ok(None);
    };
    let (chain, key) = (readable("--tls-cert", chain)?, readable("--tls-key", key)?);
    Ok(Some(to_clients(chain, key)))
}

fn shadows(
    args: &Args,
    way: &Way,
    primary: &(String, Target),
) -> Result<(Vec<Side>, BTreeMap<Id, tls::Client>), String> {
    let mut shadows: Vec<Side> = Vec::new();
    let mut ends = BTreeMap::new();
    let mut take = |option: &str, (side, target): (Side, Target)| {
        if let Some(tls) = args.tls.to(option, &target)? {
            ends.insert(side.id.clone(), tls);
        }
        shadows.push(side);
        Ok::<(), String>(())
    };
    for (number, written) in (1..).zip(&args.shadow) {
        let default = match number {
            1 => CANDIDATE.to_owned(),
            number => format!("{CANDIDATE}-{number}"),
        };
        let side = shadow("--shadow", written, &default, Role::Candidate)?;
        take("--shadow", side)?;
    }
    match args.control.as_deref() {
        Some(SELF) => {
            // What the answers differ in by themselves shows when the same is asked twice; so may what asking does.
            if args.unsafe_methods == Unsafe::Allow {
                return Err(format!(
                    "--control {SELF}: with `--unsafe allow` requests would change something twice; a second instance can stand in"
                ));
            }
            if matches!(way, Way::Tap(..)) {
                return Err(format!(
                    "--control {SELF}: with `--tap` the primary is not touched; a second instance can stand in"
                ));
            }
            let (written, target) = primary.clone();
            let side = Side {
                id: SELF.into(),
                role: Role::Control,
                written,
                address: target.address,
                percent: None,
            };
            take("--control", (side, target))?;
        }
        Some(written) => take(
            "--control",
            shadow("--control", written, CONTROL, Role::Control)?,
        )?,
        None => {}
    }
    for (number, Side { id, .. }) in shadows.iter().enumerate() {
        if shadows.iter().take(number).any(|other| other.id == *id) {
            return Err(format!(
                "two shadows are called `{id}`; give one another id: ID=ADDR"
            ));
        }
    }
    if shadows.len() > usize::from(u8::MAX) {
        return Err(format!("{} shadows are more than 255", shadows.len()));
    }
    Ok((shadows, ends))
}

fn shadow(
    option: &str,
    written: &str,
    default: &str,
    role: Role,
) -> Result<(Side, Target), String> {
    let (id, address, percent) = parts(option, written)?;
    let id = id.unwrap_or(default);
    let is_id = id.starts_with(|c: char| c.is_ascii_lowercase())
        && id
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !is_id || id == "primary" {
        return Err(format!(
            "{option}: `{id}` is no id; accepted: small letters, digits and `-`, a letter first, but not `primary`"
        ));
    }
    let target = Target::of(option, address)?;
    let side = Side {
        id: id.into(),
        role,
        written: address.to_owned(),
        address: target.address,
        percent,
    };
    Ok((side, target))
}

/// A host and port as an address, which is spoken to in the clear.
pub(super) fn resolve(option: &str, written: &str) -> Result<SocketAddr, String> {
    let target = Target::of(option, written)?;
    if target.tls_name.is_some() {
        return Err(format!("{option}: not supported yet: https here"));
    }
    Ok(target.address)
}

/// `ordinal`, `header:NAME` or `cookie:NAME`.
pub(super) fn key(text: &str) -> Result<SampleKey, String> {
    let accepted = "accepted: ordinal, header:NAME or cookie:NAME";
    match text.split_once(':') {
        None if text == "ordinal" => Ok(SampleKey::Ordinal),
        Some(("header", name)) => header_name(name).map(SampleKey::Header),
        Some(("cookie", name)) if !name.is_empty() => Ok(SampleKey::Cookie(name.to_owned())),
        _ => Err(accepted.to_owned()),
    }
}

/// A header's name, in lower case.
pub(super) fn header_name(text: &str) -> Result<String, String> {
    HeaderName::try_from(text.trim())
        .map(|name| name.as_str().to_owned())
        .map_err(|_| format!("`{text}` is not the name of a header"))
}

/// `NAME: VALUE`; `$(env.VAR)` as the value stands for a variable of the environment, so that no credential need be typed.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| "it is not `NAME: VALUE`".to_owned())?;
    let name = header_name(name)?;
    let value = value.trim();
    let value = match value.split_once("$(env.") {
        None => value.to_owned(),
        Some((before, rest)) => {
            let (variable, after) = rest
                .split_once(')')
                .ok_or_else(|| "`$(env.` has no end".to_owned())?;
            let found = std::env::var(variable)
                .map_err(|_| format!("the environment has no variable `{variable}`"))?;
            format!("{before}{found}{after}")
        }
    };
    HeaderValue::try_from(&value)
        .map_err(|_| format!("the value of `{name}` cannot stand in a header"))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use meshbed_proxy::unit::Share;

    use super::*;

    #[test]
    fn a_shadow_has_an_id_and_an_address() {
        let read = |written| shadow("--shadow", written, "candidate", Role::Candidate);
        let (side, _) = read("127.0.0.1:81").unwrap();
        assert_eq!((&*side.id, &*side.written), ("candidate", "127.0.0.1:81"));
        assert_eq!(side.address, "127.0.0.1:81".parse().unwrap());
        let (side, _) = read("v2=127.0.0.1:81,percent=5%").unwrap();
        assert_eq!((&*side.id, &*side.written), ("v2", "127.0.0.1:81"));
        assert_eq!(side.percent, Share::new(0.05));
        for wrong in [
            "V2=127.0.0.1:81",
            "primary=127.0.0.1:81",
            "127.0.0.1",
            "ftp://127.0.0.1:1",
            "=127.0.0.1:81",
        ] {
            assert!(
                read(wrong).unwrap_err().starts_with("--shadow: "),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_header_may_come_from_the_environment() {
        let path = std::env::var("PATH").unwrap();
        assert_eq!(
            header("X-A:b c ").unwrap(),
            ("x-a".to_owned(), "b c".to_owned())
        );
        assert_eq!(
            header("authorization: Bearer $(env.PATH)!").unwrap().1,
            format!("Bearer {path}!")
        );
        for wrong in [
            "x",
            "a b: c",
            "x: $(env.MESHBED_NO_SUCH)",
            "x: $(env.PATH",
            "x: a\nb",
        ] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_is_the_ordinal_a_header_or_a_cookie() {
        assert_eq!(key("ordinal").unwrap(), SampleKey::Ordinal);
        assert_eq!(
            key("header:X-User").unwrap(),
            SampleKey::Header("x-user".to_owned())
        );
        assert_eq!(
            key("cookie:User").unwrap(),
            SampleKey::Cookie("User".to_owned())
        );
        for wrong in ["", "user", "header:", "cookie:", "query:x"] {
            assert!(key(wrong).is_err(), "{wrong}");
        }
    }
}
