//! The settings from the environment and the arguments of the command line.
//!
//! Reading never fails: a bad value is clamped or replaced by the default, and told in [`Config::warnings`].

pub mod args;
pub mod check;
pub mod man;
mod memory;
mod tools;
pub mod vars;
mod words;

use crate::codec::jpeg::Sampling;
use crate::codec::jpeg::Style;
pub use crate::config::args::Args;
pub use crate::config::tools::Pyramid;
pub use crate::config::tools::Tool;
use crate::config::vars::Kind;
use crate::config::vars::VARS;
use crate::config::vars::Var;
use crate::config::words::colour;
use crate::config::words::extra_info;
use crate::config::words::servers;
use crate::config::words::uri_map;
use crate::encode;
use crate::encode::Compression;
use crate::error::Result;
use crate::library;
use crate::limits::Limits;
use crate::process::Watermark;
use crate::protocol::Members;
use crate::protocol::Mount;
use crate::source::spool::SpoolDir;
use crate::store::stores;
use crate::store::stores::Stores;
use crate::work::busy;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Where an effective value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table.
    Default,
    /// The environment, taken as it is.
    Environment,
    /// The environment, but out of range or not readable.
    Corrected,
}

/// Which iipsrv to follow where two versions contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compat {
    /// Decided by the request.
    Auto,
    /// iipsrv 1.1.
    V11,
    /// iipsrv 1.3.
    V13,
}

/// What lines of the log look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level and text.
    Iip,
    /// Requests as in Apache's combined log, which most analysers read; other lines as in `Iip`.
    Combined,
    /// An object in each line.
    Json,
}

