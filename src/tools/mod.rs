//! The subcommands, which call the service without a socket.

mod check;
mod export;
mod get;
mod prewarm;
mod progress;

use crate::config::Config;
use crate::config::Tool;
use crate::http::Http;
use crate::http::Reply;
use crate::service::Service;
use std::process::ExitCode;

/// Runs a subcommand; its exit code.
pub fn run(tool: Tool, config: Config) -> ExitCode {
    let done = match tool {
        Tool::Check { paths, json } => check::run(&paths, json, config.work.threads),
        Tool::Export {
            file,
            pyramid,
            folder,
        } => export::run(&file, &pyramid, &folder, config),
        Tool::Prewarm { list, images, levels } => prewarm::run(list.as_deref(), &images, levels, config),
        Tool::Get { query, headers } => get::run(&query, headers, config),
    };
    done.unwrap_or_else(|error| {
        eprintln!("iipsrv: {error}");
        ExitCode::from(2)
    })
}

/// The service's answer.
fn answer(service: &Service, uri: &str) -> Reply {
    service.respond(Http::get(uri))
}
