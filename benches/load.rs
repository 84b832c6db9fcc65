//! `cargo bench --bench load -- --connect ADDRESS --query 'FIF=a.tif&JTL=0,0'`: generates load on a running FastCGI server.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod client;

use clap::Arg;
use clap::ArgAction;
use clap::Command;
use clap::value_parser;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

fn main() {
    let matches = Command::new("load")
        .about("Asks a FastCGI server as fast as it answers")
        .arg(
            Arg::new("connect")
                .long("connect")
                .required(true)
                .help("HOST:PORT or a path"),
        )
        .arg(
            Arg::new("connections")
                .long("connections")
                .default_value("1")
                .value_parser(value_parser!(u16)),
        )
        .arg(
            Arg::new("keep")
                .long("keep")
                .action(ArgAction::SetTrue)
                .help("Keep the connections; else one for each request"),
        )
        .arg(
            Arg::new("query")
                .long("query")
                .action(ArgAction::Append)
                .help("A query string; may be given several times"),
        )
        .arg(
            Arg::new("queries")
                .long("queries")
                .help("A file with a query string on each line"),
        )
        .arg(
            Arg::new("seconds")
                .long("seconds")
                .default_value("3")
                .value_parser(value_parser!(f64)),
        )
        .arg(
            Arg::new("pid")
                .long("pid")
                .action(ArgAction::Append)
                .value_parser(value_parser!(u32))
                .help("The server's process, for CPU and memory; may be given several times"),
        )
        .arg(
            Arg::new("bench")
                .long("bench")
                .action(ArgAction::SetTrue)
                .hide(true),
        )
        .get_matches();
    let text = |name| matches.get_one::<String>(name);
    let mut queries: Vec<String> = matches
        .get_many::<String>("query")
        .unwrap_or_default()
        .cloned()
        .collect();
    if let Some(file) = text("queries") {
        let lines = std::fs::read_to_string(file).expect("the file of queries is readable");
        queries.extend(lines.lines().map(String::from));
    }
    if queries.is_empty() {
        eprintln!("load: expected --query or --queries");
        std::process::exit(2);
    }
    let pids: Vec<u32> = matches.get_many("pid").unwrap_or_default().copied().collect();
    let seconds = *matches.get_one::<f64>("seconds").expect("has a default");
    let outcome = client::run(&client::Load {
        address: text("connect").expect("is required"),
        connections: usize::from(*matches.get_one::<u16>("connections").expect("has a default")),
        keep: matches.get_flag("keep"),
        queries: &queries,
        time: Duration::from_secs_f64(seconds),
        next: &AtomicUsize::new(0),
        pids: &pids,
    });
    println!(
        "{:.0} requests/s, {} good, {} bad, {:.1} MB/s, latency {:.2} ms median, {:.2} ms 99 %",
        outcome.rate(),
        outcome.good,
        outcome.bad,
        outcome.bytes as f64 / 1e6 / outcome.seconds,
        outcome.latency(0.5),
        outcome.latency(0.99),
    );
    if !pids.is_empty() {
        let (now, peak) = client::memory(&pids);
        println!(
            "{:.4} ms CPU a request, {now:.1} MB resident, {peak:.1} MB at most",
            outcome.cpu_ms()
        );
    }
}
