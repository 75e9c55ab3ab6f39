//! Counts to scores; knows no network.
