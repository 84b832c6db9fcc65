//! Formats a line of the log.

use crate::config::LogFormat;
use crate::service::access::stamp;
use log::Level;
use std::time::SystemTime;

/// A line that is not about a request: `2026-01-31T12:00:00.123Z warning text` in UTC, or the same as JSON. Always a
/// single line.
pub fn line(format: LogFormat, now: SystemTime, level: Level, text: &str) -> String {
    let time = stamp(now);
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    if format == LogFormat::Json {
        return format!(
            "{}\n",
            serde_json::json!({"time": time, "level": level, "message": text})
        );
    }
    let mut line = format!("{time} {level} ");
    line.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use std::time::UNIX_EPOCH;

    #[test]
    fn a_line_is_one_line_in_every_format() {
        let now = UNIX_EPOCH + Duration::from_millis(7);
        let all = |format| line(format, now, Level::Warn, "a\nb\u{1b}c");
        let plain = "1970-01-01T00:00:00.007Z warning a b c\n";
        assert_eq!(all(LogFormat::Iip), plain);
        assert_eq!(all(LogFormat::Combined), plain);
        let json = all(LogFormat::Json);
        let object: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (object["message"].as_str(), json.lines().count()),
            (Some("a\nb\u{1b}c"), 1)
        );
    }
}
