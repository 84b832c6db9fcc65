//! The man page `man/iipsrv.8`: the text of `iipsrv.8.in` with the tables of options, tools and settings.

use crate::config::args;
use crate::config::vars::VARS;
use crate::config::vars::Var;
use clap::Arg;
use clap::Command;
use std::fmt::Write;

const TEMPLATE: &str = include_str!("iipsrv.8.in");

/// Maximum length of a source line; `mandoc -T lint` warns above 80.
const WIDTH: usize = 78;

/// Generates the page.
pub fn page() -> String {
    let options: String = args::command().get_arguments().map(option).collect();
    let tools: String = args::command().get_subcommands().map(tool).collect();
    let settings: String = VARS.iter().map(setting).collect();
    TEMPLATE
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@OPTIONS@\n", &options)
        .replace("@TOOLS@\n", &tools)
        .replace("@SETTINGS@\n", &settings)
}

/// An option and its value.
fn option(arg: &Arg) -> String {
    let name = match (arg.get_long(), value(arg)) {
        (Some(long), Some(value)) => format!("--{long} {value}"),
        (Some(long), None) => format!("--{long}"),
        (None, value) => value.unwrap_or_default(),
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    format!(".TP\n.B {}\n{}", escape(&name), wrapped(&format!("{help}.")))
}

/// The name of an option's value.
fn value(arg: &Arg) -> Option<String> {
    let names = arg
        .get_value_names()
        .filter(|_| arg.get_action().takes_values())?;
    names.first().map(ToString::to_string)
}

/// A subcommand and its arguments.
fn tool(tool: &Command) -> String {
    let mut tool = tool.clone().disable_help_flag(true);
    let usage = tool.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim_start_matches("iipsrv ");
    let about = tool.get_about().map(ToString::to_string).unwrap_or_default();
    let mut text = format!(
        ".TP\n.B iipsrv {}\n{}",
        escape(usage),
        wrapped(&format!("{about}."))
    );
    for arg in tool.get_arguments() {
        let _ = write!(text, ".RS\n{}.RE\n", option(arg));
    }
    text
}

/// A variable with description, default and range.
fn setting(var: &Var) -> String {
    let alias = var.alias.map(|alias| format!(" (also {alias})"));
    let later = if var.built {
        ""
    } else {
        " No effect in this version."
    };
    let default = if var.default.is_empty() {
        "empty"
    } else {
        var.default
    };
    format!(
        ".TP\n.B {}{}\n{}{}",
        var.name,
        escape(&alias.unwrap_or_default()),
        wrapped(&format!("{}.{later}", var.help)),
        wrapped(&format!("Default: {default} {}", args::range(var.kind)))
    )
}

/// Escapes text and wraps it at [`WIDTH`] bytes between words.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in escape(text).split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
            lines += &format!("{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        } else if word.starts_with(['.', '\'']) {
            line.push_str("\\&");
        }
        line.push_str(word);
    }
    lines + &line + "\n"
}

/// Escapes text for roff.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('…', "...")
}
