//! Rate limit for errors and warnings: one line per call site and second, and the number of suppressed lines.

use log::Level;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// The interval in which a call site logs one line.
pub const QUIET: Duration = Duration::from_secs(1);

/// File and line.
pub type CallSite = (&'static str, u32);

/// The recent lines of each call site.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<HashMap<CallSite, Throttled>>);

#[derive(Debug)]
struct Throttled {
    /// When the last line was written.
    last: Instant,
    /// The number of lines suppressed since then, and the last of them.
    held: u64,
    level: Level,
    text: String,
}

impl Throttle {
    /// The text, unless it is suppressed.
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

    /// The last suppressed line of each call site whose interval is over, with the number of lines.
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
    fn the_first_line_is_logged_at_once_and_the_last_with_their_number() {
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
