//! Layers on the tape and the names of their parameters.
