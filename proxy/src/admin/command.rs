//! The paths of the admin port, by Envoy's names and in its words.

use std::fmt::Write;

/// A path of the admin port.
#[derive(Debug)]
pub(super) struct Command {
    /// The path.
    pub(super) path: &'static str,
    /// It changes something: only `POST` is taken.
    pub(super) changes: bool,
    about: &'static str,
}

const fn get(path: &'static str, about: &'static str) -> Command {
    Command {
        path,
        changes: false,
        about,
    }
}

const fn post(path: &'static str, about: &'static str) -> Command {
    Command {
        path,
        changes: true,
        about,
    }
}

/// All of them.
pub(super) const COMMANDS: &[Command] = &[
    get("/", "this page"),
    get("/certs", "certificates in use"),
    get(
        "/clusters",
        "clusters, their endpoints and counts (format=json)",
    ),
    get(
        "/config_dump",
        "the configuration (resource, name_regex, mask)",
    ),
    post(
        "/drain_listeners",
        "take no more connections (graceful: after the drain time)",
    ),
    post("/healthcheck/fail", "answer /ready with 503"),
    post("/healthcheck/ok", "answer /ready with 200 again"),
    get("/help", "this page"),
    get("/hot_restart_version", "disabled: there is no hot restart"),
    get("/init_dump", "what is not ready yet: nothing"),
    get("/listeners", "where listeners are bound (format=json)"),
    post("/logging", "levels of the log, of which there is one"),
    get("/memory", "memory in use"),
    post("/quitquitquit", "drain and end"),
    get("/ready", "200 LIVE, or 503 and why not"),
    post("/reopen_logs", "open the access logs' files again"),
    post("/reset_counters", "counters begin anew"),
    get("/runtime", "runtime values, of which there are none"),
    get("/server_info", "version, state, uptime, options"),
    get(
        "/stats",
        "counts (usedonly, filter, invert_filter, type, format=json|prometheus)",
    ),
    get(
        "/stats/prometheus",
        "counts in Prometheus' format (usedonly, filter, invert_filter)",
    ),
];

/// The command of a path.
pub(super) fn find(path: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.path == path)
}

/// What there is.
pub(super) fn help() -> String {
    let mut text = String::from("admin commands are:\n");
    for Command {
        path,
        changes,
        about,
    } in COMMANDS
    {
        let how = if *changes { " (POST)" } else { "" };
        let _ = writeln!(text, "  {path}{how}: {about}");
    }
    text
}
