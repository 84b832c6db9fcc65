//! `cargo bench --bench compare`: compares this server with iipsrv 1.1 on the same files and requests.
//!
//! Every server gets its FastCGI socket on fd 0, as from spawn-fcgi. Rounds are interleaved, so that other load on the machine
//! affects all servers alike; the output is the median of the rounds and its ratio to the first peer. `--help` lists the
//! options. `benches/pictures` makes the pictures.
#![allow(
    missing_docs,
    unsafe_code,
    dead_code,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod client;

use clap::Arg;
use clap::ArgAction;
use clap::Command as Grammar;
use clap::value_parser;
use client::Load;
use client::Outcome;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

const DEBIAN: &str = "/usr/lib/iipimage-server/iipsrv.fcgi";

/// A server's processes on one socket.
struct Server {
    name: String,
    socket: PathBuf,
    children: Vec<Child>,
    /// The number of queries sent so far.
    asked: AtomicUsize,
    /// Each process serves a single connection at a time.
    one_at_a_time: bool,
}

impl Server {
    fn start(name: &str, binary: &Path, processes: usize, folder: &Path, vars: &[(&str, &str)]) -> Server {
        let socket = folder.join(format!("{}.sock", name.replace('/', "_")));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("the socket can be created");
        let children = (0..processes)
            .map(|_| {
                let listener = OwnedFd::from(listener.try_clone().unwrap());
                Command::new(binary)
                    .env_clear()
                    .env("VERBOSITY", "0")
                    .env("LOGFILE", "/dev/null")
                    // the original connects to localhost if this is unset
                    .env("MEMCACHED_SERVERS", "")
                    .envs(vars.iter().copied())
                    .stdin(listener)
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap_or_else(|error| panic!("{}: {error}", binary.display()))
            })
            .collect();
        Server {
            name: name.into(),
            socket,
            children,
            asked: AtomicUsize::new(0),
            one_at_a_time: !name.starts_with("ours"),
        }
    }

    fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// A case of the benchmark.
struct Case {
    name: &'static str,
    queries: Vec<String>,
    /// Settings of the servers.
    vars: Vec<(&'static str, &'static str)>,
    /// Send every query once before, so that the answers are cached.
    warm: bool,
    /// Measure only this server.
    alone: bool,
}

/// Tiles of the full-size level of a picture that is `side` pixels wide, with tiles of 256, spread over three quarters
/// of its height.
fn tiles(file: &str, side: u32, count: u32, more: &str) -> Vec<String> {
    let columns = side.div_ceil(256);
    let level = 32 - (columns - 1).leading_zeros();
    let all = columns * (columns * 3 / 4).max(1);
    (0..count.min(all))
        // 7919 is prime: every tile occurs once, and neighbours are not consecutive
        .map(|n| {
            format!(
                "FIF={file}{more}&JTL={level},{}",
                u64::from(n) * 7919 % u64::from(all)
            )
        })
        .collect()
}

/// The same tiles in the order of a viewer: adjacent screens of seven by five tiles. Each pass has a different quality, so
/// that no answer repeats.
fn screens(file: &str, side: u32, level: u32) -> Vec<String> {
    let columns = side.div_ceil(256);
    let rows = columns * 3 / 4;
    let mut order: Vec<(u32, u32)> = (0..rows)
        .flat_map(|y| (0..columns).map(move |x| (x, y)))
        .collect();
    order.sort_by_key(|(x, y)| (y / 5, x / 7, y % 5, x % 7));
    (70..90)
        .flat_map(|quality| order.iter().map(move |(x, y)| (quality, y * columns + x)))
        .map(|(quality, index)| format!("FIF={file}&QLT={quality}&JTL={level},{index}"))
        .collect()
}

fn cases(side: u32) -> Vec<Case> {
    const COLD: (&str, &str) = ("MAX_IMAGE_CACHE_SIZE", "0");
    let case = |name, queries, vars: &[_], warm| Case {
        name,
        queries,
        vars: vars.to_vec(),
        warm,
        alone: false,
    };
    let many = 4096;
    let seen = |name, file: &str, side, level| {
        case(name, screens(file, side, level), &[("MAX_LAYERS", "-1")], false)
    };
    // files that 1.1 cannot read
    let alone = |name, file: &str, level| Case {
        alone: true,
        ..case(name, screens(file, side, level), &[], false)
    };
    let jp2 = |name, file: &str| {
        case(
            name,
            tiles(file, side, many, ""),
            &[COLD, ("MAX_LAYERS", "-1")],
            false,
        )
    };
    // all layers: 1.1 decodes half of them
    let small = |name, file: &str| {
        case(
            name,
            vec![format!("IIIF={file}/full/800,/0/default.jpg")],
            &[COLD, ("MAX_LAYERS", "-1")],
            false,
        )
    };
    let export = |name, file: &str| {
        case(
            name,
            vec![format!("IIIF={file}/full/5000,/0/default.jpg")],
            &[COLD],
            false,
        )
    };
    // processing: pyramids of 4096 pixels, uncompressed
    let tone = |name, file: &str, words: &str| case(name, tiles(file, 4096, many, words), &[COLD], false);
    vec![
        case("hot tiles", tiles("jpeg.tif", side, 64, ""), &[], true),
        case(
            "cold, pass-through",
            tiles("jpeg.tif", side, many, ""),
            &[COLD],
            false,
        ),
        case(
            "cold, JPEG again",
            tiles("jpeg.tif", side, many, "&QLT=60"),
            &[COLD],
            false,
        ),
        case(
            "cold, Deflate",
            tiles("deflate.tif", side, many, ""),
            &[COLD],
            false,
        ),
        case("cold, none", tiles("none.tif", side, many, ""), &[COLD], false),
        case("info.json", vec!["IIIF=jpeg.tif/info.json".into()], &[], true),
        case(
            "full/800,",
            vec!["IIIF=jpeg.tif/full/800,/0/default.jpg".into()],
            &[COLD],
            false,
        ),
        export("export 5000 px, none", "none.tif"),
        export("export 5000 px, JPEG", "jpeg.tif"),
        export("export 5000 px, Deflate", "deflate.tif"),
        jp2("JP2, tiled, lossy", "jp2-tiled-lossy.jp2"),
        jp2("JP2, tiled, lossless", "jp2-tiled-lossless.jp2"),
        jp2("JP2, untiled, lossy", "jp2-untiled-lossy.jp2"),
        jp2("JP2, untiled, lossless", "jp2-untiled-lossless.jp2"),
        seen("JP2 screens, tiled, lossy", "jp2-tiled-lossy.jp2", side, 5),
        seen("JP2 screens, tiled, lossless", "jp2-tiled-lossless.jp2", side, 5),
        seen("JP2 screens, untiled, lossy", "jp2-untiled-lossy.jp2", side, 5),
        seen(
            "JP2 screens, untiled, lossless",
            "jp2-untiled-lossless.jp2",
            side,
            5,
        ),
        seen(
            "JP2 screens at 1/4, tiled, lossy",
            "jp2-tiled-lossy.jp2",
            side / 4,
            3,
        ),
        seen(
            "JP2 screens at 1/4, untiled, lossless",
            "jp2-untiled-lossless.jp2",
            side / 4,
            3,
        ),
        seen(
            "JP2 screens, four times as large",
            "jp2-large-lossy.jp2",
            2 * side,
            6,
        ),
        alone("HT screens", "jp2-ht.j2c", 5),
        // full size, 1/2, 1/4 and 1/8
        alone("JPEG screens", "baseline.jpg", 3),
        // down to one tile
        alone("JPEG screens, progressive", "progressive.jpg", 5),
        small("JP2, full/800, tiled, lossy", "jp2-tiled-lossy.jp2"),
        small("JP2, full/800, tiled, lossless", "jp2-tiled-lossless.jp2"),
        small("JP2, full/800, untiled, lossy", "jp2-untiled-lossy.jp2"),
        small("JP2, full/800, untiled, lossless", "jp2-untiled-lossless.jp2"),
        tone("tone: 8 bit, as it is", "rgb8.tif", ""),
        tone("tone: 8 bit, GAM", "rgb8.tif", "&GAM=2.2"),
        tone("tone: 8 bit, INV", "rgb8.tif", "&INV=1"),
        tone("tone: 8 bit, CNT", "rgb8.tif", "&CNT=1.5"),
        tone("tone: 8 bit, CNT=eq", "rgb8.tif", "&CNT=eq"),
        tone("tone: 8 bit, CTW", "rgb8.tif", "&CTW=[0.5,0.5,0;0,1,0;0,0.2,0.8]"),
        tone("tone: 8 bit, SHD", "rgb8.tif", "&SHD=45,30"),
        tone("tone: 8 bit grey, CMP", "grey8.tif", "&CMP=jet"),
        tone("tone: 8 bit, CNV", "rgb8.tif", "&CNV=sharpen"),
        tone("tone: 16 bit, as it is", "rgb16.tif", ""),
        tone("tone: 16 bit, GAM", "rgb16.tif", "&GAM=2.2"),
        tone(
            "tone: 16 bit, MINMAX GAM INV CNT",
            "rgb16.tif",
            "&MINMAX=1:2000,60000&MINMAX=2:3000,60000&GAM=2.2&INV=1&CNT=1.2",
        ),
        tone(
            "tone: 16 bit, CTW GAM",
            "rgb16.tif",
            "&CTW=[0.5,0.5,0;0,1,0;0,0.2,0.8]&GAM=2.2",
        ),
        tone(
            "tone: six bands, CTW",
            "six16.tif",
            "&CTW=[0.5,0,0,0.5,0,0;0,0.5,0,0,0.5,0;0,0,0.5,0,0,0.5]",
        ),
        tone("tone: float, as it is", "float.tif", ""),
        tone("tone: float, CMP", "float.tif", "&MINMAX=1:0,1&CMP=jet"),
        tone("tone: float, GAM", "float.tif", "&MINMAX=1:0,1&GAM=2.2"),
        tone("tone: L*a*b*, as it is", "lab.tif", ""),
        tone("tone: L*a*b*, GAM", "lab.tif", "&GAM=2.2"),
    ]
}

/// A row of the table in the project's README: its label and the cases that it summarises.
type Shown = (&'static str, &'static [&'static str]);

/// The columns of that table.
const README: [(&str, &[Shown]); 3] = [
    (
        "tiles",
        &[
            ("cached", &["hot tiles"]),
            ("stored JPEG", &["cold, pass-through"]),
            ("JPEG at another quality", &["cold, JPEG again"]),
            ("Deflate", &["cold, Deflate"]),
            (
                "JPEG 2000, lossy, by screens",
                &["JP2 screens, tiled, lossy", "JP2 screens, untiled, lossy"],
            ),
        ],
    ),
    (
        "pictures",
        &[
            ("`full/800,`, JPEG pyramid", &["full/800,"]),
            (
                "`full/800,`, JPEG 2000",
                &[
                    "JP2, full/800, tiled, lossy",
                    "JP2, full/800, tiled, lossless",
                    "JP2, full/800, untiled, lossy",
                    "JP2, full/800, untiled, lossless",
                ],
            ),
            ("5000 pixels wide, JPEG pyramid", &["export 5000 px, JPEG"]),
            ("info.json", &["info.json"]),
        ],
    ),
    (
        "processing of tiles",
        &[
            ("gamma", &["tone: 8 bit, GAM"]),
            ("matrix and gamma, 16 bits", &["tone: 16 bit, CTW GAM"]),
            ("colour map", &["tone: 8 bit grey, CMP"]),
            ("equalisation", &["tone: 8 bit, CNT=eq"]),
        ],
    ),
];

/// Prints that table. `shares` maps the name of a case to its share of the CPU time of iipsrv 1.1.
fn print_readme(shares: &HashMap<&str, f64>) {
    let share = |cases: &[&str]| {
        let mut found: Vec<String> = cases
            .iter()
            .filter_map(|case| shares.get(case))
            .map(|share| format!("{share:.2}"))
            .collect();
        found.sort();
        found.dedup();
        match found.as_slice() {
            [] => "-".into(),
            [one] => one.clone(),
            [first, .., last] => format!("{first} to {last}"),
        }
    };
    let heads: Vec<String> = README.iter().map(|(head, _)| format!("| {head} | ")).collect();
    println!("\n{}|\n|{}", heads.concat(), "---|".repeat(2 * README.len()));
    for row in 0..README.iter().map(|(_, rows)| rows.len()).max().unwrap_or(0) {
        let cell = |rows: &[Shown]| match rows.get(row) {
            Some((name, cases)) => format!("{name} | {}", share(cases)),
            None => " | ".into(),
        };
        let cells: Vec<String> = README.iter().map(|(_, rows)| cell(rows)).collect();
        println!("| {} |", cells.join(" | "));
    }
}

/// A share above the previous one times this factor counts as slower.
const SLOWER: f64 = 1.1;

/// Prints the cases that are slower than in an earlier table; returns whether there are any.
fn print_slower(table: &str, shares: &HashMap<&str, f64>) -> bool {
    let mut before = HashMap::new();
    for line in table.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", case, _, "ours", _, _, _, share, ..] = cells[..]
            && let Ok(share) = share.parse::<f64>()
        {
            before.entry(case).or_insert(share);
        }
    }
    let mut slower = false;
    for (case, share) in shares {
        let Some(before) = before.get(case) else { continue };
        // the precision of a table
        if (share * 100.0).round() / 100.0 > before * SLOWER {
            println!("slower: {case}: {share:.2} of 1.1, before {before:.2}");
            slower = true;
        }
    }
    slower
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() {
    let number = |name, default| {
        Arg::new(name)
            .long(name)
            .default_value(default)
            .value_parser(value_parser!(f64))
    };
    let matches = Grammar::new("compare")
        .about("This server beside the one it replaces")
        .after_help("PEER=/path/to/binary in the environment adds another server.")
        .arg(number("seconds", "1").help("Length of a measurement"))
        .arg(number("rounds", "5").help("Measurements of each server in each case"))
        .arg(
            Arg::new("pictures")
                .long("pictures")
                .default_value("target/pictures/")
                .help("Folder of jpeg.tif, deflate.tif and none.tif, with a slash at its end"),
        )
        .arg(number("side", "8192").help("Their width and height"))
        .arg(
            Arg::new("only")
                .long("only")
                .help("Only cases whose name holds this"),
        )
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["seconds", "rounds", "connections"])
                .help("Three rounds of 0.3 s on one connection: some five minutes for everything"),
        )
        .arg(
            Arg::new("against")
                .long("against")
                .value_name("TABLE")
                .help("A file with what was printed before: names the cases that are 10 % slower, and fails if there are any"),
        )
        .arg(
            Arg::new("connections")
                .long("connections")
                .value_delimiter(',')
                .default_value("1,4,64")
                .value_parser(value_parser!(u16)),
        )
        .arg(
            Arg::new("bench")
                .long("bench")
                .action(ArgAction::SetTrue)
                .hide(true),
        )
        .get_matches();
    let value = |name| *matches.get_one::<f64>(name).unwrap();
    let pictures = matches.get_one::<String>("pictures").unwrap();
    let pictures = std::fs::canonicalize(pictures).expect("pictures exist (benches/pictures makes them)");
    let pictures = format!("{}/", pictures.display());
    let folder = std::env::temp_dir().join(format!("iipsrv-compare-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();

    let ours = Path::new(env!("CARGO_BIN_EXE_iipsrv"));
    let mut binaries = vec![("ours".to_string(), ours.to_path_buf(), 1)];
    if Path::new(DEBIAN).exists() {
        binaries.push(("1.1".into(), DEBIAN.into(), 1));
        binaries.push(("1.1 twice".into(), DEBIAN.into(), 2));
    }
    if let Some(peer) = std::env::var_os("PEER") {
        binaries.push(("peer".into(), peer.into(), 1));
    }

    println!("| case | connections | server | requests/s | ratio | CPU ms | ratio | 99 % ms | MB | bad |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut shares = HashMap::new();
    for case in cases(value("side") as u32) {
        if matches
            .get_one::<String>("only")
            .is_some_and(|only| !case.name.contains(only.as_str()))
        {
            continue;
        }
        let mut vars = vec![("FILESYSTEM_PREFIX", pictures.as_str())];
        vars.extend(&case.vars);
        let servers: Vec<_> = binaries
            .iter()
            .filter(|(name, ..)| !case.alone || name == "ours")
            .map(|(name, binary, processes)| Server::start(name, binary, *processes, &folder, &vars))
            .collect();
        let settle = |server: &Server| {
            let rounds = if case.warm { 2 * server.children.len() } else { 0 };
            for query in case.queries.iter().cycle().take(1 + case.queries.len() * rounds) {
                measure(server, std::slice::from_ref(query), 1, false, Duration::ZERO);
            }
        };
        servers.iter().for_each(settle);
        if matches.get_flag("quick") {
            let share = compare(&case, &servers, 1, false, 3, Duration::from_millis(300));
            shares.extend(share.map(|share| (case.name, share)));
            continue;
        }
        for connections in matches.get_many::<u16>("connections").unwrap() {
            for keep in [false, true] {
                let share = compare(
                    &case,
                    &servers,
                    usize::from(*connections),
                    keep,
                    value("rounds") as usize,
                    Duration::from_secs_f64(value("seconds")),
                );
                if let Some(share) = share {
                    shares.entry(case.name).or_insert(share);
                }
            }
        }
    }
    let _ = std::fs::remove_dir_all(folder);
    print_readme(&shares);
    if let Some(table) = matches.get_one::<String>("against") {
        let table = std::fs::read_to_string(table).expect("the table is readable");
        if print_slower(&table, &shares) {
            std::process::exit(1);
        }
    }
}

fn measure(server: &Server, queries: &[String], connections: usize, keep: bool, time: Duration) -> Outcome {
    client::run(&Load {
        address: server.socket.to_str().unwrap(),
        connections,
        keep,
        queries,
        time,
        next: &server.asked,
        pids: &server.pids(),
    })
}

/// Runs interleaved rounds of one case and prints a line for each server; our share of the CPU time of the first peer, if that
/// has answered.
fn compare(
    case: &Case,
    servers: &[Server],
    connections: usize,
    keep: bool,
    rounds: usize,
    time: Duration,
) -> Option<f64> {
    // more than one kept connection per process would never be served
    let fits = |s: &&Server| !keep || !s.one_at_a_time || connections <= s.children.len();
    let servers: Vec<_> = servers.iter().filter(fits).collect();
    let mut outcomes: Vec<Vec<Outcome>> = servers.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (server, outcomes) in servers.iter().zip(&mut outcomes) {
            outcomes.push(measure(server, &case.queries, connections, keep, time));
        }
    }
    let middle = |outcomes: &[Outcome], of: fn(&Outcome) -> f64| median(outcomes.iter().map(of).collect());
    let base = servers
        .iter()
        .position(|s| s.one_at_a_time)
        .map(|at| &outcomes[at]);
    for (server, outcomes) in servers.iter().zip(&outcomes) {
        let rate = middle(outcomes, Outcome::rate);
        let cpu = middle(outcomes, Outcome::cpu_ms);
        let tail = middle(outcomes, |o| f64::from(o.latency(0.99)));
        let ratio = |own: f64, of: fn(&Outcome) -> f64| {
            // the peer may not be able to read the file
            base.filter(|base| middle(base, Outcome::rate) > 0.0)
                .map_or(String::from("-"), |base| format!("{:.2}", own / middle(base, of)))
        };
        println!(
            "| {} | {connections}{} | {} | {rate:.0} | {} | {cpu:.4} | {} | {tail:.2} | {:.0} | {} |",
            case.name,
            if keep { " kept" } else { "" },
            server.name,
            ratio(rate, Outcome::rate),
            ratio(cpu, Outcome::cpu_ms),
            client::memory(&server.pids()).1,
            outcomes.iter().map(|o| o.bad).sum::<usize>(),
        );
    }
    let base = base.filter(|base| middle(base, Outcome::rate) > 0.0)?;
    Some(middle(outcomes.first()?, Outcome::cpu_ms) / middle(base, Outcome::cpu_ms))
}
