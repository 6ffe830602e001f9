//! The way to the traffic that was asked for, and how it is opened.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{Args, ends::Target, wanted::resolve};
use crate::{
    journal::{Effect, Journal},
    mirror::{
        Intercept, Listener, Session, Source,
        ends::Ends,
        intercept::{self, Service, TakeOver},
    },
    run::Failure,
    scenario::Scenario,
};

/// On the way out of a take-over, redirected connections may take so long to end: longer than most clients keep an idle
/// connection without asking anything.
const LEAVE_WITHIN: Duration = Duration::from_secs(30);

/// The way to the traffic.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// Listen there.
    Listen(SocketAddr),
    /// Take over a service's port; wait so long on the way out.
    Intercept(Service, Duration),
    /// Read this port on that interface.
    Tap(String, u16),
}

/// Why there is none.
pub(super) enum NoWay {
    /// What was typed makes no sense.
    Usage(String),
    /// The machine does not let us.
    Environment(intercept::Error),
}

impl Way {
    /// What was asked for. A service whose port is to be taken over is looked for now: it must be there.
    pub(super) fn of(args: &Args) -> Result<Self, NoWay> {
        if let Some(port) = args.way.intercept {
            let to = args.to.as_deref().map(|to| resolve("--to", to));
            let to = to.transpose().map_err(NoWay::Usage)?;
            let service = intercept::allowed()
                .and_then(|()| Service::find(port, to))
                .map_err(NoWay::Environment)?;
            let within = args.way.leave_within.unwrap_or(LEAVE_WITHIN);
            return Ok(Self::Intercept(service, within));
        }
        if let (Some(interface), Some(port)) = (&args.way.tap, args.way.port) {
            return Ok(Self::Tap(interface.clone(), port));
        }
        let listen = args.way.listen.as_deref().unwrap_or_default();
        resolve("--listen", listen)
            .map(Self::Listen)
            .map_err(NoWay::Usage)
    }

    /// It, in a few words.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Listen(listen) => format!("by way of {listen}"),
            Self::Intercept(service, _) => format!("port {} taken over", service.port),
            Self::Tap(interface, port) => format!("read off port {port} on {interface}"),
        }
    }

    /// The primary, as written and resolved. One that is only listened to is never connected to.
    pub(super) fn primary(&self, args: &Args) -> Result<(String, Target), String> {
        let plain = |address| Target {
            address,
            tls_name: None,
        };
        match self {
            Self::Listen(_) => {
                let to = args.to.clone().unwrap_or_default();
                let target = Target::of("--to", &to)?;
                Ok((to, target))
            }
            Self::Intercept(service, _) => Ok((service.to.to_string(), plain(service.to))),
            Self::Tap(interface, port) => {
                let address = ([0, 0, 0, 0], *port).into();
                Ok((format!("{interface}:{port}"), plain(address)))
            }
        }
    }

    /// Opens it. A take-over is to be ended when the source is gone.
    pub(super) fn open(
        &self,
        scenario: &Scenario,
        ends: Ends,
        session: &Session,
        journal: &Journal,
    ) -> Result<(Source, Option<Arc<TakeOver>>), Failure> {
        match self {
            Self::Listen(listen) => {
                let intended = journal.intend(Effect::Listener, &listen.to_string());
                intended.map_err(|error| {
                    Failure::Environment(format!("cannot write the journal: {error}"))
                })?;
                let listener = Listener::start(scenario, *listen, ends, session.observer())?;
                Ok((Source::Listener(listener), None))
            }
            Self::Intercept(service, within) => {
                let (intercept, take_over) = Intercept::start(
                    scenario,
                    service.clone(),
                    *within,
                    ends,
                    session.observer(),
                    session.notes(),
                    journal,
                )?;
                Ok((Source::Intercept(intercept), Some(take_over)))
            }
            #[cfg(feature = "live")]
            Self::Tap(interface, port) => {
                let place = crate::mirror::tap::Place {
                    interface: interface.clone(),
                    port: *port,
                };
                let tap = crate::mirror::Tap::start(
                    scenario,
                    place,
                    ends,
                    session.observer(),
                    session.notes(),
                )?;
                Ok((Source::Tap(tap), None))
            }
            #[cfg(not(feature = "live"))]
            Self::Tap(..) => Err(Failure::Environment(
                "this program was built without capture (its feature `live`)".to_owned(),
            )),
        }
    }
}
