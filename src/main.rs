//! iipsrv: the daemon.
fn main() {}
