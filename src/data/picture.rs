//! PNG and JPEG files to images.
