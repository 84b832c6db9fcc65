//! The destination of lines: a file, a descriptor that is already open, or syslog; stderr if that fails.
//!
//! Only the log thread writes, so that a pipe that is not read or a syslog that hangs blocks no request.

use crate::server::syslog;
use log::Level;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// The socket of the local syslog.
const SYSLOG: &str = "/dev/log";

/// The parsed value of LOGFILE.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Destination {
    File(PathBuf),
    /// Already open: it may belong to a user whose files cannot be opened by name.
    Stdout,
    Stderr,
    Syslog,
}

/// An open destination.
#[derive(Debug)]
enum OpenTarget {
    File(File),
    Syslog,
}

/// The open log.
pub struct LogOutput {
    place: Destination,
    target: Option<OpenTarget>,
    /// The fallback for lines that could not be written, and when it was last reported.
    stderr: Box<dyn Write + Send>,
    falls_back: bool,
}

impl LogOutput {
    /// Opens the destination that LOGFILE names. If that fails, a line on `stderr` says so, and the lines go there.
    pub fn open(logfile: &str, stderr: Box<dyn Write + Send>) -> LogOutput {
        let place = match logfile {
            "syslog" => Destination::Syslog,
            "-" | "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => Destination::Stderr,
            "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => Destination::Stdout,
            path => Destination::File(path.into()),
        };
        let mut output = LogOutput {
            place,
            target: None,
            stderr,
            falls_back: false,
        };
        output.reopen();
        output
    }

    /// Reopens the destination.
    pub fn reopen(&mut self) {
        let target = match &self.place {
            Destination::File(path) => OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .map(OpenTarget::File)
                .map_err(|error| format!("{}: {error}", path.display())),
            Destination::Stdout => duplicate(&io::stdout()),
            Destination::Stderr => duplicate(&io::stderr()),
            Destination::Syslog => {
                syslog::open();
                listening().map(|()| OpenTarget::Syslog)
            }
        };
        match target {
            Ok(target) => {
                self.target = Some(target);
                self.falls_back = false;
            }
            Err(why) => self.fall_back(&why),
        }
    }

    /// Writes lines of this level, each with its line feed, at once.
    pub fn write(&mut self, level: Level, lines: &str) -> io::Result<()> {
        if matches!(self.target, Some(OpenTarget::Syslog)) || self.place == Destination::Syslog {
            match listening() {
                Ok(()) => {
                    self.falls_back = false;
                    lines.lines().for_each(|line| syslog::write(level, line));
                    return Ok(());
                }
                Err(why) => self.fall_back(&why),
            }
        }
        match &self.target {
            Some(OpenTarget::File(file)) => write_all(file, lines.as_bytes()),
            _ => self.stderr.write_all(lines.as_bytes()),
        }
    }

    /// The largest batch in bytes: what a pipe accepts atomically from one of several writers.
    pub fn batch(&self) -> usize {
        match self.place {
            // one message per line, each with its level
            Destination::Syslog => 0,
            _ => 4096,
        }
    }

    fn fall_back(&mut self, why: &str) {
        self.target = None;
        if !std::mem::replace(&mut self.falls_back, true) {
            let _ = writeln!(self.stderr, "iipsrv: the log goes to stderr: {why}");
        }
    }
}

/// Whether a syslog daemon listens.
fn listening() -> Result<(), String> {
    let tried = UnixDatagram::unbound().and_then(|socket| socket.connect(SYSLOG));
    match tried {
        // it is a stream socket, which the C library supports
        Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => Ok(()),
        tried => tried.map_err(|error| format!("syslog: {SYSLOG}: {error}")),
    }
}

fn duplicate(open: &impl AsFd) -> Result<OpenTarget, String> {
    let own = open.as_fd().try_clone_to_owned();
    own.map(|own| OpenTarget::File(own.into()))
        .map_err(|error| error.to_string())
}

/// Writes everything, also to non-blocking descriptors.
fn write_all(mut file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                rustix::event::poll(&mut [PollFd::new(file, PollFlags::OUT)], None)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::Mutex;

    /// Captures stderr.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<u8>>>);

    impl Write for Told {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_file_is_appended_to_and_opened_again() {
        let path = std::env::temp_dir().join(format!("iipsrv-log-{}", std::process::id()));
        let stderr = Told::default();
        let mut output = LogOutput::open(path.to_str().unwrap(), Box::new(stderr.clone()));
        output.write(Level::Info, "one\ntwo\n").unwrap();
        let moved = path.with_extension("1");
        std::fs::rename(&path, &moved).unwrap();
        output.write(Level::Info, "three\n").unwrap();
        output.reopen();
        output.write(Level::Warn, "four\n").unwrap();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\ntwo\nthree\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "four\n");
        assert!(stderr.0.lock().unwrap().is_empty());
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(moved).unwrap();
    }

    #[test]
    fn lines_go_to_stderr_until_the_log_can_be_opened() {
        let folder = std::env::temp_dir().join(format!("iipsrv-nolog-{}", std::process::id()));
        let path = folder.join("log");
        let stderr = Told::default();
        let mut output = LogOutput::open(path.to_str().unwrap(), Box::new(stderr.clone()));
        output.write(Level::Info, "one\n").unwrap();
        output.reopen();
        output.write(Level::Info, "two\n").unwrap();
        let text = String::from_utf8(stderr.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[1], lines[2]), (3, "one", "two"));
        assert!(
            lines[0].starts_with("iipsrv: the log goes to stderr: /"),
            "{}",
            lines[0]
        );
        std::fs::create_dir(&folder).unwrap();
        output.reopen();
        output.write(Level::Info, "three\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
