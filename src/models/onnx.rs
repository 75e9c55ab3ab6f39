//! A model as an ONNX file (opset 17), node by node as the tape records the network, so that an architecture needs nothing of its own
//! here. Batch normalisation stays an operation: every initializer is a parameter of the model file, under its name, bit for bit. Those
//! of classifiers that only training has are left out.
//!
//! The tape's (batch, rows, columns, channels) become ONNX's (batch, channels, rows, columns). Batch, rows and columns stay open.

use super::{Model, Pooling};
use crate::autograd::{Node, Op, ParameterId};
use crate::{DISCLAIMER, Result};
use osteon_kernels::pool::PoolShape;
use std::collections::BTreeSet;

/// ONNX's version of the operators, and of the file format that came with it.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

/// `TensorProto.DataType`
const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// The initializer that holds the axes of rows and columns.
const ROWS_AND_COLUMNS: &str = "axes.rows_columns";

impl Model {
    /// The bytes of an ONNX file: `input` (N, 1, H, W) to `logits` and `probabilities` (N, classes), float32. What the model file says
    /// of itself is in `metadata_props`.
    ///
    /// # Errors
    /// An input size that is too small.
    pub fn to_onnx(&self) -> Result<Vec<u8>> {
        let [rows, columns] = self.metadata.input_size;
        let nodes = self.plan([1, rows, columns])?;
        let mut graph = Graph { model: self, nodes: &nodes, proto: Message::default(), written: BTreeSet::new() };
        nodes.iter().enumerate().for_each(|(i, node)| graph.add(i, node));
        let last = graph.name(nodes.len() - 1);
        graph.node("Identity", "logits", &[&last], "logits", &[]);
        graph.node("Softmax", "softmax", &["logits"], "probabilities", &[("axis", Attribute::Integer(1))]);
        let mut proto = graph.proto;
        proto.text(2, &self.metadata.architecture);
        let dimension = Dimension::Named;
        proto.message(11, &value_info("input", &[dimension("N"), Dimension::Of(1), dimension("H"), dimension("W")]));
        for name in ["logits", "probabilities"] {
            proto.message(12, &value_info(name, &[dimension("N"), Dimension::Of(self.metadata.classes.len())]));
        }

        let mut file = Message::default();
        file.integer(1, IR_VERSION);
        file.text(2, "osteon");
        file.text(3, env!("CARGO_PKG_VERSION"));
        let size = match self.metadata.pooling {
            Pooling::Flatten => "of `input_size`",
            Pooling::Auto | Pooling::Average => "of any size from 32 x 32; trained at `input_size`",
        };
        let about = format!(
            "`input` is the fused views of one study an image, made and scaled as `preprocessing` says, {size}. `probabilities` are of \
             `classes`, in their order."
        );
        file.text(6, &format!("{DISCLAIMER} {about}"));
        let mut opset = Message::default();
        opset.integer(2, OPSET);
        file.message(8, &opset);
        for (key, value) in self.text() {
            let mut entry = Message::default();
            entry.text(1, &key);
            entry.text(2, &value);
            file.message(14, &entry);
        }
        file.message(7, &proto);
        Ok(file.0)
    }
}

/// A `GraphProto` as it grows.
struct Graph<'a> {
    model: &'a Model,
    nodes: &'a [Node],
    proto: Message,
    /// Initializers that are there.
    written: BTreeSet<String>,
}

