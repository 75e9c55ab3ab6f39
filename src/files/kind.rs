//! What a file is by its first bytes, whatever its name says: for messages about a file that stands in another's place.

use crate::text::{Shown, shell_word};
use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// So much of a file's beginning and of its end is looked at: a ZIP's list of names is at its end.
const LOOKED_AT: usize = 1 << 16;

/// A kind of file that is met where a model, weights or a table is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No byte.
    Empty,
    /// Zeros alone, as a download that was never finished leaves them.
    Zeros,
    /// A header's length and JSON: perhaps a model.
    Safetensors,
    /// A run's checkpoint.
    Checkpoint,
    /// `torch.save` since PyTorch 1.6: a ZIP with `data.pkl`.
    TorchZip,
    /// `torch.jit.save`: the same with code.
    TorchScript,
    /// `torch.save` before: pickles, a magic number the first.
    TorchPickle,
    /// A pickle of something else.
    Pickle,
    /// One array of numpy.
    Npy,
    /// A ZIP of them.
    Npz,
    /// HDF5, or a ZIP with it: Keras.
    Keras,
    /// Protobuf of ONNX.
    Onnx,
    /// A model of another engine, by its name.
    OtherModel(&'static str),
    /// A packed file: its name, and the command that unpacks it, with `FILE` for the file.
    Packed(&'static str, &'static str),
    /// A workbook of a spreadsheet.
    Workbook,
    /// A page for a browser.
    Html,
    /// The list of the files that weights are spread over.
    WeightIndex,
    /// JSON.
    Json,
    /// XML.
    Xml,
    /// What git has in place of a file that git-lfs keeps.
    GitLfs,
    /// The same of git-annex.
    GitAnnex,
    /// DICOM, with its preamble or without.
    Dicom,
    /// A PNG or JPEG, by name.
    Picture(&'static str),
    /// A PDF.
    Pdf,
    /// Text of no kind above.
    Text,
}

/// What a file begins with, and what it is then.
const MAGIC: [(&[u8], Kind); 21] = [
    (b"OSTEONCP", Kind::Checkpoint),
    (b"\x89PNG\r\n\x1a\n", Kind::Picture("PNG")),
    (b"\xff\xd8\xff", Kind::Picture("JPEG")),
    (b"\x93NUMPY", Kind::Npy),
    (b"\x89HDF\r\n\x1a\n", Kind::Keras),
    // The long integer 0x1950a86a20f9469cfc6c.
    (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", Kind::TorchPickle),
    (b"\x80\x02", Kind::Pickle),
    (b"\x80\x03", Kind::Pickle),
    (b"\x80\x04", Kind::Pickle),
    (b"\x80\x05", Kind::Pickle),
    (b"GGUF", Kind::OtherModel("GGUF")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind::Workbook),
    (b"%PDF", Kind::Pdf),
    (b"BZh", Kind::Packed("bzip2", "bunzip2 --keep FILE")),
    (b"\xfd7zXZ\0", Kind::Packed("xz", "unxz --keep FILE")),
    (b"\x28\xb5\x2f\xfd", Kind::Packed("zstd", "unzstd FILE")),
    (b"7z\xbc\xaf\x27\x1c", Kind::Packed("7z", "7z x FILE")),
    (b"Rar!\x1a\x07", Kind::Packed("RAR", "unrar x FILE")),
    (b"%!PS", Kind::Pdf),
    (b"version https://git-lfs.github.com/", Kind::GitLfs),
    (b"version https://hawser.github.com/", Kind::GitLfs),
];

const TAR: Kind = Kind::Packed("tar", "tar -xf FILE");

/// Weights of PyTorch to safetensors: the dictionary of tensors, or that in a training program's checkpoint, of which everything else is
/// left out; on the processor, float32, each tensor alone in its memory. The quotes are those that a POSIX shell and Windows' both read.
const FROM_TORCH: &str = "python3 -c \"import sys, torch; from safetensors.torch import save_file; \
    w = torch.load(sys.argv[1], map_location='cpu', weights_only=True); \
    w = next((w[k] for k in ('state_dict', 'model_state_dict', 'model', 'net', 'weights') if isinstance(w.get(k), dict)), w); \
    save_file({k: v.detach().float().clone().contiguous() for k, v in w.items() if torch.is_tensor(v)}, sys.argv[2])\"";

/// The same of a compiled module.
const FROM_TORCHSCRIPT: &str = "python3 -c \"import sys, torch; from safetensors.torch import save_file; \
    w = torch.jit.load(sys.argv[1], map_location='cpu').state_dict(); \
    save_file({k: v.detach().float().clone().contiguous() for k, v in w.items()}, sys.argv[2])\"";

/// The same of numpy's arrays.
const FROM_NPZ: &str = "python3 -c \"import sys, numpy as n; from safetensors.numpy import save_file; \
    w = n.load(sys.argv[1]); save_file({k: n.ascontiguousarray(w[k], n.float32) for k in w.files}, sys.argv[2])\"";

/// The same of the files that an index names.
const FROM_INDEX: &str = "python3 -c \"import sys, json, os; from safetensors.torch import load_file, save_file; \
    d = os.path.dirname(sys.argv[1]); f = sorted(set(json.load(open(sys.argv[1]))['weight_map'].values())); \
    save_file({k: v.float() for n in f for k, v in load_file(os.path.join(d, n)).items()}, sys.argv[2])\"";

impl Kind {
    /// What these bytes of a whole file are; `None` where they are nothing that is known.
    pub fn of(bytes: &[u8]) -> Option<Kind> {
        let (start, end) = (&bytes[..bytes.len().min(LOOKED_AT)], &bytes[bytes.len().saturating_sub(LOOKED_AT)..]);
        Kind::of_ends(start, end)
    }

    /// What a file is; `None` also where it cannot be read.
    pub fn of_file(path: impl AsRef<Path>) -> Option<Kind> {
        // Opening a pipe would wait for its writer.
        let length = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?.len();
        let mut file = File::open(path).ok()?;
        let mut part = |from: u64| {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(from)).ok()?;
            (&mut file).take(LOOKED_AT as u64).read_to_end(&mut bytes).ok()?;
            Some(bytes)
        };
        Kind::of_ends(&part(0)?, &part(length.saturating_sub(LOOKED_AT as u64))?)
    }

    fn of_ends(start: &[u8], end: &[u8]) -> Option<Kind> {
        if start.is_empty() {
            return Some(Kind::Empty);
        }
        // A header of less than 4 GB, which is an object of JSON.
        if matches!(start, [_, _, _, _, 0, 0, 0, 0, b'{', ..]) {
            return Some(Kind::Safetensors);
        }
        let by_magic = MAGIC.iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, kind)| *kind);
        by_magic.or_else(|| match start {
            [b'P', b'K', 3 | 5, 4 | 6, ..] => Some(zip(start, end)),
            [0x1f, 0x8b, ..] => Some(match gzip_start(start).is_some_and(|inside| is_tar(&inside)) {
                true => Kind::Packed("tar.gz", "tar -xzf FILE"),
                false => Kind::Packed("gzip", "gzip -dc FILE > UNPACKED"),
            }),
            [_, _, _, _, b'T', b'F', b'L', b'3', ..] => Some(Kind::OtherModel("TensorFlow Lite")),
            _ if start.get(128..132) == Some(b"DICM") || is_bare_dicom(start) => Some(Kind::Dicom),
            _ if is_tar(start) => Some(TAR),
            // The version of its format, then the program's name, domain, version, text, graph or sets of operators.
            [0x08, 3..=40, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..] => Some(Kind::Onnx),
            _ if start.len() > 8 && start.iter().chain(end).all(|byte| *byte == 0) => Some(Kind::Zeros),
            _ => text(start),
        })
    }

    /// What a file of this kind is, in words that follow "is".
    fn name(self) -> String {
        match self {
            Kind::Empty => "empty".into(),
            Kind::Zeros => "nothing but zeros, as an unfinished download leaves them".into(),
            Kind::Safetensors => "a model file (safetensors)".into(),
            Kind::Checkpoint => "a checkpoint of a run".into(),
            Kind::TorchZip => "a file of torch.save (a ZIP with a pickle in it)".into(),
            Kind::TorchScript => "a TorchScript module (torch.jit.save)".into(),
            Kind::TorchPickle => "a file of torch.save before PyTorch 1.6 (pickles)".into(),
            Kind::Pickle => "a pickle of Python".into(),
            Kind::Npy => "one array of numpy (.npy)".into(),
            Kind::Npz => "an archive of numpy arrays (.npz)".into(),
            Kind::Keras => "HDF5, as Keras writes its weights".into(),
            Kind::Onnx => "an ONNX model".into(),
            Kind::OtherModel(name) => format!("a {name} model"),
            Kind::Packed(name, _) => format!("a {name} archive"),
            Kind::Workbook => "a workbook of Excel".into(),
            Kind::Html => "an HTML page: the download gave a web page in place of the file".into(),
            Kind::WeightIndex => "the index of weights that are spread over several files".into(),
            Kind::Json => "JSON text".into(),
            Kind::Xml => "XML text".into(),
            Kind::GitLfs => "a git-lfs pointer, which stands for the file in a git repository".into(),
            Kind::GitAnnex => "a git-annex pointer, which stands for the file in a git repository".into(),
            Kind::Dicom => "a DICOM file".into(),
            Kind::Picture(name) => format!("a {name} picture"),
            Kind::Pdf => "a document for a printer".into(),
            Kind::Text => "a text file".into(),
        }
    }

    /// What to do about a file that anything else was wanted in place of.
    fn way_out(self, path: &Path) -> Option<String> {
        let word = shell_word(&path.shown());
        Some(match self {
            Kind::Empty | Kind::Zeros => "get it anew from where it came from, and compare its size".into(),
            Kind::Html => {
                "download it by the link to the file itself: on GitHub `raw`, on Hugging Face `resolve`, in place of `blob`"
                    .into()
            }
            Kind::GitLfs => "run `git lfs pull` in the folder of the repository".into(),
            Kind::GitAnnex => format!("run `git annex get {word}` in the repository"),
            Kind::Packed(_, command) => format!("unpack it with `{}` and give what was in it", command.replace("FILE", &word)),
            _ => return None,
        })
    }

    /// Refuses, unread, a file that is certainly no model and no weights: such files may be larger than any model.
    ///
    /// # Errors
    /// The sentence of [`refuse_as_weights`](Self::refuse_as_weights).
    pub fn expect_weights(path: &Path) -> Result<()> {
        match Kind::of_file(path) {
            Some(kind) if kind != Kind::Safetensors => Err(kind.refuse_as_weights(path)),
            _ => Ok(()),
        }
    }

    /// The sentence about a file that is no model and no weights.
    pub fn refuse_as_weights(self, path: &Path) -> Error {
        const FILE: &str = "a file .safetensors, as `osteon train` and `osteon model import` write it";
        let convert = |command: &str| {
            let target = path.with_extension("safetensors");
            let target = if target == path { path.with_extension("converted.safetensors") } else { target };
            let (from, to) = (shell_word(&path.shown()), shell_word(&target.shown()));
            format!(
                "convert it with `{command} {from} {to}`, which needs the Python packages of its imports, and give {}",
                target.shown()
            )
        };
        let remedy = self.way_out(path).unwrap_or_else(|| match self {
            Kind::TorchZip | Kind::TorchPickle => convert(FROM_TORCH),
            Kind::TorchScript => convert(FROM_TORCHSCRIPT),
            Kind::Npz => convert(FROM_NPZ),
            Kind::WeightIndex => convert(FROM_INDEX),
            Kind::Pickle => "write the tensors in it by safetensors.torch.save_file where it was made, and give that file".into(),
            Kind::Npy => "write all arrays by their names into one file with safetensors.numpy.save_file, and give that".into(),
            Kind::Keras => {
                "write its arrays with safetensors.numpy.save_file in PyTorch's shapes (out, in, rows, columns), under the \
                names that `osteon model info` lists"
                    .into()
            }
            Kind::Onnx | Kind::OtherModel(_) => {
                "give the .safetensors that it was exported from, or write the weights of the network \
                in PyTorch with safetensors.torch.save_file"
                    .into()
            }
            Kind::Json | Kind::Xml => {
                format!("read in it why a server refused the download, if that wrote it, and download it again, or give {FILE}")
            }
            Kind::Dicom | Kind::Picture(_) => "give the model first, then the scans, as in `osteon predict MODEL SCAN`".into(),
            Kind::Checkpoint => "give the run's folder, or model.safetensors in it".into(),
            _ => format!("give {FILE}"),
        });
        let problem = match self {
            Kind::Html | Kind::GitLfs | Kind::GitAnnex | Kind::Empty | Kind::Zeros => format!("is {}", self.name()),
            _ => format!("is {}, and a model or its weights are wanted here", self.name()),
        };
        Error::file(path, problem, remedy)
    }

    /// The sentence about a file that is certainly no table of studies; `None` of text, which a table is.
    pub fn refuse_as_manifest(self, path: &Path) -> Option<Error> {
        const TABLE: &str = "a manifest, the table of studies (CSV with the columns patient, anterior, posterior and label)";
        let remedy = match self {
            Kind::Empty | Kind::Text | Kind::Json | Kind::Xml | Kind::WeightIndex => return None,
            Kind::Workbook => "save it from Excel as `CSV UTF-8`, and give that".to_owned(),
            Kind::Safetensors => format!("give {TABLE}; `osteon predict` takes a model"),
            Kind::Dicom | Kind::Picture(_) => format!("give {TABLE} that lists the scan"),
            other => other.way_out(path).unwrap_or_else(|| format!("give {TABLE}")),
        };
        Some(Error::file(path, format!("is {}, and a manifest is wanted here", self.name()), remedy))
    }
}

