//! Rate limit for errors and warnings: one line per place in the program and second, and the number of the others.

use log::Level;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// For which a kind is quiet after a line.
pub const QUIET: Duration = Duration::from_secs(1);

/// File and line.
pub type CallSite = (&'static str, u32);

/// What was logged of each kind.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<HashMap<CallSite, Throttled>>);

#[derive(Debug)]
struct Throttled {
    /// When the last line was written.
    last: Instant,
    /// Lines that were held back since, and the last of them.
    held: u64,
    level: Level,
    text: String,
}

impl Throttle {
    /// The text, unless it has to be held back.
    pub fn admit(&self, place: CallSite, now: Instant, level: Level, text: String) -> Option<String> {
        let mut kinds = self.lock();
        let Some(kind) = kinds.get_mut(&place) else {
            let kind = Throttled {
                last: now,
                held: 0,
                level,
                text: String::new(),
            };
            kinds.insert(place, kind);
            return Some(text);
        };
        if kind.held == 0 && now.saturating_duration_since(kind.last) >= QUIET {
            kind.last = now;
            return Some(text);
        }
        kind.held += 1;
        (kind.level, kind.text) = (level, text);
        None
    }

    /// The last of each kind that was held back for long enough, with how many there were.
    pub fn due(&self, now: Instant) -> Vec<(Level, String)> {
        let mut due = Vec::new();
        for kind in self.lock().values_mut() {
            if kind.held > 0 && now.saturating_duration_since(kind.last) >= QUIET {
                let text = std::mem::take(&mut kind.text);
                due.push((
                    kind.level,
                    match kind.held {
                        1 => text,
                        held => format!("{text} ({held} of this kind since the last line)"),
                    },
                ));
                kind.held = 0;
                kind.last = now;
            }
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallSite, Throttled>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_logged_at_once_and_the_last_with_their_number() {
        let (kinds, start) = (Throttle::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let admit = |line, ms, text: &str| kinds.admit(("file.rs", line), at(ms), Level::Warn, text.into());
        assert_eq!(admit(1, 0, "a").as_deref(), Some("a"));
        assert_eq!(admit(2, 0, "another kind").as_deref(), Some("another kind"));
        for n in 1..=40 {
            assert_eq!(admit(1, n, &format!("a{n}")), None);
        }
        assert_eq!(kinds.due(at(999)), []);
        let text = "a40 (40 of this kind since the last line)";
        assert_eq!(kinds.due(at(1000)), [(Level::Warn, text.into())]);
        assert_eq!(admit(1, 1500, "b"), None);
        assert_eq!(kinds.due(at(2000)), [(Level::Warn, "b".into())]);
        assert_eq!(admit(1, 3000, "c").as_deref(), Some("c"));
        assert_eq!(kinds.due(at(9000)), []);
    }
}
