//! Named tensors in a safetensors file, checked as they are read and written in one order, so that equal contents are equal
//! bytes.

use crate::files::{self, Kind};
use crate::{Error, Result};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The largest file that is read. All tensors of a training step of the largest network are smaller.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// The longest header that is read; that of a checkpoint of the largest network has 60 KB, and a trace's a megabyte.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// A safetensors file in memory.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    bytes: Vec<u8>,
    /// By name: type, shape, place in `bytes`.
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Range<usize>)>,
    metadata: BTreeMap<String, String>,
}

impl TensorFile {
    /// Reads a file whole. The sizes that it declares are checked against its length.
    ///
    /// # Errors
    /// A file that cannot be read, is no safetensors file, or is truncated.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Kind::expect_weights(path)?;
        TensorFile::from_bytes(path, files::read_at_most(path, MAX_FILE_BYTES)?)
    }

    /// A safetensors file that is in memory already; `path` is what errors name.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        if let Some(kind) = Kind::of(&bytes).filter(|kind| *kind != Kind::Safetensors) {
            return Err(kind.refuse_as_weights(path));
        }
        let path = path.to_owned();
        let damaged = |why: &dyn std::fmt::Display| {
            let problem = format!("is not a whole safetensors file ({why})");
            Error::file(
                &path,
                problem,
                "compare its size with that where it came from, and get it anew if it was cut off, or give another",
            )
        };
        // As JSON it takes several times its length in memory.
        let length = bytes.first_chunk().map_or(0, |&length| u64::from_le_bytes(length));
        if length > MAX_HEADER_BYTES {
            return Err(damaged(&format!("its header claims {length} bytes")));
        }
        let (header_len, header) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(&error))?;
        let start = header_len + size_of::<u64>();
        let tensors = header.tensors().into_iter().map(|(name, info)| {
            let (from, to) = info.data_offsets;
            (name, (info.dtype, info.shape.clone(), start + from..start + to))
        });
        let tensors = tensors.collect();
        let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(TensorFile { path, bytes, tensors, metadata })
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The names and shapes of its tensors, sorted by name.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, (_, shape, _))| (name.as_str(), &shape[..]))
    }

    /// The tensors whose names begin with `prefix`, under the rest of their names; the others are left out.
    ///
    /// # Errors
    /// No name begins with it.
    pub fn within(mut self, prefix: &str) -> Result<Self> {
        let all = std::mem::take(&mut self.tensors);
        let example = all.keys().next().map_or("it has no tensor".to_owned(), |name| format!("one is called `{name}`"));
        let inside =
            |(name, tensor): (String, _)| Some((name.strip_prefix(prefix).filter(|name| !name.is_empty())?.to_owned(), tensor));
        self.tensors = all.into_iter().filter_map(inside).collect();
        match self.tensors.is_empty() {
            true => {
                let problem = format!("has no tensor whose name begins with `{prefix}` ({example})");
                Err(Error::file(&self.path, problem, "correct the prefix, or leave it out"))
            }
            false => Ok(self),
        }
    }

    /// Its text metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Shape and values of a float32 tensor, all of them finite.
    ///
    /// # Errors
    /// A tensor that is missing, of another type, or has NaN or infinite values.
    pub fn floats(&self, name: &str) -> Result<(&[usize], Vec<f32>)> {
        let (shape, bytes) = self.float_bytes(name)?;
        Ok((shape, bytes.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()))
    }

    /// As [`floats`](Self::floats) with the values as they stand in the file, little-endian.
    ///
    /// # Errors
    /// As [`floats`](Self::floats).
    pub fn float_bytes(&self, name: &str) -> Result<(&[usize], &[[u8; 4]])> {
        let (shape, bytes) = self.raw(name, Dtype::F32, "float32")?;
        let bytes = bytes.as_chunks().0;
        if let Some(at) = bytes.iter().position(|&bytes| !f32::from_le_bytes(bytes).is_finite()) {
            let problem = format!("`{name}` holds {} at position {at}", f32::from_le_bytes(bytes[at]));
            return Err(Error::file(&self.path, problem, "take weights from before the training diverged"));
        }
        Ok((shape, bytes))
    }

    /// Shape and values of an int64 tensor.
    ///
    /// # Errors
    /// A tensor that is missing or of another type.
    pub fn integers(&self, name: &str) -> Result<(&[usize], Vec<i64>)> {
        let (shape, bytes) = self.raw(name, Dtype::I64, "int64")?;
        Ok((shape, bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()))
    }

    fn raw(&self, name: &str, expected: Dtype, called: &str) -> Result<(&[usize], &[u8])> {
        let Some((dtype, shape, place)) = self.tensors.get(name) else {
            return Err(Error::file(
                &self.path,
                format!("has no tensor `{name}`"),
                "give the file that has it, or write it into this one",
            ));
        };
        if *dtype != expected {
            let problem = format!("`{name}` has type {dtype} where {called} was expected");
            return Err(Error::file(&self.path, problem, format!("save it as {called}, in PyTorch by `.to(torch.{called})`")));
        }
        Ok((shape, &self.bytes[place.clone()]))
    }
}

/// Writes float32 tensors, by name, and text metadata. The same contents give the same bytes: the library's writer would put
/// the metadata in the random order of a hash map.
///
/// # Errors
/// A file that cannot be written; what stood there before is unchanged.
pub fn write(
    path: impl AsRef<Path>,
    metadata: &BTreeMap<String, String>,
    tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>,
) -> Result<()> {
    files::write(path, &to_bytes(metadata, tensors))
}

/// The bytes that [`write()`] writes.
pub fn to_bytes(metadata: &BTreeMap<String, String>, tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Vec<u8> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut offset = 0;
    for (name, (shape, values)) in tensors {
        let end = offset + size_of_val(&values[..]);
        header.insert(name.clone(), json!({ "dtype": "F32", "shape": shape, "data_offsets": [offset, end] }));
        offset = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' '); // the tensors are aligned to eight bytes
    let mut bytes = Vec::with_capacity(8 + header.len() + offset);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header);
    for (_, values) in tensors.values() {
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes
}