/// Every setting with its effective value; fields are in the order of [`VARS`].
#[derive(Clone, Debug)]
pub struct Config {
    /// 0 logs nothing … 5 everything.
    pub verbosity: u8,
    /// A path, `syslog`, or `-` for stderr.
    pub logfile: String,
    /// What requests to the admin listener must bring; empty for nothing.
    pub admin_token: String,
    /// Whether answers tell where their time went.
    pub server_timing: bool,
    /// What its lines look like.
    pub log_format: LogFormat,
    /// Bytes of memory for answers and decoded tiles together.
    pub cache_bytes: u64,
    /// Directory for temporary files of made levels; empty for none.
    pub cache_dir: String,
    /// Bytes that may lie there.
    pub cache_dir_bytes: u64,
    /// Opened images remembered; `None` is without limit.
    pub open_images: Option<usize>,
    /// Put in front of every image path.
    pub filesystem_prefix: String,
    /// Put behind every image path.
    pub filesystem_suffix: String,
    /// What lies elsewhere; or why that cannot be.
    pub stores: std::result::Result<Arc<Stores>, String>,
    /// Whether a link may lead out of the prefix.
    pub follow_symlinks: bool,
    /// What stands before the angles in the names of a sequence's files.
    pub filename_pattern: String,
    /// Whether pictures are turned as their files say.
    pub orientation: bool,
    /// What stands between an identifier and a page's number; empty for no numbers.
    pub iiif_delimiter: String,
    /// Formats when a request says nothing of them.
    pub output: encode::Defaults,
    /// Widest output; `None` is without limit.
    pub max_width: Option<u32>,
    /// Highest output.
    pub max_height: Option<u32>,
    /// Most pixels of an output.
    pub max_area: Option<u64>,
    /// Whether answers may be larger than the source.
    pub allow_upscaling: bool,
    /// Host and port, or the path of the socket, of each memcached.
    pub memcached: Vec<String>,
    /// How long they keep an answer, in seconds; 0 is without limit.
    pub memcached_seconds: u32,
    /// 0 nearest, 1 bilinear, 2 area, 3 bicubic, 4 Lanczos.
    pub interpolation: u8,
    /// Access-Control-Allow-Origin; empty for none.
    pub cors: String,
    /// Access-Control-Allow-Headers; empty for none.
    pub cors_headers: String,
    /// Public address; empty for the request's own.
    pub base_url: String,
    /// Whether what a proxy says of scheme, host and path is believed.
    pub trust_proxy: bool,
    /// What shows through transparent pixels, and in the corners of a turned picture.
    pub background: [u8; 3],
    /// What is laid over answers, with its opacity and probability.
    pub watermark: Option<Arc<Watermark>>,
    /// Prefixes of request paths and what is spoken below them.
    pub uri_map: Vec<Mount>,
    /// Whether there is a URI_MAP, be it one that nothing can be read of.
    pub mapped: bool,
    /// Cache-Control.
    pub cache_control: String,
    /// Largest ICC profile embedded, bytes; `None` is any size.
    pub max_icc: Option<usize>,
    /// Whether colours are converted to sRGB by the image's profile.
    pub srgb: bool,
    /// Whether stored tiles are sent untouched.
    pub passthrough: bool,
    /// Whether stored JPEG tiles are encoded anew, in JPEG_QUALITY: iipsrv 1.1 does.
    pub recode: bool,
    /// 1, 2 or 3.
    pub iiif_version: u8,
    /// Members added to every info.json.
    pub iiif_extra: Members,
    /// Whether pictures are also given inverted, stretched, equalised and by their logarithm.
    pub iiif_extensions: bool,
    /// Whether IIIF manifests are written.
    pub manifests: bool,
    /// Whether images are listed.
    pub directory: bool,
    /// Rights of images that carry none.
    pub copyright: String,
    /// Threads: one set of them waits for sockets and answers what is cached, as many again compute.
    pub threads: usize,
    /// Bytes that requests may take together besides the caches.
    pub max_memory: u64,
    /// How long a request may be expected to wait for a thread.
    pub queue_limit: Duration,
    /// How long it waits at most.
    pub queue_timeout: Duration,
    /// HTTP connections that one address may have; 0 is no limit.
    pub connections_of_one: usize,
    /// How long it may take in all; zero is without limit.
    pub request_timeout: Duration,
    /// How long a stopping server works on what has begun.
    pub grace: Duration,
    /// JPEG 2000 quality layers: 0 half of those present, -1 all, n at most n.
    pub max_layers: i32,
    /// Whether damaged JPEG 2000 is refused.
    pub strict_jp2: bool,
    /// What files may ask for.
    pub limits: Limits,
    /// Which iipsrv to follow.
    pub compat: Compat,
    /// Name, effective text and origin of every setting.
    pub values: Vec<(&'static str, String, Origin)>,
    /// What was wrong, a line each.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads the settings by this function, which is `std::env::var` but for tests.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Config {
        let mut table = Table {
            values: Vec::new(),
            warnings: Vec::new(),
        };
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

    /// What the command line adds: over HTTP, and for tools, the protocols lie below their own names, and the demonstration serves
    /// `fixtures/demo/` of the directory it is started in. What the environment says goes first.
    pub fn with_args(mut self, args: &Args) -> Config {
        if args.http_address().is_some() || args.tool.is_some() {
            let (own, _) = uri_map("iiif=>IIIF,deepzoom=>DeepZoom,zoomify=>Zoomify");
            for mount in own {
                if !self.uri_map.iter().any(|known| known.prefix == mount.prefix) {
                    self.uri_map.push(mount);
                }
            }
            self.uri_map
                .sort_by_key(|mount| std::cmp::Reverse(mount.prefix.len()));
        }
        if args.demo && self.filesystem_prefix.is_empty() {
            self.filesystem_prefix = "fixtures/demo/".into();
        }
        self
    }

    /// The place for temporary files of made levels, if there is one that works.
    pub fn room(&self) -> Option<SpoolDir> {
        let wanted = !self.cache_dir.is_empty() && self.cache_dir_bytes > 0;
        wanted
            .then(|| self.cache_room())
            .filter(|room| room.trial().is_ok())
    }

    /// The directory for temporary files, whether it works or not.
    fn cache_room(&self) -> SpoolDir {
        SpoolDir::new((&self.cache_dir).into(), self.cache_dir_bytes)
    }

    /// Whether there is a watermark that could not be read: nothing must be served then, for it would be unmarked.
    pub fn lacks_watermark(&self) -> bool {
        self.watermark.is_none() && !text(&self.values, "WATERMARK").is_empty()
    }

    /// The watermark as its file is now.
    pub fn watermark_now(&self) -> Result<Option<Arc<Watermark>>> {
        watermark(&self.values)
    }

    /// What `--check-config` prints: every value and where it came from, then what is wrong.
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

/// A setting with its effective value, and where that came from.
type Value = (&'static str, String, Origin);

/// One of them; empty when it is not there.
fn text<'a>(values: &'a [Value], name: &str) -> &'a str {
    let row = values.iter().find(|(n, _, _)| *n == name);
    row.map(|(_, value, _)| value.as_str()).unwrap_or_default()
}

/// The watermark as its file is here and now, if there is to be one.
fn watermark(values: &[Value]) -> Result<Option<Arc<Watermark>>> {
    let path = text(values, "WATERMARK");
    if path.is_empty() {
        return Ok(None);
    }
    let number = |name| text(values, name).parse().unwrap_or(1.0);
    let (opacity, probability) = (number("WATERMARK_OPACITY"), number("WATERMARK_PROBABILITY"));
    let picture = library::picture(Path::new(path))?;
    Ok(Some(Arc::new(Watermark::new(&picture, opacity, probability))))
}

/// Values while they are being read.
struct Table {
    values: Vec<Value>,
    warnings: Vec<String>,
}

impl Table {
    fn take(&mut self, var: &'static Var, given: Option<String>) {
        // an empty variable is unset, but for a text, which may be empty
        let given = given.filter(|given| var.kind == Kind::Text || !given.trim().is_empty());
        let Some(given) = given else {
            self.values.push((var.name, var.default.into(), Origin::Default));
            return;
        };
        if !var.built {
            self.warnings
                .push(format!("{}={given} has no effect in this version", var.name));
        }
        let effective = var.kind.effective(&given, var.default);
        let origin = if effective == given.trim() || var.kind == Kind::Text {
            Origin::Environment
        } else {
            Origin::Corrected
        };
        if origin == Origin::Corrected {
            self.warnings.push(format!(
                "{}={given} is {}: {effective} is used",
                var.name,
                var.kind.wrong(&given)
            ));
        }
        self.values.push((var.name, effective, origin));
    }

