//! Screen 2's state: the endpoint, the field and the example that a person looks at, by name, so that they stay chosen
//! while others come, go or change places.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    again::{Known, MOST, Which},
    app::{App, Example, Field, Place, Screen, Shadowed, Standing},
};
use crate::event::Id;

/// A pane, from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pane {
    /// Endpoints of the shadows.
    Endpoints,
    /// Fields that differ at one of them.
    Fields,
    /// An answer in which one of those does.
    Example,
}

impl Pane {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Endpoints, Self::Fields, Self::Example];

    /// The pane so many further on, round and round.
    #[must_use]
    pub fn step(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|pane| *pane == self).unwrap_or(0);
        Self::ALL
            .get((at + by) % Self::ALL.len())
            .copied()
            .unwrap_or(self)
    }
}

/// Where a person looks.
#[derive(Debug, Clone)]
pub struct Browse {
    /// The pane with the focus.
    pub pane: Pane,
    /// The chosen shadow and endpoint; `None`, or none that is listed: the first.
    pub endpoint: Option<(Id, String)>,
    /// The chosen path and kind; `None`, or none that is listed: the first.
    pub field: Option<(String, &'static str)>,
    /// The chosen example, counted on beyond the last.
    pub example: usize,
    /// Lines of the example above its pane.
    pub scroll: usize,
    /// The control's value is shown beside.
    pub control: bool,
    /// Noise and what a rule ignores are listed too.
    pub noise: bool,
}

impl Default for Browse {
    fn default() -> Self {
        Self {
            pane: Pane::Endpoints,
            endpoint: None,
            field: None,
            example: 0,
            scroll: 0,
            control: false,
            noise: true,
        }
    }
}

/// A line of the left pane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Whose answers.
    pub shadow: Id,
    /// `GET /cart/{id}`.
    pub name: String,
    /// Answers compared.
    pub compared: u64,
    /// Fields that differ beyond noise and rules.
    pub differ: usize,
}

/// A line of the middle pane.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// What it counts as.
    pub standing: Standing,
    /// Where and how.
    pub place: &'a Place,
    /// What is known of it; `None`: only the control differs there.
    pub field: Option<&'a Field>,
    /// Answers in which the shadow differs.
    pub count: u64,
    /// Answers in which the control does.
    pub control: u64,
}

impl Row<'_> {
    /// Its rank, where the report has judged it; before that there is none, and counts decide.
    fn q(&self) -> f64 {
        let judged = self.field.and_then(|field| field.judged.as_ref());
        judged.map_or(1.0, |judged| judged.q)
    }
}

/// What is chosen in the three panes.
#[derive(Debug, Clone)]
pub struct Chosen<'a> {
    /// All endpoints that are listed.
    pub endpoints: Vec<Endpoint>,
    /// The endpoint, and its line.
    pub endpoint: (usize, Endpoint),
    /// All fields that are listed of it.
    pub rows: Vec<Row<'a>>,
    /// The field, and its line.
    pub row: Option<(usize, Row<'a>)>,
    /// The example, its number, and how many there are.
    pub example: Option<(&'a Example, usize, usize)>,
}

/// Shadows whose answers are listed: candidates, or the control where there is nothing else.
fn listed(shown: &App) -> impl Iterator<Item = (&Id, &Shadowed)> {
    let control = shown.facts.control();
    let alone = shown.facts.shadows.len() == 1;
    shown
        .facts
        .shadows
        .iter()
        .filter(move |(id, _, _)| alone || Some(id) != control)
        .filter_map(|(id, _, _)| Some((id, shown.shadowed.get(id)?)))
}

/// What the control did, where it is not the shadow itself.
fn control_of<'a>(shown: &'a App, shadow: &str) -> Option<&'a Shadowed> {
    let control = shown.facts.control().filter(|id| ***id != *shadow)?;
    shown.shadowed.get(control)
}

/// Endpoints that have been compared, in the chosen order; with a filter, those that it lets through, or a field of
/// theirs.
pub fn endpoints(app: &App, shown: &App) -> Vec<Endpoint> {
    let lets = |shadow: &str, shadowed: &Shadowed, endpoint: &str| {
        let mut fields = shadowed.at(endpoint);
        app.view.lets(endpoint)
            || app.view.lets(shadow)
            || fields.any(|(place, _)| app.view.lets(&place.1))
    };
    let mut endpoints: Vec<Endpoint> = listed(shown)
        .flat_map(|(id, shadowed)| {
            shadowed
                .endpoints
                .iter()
                .filter(|(name, _)| lets(id, shadowed, name))
                .map(|(name, compared)| Endpoint {
                    shadow: id.clone(),
                    name: name.clone(),
                    compared: *compared,
                    differ: differing(shown, id, shadowed, name),
                })
        })
        .filter(|endpoint| app.view.browse.noise || endpoint.differ > 0)
        .collect();
    if !app.view.by_name {
        endpoints.sort_by_key(|endpoint| (Reverse(endpoint.differ), Reverse(endpoint.compared)));
    }
    endpoints
}

