//! The context of a request, the compute threads, their memory leases, and single flight.
//!
//! Code that decodes, filters or encodes calls [`check`] between pieces of work, so that a cancelled request
//! costs at most one more piece. Compute threads never wait for another request: waiters are futures ([`flight`]).

pub mod busy;
pub mod executor;
pub mod flight;
pub mod parallel;
mod queue;
pub mod scope;

pub use crate::work::executor::Executor;
pub use crate::work::executor::Lease;
pub use crate::work::executor::lend;
pub use crate::work::flight::Flights;
pub use crate::work::queue::Cost;
pub use crate::work::queue::Policy;
pub use crate::work::scope::Scope;
pub use crate::work::scope::Stage;
pub use crate::work::scope::check;
pub use crate::work::scope::timed;