    fn text(&self, name: &str) -> String {
        text(&self.values, name).into()
    }

    /// The number, which `take` has checked against the row's range.
    fn int(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// Whether the environment says something of it.
    fn is_given(&self, name: &str) -> bool {
        let row = self.values.iter().find(|(n, _, _)| *n == name);
        row.is_some_and(|(_, _, origin)| *origin != Origin::Default)
    }

    fn on(&self, name: &str) -> bool {
        self.text(name) == "1"
    }

    /// The watermark; one that cannot be read is a warning.
    fn watermark(&mut self) -> Option<Arc<Watermark>> {
        watermark(&self.values).unwrap_or_else(|error| {
            let path = self.text("WATERMARK");
            self.warnings.push(format!("WATERMARK={path}: {error}"));
            None
        })
    }

    /// What lies in stores; URLs are shown without secrets from then on.
    fn stores(&mut self, prefix: &str) -> std::result::Result<Arc<Stores>, String> {
        let number = |name| self.text(name).parse::<f64>().unwrap_or(0.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the rows' ranges are positive"
        )]
        let megabytes = |name| (number(name) * 1024.0 * 1024.0) as u64;
        let directory = Some(self.text("DISK_CACHE")).filter(|directory| !directory.is_empty());
        let settings = stores::Settings {
            ttl: Duration::from_secs(u64::try_from(self.int("STORE_TTL")).unwrap_or(0)),
            timeout: Duration::from_secs_f64(number("STORE_TIMEOUT").clamp(0.1, 3600.0)),
            connections: usize::try_from(self.int("STORE_CONNECTIONS")).unwrap_or(1).max(1),
            cache_bytes: megabytes("STORE_CACHE_SIZE"),
            disk: directory.map(|directory| (directory.into(), megabytes("DISK_CACHE_SIZE"))),
        };
        let stores = Stores::new(prefix, &self.text("STORES"), &settings).map(Arc::new);
        self.warnings.extend(stores.as_ref().err().cloned());
        for (name, value, _) in &mut self.values {
            if matches!(*name, "FILESYSTEM_PREFIX" | "STORES") {
                *value = stores::redacted(value);
            }
        }
        stores
    }

