//! DICOM files to frames of counts, and which view each frame is.