fn differing(shown: &App, shadow: &str, shadowed: &Shadowed, endpoint: &str) -> usize {
    let fields = shadowed.at(endpoint);
    fields
        .filter(|(place, field)| shown.standing(shadow, place, field) == Standing::Differs)
        .count()
}

/// The fields that differ at an endpoint, the shadow's or only the control's, in the chosen order.
pub fn fields<'a>(app: &App, shown: &'a App, endpoint: &Endpoint) -> Vec<Row<'a>> {
    let Some(shadowed) = shown.shadowed.get(&endpoint.shadow) else {
        return Vec::new();
    };
    let control = control_of(shown, &endpoint.shadow);
    let at_control = |place: &Place| {
        let field = control.and_then(|control| control.fields.get(place));
        field.map_or(0, |field| field.count)
    };
    let own = shadowed.at(&endpoint.name).map(|(place, field)| {
        let standing = shown.standing(&endpoint.shadow, place, field);
        let (count, control) = field.judged.as_ref().map_or_else(
            || (field.count, at_control(place)),
            |judged| (judged.b + judged.both, judged.c + judged.both),
        );
        Row {
            standing,
            place,
            field: Some(field),
            count,
            control,
        }
    });
    let only_control = control
        .into_iter()
        .flat_map(|control| control.at(&endpoint.name))
        .filter(|(place, _)| !shadowed.fields.contains_key(*place))
        .map(|(place, field)| Row {
            standing: if field.rule.is_some() {
                Standing::Ignored
            } else {
                Standing::Noise
            },
            place,
            field: None,
            count: 0,
            control: field.count,
        });
    let all = app.view.lets(&endpoint.name) || app.view.lets(&endpoint.shadow);
    let mut rows: Vec<Row<'a>> = own
        .chain(only_control)
        .filter(|row| all || app.view.lets(&row.place.1))
        .filter(|row| app.view.browse.noise || row.standing == Standing::Differs)
        .collect();
    if app.view.by_name {
        rows.sort_by_key(|row| row.place);
    } else {
        rows.sort_by(|a, b| {
            let standings = a.standing.cmp(&b.standing);
            let chances = standings.then_with(|| a.q().total_cmp(&b.q()));
            let of = |row: &Row<'_>| (Reverse(row.count), Reverse(row.control));
            chances.then_with(|| of(a).cmp(&of(b)))
        });
    }
    rows
}

/// What is chosen; `None`: nothing is listed.
pub fn chosen<'a>(app: &App, shown: &'a App) -> Option<Chosen<'a>> {
    let endpoints = endpoints(app, shown);
    let at = endpoint_at(app, &endpoints);
    let endpoint = endpoints.get(at)?.clone();
    let rows = fields(app, shown, &endpoint);
    let line = field_at(app, &rows);
    let row = rows.get(line).cloned();
    let example = row.as_ref().and_then(|row| {
        let examples = &row.field?.examples;
        let number = app.view.browse.example.checked_rem(examples.len())?;
        Some((examples.get(number)?, number, examples.len()))
    });
    Some(Chosen {
        endpoints,
        endpoint: (at, endpoint),
        rows,
        row: row.map(|row| (line, row)),
        example,
    })
}

/// The line of the chosen endpoint.
pub fn endpoint_at(app: &App, endpoints: &[Endpoint]) -> usize {
    let wanted = app.view.browse.endpoint.as_ref();
    let is_it = |endpoint: &Endpoint| {
        wanted.is_some_and(|(shadow, name)| endpoint.shadow == *shadow && endpoint.name == *name)
    };
    endpoints.iter().position(is_it).unwrap_or(0)
}

/// The line of the chosen field.
pub fn field_at(app: &App, rows: &[Row<'_>]) -> usize {
    let wanted = app.view.browse.field.as_ref();
    let is_it = |row: &Row<'_>| {
        wanted.is_some_and(|(path, kind)| row.place.1 == *path && row.place.2 == *kind)
    };
    rows.iter().position(is_it).unwrap_or(0)
}

