//! View aggregation: flip, critical points, align, add (paper: View aggregation).
