//! Network families, and the model file.
