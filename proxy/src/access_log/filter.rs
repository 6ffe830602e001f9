//! Which requests are logged, ready to be asked.

use http::{HeaderMap, HeaderValue};

use crate::{
    config::access_log::{self, Comparison},
    policy::{
        format::{
            Source,
            field::{self, Count, Message, Name, Point},
        },
        matcher::{Compiled, Matcher, Named, RequestView},
    },
};

/// A filter, ready to be asked.
#[derive(Debug)]
#[expect(missing_docs, reason = "as in the setting")]
pub enum Filter {
    Status(Comparison),
    Duration(Comparison),
    Always,
    Never,
    Share {
        numerator: u32,
        denominator: u32,
        independent: bool,
    },
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Header(Name, Box<Compiled>),
    Flags(Vec<String>),
    GrpcStatus {
        statuses: Vec<u32>,
        exclude: bool,
    },
}

/// Where the request id's random part begins and ends that a share goes by, as in Envoy: the first 32 bits.
const ID_BITS: std::ops::Range<usize> = 0..8;

impl Filter {
    /// The error says what cannot be: a header's name, a regular expression.
    pub fn compile(it: &access_log::Filter) -> Result<Self, String> {
        let all = |them: &[access_log::Filter]| {
            them.iter()
                .map(Self::compile)
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(match it {
            access_log::Filter::Status(comparison) => Self::Status(*comparison),
            access_log::Filter::Duration(comparison) => Self::Duration(*comparison),
            access_log::Filter::NotHealthCheck => Self::Always,
            access_log::Filter::Traceable => Self::Never,
            access_log::Filter::Share {
                numerator,
                denominator,
                independent,
            } => Self::Share {
                numerator: *numerator,
                denominator: (*denominator).max(1),
                independent: *independent,
            },
            access_log::Filter::All(them) => Self::All(all(them)?),
            access_log::Filter::Any(them) => Self::Any(all(them)?),
            access_log::Filter::Header(named) => header(named)?,
            access_log::Filter::Flags(flags) => Self::Flags(flags.clone()),
            access_log::Filter::GrpcStatus { statuses, exclude } => Self::GrpcStatus {
                statuses: statuses.clone(),
                exclude: *exclude,
            },
        })
    }

    /// Whether the request is logged.
    pub fn passes(&self, source: &dyn Source) -> bool {
        match self {
            Self::Status(comparison) => {
                comparison.holds(source.count(Count::Status).unwrap_or_default())
            }
            Self::Duration(comparison) => source
                .reached(&Point::End)
                .is_some_and(|took| comparison.holds(took.as_millis() as u64)),
            Self::Always => true,
            Self::Never => false,
            Self::Share {
                numerator,
                denominator,
                independent,
            } => number(source, *independent) % denominator < *numerator,
            Self::All(them) => them.iter().all(|it| it.passes(source)),
            Self::Any(them) => them.iter().any(|it| it.passes(source)),
            Self::Header(name, matcher) => header_passes(name, matcher, source),
            Self::Flags(wanted) => {
                let mut flags = Vec::new();
                source.text(field::Text::Flags, &mut flags);
                let mut set = flags
                    .split(|byte| *byte == b',')
                    .filter(|flag| !flag.is_empty() && *flag != b"-");
                if wanted.is_empty() {
                    set.next().is_some()
                } else {
                    set.any(|flag| wanted.iter().any(|wanted| wanted.as_bytes() == flag))
                }
            }
            Self::GrpcStatus { statuses, exclude } => {
                let status = field::grpc_status_or_http(source);
                statuses.contains(&status) != *exclude
            }
        }
    }

    /// The headers that it looks at.
    pub fn headers(&self) -> Vec<(Message, Name)> {
        match self {
            Self::Header(name, _) => vec![(Message::Request, name.clone())],
            Self::Share { .. } => vec![(Message::Request, request_id())],
            Self::All(them) | Self::Any(them) => them.iter().flat_map(Self::headers).collect(),
            Self::GrpcStatus { .. } => field::grpc_headers(),
            _ => Vec::new(),
        }
    }
}

fn header(named: &Named) -> Result<Filter, String> {
    let name = Name::parse(&named.name)
        .ok_or_else(|| format!("`{}` is not the name of a header", named.name))?;
    let matcher = Compiled::new(&Matcher {
        headers: vec![named.clone()],
        ..Matcher::default()
    })?;
    Ok(Filter::Header(name, Box::new(matcher)))
}

fn header_passes(name: &Name, matcher: &Compiled, source: &dyn Source) -> bool {
    let mut bytes = Vec::new();
    let set = source.header(Message::Request, name, &mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let of = |wanted: Name| if *name == wanted { &*text } else { "" };
    let mut headers = HeaderMap::new();
    if let (true, Name::Header(name), Ok(value)) = (set, name, HeaderValue::from_bytes(&bytes)) {
        headers.insert(name, value);
    }
    let path = of(Name::Path);
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    matcher.matches(&RequestView {
        method: of(Name::Method),
        authority: of(Name::Authority),
        path,
        query,
        headers: &headers,
    })
}

/// The number whose rest a share is held against: the request id's beginning, or any.
fn number(source: &dyn Source, independent: bool) -> u32 {
    let mut id = Vec::new();
    if !independent {
        source.header(Message::Request, &request_id(), &mut id);
    }
    id.get(ID_BITS)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or_else(rand::random)
}

fn request_id() -> Name {
    Name::Header(http::HeaderName::from_static("x-request-id"))
}
