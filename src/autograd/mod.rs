//! The tape: one `Op` enum, one record an operation, one backward match.