impl Graph<'_> {
    /// What the value of node `i` is called.
    fn name(&self, i: usize) -> String {
        match self.nodes[i].op {
            Op::Input => "input".to_owned(),
            Op::Parameter(id) => self.model.parameters.get(id).name.clone(),
            _ => format!("{}#{i}", self.nodes[i].layer),
        }
    }

    fn add(&mut self, i: usize, node: &Node) {
        let inputs: Vec<String> = node.inputs().iter().map(|&input| self.name(input)).collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let output = self.name(i);
        let part = |what: &str| format!("{output}.{what}");
        match node.op {
            Op::Input => {}
            Op::Parameter(id) => self.parameter(id),
            Op::Conv(s) => self.node("Conv", &output, &inputs, &output, &window(s.kernel, s.stride, s.padding)),
            Op::ConvBias { shape: s, relu } => {
                let sum = if relu { part("sum") } else { output.clone() };
                self.node("Conv", &sum, &inputs, &sum, &window(s.kernel, s.stride, s.padding));
                if relu {
                    self.node("Relu", &output, &[&sum], &output, &[]);
                }
            }
            Op::FrozenNorm(s, epsilon) | Op::BatchNorm(s, epsilon) => {
                let normalised = if s.relu { part("norm") } else { output.clone() };
                self.node("BatchNormalization", &normalised, &inputs, &normalised, &[("epsilon", Attribute::Float(epsilon))]);
                if s.relu {
                    self.node("Relu", &output, &[&normalised], &output, &[]);
                }
            }
            Op::Relu => self.node("Relu", &output, &inputs, &output, &[]),
            Op::Sigmoid => self.node("Sigmoid", &output, &inputs, &output, &[]),
            Op::Add => self.node("Add", &output, &inputs, &output, &[]),
            Op::AddRelu => {
                let sum = part("sum");
                self.node("Add", &sum, &inputs, &sum, &[]);
                self.node("Relu", &output, &[&sum], &output, &[]);
            }
            Op::Concat(_) => self.node("Concat", &output, &inputs, &output, &[("axis", Attribute::Integer(1))]),
            // Channels first, as the weights are that read it.
            Op::Flatten => self.node("Flatten", &output, &inputs, &output, &[("axis", Attribute::Integer(1))]),
            Op::MaxPool(s) => {
                let more = [("ceil_mode", Attribute::Integer(1))];
                self.pool("MaxPool", s, &inputs, &output, if s.ceil_mode { &more } else { &[] });
            }
            Op::AveragePool(s) => self.pool("AveragePool", s, &inputs, &output, &[("count_include_pad", Attribute::Integer(1))]),
            Op::GlobalAverage(_) | Op::GlobalMax(_) => {
                let kind = if matches!(node.op, Op::GlobalMax(_)) { "GlobalMaxPool" } else { "GlobalAveragePool" };
                let pooled = part("pooled");
                self.node(kind, &pooled, &inputs, &pooled, &[]);
                self.node("Flatten", &output, &[&pooled], &output, &[("axis", Attribute::Integer(1))]);
            }
            Op::ChannelStats(_) => self.channel_stats(inputs[0], &output),
            Op::ScaledStats(_) => {
                let scaled = self.scaled(inputs[0], inputs[1]);
                self.channel_stats(&scaled, &output);
            }
            Op::ScaleChannels(_) => self.scale(inputs[0], inputs[1], &output),
            Op::ScaleAddRelu(_) => {
                let scaled = self.scaled(inputs[0], inputs[1]);
                let (weighed, sum) = (part("weighed"), part("sum"));
                self.node("Mul", &weighed, &[&scaled, inputs[2]], &weighed, &[]);
                self.node("Add", &sum, &[&weighed, inputs[3]], &sum, &[]);
                self.node("Relu", &output, &[&sum], &output, &[]);
            }
            Op::ScalePixels(_) => self.node("Mul", &output, &inputs, &output, &[]),
            Op::Linear(_) => self.node("Gemm", &output, &inputs, &output, &[("transB", Attribute::Integer(1))]),
            Op::ConvNorm { .. } | Op::ConvNormPool { .. } | Op::GlobalStats(_) | Op::AddHalves => {
                unreachable!("a plan has nothing that inference fuses")
            }
            Op::CrossEntropy { .. }
            | Op::WeightedCrossEntropy { .. }
            | Op::AddScaled(_)
            | Op::Dropout(_)
            | Op::AdaptiveAverage(_) => {
                unreachable!("a plan is of a network in use: without losses, dropout and auxiliary classifiers")
            }
        }
    }

    /// Mean and maximum over channels.
    fn channel_stats(&mut self, input: &str, output: &str) {
        let [mean, maximum] = ["mean", "maximum"].map(|what| format!("{output}.{what}"));
        for (kind, name) in [("ReduceMean", &mean), ("ReduceMax", &maximum)] {
            let over_channels = [("axes", Attribute::Integers(&[1])), ("keepdims", Attribute::Integer(1))];
            self.node(kind, name, &[input], name, &over_channels);
        }
        self.node("Concat", output, &[&mean, &maximum], output, &[("axis", Attribute::Integer(1))]);
    }

    /// The name of `input` times a factor for each channel, which two operations may need: it is computed once.
    fn scaled(&mut self, input: &str, factor: &str) -> String {
        let output = format!("{input} * {factor}");
        if self.written.insert(output.clone()) {
            self.scale(input, factor, &output);
        }
        output
    }

    /// `input` times a factor for each channel.
    fn scale(&mut self, input: &str, factor: &str, output: &str) {
        let spread = format!("{output}.factor");
        if self.written.insert(ROWS_AND_COLUMNS.to_owned()) {
            let axes: Vec<u8> = [2i64, 3].iter().flat_map(|axis| axis.to_le_bytes()).collect();
            self.proto.message(5, &tensor(ROWS_AND_COLUMNS, INT64, &[2], &axes));
        }
        self.node("Unsqueeze", &spread, &[factor, ROWS_AND_COLUMNS], &spread, &[]);
        self.node("Mul", output, &[input, &spread], output, &[]);
    }

    fn pool(&mut self, kind: &str, s: PoolShape, inputs: &[&str], output: &str, more: &[(&str, Attribute)]) {
        let attributes: Vec<_> = window(s.kernel, s.stride, s.padding).into_iter().chain(more.iter().copied()).collect();
        self.node(kind, output, inputs, output, &attributes);
    }

    /// Adds a parameter, once.
    fn parameter(&mut self, id: ParameterId) {
        let parameter = self.model.parameters.get(id);
        if self.written.insert(parameter.name.clone()) {
            let values = parameter.to_file(parameter.value.values());
            let mut bytes = Vec::with_capacity(size_of_val(&values[..]));
            values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
            self.proto.message(5, &tensor(&parameter.name, FLOAT, &parameter.file_shape(), &bytes));
        }
    }

    /// Adds a `NodeProto`.
    fn node(&mut self, kind: &str, name: &str, inputs: &[&str], output: &str, attributes: &[(&str, Attribute)]) {
        let mut node = Message::default();
        inputs.iter().for_each(|input| node.text(1, input));
        node.text(2, output);
        node.text(3, name);
        node.text(4, kind);
        for &(name, attribute) in attributes {
            let mut proto = Message::default();
            proto.text(1, name);
            match attribute {
                Attribute::Float(value) => {
                    proto.float(2, value);
                    proto.integer(20, 1);
                }
                Attribute::Integer(value) => {
                    proto.integer(3, value);
                    proto.integer(20, 2);
                }
                Attribute::Integers(values) => {
                    values.iter().for_each(|&value| proto.integer(8, value as i64));
                    proto.integer(20, 7);
                }
                Attribute::Sides(values, times) => {
                    (0..times).flat_map(|_| values).for_each(|value| proto.integer(8, value as i64));
                    proto.integer(20, 7);
                }
            }
            node.message(5, &proto);
        }
        self.proto.message(1, &node);
    }
}

