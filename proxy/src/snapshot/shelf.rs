//! State that outlives configurations, by name: it goes on for as long as its settings stay the same.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// States by name, with the settings that they were made for.
#[derive(Debug)]
pub(super) struct Shelf<S, T>(Mutex<HashMap<String, (S, Arc<T>)>>);

impl<S, T> Default for Shelf<S, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: PartialEq + Clone, T> Shelf<S, T> {
    /// The state of this name; a new one where there was none, or for other settings.
    pub(super) fn get(&self, name: &str, settings: &S, make: impl FnOnce(&S) -> T) -> Arc<T> {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, state)) = shelf.get(name)
            && known == settings
        {
            return Arc::clone(state);
        }
        let state = Arc::new(make(settings));
        let made = (settings.clone(), Arc::clone(&state));
        shelf.insert(name.to_owned(), made);
        state
    }
}
