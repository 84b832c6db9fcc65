//! The man page `man/iipsrv.8`, written from the same tables as `--help`. A test holds the file against it.

use crate::config::args;
use crate::config::vars::VARS;
use std::fmt::Write;

const HEAD: &str = r#".TH IIPSRV 8 "" "iipsrv VERSION" "System Administration"
.SH NAME
iipsrv \- image server for gigapixel pyramids
.SH SYNOPSIS
.B iipsrv
.RB [ \-\-bind
.IR ADDRESS ]
.RB [ \-\-backlog
.IR N ]
.RB [ \-\-http
.IR ADDRESS ]
.br
.B iipsrv
.RB [ \-\-check\-config | \-\-demo | \-\-help | \-\-version ]
.SH DESCRIPTION
.B iipsrv
answers IIP, IIIF Image API, DeepZoom and Zoomify requests out of tiled pyramid images.
It speaks FastCGI to a web server: started by itself with
.BR \-\-bind ,
or by spawn\-fcgi, Apache mod_fcgid, lighttpd or systemd, which hand it a listening socket.
.SH OPTIONS
"#;

const FOOT: &str = r#".SH SIGNALS
.TP
.BR SIGTERM ", " SIGINT ", " SIGUSR1
Finish what is in flight, then stop.
.TP
.B SIGHUP
Empty the caches, read the watermark again and reopen the log file.
.SH EXIT STATUS
0 after a signal; 1 when the socket cannot be had or
.B \-\-check\-config
found something wrong; 2 for wrong arguments, or when there is no socket to serve.
"#;

/// The whole page.
pub fn page() -> String {
    let mut text = HEAD.replace("VERSION", env!("CARGO_PKG_VERSION"));
    for arg in args::command().get_arguments() {
        let value: String = match arg.get_value_names() {
            Some(names) if arg.get_action().takes_values() => names.iter().map(|n| format!(" {n}")).collect(),
            _ => String::new(),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(
            text,
            ".TP\n.B {}{value}\n{}.",
            escape(&format!("--{}", arg.get_id())),
            escape(&help)
        );
    }
    text.push_str(".SH ENVIRONMENT\n");
    for var in VARS {
        let alias = var.alias.map(|a| format!(" (also {a})")).unwrap_or_default();
        let later = if var.built {
            ""
        } else {
            " No effect in this version."
        };
        let _ = writeln!(
            text,
            ".TP\n.B {}{}\n{}.{later}",
            var.name,
            escape(&alias),
            escape(var.help)
        );
        let default = if var.default.is_empty() {
            "empty".into()
        } else {
            escape(var.default)
        };
        let _ = writeln!(text, "Default: {default} {}", escape(&args::range(var.kind)));
    }
    text.push_str(FOOT);
    text
}

/// Text with what roff would take for itself made harmless.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('…', "...")
        .trim_end()
        .to_string()
}
