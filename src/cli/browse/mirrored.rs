//! What a saved mirror was asked, as a scenario again, so that its primary and its shadows can be asked once more.

use std::{path::PathBuf, time::Duration};

use meshbed_proxy::policy::{
    matcher::Matcher,
    mirror::{Limits, SampleKey},
};
use serde_json::Value;

use crate::{
    cli::mirror::ends::{Target, Tls},
    event::Id,
    mirror::{
        ends::Ends,
        plan::{Compared, Side, Wanted},
    },
    scenario::{self, Protocol, Role, Scenario},
};

/// The scenario of a mirror's bundle, and how its ends are spoken to; `Err`: why it cannot be had again.
pub(super) fn scenario(asked: &Value, seed: u64) -> Result<(Scenario, Ends), String> {
    let lacks = || "the report does not say what the mirror was asked".to_owned();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if asked["set_headers"]
        .as_array()
        .is_some_and(|set| !set.is_empty())
    {
        return Err("copies were given headers whose values the report does not keep".to_owned());
    }
    let primary = text(&asked["to"]).ok_or_else(lacks)?;
    let tls = Tls::saved(
        text(&asked["ca"]).map(PathBuf::from),
        asked["insecure"].as_bool() == Some(true),
    );
    let target = Target::of("--to", &primary)?;
    let mut ends = Ends {
        primary: tls.to("--to", &target)?,
        ..Ends::default()
    };
    let address = target.address;
    let mut shadows = Vec::new();
    for shadow in asked["shadow"].as_array().ok_or_else(lacks)? {
        let id: Id = text(&shadow["id"]).ok_or_else(lacks)?.into();
        let to = text(&shadow["to"]).ok_or_else(lacks)?;
        let role = match shadow["role"].as_str() {
            Some("control") => Role::Control,
            _ => Role::Candidate,
        };
        let target = Target::of("--shadow", &to)?;
        if let Some(client) = tls.to("--shadow", &target)? {
            ends.shadows.insert(id.clone(), client);
        }
        shadows.push(Side {
            id,
            role,
            written: to,
            address: target.address,
            percent: None,
        });
    }
    let control = shadows.iter().find(|side| side.role == Role::Control);
    let control = control.map(|side| side.id.clone());
    let compared = match text(&asked["diff"]).map(PathBuf::from) {
        None => Compared::default(),
        Some(file) => {
            let (compared, _) = scenario::compared(&file, control.as_ref())
                .map_err(|problems| problems.to_string())?;
            Compared {
                file: Some(file),
                diff: compared.diff,
                redact: compared.redact,
            }
        }
    };
    let remove = asked["remove_headers"].as_array().into_iter().flatten();
    let scenario = Wanted {
        from: "a replay".to_owned(),
        primary: (primary, address),
        shadows,
        protocol: match asked["protocol"].as_str() {
            Some("h2") => Protocol::H2,
            _ => Protocol::Auto,
        },
        believed: tls.said()?,
        percent: meshbed_proxy::unit::Share::ALL,
        key: SampleKey::Ordinal,
        matcher: Matcher::default(),
        allow_unsafe: false,
        set: Vec::new(),
        remove: remove.filter_map(text).collect(),
        limits: Limits::default(),
        compared,
        seed,
        workers: 1,
        duration: Some(Duration::from_secs(1)),
    }
    .scenario();
    Ok((scenario, ends))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        mirror::ends::{Believed, to_server},
        scenario::Backing,
    };

    #[test]
    fn what_a_mirror_was_asked_is_had_again() {
        let asked = json!({
            "to": "127.0.0.1:9001", "remove_headers": ["cookie"], "set_headers": [], "diff": null,
            "shadow": [
                {"id": "v2", "role": "candidate", "to": "127.0.0.1:9002"},
                {"id": "ctl", "role": "control", "to": "127.0.0.1:9003"},
            ],
        });
        let (scenario, ends) = scenario(&asked, 7).unwrap();
        assert_eq!(ends, Ends::default());
        let address = |port: u16| Backing::Address(vec![([127, 0, 0, 1], port).into()]);
        assert_eq!(scenario.services[0].backing, address(9001));
        assert_eq!(scenario.shadows[1].backing, address(9003));
        assert_eq!(scenario.diff.control.as_deref(), Some("ctl"));
        assert_eq!(scenario.shadows[0].remove, ["cookie"]);
    }

    #[test]
    fn how_its_ends_speak_tls_is_had_again() {
        let asked = |ca: Value, insecure: bool| {
            json!({
                "to": "https://localhost:9001", "protocol": "h2", "ca": ca, "insecure": insecure, "diff": null,
                "shadow": [
                    {"id": "v2", "role": "candidate", "to": "https://127.0.0.1:9002"},
                    {"id": "ctl", "role": "control", "to": "127.0.0.1:9003"},
                ],
            })
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        let (scenario, ends) = scenario(&asked(json!(file.path()), false), 7).unwrap();
        assert_eq!(scenario.services[0].protocol, Protocol::H2);
        let believed = Believed::By(file.path().to_owned());
        assert_eq!(ends.primary, Some(to_server("localhost", &believed)));
        let by_party = ends.by_party(&scenario);
        let labels: Vec<&str> = by_party.keys().map(String::as_str).collect();
        assert_eq!(labels, ["live", "~v2"]);
        assert_eq!(by_party["~v2"], to_server("127.0.0.1", &believed));
        // It is told again what it was told.
        let again = &scenario.resolved["mirror"];
        assert_eq!(again["ca"], json!(file.path()));
        let (_, ends) = super::scenario(&asked(Value::Null, true), 7).unwrap();
        assert_eq!(ends.primary, Some(to_server("localhost", &Believed::Any)));
        let gone = super::scenario(&asked(json!("/gone/ca.pem"), false), 7).unwrap_err();
        assert!(gone.contains("--ca: cannot read /gone/ca.pem"), "{gone}");
    }

    #[test]
    fn a_credential_that_is_not_kept_is_said() {
        let asked = json!({"to": "127.0.0.1:1", "set_headers": ["authorization"], "shadow": []});
        let refused = scenario(&asked, 7).unwrap_err();
        assert!(refused.contains("does not keep"), "{refused}");
        assert!(scenario(&json!({}), 7).is_err());
    }
}
