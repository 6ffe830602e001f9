//! Which tokens a request needs, compiled.

use std::time::Duration;

use super::{Asked, Compiled, Failure, Provider, Requirement, audience::Audiences, place::Places};

/// What a request needs.
#[derive(Debug)]
pub(super) enum Need {
    Nothing,
    Provider {
        index: usize,
        audiences: Option<Audiences>,
        places: Places,
    },
    /// What is there, whoever has made it.
    Every(Allow, Places),
    Any(Vec<Need>, Allow),
    All(Vec<Need>),
}

/// What is as good as a good token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allow {
    /// Nothing.
    Good,
    /// None.
    Missing,
    /// None, and a bad one.
    Anything,
}

impl Need {
    /// Compiles a requirement; the error names the provider that there is not.
    pub(super) fn new(it: &Requirement, providers: &[(String, Provider)]) -> Result<Self, String> {
        let every = |allow| {
            let all = providers.iter().map(|(_, it)| it);
            Places::of(all).map(|places| Self::Every(allow, places))
        };
        match it {
            Requirement::Nothing => Ok(Self::Nothing),
            Requirement::Provider(name, audiences) => {
                let index = providers.iter().position(|(known, _)| known == name);
                let found = index.and_then(|index| Some((index, &providers.get(index)?.1)));
                let (index, provider) =
                    found.ok_or_else(|| format!("there is no provider `{name}`"))?;
                Ok(Self::Provider {
                    index,
                    audiences: (!audiences.is_empty()).then(|| Audiences::new(audiences)),
                    places: Places::of([provider])?,
                })
            }
            Requirement::Missing => every(Allow::Missing),
            Requirement::MissingOrFailed => every(Allow::Anything),
            Requirement::All(list) => {
                let all = list.iter().map(|it| Self::new(it, providers));
                all.collect::<Result<_, _>>().map(Self::All)
            }
            Requirement::Any(list) => {
                let allow = if list.contains(&Requirement::MissingOrFailed) {
                    Allow::Anything
                } else if list.contains(&Requirement::Missing) {
                    Allow::Missing
                } else {
                    Allow::Good
                };
                let lenient = [Requirement::Missing, Requirement::MissingOrFailed];
                let strict = list.iter().filter(|it| !lenient.contains(it));
                let mut any = strict
                    .map(|it| Self::new(it, providers))
                    .collect::<Result<Vec<_>, _>>()?;
                if any.is_empty() && allow != Allow::Good {
                    any.push(every(allow)?);
                }
                Ok(Self::Any(any, allow))
            }
        }
    }

    /// Whether the request has it.
    pub(super) fn met(
        &self,
        all: &Compiled,
        asked: &mut Asked<'_>,
        now: Duration,
    ) -> Result<(), Failure> {
        match self {
            Self::Nothing => Ok(()),
            Self::Provider {
                index,
                audiences,
                places,
            } => {
                let places = (places, Allow::Good);
                all.look(Some(*index), audiences.as_ref(), places, asked, now)
            }
            Self::Every(allow, places) => all.look(None, None, (places, *allow), asked, now),
            Self::All(list) => list.iter().try_for_each(|it| it.met(all, asked, now)),
            Self::Any(list, allow) => {
                let mut told = Failure::Missing;
                for need in list {
                    let Err(failure) = need.met(all, asked, now) else {
                        return Ok(());
                    };
                    // Of several the one that says most about what the client has tried.
                    let vague = matches!(failure, Failure::Missing | Failure::Issuer);
                    if !vague || told == Failure::Missing {
                        told = failure;
                    }
                }
                match allow {
                    Allow::Anything => Ok(()),
                    Allow::Missing if told == Failure::Missing => Ok(()),
                    Allow::Good | Allow::Missing => Err(told),
                }
            }
        }
    }
}
