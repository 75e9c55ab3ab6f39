//! The network's parameters and size against the paper and the promised names; the model file, whole and damaged.

use super::*;
use crate::autograd::ParameterKind;
use std::path::PathBuf;

fn model(seed: u64) -> Model {
    model_of("inrac", seed)
}

fn model_of(architecture: &str, seed: u64) -> Model {
    let classes = ["NoMet", "ADMet", "nADMet"].map(str::to_owned);
    Model::new(architecture, &classes, [64, 32], Preprocessing::default(), seed).unwrap()
}

/// The names and shapes that model files promise to PyTorch users, written out from the promise itself.
fn promised() -> BTreeMap<String, Vec<usize>> {
    let mut promised = BTreeMap::new();
    let mut add = |name: String, shape: &[usize]| assert!(promised.insert(name, shape.to_vec()).is_none());
    let norm = |add: &mut dyn FnMut(String, &[usize]), name: String, channels| {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            add(format!("{name}.{part}"), &[channels]);
        }
    };
    add("conv1.weight".into(), &[64, 1, 7, 7]);
    norm(&mut add, "bn1".into(), 64);
    let mut inputs = 64;
    for (stage, (blocks, c)) in [(2, 64), (3, 128), (5, 256), (2, 512)].into_iter().enumerate() {
        for i in 0..blocks {
            let block = format!("layer{}.{i}", stage + 1);
            add(format!("{block}.conv1.weight"), &[c, inputs, 3, 3]);
            add(format!("{block}.conv2.weight"), &[c, c, 3, 3]);
            norm(&mut add, format!("{block}.bn1"), c);
            norm(&mut add, format!("{block}.bn2"), c);
            if inputs != c {
                add(format!("{block}.downsample.0.weight"), &[c, inputs, 1, 1]);
                norm(&mut add, format!("{block}.downsample.1"), c);
            }
            let attention = format!("{block}.attention");
            add(format!("{attention}.channel.fc1.weight"), &[c / 16, c]);
            add(format!("{attention}.channel.fc1.bias"), &[c / 16]);
            add(format!("{attention}.channel.fc2.weight"), &[c, c / 16]);
            add(format!("{attention}.channel.fc2.bias"), &[c]);
            add(format!("{attention}.spatial.conv.weight"), &[1, 2, 7, 7]);
            inputs = c;
        }
    }
    add("fc.weight".into(), &[3, 512]);
    add("fc.bias".into(), &[3]);
    promised
}

#[test]
fn names_and_shapes_are_those_promised() {
    let model = model(1);
    let shapes = model.parameters().iter().map(|(_, p)| (p.name.clone(), p.file_shape().to_vec()));
    assert_eq!(shapes.collect::<BTreeMap<_, _>>(), promised());
}

#[test]
fn size_and_work_are_the_papers() {
    let model = model(1);
    assert!((15_000_000..15_200_000).contains(&model.parameter_count()), "{}", model.parameter_count());
    let layers = model.layers([1024, 256]).unwrap();
    let gflop = layers.iter().map(|layer| layer.flops).sum::<u64>() as f64 / 1e9;
    assert!((27.5..28.0).contains(&gflop), "{gflop}"); // 13.8 GMAC, and 1 % more for multiplications with padding
    // PAPER.md: the output of every stage; the stem's convolution runs together with its pool.
    for (name, output) in [
        ("conv1", [1, 256, 64, 64]),
        ("layer1.1", [1, 256, 64, 64]),
        ("layer2.2", [1, 128, 32, 128]),
        ("layer3.4", [1, 64, 16, 256]),
        ("layer4.1", [1, 32, 8, 512]),
    ] {
        let last = layers.iter().rfind(|layer| layer.name == name).unwrap();
        assert_eq!(last.output, output.into(), "{name}");
    }
    assert_eq!(layers.iter().map(|layer| layer.parameters).sum::<usize>(), model.parameter_count());
    assert_eq!(model.convolutions(8).unwrap().len(), 25 + 3 + 12);
}

