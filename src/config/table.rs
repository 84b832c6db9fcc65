//! Converts values of the environment to the settings structs of the modules.
//!
//! Each function here builds the struct of one module. A bad value is clamped or replaced by the default, and reported
//! in [`SettingValues::warnings`].

use crate::cache::memcached;
use crate::codec::jpeg::JpegStyle;
use crate::codec::jpeg::Sampling;
use crate::config::Config;
use crate::config::LogFormat;
use crate::config::Origin;
use crate::config::memory;
use crate::config::vars::ValueType;
use crate::config::vars::Var;
use crate::config::words::colour;
use crate::config::words::extra_info;
use crate::config::words::servers;
use crate::config::words::uri_map;
use crate::encode::Defaults;
use crate::encode::TiffCompression;
use crate::library::LibrarySettings;
use crate::limits::Limits;
use crate::plan;
use crate::plan::Finish;
use crate::process::WatermarkSettings;
use crate::protocol;
use crate::protocol::Members;
use crate::source::derived::Budget;
use crate::source::file_format::Options;
use crate::source::jp2;
use crate::store::settings;
use crate::store::stores::Stores;
use crate::work::Policy;
use crate::work::busy;
use std::sync::Arc;
use std::time::Duration;

/// A setting with its effective value and origin.
type Value = (&'static str, String, Origin);

/// The version of iipsrv to follow if versions contradict each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compat {
    /// Decided by the request.
    Auto,
    /// iipsrv 1.1.
    V11,
    /// iipsrv 1.3.
    V13,
}

/// The values being read.
#[derive(Default)]
pub struct SettingValues {
    values: Vec<Value>,
    warnings: Vec<String>,
}

