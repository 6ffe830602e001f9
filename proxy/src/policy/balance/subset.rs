//! Subsets: endpoints chosen by their metadata. A request asks for values of some keys; endpoints that have them, for a
//! set of keys that a selector names, are a subset. All of it as Envoy.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

/// Metadata of an endpoint, or what a request asks for.
pub type Metadata = BTreeMap<String, Value>;

/// How endpoints make subsets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Which keys make subsets.
    pub selectors: Vec<Selector>,
    /// Where no subset matches.
    pub fallback: Fallback,
    /// What [`Fallback::Default`] asks for.
    pub default: Metadata,
    /// Where the fallback has no usable endpoint: any.
    pub panic_mode_any: bool,
    /// An endpoint's list matches each of its values.
    pub list_as_any: bool,
    /// Weights of localities count within subsets.
    pub locality_weight_aware: bool,
    /// A request may ask for more keys than a selector has.
    pub allow_redundant_keys: bool,
}

/// Keys that make subsets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selector {
    /// The keys.
    pub keys: BTreeSet<String>,
    /// Where no subset of these keys matches; `None`: the cluster's.
    pub fallback: Option<Fallback>,
    /// Each value is one endpoint's.
    pub single_host: bool,
}

/// Where no subset matches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fallback {
    /// There is no endpoint.
    #[default]
    Nothing,
    /// Any endpoint.
    Any,
    /// Endpoints with the default metadata.
    Default,
    /// As if the request had asked for these keys only.
    Keys(BTreeSet<String>),
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// To the subset of this index.
    Subset(usize),
    /// To any endpoint, for want of a subset.
    Any,
    /// To the default subset, for want of another.
    Default,
    /// Nowhere.
    Nothing,
}

/// Subsets of a set of endpoints.
#[derive(Debug, Clone, Default)]
pub struct Subsets {
    by_values: HashMap<Vec<(String, Value)>, usize>,
    members: Vec<Vec<usize>>,
    default: Vec<usize>,
}

