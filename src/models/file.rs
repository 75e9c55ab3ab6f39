//! The model file: safetensors with PyTorch's shapes and torchvision's names, the hash of the weights, and that of all that it says about
//! itself; PyTorch's files are imported.

use super::metadata::{HASHED_SINCE, METADATA_HASH, WEIGHTS_HASH, WEIGHTS_HASHED_SINCE};
use super::{LoadedFrom, Metadata, Model, signature};
use crate::autograd::Parameter;
use crate::files::{self, Kind};
use crate::nn::Builder;
use crate::prepare::Preprocessing;
use crate::tensor::file::{self, TensorFile};
use crate::{Error, Result};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// The largest model file that is read. That of the largest residual network has about 90 MB, of VGG-11 at 512x128 640 MB; it does not
/// become larger (`vgg::MAX_FLATTENED_BYTES`).
const MAX_FILE_BYTES: u64 = 1 << 30;

impl Model {
    /// Reads a model file.
    ///
    /// # Errors
    /// A file that is not a model of this program, or whose weights are not those of its architecture; weights or metadata that are not
    /// those that were written.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Kind::expect_weights(path)?;
        Model::from_bytes(path, Model::read(path)?)
    }

    /// Reads a model file that the owner of a public `key` has [signed](signature). What was checked is what is used.
    ///
    /// # Errors
    /// As [`load`](Self::load); a signature that is missing or not this file's, or a key that is none.
    pub fn load_signed(path: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Kind::expect_weights(path)?;
        let bytes = Model::read(path)?;
        signature::verify(path, &bytes, key.as_ref())?;
        Model::from_bytes(path, bytes)
    }

    /// The bytes of a model file.
    ///
    /// # Errors
    /// Not a file, too large for a model, or it cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
        files::read_at_most(path, MAX_FILE_BYTES)
    }

    /// A model file that is in memory already; `path` is what errors name.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let file_sha256 = files::sha256(&bytes);
        let archive = &TensorFile::from_bytes(path, bytes)?;
        let text = archive.metadata();
        let metadata = Metadata::from_text(text).map_err(|problem| {
            Error::file(archive.path(), problem, "give a model file, or make one with `osteon model import`")
        })?;
        let version = metadata.format_version;
        let refuse = |problem: &str| {
            Err(Error::file(archive.path(), problem, "do not use it: get it anew from its maker, or train or import it again"))
        };
        // Whatever the version says: it could have been lowered.
        match text.get(METADATA_HASH) {
            Some(hash) if *hash != hash_of_text(text) => {
                return refuse("says other things about itself than were written: its hash does not fit its metadata");
            }
            None if version >= HASHED_SINCE => return refuse("does not hold the hash of its metadata"),
            Some(_) | None => {}
        }
        let mut model = Model::from_tensor_file(archive, metadata)?;
        match text.get(WEIGHTS_HASH) {
            Some(hash) if *hash != model.weights_hash() => {
                return refuse("holds other weights than were written: its hash does not fit them");
            }
            None if version >= WEIGHTS_HASHED_SINCE => return refuse("does not hold the hash of its weights"),
            Some(_) | None => {}
        }
        model.loaded_from = Some(LoadedFrom { file_sha256, metadata_sha256: text.get(METADATA_HASH).cloned() });
        Ok(model)
    }

    /// SHA-256 of the bytes of the file that it was loaded from; `None` of a model that was made in memory.
    pub fn file_sha256(&self) -> Option<&str> {
        self.loaded_from.as_ref().map(|file| &*file.file_sha256)
    }

    /// The hash of its metadata that the file holds which it was loaded from ([`METADATA_HASH`]); `None` in files from before it was kept.
    pub fn metadata_sha256(&self) -> Option<&str> {
        self.loaded_from.as_ref()?.metadata_sha256.as_deref()
    }

    /// Takes PyTorch's weights, in torchvision's names and shapes. Counters of batches (`num_batches_tracked`) are passed over.
    ///
    /// # Errors
    /// Tensors that are missing, left over, misshapen, of another type than float32, or not finite.
    pub fn import(
        weights: impl AsRef<Path>,
        architecture: &str,
        classes: &[String],
        input_size: [usize; 2],
        preprocessing: Preprocessing,
    ) -> Result<Self> {
        Model::import_as(weights, Metadata::new(architecture, classes, input_size, preprocessing), None)
    }

    /// As [`import`](Self::import), with every setting of the network; with a `prefix`, only of the tensors whose names begin with it, which
    /// is taken from them. None is taken away unasked: which of a file's tensors are the network is not guessed.
    ///
    /// # Errors
    /// As [`import`](Self::import). Names that are the network's behind a prefix, such as `module.`, get a sentence that says it.
    pub fn import_as(weights: impl AsRef<Path>, metadata: Metadata, prefix: Option<&str>) -> Result<Self> {
        let mut archive = TensorFile::read(weights)?;
        let names: Vec<String> = archive.names().map(str::to_owned).collect();
        if let Some(prefix) = prefix {
            archive = archive.within(prefix)?;
        }
        Model::from_tensor_file(&archive, metadata.clone()).map_err(|error| {
            // Where there is no such network, names are not what is wrong.
            let Ok(network) = Model::build(metadata, Builder::zeros()) else { return error };
            let Some(common) = prefix_of(&names, &network).filter(|common| prefix != Some(common)) else { return error };
            let why = match common {
                "module." => " (of torch.nn.DataParallel)",
                "_orig_mod." => " (of torch.compile)",
                _ => "",
            };
            let before = names.iter().filter(|name| name.starts_with(common)).count();
            let which =
                if before == names.len() { "all begin".to_owned() } else { format!("begin, {before} of {},", names.len()) };
            let problem = format!("has the network's tensors under names that {which} with `{common}`{why}");
            Error::file(archive.path(), problem, format!("add `--strip-prefix {common}` to `osteon model import`"))
        })
    }

    fn from_tensor_file(archive: &TensorFile, metadata: Metadata) -> Result<Self> {
        let named = |error| match error {
            Error::Setting { problem, remedy } => Error::file(archive.path(), problem, remedy),
            other => other,
        };
        let tensors = archive.shapes().filter(|(name, _)| !name.ends_with("num_batches_tracked"));
        let tensors = tensors.map(|(name, shape)| (name.to_owned(), shape.to_vec())).collect();
        let mut model = Model::build(metadata, Builder::of_file(tensors)).map_err(named)?;
        model.parameters.change_each(|parameter| {
            let (_, values) = archive.float_bytes(&parameter.name)?;
            if parameter.name.ends_with("running_var") && values.iter().any(|&variance| f32::from_le_bytes(variance) < 0.0) {
                let problem = format!("`{}` holds a negative variance", parameter.name);
                return Err(Error::file(
                    archive.path(),
                    problem,
                    "take weights from a network whose running statistics are whole",
                ));
            }
            parameter.set_from_file(values);
            Ok(())
        })?;
        Ok(model)
    }

    /// The bytes of the file that [`save`](Self::save) writes.
    pub fn to_bytes(&self) -> Vec<u8> {
        file::to_bytes(&self.text(), &self.tensors(""))
    }

    /// Writes a model file: safetensors with PyTorch's shapes and torchvision's names. The same model is the same bytes.
    ///
    /// # Errors
    /// A file that cannot be written; what stood there before is unchanged.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        files::write(path, &self.to_bytes())
    }

    /// What its file says beside the weights.
    pub(super) fn text(&self) -> BTreeMap<String, String> {
        let mut text = self.metadata.to_text();
        text.insert(WEIGHTS_HASH.to_owned(), self.weights_hash());
        text.insert(METADATA_HASH.to_owned(), hash_of_text(&text));
        text
    }

    /// SHA-256 of all parameters and running statistics, in hexadecimal digits: of the lines `SHA256  NAME SHAPE`, sorted by name, that
    /// hold the [hash of each tensor](Parameter::sha256) and its shape as a model file has it, such as `(64, 1, 7, 7)`.
    pub fn weights_hash(&self) -> String {
        let hashes = self.parameters.hashes();
        let all = self.parameters.iter().zip(hashes);
        let by_name: BTreeMap<_, _> =
            all.map(|((_, parameter), hash)| (&parameter.name, (parameter.file_shape(), hash))).collect();
        let lines = by_name.iter().map(|(name, (shape, hash))| format!("{hash}  {name} {shape}\n"));
        files::sha256(lines.collect::<String>().as_bytes())
    }

    /// Its parameters as a file has them, under their names with `prefix`.
    pub fn tensors(&self, prefix: &str) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
        let tensor = |parameter: &Parameter| (parameter.file_shape().to_vec(), parameter.to_file(parameter.value.values()));
        self.parameters().iter().map(|(_, parameter)| (format!("{prefix}{}", parameter.name), tensor(parameter))).collect()
    }

    /// Takes over the values that [`tensors`](Self::tensors) gave.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape.
    pub fn restore(&mut self, archive: &TensorFile, prefix: &str) -> Result<()> {
        self.parameters_mut().change_each(|parameter| {
            parameter.set_from_file(named_values(archive, prefix, parameter)?);
            Ok(())
        })
    }
}

