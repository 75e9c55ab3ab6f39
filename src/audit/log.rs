//! The files of a trace: `trace.json` says what was run, `trace.jsonl` has a line an operation, `tensors.safetensors` every value.
//!
//! The tensors are written as they come, and read one at a time: a trace may be larger than memory. Everything that is read is
//! checked first, so that what follows can trust lengths and values.

use crate::autograd::Op;
use crate::models::StudyCounts;
use crate::text::counted;
use crate::{Error, Result, files};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The version of the files that this program writes and reads.
pub const FORMAT: u32 = 1;

/// What was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the files of a trace.
    pub format: u32,
    /// Of the program.
    pub version: String,
    /// What no reader may miss.
    pub caveat: String,
    /// "inference" or "training step".
    pub run: String,
    /// The model's file name.
    pub model: String,
    /// SHA-256 of the model file.
    pub model_sha256: String,
    /// The network's name.
    pub architecture: String,
    /// What the model says that it was trained on.
    pub trained_on: String,
    /// How many studies that were, and how many of these are simulated; `None` of model files from before this was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_studies: Option<StudyCounts>,
    /// File names of the scan, each with the SHA-256 of the file.
    pub scan: BTreeMap<String, String>,
    /// Rows and columns of the network's input.
    pub input_size: [usize; 2],
    /// Instruction set.
    pub isa: String,
    /// Worker threads.
    pub threads: usize,
    /// Of each class; after a training step its probability before the step.
    pub probabilities: BTreeMap<String, f32>,
    /// The class that the training step was told.
    pub label: Option<String>,
    /// Loss of the training step.
    pub loss: Option<f32>,
    /// How long the run took without being recorded.
    pub milliseconds: f64,
    /// And recorded: hashed, summed up, drawn and written.
    pub recorded_milliseconds: f64,
    /// Lines of `trace.jsonl`.
    pub operations: usize,
    /// SHA-256 of `trace.jsonl`.
    pub operations_sha256: String,
}

/// How a line's values are computed; sizes follow from the shapes of inputs and result.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Equation {
    /// By an operation of the tape, or its gradient: its kind and its attributes.
    Operation(Op),
    /// By something else.
    Other(OtherEquation),
}

/// What a run does beside operations of the tape; its inputs and their order are in the comment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs)] // the fields are the field's terms
pub enum OtherEquation {
    /// Nothing: input, parameter, label, seed of the gradients.
    Given,
    /// statistics of the batch, running mean
    RunningMean { momentum: f32 },
    /// statistics of the batch, running variance
    RunningVariance { momentum: f32, pixels: usize },
    /// gradient, parameter; the first step, so that the moments before it are 0.
    Adam { learning_rate: f32, beta1: f32, beta2: f32, epsilon: f32, weight_decay: f32 },
}

impl Equation {
    /// Of what was not computed.
    pub const GIVEN: Equation = Equation::Other(OtherEquation::Given);

    /// The operation, if it is one.
    pub fn op(&self) -> Option<&Op> {
        match self {
            Equation::Operation(op) => Some(op),
            Equation::Other(_) => None,
        }
    }
}

impl<T: Into<Op>> From<T> for Equation {
    fn from(op: T) -> Self {
        Equation::Operation(op.into())
    }
}

/// Which of an operation's results a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The value itself.
    Output,
    /// What the forward pass keeps for the backward pass: statistics, where maxima were.
    Saved,
    /// The gradient of an input, counted from 0.
    Gradient(usize),
}

/// Type of a tensor's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Type {
    /// Values.
    F32,
    /// Labels, and where maxima were.
    U32,
}

/// What a tensor's values are like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Least finite value; none where there is none.
    pub min: Option<f64>,
    /// Largest finite value.
    pub max: Option<f64>,
    /// Mean of the finite values.
    pub mean: Option<f64>,
    /// Values that are not a number.
    pub nan: usize,
    /// Values that are infinite.
    pub infinite: usize,
}

impl Summary {
    /// Of these values.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let (mut min, mut max, mut sum, mut count) = (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0usize);
        let (mut nan, mut infinite) = (0, 0);
        for value in values {
            if value.is_finite() {
                (min, max, sum, count) = (min.min(value), max.max(value), sum + value, count + 1);
            } else if value.is_nan() {
                nan += 1;
            } else {
                infinite += 1;
            }
        }
        let some = |value: f64| (count > 0).then_some(value);
        Summary { min: some(min), max: some(max), mean: some(sum / count as f64), nan, infinite }
    }
}

