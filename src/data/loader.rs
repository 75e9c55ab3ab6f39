//! Decodes, fuses and augments ahead of the training step, in an order set by the seed alone.
