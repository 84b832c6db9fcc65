//! A log that hangs, is full or is missing delays no request; lost lines are counted.

use crate::process::BINARY;
use crate::process::Folder;
use crate::process::Server;
use crate::support::HttpAnswer;
use crate::support::http;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

/// All lines of the stream.
fn lines(stream: impl Read) -> Vec<String> {
    BufReader::new(stream).lines().map(Result::unwrap).collect()
}

#[test]
fn an_unread_log_pipe_delays_no_request_and_lost_lines_are_counted() {
    let folder = Folder::new();
    let mut server = Server::start(folder.command(BINARY).env("LOGFILE", "-"));
    // 2.7 MB of lines exceed the pipe, the queue and the writer's buffer
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let port = server.port;
            std::thread::spawn(move || {
                let long = format!("/iiif/tessera.tif/info.json?{}", "x".repeat(480));
                for _ in 0..600 {
                    assert_eq!(http(port, "GET", &long, &[("Host", "localhost")], "").status, 200);
                }
            })
        })
        .collect();
    asking.into_iter().for_each(|thread| thread.join().unwrap());
    // now the pipe is read
    let stderr = server.child.stderr.take().unwrap();
    let reading = std::thread::spawn(move || lines(stderr));
    server.ask_often(1);
    server.stop();
    let lines = reading.join().unwrap();
    let written = lines.iter().filter(|line| line.contains("info.json")).count();
    let lost = lines
        .iter()
        .filter(|line| line.contains("lines of the log could not be written"));
    let lost: usize = lost
        .map(|line| line.split(' ').nth(2).unwrap().parse::<usize>().unwrap())
        .sum();
    // the requests of eight threads, and the one after them
    assert_eq!(written + lost, 8 * 600 + 1, "{written} and {lost}");
    assert!(lost > 0);
}

#[test]
#[ignore = "needs unshare"]
fn a_hanging_syslog_delays_no_request_and_a_missing_one_is_reported() {
    let folder = Folder::new();
    let socket = folder.join("syslog");
    let listener = UnixDatagram::bind(&socket).unwrap();
    let inside = |name: &str| {
        let mut command = folder.command("unshare");
        let script = "mount -t tmpfs none /dev && ln -s \"$0\" /dev/log && exec \"$@\"";
        command
            .env("PATH", "/usr/bin:/bin")
            .env("LOGFILE", "syslog")
            .args([
                "-rm",
                "sh",
                "-c",
                script,
                &folder.join(name).display().to_string(),
                BINARY,
            ]);
        command
    };
    let server = Server::start(&mut inside("syslog"));
    server.ask_often(600);
    let mut first = [0; 2048];
    let length = listener.recv(&mut first).unwrap();
    let first = String::from_utf8_lossy(&first[..length]);
    assert!(first.starts_with("<30>") && first.contains("iipsrv["), "{first}");
    drop(server);

    let mut server = Server::start(&mut inside("missing"));
    server.ask_often(3);
    let stderr = server.child.stderr.take().unwrap();
    server.stop();
    let lines = lines(stderr);
    let expected = "iipsrv: the log goes to stderr: syslog: /dev/log: ";
    assert!(lines[0].starts_with(expected), "{}", lines[0]);
    assert_eq!(lines.iter().filter(|line| line.starts_with("iipsrv:")).count(), 1);
    assert_eq!(lines.iter().filter(|line| line.contains("info.json")).count(), 3);
}

#[test]
fn standard_error_may_be_any_kind_of_descriptor() {
    for logfile in ["-", "/dev/stderr", "/dev/stdout"] {
        // under systemd both are sockets, which cannot be opened by path
        let (reader, writer) = UnixStream::pair().unwrap();
        let folder = Folder::new();
        let mut command = folder.command(BINARY);
        command.env("LOGFILE", logfile).stderr(Stdio::null());
        let writer = std::os::fd::OwnedFd::from(writer);
        if logfile == "/dev/stdout" {
            command.stdout(writer);
        } else {
            command.stderr(writer);
        }
        let server = Server::start(&mut command);
        // close the test's copy
        drop(command);
        server.ask_often(1);
        server.stop();
        let lines = lines(reader);
        let has = |text: &str| lines.iter().any(|line| line.contains(text));
        assert!(has("info.json") && has("stopped after"), "{logfile}: {lines:?}");
    }
}

#[test]
fn a_log_file_that_cannot_be_opened_is_replaced_by_stderr_after_a_warning() {
    let folder = Folder::new();
    let mut server = Server::start(folder.command(BINARY).env("LOGFILE", "/nowhere/at/all"));
    server.ask_often(2);
    let stderr = server.child.stderr.take().unwrap();
    server.stop();
    let lines = lines(stderr);
    assert_eq!(
        lines[0],
        "iipsrv: the log goes to stderr: /nowhere/at/all: No such file or directory (os error 2)"
    );
    assert!(
        lines[1..].iter().all(|line| line.contains("Z info ")),
        "{lines:?}"
    );
}

#[test]
fn requests_are_logged_in_combined_format_and_json_and_keep_their_request_id() {
    let ask = |format: &str| {
        let folder = Folder::new();
        let mut command = folder.command(BINARY);
        command.env("LOG_FORMAT", format).env("TRUST_PROXY", "1");
        let server = Server::start(&mut command);
        let headers = [
            ("X-Request-ID", "from-the-proxy"),
            ("X-Forwarded-For", "203.0.113.9"),
            ("Referer", "https://example.org/"),
            ("User-Agent", "tester/1.0"),
        ];
        let answer = server.get("/iiif/tessera.tif/full/50,/0/default.jpg", &headers);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("X-Request-ID"), Some("from-the-proxy"));
        let one = server.get("/iiif/nothing/info.json", &[]);
        let two = server.get("/iiif/nothing/info.json", &[]);
        let request_id = |answer: &HttpAnswer| answer.header("X-Request-ID").unwrap().to_string();
        assert_eq!(one.status, 404);
        assert!(request_id(&one).len() == 16 && request_id(&one) != request_id(&two));
        server.stop();
        (folder.log(), answer.body.len())
    };
    let (log, bytes) = ask("combined");
    let line = log.lines().find(|line| line.contains("50,")).unwrap();
    assert!(line.starts_with("203.0.113.9 - - ["), "{line}");
    let end = format!(
        "] \"GET /iiif/tessera.tif/full/50,/0/default.jpg HTTP/1.1\" 200 {bytes} \"https://example.org/\" \"tester/1.0\""
    );
    assert!(line.ends_with(&end), "{line}");

    let (log, bytes) = ask("json");
    let all: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let request = all
        .iter()
        .find(|line| line["request_id"] == "from-the-proxy")
        .unwrap();
    assert_eq!(request["client"], "203.0.113.9");
    assert_eq!(
        (request["status"].as_u64(), request["bytes"].as_u64()),
        (Some(200), Some(bytes as u64))
    );
    assert!(all.iter().any(|line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.contains("starts"))
    }));
}
