//! The configuration in debian/examples/scale-out works with its addresses, cache folder and sizes replaced: two servers behind nginx, one
//! memcached, one object store.

use crate::memcached::Memcached;
use crate::process::Folder;
use crate::process::free_port;
use crate::process::until;
use crate::stores::Server;
use crate::stores::s3;
use crate::support::HttpAnswer;
use crate::support::http;
use std::path::Path;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/debian/examples/scale-out");

/// A file of the example with these replacements.
fn example(name: &str, replacements: &[(&str, String)]) -> String {
    let mut text = std::fs::read_to_string(Path::new(EXAMPLE).join(name)).unwrap();
    for (from, to) in replacements {
        assert_eq!(text.matches(from).count(), 1, "{from} in {name}");
        text = text.replace(from, to);
    }
    text
}

/// Starts an image server; returns it and its port.
fn image_server(files: &Folder, s3: u16, memcached: u16) -> (Server, u16) {
    let settings = example(
        "iipsrv",
        &[
            ("store:9000", format!("127.0.0.1:{s3}")),
            ("memcached:11211", format!("127.0.0.1:{memcached}")),
            ("/var/cache/iipsrv", files.join("cache").display().to_string()),
            ("DISK_CACHE_SIZE=20000", "DISK_CACHE_SIZE=128".into()),
        ],
    );
    let lines = settings.lines().filter(|line| !line.starts_with('#'));
    let settings = lines.filter_map(|line| line.split_once('='));
    let port = free_port();
    let mut command = files.command(env!("CARGO_BIN_EXE_iipsrv"));
    command
        .envs(settings.map(|(name, value)| (name, value.trim_matches('"'))))
        .arg("--http")
        .arg(format!("127.0.0.1:{port}"));
    let child = command.spawn().unwrap();
    (Server::listening(child, None, port), port)
}

fn nginx(files: &Folder, first: u16, second: u16) -> (Server, u16) {
    let port = free_port();
    let conf = example(
        "nginx.conf",
        &[
            ("image-1:8080", format!("127.0.0.1:{first}")),
            ("image-2:8080", format!("127.0.0.1:{second}")),
            ("listen 80;", format!("listen 127.0.0.1:{port};")),
        ],
    );
    let folder = files.join("nginx");
    std::fs::create_dir(&folder).unwrap();
    (Server::nginx(folder, &conf, port), port)
}

fn get(port: u16, uri: &str) -> HttpAnswer {
    http(port, "GET", uri, &[("Host", "images.example")], "")
}

#[test]
#[ignore = "needs nginx, memcached and s3s-fs"]
fn two_servers_share_store_and_memcached_and_each_image_goes_to_one() {
    let (s3, s3_port) = s3();
    let s3_folder = s3.folder.as_ref().unwrap();
    let bucket = s3_folder.join("images/masters");
    std::fs::create_dir_all(&bucket).unwrap();
    let names: Vec<String> = (0..20).map(|number| format!("{number}.tif")).collect();
    for name in &names {
        std::fs::copy(s3_folder.join("bucket/masters/lzw.tif"), bucket.join(name)).unwrap();
    }
    let memcached = Memcached::start(free_port());
    let (files, others, front) = (Folder::new(), Folder::new(), Folder::new());
    let (first, port_1) = image_server(&files, s3_port, memcached.port);
    let (_second, port_2) = image_server(&others, s3_port, memcached.port);
    let (_nginx, port) = nginx(&front, port_1, port_2);
    let uris = |name: &str| {
        [
            format!("/iiif/{name}/info.json"),
            format!("/iiif/{name}/0,0,100,100/50,/0/default.jpg"),
            format!("/deepzoom/{name}.dzi"),
            format!("/deepzoom/{name}_files/0/0_0.jpg"),
            format!("/zoomify/{name}/ImageProperties.xml"),
            format!("/zoomify/{name}/TileGroup0/0-0-0.jpg"),
            format!("/fcgi-bin/iipsrv.fcgi?FIF={name}&obj=IIP,1.0&obj=Max-size"),
            format!("/fcgi-bin/iipsrv.fcgi?IIIF={name}/full/60,/0/default.jpg"),
            format!("/fcgi-bin/iipsrv.fcgi?DeepZoom={name}_files/1/0_0.jpg"),
            format!("/fcgi-bin/iipsrv.fcgi?Zoomify={name}/TileGroup0/0-0-0.jpg"),
        ]
    };
    for name in &names {
        for uri in uris(name) {
            let answer = get(port, &uri);
            let why = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(
                answer.status,
                200,
                "{uri}: {why}\n{}{}",
                files.log(),
                others.log()
            );
        }
    }
    let info = get(port, &uris("3.tif")[0]);
    assert!(
        String::from_utf8(info.body)
            .unwrap()
            .contains("http://images.example")
    );
    // requests for an image go to one server; both servers have images
    let requests = |log: &str, name: &str| {
        let marks = ["/", "="]
            .map(|before| ["/", ".dzi", "_files", "&"].map(|after| format!("{before}{name}{after}")));
        let marks = marks.concat();
        log.lines()
            .filter(|line| marks.iter().any(|mark| line.contains(mark)))
            .count()
    };
    let by_name = |log: String| names.iter().map(|name| requests(&log, name)).collect::<Vec<_>>();
    // a line of the log may be written after its answer
    let counts = until(|| {
        let (one, two) = (by_name(files.log()), by_name(others.log()));
        let all = one.iter().zip(&two).all(|(one, two)| one + two >= 10);
        all.then_some((one, two))
    });
    let (one, two) = counts.expect("a line for each request");
    for (name, (one, two)) in names.iter().zip(one.iter().zip(&two)) {
        assert!(one.min(two) == &0, "{name}: {one} and {two}");
    }
    assert!(
        one.iter().sum::<usize>() > 0 && two.iter().sum::<usize>() > 0,
        "{one:?} {two:?}"
    );
    // a server finds the answers of the other one
    for name in &names {
        let region = &uris(name)[1];
        assert_eq!(get(port_1, region).body, get(port_2, region).body);
    }
    let logs = || [files.log(), others.log()].concat();
    assert!(
        until(|| logs().contains(" memcached ").then_some(())).is_some(),
        "{}",
        logs()
    );
    // one server serves all if the other one is down
    drop(first);
    for name in &names {
        assert_eq!(get(port, &uris(name)[0]).status, 200, "{name}");
    }
}
