//! Runs the network on given tensors and writes every number it made.