/// Weights without memory, as only their number matters.
fn weights(architecture: &str, classes: usize, input_size: [usize; 2], pooling: Pooling) -> usize {
    let classes: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
    let metadata = Metadata { pooling, ..Metadata::new(architecture, &classes, input_size, Preprocessing::default()) };
    Model::build(metadata, Builder::zeros()).unwrap().parameter_count()
}

/// torchvision's own numbers, `sum(p.numel() for p in model.parameters())` of `vgg11()` and `googlenet()`, which are of three input
/// channels and 1000 classes; of googlenet's 3x3 kernels in branch 3 too, where the papers and we have 5x5.
#[test]
fn the_other_networks_have_as_many_weights_as_torchvisions() {
    let other_channels = |channels: usize, kernel: usize| 2 * channels * kernel * kernel;
    assert_eq!(weights("vgg-11", 1000, [224, 224], Pooling::Auto), 132_863_336 - other_channels(64, 3));
    let branches = [(16, 32), (32, 96), (16, 48), (24, 64), (24, 64), (32, 64), (32, 128), (32, 128), (48, 128)];
    let larger: usize = branches.iter().map(|(inputs, outputs)| (5 * 5 - 3 * 3) * inputs * outputs).sum();
    assert_eq!(weights("inception-v1", 1000, [224, 224], Pooling::Auto), 13_004_888 - other_channels(64, 7) + larger);
}

/// The first linear layer has all pixels of the last maps where that is no more than 512 MB.
#[test]
fn vgg_flattens_where_memory_allows() {
    let first = |pixels: usize| 4096 * 512 * pixels;
    let rest = weights("vgg-11", 3, [32, 32], Pooling::Average) - first(1);
    for (size, pixels) in [([32, 32], 1), ([256, 64], 8 * 2), ([512, 128], 16 * 4), ([1024, 256], 1), ([16384, 16384], 1)] {
        assert_eq!(weights("vgg-11", 3, size, Pooling::Auto), rest + first(pixels), "{size:?}");
    }
    assert_eq!(weights("vgg-11", 3, [256, 64], Pooling::Average), rest + first(1));
    let refused = |architecture: &str, input_size| {
        let metadata = Metadata::new(architecture, &["a", "b"].map(str::to_owned), input_size, Preprocessing::default());
        Model::initialised(Metadata { pooling: Pooling::Flatten, ..metadata }, 1).unwrap_err().to_string()
    };
    let refusal = refused("vgg-11", [1024, 256]);
    assert!(refusal.contains("536 million weights, 2048 MB, and 512 MB are allowed"), "{refusal}");
    assert!(refused("inrac", [64, 32]).contains("only vgg-11 can"));
    // Another size of images is another number of weights.
    let model = model_of("vgg-11", 1);
    assert_eq!(model.metadata().pooling, Pooling::Flatten);
    let error = model.logits_of(&[0.5; 96 * 32], [1, 96, 32]).unwrap_err().to_string();
    assert!(error.contains("feature maps of 3x1 pixels where 2x1"), "{error}");
    assert!(model.logits_of(&[0.5; 65 * 33], [1, 65, 33]).is_ok());
}

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
fn former_names_are_known() {
    for (former, name) in FORMER_NAMES {
        assert_eq!(model_of(former, 1).metadata().architecture, name);
    }
}

