//! Real web servers, configured by the files of `debian/`, in front of the real binary deliver the answers of
//! `Service::respond`, byte for byte.

use crate::fcgi;
use crate::process::Group;
use crate::process::free_port;
use crate::site::NEEDED;
use crate::site::SOCKET;
use crate::site::Site;
use crate::site::Text;
use crate::site::needed;
use crate::support;
use crate::support::HttpAnswer;
use iipsrv::http::Http;
use iipsrv::service::Service;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

/// Requests with status 200: a description and a tile of each protocol, and identifiers that need escaping.
const SERVED: [&str; 27] = [
    "/fcgi-bin/iipsrv.fcgi?FIF=tessera.tif&obj=IIP,1.0&obj=Max-size&obj=Tile-size&obj=Resolution-number",
    "/fcgi-bin/iipsrv.fcgi?FIF=tessera.tif&JTL=4,5",
    "/iiif/tessera.tif/info.json",
    "/iiif/tessera.tif/512,256,256,256/256,/0/default.jpg",
    "/iiif/tessera.tif/pct:25,25,50,50/%5E!300,300/!90/gray.png",
    "/deepzoom/tessera.tif.dzi",
    "/deepzoom/tessera.tif_files/12/2_1.jpg",
    "/zoomify/tessera.tif/ImageProperties.xml",
    "/zoomify/tessera.tif/TileGroup0/4-2-1.jpg",
    "/fcgi-bin/iipsrv.fcgi?FIF=a%20b%2F%C3%BC.tif&obj=Max-size",
    "/fcgi-bin/iipsrv.fcgi?FIF=a+b/%c3%bc.tif&JTL=4,5",
    "/iiif/a%20b%2F%C3%BC.tif/info.json",
    "/iiif/a%20b%2f%c3%bc.tif/full/200,/0/default.jpg",
    "/iiif/a%20b//%C3%BC.tif/info.json",
    "/deepzoom/a%20b%2F%C3%BC.tif_files/8/0_0.jpg",
    "/zoomify/a%20b/%C3%BC.tif/ImageProperties.xml",
    "/zoomify/a%20b%2F%C3%BC.tif/TileGroup0/0-0-0.jpg",
    "/iiif/a%20b%252F%C3%BC.tif/info.json",
    "/iiif/a%20b%2Fq%27u%22o%2Bt%25e%20%26%3D%3B%23%3F%C3%A9~%5Bx%5D.tif/info.json",
    "/iiif/a%20b%2Fq%27u%22o%2Bt%25e%20%26%3D%3B%23%3F%C3%A9~%5Bx%5D.tif/full/200,/0/default.jpg",
    "/iiif/a%20b/q'u%22o+t%25e%20&=;%23%3F%C3%A9~%5Bx%5D.tif/info.json",
    "/iiif/a%20b/q'u%22o+t%25e%20&=;%23%3F%C3%A9~%5Bx%5D.tif/full/200,/0/default.jpg",
    "/iiif/a%20b/q'u%22o+t%25e%20%26=;%23%3F%C3%A9~%5Bx%5D.tif/info.json",
    "/deepzoom/a%20b/q'u%22o+t%25e%20%26%3D;%23%3F%C3%A9~%5Bx%5D.tif_files/8/0_0.jpg",
    "/zoomify/a%20b%2Fq%27u%22o%2Bt%25e%20%26%3D%3B%23%3F%C3%A9~%5Bx%5D.tif/ImageProperties.xml",
    "/fcgi-bin/iipsrv.fcgi?FIF=a%20b/q'u%22o%2Bt%25e%20%26%3D;%23%3F%C3%A9~%5Bx%5D.tif&JTL=4,5",
    "/fcgi-bin/iipsrv.fcgi?IIIF=a%20b/q'u%22o%2Bt%25e%20%26%3D;%23%3F%C3%A9~%5Bx%5D.tif/info.json",
];

/// Requests with another status.
const REFUSED: [(&str, u16); 5] = [
    ("/iiif/tessera.tif", 303),
    ("/iiif/nothing%2Fhere.tif/info.json", 404),
    ("/deepzoom/nothing.dzi", 404),
    ("/fcgi-bin/iipsrv.fcgi?FIF=nothing.tif&JTL=0,0", 404),
    ("/iiif/tessera.tif/full/0,/0/default.jpg", 400),
];

/// A web server, and the service that gives the expected answers.
struct Front<'a> {
    service: &'a Service,
    port: u16,
    host: &'a str,
}

