//! iipsrv: the daemon. Reads arguments and settings, opens sockets, serves.

use iipsrv::config::Args;
use iipsrv::config::Config;
use iipsrv::config::Origin;
use iipsrv::config::check;
use iipsrv::server;
use iipsrv::server::inherited;
use iipsrv::server::listen::Listener;
use iipsrv::service::Service;
use iipsrv::tools;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let code = run();
    // the log is written by a thread of its own
    log::logger().flush();
    code
}

fn run() -> ExitCode {
    let args = Args::parse();
    server::raise_file_limit();
    let mut config = Config::from_env().with_args(&args);
    if args.check_config || args.strict {
        let lossy = |text: OsString| text.to_string_lossy().into_owned();
        let environment: Vec<_> = std::env::vars_os()
            .map(|(name, value)| (lossy(name), lossy(value)))
            .collect();
        config.warnings.extend(check::problems(&config, &environment));
    }
    if args.check_config {
        print!("{}", config.report());
        return ExitCode::from(u8::from(!config.warnings.is_empty()));
    }
    if let Some(tool) = args.tool {
        return tools::run(tool, config);
    }
    if args.strict && !config.warnings.is_empty() {
        for warning in &config.warnings {
            eprintln!("iipsrv: {warning}");
        }
        return ExitCode::FAILURE;
    }
    serve(&args, config).unwrap_or_else(|code| code)
}

/// Serves until a signal ends it. `Err` holds the exit status when it could not start.
fn serve(args: &Args, config: Config) -> Result<ExitCode, ExitCode> {
    if let Err(error) = server::log::start(config.verbosity, &config.logfile, config.log_format) {
        eprintln!("iipsrv: logging is off: {error}");
    }
    log::info!(target: server::log::LIFE, "iipsrv {} starts", env!("CARGO_PKG_VERSION"));
    check_admin(args, &config)?;
    log_settings(&config);
    for line in check::places(&config).map_err(|why| refuse(&why))? {
        log::warn!(target: server::log::LIFE, "{line}");
    }
    let stores = config.stores.clone().map_err(|why| refuse(&why))?;
    let service = Service::new(config);
    if let Some(why) = service.watermark_fault() {
        return Err(refuse(&format!(
            "the watermark cannot be read, and nothing is served without it: {why}"
        )));
    }
    let listeners = listeners(args).map_err(|error| fail(&error))?;
    if listeners.is_empty() {
        eprintln!(
            "iipsrv: no socket to serve: use --bind HOST:PORT, --bind /path.sock or --http HOST:PORT, or start it \
             from spawn-fcgi, mod_fcgid, lighttpd or systemd with a listening socket"
        );
        return Err(ExitCode::from(2));
    }
    if args.demo {
        announce_demo(args, service.config())?;
    }
    server::memory::keep_tiles();
    let served = server::run(Arc::new(service), listeners);
    stores.disk().close();
    match served {
        Ok(0) => Ok(ExitCode::SUCCESS),
        Ok(_) => Ok(ExitCode::from(3)),
        Err(error) => Err(fail(&error)),
    }
}

/// The admin listener requires a token unless only this machine can reach it.
fn check_admin(args: &Args, config: &Config) -> Result<(), ExitCode> {
    match &args.admin {
        Some(address) if config.admin_token.is_empty() && !server::admin::is_private(address) => {
            eprintln!("iipsrv: --admin {address} is reachable from other hosts: set ADMIN_TOKEN");
            Err(ExitCode::from(2))
        }
        _ => Ok(()),
    }
}

/// Logs the settings that differ from their defaults, and warnings about them.
fn log_settings(config: &Config) {
    let values = config.values.iter();
    for (name, value, _) in values.filter(|(_, _, origin)| *origin != Origin::Default) {
        let value = if *name == "ADMIN_TOKEN" { "…" } else { value };
        log::info!(target: server::log::LIFE, "{name}={value}");
    }
    for warning in &config.warnings {
        log::warn!(target: server::log::LIFE, "{warning}");
    }
}

/// Prints the address of the demo.
fn announce_demo(args: &Args, config: &Config) -> Result<(), ExitCode> {
    if !Path::new(&config.library.prefix).is_dir() {
        eprintln!(
            "iipsrv: --demo serves fixtures/demo/ of the source tree: start it in the root of that tree"
        );
        return Err(ExitCode::from(2));
    }
    println!(
        "The pictures in fixtures/demo/ are at http://{}/",
        args.http_address().unwrap_or_default()
    );
    Ok(())
}

/// The sockets named by the arguments, or those inherited.
fn listeners(args: &Args) -> io::Result<Vec<Listener>> {
    let mut listeners = match &args.bind {
        Some(address) => Listener::fastcgi(address, args.backlog)?,
        None => inherited::listeners()?,
    };
    if let Some(address) = args.http_address() {
        listeners.extend(Listener::http(address, args.backlog)?);
    }
    if let Some(address) = args.admin.as_deref().filter(|_| !listeners.is_empty()) {
        listeners.extend(Listener::admin(address, args.backlog)?);
    }
    Ok(listeners)
}

/// Prints in one line why the server cannot start.
fn refuse(why: &str) -> ExitCode {
    log::error!("{why}");
    eprintln!("iipsrv: {why}");
    ExitCode::from(2)
}

fn fail(error: &io::Error) -> ExitCode {
    log::error!("{error}");
    eprintln!("iipsrv: {error}");
    ExitCode::FAILURE
}