impl Subsets {
    /// The subsets of endpoints with this metadata.
    pub fn new<'a>(settings: &Settings, endpoints: impl IntoIterator<Item = &'a Metadata>) -> Self {
        let mut subsets = Self::default();
        for (index, metadata) in endpoints.into_iter().enumerate() {
            if matches(&settings.default, metadata, settings.list_as_any) {
                subsets.default.push(index);
            }
            for selector in &settings.selectors {
                for values in values(selector, metadata, settings.list_as_any) {
                    subsets.add(values, index, selector.single_host);
                }
            }
        }
        subsets
    }

    /// The endpoints of each subset.
    pub fn members(&self) -> &[Vec<usize>] {
        &self.members
    }

    /// The endpoints of the default subset.
    pub fn default_members(&self) -> &[usize] {
        &self.default
    }

    /// Where a request goes that asks for this.
    pub fn choose(&self, settings: &Settings, asked: Option<&Metadata>) -> Choice {
        let Some(asked) = asked.filter(|asked| !asked.is_empty()) else {
            return settings.fallback.choice();
        };
        if let Some(found) = self.find(settings, asked) {
            return Choice::Subset(found);
        }
        // As Envoy: the first that has a fallback and begins with these keys decides, if it has no others.
        let selector = settings
            .selectors
            .iter()
            .find(|it| it.fallback.is_some() && begins(&it.keys, asked))
            .filter(|it| it.keys.len() == asked.len());
        match selector.and_then(|selector| selector.fallback.as_ref()) {
            None => settings.fallback.choice(),
            Some(Fallback::Keys(keys)) => {
                let fewer: Metadata = asked
                    .iter()
                    .filter(|(key, _)| keys.contains(*key))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                if fewer.len() < asked.len() {
                    self.choose(settings, Some(&fewer))
                } else {
                    Choice::Nothing
                }
            }
            Some(other) => other.choice(),
        }
    }

    fn find(&self, settings: &Settings, asked: &Metadata) -> Option<usize> {
        let values = |wanted: &dyn Fn(&str) -> bool| -> Vec<(String, Value)> {
            asked
                .iter()
                .filter(|(key, _)| wanted(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        };
        let exact = self.by_values.get(&values(&|_| true));
        if exact.is_some() || !settings.allow_redundant_keys {
            return exact.copied();
        }
        let mut selectors: Vec<_> = settings
            .selectors
            .iter()
            .filter(|selector| selector.keys.iter().all(|key| asked.contains_key(key)))
            .collect();
        selectors.sort_by_key(|selector| std::cmp::Reverse(selector.keys.len()));
        selectors
            .iter()
            .find_map(|selector| {
                self.by_values
                    .get(&values(&|key| selector.keys.contains(key)))
            })
            .copied()
    }

    fn add(&mut self, values: Vec<(String, Value)>, index: usize, single: bool) {
        let count = self.members.len();
        let at = *self.by_values.entry(values).or_insert(count);
        if at == count {
            self.members.push(Vec::new());
        }
        if let Some(members) = self.members.get_mut(at)
            && !members.contains(&index)
            && (!single || members.is_empty())
        {
            members.push(index);
        }
    }
}

impl Fallback {
    fn choice(&self) -> Choice {
        match self {
            Self::Nothing | Self::Keys(_) => Choice::Nothing,
            Self::Any => Choice::Any,
            Self::Default => Choice::Default,
        }
    }
}

/// The selector's first keys are those that are asked for.
fn begins(keys: &BTreeSet<String>, asked: &Metadata) -> bool {
    asked.len() <= keys.len()
        && keys
            .iter()
            .zip(asked.keys())
            .all(|(key, asked)| key == asked)
}

/// The endpoint has all that is asked for.
fn matches(asked: &Metadata, metadata: &Metadata, list_as_any: bool) -> bool {
    asked.iter().all(|(key, asked)| match metadata.get(key) {
        Some(Value::Array(items)) if list_as_any => items.contains(asked),
        Some(value) => value == asked,
        None => false,
    })
}

/// The values by which an endpoint is in a selector's subsets; several where it has lists.
fn values(
    selector: &Selector,
    metadata: &Metadata,
    list_as_any: bool,
) -> Vec<Vec<(String, Value)>> {
    let mut all = vec![Vec::new()];
    for key in &selector.keys {
        let options = match metadata.get(key) {
            None => return Vec::new(),
            Some(Value::Array(items)) if list_as_any => items.clone(),
            Some(value) => vec![value.clone()],
        };
        all = all
            .into_iter()
            .flat_map(|begun: Vec<(String, Value)>| {
                options.iter().map(move |option| {
                    let mut more = begun.clone();
                    more.push((key.clone(), option.clone()));
                    more
                })
            })
            .collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(value: Value) -> Metadata {
        serde_json::from_value(value).unwrap()
    }

    fn keys(keys: &[&str]) -> BTreeSet<String> {
        keys.iter().map(|key| (*key).to_owned()).collect()
    }

    fn selector(of: &[&str], fallback: Option<Fallback>) -> Selector {
        Selector {
            keys: keys(of),
            fallback,
            single_host: false,
        }
    }

    /// Which endpoints a request reaches.
    fn reached(settings: &Settings, endpoints: &[Value], asked: Option<Value>) -> Vec<usize> {
        let endpoints: Vec<_> = endpoints.iter().cloned().map(metadata).collect();
        let subsets = Subsets::new(settings, &endpoints);
        match subsets.choose(settings, asked.map(metadata).as_ref()) {
            Choice::Subset(at) => subsets.members()[at].clone(),
            Choice::Any => (0..endpoints.len()).collect(),
            Choice::Default => subsets.default_members().to_vec(),
            Choice::Nothing => Vec::new(),
        }
    }

    #[test]
    fn a_request_reaches_the_endpoints_that_have_what_it_asks_for() {
        // Envoy's manual, "Example Host Set".
        let endpoints = [
            json!({"stage": "prod", "version": "1.0", "type": "std", "xlarge": true}),
            json!({"stage": "prod", "version": "1.0", "type": "std"}),
            json!({"stage": "prod", "version": "1.1", "type": "std"}),
            json!({"stage": "prod", "version": "1.1", "type": "std"}),
            json!({"stage": "prod", "version": "1.0", "type": "bigmem"}),
            json!({"stage": "prod", "version": "1.1", "type": "bigmem"}),
            json!({"stage": "dev", "version": "1.2-pre", "type": "std"}),
        ];
        let settings = Settings {
            selectors: vec![
                selector(&["stage", "type"], None),
                selector(&["stage", "version"], None),
                selector(&["version"], None),
                selector(&["xlarge", "version"], None),
            ],
            fallback: Fallback::Default,
            default: metadata(json!({"stage": "prod", "version": "1.0", "type": "std"})),
            ..Settings::default()
        };
        for (asked, expected) in [
            (json!({"stage": "prod", "type": "std"}), vec![0, 1, 2, 3]),
            (json!({"stage": "prod", "type": "bigmem"}), vec![4, 5]),
            (json!({"version": "1.0"}), vec![0, 1, 4]),
            (json!({"version": "1.0", "xlarge": true}), vec![0]),
            (json!({"stage": "dev", "version": "1.2-pre"}), vec![6]),
            // No selector has these keys, or no endpoint these values.
            (json!({"stage": "prod"}), vec![0, 1]),
            (json!({"version": "9"}), vec![0, 1]),
            (json!({}), vec![0, 1]),
        ] {
            assert_eq!(
                reached(&settings, &endpoints, Some(asked.clone())),
                expected,
                "{asked}"
            );
        }
        assert_eq!(reached(&settings, &endpoints, None), [0, 1]);
    }

    #[test]
    fn a_selector_has_a_fallback_of_its_own() {
        let endpoints = [
            json!({"a": 1, "b": 1}),
            json!({"a": 1, "b": 2}),
            json!({"a": 2}),
        ];
        let asked = || Some(json!({"a": 1, "b": 9}));
        for (fallback, expected) in [
            (None, vec![]),
            (Some(Fallback::Any), vec![0, 1, 2]),
            (Some(Fallback::Default), vec![2]),
            (Some(Fallback::Keys(keys(&["a"]))), vec![0, 1]),
        ] {
            let settings = Settings {
                selectors: vec![selector(&["a", "b"], fallback), selector(&["a"], None)],
                default: metadata(json!({"a": 2})),
                ..Settings::default()
            };
            assert_eq!(reached(&settings, &endpoints, asked()), expected);
            assert!(reached(&settings, &endpoints, None).is_empty());
        }
    }

    #[test]
    fn a_selector_that_begins_with_anothers_keys_takes_its_fallback_away() {
        let settings = |selectors| Settings {
            selectors,
            ..Settings::default()
        };
        let long = selector(&["a", "b"], Some(Fallback::Nothing));
        let short = selector(&["a"], Some(Fallback::Any));
        let asked = || Some(json!({"a": 9}));
        let endpoints = [json!({"a": 1, "b": 1})];
        let first = settings(vec![short.clone(), long.clone()]);
        assert_eq!(reached(&first, &endpoints, asked()), [0]);
        // Envoy 1.40 forgets the fallback here.
        let last = settings(vec![long, short]);
        assert!(reached(&last, &endpoints, asked()).is_empty());
    }

    #[test]
    fn lists_match_each_value_and_redundant_keys_are_left_out_where_allowed() {
        let endpoints = [json!({"v": ["1", "2"]}), json!({"v": "2"})];
        let plain = Settings {
            selectors: vec![selector(&["v"], None)],
            ..Settings::default()
        };
        let wide = Settings {
            list_as_any: true,
            allow_redundant_keys: true,
            ..plain.clone()
        };
        let one = || Some(json!({"v": "2"}));
        let two = || Some(json!({"v": "2", "w": "3"}));
        assert_eq!(reached(&plain, &endpoints, one()), [1]);
        assert_eq!(reached(&wide, &endpoints, one()), [0, 1]);
        assert!(reached(&plain, &endpoints, two()).is_empty());
        assert_eq!(reached(&wide, &endpoints, two()), [0, 1]);
    }

    #[test]
    fn a_single_host_subset_has_one() {
        let settings = Settings {
            selectors: vec![Selector {
                keys: keys(&["id"]),
                single_host: true,
                ..Selector::default()
            }],
            ..Settings::default()
        };
        let endpoints = [json!({"id": 1}), json!({"id": 1}), json!({"id": 2})];
        assert_eq!(reached(&settings, &endpoints, Some(json!({"id": 1}))), [0]);
    }
}
