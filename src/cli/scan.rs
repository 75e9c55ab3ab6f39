//! How a scan is named on the command line, for every command that reads scans.

use crate::dicom;
use crate::image::View;
use crate::intake::Study;
use crate::intake::study::{self, StudyOptions};
use crate::{Error, Result, text};
use clap::{Args, value_parser};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// How to read scans.
#[derive(Args)]
pub struct ScanOptions {
    /// Which side each view shows, in the order of frames or files, where the files do not say so themselves:
    /// anterior,posterior or posterior,anterior.
    #[arg(long, value_name = "VIEW,VIEW", value_parser = study::parse_views)]
    views: Option<[View; 2]>,
    /// Accept a scan of one view.
    #[arg(long)]
    single_view: bool,
    /// Refuse a file that is larger than this, in megabytes of 1024 * 1024 bytes, from 1 to 1048576, before it is read.
    #[arg(long, value_name = "MB", default_value_t = dicom::MAX_FILE_BYTES >> 20, value_parser = value_parser!(u64).range(1..=MAX_MB))]
    max_file_size: u64,
}

/// Of the megabytes of `--max-file-size`: a terabyte.
const MAX_MB: u64 = 1 << 20;

impl ScanOptions {
    /// Reads one study: a two-frame file, a folder, or two files with a comma between them.
    pub fn read(&self, scan: &Path) -> Result<Study> {
        let max_file_bytes = self.max_file_size << 20;
        study::read(&paths(scan)?, &StudyOptions { views: self.views, single_view: self.single_view, max_file_bytes })
    }
}

/// The files of a scan argument. A comma separates two files, unless a file of that very name exists.
pub fn paths(scan: &Path) -> Result<Vec<PathBuf>> {
    // Names need not be UTF-8: a comma parts their bytes.
    let parts: Vec<&OsStr> = parted(scan.as_os_str());
    match parts[..] {
        [first, second] if !scan.exists() => Ok(vec![first.into(), second.into()]),
        [_, _, _, ..] if !scan.exists() => {
            Err(Error::file(scan, "names more than two files", "give the two views of one study as A,B"))
        }
        _ => Ok(vec![scan.to_owned()]),
    }
}

/// The pieces of a name between its commas.
fn parted(name: &OsStr) -> Vec<&OsStr> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        name.as_bytes().split(|byte| *byte == b',').map(OsStr::from_bytes).collect()
    }
    #[cfg(not(unix))]
    match name.to_str() {
        Some(text) => text.split(',').map(OsStr::new).collect(),
        None => vec![name],
    }
}

/// A short name for a scan: its last path component.
pub fn name(scan: &Path) -> String {
    text::plain(Path::new(scan.file_name().unwrap_or(scan.as_os_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_parts_two_files_unless_it_belongs_to_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a,b");
        std::fs::write(&odd, b"").unwrap();
        assert_eq!(paths(&odd).unwrap(), [odd]);
        assert_eq!(paths(Path::new("x.png,y.png")).unwrap(), [PathBuf::from("x.png"), PathBuf::from("y.png")]);
        assert!(paths(Path::new("x,y,z")).is_err());
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let both = [b"\xff/x".as_slice(), b"\xfe"].map(|name| PathBuf::from(OsStr::from_bytes(name)));
            assert_eq!(paths(Path::new(OsStr::from_bytes(b"\xff/x,\xfe"))).unwrap(), both);
            assert_eq!(name(&both[1]), "\"\\376\"");
        }
    }
}
