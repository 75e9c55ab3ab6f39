//! Runs one study, or one training step on it, and writes every operation of it: what it computed from what, how, how long it
//! took, and the values themselves.
//!
//! It is the network's own run: the tape tells a [`Recorder`] of each operation as it is done.

use super::log::{Equation, FORMAT, Folder, Header, Part, Record, Summary, TensorWriter, Type};
use super::page;
use crate::autograd::{Event, MAX_GRADIENTS, Op, ParameterId, Recorder, Saved};
use crate::intake::Study;
use crate::models::Model;
use crate::optim::{Adam, Moments};
use crate::prepare::views;
use crate::tensor::{Context, Drops, Shape};
use crate::{DISCLAIMER, Error, Result, files, metrics};
use osteon_kernels::conv::{Algorithm, ConvShape, Pass};
use osteon_kernels::dropout::Dropout;
use osteon_kernels::par;
use osteon_kernels::simd::Isa;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs;
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
}

/// The training step: a batch of the one study, and Adam's first step.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// The study's class; without it the one that the model predicts.
    pub label: Option<String>,
    /// Of Adam.
    pub learning_rate: f32,
}

/// Traces `study` through a model, into a new folder.
///
/// # Errors
/// A model that cannot be used; views that cannot be fused; an input that is too small; a folder that is there already or cannot
/// be written, and then nothing is left of it.
pub fn trace(model: &Path, study: &Study, options: &TraceOptions, output: &Path) -> Result<Header> {
    let is_free = !output.exists() || fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_none());
    if !is_free {
        return Err(Error::file(output, "exists already", "choose another output folder, or remove this one"));
    }
    let name = model.file_name().unwrap_or(model.as_os_str()).to_string_lossy().into_owned();
    let bytes = Model::read(model)?;
    let model_sha256 = files::sha256(&bytes); // of the very bytes that are used
    let network = Model::from_bytes(model, bytes)?;
    let mut temporary = output.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let folder = Folder(PathBuf::from(temporary));
    fs::create_dir_all(&folder.0).map_err(|error| Error::io(output, "created", &error))?;
    let traced = run(network, study, options, &folder).and_then(|(mut header, log)| {
        (header.model, header.model_sha256) = (name, model_sha256);
        folder.write(&mut header, &log.records)?;
        files::write(folder.file(Folder::PAGE), page::html(&header, &log.records, &log.thumbnails, log.pictures).as_bytes())?;
        files::rename(&folder.0, output)?;
        Ok(header)
    });
    if traced.is_err() {
        // What failed is what is told.
        let _ = fs::remove_dir_all(&folder.0);
    }
    traced
}