#[test]
fn initial_weights_have_the_promised_spread() {
    let model = model(3);
    for (_, parameter) in model.parameters().iter() {
        let values = parameter.value.values();
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let deviation = (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt();
        let shape = parameter.file_shape();
        let expected = match parameter.kind {
            ParameterKind::Convolution => (2.0 / (shape[0] * shape[2] * shape[3]) as f64).sqrt(),
            // Uniform within 1 / sqrt(fan in) has this deviation.
            ParameterKind::Plain if shape.iter().len() == 2 => (1.0 / (3 * shape[1]) as f64).sqrt(),
            _ => continue,
        };
        // Sampling error of a deviation is about 1 / sqrt(2n).
        let tolerance = 5.0 / (2.0 * n).sqrt();
        assert!((deviation / expected - 1.0).abs() < tolerance, "{}: {deviation} for {expected}", parameter.name);
    }
    assert_eq!(
        model.parameters().iter().map(|(_, p)| p.value.clone()).collect::<Vec<_>>(),
        self::model(3).parameters().iter().map(|(_, p)| p.value.clone()).collect::<Vec<_>>()
    );
}

#[test]
fn every_architecture_runs() {
    let image = vec![0.1; 33 * 47];
    for name in architectures() {
        let model = Model::new(name, &["a", "b"].map(str::to_owned), [33, 47], Preprocessing::default(), 1).unwrap();
        assert_eq!(model.logits(&image, 1).unwrap().len(), 2, "{name}");
    }
}

/// A folder with the file of a model in it.
fn saved() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut model = model(4);
    model.set_trained_on("phantoms");
    model.save(&path).unwrap();
    (folder, path)
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
    let mut tensors: BTreeMap<_, _> = tensors.names().map(|name| (name.to_owned(), own(tensors.floats(name).unwrap()))).collect();
    tensors.insert("bn1.num_batches_tracked".into(), (vec![], vec![5.0]));
    file::write(&again, &BTreeMap::new(), &tensors).unwrap();
    assert!(Model::load(&again).unwrap_err().to_string().contains("not a model of osteon"));
    let imported = Model::import_as(&again, loaded.metadata().clone()).unwrap();
    assert_eq!(imported.logits(&image, 1).unwrap(), loaded.logits(&image, 1).unwrap());
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
        let mut tensors: Tensors = archive.names().map(|name| (name.to_owned(), own(archive.floats(name).unwrap()))).collect();
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
    let text = |from: &str, to: &str| {
        let end = bytes.windows(2).position(|pair| pair == b"}}").unwrap() + 2;
        let header = String::from_utf8_lossy(&bytes[8..end]).replacen(from, to, 1);
        let mut header = header.into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        [
            &(header.len() as u64).to_le_bytes()[..],
            &header,
            &bytes[8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize..],
        ]
        .concat()
    };
    let cases = [
        (bytes[..bytes.len() - 1].to_vec(), "whole safetensors"),
        (bytes[..100].to_vec(), "whole safetensors"),
        (Vec::new(), "whole safetensors"),
        (long, "whole safetensors"),
        (b"not a model, but long enough to be read as one".to_vec(), "whole safetensors"),
        (text("[64,1,7,7]", "[99999999999,9999999999,7,7]"), "whole safetensors"),
        (text("\"format_version\":\"2\"", "\"format_version\":\"3\""), "format version 3"),
        (text("\"format_version\":\"2\"", "\"format_version\":\"0\""), "format version 0"),
        (text("\"weights_sha256\"", "\"weights_sha255\""), "does not hold the hash of its weights"),
        // Asks for more memory than any machine has, in a file of the length of before.
        (
            text("[\\\"NoMet\\\"", &format!("[{}\\\"NoMet\\\"", (0..2000).map(|i| format!("\\\"{i}\\\",")).collect::<String>())),
            "list of classes",
        ),
        (text("\\\"reduction\\\":16", "\\\"reduction\\\":1"), "[4, 64] where [64, 64] was expected"),
        (text("inrac", "resnet"), "no architecture `resnet`"),
        (text("64x32", "6400000x3200000"), "input size"),
        (text("64x32", "64"), "not rows x columns"),
    ];
    for (bytes, expected) in cases {
        std::fs::write(&damaged, bytes).unwrap();
        let error = Model::load(&damaged).unwrap_err().to_string();
        assert!(error.contains("damaged: ") && error.contains(expected), "{error}");
    }
    assert!(Model::load(folder.path().join("none")).unwrap_err().to_string().contains("check the path"));
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
    text.insert("format_version".into(), "1".into());
    file::write(&damaged, &text, &tensors).unwrap();
    assert_eq!(Model::load(&damaged).unwrap().weights_hash(), Model::load(&path).unwrap().weights_hash());
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

#[test]
fn a_signature_holds_for_one_file_and_one_key() {
    let (folder, path) = saved();
    let [private, public] = signature::keygen(&folder.path().join("ours")).unwrap();
    let [_, other] = signature::keygen(&folder.path().join("theirs")).unwrap();
    let load = |key: &Path| Model::load_signed(&path, key).map(|model| model.weights_hash()).map_err(|error| error.to_string());
    assert!(load(&public).unwrap_err().contains("is not signed: there is no"));
    signature::sign(&path, &private).unwrap();
    assert_eq!(load(&public).unwrap(), model(4).weights_hash());
    assert!(load(&other).unwrap_err().contains("is not what the owner of"));
    assert!(load(&private).unwrap_err().contains("is not a public ed25519 key"));
    assert!(signature::sign(&path, &public).unwrap_err().to_string().contains("is not a private ed25519 key"));
    assert!(signature::keygen(&folder.path().join("ours")).unwrap_err().to_string().contains("exists already"));
    // Every bit counts, also of what no weight depends on.
    let bytes = std::fs::read(&path).unwrap();
    let mut changed = bytes.clone();
    let at = bytes.windows(8).position(|word| word == b"phantoms").unwrap();
    changed[at..at + 8].copy_from_slice(b"patients");
    std::fs::write(&path, changed).unwrap();
    assert!(Model::load(&path).is_ok());
    assert!(load(&public).unwrap_err().contains("is not what the owner of"));
    std::fs::write(&path, &bytes).unwrap();
    let signed = std::fs::read(signature::signature_path(&path)).unwrap();
    std::fs::write(signature::signature_path(&path), &signed[..63]).unwrap();
    assert!(load(&public).unwrap_err().contains("is not an ed25519 signature"));
    std::fs::write(signature::signature_path(&path), &signed).unwrap();
    assert!(load(&public).is_ok());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// RFC 8032, section 7.1, test 3, by the public key in its PEM form.
#[test]
fn signatures_are_those_of_rfc_8032() {
    let folder = tempfile::tempdir().unwrap();
    let [model, key] = ["model", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(
        &key,
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU=\n-----END PUBLIC KEY-----\n",
    )
    .unwrap();
    let signature = "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";
    let bytes: Vec<u8> = (0..64).map(|i| u8::from_str_radix(&signature[2 * i..2 * i + 2], 16).unwrap()).collect();
    std::fs::write(signature::signature_path(&model), bytes).unwrap();
    assert!(signature::verify(&model, &[0xaf, 0x82], &key).is_ok());
    assert!(signature::verify(&model, &[0xaf, 0x83], &key).is_err());
}

#[test]
fn nonsense_is_refused() {
    let new = |architecture: &str, classes: &[&str], size| {
        let classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
        Model::new(architecture, &classes, size, Preprocessing::default(), 1).unwrap_err().to_string()
    };
    assert!(new("vgg", &["a", "b"], [32, 32]).contains("inrac, outrac"));
    assert!(new("inrac", &["a"], [32, 32]).contains("2 to 1000 classes"));
    assert!(new("inrac", &["a", "a"], [32, 32]).contains("once"));
    assert!(new("inrac", &["a", " "], [32, 32]).contains("a name"));
    assert!(new("inrac", &["a", "b"], [31, 32]).contains("from 32"));
    assert!(new("vgg-11", &["a", "b"], [usize::MAX, usize::MAX]).contains("from 32"));
    let model = model(1);
    assert!(model.logits(&[0.0; 10], 1).is_err());
    assert!(model.logits(&[], 0).is_err());
    assert!(model.explain(&[0.0; 64 * 32], 3).is_err());
}

#[test]
fn explanations_show_where_the_evidence_is() {
    for (architecture, size) in [("inrac", (2, 1)), ("vgg-11", (4, 2)), ("inception-v1", (2, 1))] {
        let model = model_of(architecture, 6);
        let mut image = vec![0.0; 64 * 32];
        image[10 * 32 + 8] = 50.0;
        let map = model.explain(&image, 0).unwrap();
        assert_eq!((map.rows, map.columns), size, "{architecture}");
        assert!(map.pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
        // The sum of all classes' gradient maps would be a check by linearity; here: for some class there is evidence.
        assert!((0..3).any(|class| model.explain(&image, class).unwrap().pixels.contains(&1.0)), "{architecture}");
    }
}

#[test]
fn training_learns_and_settles() {
    for (architecture, rate) in [("inrac", 1e-3), ("vgg-11", 1e-4), ("inception-v1", 1e-3)] {
        learns_and_settles(architecture, rate);
    }
}

fn learns_and_settles(architecture: &str, rate: f32) {
    let mut trainer = Trainer::new(model_of(architecture, 5), crate::optim::Adam::default());
    // Bright above against bright below.
    let images: Vec<f32> = (0..4 * 64 * 32).map(|i| f32::from((i / 32 % 64 < 32) == (i / (64 * 32) % 2 == 0))).collect();
    let labels = [0, 2, 0, 2];
    let first = trainer.step(&images, &labels, rate).unwrap();
    let mut allocations = 0;
    for step in 0..12 {
        trainer.step(&images, &labels, rate).unwrap();
        if step == 0 {
            allocations = trainer.allocations();
        }
    }
    let last = trainer.step(&images, &labels, rate).unwrap();
    assert!(last.loss < 0.5 * first.loss && last.correct == 4, "{architecture}: {first:?} {last:?}");
    assert_eq!(trainer.allocations(), allocations, "{architecture}: a steady step asks for no memory");
    let before = trainer.model().parameters().get(trainer.model().parameters().trained()[0]).value.clone();
    let error = trainer.step(&vec![f32::NAN; images.len()], &labels, rate).unwrap_err().to_string();
    assert!(error.contains("the input holds 8192 NaN"), "{error}");
    assert_eq!(trainer.model().parameters().get(trainer.model().parameters().trained()[0]).value, before);
}

/// What a step drops is a function of seed and step: a training that is restored goes on as if it had not stopped.
#[test]
fn a_restored_training_drops_what_it_would_have_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let images: Vec<f32> = (0..2 * 64 * 32).map(|i| (i * i % 97) as f32 / 97.0).collect();
    let losses = |trainer: &mut Trainer, steps: usize| -> Vec<f32> {
        (0..steps).map(|_| trainer.step(&images, &[0, 1], 1e-3).unwrap().loss).collect()
    };
    let start = |seed| {
        let mut trainer = Trainer::new(model_of("inception-v1", 5), crate::optim::Adam::default());
        trainer.seed(seed);
        trainer
    };
    let mut whole = start(7);
    let expected = losses(&mut whole, 4);
    let mut first = start(7);
    assert_eq!(losses(&mut first, 2), expected[..2]);
    file::write(&path, &BTreeMap::new(), &first.tensors()).unwrap();
    let mut second = start(7);
    second.restore(&TensorFile::read(&path).unwrap(), first.steps()).unwrap();
    assert_eq!(losses(&mut second, 2), expected[2..]);
    assert_ne!(losses(&mut start(8), 1), expected[..1], "another seed drops others");
    // Nobody who does not ask for it has anything dropped.
    let pass = || {
        let model = model_of("inception-v1", 5);
        model.differentiate(&mut Context::default(), &images, [2, 64, 32], &[0, 1]).unwrap().loss
    };
    assert!(pass() == pass() && pass() != expected[0]);
}

/// What is said of a step by a model whose parameters were changed as told, and that the step changed nothing.
fn refusal(changes: &[(&str, f32)]) -> String {
    let mut model =
        Model::new("inrac-no-attention", &model(5).metadata().classes, [64, 32], Preprocessing::default(), 5).unwrap();
    for &(name, factor) in changes {
        let id = model.parameters().iter().find(|(_, parameter)| parameter.name == name).unwrap().0;
        model.parameters_mut().values_mut(id).iter_mut().for_each(|value| *value *= factor);
    }
    let mut trainer = Trainer::new(model, crate::optim::Adam::default());
    let bits = |trainer: &Trainer| -> Vec<u32> {
        trainer.tensors().values().flat_map(|(_, values)| values.iter().map(|value| value.to_bits())).collect()
    };
    let before = bits(&trainer);
    let images: Vec<f32> = (0..2 * 64 * 32).map(|i| (i * i % 97) as f32 / 97.0).collect();
    let error = trainer.step(&images, &[0, 1], 1e-3).unwrap_err();
    assert!(matches!(error, Error::NotFinite { .. }), "{error:?}");
    assert!(bits(&trainer) == before && trainer.steps() == 0, "the model has changed");
    error.to_string()
}

#[test]
fn the_first_place_that_is_not_finite_is_named() {
    for (changes, expected) in [
        (&[("layer2.0.bn1.weight", f32::NAN)][..], "layer2.0.bn1.weight holds 128 NaN and 0 infinite of 128 values"),
        // Products beyond the largest f32.
        (&[("layer1.1.conv2.weight", 1e38), ("layer1.1.bn1.weight", 1e3)], "layer1.1.conv2 (conv) gave"),
        // Finite values whose variance is not.
        (&[("layer3.0.conv2.weight", 1e25)], "layer3.0.bn2"),
        (&[("fc.weight", 1e38), ("fc.bias", 1e38), ("layer4.1.bn2.weight", 1e3)], "fc (linear) gave"),
        // A finite loss, but a normalisation of tiny values makes gradients large.
        (
            &[("layer4.1.conv2.weight", 1e-10), ("layer4.1.bn2.weight", 1e20), ("fc.weight", 1e21)],
            "the gradient of layer4.1.conv2.weight has",
        ),
    ] {
        let said = refusal(changes);
        assert!(said.starts_with(expected), "`{said}` in place of `{expected}`");
    }
}

#[test]
fn a_gradient_above_the_limit_is_scaled_to_it() {
    let images: Vec<f32> = (0..2 * 64 * 32).map(|i| (i * i % 97) as f32 / 97.0).collect();
    // After one step Adam's first moment is a tenth of the gradient.
    let applied = |limit: Option<f64>| {
        let mut trainer = Trainer::new(model(5), crate::optim::Adam::default());
        limit.into_iter().for_each(|limit| trainer.clip_norm(limit));
        let step = trainer.step(&images, &[0, 1], 1e-3).unwrap();
        let tensors = trainer.tensors();
        let moments = tensors.iter().filter(|(name, _)| name.starts_with("adam.first."));
        let squares = moments.flat_map(|(_, (_, values))| values.iter().map(|&value| f64::from(value).powi(2)));
        (step.gradient_norm, 10.0 * squares.sum::<f64>().sqrt())
    };
    let (norm, whole) = applied(None);
    assert!((whole / norm - 1.0).abs() < 1e-5, "{whole} {norm}");
    assert_eq!(applied(Some(2.0 * norm)), (norm, whole), "a limit that is not reached changes nothing");
    let (same, clipped) = applied(Some(0.25 * norm));
    assert_eq!(same, norm, "the norm before");
    assert!((clipped / (0.25 * norm) - 1.0).abs() < 1e-5, "{clipped} {norm}");
}

#[test]
fn measured_statistics_are_the_plain_average_of_the_batches() {
    let mut trainer = Trainer::new(model(5), crate::optim::Adam::default());
    let batches = [1.0, 3.0].map(|size| (0..2 * 64 * 32).map(|i| size * f32::from(i * i % 97 < 40)).collect::<Vec<f32>>());
    let mut alone = Vec::new();
    for images in &batches {
        trainer.measure_statistics(0, images, 2).unwrap();
        alone.push(statistics(trainer.model()));
    }
    for (i, images) in batches.iter().enumerate() {
        trainer.measure_statistics(i, images, 2).unwrap();
    }
    let both = statistics(trainer.model());
    assert_ne!(alone[0], alone[1]);
    for ((both, a), b) in both.iter().zip(&alone[0]).zip(&alone[1]) {
        assert!((both - (a + b) / 2.0).abs() <= 1e-6 * (a.abs() + b.abs()), "{both} is not between {a} and {b}");
    }
    let trained = |model: &Model| model.parameters().get(model.parameters().trained()[0]).value.clone();
    assert_eq!(trained(trainer.model()), trained(&model(5)), "weights stay as they are");
}

fn statistics(model: &Model) -> Vec<f32> {
    let all = model.parameters().iter().filter(|(_, parameter)| !parameter.is_trained());
    all.flat_map(|(_, parameter)| parameter.value.values().to_vec()).collect()
}

#[test]
fn without_its_last_norms_a_network_begins_as_its_shortcuts() {
    let images: Vec<f32> = (0..2 * 64 * 32).map(|i| (i * i % 97) as f32 / 97.0).collect();
    for architecture in ["inrac", "outrac", "residual-26"] {
        let classes = model(5).metadata().classes.clone();
        let mut zeroed = Model::new(architecture, &classes, [64, 32], Preprocessing::default(), 5).unwrap();
        zeroed.zero_last_norms();
        let last = |name: &str| name.starts_with("layer") && name.ends_with(".bn2.weight");
        let zeros = zeroed.parameters().iter().filter(|(_, parameter)| parameter.value.values().iter().all(|&x| x == 0.0));
        let zeros: Vec<&str> = zeros.map(|(_, parameter)| &*parameter.name).filter(|name| name.ends_with("weight")).collect();
        assert!(zeros.len() == 12 && zeros.iter().all(|name| last(name)), "{architecture}: {zeros:?}");
        // No branch has a part in the logits.
        let logits = zeroed.logits(&images, 2).unwrap();
        let branches: Vec<ParameterId> =
            zeroed.parameters().iter().filter(|(_, p)| p.name.contains(".conv1.")).map(|(id, _)| id).collect();
        assert_eq!(branches.len(), 12);
        branches.into_iter().for_each(|id| zeroed.parameters_mut().values_mut(id).iter_mut().for_each(|x| *x *= -3.0));
        assert_eq!(zeroed.logits(&images, 2).unwrap(), logits, "{architecture}");
        // And all of them learn.
        let pass = zeroed.differentiate(&mut Context::default(), &images, [2, 64, 32], &[0, 2]).unwrap();
        for (id, parameter) in zeroed.parameters().iter().filter(|(_, parameter)| last(&parameter.name)) {
            assert!(pass.gradients.get(id).unwrap().iter().any(|&g| g != 0.0), "{architecture}: {}", parameter.name);
        }
    }
    let mut plain = Model::new("plain-26", &model(5).metadata().classes, [64, 32], Preprocessing::default(), 5).unwrap();
    let before = plain.weights_hash();
    plain.zero_last_norms();
    assert_eq!(plain.weights_hash(), before, "without shortcuts nothing would be left");
}

#[test]
fn weights_of_classes_weigh_the_gradient() {
    let images: Vec<f32> = (0..3 * 64 * 32).map(|i| (i * i % 97) as f32 / 97.0).collect();
    let model = model(5);
    let pass = |weights: Option<&[f32]>| {
        let pass = model.differentiate_weighted(&mut Context::default(), &images, [3, 64, 32], &[0, 1, 0], weights).unwrap();
        let bias = model.parameters().iter().find(|(_, parameter)| parameter.name == "fc.bias").unwrap().0;
        (pass.loss, pass.gradients.get(bias).unwrap().to_vec())
    };
    let (plain, equal, zero_heavy) = (pass(None), pass(Some(&[2.0; 3])), pass(Some(&[1000.0, 1e-3, 1.0])));
    assert_eq!(plain.0, equal.0);
    // What is nearly all of the weight pulls towards itself alone.
    assert!(zero_heavy.1[0] < 0.0 && zero_heavy.1[1] > 0.0 && zero_heavy.1[2] > 0.0, "{zero_heavy:?}");
    let error = model.differentiate_weighted(&mut Context::default(), &images, [3, 64, 32], &[0, 1, 0], Some(&[1.0; 2]));
    assert!(error.unwrap_err().to_string().contains("list of weights"));
}

#[test]
fn a_copy_is_the_same_and_its_own() {
    let mut original = model(5);
    let mut copy = original.copy().unwrap();
    assert_eq!(copy.weights_hash(), original.weights_hash());
    original.zero_last_norms();
    assert_ne!(copy.weights_hash(), original.weights_hash());
    copy.copy_values(&original);
    assert_eq!(copy.weights_hash(), original.weights_hash());
}
