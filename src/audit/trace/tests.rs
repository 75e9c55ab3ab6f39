//! What is recorded is what ran, changes no bit of it, and verifies.

use super::*;
use crate::autograd::ops::CrossEntropy;
use crate::autograd::{ConvLayer, Mode, NormLayer, ParameterKind, Parameters, Tape};
use std::fs;

use crate::models::Metadata;
use crate::phantom;
use crate::prepare::Preprocessing;
use crate::tensor::Tensor;
use osteon_kernels::par::Pool;

pub fn study() -> Study {
    let patient = phantom::simulate(&phantom::PhantomOptions::default(), 3);
    Study { anterior: Some(patient.anterior), posterior: Some(patient.posterior), ..Study::default() }
}

/// A model whose batch normalisations do something, so that nothing is verified for zeros and ones alone.
pub fn model(folder: &Path, architecture: &str, spatial_norm: bool) -> PathBuf {
    let classes = ["a", "b", "c"].map(str::to_owned);
    let mut metadata = Metadata::new(architecture, &classes, [64, 40], Preprocessing::default());
    metadata.attention.spatial_norm = spatial_norm;
    let mut model = Model::initialised(metadata, 4).unwrap();
    let small: Vec<ParameterId> =
        model.parameters().iter().filter(|(_, parameter)| parameter.value.shape().len() == 1).map(|(id, _)| id).collect();
    for id in small {
        model
            .parameters_mut()
            .values_mut(id)
            .iter_mut()
            .enumerate()
            .for_each(|(i, x)| *x += 0.01 * ((i * 7 + id.index()) % 13) as f32);
    }
    let path = folder.join(format!("{architecture}-{spatial_norm}.safetensors"));
    model.save(&path).unwrap();
    path
}

pub fn step() -> TraceOptions {
    TraceOptions { train: Some(TrainOptions { label: None, learning_rate: 0.01 }), ..TraceOptions::default() }
}

/// What a recorder hears, as bits: nothing of it may depend on threads.
#[test]
fn recording_changes_no_bit_and_hears_the_same_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::load(model(folder.path(), "inrac", false)).unwrap();
    let images: Vec<f32> = (0..2 * 65 * 40).map(|i| (i * 7919 % 1009) as f32 / 504.0 - 1.0).collect();
    let run = |threads: usize, record: bool| {
        Pool::new(threads).unwrap().run(|| {
            let folder = Folder(folder.path().to_owned());
            let mut context = Context::default();
            let log = Arc::new(Mutex::new(Log::create(&folder, context.isa, false).unwrap()));
            if record {
                context.recorder = Some(Box::new(Handle(log.clone())));
            }
            let inferred = model.infer(&mut context, &images, [2, 65, 40]).unwrap();
            let pass = model.differentiate(&mut context, &images, [2, 65, 40], &[1, 2]).unwrap();
            let gradients = model.parameters().trained().into_iter().map(|id| pass.gradients.get(id).unwrap().to_vec());
            let statistics = pass.statistics.iter().map(|(_, values)| values.to_vec());
            let all = [inferred.logits, inferred.probabilities, vec![pass.loss]].into_iter().chain(gradients).chain(statistics);
            let bits: Vec<u32> = all.flatten().map(f32::to_bits).collect();
            let hashes: Vec<_> = lock(&log).records.iter().map(|record| (record.name.clone(), record.sha256.clone())).collect();
            (bits, hashes)
        })
    };
    let (plain, nothing) = run(2, false);
    assert!(nothing.is_empty());
    let (_, first) = run(1, true);
    assert!(first.len() > 1250, "{} records of an inference and a training pass", first.len());
    for threads in [1, 2, 3] {
        let (bits, hashes) = run(threads, true);
        assert!(bits == plain, "recorded on {threads} threads, other bits");
        assert!(hashes == first, "recorded on {threads} threads, other hashes");
    }
}

