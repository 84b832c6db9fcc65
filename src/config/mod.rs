//! The settings from the environment and the arguments of the command line.
//!
//! Reading never fails: a bad value is clamped or replaced by the default, and reported in [`Config::warnings`].

pub mod args;
pub mod check;
pub mod man;
mod memory;
mod table;
mod tools;
pub mod vars;
mod words;

use crate::cache::memcached;
pub use crate::config::args::Args;
use crate::config::table::SettingValues;
pub use crate::config::tools::Pyramid;
pub use crate::config::tools::Tool;
use crate::config::vars::VARS;
use crate::config::words::uri_map;
use crate::library::LibrarySettings;
use crate::plan;
use crate::process::WatermarkSettings;
use crate::protocol;
use crate::source::spool::SpoolDir;
use crate::store::stores::Stores;
use crate::work::Policy;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// The origin of an effective value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The default of the table.
    Default,
    /// The environment, unchanged.
    Environment,
    /// The environment, but out of range or invalid.
    Corrected,
}

/// Formats of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level and text.
    Iip,
    /// Requests in Apache's combined format, which most analysers support; other lines as in `Iip`.
    Combined,
    /// One JSON object per line.
    Json,
}

/// All settings with their effective values. The settings of a module are a struct of that module.
#[derive(Clone, Debug)]
pub struct Config {
    /// 0 logs nothing … 5 everything.
    pub verbosity: u8,
    /// A path, `syslog`, or `-` for stderr.
    pub logfile: String,
    /// The token required by the admin listener; empty for none.
    pub admin_token: String,
    /// Whether answers have a Server-Timing header.
    pub server_timing: bool,
    /// Format of the log.
    pub log_format: LogFormat,
    /// Capacity of the cache of answers and decoded tiles in bytes.
    pub cache_bytes: u64,
    /// Directory for temporary files of derived levels; empty for none.
    pub cache_dir: String,
    /// Maximum size of these files in bytes.
    pub cache_dir_bytes: u64,
    /// Maximum number of open images; `None` is without limit.
    pub open_images: Option<usize>,
    /// Location and reading of images; the service adds the directory for temporary files.
    pub library: LibrarySettings,
    /// Object stores, or the reason why they are unusable.
    pub stores: std::result::Result<Arc<Stores>, String>,
    /// Limits and rendering of answers; the service adds the watermark.
    pub answers: plan::PlanLimits,
    /// The memcached servers.
    pub memcached: memcached::MemcachedSettings,
    /// Access-Control-Allow-Origin; empty for none.
    pub cors: String,
    /// Access-Control-Allow-Headers; empty for none.
    pub cors_headers: String,
    /// The watermark, if any.
    pub watermark: Option<WatermarkSettings>,
    /// Parsing of requests and writing of documents.
    pub protocol: protocol::ProtocolSettings,
    /// Cache-Control.
    pub cache_control: String,
    /// Whether listing of images is enabled.
    pub directory: bool,
    /// Threads and memory.
    pub work: Policy,
    /// Maximum number of HTTP connections per address; 0 is without limit.
    pub connections_of_one: usize,
    /// Time limit of a request; zero is without limit.
    pub request_timeout: Duration,
    /// Time that a stopping server grants to requests in progress.
    pub grace: Duration,
    /// Name, effective text and origin of every setting.
    pub values: Vec<(&'static str, String, Origin)>,
    /// Warnings, one line each.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the settings through `lookup`, which is `std::env::var` except in tests.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Config {
        let mut table = SettingValues::default();
        for var in VARS {
            let given = lookup(var.name).or_else(|| lookup(var.alias?));
            table.take(var, given);
        }
        table.config()
    }

