//! Synthetic whole-body bone scans.
