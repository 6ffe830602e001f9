//! The configuration as Envoy's `/config_dump` shows it: the file's resources, apart.

use regex::Regex;
use serde_json::{Map, Value, json};

const TYPES: &str = "type.googleapis.com";

/// Whatever holds a secret, by its field's name.
const SECRET: &[&str] = &["private_key", "password", "session_ticket_keys"];

/// The dump of a bootstrap. `resource`: only the entries of this list, such as `static_clusters`; `names`: only those
/// whose name it matches; `mask`: only these fields of each.
pub(super) fn of(
    bootstrap: &Value,
    resource: Option<&str>,
    names: Option<&Regex>,
    mask: Option<&str>,
) -> Result<Value, String> {
    let mut bootstrap = bootstrap.clone();
    redact(&mut bootstrap);
    let named = |it: &Value, name: &str| {
        names.is_none_or(|names| {
            let name = it.get(name).and_then(Value::as_str).unwrap_or_default();
            names.is_match(name)
        })
    };
    let list = |field: &str, message: &str, one: &str| -> Vec<Value> {
        let resources = bootstrap.get("static_resources");
        let them = resources.and_then(|resources| resources.get(field)?.as_array());
        them.into_iter()
            .flatten()
            .filter(|it| named(it, "name"))
            .map(|it| json!({one: typed(message, it.clone())}))
            .collect()
    };
    let clusters = list("clusters", "envoy.config.cluster.v3.Cluster", "cluster");
    let listeners = list("listeners", "envoy.config.listener.v3.Listener", "listener");
    let mut routes = Vec::new();
    find(&bootstrap, "route_config", &mut routes);
    let routes: Vec<Value> = routes
        .into_iter()
        .filter(|it| named(it, "name"))
        .map(|it| json!({"route_config": typed("envoy.config.route.v3.RouteConfiguration", it.clone())}))
        .collect();
    let masked = |mut it: Value| {
        if let Some(mask) = mask {
            keep(&mut it, mask);
        }
        it
    };
    if let Some(resource) = resource {
        let (message, them) = match resource {
            "bootstrap" => return Ok(json!({"configs": [masked(boot(&bootstrap))]})),
            "static_clusters" => ("ClustersConfigDump.StaticCluster", clusters),
            "static_listeners" => ("ListenersConfigDump.StaticListener", listeners),
            "static_route_configs" => ("RoutesConfigDump.StaticRouteConfig", routes),
            other => return Err(format!("{other} not found in config dump")),
        };
        let message = format!("envoy.admin.v3.{message}");
        let configs: Vec<_> = them
            .into_iter()
            .map(|it| typed(&message, masked(it)))
            .collect();
        return Ok(json!({ "configs": configs }));
    }
    let mut configs = vec![
        boot(&bootstrap),
        json!({"@type": format!("{TYPES}/envoy.admin.v3.ClustersConfigDump"), "static_clusters": clusters}),
        json!({"@type": format!("{TYPES}/envoy.admin.v3.ListenersConfigDump"), "static_listeners": listeners}),
        json!({"@type": format!("{TYPES}/envoy.admin.v3.RoutesConfigDump"), "static_route_configs": routes}),
    ];
    if names.is_some() {
        configs.remove(0);
    }
    Ok(json!({ "configs": configs }))
}

fn boot(bootstrap: &Value) -> Value {
    json!({"@type": format!("{TYPES}/envoy.admin.v3.BootstrapConfigDump"), "bootstrap": bootstrap})
}

/// The message with its type before its fields.
fn typed(message: &str, it: Value) -> Value {
    let mut fields = Map::new();
    fields.insert("@type".to_owned(), format!("{TYPES}/{message}").into());
    if let Value::Object(it) = it {
        fields.extend(it);
    }
    Value::Object(fields)
}

/// Every value under this key, at any depth.
fn find<'a>(it: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match it {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == key {
                    found.push(value);
                } else {
                    find(value, key, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| find(item, key, found)),
        _ => {}
    }
}

/// Replaces what is secret by Envoy's `[redacted]`. A file's name is no secret.
fn redact(it: &mut Value) {
    match it {
        Value::Object(fields) => {
            for (name, value) in fields {
                if SECRET.contains(&name.as_str()) {
                    hide(value);
                } else {
                    redact(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

fn hide(it: &mut Value) {
    match it {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name != "filename" {
                    hide(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        // Bytes are base64 in JSON.
        other => *other = "[redacted]".into(),
    }
}

/// Keeps the fields of a `FieldMask`: `cluster.name,cluster.type`.
fn keep(it: &mut Value, mask: &str) {
    let mut kept = json!({});
    for path in mask.split(',') {
        let mut from = Some(&*it);
        let steps: Vec<&str> = path.split('.').collect();
        for step in &steps {
            from = from.and_then(|from| from.get(step));
        }
        let Some(value) = from.cloned() else { continue };
        let mut to = &mut kept;
        for step in steps {
            if !to.is_object() {
                *to = json!({});
            }
            to = &mut to[step];
        }
        *to = value;
    }
    *it = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bootstrap() -> Value {
        json!({"static_resources": {
            "listeners": [{"name": "main", "filter_chains": [{"filters": [{"typed_config": {"route_config": {"name": "r"}}}],
                "key": {"private_key": {"inline_string": "secret"}, "tls": {"private_key": {"filename": "/k"}}}}]}],
            "clusters": [{"name": "a", "type": "STATIC"}, {"name": "b", "connect_timeout": "1s"}],
        }})
    }

    #[test]
    fn resources_stand_in_their_lists() {
        let dump = of(&bootstrap(), None, None, None).unwrap();
        assert_eq!(dump["configs"].as_array().unwrap().len(), 4);
        assert_eq!(
            dump["configs"][1]["static_clusters"][1]["cluster"]["name"],
            "b"
        );
        assert_eq!(
            dump["configs"][1]["static_clusters"][0]["cluster"]["@type"],
            "type.googleapis.com/envoy.config.cluster.v3.Cluster"
        );
        assert_eq!(
            dump["configs"][3]["static_route_configs"][0]["route_config"]["name"],
            "r"
        );
    }

    #[test]
    fn secrets_are_hidden_and_names_of_files_are_not() {
        let dump = of(&bootstrap(), Some("static_listeners"), None, None).unwrap();
        let key = &dump["configs"][0]["listener"]["filter_chains"][0]["key"];
        assert_eq!(key["private_key"]["inline_string"], "[redacted]");
        assert_eq!(key["tls"]["private_key"]["filename"], "/k");
    }

    #[test]
    fn resource_name_and_mask_narrow_the_dump() {
        let names = Regex::new("^b$").unwrap();
        let dump = of(
            &bootstrap(),
            Some("static_clusters"),
            Some(&names),
            Some("cluster.name,cluster.type"),
        );
        assert_eq!(
            dump.unwrap(),
            json!({"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.StaticCluster", "cluster": {"name": "b"}}]})
        );
        let error = of(&bootstrap(), Some("nothing"), None, None).unwrap_err();
        assert_eq!(error, "nothing not found in config dump");
    }
}
