//! Work: the context of a request, the threads that compute, the memory that they lease, and who waits for what.
//!
//! Whoever decodes, filters or encodes calls [`check`] between two pieces of work, so that a cancelled request costs no
//! more than the piece that is being made. Compute threads never wait for another request: a waiter is a future
//! ([`flight`]).

pub mod busy;
pub mod crew;
pub mod executor;
pub mod flight;
pub mod scope;

pub use crate::work::executor::Cost;
pub use crate::work::executor::Executor;
pub use crate::work::executor::Lease;
pub use crate::work::executor::Policy;
pub use crate::work::executor::lend;
pub use crate::work::flight::Flights;
pub use crate::work::scope::Scope;
pub use crate::work::scope::Stage;
pub use crate::work::scope::check;
pub use crate::work::scope::timed;
