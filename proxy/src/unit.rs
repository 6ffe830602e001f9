//! Values that carry their unit.
