//! The runtime of requests to stores, with a separate thread.

use crate::error::Error;
use crate::error::Result;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Runs a future on the stores' runtime and waits for it up to a time limit.
pub fn wait<T: Send + 'static>(
    longest: Duration,
    future: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let (send, receive) = std::sync::mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        let result = tokio::time::timeout(longest, future).await;
        let late = || Err(broken(true, "the store takes too long"));
        let _ = send.send(result.unwrap_or_else(|_| late()));
    });
    receive
        .recv()
        .unwrap_or_else(|_| Err(broken(false, "a request to a store was given up")))
}

/// The error of a failed request to a store; `slow`: it timed out.
pub fn broken(slow: bool, why: &str) -> Error {
    let why = why.into();
    Error::Store { slow, why }
}

/// The runtime of the stores.
pub fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        // a concurrent initialisation has the same result
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store")
            .enable_all()
            .build()
    });
    made.as_ref().map_err(|error| Error::Io(error.kind().into()))
}
