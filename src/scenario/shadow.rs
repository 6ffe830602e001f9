//! Shadows and how their answers are compared.

use meshbed_proxy::{
    policy::mirror::{Limits, SampleKey},
    unit::Share,
};

use super::{
    Diff, Part, Role, Service, Shadow,
    problem::Problem,
    protocol_of,
    resolve::{Ids, Resolver},
    value::{Item, Value},
};
use crate::{
    event::Id,
    shadow::{Arrays, Descriptors, Ignore, Noise, Rules, Settings, Tolerance},
};

impl Resolver<'_> {
    pub(super) fn shadows(&mut self, ids: &Ids, services: &[Service]) -> Vec<Shadow> {
        let mut shadows = Vec::new();
        for item in self.root.list("shadow") {
            let of = self.reference(item, "of", "service", &ids.services);
            if let (Some(of), Some(at)) = (&of, item.get("of"))
                && !ids.is_reached(of)
            {
                self.tell(
                    at,
                    format!("nothing calls the service `{of}`"),
                    "there is nothing to copy",
                );
            }
            let opaque = |of: &Id| !protocol_of(services, of).is_http();
            if let (Some(of), Some(at)) = (of.as_ref().filter(|of| opaque(of)), item.get("of")) {
                self.tell(
                    at,
                    format!("of `{of}`, with `protocol: tcp`, only bytes are seen"),
                    "copies are made of requests; another `protocol`",
                );
            }
            if item.id("id").is_some_and(|id| &**id == "primary")
                && let Some(at) = item.get("id")
            {
                self.tell(at, "`primary` is the original's own name", "another id");
            }
            let headers = item.get("headers");
            let key = self.sample_key(item);
            let backing = item.get("to").and_then(|to| self.backing(to));
            self.unsafe_methods(item);
            let limits = limits(item);
            if let (Some(id), Some(of), Some(backing)) = (item.id("id"), of, backing) {
                if let Some(to) = item.get("to") {
                    let at = to.get("builtin").unwrap_or(to);
                    self.stands(Part::Shadow(id.clone()), at);
                }
                shadows.push(Shadow {
                    id: id.clone(),
                    of,
                    role: match item.text("role") {
                        Some("control") => Role::Control,
                        _ => Role::Candidate,
                    },
                    backing,
                    percent: item
                        .get("sample")
                        .and_then(|sample| sample.share("percent"))
                        .unwrap_or(Share::ALL),
                    key,
                    matcher: Self::matcher(item.get("match")),
                    // What is not safe must have been asked for.
                    safe_only: false,
                    set: headers.map_or_else(Vec::new, |headers| headers.pairs("set")),
                    remove: headers.map_or_else(Vec::new, |headers| headers.texts("remove")),
                    limits,
                });
            }
        }
        shadows
    }

    fn sample_key(&mut self, item: &Item) -> SampleKey {
        let Some(key) = item.get("sample").and_then(|sample| sample.get("key")) else {
            return SampleKey::default();
        };
        let text = key.as_text().unwrap_or("ordinal");
        if text == "ordinal" {
            return SampleKey::Ordinal;
        }
        Self::request_key(text).unwrap_or_else(|| {
            self.tell(
                key,
                format!("`{text}` is not accepted"),
                "accepted: `ordinal`, `header:NAME` or `cookie:NAME`",
            );
            SampleKey::Ordinal
        })
    }

    /// `header:NAME` or `cookie:NAME`: what tells requests of one user from another's.
    pub(super) fn request_key(text: &str) -> Option<SampleKey> {
        let (what, name) = text.split_once(':')?;
        let name = name.trim();
        match what {
            _ if name.is_empty() => None,
            "header" => Some(SampleKey::Header(name.to_ascii_lowercase())),
            "cookie" => Some(SampleKey::Cookie(name.to_owned())),
            _ => None,
        }
    }

    /// Copies of requests that change something must be asked for.
    fn unsafe_methods(&mut self, item: &Item) {
        const HELP: &str = "a copy would change something twice; write `unsafe: allow` beside `match` if that is right";
        const SAFE: [&str; 4] = ["GET", "HEAD", "OPTIONS", "TRACE"];
        if item.get("unsafe").is_some() {
            return;
        }
        let Some(methods) = item.get("match").and_then(|matcher| matcher.get("methods")) else {
            return;
        };
        if methods.items().is_empty() && matches!(methods.value, Value::List(_)) {
            self.tell(methods, "an empty list means every method", HELP);
        }
        for method in methods.items() {
            if let Some(name) = method.as_text().filter(|name| !SAFE.contains(name)) {
                self.tell(method, format!("`{name}` is not safe to copy"), HELP);
            }
        }
    }

    pub(super) fn diff(&mut self, ids: &Ids, shadows: &[Shadow]) -> Diff {
        let noise = self.root.get("diff").and_then(|diff| diff.get("noise"));
        let control = match noise.filter(|noise| noise.has("control")) {
            Some(noise) => self.reference(
                noise,
                "control",
                "shadow with `role: control`",
                &ids.controls,
            ),
            None => match ids.controls.as_slice() {
                [only] => Some(only.clone()),
                _ => None,
            },
        };
        if let Some(control) = control
            .as_ref()
            .and_then(|id| shadows.iter().find(|shadow| shadow.id == *id))
        {
            self.control_fits(control, shadows);
        }
        let alpha = noise.and_then(|noise| noise.get("alpha"));
        if let Some(alpha) = alpha
            && !alpha
                .as_number()
                .is_some_and(|number| number > 0.0 && number < 1.0)
        {
            self.tell(
                alpha,
                "a significance lies between 0 and 1",
                "a number such as 0.01",
            );
        }
        let alpha = alpha.and_then(Item::as_number).unwrap_or(0.01);
        let min_effect = noise
            .and_then(|noise| noise.share("min_effect"))
            .unwrap_or(Share::NONE);
        Diff {
            rules: self.rules(Noise {
                alpha,
                min_effect: min_effect.get(),
            }),
            control,
            alpha,
            min_effect,
        }
    }

    /// A control shows a candidate's noise only where it got the same requests.
    fn control_fits(&mut self, control: &Shadow, shadows: &[Shadow]) {
        for shadow in shadows
            .iter()
            .filter(|shadow| shadow.role == Role::Candidate && shadow.of == control.of)
        {
            let same = shadow.percent == control.percent
                && shadow.key == control.key
                && shadow.matcher == control.matcher;
            let list = self.root.list("shadow");
            if !same && let Some(item) = list.iter().find(|item| item.id("id") == Some(&control.id))
            {
                self.warn(
                    item,
                    format!("`{}` and `{}` get different samples", control.id, shadow.id),
                    "noise is learnt where both have an answer: give them the same `sample` and `match`",
                );
            }
        }
    }

    /// The rules of comparison; what is wrong with them is told where it stands.
    fn rules(&mut self, noise: Noise) -> Rules {
        let root = self.root;
        let Some(diff) = root.get("diff") else {
            return Rules::default();
        };
        let json = diff.get("json");
        let headers = diff.get("headers");
        let entries = |name: &str| {
            json.and_then(|json| json.get(name))
                .map_or(&[][..], Item::entries)
        };
        let descriptors = self.descriptors(diff);
        let settings = Settings {
            descriptors,
            arrays: entries("arrays")
                .iter()
                .map(|(key, item)| {
                    let arrays = item
                        .text("key")
                        .map_or(Arrays::Set, |field| Arrays::Key(field.to_owned()));
                    (key.name.clone(), arrays)
                })
                .collect(),
            tolerance: entries("tolerance")
                .iter()
                .filter_map(|(key, item)| Some((key.name.clone(), tolerance(item)?)))
                .collect(),
            format: entries("format")
                .iter()
                .filter_map(|(key, item)| Some((key.name.clone(), item.as_text()?.to_owned())))
                .collect(),
            ignore: self.ignore(json),
            compare_headers: headers
                .filter(|headers| headers.has("compare"))
                .map(|headers| headers.texts("compare")),
            ignore_headers: headers.map_or_else(Vec::new, |headers| headers.texts("ignore")),
            endpoints: diff.texts("endpoints"),
            noise,
        };
        match Rules::compile(&settings, self.today) {
            Ok(rules) => rules,
            Err(problems) => {
                for problem in problems {
                    let item = at_key(diff, &problem.key);
                    self.problems.push(
                        Problem::at(item.at, problem.what).path(&format!("diff.{}", problem.key)),
                    );
                }
                Rules::default()
            }
        }
    }

    /// Types of gRPC messages; what is wrong with their file is told where it is named.
    fn descriptors(&mut self, diff: &Item) -> Option<Descriptors> {
        let item = diff.get("grpc")?.get("descriptors")?;
        let path = self.existing(item, false)?;
        let set = std::fs::read(&path).map_err(|error| error.to_string());
        match set.and_then(|set| Descriptors::read(&set)) {
            Ok(descriptors) => Some(descriptors),
            Err(why) => {
                self.tell(
                    item,
                    format!("{} cannot be used: {why}", path.display()),
                    "a file descriptor set, as `protoc --include_imports --descriptor_set_out` writes it",
                );
                None
            }
        }
    }

    fn ignore(&mut self, json: Option<&Item>) -> Vec<Ignore> {
        let mut list = Vec::new();
        for item in json.map_or(&[][..], |json| json.list("ignore")) {
            let until = match item.get("until").map(|until| &until.value) {
                Some(Value::Date(date)) => Some(*date),
                _ => None,
            };
            if let (Some(date), Some(at)) = (until, item.get("until"))
                && date < self.today
            {
                self.warn(
                    at,
                    format!("the rule ended on {date} and no longer holds"),
                    "look at what it ignores again: remove the rule, or give it a new day",
                );
            }
            if let (Some(path), Some(why)) = (item.text("path"), item.text("why")) {
                list.push(Ignore {
                    path: path.to_owned(),
                    why: why.to_owned(),
                    until,
                });
            }
        }
        list
    }
}

