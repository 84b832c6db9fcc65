//! Masters in object stores and on web servers, read by ranges (feature `remote`).
//!
//! Requests run on a separate runtime; compute threads block until their bytes arrive.

mod object;
mod pages;

use crate::error::Error;
use crate::error::Result;
use crate::metrics;
use crate::store::Blob;
pub use crate::store::remote::pages::PageCache;
use crate::store::runtime::runtime;
use crate::store::runtime::wait;
use crate::store::settings::StoreSettings;
use crate::store::settings::shown;
use crate::work::Scope;
use crate::work::scope::current;
use bytes::Bytes;
use futures_util::StreamExt;
use object::RemoteObject;
use object_store::ClientOptions;
use object_store::GetOptions;
use object_store::GetRange;
use object_store::ObjectMeta;
use object_store::ObjectStore;
use object_store::RetryConfig;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Bytes that are fetched on opening: most files have all directories or the whole header there.
const HEAD: u64 = 256 << 10;

/// Number of retries after a transient failure.
const RETRIES: usize = 3;

/// Environment variables with S3 credentials; without them only the instance metadata may provide some.
const CREDENTIALS: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
    "AWS_METADATA_ENDPOINT",
];

const NO_CREDENTIALS: &str = "no credentials were found in the environment";

/// Error codes of S3 servers for invalid credentials.
const REFUSED: &[&str] = &[
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "NotSignedUp",
];

/// Error codes of servers for a missing bucket (or container).
const NO_BUCKET: &[&str] = &["NoSuchBucket", "bucket does not exist", "ContainerNotFound"];

/// A prefix in an object store that contains masters.
pub struct Store {
    /// The name in the log: its URL without secrets.
    name: String,
    client: Box<dyn ObjectStore>,
    /// The prefix of object names.
    prefix: String,
    settings: StoreSettings,
    permits: Semaphore,
    pages: Arc<PageCache>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the client contains secrets
        f.write_str(&self.name)
    }
}

/// The reply to a range request.
struct RangeReply {
    meta: ObjectMeta,
    bytes: Bytes,
}

impl Store {
    /// A store by URL (`s3:`, `gs:`, `az:`, `http:`, `https:`); credentials and endpoints come from the environment. Error, one
    /// line without secrets: the URL is invalid or credentials are missing.
    pub fn new(
        url: &str,
        settings: &StoreSettings,
        pages: Arc<PageCache>,
    ) -> std::result::Result<Store, String> {
        let name = shown(url);
        let wrong = |why: String| format!("{name}: {why}");
        let (_, rest) = url.split_once("://").ok_or_else(|| wrong("not a URL".into()))?;
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() || prefix.contains(['?', '#']) || prefix.split('/').any(|part| part == "..") {
            return Err(wrong("should be SCHEME://BUCKET/FOLDER/, without a query".into()));
        }
        runtime().map_err(|error| wrong(error.to_string()))?;
        let client = client(url, settings).map_err(|error| wrong(reason(&error)))?;
        Ok(Store {
            name,
            client,
            prefix: prefix.into(),
            permits: Semaphore::new(settings.connections),
            settings: settings.clone(),
            pages,
        })
    }

    /// Checks that the store answers. Error, one line, for permanent problems: a missing bucket, missing or refused
    /// credentials. If the store is down, the reason is returned for the log.
    pub fn check(self: &Arc<Store>) -> std::result::Result<Option<String>, String> {
        let unsigned = self.is("s3") && CREDENTIALS.iter().all(|name| std::env::var_os(name).is_none());
        let store = self.clone();
        let error = match wait(self.settings.timeout, async move { Ok(store.probe().await) }) {
            Ok(None) => return Ok(None),
            Ok(Some(error)) => error,
            Err(_) if unsigned => return Err(format!("{}: {NO_CREDENTIALS}", self.name)),
            Err(error) => return Ok(Some(format!("{}: cannot be reached now: {error}", self.name))),
        };
        let text = format!("{error:?}");
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let why = if has(NO_BUCKET) {
            "no such bucket"
        } else if has(REFUSED) || matches!(error, object_store::Error::Unauthenticated { .. }) {
            "the credentials are refused"
        } else if has(&["metadata.google", "MissingCredential"])
            || unsigned && !matches!(error, object_store::Error::NotFound { .. })
        {
            NO_CREDENTIALS
        } else {
            // a missing object or a denied listing is no fault of the store
            use object_store::Error as E;
            let answers = matches!(error, E::NotFound { .. } | E::PermissionDenied { .. });
            let message = || format!("{}: cannot be reached now: {}", self.name, reason(&error));
            return Ok((!answers).then(message));
        };
        Err(format!("{}: {why}", self.name))
    }

    /// Whether its URL has this scheme.
    fn is(&self, scheme: &str) -> bool {
        self.name.starts_with(scheme)
    }

    /// The error of reading a byte of an object that hardly exists; for a bucket that of listing it, because not every server
    /// distinguishes a missing bucket from a missing object.
    async fn probe(&self) -> Option<object_store::Error> {
        let path = Path::parse(format!("{}.iipsrv", self.prefix)).ok()?;
        // a range, because answers to HEAD have no error code
        let options = GetOptions::new().with_range(Some(0..1));
        let error = self.client.get_opts(&path, options).await.err();
        if self.is("http") || !matches!(error, None | Some(object_store::Error::NotFound { .. })) {
            return error;
        }
        self.client.list(Some(&path)).next().await?.err()
    }

