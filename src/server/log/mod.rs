//! The log: writes to the file LOGFILE, an open descriptor or syslog, filtered by VERBOSITY.
//!
//! VERBOSITY 0 writes nothing; 1 errors, warnings, and lines about start and stop (target [`LIFE`]); 2 also `info`,
//! which is one line per request; 3 also `debug`; 4 and more `trace`. A separate thread writes: logging never blocks,
//! and lines that do not fit the queue are dropped, counted and reported. Several processes may share a file: each
//! write consists of whole lines.

mod line;
mod output;
mod queue;
mod throttle;

use crate::config::LogFormat;
use crate::server::log::output::LogOutput;
use crate::server::log::queue::LogEntry;
use crate::server::log::queue::Queue;
use crate::server::log::throttle::Throttle;
use crate::service::access;
use log::Level;
use log::LevelFilter;
use log::Log;
use log::Metadata;
use log::Record;
use std::io;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;

/// The target of lines about the server's life: written from VERBOSITY 1 on although their level is `info`, and never
/// throttled.
pub const LIFE: &str = "life";

/// How long a process that ends waits for its log.
const LAST: Duration = Duration::from_secs(1);

static SINK: OnceLock<LogSink> = OnceLock::new();

struct LogSink {
    level: LevelFilter,
    format: LogFormat,
    queue: Queue,
    kinds: Throttle,
}

/// Installs the logger of the crate `log`. If the log cannot be opened, a line on stderr says so, and the lines go
/// there.
pub fn start(verbosity: u8, logfile: &str, format: LogFormat) -> io::Result<()> {
    let level = match verbosity {
        0 => return Ok(()),
        1 => LevelFilter::Warn,
        2 => LevelFilter::Info,
        3 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    let sink = SINK.get_or_init(|| LogSink {
        level,
        format,
        queue: Queue::default(),
        kinds: Throttle::default(),
    });
    if log::set_logger(sink).is_ok() {
        log::set_max_level(level.max(LevelFilter::Info));
        let logfile = logfile.to_string();
        let write = move || sink.write(LogOutput::open(&logfile, Box::new(io::stderr())));
        thread::Builder::new().name("log".into()).spawn(write)?;
    }
    Ok(())
}

/// Opens the file again, for logrotate.
pub fn reopen() {
    if let Some(sink) = SINK.get() {
        sink.queue.push(LogEntry::Reopen);
    }
}

impl LogSink {
    /// The main loop of the log thread.
    fn write(&self, mut output: LogOutput) {
        loop {
            let mut lines = Vec::new();
            for entry in self.queue.take(throttle::QUIET) {
                match entry {
                    LogEntry::Line(level, text) => lines.push((level, text)),
                    LogEntry::Reopen => {
                        self.send(&mut output, std::mem::take(&mut lines));
                        output.reopen();
                    }
                }
            }
            lines.extend(self.due());
            self.send(&mut output, lines);
        }
    }

    /// Writes lines in the largest possible batches.
    fn send(&self, output: &mut LogOutput, lines: Vec<(Level, String)>) {
        let mut lines = lines.into_iter().peekable();
        while let Some((level, mut batch)) = lines.next() {
            let mut count = 1;
            while let Some((_, next)) = lines.next_if(|(_, next)| batch.len() + next.len() <= output.batch())
            {
                batch.push_str(&next);
                count += 1;
            }
            // a full disk must not stop the server
            if output.write(level, &batch).is_err() {
                self.queue.drop_lines(count);
                continue;
            }
            let dropped = self.queue.take_dropped();
            if dropped > 0 {
                let text = format!("{dropped} lines of the log could not be written");
                let line = line::line(self.format, SystemTime::now(), Level::Warn, &text);
                if output.write(Level::Warn, &line).is_err() {
                    self.queue.drop_lines(dropped);
                }
            }
        }
    }

    /// Throttled lines that are due.
    fn due(&self) -> Vec<(Level, String)> {
        let line = |(level, text): (Level, String)| {
            (level, line::line(self.format, SystemTime::now(), level, &text))
        };
        self.kinds.due(Instant::now()).into_iter().map(line).collect()
    }
}

impl Log for LogSink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level || metadata.target() == LIFE
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (level, text) = (record.level(), record.args().to_string());
        let text = match record.file_static().zip(record.line()) {
            Some(place) if level <= Level::Warn && record.target() != LIFE => {
                match self.kinds.admit(place, Instant::now(), level, text) {
                    Some(text) => text,
                    None => return,
                }
            }
            _ => text,
        };
        let line = if record.target() == access::TARGET && self.format != LogFormat::Iip {
            text + "\n"
        } else {
            line::line(self.format, SystemTime::now(), level, &text)
        };
        self.queue.push(LogEntry::Line(level, line));
    }

    /// Flushes at the end of the process; waits a second at most.
    fn flush(&self) {
        let end = Instant::now() + LAST;
        for (level, line) in self.due() {
            self.queue.push(LogEntry::Line(level, line));
        }
        self.queue.flush(end.saturating_duration_since(Instant::now()));
    }
}
