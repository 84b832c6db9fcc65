//! From words to a plan.