/// Moves the choice in the pane with the focus by so many lines.
pub(super) fn scroll(app: &mut App, by: usize, down: bool) {
    let moved = |at: usize, count: usize| {
        let last = count.saturating_sub(1);
        if down {
            (at + by).min(last)
        } else {
            at.min(last).saturating_sub(by)
        }
    };
    let endpoints = endpoints(app, app.shown());
    let at = endpoint_at(app, &endpoints);
    match app.view.browse.pane {
        Pane::Endpoints => {
            let Some(endpoint) = endpoints.get(moved(at, endpoints.len())) else {
                return;
            };
            let chosen = (endpoint.shadow.clone(), endpoint.name.clone());
            let browse = &mut app.view.browse;
            browse.endpoint = Some(chosen);
            (browse.field, browse.example, browse.scroll) = (None, 0, 0);
        }
        Pane::Fields => {
            let Some(endpoint) = endpoints.get(at) else {
                return;
            };
            let rows = fields(app, app.shown(), endpoint);
            let line = moved(field_at(app, &rows), rows.len());
            let Some(place) = rows.get(line).map(|row| row.place.clone()) else {
                return;
            };
            let named = (endpoint.shadow.clone(), endpoint.name.clone());
            let browse = &mut app.view.browse;
            browse.endpoint = Some(named);
            browse.field = Some((place.1, place.2));
            (browse.example, browse.scroll) = (0, 0);
        }
        Pane::Example => {
            // The view knows how many lines there are, and stops at the last.
            let browse = &mut app.view.browse;
            browse.scroll = if down {
                (browse.scroll + by).min(MOST_LINES)
            } else {
                browse.scroll.saturating_sub(by)
            };
        }
    }
}

/// Lines of an example that can be scrolled away.
const MOST_LINES: usize = 500;

/// Opens what is chosen: the endpoint's fields, the field's example, the next example.
pub(super) fn open(app: &mut App) {
    let browse = &mut app.view.browse;
    match browse.pane {
        Pane::Example => (browse.example, browse.scroll) = (browse.example + 1, 0),
        pane => browse.pane = pane.step(1),
    }
}

/// What is behind what is chosen: the requests of the endpoint's differing fields, of the field, or of the example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// What is chosen, in words.
    pub what: String,
    /// The requests, at most as many as one replay takes.
    pub which: Which,
    /// Requests that cannot be replayed: they may change something, or a part of them is not kept.
    pub left_out: usize,
}

/// The requests behind what is chosen.
pub fn behind(app: &App) -> Option<Behind> {
    if app.view.screen != Screen::Diffs {
        return None;
    }
    let shown = app.shown();
    let chosen = chosen(app, shown)?;
    let (_, endpoint) = &chosen.endpoint;
    let (fields, only, what): (Vec<&Field>, _, _) =
        match (app.view.browse.pane, &chosen.row, chosen.example) {
            (Pane::Example, Some((_, row)), Some((example, _, _))) => (
                row.field.into_iter().collect(),
                Some(example),
                format!("request #{}", example.ordinal),
            ),
            (Pane::Fields | Pane::Example, Some((_, row)), _) => {
                let (_, path, kind) = row.place;
                let what = format!("{path} {kind} at {}", endpoint.name);
                (row.field.into_iter().collect(), None, what)
            }
            _ => {
                let rows = chosen.rows.iter();
                let differ = rows.filter(|row| row.standing == Standing::Differs);
                let what = format!("all that differs at {}", endpoint.name);
                (differ.filter_map(|row| row.field).collect(), None, what)
            }
        };
    if shown.facts.is_live {
        let examples = match only {
            Some(example) => vec![example],
            None => fields.iter().flat_map(|field| &field.examples).collect(),
        };
        let by_ordinal: BTreeMap<u64, &Example> = examples
            .into_iter()
            .map(|example| (example.ordinal, example))
            .collect();
        let known: Vec<Known> = by_ordinal.values().copied().filter_map(Known::of).collect();
        return Some(Behind {
            what,
            left_out: by_ordinal.len() - known.len(),
            which: Which::Known(known),
        });
    }
    let mut ordinals: Vec<u64> = match only {
        Some(example) => vec![example.ordinal],
        None => fields
            .iter()
            .flat_map(|field| field.ordinals.iter().copied())
            .collect(),
    };
    ordinals.sort_unstable();
    ordinals.dedup();
    let left_out = ordinals.len().saturating_sub(MOST);
    ordinals.truncate(MOST);
    Some(Behind {
        what,
        which: Which::Scheduled(ordinals),
        left_out,
    })
}