impl SettingValues {
    /// Reads the value of a row; `given` is that of the environment.
    pub fn take(&mut self, var: &'static Var, given: Option<String>) {
        // an empty variable is unset, except for a text, which may be empty
        let given = given.filter(|given| var.kind == ValueType::Text || !given.trim().is_empty());
        let Some(given) = given else {
            self.values.push((var.name, var.default.into(), Origin::Default));
            return;
        };
        if !var.built {
            self.warnings
                .push(format!("{}={given} has no effect in this version", var.name));
        }
        let effective = var.kind.effective(&given, var.default);
        let origin = if effective == given.trim() || var.kind == ValueType::Text {
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

    /// All settings; every row must have been read.
    pub fn config(mut self) -> Config {
        if self.int::<i64>("AVIF_CODEC") != 0 {
            self.warnings
                .push("AVIF_CODEC has no effect: libavif chooses its encoder".into());
        }
        let (protocol, answers) = (self.protocol(), self.answers());
        let memcached = self.memcached();
        let mut library = self.library();
        let stores = self.stores(&library.prefix);
        library.stores = stores.clone().unwrap_or_default();
        Config {
            verbosity: self.int("VERBOSITY"),
            logfile: self.text("LOGFILE"),
            admin_token: self.text("ADMIN_TOKEN"),
            server_timing: self.on("SERVER_TIMING"),
            log_format: match self.text("LOG_FORMAT").as_str() {
                "combined" => LogFormat::Combined,
                "json" => LogFormat::Json,
                _ => LogFormat::Iip,
            },
            cache_bytes: self.megabytes("MAX_IMAGE_CACHE_SIZE"),
            cache_dir: self.text("CACHE_DIR"),
            cache_dir_bytes: self.megabytes("CACHE_DIR_SIZE"),
            open_images: self.whole("MAX_METADATA_CACHE_SIZE"),
            library,
            stores,
            answers,
            memcached,
            cors: self.text("CORS"),
            cors_headers: self.text("CORS_HEADERS"),
            watermark: self.watermark(),
            protocol,
            cache_control: self.text("CACHE_CONTROL"),
            directory: self.on("DIRECTORY"),
            work: self.work(),
            connections_of_one: self.int("MAX_CONNECTIONS_PER_ADDRESS"),
            request_timeout: self.seconds("REQUEST_TIMEOUT"),
            grace: self.seconds("GRACE"),
            values: self.values,
            warnings: self.warnings,
        }
    }

    fn protocol(&mut self) -> protocol::ProtocolSettings {
        let (uri_map, wrong) = uri_map(&self.text("URI_MAP"));
        self.warnings.extend(wrong);
        let iiif_extra = extra_info(&self.text("IIIF_EXTRA_INFO")).unwrap_or_else(|wrong| {
            self.warnings.push(wrong);
            Members::new()
        });
        let compat = self.compat();
        protocol::ProtocolSettings {
            mapped: !self.text("URI_MAP").is_empty(),
            uri_map,
            base_url: self.text("BASE_URL"),
            trust_proxy: self.on("TRUST_PROXY"),
            cors: !self.text("CORS").is_empty(),
            iiif_version: match self.is_given("IIIF_VERSION") || compat != Compat::V11 {
                true => self.int("IIIF_VERSION"),
                false => 2,
            },
            iiif_extra,
            copyright: self.text("COPYRIGHT"),
            first_channel: match compat {
                Compat::V11 => Some(1),
                Compat::V13 => Some(0),
                Compat::Auto => None,
            },
            iiif_extensions: self.on("IIIF_EXTENSIONS"),
            manifests: self.on("MANIFESTS"),
        }
    }

    fn library(&self) -> LibrarySettings {
        let limits = self.limits();
        LibrarySettings {
            prefix: self.text("FILESYSTEM_PREFIX"),
            suffix: self.text("FILESYSTEM_SUFFIX"),
            stores: Arc::default(),
            follow_symlinks: self.on("FILESYSTEM_FOLLOW_SYMLINKS"),
            options: Options {
                budget: Budget {
                    limits,
                    ..Budget::default()
                },
                jp2: jp2::Jp2Options {
                    layers: self.int("MAX_LAYERS"),
                    strict: self.int::<i64>("KAKADU_READMODE") == 1,
                    limits,
                },
                upright: self.on("ORIENTATION"),
            },
            pattern: self.text("FILENAME_PATTERN"),
            delimiter: self.text("IIIF_DELIMITER"),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            pixels: self.int("LIMIT_PIXELS"),
            samples: self.int("LIMIT_SAMPLES"),
            tiles: self.int("LIMIT_TILES"),
            ifds: self.int("LIMIT_IFDS"),
            boxes: self.int("LIMIT_BOXES"),
            metadata: self.int("LIMIT_METADATA"),
            tile_bytes: self.int("LIMIT_TILE_BYTES"),
            expansion: self.int("LIMIT_EXPANSION"),
        }
    }

    /// The object stores; from here on, URLs are shown without secrets.
    fn stores(&mut self, prefix: &str) -> Result<Arc<Stores>, String> {
        let directory = Some(self.text("DISK_CACHE")).filter(|directory| !directory.is_empty());
        let settings = settings::StoreSettings {
            ttl: Duration::from_secs(self.int("STORE_TTL")),
            timeout: Duration::from_secs_f64(self.float("STORE_TIMEOUT").clamp(0.1, 3600.0)),
            connections: self.int::<usize>("STORE_CONNECTIONS").max(1),
            cache_bytes: self.megabytes("STORE_CACHE_SIZE"),
            disk: directory.map(|directory| (directory.into(), self.megabytes("DISK_CACHE_SIZE"))),
        };
        let stores = Stores::new(prefix, &self.text("STORES"), &settings).map(Arc::new);
        for (name, value, _) in &mut self.values {
            if matches!(*name, "FILESYSTEM_PREFIX" | "STORES") {
                *value = settings::redacted(value);
            }
        }
        stores
    }

    fn answers(&mut self) -> plan::PlanLimits {
        let background = self.text("BACKGROUND");
        let background = colour(&background).unwrap_or_else(|| {
            self.warnings.push(format!(
                "BACKGROUND={background} is not a colour such as FFFFFF: white is used"
            ));
            [255; 3]
        });
        let side = match self.whole("MAX_CVT") {
            Some(0) => Some(5000),
            limit => limit,
        };
        let limit = |name| match self.whole(name) {
            Some(own @ 1..) => Some(side.map_or(own, |side| side.min(own))),
            _ => side,
        };
        plan::PlanLimits {
            max_width: limit("MAX_WIDTH"),
            max_height: limit("MAX_HEIGHT"),
            max_pixels: self.whole("MAX_AREA").filter(|&pixels| pixels > 0),
            upscaling: self.on("ALLOW_UPSCALING"),
            interpolation: self.int("INTERPOLATION"),
            defaults: self.defaults(),
            recode: self.compat() == Compat::V11 && self.is_given("JPEG_QUALITY"),
            background,
            watermark: None,
            finish: Arc::new(Finish {
                srgb: self.text("ICC_MODE") == "srgb",
                max_icc: match self.on("EMBED_ICC") {
                    true => self.whole("MAX_ICC"),
                    false => Some(0),
                },
                passthrough: self.on("CODEC_PASSTHROUGH"),
                rights: self.text("COPYRIGHT").trim().into(),
            }),
        }
    }

    fn defaults(&self) -> Defaults {
        let compression = TiffCompression::numbered(self.int("TIFF_COMPRESSION"));
        Defaults {
            jpeg_quality: self.int("JPEG_QUALITY"),
            jpeg_style: JpegStyle {
                sampling: match self.text("JPEG_SAMPLING").as_str() {
                    "4:4:4" => Sampling::Yuv444,
                    "4:2:2" => Sampling::Yuv422,
                    _ => Sampling::Yuv420,
                },
                progressive: self.on("JPEG_PROGRESSIVE"),
            },
            png_level: self.int("PNG_QUALITY"),
            deep_png: self.text("PNG_DEPTH") == "16",
            webp_quality: self.int("WEBP_QUALITY"),
            avif_quality: self.int("AVIF_QUALITY"),
            tiff_compression: compression.unwrap_or(TiffCompression::Deflate),
            tiff_quality: self.is_given("TIFF_QUALITY").then(|| self.int("TIFF_QUALITY")),
        }
    }

    fn memcached(&mut self) -> memcached::MemcachedSettings {
        let (servers, wrong) = servers(&self.text("MEMCACHED_SERVERS"));
        self.warnings.extend(wrong);
        memcached::MemcachedSettings {
            servers,
            seconds: self.int("MEMCACHED_TIMEOUT"),
        }
    }

    fn watermark(&self) -> Option<WatermarkSettings> {
        let path = Some(self.text("WATERMARK")).filter(|path| !path.is_empty())?;
        Some(WatermarkSettings {
            path: path.into(),
            opacity: self.float("WATERMARK_OPACITY"),
            probability: self.float("WATERMARK_PROBABILITY"),
        })
    }

    fn work(&self) -> Policy {
        Policy {
            threads: match self.int("OMP_NUM_THREADS") {
                0 => busy::cores(),
                threads => threads,
            },
            memory: match self.megabytes("MAX_MEMORY") {
                0 => memory::available() / 4,
                bytes => bytes,
            },
            queue: self.seconds("QUEUE_LIMIT"),
            patience: self.seconds("QUEUE_TIMEOUT"),
        }
    }

    fn compat(&self) -> Compat {
        match self.text("COMPAT").as_str() {
            "1.1" => Compat::V11,
            "1.3" => Compat::V13,
            _ => Compat::Auto,
        }
    }

    fn row(&self, name: &str) -> Option<&Value> {
        let row = self.values.iter().find(|(known, _, _)| *known == name);
        debug_assert!(row.is_some(), "{name} is not in the table");
        row
    }

    fn text(&self, name: &str) -> String {
        self.row(name)
            .map(|(_, value, _)| value.clone())
            .unwrap_or_default()
    }

    /// A whole number, which `take` has checked against the row's range; `None` if `T` cannot represent it, such as −1 for an
    /// unsigned type.
    fn whole<T: TryFrom<i64>>(&self, name: &str) -> Option<T> {
        let number = self.text(name).parse::<i64>().ok()?;
        T::try_from(number).ok()
    }

    /// A whole number of a row whose range fits `T`.
    fn int<T: TryFrom<i64> + Default>(&self, name: &str) -> T {
        let number = self.whole(name);
        debug_assert!(number.is_some(), "{name} is not such a number");
        number.unwrap_or_default()
    }

    fn float(&self, name: &str) -> f64 {
        let number = self.text(name).parse();
        debug_assert!(number.is_ok(), "{name} is not a number");
        number.unwrap_or_default()
    }

    fn megabytes(&self, name: &str) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the rows' ranges are 0 to 1e9 MB"
        )]
        let bytes = (self.float(name) * 1024.0 * 1024.0) as u64;
        bytes
    }

    fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs_f64(self.float(name).max(0.0))
    }

    /// Whether the environment sets it.
    fn is_given(&self, name: &str) -> bool {
        self.row(name)
            .is_some_and(|(_, _, origin)| *origin != Origin::Default)
    }

    fn on(&self, name: &str) -> bool {
        self.text(name) == "1"
    }
}