/// What most of a network's tensors have before their names in a file; `None` where most have nothing, or are not there.
fn prefix_of<'a>(names: &'a [String], network: &Model) -> Option<&'a str> {
    let known: HashSet<&str> = network.parameters.iter().map(|(_, parameter)| &*parameter.name).collect();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names.iter().filter(|name| !known.contains(name.as_str())) {
        let ends = name.match_indices('.').map(|(at, _)| at + 1);
        // The shortest: `layer1.0.conv1.weight` ends with the name of another tensor.
        if let Some(end) = ends.into_iter().find(|&end| known.contains(&name[end..])) {
            *times.entry(&name[..end]).or_default() += 1;
        }
    }
    times.into_iter().filter(|(_, times)| 2 * times > known.len()).map(|(prefix, _)| prefix).next()
}

/// What stands under [`METADATA_HASH`].
fn hash_of_text(text: &BTreeMap<String, String>) -> String {
    let rest: BTreeMap<&String, &String> = text.iter().filter(|(key, _)| *key != METADATA_HASH).collect();
    files::sha256(&serde_json::to_vec(&rest).expect("text is JSON"))
}

/// The values of a parameter in a checkpoint, under its name with `prefix`.
///
/// # Errors
/// A tensor that is missing or of another shape.
pub(crate) fn named_values<'a>(archive: &'a TensorFile, prefix: &str, parameter: &Parameter) -> Result<&'a [[u8; 4]]> {
    let name = format!("{prefix}{}", parameter.name);
    let (shape, values) = archive.float_bytes(&name)?;
    let expected = parameter.file_shape();
    if shape == &*expected {
        return Ok(values);
    }
    let problem = format!("`{name}` has shape {shape:?} where {:?} was expected", &*expected);
    Err(Error::file(archive.path(), problem, "start the run anew with --force"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tests::{model, model_of, saved};

    /// Flattened maps lie in another order in memory than in PyTorch's files: weights that read one value must read the same one.
    #[test]
    fn weights_of_flattened_maps_are_in_pytorchs_order() {
        let (mut model, folder) = (model_of("vgg-11", 1), tempfile::tempdir().unwrap());
        let path = folder.path().join("model");
        let name = "classifier.0.weight";
        let id = model.parameters().iter().find(|(_, parameter)| parameter.name == name).unwrap().0;
        let (channel, pixel) = (37, 1);
        model.parameters_mut().values_mut(id).fill(0.0);
        model.parameters_mut().values_mut(id)[5 * 1024 + pixel * 512 + channel] = 1.0;
        model.save(&path).unwrap();
        let (shape, values) = own(TensorFile::read(&path).unwrap().floats(name).unwrap());
        assert_eq!(shape, [4096, 1024]);
        let places: Vec<usize> = (0..values.len()).filter(|&i| values[i] != 0.0).collect();
        assert_eq!(places, [5 * 1024 + channel * 2 + pixel]);
        assert_eq!(Model::load(&path).unwrap().parameters().get(id).value, model.parameters().get(id).value);
    }

    #[test]
    fn a_loaded_model_is_the_saved_one() {
        let (folder, path) = saved();
        let loaded = Model::load(&path).unwrap();
        let again = folder.path().join("again");
        loaded.save(&again).unwrap();
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&again).unwrap(), "bytes differ");
        assert_eq!(loaded.metadata().trained_on, "phantoms");
        let image: Vec<f32> = (0..64 * 32).map(|i| (i % 17) as f32 / 17.0).collect();
        assert_eq!(loaded.logits(&image, 1).unwrap(), model(4).logits(&image, 1).unwrap());
        // Without metadata, as PyTorch writes it, and with its counters of batches.
        let tensors = TensorFile::read(&path).unwrap();
        let mut tensors: BTreeMap<_, _> =
            tensors.names().map(|name| (name.to_owned(), own(tensors.floats(name).unwrap()))).collect();
        tensors.insert("bn1.num_batches_tracked".into(), (vec![], vec![5.0]));
        file::write(&again, &BTreeMap::new(), &tensors).unwrap();
        assert!(Model::load(&again).unwrap_err().to_string().contains("not a model of osteon"));
        let imported = Model::import_as(&again, loaded.metadata().clone(), None).unwrap();
        assert_eq!(imported.logits(&image, 1).unwrap(), loaded.logits(&image, 1).unwrap());
    }

    /// A model file with another header.
    fn with_header(bytes: &[u8], change: impl Fn(&str) -> String) -> Vec<u8> {
        let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header = change(std::str::from_utf8(&bytes[8..start]).unwrap().trim_end()).into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        [&(header.len() as u64).to_le_bytes()[..], &header, &bytes[start..]].concat()
    }

    /// A header with the hash that fits its metadata.
    fn seal(header: &str) -> String {
        let mut header: serde_json::Value = serde_json::from_str(header).unwrap();
        let text: BTreeMap<String, String> = serde_json::from_value(header["__metadata__"].clone()).unwrap();
        header["__metadata__"][METADATA_HASH] = hash_of_text(&text).into();
        header.to_string()
    }

    fn own((shape, values): (&[usize], Vec<f32>)) -> (Vec<usize>, Vec<f32>) {
        (shape.to_vec(), values)
    }

    #[test]
    fn damaged_weights_are_refused() {
        let (folder, path) = saved();
        let archive = TensorFile::read(&path).unwrap();
        let damaged = folder.path().join("damaged");
        type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;
        type Damage<'a> = (&'a str, &'a dyn Fn(&mut Tensors));
        let damages: [Damage; 6] = [
            ("no tensor `fc.bias`", &|t| drop(t.remove("fc.bias"))),
            ("`extra` too many", &|t| drop(t.insert("extra".into(), (vec![1], vec![0.0])))),
            ("[1, 64, 7, 7]", &|t| t.get_mut("conv1.weight").unwrap().0 = vec![1, 64, 7, 7]),
            ("holds NaN at position 2", &|t| t.get_mut("fc.bias").unwrap().1[2] = f32::NAN),
            ("holds inf", &|t| t.get_mut("fc.weight").unwrap().1[7] = f32::INFINITY),
            ("negative variance", &|t| t.get_mut("bn1.running_var").unwrap().1[0] = -1.0),
        ];
        for (expected, damage) in damages {
            let mut tensors: Tensors =
                archive.names().map(|name| (name.to_owned(), own(archive.floats(name).unwrap()))).collect();
            damage(&mut tensors);
            file::write(&damaged, archive.metadata(), &tensors).unwrap();
            let error = Model::load(&damaged).unwrap_err().to_string();
            assert!(error.contains("damaged: ") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn damaged_files_are_refused() {
        let (folder, path) = saved();
        let damaged = folder.path().join("damaged");
        let bytes = std::fs::read(&path).unwrap();
        let mut long = bytes.clone();
        long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        let text = |from: &str, to: &str| with_header(&bytes, |header| header.replacen(from, to, 1));
        // Behind a hash that fits, as another program would write it.
        let sealed = |from: &str, to: &str| with_header(&bytes, |header| seal(&header.replacen(from, to, 1)));
        let cases = [
            (bytes[..bytes.len() - 1].to_vec(), "whole safetensors"),
            (bytes[..100].to_vec(), "whole safetensors"),
            (Vec::new(), "is empty"),
            (long, "whole safetensors"),
            (
                b"not a model, but long enough to be read as one".to_vec(),
                "is a text file, and a model or its weights are wanted here",
            ),
            (b"PK\x03\x04 archive/data.pkl".to_vec(), "is a file of torch.save"),
            (text("[64,1,7,7]", "[99999999999,9999999999,7,7]"), "whole safetensors"),
            (text("\"format_version\":\"3\"", "\"format_version\":\"4\""), "format version 4"),
            (text("\"format_version\":\"3\"", "\"format_version\":\"0\""), "format version 0"),
            (sealed("\"weights_sha256\"", "\"weights_sha255\""), "does not hold the hash of its weights"),
            // Asks for more memory than any machine has, in a file of the length of before.
            (
                sealed(
                    "[\\\"NoMet\\\"",
                    &format!("[{}\\\"NoMet\\\"", (0..2000).map(|i| format!("\\\"{i}\\\",")).collect::<String>()),
                ),
                "list of classes",
            ),
            (sealed("\\\"reduction\\\":16", "\\\"reduction\\\":1"), "[4, 64] where [64, 64] was expected"),
            (sealed("inrac", "resnet"), "no architecture `resnet`"),
            (sealed("64x32", "6400000x3200000"), "input size"),
            (text("64x32", "64"), "not rows x columns"),
        ];
        for (bytes, expected) in cases {
            std::fs::write(&damaged, bytes).unwrap();
            let error = Model::load(&damaged).unwrap_err().to_string();
            assert!(error.contains("damaged: ") && error.contains(expected), "{error}");
        }
        assert!(Model::load(folder.path().join("none")).unwrap_err().to_string().contains("check the path"));
    }

    /// As PyTorch's wrappers name them, and the remedy that the sentence gives.
    #[test]
    fn a_prefix_of_all_names_is_said_and_taken_away() {
        let (folder, path) = saved();
        let (archive, weights) = (TensorFile::read(&path).unwrap(), folder.path().join("weights.safetensors"));
        let about = || Model::load(&path).unwrap().metadata().clone();
        let named = |prefix: &str, more: &[&str]| {
            let mut tensors: BTreeMap<_, _> =
                archive.names().map(|name| (format!("{prefix}{name}"), own(archive.floats(name).unwrap()))).collect();
            tensors.extend(more.iter().map(|name| (name.to_string(), (vec![1], vec![0.5]))));
            file::write(&weights, &BTreeMap::new(), &tensors).unwrap();
        };
        for (prefix, more, words) in [
            ("module.", &[][..], "that all begin with `module.` (of torch.nn.DataParallel); add `--strip-prefix module.`"),
            ("_orig_mod.", &[], "(of torch.compile)"),
            ("state_dict.", &[], "`state_dict.`"),
            ("module.model.", &["module.model.bn1.num_batches_tracked"], "all begin with `module.model.`;"),
            ("model.", &["criterion.weight", "n_averaged"], "that begin, "),
            ("layer1.0.", &[], "`layer1.0.`"),
        ] {
            named(prefix, more);
            let said = Model::import_as(&weights, about(), None).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
            assert!(said.ends_with(&format!("; add `--strip-prefix {prefix}` to `osteon model import`")), "{said}");
            let model = Model::import_as(&weights, about(), Some(prefix)).unwrap();
            assert_eq!(model.weights_hash(), Model::load(&path).unwrap().weights_hash());
        }
        named("module.model.", &[]);
        let said = Model::import_as(&weights, about(), Some("module.")).unwrap_err().to_string();
        assert!(said.ends_with("; add `--strip-prefix module.model.` to `osteon model import`"), "{said}");
        let said = Model::import_as(&weights, about(), Some("net.")).unwrap_err().to_string();
        assert!(said.contains("no tensor whose name begins with `net.`"), "{said}");
        // What is wrong is not laid on names that are right, or on names of another network.
        let doubled = Metadata { classes: vec!["A".into(), "A".into()], ..about() };
        assert!(Model::import_as(&weights, doubled, None).unwrap_err().to_string().contains("twice"));
        named("", &["extra"]);
        assert!(Model::import_as(&weights, about(), None).unwrap_err().to_string().contains("`extra` too many"));
    }

    #[test]
    fn other_weights_than_were_written_are_refused() {
        let (folder, path) = saved();
        let bytes = std::fs::read(&path).unwrap();
        let damaged = folder.path().join("damaged");
        let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for at in [start, start + (bytes.len() - start) / 3, bytes.len() - 4] {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1; // the least bit of a value: finite as before
            std::fs::write(&damaged, flipped).unwrap();
            let error = Model::load(&damaged).unwrap_err().to_string();
            assert!(error.contains("damaged: holds other weights than were written"), "{error}");
        }
        // A file of before there was a hash is read.
        let archive = TensorFile::read(&path).unwrap();
        let tensors = archive.names().map(|name| (name.to_owned(), own(archive.floats(name).unwrap()))).collect();
        let mut text = archive.metadata().clone();
        text.remove("weights_sha256");
        text.remove("metadata_sha256");
        text.insert("format_version".into(), "1".into());
        file::write(&damaged, &text, &tensors).unwrap();
        assert_eq!(Model::load(&damaged).unwrap().weights_hash(), Model::load(&path).unwrap().weights_hash());
    }

    /// A model that names its classes in another order answers wrongly, and its weights are as they were.
    #[test]
    fn other_metadata_than_was_written_is_refused() {
        let (folder, path) = saved();
        let (bytes, damaged) = (std::fs::read(&path).unwrap(), folder.path().join("damaged"));
        let said = |from: &str, to: &str| {
            let changed = with_header(&bytes, |header| header.replacen(from, to, 1));
            assert!(changed != bytes, "`{from}` is not there");
            std::fs::write(&damaged, changed).unwrap();
            Model::load(&damaged).map(|_| ()).map_err(|error| error.to_string())
        };
        let classes = "[\\\"NoMet\\\",\\\"ADMet\\\",\\\"nADMet\\\"]";
        for (from, to) in [
            (classes, "[\\\"nADMet\\\",\\\"ADMet\\\",\\\"NoMet\\\"]"),
            ("\\\"threshold\\\":0.15", "\\\"threshold\\\":0.25"),
            ("\"architecture\":\"inrac\"", "\"architecture\":\"outrac\""),
            ("\"trained_on\":\"phantoms\"", "\"trained_on\":\"patients\""),
            ("\"input_size\":\"64x32\"", "\"input_size\":\"96x32\""),
            ("\"trained_on\":", "\"approved_by\":\"nobody\",\"trained_on\":"),
            // The hash counts whatever the version says.
            ("\"format_version\":\"3\"", "\"format_version\":\"2\""),
            ("\"format_version\":\"3\"", "\"format_version\":\"1\""),
        ] {
            let error = said(from, to).unwrap_err();
            assert!(error.contains("damaged: says other things about itself than were written"), "{to}: {error}");
        }
        let error = said("\"metadata_sha256\"", "\"model_sha255\"").unwrap_err();
        assert!(error.contains("damaged: does not hold the hash of its metadata"), "{error}");
        // A file of before there was this hash is read, with the hash of its weights alone.
        let before = |header: &str| {
            let mut header: serde_json::Value = serde_json::from_str(header).unwrap();
            let text = header["__metadata__"].as_object_mut().unwrap();
            text.remove("metadata_sha256");
            text["format_version"] = "2".into();
            header.to_string()
        };
        std::fs::write(&damaged, with_header(&bytes, before)).unwrap();
        let model = Model::load(&damaged).unwrap();
        assert_eq!((model.weights_hash(), model.metadata_sha256()), (Model::load(&path).unwrap().weights_hash(), None));
        model.save(&damaged).unwrap();
        assert!(std::fs::read(&damaged).unwrap() == bytes, "saved again it is of this version");
    }

    /// The rule as the documentation has it, with the escapes that JSON needs.
    #[test]
    fn the_hash_of_the_metadata_is_that_of_its_json() {
        let text = [("b", "a \"word\"\n\u{1}\u{7f}"), ("a", "Übung \u{1f9b4}"), ("metadata_sha256", "is left out")];
        let text = text.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let json = "{\"a\":\"Übung \u{1f9b4}\",\"b\":\"a \\\"word\\\"\\n\\u0001\u{7f}\"}";
        assert_eq!(hash_of_text(&text), files::sha256(json.as_bytes()));
    }

    #[test]
    fn a_model_knows_the_file_that_it_was_loaded_from() {
        let (_folder, path) = saved();
        let loaded = Model::load(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, "another file").unwrap();
        assert_eq!(loaded.file_sha256(), Some(&*files::sha256(&bytes)));
        assert_eq!(loaded.metadata_sha256(), loaded.text().get("metadata_sha256").map(String::as_str));
        assert_eq!((loaded.copy().unwrap().file_sha256(), model(1).file_sha256()), (None, None));
    }

    #[test]
    fn the_hash_of_the_weights_can_be_had_from_the_file_alone() {
        let (_folder, path) = saved();
        let archive = TensorFile::read(&path).unwrap();
        let line = |name: &str| {
            let (shape, values) = archive.float_bytes(name).unwrap();
            let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
            format!("{}  {name} ({})\n", files::sha256(values.as_flattened()), shape.join(", "))
        };
        let lines: String = archive.names().map(line).collect();
        assert_eq!(archive.metadata()["weights_sha256"], files::sha256(lines.as_bytes()));
    }
}
