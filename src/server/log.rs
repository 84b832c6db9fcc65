//! Where log lines go: the file LOGFILE, or syslog, as far as VERBOSITY lets them.
//!
//! VERBOSITY 0 writes nothing; 1 errors, warnings, and the lines about start and stop (those with the target
//! [`LIFE`]); 2 also `info`, which is a line a request; 3 also `debug`; 4 and more `trace`. Knows nothing of what is
//! logged. A file is appended to with one write a line, so that several processes may share it.

use crate::server::syslog;
use log::Level;
use log::LevelFilter;
use log::Log;
use log::Metadata;
use log::Record;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// The target of lines about the server's life: written from VERBOSITY 1 though they are `info`.
pub const LIFE: &str = "life";

static SINK: OnceLock<Sink> = OnceLock::new();

struct Sink {
    level: LevelFilter,
    place: Place,
    /// The open file; `None` when it cannot be written.
    file: RwLock<Option<File>>,
}

enum Place {
    File(PathBuf),
    Syslog,
}

/// Takes the crate `log`'s lines from now on. When the file cannot be opened a line on stderr says so, and the
/// server runs without it.
pub fn start(verbosity: u8, logfile: &str) {
    let level = match verbosity {
        0 => LevelFilter::Off,
        1 => LevelFilter::Warn,
        2 => LevelFilter::Info,
        3 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    if level == LevelFilter::Off {
        return;
    }
    let sink = SINK.get_or_init(|| Sink::open(level, logfile));
    if log::set_logger(sink).is_ok() {
        log::set_max_level(level.max(LevelFilter::Info));
    }
}

/// Opens the file again, for logrotate.
pub fn reopen() {
    if let Some(sink) = SINK.get() {
        sink.reopen();
    }
}

impl Sink {
    fn open(level: LevelFilter, logfile: &str) -> Sink {
        let place = match logfile {
            "syslog" => {
                syslog::open();
                Place::Syslog
            }
            path => Place::File(PathBuf::from(path)),
        };
        let sink = Sink {
            level,
            place,
            file: RwLock::new(None),
        };
        sink.reopen();
        sink
    }

    fn reopen(&self) {
        let Place::File(path) = &self.place else { return };
        let file = OpenOptions::new().append(true).create(true).open(path);
        if let Err(error) = &file {
            let _ = writeln!(
                io::stderr(),
                "iipsrv: no log is written: {}: {error}",
                path.display()
            );
        }
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = file.ok();
    }
}

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level || metadata.target() == LIFE
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        match self.place {
            Place::Syslog => syslog::write(record.level(), &record.args().to_string()),
            Place::File(_) => {
                let line = line(SystemTime::now(), record.level(), &record.args().to_string());
                let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
                if let Some(mut file) = file.as_ref() {
                    // a full disk must not stop the pictures
                    let _ = file.write_all(line.as_bytes());
                }
            }
        }
    }

    fn flush(&self) {}
}

/// `2026-01-31T12:00:00.123Z warning text`: UTC, one line whatever the text holds.
fn line(now: SystemTime, level: Level, text: &str) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let milli = since.subsec_millis();
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let mut line =
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z {level} ");
    line.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
    line.push('\n');
    line
}

/// Year, month and day so many days after 1970-01-01, in the proleptic Gregorian calendar: years are counted from
/// March, so that the leap day is the last, in eras of 400 years or 146,097 days.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_line_has_a_date_and_no_line_breaks() {
        for (seconds, stamp) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_251_200, "2024-03-01T00:00:00.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            let now = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7);
            assert_eq!(
                line(now, Level::Warn, "a\nb\u{1b}c"),
                format!("{stamp} warning a b c\n")
            );
        }
    }

    #[test]
    fn a_file_is_appended_to_and_opened_again() {
        let path = std::env::temp_dir().join(format!("iipsrv-log-{}", std::process::id()));
        let sink = Sink::open(LevelFilter::Warn, path.to_str().unwrap());
        let write = |level, target: &str, text: &str| {
            sink.log(
                &Record::builder()
                    .level(level)
                    .target(target)
                    .args(format_args!("{text}"))
                    .build(),
            )
        };
        write(Level::Info, "any", "unseen");
        write(Level::Info, LIFE, "started");
        write(Level::Error, "any", "broken");
        let moved = path.with_extension("1");
        std::fs::rename(&path, &moved).unwrap();
        sink.reopen();
        write(Level::Warn, "any", "again");
        let lines = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!(lines(&moved).lines().count(), 2);
        assert!(lines(&path).ends_with(" warning again\n"));
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(moved).unwrap();
    }
}