/// What a ZIP is by the names in it.
fn zip(start: &[u8], end: &[u8]) -> Kind {
    let holds = |name: &[u8]| [start, end].iter().any(|part| part.windows(name.len()).any(|window| window == name));
    match () {
        () if holds(b"data.pkl") && (holds(b"constants.pkl") || holds(b"/code/")) => Kind::TorchScript,
        () if holds(b"data.pkl") => Kind::TorchZip,
        () if holds(b"xl/workbook") || holds(b"opendocument.spreadsheet") => Kind::Workbook,
        () if holds(b"model.weights.h5") => Kind::Keras,
        () if holds(b".npy") => Kind::Npz,
        () => Kind::Packed("ZIP", "unzip FILE"),
    }
}

/// The first bytes of what is packed.
fn gzip_start(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut inside = Vec::new();
    // An error behind these bytes does not matter.
    let _ = flate2::read::GzDecoder::new(bytes).take(512).read_to_end(&mut inside);
    (!inside.is_empty()).then_some(inside)
}

fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

/// Whether a data set begins without preamble: an early element of group 0002 or 0008, its VR of two capitals or its length.
fn is_bare_dicom(bytes: &[u8]) -> bool {
    let &[2 | 8, 0, _, 0, a, b, c, d, ..] = bytes else { return false };
    (a.is_ascii_uppercase() && b.is_ascii_uppercase()) || (1..=1024).contains(&u32::from_le_bytes([a, b, c, d]))
}

