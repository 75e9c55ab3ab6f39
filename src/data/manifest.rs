//! The table of patients, their files and their labels.
