//! Plain data that a scenario and an Envoy file both become.