/// The value of an `AttributeProto`.
#[derive(Clone, Copy)]
enum Attribute<'a> {
    Float(f32),
    Integer(i64),
    Integers(&'a [usize]),
    /// Of rows and columns, so many times one after the other.
    Sides([usize; 2], usize),
}

fn window(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> [(&'static str, Attribute<'static>); 3] {
    let sides = Attribute::Sides;
    // The padding before, then that after.
    [("kernel_shape", sides(kernel, 1)), ("strides", sides(stride, 1)), ("pads", sides(padding, 2))]
}

/// A `TensorProto`.
fn tensor(name: &str, kind: i64, shape: &[usize], bytes: &[u8]) -> Message {
    let mut tensor = Message::default();
    shape.iter().for_each(|&side| tensor.integer(1, side as i64));
    tensor.integer(2, kind);
    tensor.text(8, name);
    tensor.bytes(9, bytes);
    tensor
}

enum Dimension {
    Of(usize),
    Named(&'static str),
}

/// A `ValueInfoProto` of float32.
fn value_info(name: &str, dimensions: &[Dimension]) -> Message {
    let mut shape = Message::default();
    for dimension in dimensions {
        let mut proto = Message::default();
        match dimension {
            Dimension::Of(size) => proto.integer(1, *size as i64),
            Dimension::Named(name) => proto.text(2, name),
        }
        shape.message(1, &proto);
    }
    let mut tensor = Message::default();
    tensor.integer(1, FLOAT);
    tensor.message(2, &shape);
    let mut kind = Message::default();
    kind.message(1, &tensor);
    let mut value = Message::default();
    value.text(1, name);
    value.message(2, &kind);
    value
}

/// A protocol buffer message, field by field (protobuf.dev, Encoding). The four wire forms that ONNX needs are less than a library for
/// them would be, and its build would need a compiler of its own.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    fn integer(&mut self, field: u64, value: i64) {
        self.tag(field, 0);
        self.varint(value as u64);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.tag(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.tag(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, message: &Message) {
        self.bytes(field, &message.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Metadata, architectures};
    use crate::prepare::Preprocessing;
    use std::collections::BTreeMap;

    /// Fields of a message by number; numbers as eight bytes.
    fn fields(mut bytes: &[u8]) -> BTreeMap<u64, Vec<Vec<u8>>> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let mut value = 0;
            for shift in (0..64).step_by(7) {
                let (&byte, rest) = bytes.split_first().unwrap();
                *bytes = rest;
                value |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            value
        }
        let mut fields: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let len = match tag & 7 {
                0 => {
                    let value = varint(&mut bytes);
                    fields.entry(tag >> 3).or_default().push(value.to_le_bytes().to_vec());
                    continue;
                }
                2 => varint(&mut bytes) as usize,
                5 => 4,
                wire => panic!("wire form {wire}"),
            };
            let (value, rest) = bytes.split_at(len);
            bytes = rest;
            fields.entry(tag >> 3).or_default().push(value.to_vec());
        }
        fields
    }

    fn texts(values: Option<&Vec<Vec<u8>>>) -> Vec<String> {
        values.into_iter().flatten().map(|bytes| String::from_utf8(bytes.clone()).unwrap()).collect()
    }

    #[test]
    fn graphs_are_whole_and_hold_the_parameters_bit_for_bit() {
        for (architecture, spatial_norm) in architectures().into_iter().map(|name| (name, false)).chain([("inrac", true)]) {
            let mut metadata = Metadata::new(architecture, &["a", "b"].map(str::to_owned), [40, 64], Preprocessing::default());
            metadata.attention.spatial_norm = spatial_norm;
            let model = Model::initialised(metadata, 7).unwrap();
            let file = fields(&model.to_onnx().unwrap());
            let graph = fields(&file[&7][0]);
            // Initializers: the parameters, each once, and the axes.
            let mut tensors: BTreeMap<String, BTreeMap<u64, Vec<Vec<u8>>>> = BTreeMap::new();
            for tensor in graph[&5].iter().map(|tensor| fields(tensor)) {
                assert!(tensors.insert(texts(tensor.get(&8)).remove(0), tensor).is_none());
            }
            let mut known: BTreeSet<String> = tensors.keys().cloned().chain(["input".to_owned()]).collect();
            tensors.remove(ROWS_AND_COLUMNS);
            // What nothing reads in use stays behind.
            let read = |name: &str| architecture != "inception-v1" || !name.starts_with("aux");
            for (_, parameter) in model.parameters().iter().filter(|(_, parameter)| read(&parameter.name)) {
                let tensor = tensors.remove(&parameter.name).unwrap_or_else(|| panic!("no {}", parameter.name));
                let shape: Vec<u64> = tensor[&1].iter().map(|side| u64::from_le_bytes(side[..].try_into().unwrap())).collect();
                assert_eq!(shape, parameter.file_shape().iter().map(|&side| side as u64).collect::<Vec<_>>());
                assert_eq!(crate::files::sha256(&tensor[&9][0]), parameter.sha256(), "{}", parameter.name);
            }
            assert!(tensors.is_empty(), "{:?}", tensors.keys());
            // Each node reads what is there, and gives what is not.
            let mut names = BTreeSet::new();
            for node in graph[&1].iter().map(|node| fields(node)) {
                for input in texts(node.get(&1)) {
                    assert!(known.contains(&input), "{architecture}: {input}");
                }
                assert!(texts(node.get(&2)).into_iter().all(|output| known.insert(output)));
                assert!(names.insert(texts(node.get(&3)).remove(0)));
            }
            let outputs: Vec<String> = graph[&12].iter().flat_map(|output| texts(fields(output).get(&1))).collect();
            assert_eq!(outputs, ["logits", "probabilities"]);
            assert!(outputs.iter().all(|output| known.contains(output)));
            let said: BTreeMap<String, String> = file[&14]
                .iter()
                .map(|entry| fields(entry))
                .map(|entry| (texts(entry.get(&1)).remove(0), texts(entry.get(&2)).remove(0)))
                .collect();
            assert_eq!(said["weights_sha256"], model.weights_hash());
            assert_eq!(said["architecture"], architecture);
        }
    }

    #[test]
    fn integers_are_written_as_protocol_buffers_have_them() {
        let mut message = Message::default();
        message.integer(1, 150); // the example of protobuf.dev, Encoding
        message.text(2, "testing");
        assert_eq!(message.0, [&[0x08, 0x96, 0x01, 0x12, 0x07][..], b"testing"].concat());
        assert_eq!(fields(&message.0)[&1], [150u64.to_le_bytes()]);
    }
}
