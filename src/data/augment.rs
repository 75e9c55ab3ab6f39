//! Rotation and translation of a picture by a seeded draw (paper: Data augmentation).
