//! The real web servers, each with the configuration that README.md shows, in front of the real binary: what comes out
//! is what `Service::respond` gives, tiles byte by byte.
//!
//! Only addresses and paths of the README's text are changed, and each change must find its text. What a web server
//! needs besides (a pid file, a log, a user) is written around it, as Debian has it.

use crate::fcgi;
use crate::process::Folder;
use crate::process::Group;
use crate::process::free_port;
use crate::process::until;
use crate::support;
use crate::support::HttpAnswer;
use iipsrv::http::Http;
use iipsrv::service::Service;
use std::fmt::Display;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

/// What is needed, and the Debian package that has it.
const NEEDED: [(&str, &str); 5] = [
    ("/usr/sbin/nginx", "nginx-light"),
    ("/usr/sbin/lighttpd", "lighttpd"),
    ("/usr/sbin/apache2", "apache2"),
    ("/etc/apache2/mods-available/fcgid.load", "libapache2-mod-fcgid"),
    ("/usr/bin/spawn-fcgi", "spawn-fcgi"),
];

const URI_MAP: &str = "iiif=>IIIF,deepzoom=>DeepZoom,zoomify=>Zoomify";

/// Answered with 200: a description and a tile of each protocol, and names that have to be spelt with care.
const SERVED: [&str; 17] = [
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
];

/// Answered otherwise.
const REFUSED: [(&str, u16); 5] = [
    ("/iiif/tessera.tif", 303),
    ("/iiif/nothing%2Fhere.tif/info.json", 404),
    ("/deepzoom/nothing.dzi", 404),
    ("/fcgi-bin/iipsrv.fcgi?FIF=nothing.tif&JTL=0,0", 404),
    ("/iiif/tessera.tif/full/0,/0/default.jpg", 400),
];

/// The path of something in `NEEDED`.
fn needed(name: &str) -> &'static str {
    let (path, package) = NEEDED.iter().find(|(path, _)| path.ends_with(name)).unwrap();
    assert!(
        Path::new(path).exists(),
        "{path} is missing: apt-get install {package}"
    );
    path
}

/// A piece of the README.
struct Text(String);

impl Text {
    /// The n-th block of the README in this language below this heading.
    fn of(heading: &str, language: &str, n: usize) -> Text {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let (mut above, mut inside) = (String::new(), None);
        let mut found = Vec::new();
        for line in std::fs::read_to_string(path).unwrap().lines() {
            match (&mut inside, line.strip_prefix("```")) {
                (None, Some(language)) => inside = Some((language.to_string(), String::new())),
                (None, None) if line.starts_with('#') => above = line.trim_matches(['#', ' ']).into(),
                (None, None) => {}
                (Some(_), Some(_)) => {
                    found.extend(inside.take().filter(|b| above == heading && b.0 == language))
                }
                (Some((_, text)), None) => *text += &format!("{line}\n"),
            }
        }
        Text(found.into_iter().nth(n).expect(heading).1)
    }

    /// The same with other words in place of these, which must be there.
    fn put(self, words: &str, others: impl Display) -> Text {
        assert!(self.0.contains(words), "no {words:?} in\n{}", self.0);
        Text(self.0.replace(words, &others.to_string()))
    }

    /// The lines that start so.
    fn lines(&self, start: &str) -> Text {
        let lines = self.0.lines().filter(|line| line.starts_with(start));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        assert!(!text.is_empty(), "no {start:?} in\n{}", self.0);
        Text(text)
    }
}

/// A freshly installed machine in a folder: the program as the README installs it, pictures, and what runs.
struct Site {
    running: Vec<Group>,
    folder: Folder,
    /// Says what is right.
    service: Service,
}

