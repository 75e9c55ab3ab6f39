//! Folders and ZIP archives as lists of files, each read as far as it is wanted.
//!
//! Folders are followed into their folders, links to folders are not; a ZIP archive within is a file. Nothing of an archive is written
//! anywhere, and no more of an entry is inflated than is asked for.

use crate::text::Shown;
use crate::{Error, Result, files, interrupt};
use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, FileReader, RECOMMENDED_BUFFER_SIZE, ZipArchive, ZipArchiveEntryWayfinder};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Folders in folders: deeper than any medium's.
const MAX_DEPTH: usize = 32;

/// Files beside a scan: more than any examination has.
const MAX_FILES: usize = 200_000;

/// A folder or a ZIP archive.
pub(crate) struct Container {
    path: PathBuf,
    /// Of a ZIP archive.
    archive: Option<ZipArchive<FileReader>>,
    /// By name.
    pub files: Vec<Entry>,
}

/// A file in it.
pub(crate) struct Entry {
    /// Its path within the container.
    pub name: PathBuf,
    /// Where it is in an archive; none in a folder.
    packed: Option<Packed>,
}

struct Packed {
    place: ZipArchiveEntryWayfinder,
    method: CompressionMethod,
    is_encrypted: bool,
    length: u64,
}

/// Whether a file begins as ZIP archives do.
pub(crate) fn is_zip(path: &Path) -> bool {
    let mut start = [0; 4];
    path.is_file()
        && File::open(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok())
        && matches!(&start, b"PK\x03\x04" | b"PK\x05\x06")
}

impl Container {
    /// Lists a folder with its folders, or an archive.
    ///
    /// # Errors
    /// It cannot be read, or has more files than any examination.
    pub fn open(path: &Path) -> Result<Self> {
        let mut container = Container { path: path.to_owned(), archive: None, files: Vec::new() };
        if path.is_dir() {
            container.add_folder(Path::new(""), 0)?;
        } else {
            container.add_archive()?;
        }
        // Hidden files are those of file managers, and an index has no pixels.
        container.files.retain(|entry| {
            let name = entry.name.file_name().unwrap_or_default();
            !name.as_encoded_bytes().starts_with(b".") && !name.eq_ignore_ascii_case("DICOMDIR") && !files::is_temporary(name)
        });
        container.files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(container)
    }

    fn push(&mut self, entry: Entry) -> Result<()> {
        if self.files.len() == MAX_FILES {
            let problem = format!("holds more than {MAX_FILES} files");
            return Err(Error::file(&self.path, problem, "give the folder of one examination"));
        }
        self.files.push(entry);
        Ok(())
    }

