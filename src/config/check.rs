//! `--check-config`: checks directories, names, limits and unknown variables on this machine.

use crate::config::Config;
use crate::config::open_files;
use crate::config::vars::VARS;
use crate::config::vars::ValueType;
use crate::library;
use crate::process::WatermarkSettings;
use crate::store::settings::is_url;
use rustix::fs::Access;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Time limit of name resolution and of a file system's answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Problems of the settings on this machine, one line each. `environment` has the names and values of all variables.
/// Checks files and resolves names.
pub fn problems(config: &Config, environment: &[(String, String)]) -> Vec<String> {
    let mut all = places(config).unwrap_or_else(|why| vec![why]);
    if !config.cache_dir.is_empty()
        && config.cache_dir_bytes > 0
        && let Err(error) = config.configured_spool_dir().trial()
    {
        all.push(format!("CACHE_DIR={}: {error}: it is not used", config.cache_dir));
    }
    if config.verbosity > 0 {
        all.extend(log(&config.logfile));
    }
    all.extend(watermark(config.watermark.as_ref()));
    all.extend(servers(&config.memcached.servers));
    all.extend(limits(config));
    all.extend(variables(environment));
    all
}

/// Checks the places of masters, at every start: one line for each that cannot be read now. Error: an object store is
/// misconfigured.
pub fn places(config: &Config) -> Result<Vec<String>, String> {
    let mut all = Vec::from_iter(prefix(&config.library.prefix));
    all.extend(config.stores.clone()?.check()?);
    Ok(all)
}

/// Checks the directory of images.
fn prefix(prefix: &str) -> Option<String> {
    if is_url(prefix) {
        return None;
    }
    if prefix.is_empty() {
        let text =
            "FILESYSTEM_PREFIX is empty: every image that this process may read can be asked for by its path";
        return Some(text.into());
    }
    let (sender, result) = mpsc::channel();
    let owned = prefix.to_owned();
    // on a thread of its own: a network file system may hang. The receiver may be gone
    thread::spawn(move || drop(sender.send(directory(&owned))));
    result.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        let seconds = PATIENCE.as_secs();
        Some(format!(
            "FILESYSTEM_PREFIX={prefix}: does not answer within {seconds} seconds"
        ))
    })
}

/// Checks that a prefix of paths ends in a directory that can be read.
fn directory(prefix: &str) -> Option<String> {
    if !prefix.ends_with('/') && Path::new(prefix).is_dir() {
        return Some(format!(
            "FILESYSTEM_PREFIX={prefix} does not end in a slash: the image a would be {prefix}a"
        ));
    }
    let directory = prefix.rsplit_once('/').map_or(".", |(directory, _)| directory);
    let directory = if directory.is_empty() { "/" } else { directory };
    let error = fs::read_dir(directory).err()?;
    Some(format!("FILESYSTEM_PREFIX={prefix}: {error}"))
}

/// Reports a log file that cannot be written or created.
fn log(logfile: &str) -> Option<String> {
    let path = Path::new(logfile);
    if !logfile.starts_with('/') || logfile.starts_with("/dev/") || logfile.starts_with("/proc/self/fd/") {
        return match logfile {
            "" => Some("LOGFILE is empty: the log goes to stderr".into()),
            _ => None,
        };
    }
    let access = if path.exists() {
        rustix::fs::access(path, Access::WRITE_OK)
    } else {
        let directory = path.parent().unwrap_or(path);
        rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK)
    };
    let error = access.err()?;
    Some(format!("LOGFILE={logfile}: {error}: the log goes to stderr"))
}

/// Reports a watermark that cannot be read.
fn watermark(settings: Option<&WatermarkSettings>) -> Option<String> {
    let path = &settings?.path;
    let error = library::picture(path).err()?;
    Some(format!("WATERMARK={}: {error}", path.display()))
}

/// Reports memcached servers whose names cannot be resolved, and local ones that do not listen.
fn servers(servers: &[String]) -> Vec<String> {
    let (sender, answers) = mpsc::channel();
    for server in servers {
        let (server, sender) = (server.clone(), sender.clone());
        thread::spawn(move || {
            let found = match server.starts_with('/') {
                true => fs::metadata(&server).map(drop),
                false => server.to_socket_addrs().and_then(listening),
            };
            // the receiver may be gone
            let _ = sender.send((server, found));
        });
    }
    drop(sender);
    let mut silent: Vec<String> = servers.to_vec();
    let mut all = Vec::new();
    while let Ok((server, found)) = answers.recv_timeout(PATIENCE) {
        silent.retain(|other| *other != server);
        if let Err(error) = found {
            all.push(format!("MEMCACHED_SERVERS: {server}: {error}"));
        }
    }
    let late = |server| format!("MEMCACHED_SERVERS: {server}: no name server answers");
    all.extend(silent.into_iter().map(late));
    all
}

/// An error if an address is local and nothing listens there. Debian's configuration of iipimage-server names localhost whether
/// or not a memcached runs.
fn listening(mut addresses: impl Iterator<Item = SocketAddr>) -> io::Result<()> {
    let Some(address) = addresses.find(|address| address.ip().is_loopback()) else {
        return Ok(());
    };
    TcpStream::connect_timeout(&address, PATIENCE)
        .map(drop)
        .map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{error}: without a memcached there, leave it unset"),
            )
        })
}

/// Reports settings beyond the limits of the system.
fn limits(config: &Config) -> Option<String> {
    let possible = open_files().images;
    let wanted = config.open_images.filter(|&wanted| wanted > possible)?;
    Some(format!(
        "MAX_METADATA_CACHE_SIZE={wanted}: the limit of open files allows {possible}"
    ))
}

