//! Whom our proxy tells: pairs go on with the primary's answer as the wire showed it. Requests are counted where they are
//! seen, not where they are played.

use std::sync::Arc;

use meshbed_proxy::observe::{Change, First, Mirrored, Observer, Record};

use super::{super::Live, scene};

pub(super) struct Told(pub(super) Arc<Live>);

impl Observer for Told {
    fn request(&self, _record: &Record<'_>) {}

    fn mirrored(&self, mut mirrored: Mirrored) {
        // It had been answered before we knew of it.
        mirrored.first = First::Primary;
        if let Some(primary) = &mut mirrored.primary {
            scene::as_seen(primary);
        }
        self.0.mirrored(mirrored);
    }

    fn changed(&self, change: &Change<'_>) {
        self.0.changed(change);
    }
}
