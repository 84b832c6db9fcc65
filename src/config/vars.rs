//! The table of settings, one row per variable. Help, man page, checks and defaults come from it.

/// Types of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueType {
    /// Any text.
    Text,
    /// A whole number, clamped to the range.
    Int(i64, i64),
    /// A decimal number, clamped to the range.
    Float(f64, f64),
    /// 0 or 1.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Var {
    /// The environment variable.
    pub name: &'static str,
    /// An alias; `name` takes precedence if both are set.
    pub alias: Option<&'static str>,
    /// The default.
    pub default: &'static str,
    /// The type.
    pub kind: ValueType,
    /// Whether it has an effect in this version; setting one without effect gives a warning.
    pub built: bool,
    /// Description in one line.
    pub help: &'static str,
}

const fn var(name: &'static str, default: &'static str, kind: ValueType, help: &'static str) -> Var {
    Var {
        name,
        alias: None,
        default,
        kind,
        built: true,
        help,
    }
}

const fn later(name: &'static str, default: &'static str, kind: ValueType, help: &'static str) -> Var {
    Var {
        name,
        alias: None,
        default,
        kind,
        built: false,
        help,
    }
}

const MANY: i64 = i32::MAX as i64;

/// All settings in display order.
pub static VARS: &[Var] = &[
    var(
        "VERBOSITY",
        "1",
        ValueType::Int(0, 10),
        "0: no log; 1: start, stop and warnings; 2: also a line per request; 3 and more: also its timings",
    ),
    var(
        "LOGFILE",
        "/tmp/iipsrv.log",
        ValueType::Text,
        "log file, or syslog, or - for stderr",
    ),
    var(
        "ADMIN_TOKEN",
        "",
        ValueType::Text,
        "token that requests to --admin must send as Authorization: Bearer; required unless only this machine can connect",
    ),
    var(
        "SERVER_TIMING",
        "0",
        ValueType::Switch,
        "1: answers report their timings in Server-Timing",
    ),
    var(
        "LOG_FORMAT",
        "iip",
        ValueType::Word(&["iip", "combined", "json"]),
        "iip: plain text; combined: requests as in Apache's combined log; json: one JSON object per line",
    ),
    var(
        "MAX_IMAGE_CACHE_SIZE",
        "10",
        ValueType::Float(0.0, 1e9),
        "MB of memory for cached answers and decoded tiles; 0 turns the cache off",
    ),
    var(
        "CACHE_DIR",
        "/var/tmp",
        ValueType::Text,
        "directory for temporary, unnamed files that hold derived levels too large for memory",
    ),
    var(
        "CACHE_DIR_SIZE",
        "10000",
        ValueType::Float(0.0, 1e9),
        "maximum MB of temporary files; 0: none are written",
    ),
    Var {
        alias: Some("MAX_IMAGE_METADATA_CACHE_SIZE"),
        ..var(
            "MAX_METADATA_CACHE_SIZE",
            "1000",
            ValueType::Int(-1, MANY),
            "number of images kept open; -1: no limit, 0: none",
        )
    },
    var(
        "FILESYSTEM_PREFIX",
        "",
        ValueType::Text,
        "prefix of every image path, normally a directory with / at its end; a URL (s3, gs, az, http, https) with --features full",
    ),
    var(
        "FILESYSTEM_SUFFIX",
        "",
        ValueType::Text,
        "suffix of every image path",
    ),
    var(
        "FILESYSTEM_FOLLOW_SYMLINKS",
        "1",
        ValueType::Switch,
        "0: symbolic links that lead out of FILESYSTEM_PREFIX are refused",
    ),
    var(
        "STORES",
        "",
        ValueType::Text,
        "NAME=>URL,…: where identifiers that begin with NAME/ are found (s3, gs, az, http, https, or a directory)",
    ),
    var(
        "STORE_TTL",
        "60",
        ValueType::Int(0, MANY),
        "seconds before a remote image is checked for changes again",
    ),
    var(
        "STORE_TIMEOUT",
        "20",
        ValueType::Float(0.1, 3600.0),
        "seconds that a request waits for a store",
    ),
    var(
        "STORE_CONNECTIONS",
        "16",
        ValueType::Int(1, 1000),
        "requests to one store at the same time",
    ),
    var(
        "STORE_CACHE_SIZE",
        "64",
        ValueType::Float(1.0, 1e9),
        "MB of memory that cache the bytes of remote images",
    ),
    var(
        "DISK_CACHE",
        "",
        ValueType::Text,
        "directory, used by nothing else, that caches bytes of remote images, answers and derived levels",
    ),
    var(
        "DISK_CACHE_SIZE",
        "10000",
        ValueType::Float(128.0, 1e9),
        "maximum MB in DISK_CACHE",
    ),
    var(
        "FILENAME_PATTERN",
        "_pyr_",
        ValueType::Text,
        "file names of image sequences: PATH, this text, horizontal and vertical angle as HHH_VVV.EXT",
    ),
    var(
        "ORIENTATION",
        "0",
        ValueType::Switch,
        "1 turns pictures as their Orientation tag (TIFF, or EXIF of JPEG, PNG and WebP) says",
    ),
    var("JPEG_QUALITY", "75", ValueType::Int(1, 100), "JPEG quality"),
    var(
        "JPEG_SAMPLING",
        "4:2:0",
        ValueType::Word(&["4:2:0", "4:2:2", "4:4:4"]),
        "chroma of JPEG answers; stored tiles are sent as they are",
    ),
    var(
        "JPEG_PROGRESSIVE",
        "0",
        ValueType::Switch,
        "1: encoded JPEG answers are progressive; large ones then need memory for the whole picture",
    ),
    var("PNG_QUALITY", "1", ValueType::Int(0, 9), "PNG deflate level"),
    var(
        "PNG_DEPTH",
        "8",
        ValueType::Word(&["8", "16"]),
        "16: keeps 16-bit samples unless the request changes their values",
    ),
    var(
        "WEBP_QUALITY",
        "50",
        ValueType::Int(-1, 100),
        "WebP quality; -1 lossless",
    ),
    var(
        "AVIF_QUALITY",
        "50",
        ValueType::Int(-1, 100),
        "AVIF quality; -1 lossless",
    ),
    var(
        "AVIF_CODEC",
        "0",
        ValueType::Int(0, 3),
        "accepted; one codec is built in",
    ),
    var(
        "TIFF_COMPRESSION",
        "2",
        ValueType::Int(0, 5),
        "output TIFF: 0 none, 1 LZW, 2 Deflate, 3 JPEG, 4 WebP, 5 Zstd",
    ),
    var(
        "TIFF_QUALITY",
        "1",
        ValueType::Int(-1, 100),
        "level or quality of TIFF_COMPRESSION; when not set JPEG and WebP use their own",
    ),
    var(
        "MAX_CVT",
        "5000",
        ValueType::Int(-1, MANY),
        "largest output width or height; -1 no limit, 0 the default",
    ),
    var(
        "MAX_WIDTH",
        "0",
        ValueType::Int(0, MANY),
        "largest output width, in addition to MAX_CVT; 0: only MAX_CVT",
    ),
    var(
        "MAX_HEIGHT",
        "0",
        ValueType::Int(0, MANY),
        "largest output height, in addition to MAX_CVT; 0: only MAX_CVT",
    ),
    var(
        "MAX_AREA",
        "0",
        ValueType::Int(0, MANY),
        "maximum number of pixels of an output; 0: no limit",
    ),
    var(
        "BACKGROUND",
        "FFFFFF",
        ValueType::Text,
        "background colour of transparent pixels and of the corners of a rotated image, in formats without alpha",
    ),
    var(
        "ALLOW_UPSCALING",
        "1",
        ValueType::Switch,
        "0: never larger than the source",
    ),
    var(
        "MAX_LAYERS",
        "0",
        ValueType::Int(-1, 65535),
        "JPEG2000 quality layers: 0 half of those present, -1 all, n at most n",
    ),
    var(
        "WATERMARK",
        "",
        ValueType::Text,
        "TIFF file drawn over answers, at a random place of each tile; without alpha it is added to them",
    ),
    var(
        "WATERMARK_PROBABILITY",
        "1",
        ValueType::Float(0.0, 1.0),
        "probability that a tile gets the watermark",
    ),
    var(
        "WATERMARK_OPACITY",
        "1",
        ValueType::Float(0.0, 1.0),
        "opacity of the watermark",
    ),
    var(
        "MEMCACHED_SERVERS",
        "",
        ValueType::Text,
        "memcached servers for answers of up to 1 MB, shared with other iipsrv servers: host[:port] or /path.sock, separated by commas",
    ),
    var(
        "MEMCACHED_TIMEOUT",
        "86400",
        ValueType::Int(0, MANY),
        "seconds that memcached keeps an answer; 0: until it needs the space",
    ),
    var(
        "INTERPOLATION",
        "1",
        ValueType::Int(0, 4),
        "resizing: 0 nearest, 1 bilinear, 2 area, 3 bicubic, 4 Lanczos of three lobes; all but 0 antialias when shrinking",
    ),
    var(
        "CORS",
        "",
        ValueType::Text,
        "value of Access-Control-Allow-Origin, such as *",
    ),
    var(
        "CORS_HEADERS",
        "Accept, Authorization, Content-Type, If-Modified-Since, If-None-Match, X-Requested-With",
        ValueType::Text,
        "value of Access-Control-Allow-Headers",
    ),
    var(
        "BASE_URL",
        "",
        ValueType::Text,
        "public address used for ids in info.json and for redirects",
    ),
    var(
        "TRUST_PROXY",
        "0",
        ValueType::Switch,
        "1: ids use what a proxy says in Forwarded or X-Forwarded-Proto, -Host, -Port and -Prefix, the log its X-Forwarded-For",
    ),
    var(
        "URI_MAP",
        "",
        ValueType::Text,
        "PREFIX=>PROTOCOL,…: IIP, IIIF (one version: IIIF1, IIIF2, IIIF3), DeepZoom or Zoomify for request paths that begin with PREFIX",
    ),
    var(
        "CACHE_CONTROL",
        "max-age=86400",
        ValueType::Text,
        "value of Cache-Control",
    ),
    var(
        "MAX_ICC",
        "65536",
        ValueType::Int(-1, MANY),
        "largest ICC profile that is embedded, in bytes; 0: none, -1: no limit",
    ),
    var(
        "ICC_MODE",
        "embed",
        ValueType::Word(&["embed", "srgb"]),
        "embed: the image's ICC profile is embedded; srgb: colours are converted to sRGB",
    ),
    var(
        "EMBED_ICC",
        "1",
        ValueType::Switch,
        "0 is MAX_ICC=0 (the name that iipsrv 1.1 uses)",
    ),
    var(
        "CODEC_PASSTHROUGH",
        "1",
        ValueType::Switch,
        "send a stored JPEG or WebP tile untouched when nothing has to change",
    ),
    var(
        "IIIF_VERSION",
        "3",
        ValueType::Int(1, 3),
        "IIIF Image API version when neither URI_MAP nor the Accept header says one",
    ),
    var(
        "IIIF_DELIMITER",
        "",
        ValueType::Text,
        "text between an identifier and a page number, which counts from 0",
    ),
    var(
        "IIIF_EXTRA_INFO",
        "",
        ValueType::Text,
        "one \"key\": value member added to every info.json",
    ),
    var(
        "IIIF_EXTENSIONS",
        "0",
        ValueType::Switch,
        "1 adds the qualities negative, stretch, equalization and log",
    ),
    var(
        "MANIFESTS",
        "1",
        ValueType::Switch,
        "0: no IIIF manifests (…/ID/manifest.json)",
    ),
    var(
        "DIRECTORY",
        "1",
        ValueType::Switch,
        "0: images are not listed: no list at /, no manifests of directories",
    ),
    var(
        "COPYRIGHT",
        "",
        ValueType::Text,
        "rights statement of images without one of their own",
    ),
    var(
        "OMP_NUM_THREADS",
        "0",
        ValueType::Int(0, 1024),
        "worker threads; 0 is one per core",
    ),
    var(
        "MAX_MEMORY",
        "0",
        ValueType::Float(0.0, 1e9),
        "MB that all requests together may use, without the caches; 0: a quarter of the memory of the machine or control group",
    ),
    var(
        "QUEUE_LIMIT",
        "120",
        ValueType::Float(0.0, 86_400.0),
        "a request that is expected to wait longer for a thread, in seconds, is refused at once (503)",
    ),
    var(
        "QUEUE_TIMEOUT",
        "300",
        ValueType::Float(0.0, 86_400.0),
        "a request that has waited longer for a thread and memory, in seconds, is refused (503)",
    ),
    var(
        "REQUEST_TIMEOUT",
        "0",
        ValueType::Float(0.0, 86_400.0),
        "longest time of a request, in seconds (504); 0: no limit",
    ),
    var(
        "MAX_CONNECTIONS_PER_ADDRESS",
        "0",
        ValueType::Int(0, MANY),
        "HTTP connections that one address (of IPv6: one /64) may have open; 0 is no limit, as behind a proxy",
    ),
    var(
        "GRACE",
        "30",
        ValueType::Float(0.0, 86_400.0),
        "seconds that a stopping server has to finish its requests",
    ),
    var(
        "KAKADU_READMODE",
        "0",
        ValueType::Int(0, 2),
        "damaged JPEG 2000 files: 1 refuses them; 0 and 2 show what can be decoded",
    ),
    var(
        "LIMIT_PIXELS",
        "4398046511104",
        ValueType::Int(1, i64::MAX),
        "maximum number of pixels of an image; like all limits, an image beyond it is refused with 413 and the log names the limit",
    ),
    var(
        "LIMIT_SAMPLES",
        "256",
        ValueType::Int(1, 65535),
        "maximum number of samples stored for a pixel of TIFF",
    ),
    var(
        "LIMIT_TILES",
        "33554432",
        ValueType::Int(1, MANY),
        "maximum number of tiles or strips of a level of TIFF",
    ),
    var(
        "LIMIT_IFDS",
        "65536",
        ValueType::Int(1, MANY),
        "directories of a TIFF file that are looked at for a page; a page further on is refused",
    ),
    var(
        "LIMIT_BOXES",
        "4096",
        ValueType::Int(1, MANY),
        "boxes of JPEG 2000 and chunks of PNG and WebP that are looked at; what follows is left out",
    ),
    var(
        "LIMIT_METADATA",
        "4194304",
        ValueType::Int(0, MANY),
        "maximum number of bytes of a profile, XMP packet or text, decompressed; longer ones are left out",
    ),
    var(
        "LIMIT_TILE_BYTES",
        "268435456",
        ValueType::Int(1 << 20, MANY),
        "maximum number of bytes of a decoded tile",
    ),
    var(
        "LIMIT_EXPANSION",
        "8192",
        ValueType::Int(1, MANY),
        "maximum number of decoded bytes for a byte of the file, beyond 16 MB, where all of it must be decoded for one answer",
    ),
    later("DECODER_MODULES", "", ValueType::Text, "not supported"),
    var(
        "COMPAT",
        "auto",
        ValueType::Word(&["auto", "1.1", "1.3"]),
        "which iipsrv to follow where two versions contradict each other",
    ),
];
