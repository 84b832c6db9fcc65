//! Answers and decoded tiles kept in memory.
