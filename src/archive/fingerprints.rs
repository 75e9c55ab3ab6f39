//! What the files of a manifest held when a run began, and whether one of them has been replaced since.
//!
//! A run whose cache is smaller than its archive reads its scans again in every epoch. Before and after each read the file system is
//! asked for the file's size, times and number; where one is not what it was, the bytes are hashed again.

use super::manifest::{Manifest, Row};
use crate::{Error, Result, dicom, files, interrupt};
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

/// The bytes of a manifest and of every file that it names: their hashes, and what the file system says of the files.
#[derive(Debug)]
pub struct Fingerprints {
    /// SHA-256 of the manifest (under its file name) and of every file that it names, as it names them.
    pub by_name: BTreeMap<String, String>,
    by_path: BTreeMap<PathBuf, Fingerprint>,
}

#[derive(Debug)]
struct Fingerprint {
    sha256: String,
    stamp: Stamp,
}

/// What the file system says of a file: other bytes have another stamp, the same bytes may have one too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    /// Of the last change. The time of change of the file's own entry cannot be set back, as that of its bytes can.
    time: Time,
    /// Device and number on it; on systems without such, zeros.
    file: [u64; 2],
}

#[cfg(unix)]
type Time = [i64; 4];
#[cfg(not(unix))]
type Time = Option<std::time::SystemTime>;

impl Stamp {
    fn of(path: &Path) -> Result<Self> {
        fs::metadata(path).map(|about| Stamp::from(&about)).map_err(|error| Error::io(path, "read", &error))
    }

    #[cfg(unix)]
    fn from(about: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let time = [about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec()];
        Stamp { size: about.size(), time, file: [about.dev(), about.ino()] }
    }

    #[cfg(not(unix))]
    fn from(about: &Metadata) -> Self {
        Stamp { size: about.len(), time: about.modified().ok(), file: [0; 2] }
    }

    /// `other size, other time, `
    fn differences(&self, other: &Stamp) -> String {
        let all = [("size", self.size != other.size), ("time", self.time != other.time), ("file", self.file != other.file)];
        all.iter().filter(|(_, differs)| *differs).map(|(name, _)| format!("other {name}, ")).collect()
    }
}

impl Manifest {
    /// The bytes of the manifest and of every file that it names, as they are now.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn fingerprints(&self) -> Result<Fingerprints> {
        let (mut by_name, mut by_path) = (BTreeMap::new(), BTreeMap::new());
        for path in self.rows.iter().flat_map(Row::files).chain([&*self.path]) {
            if !by_path.contains_key(path) {
                interrupt::check()?;
                let fingerprint = Fingerprint::of(path)?;
                by_name.insert(self.name_of(path), fingerprint.sha256.clone());
                by_path.insert(path.to_owned(), fingerprint);
            }
        }
        Ok(Fingerprints { by_name, by_path })
    }
}

impl Fingerprint {
    fn of(path: &Path) -> Result<Self> {
        // First, so that whatever happens to the file from here on gives it another.
        let stamp = Stamp::of(path)?;
        Ok(Fingerprint { sha256: files::sha256(&files::read_at_most(path, dicom::MAX_FILE_BYTES)?), stamp })
    }
}

impl Fingerprints {
    /// The hash of a file that the manifest names, by its path.
    pub fn sha256(&self, path: &Path) -> Option<&str> {
        self.by_path.get(path).map(|fingerprint| &*fingerprint.sha256)
    }

    /// Refuses a file that does not hold what it held then. One that the manifest does not name is passed over.
    ///
    /// # Errors
    /// It has been replaced or changed, or cannot be read.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        let Some(then) = self.by_path.get(path) else { return Ok(()) };
        let stamp = Stamp::of(path)?;
        if stamp == then.stamp || Fingerprint::of(path)?.sha256 == then.sha256 {
            return Ok(());
        }
        let problem = format!("has changed since the training began ({}other bytes)", then.stamp.differences(&stamp));
        Err(Error::file(path, problem, "restore it and go on with --resume, or start the run anew with --force"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    fn manifest(folder: &Path) -> Manifest {
        for name in ["a.png", "b.png"] {
            fs::write(folder.join(name), name).unwrap();
        }
        let path = folder.join("m.csv");
        fs::write(&path, "patient,anterior,posterior,label\n1,a.png,,NoMet\n2,b.png,,ADMet\n").unwrap();
        Manifest::read(path).unwrap()
    }

    #[test]
    fn every_file_is_named_and_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest(folder.path());
        let taken = manifest.fingerprints().unwrap();
        assert_eq!(taken.by_name.keys().collect::<Vec<_>>(), ["a.png", "b.png", "m.csv"]);
        assert_eq!(taken.by_name["b.png"], files::sha256(b"b.png"));
        assert_eq!(taken.sha256(&folder.path().join("./a.png")), Some(&*files::sha256(b"a.png")));
        assert_eq!(taken.sha256(Path::new("a.png")), None);
        fs::remove_file(folder.path().join("b.png")).unwrap();
        assert!(manifest.fingerprints().unwrap_err().to_string().contains("b.png: cannot be read"));
    }

    #[test]
    fn other_bytes_are_found_whatever_the_file_system_says_and_the_same_bytes_may_be_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest(folder.path());
        let taken = manifest.fingerprints().unwrap();
        let path = folder.path().join("a.png");
        let said = || taken.check(&path).map_err(|error| error.to_string());
        assert_eq!(said(), Ok(()));
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(said(), Ok(()), "another time, the same bytes");
        fs::write(folder.path().join("new"), "a.png").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(said(), Ok(()), "another file, the same bytes");

        fs::write(&path, "longer.png").unwrap();
        let longer = said().unwrap_err();
        assert!(longer.contains("a.png: has changed since the training began (other size, other time, "), "{longer}");
        assert!(
            longer.ends_with("other bytes); restore it and go on with --resume, or start the run anew with --force"),
            "{longer}"
        );
        fs::remove_file(&path).unwrap();
        assert!(said().unwrap_err().contains("a.png: cannot be read"));
        fs::write(&path, "a.png").unwrap();
        assert_eq!(said(), Ok(()), "restored");
    }

    /// Written in place, of the same size, and the time of the bytes set back.
    #[cfg(unix)]
    #[test]
    fn a_time_that_was_set_back_hides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let taken = manifest(folder.path()).fingerprints().unwrap();
        let path = folder.path().join("a.png");
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&path, "A.png").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
        let said = taken.check(&path).unwrap_err().to_string();
        assert!(said.contains("a.png: has changed since the training began (other time, other bytes)"), "{said}");
    }
}