impl Site {
    fn new() -> Site {
        let folder = Folder::new();
        // web servers work as another user than who starts them
        std::fs::set_permissions(folder.join(""), PermissionsExt::from_mode(0o777)).unwrap();
        std::fs::create_dir_all(folder.join("www")).unwrap();
        std::fs::create_dir_all(folder.join("images/a b")).unwrap();
        let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tessera.tif");
        std::fs::copy(picture, folder.join("images/tessera.tif")).unwrap();
        std::fs::copy(picture, folder.join("images/a b/ü.tif")).unwrap();
        let images = format!("{}/", folder.join("images").display());
        let vars = [("FILESYSTEM_PREFIX", images.as_str()), ("URI_MAP", URI_MAP)];
        let site = Site {
            running: Vec::new(),
            service: Service::new(support::config(&vars)),
            folder,
        };
        let install = Text::of("Installing it", "sh", 0)
            .lines("install ")
            .put("target/release/iipsrv", env!("CARGO_BIN_EXE_iipsrv"))
            .put("/usr/local", site.path("local"));
        let output = site.sh(&install.0).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        site
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().into()
    }

    /// The installed program.
    fn program(&self) -> String {
        self.path("local/bin/iipsrv")
    }

    /// These commands, in the source tree, with nothing in the environment.
    fn sh(&self, script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-e", "-c", script])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .stdin(Stdio::null());
        command
    }

    /// The README's settings, for a shell.
    fn settings(&self) -> String {
        let text = Text::of("Installing it", "sh", 1).lines("export ");
        self.own(text)
            .put("LOGFILE=syslog", format!("LOGFILE={}", self.path("log")))
            .0
    }

    /// The README's text with the pictures of this folder.
    fn own(&self, text: Text) -> Text {
        text.put("/srv/images/", format!("{}/", self.path("images")))
    }

    /// Starts iipsrv on this address.
    fn bind(&mut self, address: &str) {
        let command = Text::of("Installing it", "sh", 1)
            .lines("iipsrv --bind")
            .put("127.0.0.1:9000    # or --bind /run/iipsrv/iipsrv.sock", address)
            .put("iipsrv --bind", format!("exec {} --bind", self.program()));
        self.start("iipsrv", self.sh(&(self.settings() + &command.0)));
        self.folder.wait_for("listening for FastCGI on");
    }