#[test]
fn every_operation_of_the_plan_is_recorded_once_with_all_that_it_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path(), "inrac", false);
    let output = folder.path().join("trace");
    let header = trace(&path, &study(), &step(), &output).unwrap();
    let (read, records) = Folder(output.clone()).read().unwrap();
    assert_eq!(read, header);
    let model = Model::load(&path).unwrap();
    let mut context = Context::default();
    let mut tape = Tape::plan(Mode::Training, model.parameters(), &mut context);
    let input = tape.input([1, 64, 40, 1], &[], false).unwrap();
    let logits = model.forward(&mut tape, input).unwrap();
    tape.release(logits);
    let name = |(layer, op): (String, Op)| (layer, op.name().to_owned());
    let planned = tape.nodes().iter().filter_map(|node| Some((node.layer.to_string(), *node.operation()?.0)));
    let forward: Vec<(String, String)> = planned.map(name).collect();
    let loss = records.iter().position(|record| record.equation == CrossEntropy {}.into()).unwrap();
    let is_step = |record: &&Record| record.part == Part::Output && record.equation != Softmax {}.into();
    let recorded = records[..loss].iter().filter(is_step);
    let recorded = recorded.filter_map(|record| Some((record.layer.clone(), *record.equation.op()?))).map(name);
    let recorded: Vec<(String, String)> = recorded.collect();
    assert!(recorded == forward, "{:?}", recorded.iter().zip(&forward).find(|(recorded, planned)| recorded != planned));
    // Every trained parameter has a gradient and a step, every running statistic a move.
    let count = |wanted: &dyn Fn(&Equation) -> bool| records.iter().filter(|record| wanted(&record.equation)).count();
    let trained = model.parameters().trained().len();
    assert_eq!(count(&|equation| matches!(equation, Equation::Other(OtherEquation::Adam { .. }))), trained);
    let moved = count(&|equation| {
        matches!(equation, Equation::Other(OtherEquation::RunningMean { .. } | OtherEquation::RunningVariance { .. }))
    });
    assert_eq!(moved, model.parameters().iter().len() - trained);
    assert_eq!(records.iter().filter(|record| record.name == "parameter").count(), model.parameters().iter().len());
    // What nothing reads is what a step is for.
    let mut read = vec![false; records.len()];
    records.iter().flat_map(|record| &record.inputs).for_each(|&input| read[input] = true);
    for record in records.iter().filter(|record| !read[record.number]) {
        let last = match record.equation {
            Equation::Other(other) => other != OtherEquation::Given,
            Equation::Operation(op) => op == CrossEntropy {}.into(),
        };
        assert!(last, "nothing reads {} ({} of {})", record.number, record.name, record.layer);
    }
    assert!(header.loss.is_some_and(|loss| loss > 0.0) && header.label.is_some());
    let page = fs::read_to_string(output.join(Folder::PAGE)).unwrap();
    assert!(page.contains(DISCLAIMER) && page.contains("layer4.1.conv2") && page.contains("data:image/png;base64"));
}

