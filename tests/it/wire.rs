//! FastCGI and HTTP over real sockets: broken, slow, silent and impatient peers affect only their own connections.

use crate::fcgi;
use crate::fcgi::Answer;
use crate::fcgi::Client;
use crate::fcgi::PARAMS;
use crate::fcgi::STDIN;
use crate::fcgi::begin;
use crate::fcgi::get;
use crate::fcgi::record;
use crate::support;
use iipsrv::error::Result;
use iipsrv::geometry::Size;
use iipsrv::server::connections::Patience;
use iipsrv::server::listen::Listener;
use iipsrv::server::runtime;
use iipsrv::server::runtime::RunningServer;
use iipsrv::service::Service;
use iipsrv::source::Header;
use iipsrv::source::Source;
use iipsrv::source::Take;
use iipsrv::source::Window;
use iipsrv::source::cache::TileCache;
use iipsrv::source::synthetic::Synthetic;
use rustix::process::Resource;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

const TILE: &str = "FIF=rgb&JTL=0,0";

/// A server in this process.
pub struct Server {
    running: Option<RunningServer>,
    fastcgi: SocketAddr,
    pub http: SocketAddr,
}

impl Server {
    pub fn start(service: Service, threads: usize, patience: Patience) -> Server {
        let mut limit = rustix::process::getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        rustix::process::setrlimit(Resource::Nofile, limit).unwrap();
        let mut listeners = Listener::fastcgi("127.0.0.1:0", 2048).unwrap();
        let fastcgi = listeners[0].address().unwrap();
        listeners.extend(Listener::http("127.0.0.1:0", 2048).unwrap());
        let http = listeners[1].address().unwrap();
        let running = runtime::start(Arc::new(service), listeners, threads, patience).unwrap();
        Server {
            running: Some(running),
            fastcgi,
            http,
        }
    }

    pub fn new() -> Server {
        Server::start(support::service(&[]), 2, Patience::default())
    }

    fn client(&self) -> Client<TcpStream> {
        Client::tcp(self.fastcgi)
    }

