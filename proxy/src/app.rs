//! Assembly: a configuration and its dependencies in, a running proxy out.
