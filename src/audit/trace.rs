//! Runs one study, or one training step on it, and writes every operation of it: what it computed from what, how, how long it
//! took, and the values themselves.
//!
//! It is the network's own run: the tape tells a [`Recorder`] of each operation as it is done.

use super::log::{Equation, FORMAT, Folder, Header, OtherEquation, Part, Record, Summary, TensorWriter, Type};
use super::page;
use crate::autograd::ops::{Add, Description, MAX_GRADIENTS, Read, SavedOrigin, SavedValues, Softmax};
use crate::autograd::{Context, Drops, Op, ParameterId, Recorder, Saved, TapeEvent};
use crate::files::{Output, Staging};
use crate::intake::Study;
use crate::models::{Inference, Model};
use crate::optim::{Adam, Moments};
use crate::prepare::views;
use crate::tensor::Shape;
use osteon_kernels::conv::{Algorithm, Pass};

use crate::{DISCLAIMER, Error, Result, files, metrics, text};
use osteon_kernels::par;
use osteon_kernels::simd::Isa;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What to trace.
#[derive(Clone, Debug, Default)]
pub struct TraceOptions {
    /// Rows and columns of the network's input, where not the model's own.
    pub input_size: Option<[usize; 2]>,
    /// A training step in place of inference.
    pub train: Option<TrainOptions>,
    /// Whether to write all feature maps as pictures.
    pub pictures: bool,
    /// Whether the folder may hold another trace, which is replaced.
    pub force: bool,
}

/// The training step: a batch of the one study, and Adam's first step.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The study's class; without it the one that the model predicts.
    pub label: Option<String>,
    /// Of Adam.
    pub learning_rate: f32,
}

/// Traces `study` through a model, into a folder.
///
/// # Errors
/// A model that cannot be used; views that cannot be fused; an input that is too small; a folder that holds anything without `force`, or cannot
/// be written: it is then as it was before.
pub fn trace(model: &Path, study: &Study, options: &TraceOptions, output: &Path) -> Result<Header> {
    let inputs: Vec<&Path> = study.sources.iter().map(PathBuf::as_path).chain([model]).collect();
    if !options.force && output.is_dir() && !files::is_empty_folder(output) {
        let remedy = "choose another output folder, or write into it with --force";
        return Err(Error::file(output, "exists already", remedy));
    }
    let output = Output::folder(output, options.force, &Folder::FILES, &inputs)?;
    let name = text::plain(Path::new(model.file_name().unwrap_or(model.as_os_str())));
    let network = Model::load(model)?;
    let model_sha256 = network.file_sha256().unwrap_or_default().to_owned();
    let staging = Staging::new(output)?;
    let folder = Folder(staging.file(""));
    let traced = run(network, study, options, &folder).and_then(|(mut header, log)| {
        (header.model, header.model_sha256) = (name, model_sha256);
        folder.write(&mut header, &log.records)?;
        files::write(folder.file(Folder::PAGE), page::html(&header, &log.records, &log.thumbnails, log.pictures).as_bytes())?;
        Ok(header)
    });
    let header = staging.named(traced)?;
    staging.commit(Folder::HEADER)?;
    Ok(header)
}

