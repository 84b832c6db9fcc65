//! The command line.

use crate::config::tools;
use crate::config::tools::Tool;
use crate::config::vars::VARS;
use crate::config::vars::ValueType;
use clap::Arg;
use clap::ArgAction;
use clap::Command;
use std::fmt::Write;

/// The parsed command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// Address of the FastCGI listener: `HOST:PORT`, `:PORT`, `[v6]:PORT` or a path.
    pub bind: Option<String>,
    /// Listen backlog.
    pub backlog: u32,
    /// Address of the HTTP listener.
    pub http: Option<String>,
    /// Address of the admin listener.
    pub admin: Option<String>,
    /// Serve the pictures of the source tree over HTTP.
    pub demo: bool,
    /// Print the settings and exit.
    pub check_config: bool,
    /// Do not start if the settings have problems.
    pub strict: bool,
    /// The subcommand to run instead of the daemon.
    pub tool: Option<Tool>,
}

/// The command line's grammar, for parsing and for help.
pub fn command() -> Command {
    Command::new("iipsrv")
        .bin_name("iipsrv")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Image server for gigapixel pyramids: IIP, IIIF, DeepZoom and Zoomify over FastCGI")
        .after_help(settings_help())
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .subcommands(tools::commands())
        .arg(
            Arg::new("bind")
                .long("bind")
                .value_name("ADDRESS")
                .help("Listen for FastCGI on HOST:PORT, :PORT, [v6]:PORT or /path.sock"),
        )
        .arg(
            Arg::new("backlog")
                .long("backlog")
                .value_name("N")
                .default_value("2048")
                .value_parser(clap::value_parser!(u32).range(1..=65535))
                .help("Listen backlog"),
        )
        .arg(
            Arg::new("http")
                .long("http")
                .value_name("ADDRESS")
                .help("Listen for HTTP too: the same URLs as behind a web server, and a viewer at /"),
        )
        .arg(
            Arg::new("admin")
                .long("admin")
                .value_name("ADDRESS")
                .help("Listen for /metrics, /health/live, /health/ready, /status and POST /purge: 127.0.0.1:PORT or /path.sock"),
        )
        .arg(
            Arg::new("demo")
                .long("demo")
                .action(ArgAction::SetTrue)
                .help("Serve the pictures in fixtures/demo/ at http://127.0.0.1:8080/"),
        )
        .arg(
            Arg::new("check-config")
                .long("check-config")
                .action(ArgAction::SetTrue)
                .help("Print every setting and where it came from, look at directories, names and limits; exit 1 when something is wrong"),
        )
        .arg(
            Arg::new("strict")
                .long("strict")
                .action(ArgAction::SetTrue)
                .help("Do not start when --check-config would find something wrong"),
        )
}

impl Args {
    /// Parses the command line; for help, version or an error prints and exits.
    pub fn parse() -> Args {
        Args::from(&command().get_matches())
    }

    /// Address of the HTTP listener, if any.
    pub fn http_address(&self) -> Option<&str> {
        self.http.as_deref().or(self.demo.then_some("127.0.0.1:8080"))
    }
}

impl From<&clap::ArgMatches> for Args {
    fn from(matches: &clap::ArgMatches) -> Self {
        Args {
            bind: matches.get_one::<String>("bind").cloned(),
            backlog: matches.get_one::<u32>("backlog").copied().unwrap_or(2048),
            http: matches.get_one::<String>("http").cloned(),
            admin: matches.get_one::<String>("admin").cloned(),
            demo: matches.get_flag("demo"),
            check_config: matches.get_flag("check-config"),
            strict: matches.get_flag("strict"),
            tool: Tool::from(matches),
        }
    }
}

/// The settings as `--help` shows them.
fn settings_help() -> String {
    let mut text = String::from("Settings are environment variables:\n");
    for var in VARS {
        let _ = writeln!(text, "  {}={}  {}", var.name, var.default, range(var.kind));
        let _ = writeln!(
            text,
            "      {}{}",
            var.help,
            if var.built {
                ""
            } else {
                " (no effect in this version)"
            }
        );
    }
    text.push_str("\nWithout --bind and --http a listening socket is expected on fd 0 (spawn-fcgi, mod_fcgid, lighttpd) or from systemd.");
    text
}

/// The allowed values of a setting in brackets; empty for free text.
pub fn range(kind: ValueType) -> String {
    match kind {
        ValueType::Text => String::new(),
        ValueType::Int(low, high) if high == i64::from(i32::MAX) => format!("[{low}…]"),
        ValueType::Int(low, high) => format!("[{low}…{high}]"),
        ValueType::Float(low, high) if high >= 1e9 => format!("[{low}…]"),
        ValueType::Float(low, high) => format!("[{low}…{high}]"),
        ValueType::Switch => "[0, 1]".into(),
        ValueType::Word(words) => format!("[{}]", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_in_any_order() {
        let parse = |words: &[&str]| Args::from(&command().get_matches_from(words));
        let one = parse(&["iipsrv", "--bind", ":9000", "--backlog", "16"]);
        let two = parse(&["iipsrv.fcgi", "--backlog", "16", "--bind", ":9000"]);
        assert_eq!(one, two);
        assert_eq!(one.bind.as_deref(), Some(":9000"));
    }

    #[test]
    fn the_grammar_is_sound() {
        command().debug_assert();
    }
}
