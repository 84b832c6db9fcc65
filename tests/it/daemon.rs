//! The real binary: every way to start it, answers, reloading, stopping, and a log without unexpected lines.

use crate::fcgi::Client;
use crate::fcgi::get;
use crate::process::Folder;
use crate::process::signal;
use crate::process::until;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

const BINARY: &str = env!("CARGO_BIN_EXE_iipsrv");
const ASKED: &str = "OBJ=IIP,1.0";
const ANSWER: &[u8] = b"IIP:1.0\r\n";

/// A child process, killed when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Daemon {
    fn start(command: &mut Command) -> Daemon {
        Daemon(command.spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        signal(&self.0, name);
    }

    /// Waits until the process exits; its exit code.
    fn ended(&mut self) -> Option<i32> {
        until(|| self.0.try_wait().unwrap()).expect("it ends").code()
    }
}

fn address(folder: &Folder) -> SocketAddr {
    let line = folder.wait_for("FastCGI on ");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn serves<S: std::io::Read + std::io::Write>(mut client: Client<S>) {
    client.send(&get(1, false, ASKED));
    let answer = client.answer(1);
    assert_eq!((answer.status(), answer.body()), (200, ANSWER));
    assert!(client.closed());
}

#[test]
fn it_binds_a_port_and_sigterm_stops_it() {
    let folder = Folder::new();
    let mut daemon = Daemon::start(
        folder
            .command(BINARY)
            .args(["--backlog", "9", "--bind", "127.0.0.1:0"]),
    );
    serves(Client::tcp(address(&folder)));
    daemon.signal("TERM");
    assert_eq!(daemon.ended(), Some(0));
    folder.wait_for("stopped after 1 requests");
    folder.log_is_clean();
}

#[test]
fn every_stop_signal_stops_it_and_removes_the_socket() {
    for signal in ["INT", "USR1"] {
        let folder = Folder::new();
        let path = folder.join("socket");
        let mut daemon = Daemon::start(folder.command(BINARY).arg("--bind").arg(&path));
        folder.wait_for("FastCGI on ");
        serves(Client::unix(&path));
        daemon.signal(signal);
        assert_eq!(daemon.ended(), Some(0));
        assert!(!path.exists());
        folder.log_is_clean();
    }
}

#[test]
fn an_open_connection_does_not_delay_stopping() {
    let folder = Folder::new();
    let mut daemon = Daemon::start(folder.command(BINARY).args(["--bind", "127.0.0.1:0"]));
    let mut kept = Client::tcp(address(&folder));
    assert_eq!(kept.ask(ASKED).body(), ANSWER);
    let start = Instant::now();
    daemon.signal("TERM");
    assert_eq!(daemon.ended(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(kept.closed());
}

#[test]
fn it_serves_the_socket_on_fd_0() {
    let folder = Folder::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let daemon = Daemon::start(folder.command(BINARY).stdin(OwnedFd::from(tcp)));
    serves(Client::tcp(address));
    drop(daemon);

    let path = folder.join("socket");
    let unix = UnixListener::bind(&path).unwrap();
    let mut daemon = Daemon::start(folder.command(BINARY).stdin(OwnedFd::from(unix)));
    serves(Client::unix(&path));
    daemon.signal("TERM");
    assert_eq!(daemon.ended(), Some(0));
    assert!(path.exists(), "a socket that was passed in is not removed");
    folder.log_is_clean();
}

#[test]
fn it_serves_the_sockets_of_systemd_and_notifies_it_when_ready() {
    let folder = Folder::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let notified = UnixDatagram::bind(folder.join("notify")).unwrap();
    notified.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let script = format!("LISTEN_PID=$$ LISTEN_FDS=1 exec {BINARY} 3<&0 </dev/null");
    let mut daemon = Daemon::start(
        folder
            .command("/bin/sh")
            .args(["-c", &script])
            .stdin(OwnedFd::from(tcp))
            .env("NOTIFY_SOCKET", folder.join("notify"))
            .env("WATCHDOG_USEC", "200000"),
    );
    let mut notice = [0; 64];
    let mut signs = 0;
    let mut tell = || {
        loop {
            let length = notified.recv(&mut notice).unwrap();
            match String::from_utf8_lossy(&notice[..length]).into_owned() {
                sign if sign == "WATCHDOG=1" => signs += 1,
                other => return other,
            }
        }
    };
    assert_eq!(tell(), "READY=1");
    serves(Client::tcp(address));
    std::thread::sleep(Duration::from_millis(500));
    daemon.signal("HUP");
    let reloading = tell();
    let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(since.parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(tell(), "READY=1");
    daemon.signal("TERM");
    assert_eq!(tell(), "STOPPING=1");
    assert_eq!(daemon.ended(), Some(0));
    assert!(signs >= 2, "watchdog notifications: {signs}");
    folder.log_is_clean();
}

#[test]
fn requests_that_outlast_the_grace_period_are_cut_off_and_the_exit_status_says_so() {
    let folder = Folder::new();
    let mut daemon = Daemon::start(
        folder
            .command(BINARY)
            .args(["--bind", "127.0.0.1:0"])
            .env("GRACE", "0.2"),
    );
    let address = address(&folder);
    let mut half = Client::tcp(address);
    let request = get(1, true, ASKED);
    half.send(&request[..request.len() - 4]);
    // accepted after the other connection
    serves(Client::tcp(address));
    daemon.signal("TERM");
    assert_eq!(daemon.ended(), Some(3));
    assert!(
        folder.log().contains("; 1 connections were cut"),
        "{}",
        folder.log()
    );
}

#[test]
fn the_socket_of_a_dead_server_is_replaced_and_that_of_a_running_one_is_not() {
    let folder = Folder::new();
    let path = folder.join("socket");
    let start = || Daemon::start(folder.command(BINARY).arg("--bind").arg(&path));
    let first = start();
    folder.wait_for("FastCGI on ");
    let mut second = start();
    assert_eq!(second.ended(), Some(1));
    folder.wait_for("another server is listening");
    serves(Client::unix(&path));
    drop(first); // killed: the socket file remains
    assert!(path.exists());
    std::fs::remove_file(folder.join("log")).unwrap();
    let _third = start();
    folder.wait_for("FastCGI on ");
    serves(Client::unix(&path));
}

#[test]
fn sighup_reopens_the_log_without_interrupting_service() {
    let folder = Folder::new();
    let daemon = Daemon::start(folder.command(BINARY).args(["--bind", "127.0.0.1:0"]));
    let address = address(&folder);
    let mut kept = Client::tcp(address);
    assert_eq!(kept.ask(ASKED).body(), ANSWER);
    std::fs::rename(folder.join("log"), folder.join("log.1")).unwrap();
    daemon.signal("HUP");
    folder.wait_for("log opened again");
    assert_eq!(kept.ask(ASKED).body(), ANSWER);
    folder.log_is_clean();
}

#[test]
fn without_a_socket_it_prints_how_to_start_it() {
    let folder = Folder::new();
    let output = folder.command(BINARY).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("--bind"), "{text}");
}

#[test]
fn it_runs_under_the_name_iipsrv_fcgi() {
    let folder = Folder::new();
    let name = folder.join("iipsrv.fcgi");
    std::os::unix::fs::symlink(BINARY, &name).unwrap();
    let path = folder.join("socket");
    let _daemon = Daemon::start(folder.command(&name).arg("--bind").arg(&path));
    until(|| UnixStream::connect(&path).ok()).unwrap();
    serves(Client::unix(&path));
    let output = folder.command(&name).arg("--version").output().unwrap();
    let version = concat!("iipsrv ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), version);
    assert!(Path::new(&name).exists());
}

#[test]
fn without_free_descriptors_idle_connections_are_closed_for_new_ones() {
    let folder = Folder::new();
    let script = format!("ulimit -n 64; exec {BINARY} --bind 127.0.0.1:0");
    let daemon = Daemon::start(folder.command("/bin/sh").args(["-c", &script]));
    let address = address(&folder);
    // connections that have had an answer, and some that have sent nothing
    let idle: Vec<_> = (0..200)
        .map(|at| {
            let mut client = Client::tcp(address);
            if at < 8 {
                assert_eq!(client.ask(ASKED).body(), ANSWER);
            }
            client
        })
        .collect();
    assert_eq!(Client::tcp(address).ask(ASKED).body(), ANSWER);
    // the server neither spins nor exits while connections wait
    let cpu = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.0.id())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let before = cpu();
    std::thread::sleep(Duration::from_millis(1200));
    assert!(
        cpu() - before < 20,
        "CPU time in hundredths of a second: {}",
        cpu() - before
    );
    drop(idle);
    assert_eq!(Client::tcp(address).ask(ASKED).body(), ANSWER);
    assert_eq!(folder.log().matches("no file descriptors are left").count(), 1);
}

#[test]
#[ignore = "needs vips"]
fn a_large_export_stays_within_the_documented_memory() {
    let folder = Folder::new();
    let (w, h, tile, threads) = (4000, 30_000, 256, 2);
    let made = Command::new("vips")
        .args([
            "black",
            &format!(
                "{}[tile,tile-width={tile},tile-height={tile},compression=jpeg]",
                folder.join("tall.tif").display()
            ),
        ])
        .args([w.to_string(), h.to_string(), "--bands=3".into()])
        .status()
        .unwrap();
    assert!(made.success());
    for format in ["jpg", "png", "tif"] {
        let own = Folder::new();
        let port = crate::process::free_port();
        let mut command = own.command(BINARY);
        command
            .env("FILESYSTEM_PREFIX", format!("{}/", folder.join("").display()))
            .env("MAX_CVT", "-1")
            .env("OMP_NUM_THREADS", threads.to_string())
            .args(["--http", &format!("127.0.0.1:{port}")]);
        let daemon = Daemon::start(&mut command);
        own.wait_for("listening for HTTP on");
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        let uri = format!("/iiif/tall.tif/full/max/0/default.{format}");
        write!(
            stream,
            "GET {uri} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer[..100])
        );
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.0.id())).unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let peak: usize = peak.trim().trim_end_matches(" kB").parse().unwrap();
        // plus the memory of the idle process and its cache
        let most = threads * (4 * tile * w * 3 + 10_000_000) + 2 * answer.len() + 30_000_000;
        eprintln!(
            "{format}: {} MB of {} allowed, {} the picture",
            peak / 1000,
            most / 1_000_000,
            w * h * 3 / 1_000_000
        );
        assert!(peak * 1024 < most, "{format}: {peak} kB, {most}");
        assert!(most < w * h * 3 / 2);
    }
}