fn run(mut model: Model, study: &Study, options: &TraceOptions, folder: &Folder) -> Result<(Header, Log)> {
    let about = model.metadata().clone();
    let size = options.input_size.unwrap_or(about.input_size);
    let fused = views::fuse(study, &about.preprocessing)?;
    let input = views::network_input(&fused.image, size, &about.preprocessing);
    let shape = [1, size[0], size[1]];
    let mut context = Context::default();
    let mut header = Header {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        caveat: DISCLAIMER.into(),
        run: "inference".into(),
        model: String::new(),
        model_sha256: String::new(),
        architecture: about.architecture.clone(),
        trained_on: about.trained_on.clone(),
        training_studies: about.training_studies,
        scan: study.hashes()?,
        input_size: size,
        isa: context.isa.name().into(),
        threads: par::workers(),
        probabilities: BTreeMap::new(),
        label: None,
        loss: None,
        milliseconds: 0.0,
        recorded_milliseconds: 0.0,
        operations: 0,
        operations_sha256: String::new(),
    };
    // The first pass packs the weights, so that times are those of the passes after it.
    model.infer(&mut context, &input.pixels, shape)?;
    let log = Arc::new(Mutex::new(Log::create(folder, context.isa, options.pictures)?));
    let recorder = || Some(Box::new(Handle(log.clone())) as Box<dyn Recorder>);
    let (Inference { logits, probabilities }, plain) = timed(|| model.infer(&mut context, &input.pixels, shape))?;
    let (plain, recorded) = match &options.train {
        None => {
            context.recorder = recorder();
            let (again, recorded) = timed(|| model.infer(&mut context, &input.pixels, shape))?;
            same_bits([(&logits[..], &again.logits[..]), (&probabilities[..], &again.probabilities[..])])?;
            (plain, recorded)
        }
        Some(train) => {
            let label = match &train.label {
                None => metrics::predicted(&probabilities),
                Some(label) => about.classes.iter().position(|class| class == label).ok_or_else(|| {
                    let remedy = format!("choose one of {}", about.classes.join(", "));
                    Error::setting(format!("the model has no class `{label}`"), remedy)
                })?,
            };
            let mut step = |recorder| {
                context.recorder = recorder;
                context.dropout = Some(Drops { seed: 0, step: 0 });
                timed(|| model.differentiate(&mut context, &input.pixels, shape, &[label as u32]))
            };
            let ((expected, plain), (pass, recorded)) = (step(None)?, step(recorder())?);
            let gradients = |id| Some((expected.gradients.get(id)?, pass.gradients.get(id)?));
            same_bits(model.parameters().trained().into_iter().filter_map(gradients))?;
            (header.run, header.label, header.loss) =
                ("training step".into(), Some(about.classes[label].clone()), Some(pass.loss));
            let adam = Adam::default();
            let mut moments = Moments::new(model.parameters());
            let (isa, rate) = (context.isa, train.learning_rate);
            let start = Instant::now();
            moments.step(isa, &adam, model.parameters_mut(), &pass.gradients, rate);
            lock(&log).adam(&model, &adam, rate, start.elapsed());
            (plain, recorded)
        }
    };
    (header.milliseconds, header.recorded_milliseconds) = (1e3 * plain.as_secs_f64(), 1e3 * recorded.as_secs_f64());
    header.probabilities = about.classes.into_iter().zip(probabilities).collect();
    context.recorder = None;
    let log = Arc::into_inner(log).expect("the recorder is gone, and no other has the log");
    let log = log.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((header, log.finish()?))
}

/// What some work gives, and how long it took.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    work().map(|result| (result, start.elapsed()))
}

/// A trace is of the run that would have been without it, or it is none.
fn same_bits<'a>(pairs: impl IntoIterator<Item = (&'a [f32], &'a [f32])>) -> Result<()> {
    let same = |(a, b): (&[f32], &[f32])| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
    if pairs.into_iter().all(same) {
        return Ok(());
    }
    Err(Error::failed("the recorded run has other bits than the one before it", "check the machine's memory, and report it"))
}

/// The log as a tape sees it.
#[derive(Debug)]
struct Handle(Arc<Mutex<Log>>);

fn lock(log: &Mutex<Log>) -> std::sync::MutexGuard<'_, Log> {
    // A poisoned lock only means that a test panicked.
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What has been recorded, and which record each value of the tape is.
#[derive(Debug)]
struct Log {
    folder: Folder,
    isa: Isa,
    pictures: bool,
    tensors: Option<TensorWriter>,
    records: Vec<Record>,
    /// By record: a picture of its feature maps.
    thumbnails: Vec<Option<Vec<u8>>>,
    /// The first error of writing; after it nothing is recorded.
    failed: Option<Error>,
    /// By slot of the tape, and by parameter: numbers of records.
    values: HashMap<usize, usize>,
    /// Of the operation that gave a slot: the inputs' records, and those of what it saved.
    read: HashMap<usize, Vec<usize>>,
    saved: HashMap<usize, Vec<usize>>,
    gradients: HashMap<usize, usize>,
    /// Gradients of a slot that will be added to the one it has.
    waiting: HashMap<usize, Vec<usize>>,
    parameters: HashMap<ParameterId, usize>,
    parameter_gradients: HashMap<ParameterId, usize>,
}

/// What a record says beside what its values say.
struct Made<'a> {
    name: &'a str,
    layer: &'a str,
    part: Part,
    source: &'a str,
    inputs: &'a [usize],
    shape: &'a [usize],
    algorithm: Option<Algorithm>,
    flops: u64,
    time: Duration,
    computed_with: Option<usize>,
    equation: Equation,
}

impl<'a> Made<'a> {
    /// A result of a forward operation.
    fn by(op: &'a Op, about: &Description, layer: &'a str, part: Part, inputs: &'a [usize], shape: &'a [usize]) -> Self {
        let algorithm = about.convolution.map(|shape| Algorithm::choose(Pass::Forward, shape));
        Made { part, inputs, algorithm, equation: (*op).into(), ..Made::given(op.name(), layer, about.source, shape) }
    }