    fn start(&mut self, name: &str, mut command: Command) {
        let said = std::fs::File::create(self.path(&format!("{name}.said"))).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said);
        self.running.push(Group::start(&mut command));
    }

    /// Starts a web server with this configuration; it listens on this port in the end.
    fn front(&mut self, name: &str, configuration: &str, port: u16) {
        let file = self.path(&format!("{name}.conf"));
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new(needed(name));
        match name {
            "nginx" => command.args(["-c", &file]),
            "lighttpd" => command.args(["-D", "-f", &file]),
            _ => command.args(["-D", "FOREGROUND", "-f", &file]),
        };
        self.start(name, command);
        let front = self.running.last_mut().unwrap();
        let listens = until(|| {
            assert!(front.runs(), "{name} ended");
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        assert!(listens.is_some(), "{name} does not listen");
    }

    fn nginx(&mut self, server: Text, port: u16) {
        std::fs::copy("/etc/nginx/fastcgi_params", self.path("fastcgi_params"))
            .expect("apt-get install nginx-light");
        let user = if root() { "user www-data;" } else { "" };
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", self.path("temp")))
            .concat();
        let text = format!(
            "{user}\ndaemon off;\npid {};\nerror_log {};\nevents {{}}\nhttp {{\naccess_log off;\n{temp}{}}}\n",
            self.path("nginx.pid"),
            self.path("nginx.log"),
            server.put("listen 80;", format!("listen 127.0.0.1:{port};")).0
        );
        self.front("nginx", &text, port);
    }

    fn lighttpd(&mut self, text: Text, port: u16) {
        let text = format!(
            "server.document-root = \"{}\"\nserver.bind = \"127.0.0.1\"\nserver.port = {port}\n{}",
            self.path("www"),
            text.0
        );
        self.front("lighttpd", &text, port);
    }

    fn apache(&mut self, heading: &str, host: Text, port: u16) {
        let enabled = Text::of(heading, "sh", 0);
        let module = enabled.0.trim().strip_prefix("a2enmod ").unwrap();
        let mut modules = String::new();
        for module in ["mpm_event", "authz_core", "alias", module] {
            load(module, &mut modules);
        }
        if heading.contains("mod_fcgid") {
            let (sockets, table) = (self.path("fcgid"), self.path("fcgid.table"));
            modules += &format!("FcgidIPCDir {sockets}\nFcgidProcessTableFile {table}\n");
        }
        let text = format!(
            "ServerRoot {0}\nDefaultRuntimeDir {0}\nPidFile {0}/apache.pid\nErrorLog {0}/apache.log\nServerName localhost\n\
             {modules}User www-data\nGroup www-data\nListen 127.0.0.1:{port}\nDocumentRoot {0}/www\n\
             <Directory />\nAllowOverride None\nRequire all denied\n</Directory>\n\
             <Directory {0}/www>\nRequire all granted\n</Directory>\n{1}",
            self.path(""),
            host.put("*:80", format!("127.0.0.1:{port}")).0
        );
        self.front("apache2", &text, port);
    }

    /// Everything is answered as the service answers it, to several clients at once, and nobody complains.
    fn serves(self, port: u16) {
        self.serves_as(port, &format!("127.0.0.1:{port}"), &SERVED);
    }

    /// The same with this Host, of these.
    fn serves_as(mut self, port: u16, host: &str, served: &[&str]) {
        let front = Front {
            service: &self.service,
            port,
            host,
        };
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| front.serves(served));
            }
        });
        // the web server first: it may keep connections
        while let Some(group) = self.running.pop() {
            group.stop();
        }
        self.folder.log_is_clean();
        for name in [
            "nginx.log",
            "apache.log",
            "lighttpd.said",
            "apache2.said",
            "nginx.said",
        ] {
            for line in std::fs::read_to_string(self.folder.join(name))
                .unwrap_or_default()
                .lines()
            {
                let usual = [":notice]", "server started", "server stopped"];
                assert!(usual.iter().any(|words| line.contains(words)), "{name}: {line}");
            }
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in std::fs::read_dir(self.folder.join("")).unwrap().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if [".said", ".log", ".conf", "log"]
                    .iter()
                    .any(|end| name.ends_with(end))
                {
                    eprintln!(
                        "{name}:\n{}",
                        std::fs::read_to_string(entry.path()).unwrap_or_default()
                    );
                }
            }
        }
    }
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Apache's directives that load a module and those that it depends on, as a2enmod enables them.
fn load(module: &str, text: &mut String) {
    let name = format!("mods-available/{module}.load");
    let path = if module == "fcgid" {
        needed(&name).into()
    } else {
        format!("/etc/apache2/{name}")
    };
    let file = std::fs::read_to_string(&path).expect("apt-get install apache2");
    for others in file.lines().filter_map(|line| line.strip_prefix("# Depends: ")) {
        others.split_whitespace().for_each(|other| load(other, text));
    }
    let line = format!("Include {path}\n");
    if !text.contains(&line) {
        *text += &line;
    }
}

/// A web server, and who knows what it has to say.
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

    /// The answer, which is the service's own.
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
            // a web server may put its own name
            if *name != "Server" {
                assert_eq!(
                    answer.header(name),
                    Some(value.as_ref()),
                    "{method} {uri}: {name}"
                );
            }
        }
        // mod_proxy_fcgi sends in chunks
        if let Some(length) = answer.header("Content-Length") {
            assert_eq!(length.parse().ok(), right.length, "{method} {uri}");
        }
        answer
    }
}

#[test]
fn nginx_serves_over_tcp() {
    let (mut site, back, port) = (Site::new(), free_port(), free_port());
    site.bind(&format!("127.0.0.1:{back}"));
    let text = Text::of("nginx", "nginx", 0).put("127.0.0.1:9000", format!("127.0.0.1:{back}"));
    site.nginx(text, port);
    // port 80 is not spelt
    site.serves_as(port, "images.example", &SERVED);
}

