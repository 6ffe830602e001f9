//! The admin port: `/ready`, `/config_dump`, `/clusters`, `/stats`.