    /// Something from outside.
    fn given(name: &'a str, layer: &'a str, source: &'a str, shape: &'a [usize]) -> Self {
        let (part, equation) = (Part::Output, Equation::GIVEN);
        let (inputs, algorithm, computed_with) = (&[][..], None, None);
        Made { name, layer, part, source, inputs, shape, algorithm, flops: 0, time: Duration::ZERO, computed_with, equation }
    }
}

impl Recorder for Handle {
    fn record(&mut self, event: TapeEvent) {
        let mut log = lock(&self.0);
        match event {
            TapeEvent::Leaf { parameter, layer, slot, shape, value } => log.leaf(parameter, layer, slot, shape, value),
            TapeEvent::Forward { op, description, layer, inputs, output, shape, value, saved, time } => {
                log.forward((op, description), layer, inputs, output, shape, value, saved, time);
            }
            TapeEvent::Statistics { of, momentum, pixels, running, moved } => {
                let (mean, variance) =
                    (OtherEquation::RunningMean { momentum }, OtherEquation::RunningVariance { momentum, pixels });
                let equations = [mean, variance].map(Equation::Other);
                let names = ["running mean", "running variance"];
                for (((id, moved), equation), name) in running.into_iter().zip(moved).zip(equations).zip(names) {
                    let (before, shape) = (log.parameters[&id], [moved.len()]);
                    let layer = log.records[before].layer.clone();
                    let inputs = [log.saved[&of][0], before];
                    let source = "Ioffe and Szegedy 2015, section 3.1, as PyTorch has it";
                    let made = Made {
                        inputs: &inputs,
                        flops: 3 * moved.len() as u64,
                        equation,
                        ..Made::given(name, &layer, source, &shape)
                    };
                    log.add(made, moved);
                }
            }
            TapeEvent::Seed { slot, gradient } => {
                let shape = log.records[log.values[&slot]].shape.clone();
                let made = Made::given("gradient of the loss by itself", "loss", "d loss / d loss = 1", &shape);
                let number = log.add(made, gradient);
                log.gradients.insert(slot, number);
            }
            TapeEvent::Backward { op, description, layer, of, gradients, time } => {
                log.backward((op, description), layer, of, gradients, time);
            }
            TapeEvent::Sum { slot, gradient, time } => {
                let (before, second) = (log.gradients[&slot], log.waiting.get_mut(&slot).map(|waiting| waiting.remove(0)));
                let number = log.sum(before, second.expect("its operation told of it"), gradient, time);
                log.gradients.insert(slot, number);
            }
            TapeEvent::Parameter { slot, id, gradient, time } => {
                let newest = log.gradients[&slot];
                let number = match log.parameter_gradients.get(&id) {
                    None => newest,
                    Some(&before) => log.sum(before, newest, gradient, time),
                };
                log.parameter_gradients.insert(id, number);
            }
        }
    }
}

impl Log {
    fn create(folder: &Folder, isa: Isa, pictures: bool) -> Result<Self> {
        let path = folder.file(Folder::TENSORS);
        let tensors = TensorWriter::create(&path).map_err(|error| Error::io(&path, "written", &error))?;
        if pictures {
            files::create_folder(folder.file(Folder::PICTURES))?;
        }
        Ok(Log {
            folder: folder.clone(),
            isa,
            pictures,
            tensors: Some(tensors),
            records: Vec::new(),
            thumbnails: Vec::new(),
            failed: None,
            values: HashMap::new(),
            read: HashMap::new(),
            saved: HashMap::new(),
            gradients: HashMap::new(),
            waiting: HashMap::new(),
            parameters: HashMap::new(),
            parameter_gradients: HashMap::new(),
        })
    }

    /// Makes what was written last.
    fn finish(mut self) -> Result<Log> {
        let path = self.folder.file(Folder::TENSORS);
        match (self.failed.take(), self.tensors.take()) {
            (Some(error), _) => Err(error),
            (None, Some(tensors)) => tensors.finish().map_err(|error| Error::io(path, "written", &error)).map(|()| self),
            (None, None) => Ok(self),
        }
    }