impl Front<'_> {
    fn serves(&self, served: &[&str]) {
        for uri in served {
            let answer = self.same("GET", uri, &[], "");
            assert_eq!(answer.status, 200, "{uri}");
            if uri.ends_with("/info.json") {
                let id = format!(
                    "\"http://{}{}\"",
                    self.host,
                    uri.strip_suffix("/info.json").unwrap()
                );
                assert!(String::from_utf8(answer.body).unwrap().contains(&id), "{id}");
            }
        }
        let long = format!("/iiif/{}info.json", format!("{}/", "x".repeat(200)).repeat(10));
        assert_eq!(self.same("GET", &long, &[], "").status, 404);
        for (uri, status) in REFUSED {
            assert_eq!(self.same("GET", uri, &[], "").status, status, "{uri}");
        }
        for uri in [
            "/iiif/tessera.tif/info.json",
            "/deepzoom/tessera.tif_files/12/2_1.jpg",
        ] {
            let answer = self.same("HEAD", uri, &[], "");
            assert_eq!((answer.status, answer.body.len()), (200, 0));
            let (etag, time) = (
                answer.header("ETag").unwrap(),
                answer.header("Last-Modified").unwrap(),
            );
            for known in [("If-None-Match", etag), ("If-Modified-Since", time)] {
                assert_eq!(self.same("GET", uri, &[known], "").status, 304, "{uri}");
            }
            assert_eq!(
                self.same("GET", uri, &[("If-None-Match", "\"other\"")], "")
                    .status,
                200
            );
        }
        let posted = self.same(
            "POST",
            "/fcgi-bin/iipsrv.fcgi",
            &[],
            "FIF=tessera.tif&obj=Max-size",
        );
        assert_eq!(posted.body, b"Max-size:3072 2304\r\n");
    }

    /// The answer; asserts that it equals the service's.
    fn same(&self, method: &str, uri: &str, lines: &[(&str, &str)], body: &str) -> HttpAnswer {
        let lines = [&[("Host", self.host)], lines].concat();
        let mut asked = Http::new()
            .with("REQUEST_METHOD", method)
            .with("REQUEST_URI", uri)
            .with("QUERY_STRING", uri.split_once('?').map_or("", |(_, query)| query));
        for (name, value) in &lines {
            asked.push(
                format!("HTTP_{}", name.to_uppercase().replace('-', "_")).as_bytes(),
                value.as_bytes(),
            );
        }
        asked.body = body.into();
        let right = self.service.respond(asked);
        let answer = support::http(self.port, method, uri, &lines, body);
        assert_eq!(
            answer.status,
            right.status,
            "{method} {uri}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        assert!(answer.body == right.body, "{method} {uri}: another body");
        for (name, value) in &right.headers {
            // web servers send their own name, and every request has its own ID
            if !["Server", "X-Request-ID"].contains(name) {
                // Apache omits spaces in lists
                let plain = |value: &str| value.replace(", ", ",");
                assert_eq!(
                    answer.header(name).map(plain),
                    Some(plain(value)),
                    "{method} {uri}: {name}"
                );
            }
        }
        // mod_proxy_fcgi uses chunked encoding
        if let Some(length) = answer.header("Content-Length") {
            assert_eq!(length.parse().ok(), right.length, "{method} {uri}");
        }
        answer
    }
}

/// Asserts that several concurrent clients get the service's answers, and that no process logs an error.
fn serves(site: Site, port: u16) {
    serves_as(site, port, &format!("127.0.0.1:{port}"), &SERVED);
}

/// [`serves`] for this Host and these requests.
fn serves_as(site: Site, port: u16, host: &str, served: &[&str]) {
    let front = Front {
        service: &site.service,
        port,
        host,
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| front.serves(served));
        }
    });
    site.stop();
}

#[test]
#[ignore = "needs nginx"]
fn nginx_serves_over_tcp() {
    let (mut site, back, port) = (Site::new(), free_port(), free_port());
    site.bind(&format!("127.0.0.1:{back}"));
    site.nginx(Text::nginx(&format!("127.0.0.1:{back}"), None), "", port);
    // addresses omit port 80
    serves_as(site, port, "images.example", &SERVED);
}

#[test]
#[ignore = "needs nginx"]
fn nginx_serves_over_a_unix_socket_and_on_another_port() {
    let (mut site, port) = (Site::new(), free_port());
    let socket = site.path("iipsrv.sock");
    site.bind(&socket);
    site.nginx(Text::nginx(&format!("unix:{socket}"), Some(port)), "", port);
    serves(site, port);
}

