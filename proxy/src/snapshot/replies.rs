//! Rules for our own answers, compiled.

use http::{HeaderValue, StatusCode};

use crate::{
    access_log::Filter,
    config::{self, access_log::Line},
    policy::{
        format::{
            self, Source,
            field::{Message, Name},
        },
        headers::{Compiled, Edit},
    },
};

/// Rules for our own answers.
#[derive(Debug, Default)]
pub struct Replies {
    /// In their order.
    pub mappers: Vec<Mapper>,
    /// How the body is written where the rule does not say.
    pub format: Option<Format>,
}

/// A rule.
#[derive(Debug)]
pub struct Mapper {
    /// Which answers.
    pub filter: Filter,
    /// Another status.
    pub status: Option<StatusCode>,
    /// Another body.
    pub body: Option<String>,
    /// How the body is written.
    pub format: Option<Format>,
    /// Headers that are added.
    pub edit: Compiled,
}

/// How a body is written.
#[derive(Debug)]
pub struct Format {
    line: Line,
    /// Its type.
    pub content_type: HeaderValue,
}

impl Replies {
    /// The error has the index of the rule that cannot be, or none where it is the format.
    pub(super) fn compile(
        settings: &config::LocalReplies,
    ) -> Result<Self, (Option<usize>, String)> {
        let mappers = settings.mappers.iter().enumerate();
        Ok(Self {
            mappers: mappers
                .map(|(index, it)| Mapper::compile(it).map_err(|what| (Some(index), what)))
                .collect::<Result<_, _>>()?,
            format: settings
                .format
                .as_ref()
                .map(Format::compile)
                .transpose()
                .map_err(|what| (None, what))?,
        })
    }

    /// They leave all answers as they are.
    pub fn is_empty(&self) -> bool {
        self.mappers.is_empty() && self.format.is_none()
    }

    /// The headers that they look at.
    pub(super) fn headers(&self) -> Vec<(Message, Name)> {
        let mut headers: Vec<_> = self.format.iter().flat_map(Format::headers).collect();
        for mapper in &self.mappers {
            headers.extend(mapper.filter.headers());
            headers.extend(mapper.format.iter().flat_map(Format::headers));
            headers.extend(mapper.edit.formats().flat_map(format::Format::headers));
        }
        headers
    }
}

impl Mapper {
    fn compile(it: &config::Mapper) -> Result<Self, String> {
        let status = it.status.map(|status| {
            StatusCode::from_u16(status).map_err(|_| format!("{status} is not a status"))
        });
        Ok(Self {
            filter: Filter::compile(&it.filter)?,
            status: status.transpose()?,
            body: it.body.clone(),
            format: it.format.as_ref().map(Format::compile).transpose()?,
            edit: Compiled::new(&Edit {
                add: it.add.clone(),
                ..Edit::default()
            })?,
        })
    }
}

impl Format {
    pub(super) fn compile(it: &config::BodyFormat) -> Result<Self, String> {
        Ok(Self {
            line: it.line.clone(),
            content_type: HeaderValue::from_str(&it.content_type)
                .map_err(|_| format!("`{}` is not a content type", it.content_type))?,
        })
    }

    /// The body.
    pub fn render(&self, source: &dyn Source) -> Vec<u8> {
        let mut body = Vec::new();
        match &self.line {
            Line::Text { format, unset } => format.render(source, unset, &mut body),
            Line::Json { format, style } => format.render(source, *style, &mut body),
        }
        body
    }

    /// It looks at the request's headers.
    pub(super) fn recalls(&self) -> bool {
        self.headers().iter().any(|(of, _)| *of == Message::Request)
    }

    fn headers(&self) -> Vec<(Message, Name)> {
        match &self.line {
            Line::Text { format, .. } => format.headers().collect(),
            Line::Json { format, .. } => format.headers(),
        }
    }
}