    fn output(&self) -> encode::Defaults {
        let small = |name| i16::try_from(self.int(name)).unwrap_or(0);
        let compression = usize::try_from(self.int("TIFF_COMPRESSION")).ok();
        encode::Defaults {
            jpeg_quality: small("JPEG_QUALITY"),
            jpeg_style: Style {
                sampling: match self.text("JPEG_SAMPLING").as_str() {
                    "4:4:4" => Sampling::Full,
                    "4:2:2" => Sampling::Half,
                    _ => Sampling::Quarter,
                },
                progressive: self.on("JPEG_PROGRESSIVE"),
            },
            png_level: small("PNG_QUALITY"),
            deep_png: self.int("PNG_DEPTH") == 16,
            webp_quality: small("WEBP_QUALITY"),
            avif_quality: small("AVIF_QUALITY"),
            tiff_compression: compression
                .and_then(Compression::numbered)
                .unwrap_or(Compression::Deflate),
            tiff_quality: self.is_given("TIFF_QUALITY").then(|| small("TIFF_QUALITY")),
        }
    }

    fn config(mut self) -> Config {
        let (uri_map, wrong) = uri_map(&self.text("URI_MAP"));
        self.warnings.extend(wrong);
        let iiif_extra = match extra_info(&self.text("IIIF_EXTRA_INFO")) {
            Ok(members) => members,
            Err(text) => {
                self.warnings.push(text);
                Members::new()
            }
        };
        if self.int("AVIF_CODEC") != 0 {
            self.warnings
                .push("AVIF_CODEC has no effect: libavif chooses its encoder".into());
        }
        let (memcached, wrong) = servers(&self.text("MEMCACHED_SERVERS"));
        self.warnings.extend(wrong);
        let background = self.text("BACKGROUND");
        let background = colour(&background).unwrap_or_else(|| {
            self.warnings.push(format!(
                "BACKGROUND={background} is not a colour such as FFFFFF: white is used"
            ));
            [255; 3]
        });
        let watermark = self.watermark();
        let filesystem_prefix = self.text("FILESYSTEM_PREFIX");
        let stores = self.stores(&filesystem_prefix);
        let cores = busy::cores();
        let unsigned = |name| usize::try_from(self.int(name)).ok();
        let wide = |name| u64::try_from(self.int(name)).unwrap_or(0);
        let side = match self.int("MAX_CVT") {
            0 => Some(5000),
            limit => u32::try_from(limit).ok(),
        };
        let limit = |name| match u32::try_from(self.int(name)) {
            Ok(own @ 1..) => Some(side.map_or(own, |side| side.min(own))),
            _ => side,
        };
        let compat = match self.text("COMPAT").as_str() {
            "1.1" => Compat::V11,
            "1.3" => Compat::V13,
            _ => Compat::Auto,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the rows' ranges are 0 to 1e9 MB"
        )]
        let megabytes = |name| (self.text(name).parse::<f64>().unwrap_or(0.0) * 1024.0 * 1024.0) as u64;
        let seconds = |name| Duration::from_secs_f64(self.text(name).parse::<f64>().unwrap_or(0.0).max(0.0));
        Config {
            verbosity: u8::try_from(self.int("VERBOSITY")).unwrap_or(1),
            logfile: self.text("LOGFILE"),
            admin_token: self.text("ADMIN_TOKEN"),
            server_timing: self.on("SERVER_TIMING"),
            log_format: match self.text("LOG_FORMAT").as_str() {
                "combined" => LogFormat::Combined,
                "json" => LogFormat::Json,
                _ => LogFormat::Iip,
            },
            cache_bytes: megabytes("MAX_IMAGE_CACHE_SIZE"),
            cache_dir: self.text("CACHE_DIR"),
            cache_dir_bytes: megabytes("CACHE_DIR_SIZE"),
            open_images: unsigned("MAX_METADATA_CACHE_SIZE"),
            filesystem_prefix,
            filesystem_suffix: self.text("FILESYSTEM_SUFFIX"),
            stores,
            follow_symlinks: self.on("FILESYSTEM_FOLLOW_SYMLINKS"),
            filename_pattern: self.text("FILENAME_PATTERN"),
            orientation: self.on("ORIENTATION"),
            iiif_delimiter: self.text("IIIF_DELIMITER"),
            output: self.output(),
            max_width: limit("MAX_WIDTH"),
            max_height: limit("MAX_HEIGHT"),
            max_area: u64::try_from(self.int("MAX_AREA")).ok().filter(|&n| n > 0),
            allow_upscaling: self.on("ALLOW_UPSCALING"),
            memcached,
            memcached_seconds: u32::try_from(self.int("MEMCACHED_TIMEOUT")).unwrap_or(0),
            interpolation: u8::try_from(self.int("INTERPOLATION")).unwrap_or(1),
            cors: self.text("CORS"),
            cors_headers: self.text("CORS_HEADERS"),
            base_url: self.text("BASE_URL"),
            trust_proxy: self.on("TRUST_PROXY"),
            background,
            watermark,
            mapped: !self.text("URI_MAP").is_empty(),
            uri_map,
            cache_control: self.text("CACHE_CONTROL"),
            max_icc: if self.on("EMBED_ICC") {
                unsigned("MAX_ICC")
            } else {
                Some(0)
            },
            srgb: self.text("ICC_MODE") == "srgb",
            passthrough: self.on("CODEC_PASSTHROUGH"),
            recode: compat == Compat::V11 && self.is_given("JPEG_QUALITY"),
            iiif_version: match u8::try_from(self.int("IIIF_VERSION")) {
                Ok(version) if self.is_given("IIIF_VERSION") || compat != Compat::V11 => version,
                _ => 2,
            },
            iiif_extra,
            iiif_extensions: self.on("IIIF_EXTENSIONS"),
            manifests: self.on("MANIFESTS"),
            directory: self.on("DIRECTORY"),
            copyright: self.text("COPYRIGHT"),
            threads: unsigned("OMP_NUM_THREADS").filter(|&n| n > 0).unwrap_or(cores),
            max_memory: match megabytes("MAX_MEMORY") {
                0 => memory::available() / 4,
                bytes => bytes,
            },
            queue_limit: seconds("QUEUE_LIMIT"),
            queue_timeout: seconds("QUEUE_TIMEOUT"),
            connections_of_one: unsigned("MAX_CONNECTIONS_PER_ADDRESS").unwrap_or_default(),
            request_timeout: seconds("REQUEST_TIMEOUT"),
            grace: seconds("GRACE"),
            max_layers: i32::try_from(self.int("MAX_LAYERS")).unwrap_or(0),
            strict_jp2: self.int("KAKADU_READMODE") == 1,
            limits: Limits {
                pixels: wide("LIMIT_PIXELS"),
                samples: wide("LIMIT_SAMPLES"),
                tiles: wide("LIMIT_TILES"),
                ifds: unsigned("LIMIT_IFDS").unwrap_or_default(),
                boxes: unsigned("LIMIT_BOXES").unwrap_or_default(),
                metadata: wide("LIMIT_METADATA"),
                tile_bytes: wide("LIMIT_TILE_BYTES"),
                expansion: wide("LIMIT_EXPANSION"),
            },
            compat,
            values: self.values,
            warnings: self.warnings,
        }
    }
}

