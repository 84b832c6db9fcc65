//! A fresh installation in a folder, set up with the files of `debian/` and the commands of README and man pages.
//!
//! Only addresses and paths in those texts are replaced, and each replacement must match. Other requirements of a web server
//! (a pid file, a log, a user) are added as Debian configures them.

use crate::process::Folder;
use crate::process::Group;
use crate::process::until;
use crate::support;
use iipsrv::service::Service;
use std::fmt::Display;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

/// Programs that the tests need, and their Debian packages.
pub const NEEDED: [(&str, &str); 8] = [
    ("/usr/sbin/nginx", "nginx-light"),
    ("/usr/sbin/lighttpd", "lighttpd"),
    ("/usr/sbin/apache2", "apache2"),
    ("/etc/apache2/mods-available/fcgid.load", "libapache2-mod-fcgid"),
    ("/usr/bin/spawn-fcgi", "spawn-fcgi"),
    ("/usr/bin/vips", "libvips-tools"),
    ("/usr/bin/vipsheader", "libvips-tools"),
    ("/usr/bin/transicc", "liblcms2-utils"),
];

/// A file name with every character that has a meaning in addresses.
const ODD: &str = "q'u\"o+t%e &=;#?é~[x].tif";

/// The server's socket in the units and the configurations of the web servers.
pub const SOCKET: &str = "/run/iipsrv/iipsrv.sock";

const URI_MAP: &str = "iiif=>IIIF,deepzoom=>DeepZoom,zoomify=>Zoomify";

/// The path of a program in `NEEDED`.
pub fn needed(name: &str) -> &'static str {
    let (path, package) = NEEDED.iter().find(|(path, _)| path.ends_with(name)).unwrap();
    assert!(
        Path::new(path).exists(),
        "{path} is missing: apt-get install {package}"
    );
    path
}

/// A published text: part of the README, of a man page or a configuration.
pub struct Text(pub String);

impl Text {
    /// A file of the source tree.
    pub fn file(name: &str) -> Text {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        Text(std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}")))
    }

    /// The example lines of a man page, as rendered.
    pub fn examples(page: &str) -> Text {
        let mut inside = false;
        let mut text = String::new();
        for line in Text::file(page).0.lines() {
            match line {
                ".EX" => inside = true,
                ".EE" => inside = false,
                _ if inside => {
                    let seen = line
                        .replace("\\-", "-")
                        .replace("\\e", "\\")
                        .replace("\\(aq", "'")
                        .replace("\\(ha", "^");
                    text += &format!("{}\n", seen.trim_start_matches("\\&"));
                }
                _ => {}
            }
        }
        assert!(!text.is_empty(), "{page} has no examples");
        Text(text)
    }

    /// The package's nginx snippet for an image server at `back`; `port` is the public port if it is not the default.
    pub fn nginx(back: &str, port: Option<u16>) -> Text {
        let snippet = Text::file("debian/nginx/iipsrv.conf").put(&format!("unix:{SOCKET}"), back);
        match port {
            None => snippet,
            Some(port) => snippet.put(
                "# fastcgi_param HTTP_HOST $host:8080;",
                format!("fastcgi_param HTTP_HOST $host:{port};"),
            ),
        }
    }

