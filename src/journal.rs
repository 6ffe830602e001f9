//! Side effects, written down before they are made, and their undo.
