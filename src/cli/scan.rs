//! How a scan is named on the command line, for every command that reads scans.

use crate::dicom;
use crate::image::View;
use crate::intake::study::{self, Cell, StudyOptions};
use crate::intake::{Intake, Study};
use crate::text::{self, Shown};
use crate::{Error, Result};
use clap::{Args, value_parser};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// How to read scans.
#[derive(Args)]
pub struct ScanOptions {
    /// Which side each view shows, in the order of frames or files, where the files do not say so themselves or contradict
    /// themselves: anterior,posterior or posterior,anterior.
    #[arg(long, value_name = "VIEW,VIEW", value_parser = study::parse_views)]
    views: Option<[View; 2]>,
    /// Accept a scan of one view.
    #[arg(long)]
    single_view: bool,
    /// The scans are black on white: the greatest value becomes none (255 minus a value, in pictures of 8 bits).
    #[arg(long)]
    inverted: bool,
    /// Take the images for a whole-body bone scan whatever their headers and pixels look like.
    #[arg(long)]
    any_image: bool,
    /// Refuse a file that is larger than this, in megabytes of 1024 * 1024 bytes, from 1 to 1048576, before it is read.
    #[arg(long, value_name = "MB", default_value_t = dicom::MAX_FILE_BYTES >> 20, value_parser = value_parser!(u64).range(1..=MAX_MB))]
    max_file_size: u64,
}

/// Of the megabytes of `--max-file-size`: a terabyte.
const MAX_MB: u64 = 1 << 20;

impl ScanOptions {
    /// Reads one study: a two-frame file, a folder or ZIP archive, or two files with a comma between them. [`notes`] has what to say of it.
    pub fn read(&self, scan: &Path) -> Result<Study> {
        let max_file_bytes = self.max_file_size << 20;
        let ScanOptions { views, single_view, inverted, any_image, .. } = *self;
        study::read(&paths(scan)?, &StudyOptions { views, single_view, inverted, any_image, max_file_bytes })
    }
}

/// The files of a scan argument. A comma separates two files; it belongs to a name where a file of that very name exists, and of
/// several commas that one separates which has a file on both its sides.
pub fn paths(scan: &Path) -> Result<Vec<PathBuf>> {
    let parts: Vec<&OsStr> = parted(scan.as_os_str());
    if parts.len() == 1 || is_there(scan) {
        return Ok(vec![scan.to_owned()]);
    }
    let joined = |parts: &[&OsStr]| PathBuf::from(parts.join(OsStr::new(",")));
    let mut pairs: Vec<[PathBuf; 2]> = (1..parts.len()).map(|at| [joined(&parts[..at]), joined(&parts[at..])]).collect();
    if pairs.len() > 1 {
        pairs.retain(|pair| pair.iter().all(|path| is_there(path)));
    }
    match &pairs[..] {
        [pair] => Ok(pair.to_vec()),
        [] => {
            Err(Error::file(scan, "names no two files that are there", "check the paths; give the two views of one study as A,B"))
        }
        _ => Err(Error::file(scan, "can be read as more than one pair of files", "rename them without commas")),
    }
}

/// Whether a path, or the file of a path with a frame (`file.dcm#2`), is there.
fn is_there(path: &Path) -> bool {
    path.exists() || Cell::existing(path).is_ok_and(|cell| cell.path.exists())
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

/// What a user has to know of how a study was read: what was left out of a folder, and how files differ from what they should be.
pub fn notes(intake: &Intake) -> Vec<String> {
    let left_out = intake.left_out.iter().map(|(folder, left_out)| format!("{}: left out {left_out}", folder.shown()));
    left_out.chain(intake.notes.iter().cloned()).collect()
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
        let [one, other] = ["bed 2, a", "bed 2, p#1"].map(|name| folder.path().join(name));
        std::fs::write(&one, b"").unwrap();
        std::fs::write(folder.path().join("bed 2, p"), b"").unwrap();
        let pair = format!("{},{}", one.display(), other.display());
        assert_eq!(paths(Path::new(&pair)).unwrap(), [one, other]);
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            let both = [b"\xff/x".as_slice(), b"\xfe"].map(|name| PathBuf::from(OsStr::from_bytes(name)));
            assert_eq!(paths(Path::new(OsStr::from_bytes(b"\xff/x,\xfe"))).unwrap(), both);
            assert_eq!(name(&both[1]), "\"\\376\"");
        }
    }
}