    /// A record of values, and their picture.
    fn add(&mut self, made: Made, values: &[f32]) -> usize {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let summary = Summary::of(values.iter().map(|&value| f64::from(value)));
        let is_adam = matches!(made.equation, Equation::Other(OtherEquation::Adam { .. }));
        let is_parameter = is_adam || (made.layer != "input" && made.equation == Equation::GIVEN);
        let weights = matches!((made.part, made.equation.op()), (Part::Gradient(1), Some(Op::Conv(_))));
        let maps = if is_parameter || weights { None } else { page::Maps::new(made.shape, values) };
        let number = self.push(made, Type::F32, bytes, summary);
        self.thumbnails.push(maps.as_ref().map(page::Maps::thumbnail));
        if let Some(maps) = maps.filter(|_| self.pictures && self.failed.is_none()) {
            let path = self.folder.file(Folder::PICTURES).join(page::picture_name(number));
            self.failed = files::write(path, &maps.full()).err();
        }
        number
    }

    /// A record of labels, or of where maxima were.
    fn add_indices(&mut self, made: Made, values: &[u32]) -> usize {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let number = self.push(made, Type::U32, bytes, Summary::of(values.iter().map(|&value| f64::from(value))));
        self.thumbnails.push(None);
        number
    }

    fn push(&mut self, made: Made, dtype: Type, bytes: Vec<u8>, summary: Summary) -> usize {
        let number = self.records.len();
        if let Some(tensors) = self.tensors.as_mut().filter(|_| self.failed.is_none())
            && let Err(error) = tensors.add(number.to_string(), dtype, made.shape, &bytes)
        {
            self.failed = Some(Error::io(self.folder.file(Folder::TENSORS), "written", &error));
        }
        let read: usize = made.inputs.iter().map(|&input| self.records[input].shape.iter().product::<usize>()).sum();
        self.records.push(Record {
            number,
            name: made.name.into(),
            layer: made.layer.into(),
            part: made.part,
            source: made.source.into(),
            inputs: made.inputs.to_vec(),
            shape: made.shape.to_vec(),
            dtype,
            algorithm: made.algorithm.map(|algorithm| algorithm.name().into()),
            isa: (made.equation != Equation::GIVEN).then(|| self.isa.name().into()),
            flops: made.flops,
            bytes: (4 * read + bytes.len()) as u64,
            microseconds: made.time.as_nanos() as f64 / 1000.0,
            computed_with: made.computed_with,
            summary,
            sha256: files::sha256(&bytes),
            equation: made.equation,
        });
        number
    }

    /// A tensor from outside, or a parameter: one that two operations read is recorded once.
    fn leaf(&mut self, parameter: Option<ParameterId>, layer: &str, slot: usize, shape: Shape, value: &[f32]) {
        self.read.remove(&slot);
        self.saved.remove(&slot);
        let known = parameter.and_then(|id| self.parameters.get(&id).copied());
        let number = known.unwrap_or_else(|| {
            let (name, source) = if parameter.is_some() { ("parameter", "the model file") } else { ("input", "from outside") };
            self.add(Made::given(name, layer, source, &shape), value)
        });
        self.values.insert(slot, number);
        self.parameters.extend(parameter.map(|id| (id, number)));
    }

    fn forward(
        &mut self,
        (op, about): (&Op, &Description),
        layer: &str,
        inputs: &[usize],
        output: usize,
        shape: Shape,
        value: &[f32],
        saved: &Saved,
        time: Duration,
    ) {
        let inputs: Vec<usize> = inputs.iter().map(|input| self.values[input]).collect();
        let saved = self.save(op, about, layer, &inputs, saved);
        let read = reads(about.reads, &inputs, &saved);
        let flops = about.flops.products + about.flops.rest;
        let number = self.add(Made { flops, time, ..Made::by(op, about, layer, Part::Output, &read, &shape) }, value);
        self.values.insert(output, number);
        self.read.insert(output, inputs);
        self.saved.insert(output, saved);
    }

    /// Records what an operation saved; gives their numbers. One pass computed it together with the result, which comes last and has
    /// the time.
    fn save(&mut self, op: &Op, about: &Description, layer: &str, inputs: &[usize], saved: &Saved) -> Vec<usize> {
        let mut numbers = Vec::new();
        for value in saved.values() {
            let computed_with = Some(self.records.len() + 1);
            let read: Vec<usize>;
            let made = match value.origin {
                SavedOrigin::Given => Made::given(value.name, layer, "from outside", &value.shape),
                SavedOrigin::Operation { reads: wanted, flops } => {
                    read = reads(wanted, inputs, &numbers);
                    let flops = flops(self.records[inputs[0]].shape.iter().product());
                    let made = Made::by(op, about, layer, Part::Saved, &read, &value.shape);
                    Made { name: value.name, computed_with, flops, ..made }
                }
                SavedOrigin::Softmax { flops } => {
                    read = vec![inputs[0]];
                    let op = Op::from(Softmax {});
                    let source = op.describe(&[value.shape]).source;
                    let made = Made::given(value.name, layer, source, &value.shape);
                    Made { inputs: &read, computed_with, flops, equation: op.into(), ..made }
                }
            };
            numbers.push(match value.values {
                SavedValues::Floats(values) => self.add(made, values),
                SavedValues::Indices(values) => self.add_indices(made, values),
            });
        }
        numbers
    }