impl ValueType {
    /// The effective text for `given`: unchanged, the nearest value in range, or the default if it is invalid.
    pub(in crate::config) fn effective(self, given: &str, default: &str) -> String {
        let given = given.trim();
        match self {
            ValueType::Text => given.into(),
            ValueType::Switch => ValueType::Int(0, 1).effective(given, default),
            ValueType::Int(low, high) => match given.parse::<i64>() {
                Ok(value) if (low..=high).contains(&value) => given.into(),
                Ok(value) => value.clamp(low, high).to_string(),
                Err(_) => default.into(),
            },
            ValueType::Float(low, high) => match given.parse::<f64>() {
                Ok(value) if (low..=high).contains(&value) => given.into(),
                Ok(value) if value.is_finite() => value.clamp(low, high).to_string(),
                _ => default.into(),
            },
            ValueType::Word(words) => words
                .iter()
                .find(|w| w.eq_ignore_ascii_case(given))
                .map_or(default, |w| w)
                .to_string(),
        }
    }

    /// The warning about `given`.
    fn wrong(self, given: &str) -> String {
        let number = given.trim().parse::<f64>().is_ok_and(f64::is_finite);
        match self {
            ValueType::Text => "not readable".into(),
            ValueType::Switch => "neither 0 nor 1".into(),
            ValueType::Int(low, high) if number => format!("not a whole number from {low} to {high}"),
            ValueType::Float(low, high) if number => format!("not between {low} and {high}"),
            ValueType::Int(..) | ValueType::Float(..) => "not a number".into(),
            ValueType::Word(words) => format!("none of {}", words.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::vars::VARS;

    /// `int` asserts that its type can represent every number that the row allows.
    #[test]
    fn the_limits_of_every_range_are_valid() {
        let read = |end: fn(ValueType) -> Option<String>| {
            Config::read(|name| {
                let var = VARS.iter().find(|var| var.name == name);
                var.and_then(|var| end(var.kind))
            })
        };
        let low = read(|kind| match kind {
            ValueType::Int(low, _) => Some(low.to_string()),
            ValueType::Float(low, _) => Some(low.to_string()),
            _ => None,
        });
        let high = read(|kind| match kind {
            ValueType::Int(_, high) => Some(high.to_string()),
            ValueType::Float(_, high) => Some(high.to_string()),
            _ => None,
        });
        assert_eq!((low.work.threads, high.work.threads), (busy::cores(), 1024));
    }
}
