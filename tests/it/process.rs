//! Child processes of tests: each has its own folder, is waited for, and ends with its test.

use crate::support::HttpAnswer;
use crate::support::http;
use rustix::process::Pid;
use rustix::process::Signal;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// The server binary.
pub const BINARY: &str = env!("CARGO_BIN_EXE_iipsrv");

/// A server over HTTP, killed when dropped.
pub struct Server {
    pub child: Child,
    pub port: u16,
}

impl Server {
    pub fn start(command: &mut Command) -> Server {
        let port = free_port();
        let child = command
            .args(["--http", &format!("127.0.0.1:{port}")])
            .spawn()
            .unwrap();
        let server = Server { child, port };
        until(|| std::net::TcpStream::connect(("127.0.0.1", port)).ok()).expect("the server listens");
        server
    }

    pub fn get(&self, uri: &str, lines: &[(&str, &str)]) -> HttpAnswer {
        http(
            self.port,
            "GET",
            uri,
            &[&[("Host", "localhost")], lines].concat(),
            "",
        )
    }

    /// Sends `count` requests with log lines of maximum length and asserts that all are answered.
    pub fn ask_often(&self, count: usize) {
        let long = format!("/iiif/tessera.tif/info.json?{}", "x".repeat(480));
        for turn in 0..count {
            assert_eq!(self.get(&long, &[]).status, 200, "{turn}");
        }
    }

    pub fn stop(mut self) {
        signal(&self.child, "TERM");
        let ended = until(|| self.child.try_wait().unwrap()).expect("it ends");
        assert_eq!(ended.code(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A temporary folder, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "iipsrv-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A command with a clean environment and its log in this folder.
    pub fn command(&self, binary: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(binary);
        command
            .env_clear()
            .env("LOGFILE", self.join("log"))
            .env("VERBOSITY", "2")
            .env(
                "FILESYSTEM_PREFIX",
                concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/"),
            )
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.join("log")).unwrap_or_default()
    }

    /// Waits for a line of the log that contains `text`.
    pub fn wait_for(&self, text: &str) -> String {
        let found = until(|| self.log().lines().find(|l| l.contains(text)).map(String::from));
        found.unwrap_or_else(|| panic!("no {text:?} in the log:\n{}", self.log()))
    }

    /// Asserts that every line of the log has a date and none is a warning or error.
    pub fn log_is_clean(&self) {
        let log = self.log();
        assert!(!log.is_empty());
        for line in log.lines() {
            assert!(line.contains("Z info "), "{line}");
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Sends a child process the signal of this name.
pub fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(sent.unwrap().success(), "{name}");
}

/// Polls for up to 20 seconds until `ask` returns a value.
pub fn until<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = ask() {
            return Some(found);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A free loopback port below the kernel's range of ephemeral ports.
pub fn free_port() -> u16 {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() as u16;
    loop {
        let next = start
            .wrapping_mul(97)
            .wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + next % 20_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A process group, killed when dropped.
pub struct Group {
    leader: Pid,
    /// The leader, unless another process started it.
    child: Option<Child>,
}

impl Group {
    pub fn start(command: &mut Command) -> Group {
        let child = command.process_group(0).spawn().unwrap();
        Group {
            leader: Pid::from_child(&child),
            child: Some(child),
        }
    }

    /// The group of a daemon that has left its parent.
    pub fn adopt(leader: i32) -> Group {
        Group {
            leader: Pid::from_raw(leader).unwrap(),
            child: None,
        }
    }

    /// Whether a process of the group runs.
    pub fn runs(&mut self) -> bool {
        if let Some(child) = &mut self.child {
            child.try_wait().unwrap();
        }
        let group = self.leader.as_raw_pid().to_string();
        std::fs::read_dir("/proc").unwrap().any(|entry| {
            // not a process, or ended meanwhile
            let stat = std::fs::read_to_string(entry.unwrap().path().join("stat")).unwrap_or_default();
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            let (state, _parent, its) = (fields.next(), fields.next(), fields.next());
            its == Some(&group) && !matches!(state, Some("Z" | "X"))
        })
    }

    /// Sends SIGTERM to the leader and asserts that the whole group ends.
    pub fn stop(mut self) {
        rustix::process::kill_process(self.leader, Signal::TERM).unwrap();
        until(|| (!self.runs()).then_some(())).expect("the group ends with its leader");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.runs() {
            let _ = rustix::process::kill_process_group(self.leader, Signal::KILL);
        }
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
    }
}