/// One line of `trace.jsonl`: a tensor and how it came to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the order of execution, from 0, and its tensor's name.
    pub number: usize,
    /// What was done, in words.
    pub name: String,
    /// The layer that did it, or the parameter.
    pub layer: String,
    /// Which of the operation's results this is.
    pub part: Part,
    /// Where the equation is written.
    pub source: String,
    /// Numbers of the records whose tensors it read.
    pub inputs: Vec<usize>,
    /// Slowest dimension first.
    pub shape: Vec<usize>,
    /// Of its values.
    #[serde(rename = "type")]
    pub dtype: Type,
    /// How a convolution was computed.
    pub algorithm: Option<String>,
    /// Instruction set; none of what was not computed.
    pub isa: Option<String>,
    /// Multiplications, additions, divisions, roots and exponentials that the equation asks for.
    pub flops: u64,
    /// Bytes of all inputs and of the result.
    pub bytes: u64,
    /// How long the operation took.
    pub microseconds: f64,
    /// One pass computed this together with the result of that number, which has the time.
    pub computed_with: Option<usize>,
    /// What the values are like.
    #[serde(flatten)]
    pub summary: Summary,
    /// SHA-256 of the values as they are in the file, little-endian.
    pub sha256: String,
    /// What is computed.
    pub equation: Equation,
}

/// A tensor's values.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Of [`Type::F32`].
    Floats(Vec<f32>),
    /// Of [`Type::U32`].
    Indices(Vec<u32>),
}

/// The files of a trace, by name.
#[derive(Clone, Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// What was run.
    pub const HEADER: &str = "trace.json";
    /// A line an operation.
    pub const RECORDS: &str = "trace.jsonl";
    /// Every value.
    pub const TENSORS: &str = "tensors.safetensors";
    /// All of it, to look at.
    pub const PAGE: &str = "index.html";
    /// Feature maps in full size.
    pub const PICTURES: &str = "pictures";

    /// All of them.
    pub const FILES: [&str; 5] = [Self::HEADER, Self::RECORDS, Self::TENSORS, Self::PAGE, Self::PICTURES];

    /// A file of it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes everything but the tensors.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, header: &mut Header, records: &[Record]) -> Result<()> {
        let mut lines = Vec::new();
        for record in records {
            lines.extend(serde_json::to_vec(record).expect("plain values are JSON"));
            lines.push(b'\n');
        }
        (header.operations, header.operations_sha256) = (records.len(), files::sha256(&lines));
        files::write(self.file(Self::RECORDS), &lines)?;
        files::write(self.file(Self::HEADER), format!("{:#}\n", json!(header)).as_bytes())
    }

    /// Reads and checks header and records: numbers in order, each input before its reader.
    ///
    /// # Errors
    /// A file that is missing, cut off, damaged, or of another version.
    pub fn read(&self) -> Result<(Header, Vec<Record>)> {
        let path = self.file(Self::HEADER);
        let damaged = |path: &Path, problem: String| Error::file(path, problem, "run `osteon audit trace` again");
        if !self.0.is_dir() || !path.is_file() {
            return Err(Error::file(&self.0, "is not a trace", "give the --output folder of `osteon audit trace`"));
        }
        let header: Value = serde_json::from_slice(&files::read(&path)?)
            .map_err(|error| damaged(&path, format!("is not the head of a trace ({error})")))?;
        if header["format"] != json!(FORMAT) {
            return Err(damaged(&path, format!("has format {}, and this program reads {FORMAT}", header["format"])));
        }
        let header: Header =
            serde_json::from_value(header).map_err(|error| damaged(&path, format!("is not the head of a trace ({error})")))?;
        let path = self.file(Self::RECORDS);
        let bytes = files::read(&path)?;
        if files::sha256(&bytes) != header.operations_sha256 {
            let problem = format!("was cut off or changed: its SHA-256 is not the one in {}", Self::HEADER);
            return Err(damaged(&path, problem));
        }
        let mut records: Vec<Record> = Vec::new();
        for (at, line) in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
            let record: Record = serde_json::from_slice(line)
                .map_err(|error| damaged(&path, format!("line {} is no operation ({error})", at + 1)))?;
            if record.number != at || record.inputs.iter().any(|&input| input >= at) {
                return Err(damaged(&path, format!("line {} is out of order", at + 1)));
            }
            records.push(record);
        }
        if records.len() != header.operations {
            let problem = format!("has {}, and {} says {}", counted(records.len(), "operation"), Self::HEADER, header.operations);
            return Err(damaged(&path, problem));
        }
        Ok((header, records))
    }
}

/// Bytes kept free for the safetensors header, which stands before the tensors and is known after them. An entry takes about
/// 90: room for ten thousand tensors, ten times as many as a training step of the largest network has.
const HEADER_ROOM: u64 = 1 << 20;

/// A safetensors file that is written as its tensors come.
#[derive(Debug)]
pub struct TensorWriter {
    file: io::BufWriter<File>,
    entries: Map<String, Value>,
    written: u64,
}