/// A loss with weights of classes, of three images: of one alone they would cancel.
#[test]
fn a_weighted_loss_is_recorded_and_verifies() {
    let folder = Folder(tempfile::tempdir().unwrap().keep());
    let parameters = Parameters::new();
    let verdicts = verify_tape(&folder, |context| {
        let mut tape = Tape::new(Mode::Training, &parameters, context);
        let logits = tape.input([3, 4], &[0.5, -1.0, 2.0, 0.25, 1.5, 1.5, -0.5, 0.0, -2.0, 0.75, 3.0, 1.0], true).unwrap();
        let weights = tape.input([4], &[0.3, 1.7, 2.5, 0.9], false).unwrap();
        let loss = tape.weighted_cross_entropy(logits, weights, &[2, 0, 3]).unwrap();
        tape.backward(loss, &[1.0]).unwrap();
    });
    let names: Vec<&str> = verdicts.iter().map(|verdict| &*verdict.name).collect();
    for name in ["softmax", "weighted cross-entropy", "weighted cross-entropy backward: gradient of logits"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    for verdict in &verdicts {
        assert!(verdict.holds(), "{verdict:?}");
    }
    fs::remove_dir_all(&folder.0).unwrap();
}

/// What `verify` says of the operations of a tape that `work` makes.
fn verify_tape(folder: &Folder, work: impl FnOnce(&mut Context)) -> Vec<super::super::Verdict> {
    let log = Arc::new(Mutex::new(Log::create(folder, Isa::detect(), true).unwrap()));
    let mut context = Context { recorder: Some(Box::new(Handle(log.clone()))), ..Context::new(Isa::detect()) };
    work(&mut context);
    context.recorder = None;
    let log = Arc::into_inner(log).unwrap().into_inner().unwrap().finish().unwrap();
    let mut header: Header = serde_json::from_value(serde_json::json!({
        "format": FORMAT, "version": "", "caveat": "", "run": "", "model": "", "model_sha256": "", "architecture": "",
        "trained_on": "", "scan": {}, "input_size": [9, 7], "isa": "", "threads": 1, "probabilities": {}, "label": null,
        "loss": null, "milliseconds": 0.0, "recorded_milliseconds": 0.0, "operations": 0, "operations_sha256": ""
    }))
    .unwrap();
    folder.write(&mut header, &log.records).unwrap();
    super::super::verify(&folder.0, None, &|_, _| ()).unwrap().1
}

/// Operations that no network traces: recorded from a tape, and their numbers are right.
#[test]
fn a_frozen_tape_is_recorded_and_verifies() {
    let folder = Folder(tempfile::tempdir().unwrap().keep());
    let mut parameters = Parameters::new();
    let vector = |parameters: &mut Parameters, name: &str, first: f32| {
        let values = (0..6).map(|i| first + 0.3 * i as f32).collect();
        parameters.add(name, ParameterKind::Plain, Tensor::new([6], values))
    };
    let ids =
        ["gamma", "beta", "mean", "variance"].map(|name| vector(&mut parameters, name, if name == "beta" { -0.7 } else { 0.2 }));
    let values = (0..3 * 3 * 6 * 6).map(|i| (i * 29 % 83) as f32 / 160.0 - 0.25).collect();
    let weight = parameters.add("weight", ParameterKind::Convolution, Tensor::new([3, 3, 6, 6], values));
    let verdicts = verify_tape(&folder, |context| {
        let mut tape = Tape::new(Mode::Frozen, &parameters, context);
        let values: Vec<f32> = (0..2 * 9 * 7 * 6).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        let x = tape.input([2, 9, 7, 6], &values, true).unwrap();
        let twice = tape.retain(&x);
        let sum = tape.add(x, twice).unwrap();
        let (affine, running) = ([ids[0], ids[1]], [ids[2], ids[3]]);
        let layer = NormLayer { name: "bn".into(), affine, running, epsilon: 1e-5, momentum: 0.1 };
        let normal = tape.batch_norm(sum, &layer, true).unwrap();
        let conv = ConvLayer { name: "conv".into(), weight, stride: [2, 1], padding: [1, 1] };
        let convolved = tape.conv_norm(normal, &conv, &layer, true).unwrap();
        let convolved = tape.conv_norm(convolved, &conv, &layer, false).unwrap();
        let pooled = tape.average_pool(convolved, [3, 3], [2, 2], [1, 1]).unwrap();
        let len = tape.shape(&pooled).len();
        let seed: Vec<f32> = (0..len).map(|i| (i * 13 % 17) as f32 / 8.0 - 1.0).collect();
        tape.backward(pooled, &seed).unwrap();
    });
    let names: Vec<&str> = verdicts.iter().map(|verdict| &*verdict.name).collect();
    for name in [
        "average pool backward: gradient of x",
        "conv, batch norm backward: gradient of x",
        "conv, batch norm, relu backward: gradient of x",
        "batch norm, running statistics, relu backward: gradient of x",
        "add gradients",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    for verdict in &verdicts {
        assert!(verdict.holds(), "{verdict:?}");
    }
    assert!(folder.file(Folder::PICTURES).join(page::picture_name(0)).is_file());
    fs::remove_dir_all(&folder.0).unwrap();
}

#[test]
fn what_is_there_stays_and_what_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path(), "inrac-no-residual-no-attention", false);
    let output = folder.path().join("trace");
    fs::create_dir(&output).unwrap();
    fs::write(output.join("precious"), b"x").unwrap();
    let refusal = trace(&path, &study(), &TraceOptions::default(), &output).unwrap_err().to_string();
    assert!(refusal.contains("exists already"), "{refusal}");
    assert_eq!(fs::read(output.join("precious")).unwrap(), b"x");
    let output = folder.path().join("other");
    let small = TraceOptions { input_size: Some([31, 32]), ..TraceOptions::default() };
    let one_pixel = TraceOptions { input_size: Some([32, 32]), ..step() };
    let mut stranger = step();
    stranger.train.as_mut().unwrap().label = Some("d".into());
    for (options, part) in [(small, "at least 32"), (one_pixel, "one pixel"), (stranger, "no class `d`")] {
        let error = trace(&path, &study(), &options, &output).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}