fn run(mut model: Model, study: &Study, options: &TraceOptions, folder: &Folder) -> Result<(Header, Log)> {
    let about = model.metadata().clone();
    let size = options.input_size.unwrap_or(about.input_size);
    let fused = views::fuse(study, &about.preprocessing)?;
    let input = views::network_input(&fused.image, size, &about.preprocessing);
    let mut scan = BTreeMap::new();
    for path in &study.sources {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        scan.insert(name, files::sha256(&files::read(path)?));
    }
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
        scan,
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
    let (logits, plain) = timed(|| model.infer(&mut context, &input.pixels, shape))?;
    let probabilities = model.softmax(&logits).remove(0);
    let (plain, recorded) = match &options.train {
        None => {
            context.recorder = recorder();
            let (again, recorded) = timed(|| model.infer(&mut context, &input.pixels, shape))?;
            same_bits([(&logits[..], &again[..])])?;
            let (probabilities, time) = timed(|| Ok(model.softmax(&again).remove(0)))?;
            lock(&log).softmax(&probabilities, time);
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
    saved: HashMap<usize, usize>,
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
    fn by(op: &'a Op, layer: &'a str, part: Part, inputs: &'a [usize], shape: &'a [usize]) -> Self {
        let algorithm = convolution(op).map(|shape| Algorithm::choose(Pass::Forward, shape));
        Made { part, inputs, algorithm, equation: equation(op), ..Made::given(op.name(), layer, op.source(), shape) }
    }

    /// Something from outside.
    fn given(name: &'a str, layer: &'a str, source: &'a str, shape: &'a [usize]) -> Self {
        let (part, equation) = (Part::Output, Equation::Given);
        let (inputs, algorithm, computed_with) = (&[][..], None, None);
        Made { name, layer, part, source, inputs, shape, algorithm, flops: 0, time: Duration::ZERO, computed_with, equation }
    }
}

impl Recorder for Handle {
    fn record(&mut self, event: Event) {
        let mut log = lock(&self.0);
        match event {
            Event::Forward { op, layer, inputs, output, shape, value, saved, time } => {
                log.forward(op, layer, inputs, output, shape, value, saved, time);
            }
            Event::Statistics { of, momentum, pixels, running, moved } => {
                let equations = [Equation::RunningMean { momentum }, Equation::RunningVariance { momentum, pixels }];
                let names = ["running mean", "running variance"];
                for (((id, moved), equation), name) in running.into_iter().zip(moved).zip(equations).zip(names) {
                    let (before, shape) = (log.parameters[&id], [moved.len()]);
                    let layer = log.records[before].layer.clone();
                    let inputs = [log.saved[&of], before];
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
            Event::Seed { slot, gradient } => {
                let shape = log.records[log.values[&slot]].shape.clone();
                let made = Made::given("gradient of the loss by itself", "loss", "d loss / d loss = 1", &shape);
                let number = log.add(made, gradient);
                log.gradients.insert(slot, number);
            }
            Event::Backward { op, layer, of, gradients, time } => log.backward(op, layer, of, gradients, time),
            Event::Sum { slot, gradient, time } => {
                let (before, second) = (log.gradients[&slot], log.waiting.get_mut(&slot).map(|waiting| waiting.remove(0)));
                let number = log.sum(before, second.expect("its operation told of it"), gradient, time);
                log.gradients.insert(slot, number);
            }
            Event::Parameter { slot, id, gradient, time } => {
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

    /// A record of numbers, and their picture.
    fn add(&mut self, made: Made, values: &[f32]) -> usize {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let summary = Summary::of(values.iter().map(|&value| f64::from(value)));
        let is_parameter =
            matches!(made.equation, Equation::Adam { .. }) || (made.layer != "input" && made.equation == Equation::Given);
        let weights = matches!((made.part, made.equation), (Part::Gradient(1), Equation::Conv { .. }));
        let maps = if is_parameter || weights { None } else { page::Maps::new(made.shape, values) };
        let number = self.push(made, Type::F32, bytes, summary);
        self.thumbnails.push(maps.as_ref().map(page::Maps::thumbnail));
        if let Some(maps) = maps.filter(|_| self.pictures && self.failed.is_none()) {
            let path = self.folder.file(Folder::PICTURES).join(page::picture_name(number));
            self.failed = files::write(path, &maps.full()).err();
        }
        number
    }

    /// A record of labels or places.
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
            isa: (made.equation != Equation::Given).then(|| self.isa.name().into()),
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

    fn forward(
        &mut self,
        op: &Op,
        layer: &str,
        inputs: &[usize],
        output: usize,
        shape: Shape,
        value: &[f32],
        saved: &Saved,
        time: Duration,
    ) {
        // A parameter that two operations read is recorded once.
        if let Op::Parameter(id) = op
            && let Some(&number) = self.parameters.get(id)
        {
            self.values.insert(output, number);
            return;
        }
        let mut inputs: Vec<usize> = inputs.iter().map(|input| self.values[input]).collect();
        let read = inputs.first().map_or(0, |&input| self.records[input].shape.iter().product());
        let (results, channels) = (shape.len(), shape.last().copied().unwrap_or(1));
        self.saved.remove(&output);
        match *op {
            Op::BatchNorm(..) => {
                let (computed_with, statistics) = (Some(self.records.len() + 1), [3, channels]);
                let made =
                    Made { computed_with, flops: 4 * read as u64, ..Made::by(op, layer, Part::Saved, &inputs[..1], &statistics) };
                let number = self.add(Made { name: "batch norm: mean, 1/std, variance", ..made }, &saved.floats);
                self.saved.insert(output, number);
                inputs.truncate(3); // the running statistics are not read
                inputs.push(number);
            }
            // Inference asks for no places of what it scales and reduces in one pass.
            Op::MaxPool(_) | Op::GlobalMax(_) | Op::ChannelStats(_) | Op::ScaledStats(_) if !saved.indices.is_empty() => {
                let map = [shape[0], shape.get(1).copied().unwrap_or(1), shape.get(2).copied().unwrap_or(1)];
                let places = if matches!(op, Op::ChannelStats(_) | Op::ScaledStats(_)) { &map[..] } else { &shape[..] };
                let made =
                    Made { computed_with: Some(self.records.len() + 1), ..Made::by(op, layer, Part::Saved, &inputs, places) };
                let number = self.add_indices(Made { name: "where the maximum is", ..made }, &saved.indices);
                self.saved.insert(output, number);
            }
            Op::Dropout(_) => {
                let made =
                    Made { computed_with: Some(self.records.len() + 1), ..Made::by(op, layer, Part::Saved, &inputs, &shape) };
                let number = self.add(Made { name: "what dropout keeps", ..made }, &saved.floats);
                self.saved.insert(output, number);
                inputs.push(number);
            }
            Op::CrossEntropy { batch, classes } | Op::WeightedCrossEntropy { batch, classes } => {
                let probabilities = [batch, classes];
                let labels = self.add_indices(Made::given("labels", layer, "from outside", &[batch]), &saved.indices);
                let made = Made {
                    name: "softmax",
                    computed_with: Some(self.records.len() + 1),
                    flops: 4 * (batch * classes) as u64,
                    equation: Equation::Softmax,
                    ..Made::by(op, layer, Part::Output, &inputs[..1], &probabilities)
                };
                let number = self.add(made, &saved.floats[..batch * classes]);
                self.saved.insert(output, number);
                inputs.push(labels);
            }
            _ => {}
        }
        let flops = op.flops() + flops(op, results, read);
        let number = self.add(Made { flops, time, ..Made::by(op, layer, Part::Output, &inputs, &shape) }, value);
        self.values.insert(output, number);
        if let Op::Parameter(id) = op {
            self.parameters.insert(*id, number);
        }
    }

    fn backward(&mut self, op: &Op, layer: &str, of: usize, gradients: [(usize, &[f32]); MAX_GRADIENTS], time: Duration) {
        let (g, y) = (self.gradients[&of], self.values[&of]);
        let x = self.records[y].inputs.clone();
        let saved = self.saved.get(&of).copied();
        let wanted = gradients.iter().enumerate().filter(|(_, (_, gradient))| !gradient.is_empty());
        let first = self.records.len();
        for (k, &(slot, gradient)) in wanted {
            let mut inputs = vec![g];
            match (op, k) {
                (Op::Conv(_) | Op::ScaleChannels(_) | Op::ScalePixels(_), k) => inputs.push(x[1 - k]),
                (Op::Linear(_) | Op::ConvBias { .. }, 0 | 1) => inputs.push(x[1 - k]),
                (Op::ScaledStats(_), _) => inputs.extend([x[1 - k]].into_iter().chain(saved)),
                // The other two of x and its factors; the shortcut's is that of the sum.
                (Op::ScaleAddRelu(_), 0..3) => inputs.extend((0..3).filter(|&other| other != k).map(|other| x[other])),
                (Op::Concat(_), _) => inputs.extend(&x), // for their channels
                (Op::BatchNorm(..), _) => inputs.extend([x[0], x[1], x[3]]),
                (Op::FrozenNorm(..), _) => inputs.extend([x[1], x[4]]),
                (Op::CrossEntropy { .. }, _) => inputs.extend(saved.into_iter().chain([x[1]])),
                (Op::WeightedCrossEntropy { .. }, _) => inputs.extend(saved.into_iter().chain([x[2], x[1]])),
                _ => inputs.extend(saved),
            }
            let relu = match op {
                Op::BatchNorm(s, _) | Op::FrozenNorm(s, _) => s.relu,
                Op::ConvBias { relu, .. } => *relu,
                Op::Relu | Op::AddRelu | Op::ScaleAddRelu(_) | Op::Sigmoid => true,
                _ => false,
            };
            inputs.extend(relu.then_some(y));
            let shape = self.records[self.values[&slot]].shape.clone();
            let (len, from) = (gradient.len() as u64, self.records[g].shape.iter().product::<usize>() as u64);
            let flops = match (op, k) {
                (Op::Conv(_) | Op::ConvBias { .. } | Op::Linear(_), 0 | 1) => op.flops(),
                (Op::BatchNorm(..), 0) => 6 * len,
                (Op::BatchNorm(..), 1) => 3 * from,
                (Op::Sigmoid | Op::CrossEntropy { .. } | Op::WeightedCrossEntropy { .. }, _) => 3 * len,
                (Op::ScaleChannels(_) | Op::ScalePixels(_), 1) => 2 * from,
                (Op::ScaledStats(_), 0) => 3 * len,
                (Op::ScaledStats(_), 1) => 2 * self.records[x[0]].shape.iter().product::<usize>() as u64,
                (Op::ScaleAddRelu(_), 0) => 2 * len,
                (Op::ScaleAddRelu(_), 1 | 2) => 3 * from,
                (Op::FrozenNorm(..) | Op::ScaleChannels(_) | Op::ScalePixels(_) | Op::GlobalAverage(_), _) => len,
                (Op::AddScaled(_), 1) | (Op::Dropout(_), _) => len,
                (Op::Relu | Op::Add | Op::AddRelu | Op::ScaleAddRelu(_) | Op::AddScaled(_), _) => 0,
                (Op::GlobalMax(_) | Op::Concat(_) | Op::Flatten, _) => 0,
                _ => from,
            };
            let pass = if k == 0 { Pass::BackwardData } else { Pass::BackwardWeights };
            let is_first = self.records.len() == first;
            let number = self.add(
                Made {
                    name: &format!("{} backward: gradient of {}", op.name(), input_name(op, k)),
                    layer,
                    part: Part::Gradient(k),
                    source: op.gradient_source(),
                    inputs: &inputs,
                    shape: &shape,
                    algorithm: convolution(op).filter(|_| k < 2).map(|shape| Algorithm::choose(pass, shape)),
                    flops,
                    time: if is_first { time } else { Duration::ZERO },
                    computed_with: (!is_first).then_some(first),
                    equation: equation(op),
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
        let (inputs, equation, flops) = ([before, second], Equation::Add, gradient.len() as u64);
        let made = Made::given("add gradients", &layer, "Goodfellow et al. 2016, eq. 6.47 (the chain rule's sum)", &shape);
        self.add(Made { inputs: &inputs, equation, flops, time, ..made }, gradient)
    }

    /// The probabilities that follow from the last record, which holds the logits.
    fn softmax(&mut self, probabilities: &[f32], time: Duration) {
        let logits = self.records.len() - 1;
        let (shape, flops) = (self.records[logits].shape.clone(), 4 * probabilities.len() as u64);
        let made = Made::given("softmax", "probabilities", "Goodfellow et al. 2016, eq. 6.29", &shape);
        self.add(Made { inputs: &[logits], equation: Equation::Softmax, flops, time, ..made }, probabilities);
    }

    /// Every parameter after Adam's first step, which was one step of all of them.
    fn adam(&mut self, model: &Model, adam: &Adam, learning_rate: f32, time: Duration) {
        let Adam { beta1, beta2, epsilon, weight_decay, decoupled: _ } = *adam; // the default: none of either kind
        let equation = Equation::Adam { learning_rate, beta1, beta2, epsilon, weight_decay };
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

/// The convolution that an operation is or holds.
fn convolution(op: &Op) -> Option<ConvShape> {
    match *op {
        Op::Conv(shape) | Op::ConvBias { shape, .. } => Some(shape),
        Op::ConvNorm { shape, .. } | Op::ConvNormPool { shape, .. } => Some(shape),
        _ => None,
    }
}

/// What a file says of an operation.
fn equation(op: &Op) -> Equation {
    match *op {
        Op::Input | Op::Parameter(_) => Equation::Given,
        Op::Conv(ConvShape { stride, padding, .. }) => Equation::Conv { stride, padding },
        Op::ConvBias { shape: ConvShape { stride, padding, .. }, relu } => Equation::ConvBias { stride, padding, relu },
        Op::ConvNorm { shape: ConvShape { stride, padding, .. }, epsilon, relu } => {
            Equation::ConvNorm { stride, padding, epsilon, relu }
        }
        Op::ConvNormPool { shape: ConvShape { stride, padding, .. }, epsilon, pool } => {
            let [pool, pool_stride, pool_padding] = [pool.kernel, pool.stride, pool.padding];
            Equation::ConvNormPool { stride, padding, epsilon, pool, pool_stride, pool_padding }
        }
        Op::BatchNorm(s, epsilon) => Equation::BatchNorm { epsilon, relu: s.relu },
        Op::FrozenNorm(s, epsilon) => Equation::FrozenNorm { epsilon, relu: s.relu },
        Op::Relu => Equation::Relu,
        Op::Sigmoid => Equation::Sigmoid,
        Op::Add => Equation::Add,
        Op::AddRelu => Equation::AddRelu,
        Op::AddScaled(weight) => Equation::AddScaled { weight },
        Op::Concat(_) => Equation::Concat,
        Op::Flatten => Equation::Flatten,
        Op::Dropout(Dropout { rate, seed, step, place }) => Equation::Dropout { rate, seed, step, place },
        Op::MaxPool(s) => Equation::MaxPool { kernel: s.kernel, stride: s.stride, padding: s.padding, ceil_mode: s.ceil_mode },
        Op::AveragePool(s) => Equation::AveragePool { kernel: s.kernel, stride: s.stride, padding: s.padding },
        Op::AdaptiveAverage(_) => Equation::AdaptiveAverage,
        Op::GlobalAverage(_) => Equation::GlobalAverage,
        Op::GlobalMax(_) => Equation::GlobalMax,
        Op::GlobalStats(_) => Equation::GlobalStats,
        Op::AddHalves => Equation::AddHalves,
        Op::ChannelStats(_) => Equation::ChannelStats,
        Op::ScaleChannels(_) => Equation::ScaleChannels,
        Op::ScalePixels(_) => Equation::ScalePixels,
        Op::ScaledStats(_) => Equation::ScaledStats,
        Op::ScaleAddRelu(_) => Equation::ScaleAddRelu,
        Op::Linear(_) => Equation::Linear,
        Op::CrossEntropy { .. } => Equation::CrossEntropy,
        Op::WeightedCrossEntropy { .. } => Equation::WeightedCrossEntropy,
    }
}

/// What an operation calls its input `k`.
pub(super) fn input_name(op: &Op, k: usize) -> &'static str {
    match (op, k) {
        (Op::CrossEntropy { .. } | Op::WeightedCrossEntropy { .. }, _) => "logits",
        (Op::Conv(_) | Op::ConvBias { .. } | Op::Linear(_), 1) => "weight",
        (Op::ConvBias { .. } | Op::Linear(_), 2) => "bias",
        (Op::BatchNorm(..), 1) => "gamma",
        (Op::BatchNorm(..), 2) => "beta",
        (Op::ScaleChannels(_) | Op::ScalePixels(_) | Op::ScaledStats(_), 1) => "factor",
        (Op::ScaleAddRelu(_), 1) => "channel factor",
        (Op::ScaleAddRelu(_), 2) => "pixel factor",
        (Op::ScaleAddRelu(_), 3) => "shortcut",
        (Op::Add | Op::AddRelu | Op::AddScaled(_), 0) => "a",
        (Op::Add | Op::AddRelu | Op::AddScaled(_), _) => "b",
        (Op::Concat(_), k) => ["part 1", "part 2", "part 3", "part 4"][k],
        _ => "x",
    }
}

/// Multiplications, additions, divisions, roots and exponentials of a forward pass beside products with weights; comparisons are
/// free. `results` values come of a first input of `read` values.
fn flops(op: &Op, results: usize, read: usize) -> u64 {
    let flops = match op {
        Op::ConvBias { .. } | Op::Dropout(_) => results,
        Op::AddScaled(_) => 2 * results,
        Op::AdaptiveAverage(_) => read.max(results),
        Op::ConvNorm { .. }
        | Op::Linear(_)
        | Op::Add
        | Op::AddHalves
        | Op::AddRelu
        | Op::ScaleChannels(_)
        | Op::ScalePixels(_) => results,
        Op::BatchNorm(..) | Op::FrozenNorm(..) | Op::Sigmoid | Op::ScaleAddRelu(_) => 3 * results,
        Op::AveragePool(s) => s.kernel[0] * s.kernel[1] * results,
        Op::GlobalAverage(_) | Op::GlobalStats(_) | Op::ChannelStats(_) => read,
        Op::ScaledStats(_) => 2 * read,
        _ => 0,
    };
    flops as u64
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::autograd::{Kind, Mode, Parameters, Tape};
    use crate::models::Metadata;
    use crate::phantom;
    use crate::prepare::Preprocessing;
    use crate::tensor::Tensor;
    use osteon_kernels::par::Pool;

    pub fn study() -> Study {
        let patient = phantom::simulate(&phantom::PhantomOptions::default(), 3);
        Study { anterior: Some(patient.anterior), posterior: Some(patient.posterior), sources: Vec::new() }
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
                let logits = model.infer(&mut context, &images, [2, 65, 40]).unwrap();
                let pass = model.differentiate(&mut context, &images, [2, 65, 40], &[1, 2]).unwrap();
                let gradients = model.parameters().trained().into_iter().map(|id| pass.gradients.get(id).unwrap().to_vec());
                let statistics = pass.statistics.iter().map(|(_, values)| values.to_vec());
                let all = [logits, vec![pass.loss]].into_iter().chain(gradients).chain(statistics);
                let bits: Vec<u32> = all.flatten().map(f32::to_bits).collect();
                let hashes: Vec<_> =
                    lock(&log).records.iter().map(|record| (record.name.clone(), record.sha256.clone())).collect();
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
        let planned = model.layers([64, 40]).unwrap();
        // A plan is of a network as it predicts.
        let name = |op: &Op| op.name().replace(", running statistics", "");
        let forward: Vec<(String, String)> = planned.iter().map(|layer| (layer.name.clone(), name(&layer.op))).collect();
        let is_step = |record: &&Record| {
            record.part == Part::Output
                && !matches!(record.equation, Equation::Given | Equation::RunningMean { .. } | Equation::RunningVariance { .. })
        };
        let loss = records.iter().position(|record| record.equation == Equation::CrossEntropy).unwrap();
        let recorded = records[..loss - 1].iter().filter(is_step).map(|record| (record.layer.clone(), record.name.clone()));
        let recorded: Vec<(String, String)> = recorded.collect();
        assert!(recorded == forward, "{:?}", recorded.iter().zip(&forward).find(|(recorded, planned)| recorded != planned));
        // Every trained parameter has a gradient and a step, every running statistic a move.
        let count = |wanted: &dyn Fn(&Equation) -> bool| records.iter().filter(|record| wanted(&record.equation)).count();
        let trained = model.parameters().trained().len();
        assert_eq!(count(&|equation| matches!(equation, Equation::Adam { .. })), trained);
        let moved = count(&|equation| matches!(equation, Equation::RunningMean { .. } | Equation::RunningVariance { .. }));
        assert_eq!(moved, model.parameters().iter().len() - trained);
        assert_eq!(records.iter().filter(|record| record.name == "parameter").count(), model.parameters().iter().len());
        // What nothing reads is what a step is for.
        let mut read = vec![false; records.len()];
        records.iter().flat_map(|record| &record.inputs).for_each(|&input| read[input] = true);
        for record in records.iter().filter(|record| !read[record.number]) {
            let last = matches!(
                record.equation,
                Equation::Adam { .. } | Equation::RunningMean { .. } | Equation::RunningVariance { .. } | Equation::CrossEntropy
            );
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
        let mut context = Context::default();
        let log = Arc::new(Mutex::new(Log::create(folder, context.isa, true).unwrap()));
        context.recorder = Some(Box::new(Handle(log.clone())));
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
            parameters.add(name, Kind::Plain, Tensor::new([6], values))
        };
        let ids = ["gamma", "beta", "mean", "variance"]
            .map(|name| vector(&mut parameters, name, if name == "beta" { -0.7 } else { 0.2 }));
        let verdicts = verify_tape(&folder, |context| {
            let mut tape = Tape::new(Mode::Frozen, &parameters, context);
            let values: Vec<f32> = (0..2 * 9 * 7 * 6).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
            let x = tape.input([2, 9, 7, 6], &values, true).unwrap();
            let twice = tape.share(&x);
            let sum = tape.add(x, twice).unwrap();
            let normal = tape.batch_norm(sum, [ids[0], ids[1]], [ids[2], ids[3]], 1e-5, 0.1, true).unwrap();
            let pooled = tape.average_pool(normal, [3, 3], [2, 2], [1, 1]).unwrap();
            let len = tape.shape(&pooled).len();
            let seed: Vec<f32> = (0..len).map(|i| (i * 13 % 17) as f32 / 8.0 - 1.0).collect();
            tape.backward(pooled, &seed).unwrap();
        });
        let names: Vec<&str> = verdicts.iter().map(|verdict| &*verdict.name).collect();
        for name in [
            "average pool backward: gradient of x",
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
}
