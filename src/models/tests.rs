//! The networks' parameters and sizes against the papers and the promised names; and the small models that other tests use.

use super::*;
use crate::autograd::{Context, ParameterKind};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub(crate) fn model(seed: u64) -> Model {
    model_of("inrac", seed)
}

pub(crate) fn model_of(architecture: &str, seed: u64) -> Model {
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
pub(crate) fn saved() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut model = model(4);
    model.set_trained_on("phantoms");
    model.save(&path).unwrap();
    (folder, path)
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
    assert!(model.explain(&[0.0; 64 * 32], |_| vec![vec![3]]).is_err());
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
        let pass = model
            .differentiate_objective(
                &mut Context::default(),
                &images,
                [3, 64, 32],
                &Objective { class_weights: weights, ..Objective::of(&[0, 1, 0]) },
            )
            .unwrap();
        let bias = model.parameters().iter().find(|(_, parameter)| parameter.name == "fc.bias").unwrap().0;
        (pass.loss, pass.gradients.get(bias).unwrap().to_vec())
    };
    let (plain, equal, zero_heavy) = (pass(None), pass(Some(&[2.0; 3])), pass(Some(&[1000.0, 1e-3, 1.0])));
    assert_eq!(plain.0, equal.0);
    // What is nearly all of the weight pulls towards itself alone.
    assert!(zero_heavy.1[0] < 0.0 && zero_heavy.1[1] > 0.0 && zero_heavy.1[2] > 0.0, "{zero_heavy:?}");
    let error = model.differentiate_objective(
        &mut Context::default(),
        &images,
        [3, 64, 32],
        &Objective { class_weights: Some(&[1.0; 2]), ..Objective::of(&[0, 1, 0]) },
    );
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