#[test]
#[ignore = "needs lighttpd"]
fn lighttpd_serves_over_tcp() {
    let (mut site, back, port) = (Site::new(), free_port(), free_port());
    site.bind(&format!("127.0.0.1:{back}"));
    let text = Text::file("debian/lighttpd/90-iipsrv.conf").put(
        &format!("\"socket\" => \"{SOCKET}\""),
        format!("\"host\" => \"127.0.0.1\", \"port\" => {back}"),
    );
    site.lighttpd(text, port);
    serves(site, port);
}

#[test]
#[ignore = "needs lighttpd"]
fn lighttpd_serves_over_a_unix_socket() {
    let (mut site, port) = (Site::new(), free_port());
    let socket = site.path("iipsrv.sock");
    site.bind(&socket);
    site.lighttpd(
        Text::file("debian/lighttpd/90-iipsrv.conf").put(SOCKET, socket),
        port,
    );
    serves(site, port);
}

/// The configuration with which lighttpd starts the program.
fn started_by_lighttpd(site: &Site) -> Text {
    site.own(Text::file("debian/lighttpd/91-iipsrv-spawn.conf"))
        .put("/run/lighttpd/iipsrv.sock", site.path("iipsrv.sock"))
        .put("/usr/lib/iipimage-server/iipsrv.fcgi", site.program())
        .put("syslog", site.path("log"))
}

#[test]
#[ignore = "needs lighttpd"]
fn lighttpd_starts_it_and_serves() {
    let (mut site, port) = (Site::new(), free_port());
    site.lighttpd(started_by_lighttpd(&site), port);
    serves(site, port);
}

/// Without URI_MAP the web server rewrites paths to queries, as configurations for the original do.
#[test]
#[ignore = "needs lighttpd"]
fn rewriting_in_the_web_server_gives_the_same_answers() {
    let (mut site, port) = (Site::new(), free_port());
    let text = started_by_lighttpd(&site)
        .put("URI_MAP", "NO_MAP")
        .put(
            "$HTTP[\"url\"] =~ \"^/(iipsrv/iipsrv\\.fcgi|fcgi-bin/iipsrv\\.fcgi|iiif/|deepzoom/|zoomify/)\"",
            "$HTTP[\"host\"] =~ \"\"",
        )
        .put(
            "\"mod_fastcgi\" )",
            "\"mod_fastcgi\", \"mod_rewrite\" )\nurl.rewrite-once = (\n\
             \"^/iiif/([^?]+)\" => \"/fcgi-bin/iipsrv.fcgi?IIIF=$1\",\n\
             \"^/deepzoom/([^?]+)\" => \"/fcgi-bin/iipsrv.fcgi?DeepZoom=$1\",\n\
             \"^/zoomify/([^?]+)\" => \"/fcgi-bin/iipsrv.fcgi?Zoomify=$1\"\n)",
        );
    site.lighttpd(text, port);
    // lighttpd normalises before it rewrites, and in a query an ampersand ends the value
    let served: Vec<_> = SERVED
        .into_iter()
        .filter(|uri| !uri.contains("//") && (uri.contains('?') || !uri.contains('&')))
        .collect();
    serves_as(site, port, &format!("127.0.0.1:{port}"), &served);
}

#[test]
#[ignore = "needs Apache"]
fn apache_mod_proxy_fcgi_serves_over_tcp() {
    let (mut site, back, port) = (Site::new(), free_port(), free_port());
    site.bind(&format!("127.0.0.1:{back}"));
    let text = Text::file("debian/apache2/iipsrv.conf").put(
        &format!("proxy:unix:{SOCKET}|fcgi://iipsrv"),
        format!("proxy:fcgi://127.0.0.1:{back}"),
    );
    site.apache(text, port);
    serves(site, port);
}

#[test]
#[ignore = "needs Apache"]
fn apache_mod_proxy_fcgi_serves_over_a_unix_socket() {
    let (mut site, port) = (Site::new(), free_port());
    let socket = site.path("iipsrv.sock");
    site.bind(&socket);
    site.apache(Text::file("debian/apache2/iipsrv.conf").put(SOCKET, socket), port);
    serves(site, port);
}

#[test]
#[ignore = "needs Apache"]
fn apache_mod_fcgid_starts_it_and_serves() {
    let (mut site, port) = (Site::new(), free_port());
    let text = site
        .own(Text::file("debian/apache2/iipsrv-fcgid.conf"))
        .put("/usr/lib/iipimage-server/iipsrv.fcgi", site.program())
        .put("syslog", site.path("log"));
    site.apache(text, port);
    serves(site, port);
}