/// The item that a key of [`Rules::compile`] names, such as `json.ignore[2].path` or `json.arrays.$.items`; the nearest
/// that there is.
fn at_key<'a>(diff: &'a Item, key: &str) -> &'a Item {
    let mut item = diff;
    let mut rest = key;
    while !rest.is_empty() {
        if let Some(found) = item
            .entries()
            .iter()
            .find(|(name, _)| name.name == rest)
            .map(|(_, found)| found)
        {
            return found;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let Some(next) = item.get(name) else {
            return item;
        };
        item = next;
        rest = after;
        if let Some(indexed) = rest.strip_prefix('[') {
            let (index, after) = indexed.split_once(']').unwrap_or((indexed, ""));
            let found = index
                .parse::<usize>()
                .ok()
                .and_then(|index| item.items().get(index));
            let Some(next) = found else {
                return item;
            };
            item = next;
            rest = after;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    item
}

fn tolerance(item: &Item) -> Option<Tolerance> {
    if let Some(number) = item.as_number() {
        return Some(Tolerance::Absolute(number));
    }
    let share = item
        .share("rel")
        .map(|share| Tolerance::Relative(share.get()));
    share.or_else(|| item.whole("ulp").map(Tolerance::LastPlaces))
}

fn limits(item: &Item) -> Limits {
    let defaults = Limits::default();
    let Some(limits) = item.get("limits") else {
        return defaults;
    };
    let count = |key: &str, default: u32| limits.whole(key).map_or(default, |number| number as u32);
    Limits {
        in_flight: count("in_flight", defaults.in_flight),
        queue: count("queue", defaults.queue),
        deadline: limits.duration("deadline").unwrap_or(defaults.deadline),
        request_body: limits.size("request_body").unwrap_or(defaults.request_body),
        response_body: limits
            .size("response_body")
            .unwrap_or(defaults.response_body),
        ..defaults
    }
}