impl Kind {
    /// The text that is used for `given`: itself, the nearest in range, or the default when it cannot be read.
    fn effective(self, given: &str, default: &str) -> String {
        let given = given.trim();
        match self {
            Kind::Text => given.into(),
            Kind::Switch => Kind::Int(0, 1).effective(given, default),
            Kind::Int(low, high) => match given.parse::<i64>() {
                Ok(value) if (low..=high).contains(&value) => given.into(),
                Ok(value) => value.clamp(low, high).to_string(),
                Err(_) => default.into(),
            },
            Kind::Float(low, high) => match given.parse::<f64>() {
                Ok(value) if (low..=high).contains(&value) => given.into(),
                Ok(value) if value.is_finite() => value.clamp(low, high).to_string(),
                _ => default.into(),
            },
            Kind::Word(words) => words
                .iter()
                .find(|w| w.eq_ignore_ascii_case(given))
                .map_or(default, |w| w)
                .to_string(),
        }
    }

    /// What is wrong with `given`.
    fn wrong(self, given: &str) -> String {
        let number = given.trim().parse::<f64>().is_ok_and(f64::is_finite);
        match self {
            Kind::Text => "not readable".into(),
            Kind::Switch => "neither 0 nor 1".into(),
            Kind::Int(low, high) if number => format!("not a whole number from {low} to {high}"),
            Kind::Float(low, high) if number => format!("not between {low} and {high}"),
            Kind::Int(..) | Kind::Float(..) => "not a number".into(),
            Kind::Word(words) => format!("none of {}", words.join(", ")),
        }
    }
}

