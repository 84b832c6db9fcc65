//! The settings, from the environment.

/// Every setting with its effective value.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads: one set of them waits for sockets and answers what is cached, as many again compute.
    pub threads: usize,
}