    fn backward(
        &mut self,
        (op, about): (&Op, &Description),
        layer: &str,
        of: usize,
        gradients: [(usize, &[f32]); MAX_GRADIENTS],
        time: Duration,
    ) {
        let (g, y) = (self.gradients[&of], self.values[&of]);
        let (x, saved) = (self.read[&of].clone(), self.saved[&of].clone());
        let wanted = gradients.iter().enumerate().filter(|(_, (_, gradient))| !gradient.is_empty());
        let first = self.records.len();
        for (k, &(slot, gradient)) in wanted {
            let input = &about.inputs[k];
            let mut inputs = vec![g];
            inputs.extend(reads(input.gradient_reads.unwrap_or_default(), &x, &saved));
            inputs.extend(about.gradients_read_output.then_some(y));
            let shape = self.records[self.values[&slot]].shape.clone();
            let pass = if k == 0 { Pass::BackwardData } else { Pass::BackwardWeights };
            let is_first = self.records.len() == first;
            let number = self.add(
                Made {
                    name: &format!("{} backward: gradient of {}", op.name(), input.name),
                    layer,
                    part: Part::Gradient(k),
                    source: about.gradient_source,
                    inputs: &inputs,
                    shape: &shape,
                    algorithm: about.convolution.filter(|_| k < 2).map(|shape| Algorithm::choose(pass, shape)),
                    flops: about.flops.gradients[k],
                    time: if is_first { time } else { Duration::ZERO },
                    computed_with: (!is_first).then_some(first),
                    equation: (*op).into(),
                },
                gradient,
            );
            match self.gradients.entry(slot) {
                Entry::Vacant(vacant) => drop(vacant.insert_entry(number)),
                Entry::Occupied(_) => self.waiting.entry(slot).or_default().push(number),
            }
        }
    }

    /// Two gradients of one value, added.
    fn sum(&mut self, before: usize, second: usize, gradient: &[f32], time: Duration) -> usize {
        let (shape, layer) = (self.records[before].shape.clone(), self.records[before].layer.clone());
        let (inputs, equation, flops) = ([before, second], Add {}.into(), gradient.len() as u64);
        let made = Made::given("add gradients", &layer, "Goodfellow et al. 2016, eq. 6.47 (the chain rule's sum)", &shape);
        self.add(Made { inputs: &inputs, equation, flops, time, ..made }, gradient)
    }

    /// Every parameter after Adam's first step, which was one step of all of them.
    fn adam(&mut self, model: &Model, adam: &Adam, learning_rate: f32, time: Duration) {
        let Adam { beta1, beta2, epsilon, weight_decay, decoupled: _ } = *adam; // the default: none of either kind
        let equation = Equation::Other(OtherEquation::Adam { learning_rate, beta1, beta2, epsilon, weight_decay });
        let first = self.records.len();
        for id in model.parameters().trained() {
            let Some((&before, &gradient)) = self.parameters.get(&id).zip(self.parameter_gradients.get(&id)) else { continue };
            let parameter = model.parameters().get(id);
            let (shape, is_first) = (parameter.value.shape(), self.records.len() == first);
            let made = Made::given("Adam", &parameter.name, "Kingma and Ba 2015, algorithm 1", &shape);
            let made = Made {
                inputs: &[gradient, before],
                equation,
                flops: 12 * shape.len() as u64,
                time: if is_first { time } else { Duration::ZERO },
                computed_with: (!is_first).then_some(first),
                ..made
            };
            self.add(made, parameter.value.values());
        }
    }
}

/// The records that an equation reads, of an operation's inputs and what it saved.
fn reads(wanted: &[Read], inputs: &[usize], saved: &[usize]) -> Vec<usize> {
    let record = |read: &Read| match *read {
        Read::Input(k) => inputs.get(k),
        Read::Saved(k) => saved.get(k),
    };
    wanted.iter().filter_map(record).copied().collect()
}

#[cfg(test)]
pub(super) mod tests;