impl TensorWriter {
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut file = io::BufWriter::with_capacity(1 << 20, File::create(path)?);
        file.seek(SeekFrom::Start(HEADER_ROOM))?;
        Ok(TensorWriter { file, entries: Map::new(), written: 0 })
    }

    /// Adds a tensor.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(&mut self, name: String, dtype: Type, shape: &[usize], bytes: &[u8]) -> io::Result<()> {
        let end = self.written + bytes.len() as u64;
        self.entries.insert(name, json!({ "dtype": dtype, "shape": shape, "data_offsets": [self.written, end] }));
        self.written = end;
        self.file.write_all(bytes)
    }

    /// Writes the header and flushes everything to disk.
    ///
    /// # Errors
    /// The file cannot be written; more tensors than there is room for in the header.
    pub fn finish(mut self) -> io::Result<()> {
        let mut header = Value::Object(self.entries).to_string().into_bytes();
        let room = (HEADER_ROOM - 8) as usize;
        if header.len() > room {
            return Err(io::Error::other(format!("{} bytes of names and shapes where {room} have room", header.len())));
        }
        header.resize(room, b' ');
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&(room as u64).to_le_bytes())?;
        self.file.write_all(&header)?;
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

/// The tensors of a trace, read one at a time.
#[derive(Debug)]
pub struct TensorReader {
    path: PathBuf,
    file: Mutex<File>,
    /// By number: where its bytes begin.
    begin: Vec<u64>,
}

/// As safetensors has it.
#[derive(Deserialize)]
struct Entry {
    dtype: Type,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

impl TensorReader {
    /// Checks that there is a tensor for each record, of its type and shape, and whole.
    ///
    /// # Errors
    /// A file that cannot be read, is cut off, or does not have these tensors.
    pub fn open(path: PathBuf, records: &[Record]) -> Result<Self> {
        let damaged = |problem: String| Error::file(&path, problem, "run `osteon audit trace` again");
        let unreadable = |error: io::Error| Error::io(&path, "read", &error);
        let mut file = File::open(&path).map_err(unreadable)?;
        let len = file.metadata().map_err(unreadable)?.len();
        let mut size = [0; 8];
        let cut_off = || damaged("is cut off".into());
        file.read_exact(&mut size).map_err(|_| cut_off())?;
        let size = u64::from_le_bytes(size);
        // The header's length is the file's word, so it is compared with the file before memory is asked for.
        let start = size.checked_add(8).filter(|&start| start <= len && size <= HEADER_ROOM).ok_or_else(cut_off)?;
        let mut header = vec![0; size as usize];
        file.read_exact(&mut header).map_err(|_| cut_off())?;
        let entries: BTreeMap<String, Entry> =
            serde_json::from_slice(&header).map_err(|error| damaged(format!("is no safetensors file of a trace ({error})")))?;
        let mut begin = Vec::with_capacity(records.len());
        for record in records {
            let Some(entry) = entries.get(&record.number.to_string()) else {
                return Err(damaged(format!("has no tensor `{}`", record.number)));
            };
            let misfit = || damaged(format!("tensor `{}` is not the one that {} describes", record.number, Folder::RECORDS));
            let values = entry.shape.iter().try_fold(4u64, |product, &side| product.checked_mul(side as u64));
            let bytes = values.ok_or_else(misfit)?;
            let [first, end] = entry.data_offsets;
            if entry.shape != record.shape || entry.dtype != record.dtype || end.checked_sub(first) != Some(bytes) {
                return Err(misfit());
            }
            let place = start.checked_add(first).zip(start.checked_add(end)).filter(|&(_, end)| end <= len);
            begin.push(place.ok_or_else(cut_off)?.0);
        }
        Ok(TensorReader { path, file: Mutex::new(file), begin })
    }

    /// Where the tensor of a record begins in the file.
    #[cfg(test)]
    pub fn place(&self, number: usize) -> u64 {
        self.begin[number]
    }

    /// The tensor of a record, as little-endian bytes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn bytes(&self, record: &Record) -> Result<Vec<u8>> {
        let mut bytes = vec![0; 4 * record.shape.iter().product::<usize>()];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.begin[record.number]))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| Error::io(&self.path, "read", &error))?;
        Ok(bytes)
    }
}

impl Values {
    /// From a file's bytes.
    pub fn from_bytes(dtype: Type, bytes: &[u8]) -> Self {
        let words = bytes.as_chunks::<4>().0.iter();
        match dtype {
            Type::F32 => Values::Floats(words.map(|&word| f32::from_le_bytes(word)).collect()),
            Type::U32 => Values::Indices(words.map(|&word| u32::from_le_bytes(word)).collect()),
        }
    }

    /// As f64.
    pub fn wide(&self) -> Vec<f64> {
        match self {
            Values::Floats(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Values::Indices(values) => values.iter().map(|&value| f64::from(value)).collect(),
        }
    }

    /// What they are like.
    pub fn summary(&self) -> Summary {
        match self {
            Values::Floats(values) => Summary::of(values.iter().map(|&value| f64::from(value))),
            Values::Indices(values) => Summary::of(values.iter().map(|&value| f64::from(value))),
        }
    }
}