#[test]
fn nginx_serves_over_a_unix_socket_and_on_another_port() {
    let (mut site, port) = (Site::new(), free_port());
    let socket = site.path("iipsrv.sock");
    site.bind(&socket);
    let text = Text::of("nginx", "nginx", 0)
        .put(
            "127.0.0.1:9000;    # or unix:/run/iipsrv/iipsrv.sock",
            format!("unix:{socket};"),
        )
        .put(
            "# fastcgi_param HTTP_HOST $host:8080;",
            format!("fastcgi_param HTTP_HOST $host:{port};"),
        );
    site.nginx(text, port);
    site.serves(port);
}

#[test]
fn lighttpd_serves_over_tcp() {
    let (mut site, back, port) = (Site::new(), free_port(), free_port());
    site.bind(&format!("127.0.0.1:{back}"));
    let text = Text::of("lighttpd", "lighttpd", 0).put("\"port\" => 9000", format!("\"port\" => {back}"));
    site.lighttpd(text, port);
    site.serves(port);
}

#[test]
fn lighttpd_serves_over_a_unix_socket() {
    let (mut site, port) = (Site::new(), free_port());
    let socket = site.path("iipsrv.sock");
    site.bind(&socket);
    let text = Text::of("lighttpd", "lighttpd", 0)
        .put("\"host\" => \"127.0.0.1\", \"port\" => 9000,    # or ", "")
        .put("\"/run/iipsrv/iipsrv.sock\"", format!("\"{socket}\","));
    site.lighttpd(text, port);
    site.serves(port);
}

#[test]
fn lighttpd_starts_it_and_serves() {
    let (mut site, port) = (Site::new(), free_port());
    let text = site
        .own(Text::of("lighttpd", "lighttpd", 1))
        .put("/run/lighttpd/iipsrv.sock", site.path("iipsrv.sock"))
        .put("/usr/local/bin/iipsrv", site.program())
        .put("syslog", site.path("log"));
    site.lighttpd(text, port);
    site.serves(port);
}

