//! A model as an ONNX file (opset 17): the graph that inference runs, each operation as the ONNX nodes that it [says](crate::autograd::Operation::onnx)
//! it is, so that an architecture needs nothing of its own here. Batch normalisation stays a node, though inference folds it into weights:
//! every initializer is a parameter of the model file, under its name, bit for bit. Those of classifiers that only training has are left
//! out. The four wire forms of protocol buffers that ONNX needs are written by hand: a library's build would need a compiler of its own.
//!
//! The tape's (batch, rows, columns, channels) become ONNX's (batch, channels, rows, columns). Batch, rows and columns stay open.

use super::{Model, Pooling};
use crate::autograd::ops::{OnnxAttribute, OnnxNode, OnnxNodes};
use crate::autograd::{Node, Origin, ParameterId};
use std::collections::HashSet;

use crate::{DISCLAIMER, Result};

/// ONNX's version of the operators, and of the file format that came with it.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

/// `TensorProto.DataType`
const FLOAT: i64 = 1;
const INT64: i64 = 7;

impl Model {
    /// The bytes of an ONNX file: `input` (N, 1, H, W) to `logits` and `probabilities` (N, classes), float32. What the model file says
    /// of itself is in `metadata_props`.
    ///
    /// # Errors
    /// An input size that is too small.
    pub fn to_onnx(&self) -> Result<Vec<u8>> {
        let [rows, columns] = self.metadata.input_size;
        let nodes = self.plan([1, rows, columns])?;
        let mut graph = Graph { model: self, nodes: &nodes, proto: Message::default(), written: HashSet::new() };
        graph.add();
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
    /// Parameters that are there.
    written: HashSet<ParameterId>,
}

impl Graph<'_> {
    /// What the value of node `i` is called. The last two are logits and probabilities.
    fn name(&self, i: usize) -> String {
        match self.nodes[i].origin {
            Origin::Input => "input".to_owned(),
            Origin::Parameter(id) => self.model.parameters.get(id).name.clone(),
            Origin::Operation(..) => match self.nodes.len() - i {
                1 => "probabilities".to_owned(),
                2 => "logits".to_owned(),
                _ => format!("{}#{i}", self.nodes[i].layer),
            },
        }
    }

    /// Adds all that the tape recorded.
    fn add(&mut self) {
        let mut onnx = OnnxNodes::default();
        for (i, node) in self.nodes.iter().enumerate() {
            match node.origin {
                Origin::Input => {}
                Origin::Parameter(id) => self.parameter(id),
                Origin::Operation(op, _) => {
                    let inputs: Vec<String> = node.inputs().iter().map(|&input| self.name(input)).collect();
                    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                    let exported = op.onnx(&inputs, &self.name(i), &mut onnx);
                    exported.expect("a plan of inference has no losses, dropout and auxiliary classifiers");
                }
            }
        }
        if onnx.0.iter().any(|node| node.inputs.iter().any(|input| input == OnnxNodes::ROWS_AND_COLUMNS)) {
            let axes: Vec<u8> = [2i64, 3].iter().flat_map(|axis| axis.to_le_bytes()).collect();
            self.proto.message(5, &tensor(OnnxNodes::ROWS_AND_COLUMNS, INT64, &[2], &axes));
        }
        onnx.0.iter().for_each(|node| self.proto.message(1, &node_proto(node)));
    }

    /// Adds a parameter, once.
    fn parameter(&mut self, id: ParameterId) {
        let parameter = self.model.parameters.get(id);
        if self.written.insert(id) {
            let values = parameter.to_file(parameter.value.values());
            let mut bytes = Vec::with_capacity(size_of_val(&values[..]));
            values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
            self.proto.message(5, &tensor(&parameter.name, FLOAT, &parameter.file_shape(), &bytes));
        }
    }
}

/// A `NodeProto`, named as its first output.
fn node_proto(node: &OnnxNode) -> Message {
    let mut message = Message::default();
    node.inputs.iter().for_each(|input| message.text(1, input));
    node.outputs.iter().for_each(|output| message.text(2, output));
    message.text(3, &node.outputs[0]);
    message.text(4, node.kind);
    for (name, attribute) in &node.attributes {
        let mut proto = Message::default();
        proto.text(1, name);
        let kind = match attribute {
            OnnxAttribute::Float(value) => {
                proto.float(2, *value);
                1
            }
            OnnxAttribute::Integer(value) => {
                proto.integer(3, *value);
                2
            }
            OnnxAttribute::Integers(values) => {
                values.iter().for_each(|&value| proto.integer(8, value as i64));
                7
            }
        };
        proto.integer(20, kind);
        message.message(5, &proto);
    }
    message
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
    use std::collections::{BTreeMap, BTreeSet};

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
            tensors.remove(OnnxNodes::ROWS_AND_COLUMNS);
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