    /// Sends `input` and reads until the server closes the connection.
    pub fn http(&self, input: &str) -> String {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(input.as_bytes()).unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Asserts that the server still answers.
    pub fn lives(&self) {
        good(&self.client().ask(TILE));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = self
            .running
            .take()
            .is_none_or(|r| r.stop(Duration::from_secs(10)) == 0);
        assert!(stopped || std::thread::panicking(), "everything was finished");
    }
}

/// An image whose tiles decode only after a door is opened; it records the decoded tiles.
struct Slow {
    image: Synthetic,
    door: Arc<Door>,
}

#[derive(Default)]
struct Door {
    open: Mutex<bool>,
    opened: Condvar,
    read: Mutex<Vec<u32>>,
}

impl Door {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    /// Waits until `count` tiles have been requested.
    fn wait_for(&self, count: usize) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.read.lock().unwrap().len() < count {
            assert!(Instant::now() < end, "the tile is asked for");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Source for Slow {
    fn header(&self) -> &Header {
        self.image.header()
    }

    fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
        self.door.read.lock().unwrap().push(window.rect.x / 64);
        let open = self.door.open.lock().unwrap();
        drop(self.door.opened.wait_while(open, |open| !*open).unwrap());
        self.image.read(window, keep, take)
    }
}

/// A server with one compute thread and the image `slow`, eight tiles in a row.
fn slow_server() -> (Server, Arc<Door>) {
    slow_server_with(&[])
}

/// [`slow_server`] with these variables.
fn slow_server_with(vars: &[(&str, &str)]) -> (Server, Arc<Door>) {
    let door = Arc::new(Door::default());
    let image = Synthetic::halving(Size::new(512, 64), Size::new(64, 64), 3);
    // one level of eight tiles in a row
    let levels = image.header().levels.iter().take(1).cloned().collect();
    let slow = Slow {
        image: Synthetic::new(levels, 3, iipsrv::source::synthetic::sample),
        door: Arc::clone(&door),
    };
    let vars = [vars, &[("OMP_NUM_THREADS", "1")]].concat();
    let service = support::service(&vars).with_image("slow", slow);
    (Server::start(service, 1, Patience::default()), door)
}

fn good(answer: &Answer) {
    assert_eq!((answer.ended, answer.ends, answer.status()), (Some(0), 1, 200));
    assert!(answer.body().starts_with(b"\xff\xd8"));
}

#[test]
fn a_request_may_arrive_byte_by_byte_with_padding() {
    let server = Server::new();
    let mut client = server.client();
    let params = fcgi::pairs(&[("REQUEST_METHOD", "GET"), ("QUERY_STRING", TILE)]);
    let (one, two) = params.split_at(20);
    let input = [
        begin(9, true),
        record(PARAMS, 9, one, 1),
        record(PARAMS, 9, two, 200),
        record(PARAMS, 9, b"", 8),
        record(STDIN, 9, b"", 255),
    ]
    .concat();
    for byte in input {
        client.send(&[byte]);
    }
    good(&client.answer(9));
}

#[test]
fn a_kept_connection_serves_many_requests_and_any_other_one() {
    let server = Server::new();
    let mut client = server.client();
    for _ in 0..50 {
        good(&client.ask(TILE));
    }
    client.send(&get(1, false, TILE));
    good(&client.answer(1));
    assert!(client.closed());
}

#[test]
fn multiplexed_requests_do_not_wait_for_each_other() {
    let (server, door) = slow_server();
    let mut client = server.client();
    // two interleaved requests, one of them slow
    let pieces = |id, query| {
        let params = fcgi::pairs(&[("QUERY_STRING", query)]);
        [
            begin(id, true),
            record(PARAMS, id, &params, 0),
            record(PARAMS, id, b"", 0),
            record(STDIN, id, b"", 0),
        ]
    };
    for (one, two) in pieces(5, "FIF=slow&JTL=0,1")
        .iter()
        .zip(&pieces(6, "OBJ=IIP,1.0"))
    {
        client.send(one);
        client.send(two);
    }
    let quick = client.answer(6);
    assert_eq!(quick.body(), b"IIP:1.0\r\n");
    door.open();
    good(&client.answer(5));
}

#[test]
fn an_abort_is_answered_at_once_and_cancels_the_work() {
    let (server, door) = slow_server();
    let mut client = server.client();
    client.send(&get(1, true, "FIF=slow&JTL=0,1"));
    door.wait_for(1);
    client.send(&get(2, true, "FIF=slow&JTL=0,2"));
    client.send(&get(3, true, "FIF=slow&JTL=0,3"));
    for id in [1, 2] {
        client.send(&record(fcgi::ABORT, id, b"", 0));
        let ended = client.answer(id);
        assert_eq!((ended.text.len(), ended.ended), (0, Some(0)));
    }
    // the request ID may be reused while the old work still runs
    client.send(&get(1, true, "FIF=slow&JTL=0,4"));
    door.open();
    good(&client.answer(3));
    good(&client.answer(1));
    assert_eq!(*door.read.lock().unwrap(), [1, 3, 4]);
}

#[test]
fn disconnecting_cancels_the_work() {
    let (server, door) = slow_server();
    let mut client = server.client();
    client.send(&get(1, true, "FIF=slow&JTL=0,1"));
    door.wait_for(1);
    let mut gone = server.client();
    gone.send(&get(1, true, "FIF=slow&JTL=0,2"));
    let mut http = TcpStream::connect(server.http).unwrap();
    http.write_all(b"GET /fcgi-bin/iipsrv.fcgi?FIF=slow&JTL=0,3 HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop((gone, http));
    std::thread::sleep(Duration::from_millis(100));
    client.send(&get(2, true, "FIF=slow&JTL=0,4"));
    door.open();
    good(&client.answer(1));
    good(&client.answer(2));
    assert_eq!(*door.read.lock().unwrap(), [1, 4]);
}

#[test]
fn requests_that_would_wait_too_long_are_refused_and_the_rest_is_served() {
    let (server, door) = slow_server_with(&[("QUEUE_LIMIT", "0.004")]);
    let mut clients: Vec<_> = (0..8).map(|_| server.client()).collect();
    clients[0].send(&get(32, true, "FIF=slow&JTL=0,1"));
    door.wait_for(1);
    for (tile, client) in clients.iter_mut().enumerate() {
        for id in 1..=31 {
            client.send(&get(id, true, &format!("FIF=slow&QLT={}&JTL=0,{tile}", id + 1)));
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    door.open();
    let mut statuses = [0, 0];
    for client in &mut clients {
        for id in 1..=31 {
            let answer = client.answer(id);
            match answer.status() {
                200 => statuses[0] += 1,
                503 => {
                    let head = String::from_utf8_lossy(&answer.text);
                    assert!(head.contains("Retry-After: "), "{head}");
                    statuses[1] += 1;
                }
                other => panic!("status {other}"),
            }
        }
    }
    good(&clients[0].answer(32));
    assert_eq!(statuses[0] + statuses[1], 8 * 31);
    // 16,384 pixels at the initial estimate of 4 ns each
    assert!(statuses[0] >= 25 && statuses[1] > 100, "{statuses:?}");
}

#[test]
fn equal_requests_are_computed_once_and_do_not_delay_others() {
    let (server, door) = slow_server();
    let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
    for client in &mut clients {
        for id in 1..=32 {
            client.send(&get(id, true, "FIF=slow&JTL=0,1"));
        }
    }
    door.wait_for(1);
    let mut other = server.client();
    assert_eq!(other.ask("OBJ=IIP,1.0").body(), b"IIP:1.0\r\n");
    door.open();
    for client in &mut clients {
        for id in 1..=32 {
            good(&client.answer(id));
        }
    }
    assert_eq!(*door.read.lock().unwrap(), [1]);
}

#[test]
fn http_2_with_prior_knowledge_is_supported() {
    let server = Server::new();
    let mut stream = TcpStream::connect(server.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // preface, and an empty SETTINGS frame (RFC 9113 §3.4, §6.5)
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    // HEADERS of stream 1: indexed :method GET, :scheme http, :path /, literal :authority a (RFC 7541 §6)
    stream
        .write_all(b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a")
        .unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains("<html") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the page comes");
        seen.extend_from_slice(&buffer[..count]);
    }
    server.lives();
}

#[test]
fn get_values_unknown_types_and_other_roles_are_answered() {
    let server = Server::new();
    let mut client = server.client();
    let asked = fcgi::pairs(&[("FCGI_MPXS_CONNS", ""), ("NO_SUCH", ""), ("FCGI_MAX_REQS", "")]);
    client.send(&record(fcgi::GET_VALUES, 0, &asked, 2));
    let (kind, id, content) = client.record();
    assert_eq!((kind, id), (fcgi::GET_VALUES_RESULT, 0));
    assert!(content.starts_with(b"\x0f\x01FCGI_MPXS_CONNS1\x0d"));
    client.send(&record(99, 0, b"anything", 0));
    assert_eq!(
        client.record(),
        (fcgi::UNKNOWN_TYPE, 0, vec![99, 0, 0, 0, 0, 0, 0, 0])
    );
    client.send(&record(fcgi::BEGIN, 4, &[0, 2, 1, 0, 0, 0, 0, 0], 0));
    assert_eq!(client.record(), (fcgi::END, 4, vec![0, 0, 0, 0, 3, 0, 0, 0]));
    good(&client.ask(TILE));
}

#[test]
fn garbage_ends_only_its_own_connection() {
    let server = Server::new();
    let mut other = server.client();
    good(&other.ask(TILE));
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        vec![0xff; 100_000],
        record(fcgi::BEGIN, 0, &[0; 8], 0),
        record(fcgi::BEGIN, 1, &[0; 7], 0),
        record(fcgi::GET_VALUES, 0, &[9, 9, 9], 0),
    ] {
        let mut client = server.client();
        let _ = client.stream.write_all(&garbage);
        assert!(client.closed());
    }
    // disconnects after half a record
    server.client().send(&record(PARAMS, 1, &[0; 1000], 0)[..100]);
    good(&other.ask(TILE));
}

#[test]
fn too_many_parameters_and_an_oversized_body_are_answered() {
    let server = Server::new();
    let mut client = server.client();
    let junk = vec![b'x'; 60_000];
    client.send(&begin(1, true));
    for _ in 0..3 {
        client.send(&record(PARAMS, 1, &junk, 0));
    }
    assert_eq!(client.answer(1).status(), 431);
    client.send(&[begin(2, true), record(PARAMS, 2, b"", 0)].concat());
    for _ in 0..20 {
        client.send(&record(STDIN, 2, &junk, 0));
    }
    client.send(&record(STDIN, 2, b"", 0));
    assert_eq!(client.answer(2).status(), 413);
    good(&client.ask(TILE));
    // on a connection that is not kept the answer arrives although the peer is still sending
    let mut client = server.client();
    client.send(&[begin(3, false), record(PARAMS, 3, b"", 0)].concat());
    for _ in 0..40 {
        client.send(&record(STDIN, 3, &junk, 0));
    }
    assert_eq!(client.answer(3).status(), 413);
    assert!(client.closed());
}

#[test]
fn a_thousand_idle_connections_leave_capacity_for_a_busy_one() {
    let server = Server::new();
    let mut idle: Vec<_> = (0..1000).map(|_| server.client()).collect();
    for client in idle.iter_mut().step_by(2) {
        good(&client.ask(TILE));
    }
    let start = Instant::now();
    let mut busy = server.client();
    for _ in 0..200 {
        good(&busy.ask(TILE));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    for client in &mut idle {
        good(&client.ask(TILE));
    }
}

#[test]
fn a_peer_that_does_not_read_blocks_only_itself() {
    let server = Server::new();
    let mut slow = server.client();
    let big = "FIF=rgb&CVT=png";
    // far more answers than sockets and queue hold: the client writes on another thread
    let mut writer = slow.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        for id in 1..=200u16 {
            writer.write_all(&get(id, true, big)).unwrap();
        }
    });
    std::thread::sleep(Duration::from_millis(300));
    server.lives();
    let mut length = 0;
    for id in 1..=200 {
        let answer = slow.answer(id);
        assert_eq!(answer.status(), 200);
        length += answer.body().len();
    }
    writing.join().unwrap();
    assert!(length > 20 << 20, "{length}");
}

#[test]
fn a_connection_after_an_idle_period_is_accepted_at_once() {
    let patience = Patience {
        idle: 2,
        head: 2,
        ..Patience::default()
    };
    let server = Server::start(support::service(&[]), 2, patience);
    std::thread::sleep(Duration::from_secs(4));
    let mut stream = TcpStream::connect(server.http).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
}

#[test]
fn a_peer_that_does_not_read_its_answers_is_disconnected() {
    let patience = Patience {
        write: 1,
        ..Patience::default()
    };
    let server = Server::start(support::service(&[]), 1, patience);
    let mut client = server.client();
    let mut writer = client.stream.try_clone().unwrap();
    writer.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    // when the server closes the connection, writing fails
    let failed = (0..60_000u16).any(|n| {
        writer
            .write_all(&get(n % 32 + 1, true, "FIF=rgb&CVT=png"))
            .is_err()
    });
    assert!(failed);
    let mut rest = Vec::new();
    let _ = client.stream.read_to_end(&mut rest);
    server.lives();
}

#[test]
fn stopping_finishes_requests_in_progress() {
    let (mut server, door) = slow_server();
    let mut client = server.client();
    client.send(&get(1, true, "FIF=slow&JTL=0,1"));
    let mut idle = server.client();
    idle.send(&get(1, true, "OBJ=IIP,1.0"));
    idle.answer(1);
    door.wait_for(1);
    let running = server.running.take().unwrap();
    let stopping = std::thread::spawn(move || running.stop(Duration::from_secs(20)));
    assert!(idle.closed());
    assert!(TcpStream::connect(server.fastcgi).is_err());
    door.open();
    good(&client.answer(1));
    assert!(client.closed());
    assert_eq!(stopping.join().unwrap(), 0);
}

#[test]
fn http_is_answered_in_order_on_a_kept_connection() {
    let server = Server::new();
    let get = |query, more| format!("GET /fcgi-bin/iipsrv.fcgi?{query} HTTP/1.1\r\nHost: a\r\n{more}\r\n");
    let input = [
        get("FIF=rgb&OBJ=Max-size", ""),
        get("OBJ=IIP,1.0", ""),
        get("FIF=rgb&OBJ=Tile-size", "Connection: close\r\n"),
    ];
    let text = server.http(&input.concat());
    let bodies: Vec<_> = text
        .split("HTTP/1.1 200 OK\r\n")
        .filter_map(|part| part.split_once("\r\n\r\n"))
        .map(|(_, body)| body.trim())
        .collect();
    assert_eq!(bodies, ["Max-size:1000 701", "IIP:1.0", "Tile-size:256 256"]);
}

#[test]
fn http_supports_head_post_and_built_in_pages() {
    let server = Server::new();
    let close = "Host: a\r\nConnection: close\r\n";
    let ask = |line: &str| server.http(&format!("{line} HTTP/1.1\r\n{close}\r\n"));
    let head = ask("HEAD /fcgi-bin/iipsrv.fcgi?FIF=rgb&JTL=0,0");
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .unwrap();
    assert!(length.parse::<u32>().unwrap() > 100);
    let post = server.http(&format!(
        "POST /fcgi-bin/iipsrv.fcgi HTTP/1.1\r\n{close}Content-Length: 11\r\nExpect: 100-continue\r\n\r\nOBJ=IIP,1.0"
    ));
    assert!(post.ends_with("\r\n\r\nIIP:1.0\r\n"), "{post}");
    assert!(ask("GET /").contains("Content-Type: text/html; charset=utf-8\r\n"));
    assert!(ask("GET /images.json").ends_with("{\"images\":[],\"truncated\":false}"));
    assert!(ask("GET /favicon.ico").starts_with("HTTP/1.1 404 "));
    assert!(ask("POST /").starts_with("HTTP/1.1 405 "));
    assert!(ask("OPTIONS *").starts_with("HTTP/1.1 204 "));
}

#[test]
fn malformed_http_gets_a_400_and_the_connection_is_closed() {
    let server = Server::new();
    for (input, status) in [
        ("\0\r\n\r\n".to_string(), 400),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/3.0\r\n\r\n".into(), 400),
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(20_000)),
            431,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n".into(),
            413,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n\r\n".into(),
            400,
        ),
    ] {
        let text = server.http(&input);
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "{input}: {text}"
        );
    }
    server.lives();
}

#[test]
fn idle_http_connections_time_out() {
    let patience = Patience {
        idle: 1,
        head: 1,
        ..Patience::default()
    };
    let server = Server::start(support::service(&[]), 1, patience);
    let idle = server.http("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(idle.starts_with("HTTP/1.1 200 OK"), "{idle}");
    let half = server.http("GET / HTTP/1.1\r\nHos");
    assert!(half.starts_with("HTTP/1.1 408 "), "{half}");
    // a slow head does not extend the time-out
    let mut stream = TcpStream::connect(server.http).unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) && stream.write_all(b"G").is_ok() {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(start.elapsed() < Duration::from_secs(9));
    // FastCGI connections may idle: web servers keep them
    let mut kept = server.client();
    good(&kept.ask(TILE));
    std::thread::sleep(Duration::from_millis(2500));
    good(&kept.ask(TILE));
}
