//! `iipsrv get`: prints one answer.

use crate::config::Config;
use crate::http::Http;
use crate::service::Service;
use std::io;
use std::io::Write;
use std::process::ExitCode;

/// Writes the body to standard output, or to standard error if the answer is an error.
pub fn run(query: &str, headers: bool, config: Config) -> io::Result<ExitCode> {
    let service = Service::new(config);
    let uri = if query.starts_with('/') {
        query.to_string()
    } else {
        format!("/fcgi-bin/iipsrv.fcgi?{query}")
    };
    let reply = service.respond(Http::get(&uri));
    let mut stderr = io::stderr().lock();
    if headers {
        writeln!(stderr, "{} {}", reply.status, reply.reason())?;
        for (name, value) in &reply.headers {
            writeln!(stderr, "{name}: {value}")?;
        }
    }
    if reply.status >= 400 {
        write!(
            stderr,
            "{}: {}",
            reply.status,
            String::from_utf8_lossy(&reply.body)
        )?;
        return Ok(ExitCode::FAILURE);
    }
    io::stdout().lock().write_all(&reply.body)?;
    Ok(ExitCode::SUCCESS)
}
