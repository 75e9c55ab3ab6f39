//! From paths to a study: DICOM, pictures or a folder.
