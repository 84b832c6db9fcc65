//! The command line of the subcommands.

use clap::Arg;
use clap::ArgAction;
use clap::ArgGroup;
use clap::ArgMatches;
use clap::Command;
use std::path::PathBuf;

/// The layout of an exported pyramid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pyramid {
    /// DeepZoom.
    DeepZoom,
    /// Zoomify.
    Zoomify,
    /// IIIF Image API 3, level 0, published at this address.
    Iiif(String),
}

/// A subcommand and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Reports how files will be served.
    Check {
        /// Files and folders.
        paths: Vec<PathBuf>,
        /// Whether to print a line of JSON per file.
        json: bool,
    },
    /// Writes a pyramid of files.
    Export {
        /// The image.
        file: PathBuf,
        /// The layout.
        pyramid: Pyramid,
        /// The output folder.
        folder: PathBuf,
    },
    /// Fills the persistent caches with answers.
    Prewarm {
        /// A list of addresses or an access log; `-` is standard input.
        list: Option<PathBuf>,
        /// Identifiers of images and folders whose tiles are requested.
        images: Vec<String>,
        /// Number of levels, from the smallest.
        levels: usize,
    },
    /// Writes one answer to standard output.
    Get {
        /// A query, or a path and query.
        query: String,
        /// Whether to print status and headers to standard error.
        headers: bool,
    },
}

/// The clap commands.
pub fn commands() -> [Command; 4] {
    let path = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name)
            .value_name(value)
            .value_parser(clap::value_parser!(PathBuf))
            .help(help)
    };
    let switch = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    [
        Command::new("check")
            .about("Report the format of masters, the cost of their tiles, and how to convert slow ones; exits with 1 if a file is slow, with 2 if one cannot be served")
            .arg(path("paths", "FILE|DIR", "Files, and folders with everything below them").num_args(1..).required(true))
            .arg(switch("json", "Write one line of JSON for each file")),
        Command::new("export")
            .about("Write an image as a pyramid of files with the bytes that the server would send; a second run continues an interrupted one")
            .arg(path("file", "FILE", "The image").required(true))
            .arg(switch("deepzoom", "As DeepZoom: NAME.dzi and NAME_files"))
            .arg(switch("zoomify", "As Zoomify: ImageProperties.xml and TileGroup0, …"))
            .arg(Arg::new("iiif").long("iiif").value_name("URL").help("As IIIF Image API 3, level 0, to be published at URL"))
            .group(ArgGroup::new("pyramid").args(["deepzoom", "zoomify", "iiif"]).required(true))
            .arg(path("folder", "DIR", "The output folder; created if it does not exist").required(true)),
        Command::new("prewarm")
            .about("Fill the caches that outlive the process (MEMCACHED_SERVERS and DISK_CACHE), with the settings of the environment")
            .arg(path("list", "FILE", "Addresses, one on each line, or an access log; - is standard input").long("list").short('l'))
            .arg(Arg::new("levels").long("levels").value_name("N").default_value("4")
                .value_parser(clap::value_parser!(u32).range(1..=64)).help("The number of levels of each image, from the smallest"))
            .arg(Arg::new("images").value_name("ID").num_args(0..).help("Identifiers of images, and of folders with everything below them"))
            .group(ArgGroup::new("what").args(["list", "images"]).multiple(true).required(true)),
        Command::new("get")
            .about("Write one answer to standard output, without a socket; exits with 1 if it is an error")
            .arg(Arg::new("query").value_name("QUERY").required(true)
                .help("FIF=a.tif&JTL=0,0, or /iiif/a.tif/info.json"))
            .arg(switch("headers", "Write the status and header lines to standard error")),
    ]
}

impl Tool {
    /// The subcommand on the command line, if any.
    pub fn from(matches: &ArgMatches) -> Option<Tool> {
        let (name, matches) = matches.subcommand()?;
        let path = |name| matches.get_one::<PathBuf>(name).cloned();
        let text = |name| matches.get_one::<String>(name).cloned();
        Some(match name {
            "check" => Tool::Check {
                paths: matches
                    .get_many::<PathBuf>("paths")
                    .unwrap_or_default()
                    .cloned()
                    .collect(),
                json: matches.get_flag("json"),
            },
            "export" => Tool::Export {
                file: path("file")?,
                folder: path("folder")?,
                pyramid: match text("iiif") {
                    Some(url) => Pyramid::Iiif(url.trim_end_matches('/').into()),
                    None if matches.get_flag("zoomify") => Pyramid::Zoomify,
                    None => Pyramid::DeepZoom,
                },
            },
            "prewarm" => Tool::Prewarm {
                list: path("list"),
                images: matches
                    .get_many::<String>("images")
                    .unwrap_or_default()
                    .cloned()
                    .collect(),
                levels: matches.get_one::<u32>("levels").map_or(4, |&n| n as usize),
            },
            "get" => Tool::Get {
                query: text("query")?,
                headers: matches.get_flag("headers"),
            },
            _ => return None,
        })
    }
}