    /// Reads the process's environment. Values that are not UTF-8 are read with replacement characters.
    pub fn from_env() -> Config {
        Config::read(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// Defaults that the command line changes: HTTP and the subcommands map the protocols to their names, and the demonstration
    /// serves `fixtures/demo/` of the current directory. The environment takes precedence.
    pub fn with_args(mut self, args: &Args) -> Config {
        if args.http_address().is_some() || args.tool.is_some() {
            let (own, _) =
                uri_map("iiif/2=>IIIF2,iiif/3=>IIIF3,iiif=>IIIF,deepzoom=>DeepZoom,zoomify=>Zoomify");
            for mount in own {
                if !self
                    .protocol
                    .uri_map
                    .iter()
                    .any(|known| known.prefix == mount.prefix)
                {
                    self.protocol.uri_map.push(mount);
                }
            }
            self.protocol
                .uri_map
                .sort_by_key(|mount| std::cmp::Reverse(mount.prefix.len()));
        }
        if args.demo && self.library.prefix.is_empty() {
            self.library.prefix = "fixtures/demo/".into();
        }
        self
    }

    /// The spool for temporary files of derived levels, if its directory is usable.
    pub fn spool_dir(&self) -> Option<SpoolDir> {
        let wanted = !self.cache_dir.is_empty() && self.cache_dir_bytes > 0;
        wanted
            .then(|| self.configured_spool_dir())
            .filter(|dir| dir.trial().is_ok())
    }

    /// The configured directory for temporary files, usable or not.
    fn configured_spool_dir(&self) -> SpoolDir {
        SpoolDir::new((&self.cache_dir).into(), self.cache_dir_bytes)
    }

    /// The output of `--check-config`: all values with their origins, then the warnings.
    pub fn report(&self) -> String {
        let mut text = String::new();
        for (name, value, origin) in &self.values {
            let value = if *name == "ADMIN_TOKEN" && !value.is_empty() {
                "…"
            } else {
                value
            };
            let origin = match origin {
                Origin::Default => "default",
                Origin::Environment => "environment",
                Origin::Corrected => "environment, corrected",
            };
            let _ = writeln!(text, "{name}={value}  ({origin})");
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }
}

impl Default for Config {
    /// The defaults of the table.
    fn default() -> Self {
        Config::read(|_| None)
    }
}

/// The distribution of the process's file descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// For images.
    pub images: usize,
    /// For connections.
    pub connections: usize,
}

/// A quarter for images, whatever the configuration, and the rest for connections, except a few for the process itself.
pub fn open_files() -> OpenFiles {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(1 << 20);
    OpenFiles {
        images: limit / 4,
        connections: (limit - limit / 4).saturating_sub(32).max(16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &'static [(&'static str, &'static str)]) -> Config {
        Config::read(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string()))
    }

    #[test]
    fn the_defaults_of_the_table_are_within_their_own_ranges() {
        assert_eq!(Config::default().warnings, Vec::<String>::new());
        for var in VARS {
            assert_eq!(
                var.kind.effective(var.default, "broken"),
                var.default,
                "{}",
                var.name
            );
        }
    }

    #[test]
    fn an_empty_variable_is_unset_unless_it_disables_an_optional_text() {
        let config = with(&[("MAX_CVT", ""), ("CORS", " "), ("COMPAT", ""), ("CACHE_DIR", "")]);
        assert_eq!(
            (config.answers.max_width, config.protocol.first_channel),
            (Some(5000), None)
        );
        assert_eq!((config.cache_dir.as_str(), config.cors.as_str()), ("", ""));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }

    #[test]
    fn an_installation_of_1_1_keeps_its_version_and_its_quality() {
        let config = with(&[("COMPAT", "1.1"), ("JPEG_QUALITY", "10")]);
        assert_eq!((config.protocol.iiif_version, config.answers.recode), (2, true));
        let config = with(&[("COMPAT", "1.1"), ("IIIF_VERSION", "3")]);
        assert_eq!((config.protocol.iiif_version, config.answers.recode), (3, false));
        let config = with(&[("JPEG_QUALITY", "10")]);
        assert_eq!((config.protocol.iiif_version, config.answers.recode), (3, false));
    }

    #[test]
    fn a_bad_value_is_clamped_or_replaced_and_reported() {
        let config = with(&[
            ("JPEG_QUALITY", "200"),
            ("PNG_QUALITY", "x"),
            ("MAX_IMAGE_CACHE_SIZE", "0.5"),
        ]);
        assert_eq!(
            (
                config.answers.defaults.jpeg_quality,
                config.answers.defaults.png_level,
                config.cache_bytes
            ),
            (100, 1, 524_288)
        );
        assert_eq!(
            config.warnings,
            [
                "JPEG_QUALITY=200 is not a whole number from 1 to 100: 100 is used",
                "PNG_QUALITY=x is not a number: 1 is used"
            ]
        );
    }

    #[test]
    fn special_values_have_their_documented_meaning() {
        let config = with(&[
            ("MAX_CVT", "-1"),
            ("MAX_METADATA_CACHE_SIZE", "-1"),
            ("EMBED_ICC", "0"),
        ]);
        assert_eq!(
            (
                config.answers.max_width,
                config.open_images,
                config.answers.finish.max_icc
            ),
            (None, None, Some(0))
        );
        assert_eq!(with(&[("MAX_CVT", "0")]).answers.max_height, Some(5000));
        let config = with(&[
            ("MAX_WIDTH", "800"),
            ("MAX_AREA", "1000000"),
            ("MAX_HEIGHT", "9000"),
        ]);
        assert_eq!(
            (
                config.answers.max_width,
                config.answers.max_height,
                config.answers.max_pixels
            ),
            (Some(800), Some(5000), Some(1_000_000))
        );
        assert_eq!(
            with(&[("BACKGROUND", "#12aBff")]).answers.background,
            [0x12, 0xAB, 0xFF]
        );
        assert_eq!(with(&[("BACKGROUND", "white")]).warnings.len(), 1);
        assert_eq!(with(&[("AVIF_CODEC", "0")]).warnings.len(), 0);
        assert_eq!(with(&[("AVIF_CODEC", "2")]).warnings.len(), 1);
        assert_eq!(with(&[]).answers.defaults.tiff_quality, None);
        assert_eq!(
            with(&[("TIFF_QUALITY", "1")]).answers.defaults.tiff_quality,
            Some(1)
        );
        assert_eq!(
            with(&[("MAX_IMAGE_METADATA_CACHE_SIZE", "7")]).open_images,
            Some(7)
        );
    }

    #[test]
    fn the_uri_map_has_several_rows_sorted_by_length_of_the_prefix() {
        let config = with(&[(
            "URI_MAP",
            "/iiif/=>iiif, iiif/dz => DeepZoom,x=>SOAP,iiif/2=>IIIF2",
        )]);
        let prefixes: Vec<_> = config
            .protocol
            .uri_map
            .iter()
            .map(|mount| mount.prefix.as_str())
            .collect();
        assert_eq!(prefixes, ["iiif/dz", "iiif/2", "iiif"]);
        let versions: Vec<_> = config
            .protocol
            .uri_map
            .iter()
            .map(|mount| mount.iiif_version)
            .collect();
        assert_eq!(versions, [None, Some(2), None]);
        assert_eq!(config.warnings.len(), 1);
    }

    #[test]
    fn invalid_extra_info_is_ignored() {
        let good = with(&[("IIIF_EXTRA_INFO", "\"attribution\": \"us\"")]);
        assert_eq!(
            good.protocol
                .iiif_extra
                .get("attribution")
                .and_then(|v| v.as_str()),
            Some("us")
        );
        assert_eq!(with(&[("IIIF_EXTRA_INFO", "attribution")]).warnings.len(), 1);
    }
}