/// Nobody's URI_MAP: the web server makes a query of the path, as configurations for the original do.
#[test]
fn rewriting_in_the_web_server_gives_the_same() {
    let (mut site, port) = (Site::new(), free_port());
    let text = site
        .own(Text::of("lighttpd", "lighttpd", 1))
        .put("/run/lighttpd/iipsrv.sock", site.path("iipsrv.sock"))
        .put("/usr/local/bin/iipsrv", site.program())
        .put("syslog", site.path("log"))
        .put("URI_MAP", "NO_MAP")
        .put(
            "$HTTP[\"url\"] =~ \"^/(fcgi-bin/iipsrv\\.fcgi|iiif/|deepzoom/|zoomify/)\"",
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
    // lighttpd rewrites what it has tidied up
    let served: Vec<_> = SERVED.into_iter().filter(|uri| !uri.contains("//")).collect();
    site.serves_as(port, &format!("127.0.0.1:{port}"), &served);
}

#[test]
fn apache_mod_proxy_fcgi_serves_over_tcp() {
    let (mut site, back, port) = (Site::new(), free_port(), free_port());
    site.bind(&format!("127.0.0.1:{back}"));
    let heading = "Apache, mod_proxy_fcgi";
    let text = Text::of(heading, "apache", 0).put("127.0.0.1:9000", format!("127.0.0.1:{back}"));
    site.apache(heading, text, port);
    site.serves(port);
}

#[test]
fn apache_mod_proxy_fcgi_serves_over_a_unix_socket() {
    let (mut site, port) = (Site::new(), free_port());
    let socket = site.path("iipsrv.sock");
    site.bind(&socket);
    let heading = "Apache, mod_proxy_fcgi";
    let readme = include_str!("../../README.md");
    let handler = "proxy:unix:/run/iipsrv/iipsrv.sock|fcgi://iipsrv";
    assert!(readme.contains(&format!("handler is `{handler}`")));
    let text = Text::of(heading, "apache", 0)
        .put("proxy:fcgi://127.0.0.1:9000", handler)
        .put("/run/iipsrv/iipsrv.sock", socket);
    site.apache(heading, text, port);
    site.serves(port);
}

#[test]
fn apache_mod_fcgid_starts_it_and_serves() {
    let (mut site, port) = (Site::new(), free_port());
    let heading = "Apache, mod_fcgid";
    let text = site
        .own(Text::of(heading, "apache", 0))
        .put("/usr/local/bin/iipsrv", site.program())
        .put("syslog", site.path("log"));
    site.apache(heading, text, port);
    site.serves(port);
}

/// Runs one of the README's commands, and takes the process that it leaves behind.
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
fn spawn_fcgi_starts_it_on_a_port_for_nginx() {
    let (mut site, back, port) = (Site::new(), free_port(), free_port());
    let command = Text::of("spawn-fcgi", "sh", 0).lines("spawn-fcgi -u www-data -a ");
    spawn(&mut site, command.put("-p 9000", format!("-p {back}")));
    let text = Text::of("nginx", "nginx", 0).put("127.0.0.1:9000", format!("127.0.0.1:{back}"));
    site.nginx(text, port);
    site.serves_as(port, "images.example", &SERVED);
}

#[test]
fn spawn_fcgi_starts_it_on_a_unix_socket_for_nginx() {
    let (mut site, port) = (Site::new(), free_port());
    let socket = site.path("iipsrv.sock");
    let command = Text::of("spawn-fcgi", "sh", 0).lines("spawn-fcgi -u www-data -s ");
    spawn(&mut site, command.put("/run/iipsrv/iipsrv.sock", &socket));
    let text = Text::of("nginx", "nginx", 0).put("127.0.0.1:9000;", format!("unix:{socket};"));
    site.nginx(text, port);
    site.serves_as(port, "images.example", &SERVED);
}

#[test]
fn it_serves_by_itself() {
    let (mut site, port) = (Site::new(), free_port());
    let command = Text::of("By itself", "sh", 0)
        .put("127.0.0.1:8080", format!("127.0.0.1:{port}"))
        .put("iipsrv --http", format!("exec {} --http", site.program()));
    site.start("iipsrv", site.sh(&(site.settings() + &command.0)));
    site.folder.wait_for("listening for HTTP on");
    site.serves(port);
}

/// What systemd makes of the two units, without systemd.
#[test]
fn the_units_for_systemd_start_it() {
    let mut site = Site::new();
    let socket = Text::of("systemd", "ini", 0);
    for line in [
        "[Socket]",
        "ListenStream=127.0.0.1:9000",
        "WantedBy=sockets.target",
    ] {
        socket.lines(line);
    }
    let service = site
        .own(Text::of("systemd", "ini", 1))
        .put("/usr/local/bin/iipsrv", site.program())
        .put("syslog", site.path("log"));
    for line in [
        "[Service]",
        "Type=notify",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "DynamicUser=yes",
    ] {
        service.lines(line);
    }
    let program = service.lines("ExecStart=").put("ExecStart=", "").0;
    let script = format!(
        "LISTEN_PID=$$ LISTEN_FDS=1 exec {} 3<&0 </dev/null",
        program.trim()
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = site.sh(&script);
    for line in service
        .lines("Environment=")
        .put("Environment=", "")
        .put("\"", "")
        .0
        .lines()
    {
        let (name, value) = line.split_once('=').unwrap();
        command.env(name, value);
    }
    site.running
        .push(Group::start(command.stdin(OwnedFd::from(listener))));
    let answer = fcgi::Client::tcp(address).ask("FIF=tessera.tif&obj=Max-size");
    assert_eq!(answer.body(), b"Max-size:3072 2304\r\n");
    site.running.pop().unwrap().stop();
    site.folder.log_is_clean();
}

#[test]
fn what_is_needed_here_is_installed_by_tests_run() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/run");
    let script = std::fs::read_to_string(path).unwrap();
    let words: Vec<_> = script
        .split(|c: char| c.is_whitespace() || "()".contains(c))
        .collect();
    for (_, package) in NEEDED {
        assert!(words.contains(&package), "{package}");
    }
}