/// How the files that the process may have open are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// For images.
    pub images: usize,
    /// For connections.
    pub connections: usize,
}

/// A quarter for images, whatever the configuration says, and the rest for connections but for a few that the process
/// itself needs.
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
    fn an_empty_variable_is_unset_but_for_texts_that_can_be_turned_off() {
        let config = with(&[("MAX_CVT", ""), ("CORS", " "), ("COMPAT", ""), ("CACHE_DIR", "")]);
        assert_eq!((config.max_width, config.compat), (Some(5000), Compat::Auto));
        assert_eq!((config.cache_dir.as_str(), config.cors.as_str()), ("", ""));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    }

    #[test]
    fn an_installation_of_1_1_keeps_its_version_and_its_quality() {
        let config = with(&[("COMPAT", "1.1"), ("JPEG_QUALITY", "10")]);
        assert_eq!((config.iiif_version, config.recode), (2, true));
        let config = with(&[("COMPAT", "1.1"), ("IIIF_VERSION", "3")]);
        assert_eq!((config.iiif_version, config.recode), (3, false));
        let config = with(&[("JPEG_QUALITY", "10")]);
        assert_eq!((config.iiif_version, config.recode), (3, false));
    }

    #[test]
    fn a_bad_value_is_clamped_or_replaced_and_told() {
        let config = with(&[
            ("JPEG_QUALITY", "200"),
            ("PNG_QUALITY", "x"),
            ("MAX_IMAGE_CACHE_SIZE", "0.5"),
        ]);
        assert_eq!(
            (
                config.output.jpeg_quality,
                config.output.png_level,
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
    fn special_values_mean_what_they_say() {
        let config = with(&[
            ("MAX_CVT", "-1"),
            ("MAX_METADATA_CACHE_SIZE", "-1"),
            ("EMBED_ICC", "0"),
        ]);
        assert_eq!(
            (config.max_width, config.open_images, config.max_icc),
            (None, None, Some(0))
        );
        assert_eq!(with(&[("MAX_CVT", "0")]).max_height, Some(5000));
        let config = with(&[
            ("MAX_WIDTH", "800"),
            ("MAX_AREA", "1000000"),
            ("MAX_HEIGHT", "9000"),
        ]);
        assert_eq!(
            (config.max_width, config.max_height, config.max_area),
            (Some(800), Some(5000), Some(1_000_000))
        );
        assert_eq!(with(&[("BACKGROUND", "#12aBff")]).background, [0x12, 0xAB, 0xFF]);
        assert_eq!(with(&[("BACKGROUND", "white")]).warnings.len(), 1);
        assert_eq!(with(&[("AVIF_CODEC", "0")]).warnings.len(), 0);
        assert_eq!(with(&[("AVIF_CODEC", "2")]).warnings.len(), 1);
        assert_eq!(with(&[]).output.tiff_quality, None);
        assert_eq!(with(&[("TIFF_QUALITY", "1")]).output.tiff_quality, Some(1));
        assert_eq!(
            with(&[("MAX_IMAGE_METADATA_CACHE_SIZE", "7")]).open_images,
            Some(7)
        );
    }

    #[test]
    fn the_uri_map_takes_several_and_the_longest_prefix_first() {
        let config = with(&[(
            "URI_MAP",
            "/iiif/=>iiif, iiif/dz => DeepZoom,x=>SOAP,iiif/2=>IIIF2",
        )]);
        let prefixes: Vec<_> = config.uri_map.iter().map(|mount| mount.prefix.as_str()).collect();
        assert_eq!(prefixes, ["iiif/dz", "iiif/2", "iiif"]);
        let versions: Vec<_> = config.uri_map.iter().map(|mount| mount.iiif_version).collect();
        assert_eq!(versions, [None, Some(2), None]);
        assert_eq!(config.warnings.len(), 1);
    }

    #[test]
    fn extra_info_is_json_or_left_out() {
        let good = with(&[("IIIF_EXTRA_INFO", "\"attribution\": \"us\"")]);
        assert_eq!(
            good.iiif_extra.get("attribution").and_then(|v| v.as_str()),
            Some("us")
        );
        assert_eq!(with(&[("IIIF_EXTRA_INFO", "attribution")]).warnings.len(), 1);
    }
}