/// What text is; `None` of what is none.
fn text(start: &[u8]) -> Option<Kind> {
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The last character may be cut, and a page may be of another encoding.
        Err(error) => {
            let valid = std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default();
            if error.error_len().is_some() && !valid.trim_start().starts_with('<') {
                return None;
            }
            valid
        }
    };
    if valid.is_empty() || valid.contains(|c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\x0c' | '\x1b')) {
        return None;
    }
    let text = valid.trim_start_matches('\u{feff}').trim_start();
    let lower: String = text.chars().take(4096).collect::<String>().to_ascii_lowercase();
    let markup = lower.starts_with('<');
    Some(match lower.chars().next() {
        _ if lower.starts_with("/annex/objects/") || lower.contains(".git/annex/objects/") && lower.lines().count() < 3 => {
            Kind::GitAnnex
        }
        _ if markup && ["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| lower.contains(tag)) => Kind::Html,
        Some('<') => Kind::Xml,
        Some('{') if text.contains("\"weight_map\"") => Kind::WeightIndex,
        Some('{' | '[') => Kind::Json,
        _ => Kind::Text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ZIP of empty files, without compression: local headers, the list of names, its end.
    fn zip_of(names: &[&str]) -> Vec<u8> {
        let (mut bytes, mut list) = (Vec::new(), Vec::new());
        for name in names {
            let at = bytes.len() as u32;
            bytes.extend(b"PK\x03\x04\x14\0");
            bytes.extend([0; 20]);
            bytes.extend((name.len() as u16).to_le_bytes());
            bytes.extend([0; 2]);
            bytes.extend(name.bytes());
            list.extend(b"PK\x01\x02\x14\0\x14\0");
            list.extend([0; 20]);
            list.extend((name.len() as u16).to_le_bytes());
            list.extend([0; 12]);
            list.extend(at.to_le_bytes());
            list.extend(name.bytes());
        }
        let (start, length) = (bytes.len() as u32, list.len() as u32);
        bytes.extend(list);
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([(names.len() as u16).to_le_bytes(); 2].concat());
        bytes.extend([length.to_le_bytes(), start.to_le_bytes()].concat());
        bytes.extend([0; 2]);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    fn tar() -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[..4].copy_from_slice(b"file");
        bytes[257..263].copy_from_slice(b"ustar\0");
        bytes
    }

    fn cases() -> Vec<(Vec<u8>, Kind, &'static str)> {
        let torch_pickle = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
        let mut dicom = vec![0; 128];
        dicom.extend(b"DICM\x02\0\0\0UL\x04\0");
        let text = |text: &str| text.as_bytes().to_vec();
        let big = |name: &str| {
            // Names stand behind 200 KB of weights.
            let mut bytes = zip_of(&["a/version"]);
            bytes.extend(vec![7; 200_000]);
            bytes.extend(zip_of(&[name]));
            bytes
        };
        vec![
            (Vec::new(), Kind::Empty, "is empty; get it anew"),
            (vec![0; 5000], Kind::Zeros, "nothing but zeros"),
            (zip_of(&["archive/data.pkl", "archive/version"]), Kind::TorchZip, "weights_only=True"),
            (big("archive/data.pkl"), Kind::TorchZip, "save_file"),
            (zip_of(&["m/data.pkl", "m/code/__torch__.py", "m/constants.pkl"]), Kind::TorchScript, "torch.jit.load"),
            (torch_pickle, Kind::TorchPickle, "torch.load"),
            (b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94.".to_vec(), Kind::Pickle, "pickle of Python"),
            (b"\x93NUMPY\x01\0v\0{'descr'".to_vec(), Kind::Npy, "numpy.save_file"),
            (zip_of(&["fc.bias.npy"]), Kind::Npz, "w.files"),
            (b"\x89HDF\r\n\x1a\n\0\0\0".to_vec(), Kind::Keras, "Keras"),
            (zip_of(&["metadata.json", "model.weights.h5"]), Kind::Keras, "Keras"),
            (b"\x08\x07\x12\x07pytorch\x1a\x051.9.0".to_vec(), Kind::Onnx, "is an ONNX model"),
            (b"\x1c\0\0\0TFL3\x14\0".to_vec(), Kind::OtherModel("TensorFlow Lite"), "TensorFlow Lite"),
            (gzip(b"weights"), Kind::Packed("gzip", "gzip -dc FILE > UNPACKED"), "`gzip -dc 'my weights.pth' > UNPACKED`"),
            (gzip(&tar()), Kind::Packed("tar.gz", "tar -xzf FILE"), "`tar -xzf 'my weights.pth'`"),
            (tar(), TAR, "`tar -xf "),
            (zip_of(&["IM0"]), Kind::Packed("ZIP", "unzip FILE"), "`unzip "),
            (zip_of(&["xl/workbook.xml"]), Kind::Workbook, "a workbook of Excel"),
            (text("\u{feff}\n <!DOCTYPE html><p>"), Kind::Html, "is an HTML page"),
            (b"<!-- --><html><title>Zugang f\xfcr".to_vec(), Kind::Html, "is an HTML page"),
            (text("<?xml version=\"1.0\"?>\n<!-- x --><HTML lang=\"en\">"), Kind::Html, "gave a web page"),
            (text("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"), Kind::Xml, "is XML text"),
            (text("{\"error\": \"Repository not found\"}"), Kind::Json, "is JSON text"),
            (text("{\"metadata\": {}, \"weight_map\": {\"fc.bias\": \"a.safetensors\"}}"), Kind::WeightIndex, "weight_map"),
            (text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), Kind::GitLfs, "git lfs pull"),
            (text("/annex/objects/SHA256E-s9--0.pth\n"), Kind::GitAnnex, "git annex get"),
            (dicom.clone(), Kind::Dicom, "give the model first"),
            (dicom[132..].to_vec(), Kind::Dicom, "give the model first"),
            (b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100".to_vec(), Kind::Dicom, "give the model first"),
            (b"\x89PNG\r\n\x1a\n\0\0".to_vec(), Kind::Picture("PNG"), "is a PNG picture"),
            (b"\xff\xd8\xff\xe0".to_vec(), Kind::Picture("JPEG"), "is a JPEG picture"),
            (b"OSTEONCP....".to_vec(), Kind::Checkpoint, "model.safetensors"),
            (text("patient,anterior,posterior,label\n"), Kind::Text, "is a text file"),
            ("p\u{e4}tient".as_bytes()[..2].to_vec(), Kind::Text, "is a text file"),
        ]
    }

    #[test]
    fn files_are_known_by_their_bytes_and_each_has_its_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my weights.pth");
        for (bytes, kind, words) in cases() {
            assert_eq!(Kind::of(&bytes), Some(kind), "{words}");
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Kind::of_file(&path), Some(kind), "{words}");
            let said = kind.refuse_as_weights(Path::new("my weights.pth")).to_string();
            assert!(said.starts_with("my weights.pth: is ") && said.contains("; ") && said.contains(words), "{said}");
        }
        for bytes in [&b"\x01\x02\x03\x04\x05\x06\x07\x08\x09"[..], &[0xff; 300], b"\0\0\0\0", b"\xff\xfea\0b\0"] {
            assert_eq!(Kind::of(bytes), None, "{bytes:?}");
        }
        assert_eq!((Kind::of_file(folder.path()), Kind::of_file("none")), (None, None));
        // Larger than any model, and not read.
        std::fs::write(&path, b"PK\x03\x04data.pkl").unwrap();
        File::options().write(true).open(&path).unwrap().set_len(5 << 30).unwrap();
        assert!(Kind::expect_weights(&path).unwrap_err().to_string().contains("torch.save"));
        assert!(Kind::expect_weights(folder.path()).is_ok() && Kind::expect_weights(Path::new("none")).is_ok());
        assert_eq!(Kind::of(b"\x10\0\0\0\0\0\0\0{}"), Some(Kind::Safetensors));
    }

    #[test]
    fn a_table_is_not_refused_for_being_text() {
        for (bytes, kind, _) in cases() {
            let is_text = matches!(kind, Kind::Empty | Kind::Text | Kind::Json | Kind::Xml | Kind::WeightIndex);
            let said = kind.refuse_as_manifest(Path::new("m.csv")).map(|error| error.to_string());
            assert_eq!(said.is_none(), is_text, "{:?}: {said:?}", &bytes[..bytes.len().min(20)]);
            assert!(said.is_none_or(|said| said.contains("and a manifest is wanted here; ")), "{kind:?}");
        }
        let said = Kind::Safetensors.refuse_as_manifest(Path::new("m")).unwrap().to_string();
        assert!(said.starts_with("m: is a model file (safetensors), and a manifest is wanted here; give a manifest"), "{said}");
    }

    /// The commands themselves, by Python, with packages that only record what they were given in place of torch and the others.
    #[cfg(unix)]
    #[test]
    fn the_commands_for_weights_run() {
        use std::process::Command;
        if !Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success()) {
            println!("python3 is not there: the commands were not run");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join("packages").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let tensor = "class T:\n  def __init__(s, v): s.v = v\n  def detach(s): return s\n  def float(s): return T(s.v + 'f')\n  \
            def clone(s): return s\n  def contiguous(s): return T(s.v + 'c')\n";
        let save = "def save_file(w, p):\n  open(p, 'w').write(repr({k: getattr(v, 'v', v) for k, v in w.items()}))\n";
        put(
            "torch/__init__.py",
            &format!(
                "{tensor}from . import jit\ndef is_tensor(v): return isinstance(v, T)\ndef load(p, map_location, weights_only):\n  \
                assert map_location == 'cpu' and weights_only\n  w = {{'a': T('1'), 'n': 5}}\n  \
                return {{'bare': w, 'state': {{'epoch': 3, 'state_dict': w}}, 'model': {{'model': w, 'opt': 1}}}}[open(p).read()]\n"
            ),
        );
        put(
            "torch/jit.py",
            "def load(p, map_location):\n  import torch\n  class M:\n    def state_dict(s): return {'a': torch.T('1')}\n  return M()\n",
        );
        put("safetensors/__init__.py", "");
        put(
            "safetensors/torch.py",
            &format!("{save}def load_file(p):\n  import torch\n  return {{open(p).read(): torch.T('1')}}\n"),
        );
        put("safetensors/numpy.py", save);
        put(
            "numpy.py",
            "float32 = 'f'\ndef ascontiguousarray(a, t): return a + t + 'c'\ndef load(p):\n  class Z(dict):\n    files = ['a']\n  \
            return Z(a='1')\n",
        );
        let run = |kind: Kind, content: &str| {
            let path = folder.path().join("it's my file.pth");
            std::fs::write(&path, content).unwrap();
            let said = kind.refuse_as_weights(&path).to_string();
            let command = said.split('`').nth(1).unwrap();
            let shell =
                Command::new("sh").args(["-c", command]).env("PYTHONPATH", folder.path().join("packages")).output().unwrap();
            assert!(shell.status.success(), "{command}\n{}", String::from_utf8_lossy(&shell.stderr));
            std::fs::read_to_string(path.with_extension("safetensors")).unwrap()
        };
        for content in ["bare", "state", "model"] {
            assert_eq!(run(Kind::TorchZip, content), "{'a': '1fc'}");
        }
        assert_eq!(run(Kind::TorchPickle, "bare"), "{'a': '1fc'}");
        assert_eq!(run(Kind::TorchScript, ""), "{'a': '1fc'}");
        assert_eq!(run(Kind::Npz, ""), "{'a': '1fc'}");
        let part = folder.path().join("part-1.safetensors");
        std::fs::write(&part, "fc.bias").unwrap();
        assert_eq!(run(Kind::WeightIndex, r#"{"weight_map": {"fc.bias": "part-1.safetensors"}}"#), "{'fc.bias': '1f'}");
    }
}