    /// Opens an object by name. `Error::Missing` if it does not exist, `Error::Store` if the store fails.
    pub fn open(self: &Arc<Store>, name: &str) -> Result<Arc<dyn Blob>> {
        let path = Path::parse(format!("{}{name}", self.prefix))
            .map_err(|_| Error::Missing("no such object".into()))?;
        let answer = match self.get(&path, GetOptions::new().with_range(Some(0..HEAD))) {
            // ranges of an empty object are invalid
            Err(error @ Error::Store { slow: false, .. }) => {
                let found = self.get(&path, GetOptions::new().with_head(true));
                found.ok().filter(|answer| answer.meta.size == 0).ok_or(error)?
            }
            other => other?,
        };
        Ok(RemoteObject::new(self.clone(), path, answer))
    }

    /// Fetches one range of an object, or its beginning. Compute threads only.
    fn get(self: &Arc<Store>, path: &Path, options: GetOptions) -> Result<RangeReply> {
        let (store, path, scope) = (self.clone(), path.clone(), current());
        wait(self.settings.timeout, async move {
            store.fetch(&path, options, scope.as_ref()).await
        })
    }

    /// Sends a request, with retries, and counts it for the scope.
    async fn fetch(&self, path: &Path, options: GetOptions, scope: Option<&Scope>) -> Result<RangeReply> {
        let _permit = self.permits.acquire().await;
        let count = |requests, bytes| {
            metrics::get().store_requests.inc_by(requests);
            metrics::get().store_bytes.inc_by(bytes);
            scope.inspect(|scope| scope.add_fetched(requests, bytes));
        };
        let mut tries = 0;
        loop {
            count(1, 0);
            let error = match self.once(path, options.clone()).await {
                Ok(answer) => {
                    count(0, answer.bytes.len() as u64);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if !matches!(error, object_store::Error::NotFound { .. }) {
                metrics::get().store_failures.inc();
            }
            tries += 1;
            // the client does not retry truncated bodies itself
            if tries > RETRIES || !is_passing(&error) {
                return Err(self.failure(&error));
            }
            tokio::time::sleep(Duration::from_millis(20 << tries)).await;
        }
    }

    async fn once(&self, path: &Path, options: GetOptions) -> object_store::Result<RangeReply> {
        let wanted = match &options.range {
            Some(GetRange::Bounded(range)) if !options.head => Some(range.clone()),
            _ => None,
        };
        let head = options.head;
        let result = self.client.get_opts(path, options).await?;
        let meta = result.meta.clone();
        if head {
            let bytes = Bytes::new();
            return Ok(RangeReply { meta, bytes });
        }
        let bytes = result.bytes().await?;
        let expected = wanted.map_or(meta.size, |range| {
            range.end.min(meta.size).saturating_sub(range.start)
        });
        if bytes.len() as u64 != expected {
            return Err(object_store::Error::Generic {
                store: "answer",
                source: "the body ends early".into(),
            });
        }
        Ok(RangeReply { meta, bytes })
    }

    /// Converts an error of the store for client and log, without its URL.
    fn failure(&self, error: &object_store::Error) -> Error {
        match error {
            object_store::Error::NotFound { .. } => Error::Missing("no such object".into()),
            object_store::Error::Precondition { .. } => Error::Changed,
            other => Error::Store {
                slow: is_slow(other),
                why: format!("{}: {}", self.name, reason(other)),
            },
        }
    }
}

fn client(url: &str, settings: &StoreSettings) -> object_store::Result<Box<dyn ObjectStore>> {
    let options = ClientOptions::new()
        .with_allow_http(true)
        .with_timeout(settings.timeout)
        .with_connect_timeout(settings.timeout.min(Duration::from_secs(5)))
        .with_pool_max_idle_per_host(settings.connections);
    let retry = RetryConfig {
        max_retries: RETRIES,
        retry_timeout: settings.timeout,
        ..RetryConfig::default()
    };
    Ok(match url.split_once("://").map_or("", |(scheme, _)| scheme) {
        "s3" | "s3a" => Box::new(
            AmazonS3Builder::from_env()
                .with_url(url)
                .with_client_options(options)
                .with_retry(retry)
                .build()?,
        ),
        "gs" => Box::new(
            GoogleCloudStorageBuilder::from_env()
                .with_url(url)
                .with_client_options(options)
                .with_retry(retry)
                .build()?,
        ),
        "az" => Box::new(
            MicrosoftAzureBuilder::from_env()
                .with_url(url)
                .with_client_options(options)
                .with_retry(retry)
                .build()?,
        ),
        "http" | "https" => {
            let end = url.match_indices('/').nth(2).map_or(url.len(), |(at, _)| at);
            Box::new(
                HttpBuilder::new()
                    .with_url(url.get(..end).unwrap_or(url))
                    .with_client_options(options)
                    .with_retry(retry)
                    .build()?,
            )
        }
        other => {
            return Err(object_store::Error::Generic {
                store: "url",
                source: format!("{other}: is not known: s3, gs, az, http or https").into(),
            });
        }
    })
}

fn is_passing(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::Generic { .. }) && !is_slow(error)
}

fn is_slow(error: &object_store::Error) -> bool {
    let text = reason(error);
    ["timed out", "timeout", "deadline"]
        .iter()
        .any(|word| text.contains(word))
}

/// The innermost cause of an error that contains no address.
fn reason(error: &object_store::Error) -> String {
    let mut text = None;
    let mut at = error.source();
    while let Some(error) = at {
        let line = error.to_string();
        let line = line.lines().next().unwrap_or_default();
        if !line.contains("://") && !line.is_empty() && line.len() < 300 {
            text = Some(line.to_string());
        }
        at = error.source();
    }
    let plain = match error {
        object_store::Error::PermissionDenied { .. } => "access is denied",
        object_store::Error::Unauthenticated { .. } => "the credentials are refused",
        object_store::Error::NotSupported { .. } => "the server does not give ranges",
        _ => return text.unwrap_or_else(|| "does not answer as it should".into()),
    };
    plain.into()
}