    fn add_folder(&mut self, within: &Path, depth: usize) -> Result<()> {
        interrupt::check()?;
        let folder = self.path.join(within);
        if depth > MAX_DEPTH {
            let problem = format!("has more than {MAX_DEPTH} folders within each other");
            return Err(Error::file(&folder, problem, "give the folder of one examination"));
        }
        let unreadable = |error| Error::io(&folder, "read", &error);
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let (name, kind) = (within.join(entry.file_name()), entry.file_type().map_err(unreadable)?);
            if kind.is_dir() {
                self.add_folder(&name, depth + 1)?;
            } else if entry.path().is_file() {
                self.push(Entry { name, packed: None })?;
            }
        }
        Ok(())
    }

    fn add_archive(&mut self) -> Result<()> {
        let damaged = |_| {
            Error::file(
                &self.path,
                "is a ZIP archive that is cut short or damaged",
                "copy it again, or unpack it and give the folder",
            )
        };
        let file = File::open(&self.path).map_err(|error| Error::io(&self.path, "read", &error))?;
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        let archive = ZipArchive::from_file(file, &mut buffer).map_err(damaged)?;
        let mut found = Vec::new();
        let mut entries = archive.entries(&mut buffer);
        while let Some(entry) = entries.next_entry().map_err(damaged)? {
            if entry.is_dir() {
                continue;
            }
            if found.len() > MAX_FILES {
                break;
            }
            found.push(Entry {
                name: name_of(entry.file_path().as_bytes()),
                packed: Some(Packed {
                    place: entry.wayfinder(),
                    method: entry.compression_method(),
                    is_encrypted: entry.flags().is_encrypted(),
                    length: entry.uncompressed_size_hint(),
                }),
            });
        }
        self.archive = Some(archive);
        found.into_iter().try_for_each(|entry| self.push(entry))
    }

    /// The path of a file of it, for messages: in an archive as if that were a folder.
    pub fn path_of(&self, entry: &Entry) -> PathBuf {
        self.path.join(&entry.name)
    }

    /// A file of at most `limit` bytes, and how many it says it has. Of an archive it is never more than those.
    ///
    /// # Errors
    /// It cannot be read, is larger, or is encrypted or compressed in a way that few programs write.
    pub fn read(&self, entry: &Entry, limit: u64) -> Result<(Box<dyn Read + '_>, u64)> {
        let path = self.path_of(entry);
        let (Some(archive), Some(packed)) = (&self.archive, &entry.packed) else {
            let (file, length) = files::open_at_most(&path, limit)?;
            return Ok((Box::new(file), length));
        };
        let unpack = "unpack the archive and give the folder";
        if packed.length > limit {
            return Err(Error::file(&path, format!("has more than {} MB", limit >> 20), "give a smaller one"));
        }
        if packed.is_encrypted {
            return Err(Error::file(&path, "is encrypted", unpack));
        }
        let found = archive.get_entry(packed.place);
        let found =
            found.map_err(|_| Error::file(&path, "is cut short or damaged within its ZIP archive", "copy the archive again"))?;
        let bytes = BufReader::new(found.reader());
        // At their end the checksum is compared.
        let reader: Box<dyn Read> = match packed.method {
            CompressionMethod::STORE => Box::new(found.verifying_reader(bytes)),
            CompressionMethod::DEFLATE => Box::new(found.verifying_reader(DeflateDecoder::new(bytes))),
            _ => return Err(Error::file(&path, "is compressed in a way that Osteon does not read", unpack)),
        };
        Ok((reader, packed.length))
    }

    /// All bytes of a file of at most `limit`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn bytes(&self, entry: &Entry, limit: u64) -> Result<Vec<u8>> {
        let path = self.path_of(entry);
        let (reader, length) = self.read(entry, limit)?;
        let mut bytes = Vec::new();
        // An entry may be more than it says, and a file may have grown.
        let read = reader.take(length + 1).read_to_end(&mut bytes);
        match (read, &entry.packed) {
            (Ok(_), _) if bytes.len() as u64 == length => Ok(bytes),
            (Err(error), None) => Err(Error::io(&path, "read", &error)),
            (Ok(_), None) => Err(Error::file(&path, "has changed while it was read", "give it again when it is whole")),
            (_, Some(_)) => Err(damaged(&path)),
        }
    }

    /// Whether it is an archive.
    pub fn is_archive(&self) -> bool {
        self.archive.is_some()
    }
}

/// The entry of an archive at `path` is not what it says.
pub(super) fn damaged(path: &Path) -> Error {
    Error::file(path, "is cut short or damaged within its ZIP archive", "copy the archive again")
}

/// The name of an entry as a path below the archive's own: what leads out of it is left out.
fn name_of(bytes: &[u8]) -> PathBuf {
    let text = String::from_utf8_lossy(bytes);
    text.split(['/', '\\'])
        .filter(|part| !matches!(*part, "" | "." | ".."))
        .map(|part| part.replace(char::is_control, "\u{fffd}"))
        .collect()
}

/// Names of a list, of which a line has room for few.
pub(super) fn some_of(names: &[PathBuf]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).map(|name| name.shown()).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