/// Runs a command of the man page and adopts the daemon that it starts.
fn spawn(site: &mut Site, command: Text) {
    let command = command
        .put("spawn-fcgi -u", format!("{} -u", needed("spawn-fcgi")))
        .put("/usr/local/bin/iipsrv", site.program());
    let output = site.sh(&(site.settings() + &command.0)).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let pid = said
        .rsplit("PID: ")
        .next()
        .and_then(|pid| pid.trim().parse().ok());
    site.running.push(Group::adopt(pid.expect(&said)));
}

#[test]
#[ignore = "needs spawn-fcgi and nginx"]
fn spawn_fcgi_starts_it_on_a_port_for_nginx() {
    let (mut site, back, port) = (Site::new(), free_port(), free_port());
    let command = Text::examples("man/iipsrv.8").lines("spawn-fcgi -u www-data -a ");
    spawn(&mut site, command.put("-p 9000", format!("-p {back}")));
    site.nginx(Text::nginx(&format!("127.0.0.1:{back}"), None), "", port);
    serves_as(site, port, "images.example", &SERVED);
}

#[test]
#[ignore = "needs spawn-fcgi and nginx"]
fn spawn_fcgi_starts_it_on_a_unix_socket_for_nginx() {
    let (mut site, port) = (Site::new(), free_port());
    let socket = site.path("iipsrv.sock");
    let command = Text::examples("man/iipsrv.8").lines("spawn-fcgi -u www-data -s ");
    spawn(&mut site, command.put(SOCKET, &socket));
    site.nginx(Text::nginx(&format!("unix:{socket}"), None), "", port);
    serves_as(site, port, "images.example", &SERVED);
}

#[test]
fn it_serves_without_a_web_server() {
    let (mut site, port) = (Site::new(), free_port());
    site.by_itself(port);
    serves(site, port);
}

#[test]
#[ignore = "needs vips"]
fn pyramids_made_with_the_commands_of_the_man_page_are_served() {
    let site = Site::new();
    let ask = |name: &str| {
        site.service
            .respond(Http::get(&format!("/iiif/{name}/full/1000,/0/default.jpg")))
    };
    let picture = ask("tessera.tif");
    std::fs::write(site.path("picture.jpg"), &picture.body).unwrap();
    let command = Text::examples("man/iipsrv-images.7")
        .lines("vips tiffsave picture.jpg pyramid.tif ")
        .put("vips", needed("vips"))
        .put("picture.jpg", site.path("picture.jpg"))
        .put("pyramid.tif", site.path("images/pyramid.tif"));
    assert!(site.sh(&command.0).status().unwrap().success());
    let (picture, made) = (support::pixels(&picture), support::pixels(&ask("pyramid.tif")));
    assert_eq!(picture.size, made.size);
    let pairs = support::bytes(&picture).iter().zip(support::bytes(&made));
    let error: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    assert!(error < 3 * support::bytes(&made).len() as u64, "{error}");
}

/// Starts the service as the two systemd units describe, without systemd.
#[test]
fn the_systemd_units_start_it() {
    let mut site = Site::new();
    let socket = Text::file("debian/iipsrv.socket");
    socket.lines(&format!("ListenStream={SOCKET}"));
    let service = Text::file("debian/iipsrv.service").put("/usr/sbin/iipsrv", site.program());
    for line in [
        "Type=notify",
        "EnvironmentFile=-/etc/default/iipsrv",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "DynamicUser=yes",
    ] {
        service.lines(line);
    }
    let settings = site
        .own(Text::file("debian/default"))
        .put("LOGFILE=syslog", format!("LOGFILE={}", site.path("log")));
    let program = service.lines("ExecStart=").put("ExecStart=", "").0;
    let script = format!(
        "LISTEN_PID=$$ LISTEN_FDS=1 exec {} 3<&0 </dev/null",
        program.trim()
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = site.sh(&script);
    let assignments = settings.0.lines().filter(|line| !line.starts_with('#'));
    for (name, value) in assignments.filter_map(|line| line.split_once('=')) {
        command.env(name, value.trim_matches('"'));
    }
    site.running
        .push(Group::start(command.stdin(OwnedFd::from(listener))));
    let answer = fcgi::Client::tcp(address).ask("FIF=tessera.tif&obj=Max-size");
    assert_eq!(answer.body(), b"Max-size:3072 2304\r\n");
    site.running.pop().unwrap().stop();
    site.folder.log_is_clean();
}

#[test]
fn tests_run_installs_every_package_that_is_needed() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run");
    let script = std::fs::read_to_string(path).unwrap();
    let words: Vec<_> = script
        .split(|c: char| c.is_whitespace() || "()".contains(c))
        .collect();
    for (_, package) in NEEDED {
        assert!(words.contains(&package), "{package}");
    }
}
