//! Blocks of counts, and how they are read.

use super::{
    codes::Codes,
    count::{Counter, Gauge, Histogram},
};

/// What a field of a block is, to those who read it.
pub(super) enum Value<'a> {
    Counter(u64),
    Gauge(u64),
    Histogram(&'a Histogram),
    Codes(&'a Codes),
}

pub(super) trait Read {
    fn value(&self) -> Value<'_>;
}

impl Read for Counter {
    fn value(&self) -> Value<'_> {
        Value::Counter(self.get())
    }
}

impl Read for Gauge {
    fn value(&self) -> Value<'_> {
        Value::Gauge(self.get())
    }
}

impl Read for Histogram {
    fn value(&self) -> Value<'_> {
        Value::Histogram(self)
    }
}

impl Read for Codes {
    fn value(&self) -> Value<'_> {
        Value::Codes(self)
    }
}

/// A block of counts that one thing has on one event loop.
pub(super) trait Block: Default {
    /// What comes before a field's name, and the label whose value is the block's name.
    const PREFIX: &'static str;
    const LABEL: &'static str;

    fn visit<'a>(&'a self, see: &mut dyn FnMut(&'static str, Value<'a>));
}

macro_rules! block {
    ($(#[$about:meta])* $name:ident, $prefix:literal, $label:literal, {
        $($(#[$doc:meta])* $field:ident: $kind:ident = $stat:literal,)*
    }) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($(#[$doc])* pub $field: $kind,)*
        }

        impl Block for $name {
            const PREFIX: &'static str = $prefix;
            const LABEL: &'static str = $label;

            fn visit<'a>(&'a self, see: &mut dyn FnMut(&'static str, Value<'a>)) {
                $(see($stat, self.$field.value());)*
            }
        }
    };
}

pub(super) use block;