/// Reports empty variables, and unknown ones that resemble a setting.
fn variables(environment: &[(String, String)]) -> Vec<String> {
    let mut all = Vec::new();
    for (name, value) in environment {
        let known = VARS
            .iter()
            .find(|var| var.name == name || var.alias == Some(name));
        match known {
            Some(var) if value.trim().is_empty() && var.kind == ValueType::Text && var.default.is_empty() => {
                all.push(format!("{name} is empty, as if it were not set"));
            }
            Some(_) => {}
            None => all
                .extend(likely(name).map(|other| format!("{name} is not a setting; did you mean {other}?"))),
        }
    }
    let both = |var: &&crate::config::vars::Var| {
        let given = |name: &str| environment.iter().any(|(other, _)| other == name);
        given(var.name) && var.alias.is_some_and(given)
    };
    for var in VARS.iter().filter(both) {
        let alias = var.alias.unwrap_or_default();
        all.push(format!("{alias} has no effect beside {}", var.name));
    }
    all
}

/// The setting that this name resembles.
fn likely(name: &str) -> Option<&'static str> {
    let names = VARS.iter().flat_map(|var| [Some(var.name), var.alias]).flatten();
    let near = names.map(|known| (distance(&name.to_uppercase(), known), known));
    let (distance, known) = near.min()?;
    (known.len() >= 5 && distance <= known.len() / 6 + 1).then_some(known)
}

/// Minimum number of insertions, deletions, replacements and transpositions of letters (optimal string alignment
/// distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, j) + usize::from(x != y))
                .min(at(&last, j + 1) + 1)
                .min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pairs: &[(&str, &str)]) -> Vec<String> {
        let usual = ("FILESYSTEM_PREFIX", "/");
        let all = || pairs.iter().chain([&usual]);
        let lookup = |name: &str| all().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
        let environment: Vec<_> = pairs
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        problems(&Config::read(lookup), &environment)
    }

    #[test]
    fn a_missing_doubled_replaced_or_swapped_letter_is_a_distance_of_one() {
        for (a, b, steps) in [
            ("MAX_CVT", "MAX_CTV", 1),
            ("MAX_CVT", "MAX_VT", 1),
            ("MAX_CVT", "MAXX_CVT", 1),
            ("MAX_CVT", "MAX-CVT", 1),
            ("", "CORS", 4),
            ("LOGNAME", "LOGFILE", 3),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (steps, steps), "{a} {b}");
        }
    }

    #[test]
    fn a_name_that_resembles_a_setting_is_reported_and_others_are_not() {
        assert_eq!(
            found(&[("JPEG_QUALTIY", "80")]),
            ["JPEG_QUALTIY is not a setting; did you mean JPEG_QUALITY?"]
        );
        assert_eq!(
            found(&[("memcached_server", "a")]),
            ["memcached_server is not a setting; did you mean MEMCACHED_SERVERS?"]
        );
        let usual = [
            "PATH", "HOME", "LOGNAME", "USER", "LANG", "SHELL", "PWD", "TERM", "MAIL", "TZ",
        ];
        assert_eq!(found(&usual.map(|name| (name, "x"))), [""; 0]);
    }

    #[test]
    fn directories_names_and_empty_values_are_reported() {
        let exists = std::env::temp_dir().display().to_string();
        let exists = exists.trim_end_matches('/');
        assert_eq!(found(&[("FILESYSTEM_PREFIX", &format!("{exists}/"))]), [""; 0]);
        let none = problems(&Config::default(), &[]);
        assert!(
            none[0].contains("every image that this process may read"),
            "{none:?}"
        );
        let slash = found(&[("FILESYSTEM_PREFIX", exists)]);
        assert!(
            slash.len() == 1 && slash[0].contains("does not end in a slash"),
            "{slash:?}"
        );
        for (name, value, text) in [
            ("FILESYSTEM_PREFIX", "/nowhere/at/all/", "No such file"),
            ("STORES", "old=>ftp://user:secret@host/", "STORES: ftp://host/"),
            ("CACHE_DIR", "/nowhere/at/all", "it is not used"),
            ("LOGFILE", "/nowhere/at/all", "goes to stderr"),
            (
                "MEMCACHED_SERVERS",
                "nobody.invalid",
                "MEMCACHED_SERVERS: nobody.invalid:11211: ",
            ),
            (
                "MEMCACHED_SERVERS",
                "/nowhere/at/all",
                "MEMCACHED_SERVERS: /nowhere/at/all: ",
            ),
            // nothing listens on port 1
            ("MEMCACHED_SERVERS", "127.0.0.1:1", "leave it unset"),
            (
                "MAX_METADATA_CACHE_SIZE",
                "2000000000",
                "the limit of open files allows",
            ),
            ("BASE_URL", "", "BASE_URL is empty"),
        ] {
            let warnings = found(&[(name, value)]);
            assert!(
                warnings.len() == 1 && warnings[0].contains(text),
                "{name}={value}: {warnings:?}"
            );
        }
        let both = found(&[
            ("MAX_METADATA_CACHE_SIZE", "7"),
            ("MAX_IMAGE_METADATA_CACHE_SIZE", "8"),
        ]);
        assert_eq!(
            both,
            ["MAX_IMAGE_METADATA_CACHE_SIZE has no effect beside MAX_METADATA_CACHE_SIZE"]
        );
    }
}
