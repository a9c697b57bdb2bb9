//! Injected panics, with which tests check that no panic is lost. Without effect in release builds.

use std::sync::Mutex;

/// Where the next panic is injected: `KIND NAME`.
static INJECTED: Mutex<Option<String>> = Mutex::new(None);

/// Injects one panic at the point `at`, such as `appender`, `task feed` or `consumer works`. Debug
/// builds only.
pub fn inject(at: String) {
    if cfg!(debug_assertions)
        && let Ok(mut injected) = INJECTED.lock()
    {
        *injected = Some(at);
    }
}

/// Panics if a panic was injected at this point, once.
pub fn point(kind: &str, name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    let at = [kind, name].join(" ");
    let due = INJECTED
        .lock()
        .is_ok_and(|mut injected| injected.take_if(|wanted| *wanted == at.trim_end()).is_some());
    assert!(!due, "injected at {at}");
}