    /// The n-th code block of this language below this heading of the README.
    pub fn of(heading: &str, language: &str, n: usize) -> Text {
        let (mut above, mut inside) = (String::new(), None);
        let mut found = Vec::new();
        for line in Text::file("README.md").0.lines() {
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

    /// Replaces `words`, which must occur, by `others`.
    pub fn put(self, words: &str, others: impl Display) -> Text {
        assert!(self.0.contains(words), "no {words:?} in\n{}", self.0);
        Text(self.0.replace(words, &others.to_string()))
    }

    /// The lines that start with `start`.
    pub fn lines(&self, start: &str) -> Text {
        let lines = self.0.lines().filter(|line| line.starts_with(start));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        assert!(!text.is_empty(), "no {start:?} in\n{}", self.0);
        Text(text)
    }
}

/// A fresh installation in a folder: the program as the README installs it, pictures, and running processes.
pub struct Site {
    pub running: Vec<Group>,
    pub folder: Folder,
    /// Gives the expected answers.
    pub service: Service,
    /// Settings in addition to the README's: lines of shell script.
    pub more: &'static str,
}

impl Site {
    pub fn new() -> Site {
        let folder = Folder::new();
        // web servers switch to another user, who needs access
        std::fs::set_permissions(folder.join(""), PermissionsExt::from_mode(0o777)).unwrap();
        std::fs::create_dir_all(folder.join("www")).unwrap();
        std::fs::create_dir_all(folder.join("images/a b")).unwrap();
        let picture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tessera.tif");
        std::fs::copy(picture, folder.join("images/tessera.tif")).unwrap();
        std::fs::copy(picture, folder.join("images/a b/ü.tif")).unwrap();
        std::fs::copy(picture, folder.join("images/a b").join(ODD)).unwrap();
        let images = format!("{}/", folder.join("images").display());
        let vars = [("FILESYSTEM_PREFIX", images.as_str()), ("URI_MAP", URI_MAP)];
        let site = Site {
            running: Vec::new(),
            service: Service::new(support::config(&vars)),
            folder,
            more: "",
        };
        let install = Text::of("By hand", "sh", 0)
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

    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().into()
    }

    /// The installed program.
    pub fn program(&self) -> String {
        self.path("local/bin/iipsrv")
    }

    /// A shell command in the source tree with an empty environment.
    pub fn sh(&self, script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-e", "-c", script])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .stdin(Stdio::null());
        command
    }

    /// The README's settings as shell script.
    pub fn settings(&self) -> String {
        let text = Text::of("By hand", "sh", 0).lines("export ");
        self.own(text)
            .put("LOGFILE=syslog", format!("LOGFILE={}", self.path("log")))
            .0
            + self.more
    }

    /// A text of the README with this installation's folder of pictures.
    pub fn own(&self, text: Text) -> Text {
        text.put("/srv/images/", format!("{}/", self.path("images")))
    }

    /// Starts iipsrv on this address.
    pub fn bind(&mut self, address: &str) {
        let command = Text::of("By hand", "sh", 0)
            .lines("iipsrv --bind")
            .put("/run/iipsrv/iipsrv.sock    # or 127.0.0.1:9000", address)
            .put("iipsrv --bind", format!("exec {} --bind", self.program()));
        self.start("iipsrv", self.sh(&(self.settings() + &command.0)));
        self.folder.wait_for("listening for FastCGI on");
    }

    /// Starts iipsrv with `--http`, without a web server.
    pub fn by_itself(&mut self, port: u16) {
        let command = Text::examples("man/iipsrv.8")
            .lines("iipsrv --http ")
            .put("127.0.0.1:8080", format!("127.0.0.1:{port}"))
            .put("iipsrv --http", format!("exec {} --http", self.program()));
        self.start("iipsrv", self.sh(&(self.settings() + &command.0)));
        self.folder.wait_for("listening for HTTP on");
    }

    pub fn start(&mut self, name: &str, mut command: Command) {
        let said = std::fs::File::create(self.path(&format!("{name}.said"))).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said);
        self.running.push(Group::start(&mut command));
    }

    /// Starts a web server with this configuration and waits until it listens on the port.
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

    /// Starts nginx with the package's snippet and the lines `more` in a server block.
    pub fn nginx(&mut self, snippet: Text, more: &str, port: u16) {
        let server = format!("server {{\nlisten 127.0.0.1:{port};\n{more}\n{}}}", snippet.0);
        let own = Path::new("/etc/nginx/fastcgi_params");
        std::os::unix::fs::symlink(own, self.path("fastcgi_params")).unwrap();
        let root = rustix::process::geteuid().is_root();
        let user = if root { "user www-data;" } else { "" };
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", self.path("temp")))
            .concat();
        let text = format!(
            "{user}\ndaemon off;\npid {};\nerror_log {};\nevents {{}}\nhttp {{\naccess_log off;\n{temp}{}}}\n",
            self.path("nginx.pid"),
            self.path("nginx.log"),
            server
        );
        self.front("nginx", &text, port);
    }

    pub fn lighttpd(&mut self, text: Text, port: u16) {
        let text = format!(
            "server.document-root = \"{}\"\nserver.bind = \"127.0.0.1\"\nserver.port = {port}\n{}",
            self.path("www"),
            text.0
        );
        self.front("lighttpd", &text, port);
    }

    /// Starts Apache with a configuration of `debian/`, the module and the virtual host line that its comments name.
    pub fn apache(&mut self, text: Text, port: u16) {
        let module = text
            .0
            .split("a2enmod ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        let slashes = text.lines("#   AllowEncodedSlashes").put("#", "").0;
        if module == "fcgid" {
            needed("fcgid.load");
        }
        let mut modules = String::new();
        for module in ["mpm_event", "authz_core", "alias", module] {
            load(module, &mut modules);
        }
        if module == "fcgid" {
            let (sockets, table) = (self.path("fcgid"), self.path("fcgid.table"));
            modules += &format!("FcgidIPCDir {sockets}\nFcgidProcessTableFile {table}\n");
        }
        let text = format!(
            "ServerRoot {0}\nDefaultRuntimeDir {0}\nPidFile {0}/apache.pid\nErrorLog {0}/apache.log\nServerName localhost\n\
             {modules}User www-data\nGroup www-data\nListen 127.0.0.1:{port}\nDocumentRoot {0}/www\n\
             <Directory />\nAllowOverride None\nRequire all denied\n</Directory>\n\
             <Directory {0}/www>\nRequire all granted\n</Directory>\n{1}\n\
             <VirtualHost 127.0.0.1:{port}>\n{slashes}</VirtualHost>\n",
            self.path(""),
            text.0
        );
        self.front("apache2", &text, port);
    }

    /// Starts Apache with the configuration of Debian's iipimage-server: the program is `bin/iipsrv.fcgi` in this folder, and
    /// logs to `iipsrv.own`.
    pub fn debian(&mut self, port: u16) {
        let path = "/etc/apache2/mods-available/iipsrv.conf";
        let text = std::fs::read_to_string(path).expect("apt-get install iipimage-server");
        let text = Text(text)
            .put("/usr/lib/iipimage-server/", format!("{}/", self.path("bin")))
            .put("/var/log/iipsrv.log", self.path("iipsrv.own"));
        needed("fcgid.load");
        let mut modules = String::new();
        for module in ["mpm_event", "authz_core", "alias", "mime", "fcgid"] {
            load(module, &mut modules);
        }
        let text = format!(
            "ServerRoot {0}\nDefaultRuntimeDir {0}\nPidFile {0}/apache.pid\nErrorLog {0}/apache.own\nServerName localhost\n\
             {modules}User www-data\nGroup www-data\nListen 127.0.0.1:{port}\nDocumentRoot {0}/www\n\
             TypesConfig /dev/null\nFcgidIPCDir {0}/fcgid\nFcgidProcessTableFile {0}/fcgid.table\n\
             <Directory />\nAllowOverride None\nRequire all denied\n</Directory>\n{1}",
            self.path(""),
            text.0
        );
        self.front("apache2", &text, port);
    }

    /// Stops all processes and asserts that none has logged an error.
    pub fn stop(mut self) {
        // the web server first: it may keep connections open
        while let Some(group) = self.running.pop() {
            group.stop();
        }
        self.folder.log_is_clean();
        for (name, text) in self.said() {
            for line in text.lines() {
                let usual = [":notice]", "server started", "server stopped"];
                assert!(usual.iter().any(|words| line.contains(words)), "{name}: {line}");
            }
        }
    }

    /// The logs of the web servers, by file.
    fn said(&self) -> Vec<(String, String)> {
        let files = std::fs::read_dir(self.folder.join(""))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let said = files.filter(|path| path.extension().is_some_and(|end| end == "said" || end == "log"));
        said.map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap()))
            .collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = ("log".into(), self.folder.log());
            for (name, text) in self.said().into_iter().chain([log]) {
                eprintln!("{name}:\n{text}");
            }
        }
    }
}

/// Appends Apache's directives for a module and its dependencies, as a2enmod enables them.
fn load(module: &str, text: &mut String) {
    let path = format!("/etc/apache2/mods-available/{module}.load");
    let file = std::fs::read_to_string(&path).expect(&path);
    for others in file.lines().filter_map(|line| line.strip_prefix("# Depends: ")) {
        others.split_whitespace().for_each(|other| load(other, text));
    }
    let line = format!("Include {path}\n");
    if !text.contains(&line) {
        *text += &line;
    }
}
