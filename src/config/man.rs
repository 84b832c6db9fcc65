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
.RB [ \-\-admin
.IR ADDRESS ]
.RB [ \-\-strict ]
.br
.B iipsrv
.RB [ \-\-check\-config | \-\-demo | \-\-help | \-\-version ]
.br
.B iipsrv
.BR check | export | prewarm | get
.I ...
.SH DESCRIPTION
.B iipsrv
answers IIP, IIIF Image API, DeepZoom and Zoomify requests out of tiled pyramid images.
It speaks FastCGI to a web server: started by itself with
.BR \-\-bind ,
or by spawn\-fcgi, Apache mod_fcgid, lighttpd or systemd, which hand it a listening socket.
.SH OPTIONS
"#;

const FOOT: &str = r#".SH LOG
What the log holds at each
.BR VERBOSITY :
.TP
.B 0
Nothing; it is not opened.
.TP
.B 1
The start with every setting that is not the default, reloads, the stop; warnings (settings that are corrected or have
no effect, memcached servers that are lost or back, files beside images that cannot be read, descriptors that run out,
lines that could not be written); errors (files that cannot be read, and why; requests that failed by a fault of the
program).
.TP
.B 2
Also a line for each request: method, status, bytes, time, how the answer was come by (hit: out of memory; made;
refused; failed) and what was asked; and images that are not supported, and why.
.TP
.B 3
Also the identifier of each request and the time of its stages, and connections that were closed because of what came
over them.
.TP
.BR 4 ", " 5
As 3.
.PP
Of errors and warnings from one place in the program a second sees one; the last of the others follows with their
number.
Lines are written by a thread of their own: when the file, pipe or syslog does not take them 1 MB of them waits, further
ones are lost, and a line tells how many.
A log that cannot be opened goes to stderr, after a line that says why.
.PP
.B LOG_FORMAT=combined
writes requests as Apache does (client, time, request, status, bytes, referer, user agent),
.B json
writes objects with time, level and message, or for requests time, request_id, client, method, uri, status, bytes, ms,
cache, stages_ms, referer and user_agent.
The client is REMOTE_ADDR or, with
.BR TRUST_PROXY=1 ,
the last address of X\-Forwarded\-For.
A request keeps the X\-Request\-ID that it came with, or gets one; the answer returns it.
.SH ADMIN
The listener of
.B \-\-admin
speaks HTTP.
Without
.B ADMIN_TOKEN
it listens only on the loopback or on a Unix socket, which is its owner's.
.TP
.B GET /metrics
Counters, gauges and histograms for Prometheus.
.TP
.B GET /health/live
200 as long as requests are answered.
.TP
.B GET /health/ready
200, or 503 from the signal to stop on.
.TP
.B GET /status
JSON: effective settings, codecs, load, open images with size and use.
.TP
.B POST /purge?id=IDENTIFIER
.TQ
.B POST /purge?prefix=START
Drops answers, tiles and open files of an image, or of all whose identifiers start so; says how many.
.SH SIGNALS
.TP
.BR SIGTERM ", " SIGINT ", " SIGUSR1
Finish what is in flight, for up to GRACE seconds, then stop. Exports that wait are refused with 503.
.TP
.B SIGHUP
Empty the caches, read the watermark again and reopen the log file.
.SH EXIT STATUS
0 after a signal; 1 when the socket cannot be had or
.B \-\-check\-config
(or
.BR \-\-strict )
found something wrong; 2 for wrong arguments, or when there is no socket to serve; 3 after a signal when connections
were cut. Tools: 0 when all went well, 1 when
some of it failed or
.B check
found slow files, 2 when nothing could be done or files cannot be served.
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
    tools(&mut text);
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

/// The subcommands and their arguments.
fn tools(text: &mut String) {
    text.push_str(".SH TOOLS\n");
    text.push_str(
        "They use the settings of the environment and no socket, beside a running server or without one.\n",
    );
    for mut tool in args::command()
        .get_subcommands()
        .cloned()
        .map(|tool| tool.disable_help_flag(true))
    {
        let usage = tool.render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ").trim_start_matches("iipsrv ");
        let about = tool.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, ".TP\n.B iipsrv {}\n{}.", escape(usage), escape(&about));
        for arg in tool.get_arguments() {
            let names = arg.get_value_names().filter(|_| arg.get_action().takes_values());
            let value = names.and_then(|names| names.first()).map(|name| name.to_string());
            let name = match (arg.get_long(), value) {
                (Some(long), Some(value)) => format!("--{long} {value}"),
                (Some(long), None) => format!("--{long}"),
                (None, value) => value.unwrap_or_default(),
            };
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(text, ".RS\n.TP\n.B {}\n{}.\n.RE", escape(&name), escape(&help));
        }
    }
}

/// Text with what roff would take for itself made harmless.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('…', "...")
        .trim_end()
        .to_string()
}
