//! How operations say which ONNX nodes they are; the file is written by the room of models, which knows parameters and sizes.

/// ONNX nodes in the order in which they run.
#[derive(Debug, Default)]
pub struct OnnxNodes(pub Vec<OnnxNode>);

/// An ONNX `NodeProto`, named as its output.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxNode {
    /// The operator.
    pub kind: &'static str,
    /// Names of what it reads. [`OnnxNodes::ROWS_AND_COLUMNS`] is there for all.
    pub inputs: Vec<String>,
    /// Names of what it gives.
    pub outputs: Vec<String>,
    /// Its attributes.
    pub attributes: Vec<(&'static str, OnnxAttribute)>,
}

/// The value of an ONNX attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum OnnxAttribute {
    /// A float.
    Float(f32),
    /// An integer.
    Integer(i64),
    /// Integers.
    Integers(Vec<usize>),
}

impl OnnxNodes {
    /// The name of an initializer that holds the axes of rows and columns, 2 and 3.
    pub const ROWS_AND_COLUMNS: &str = "axes.rows_columns";

    /// Adds a node.
    pub fn add(&mut self, kind: &'static str, inputs: &[&str], output: &str, attributes: &[(&'static str, OnnxAttribute)]) {
        let inputs = inputs.iter().map(|&input| input.to_owned()).collect();
        self.0.push(OnnxNode { kind, inputs, outputs: vec![output.to_owned()], attributes: attributes.to_vec() });
    }

    /// Adds a node, and a ReLU after it where there is one.
    pub(super) fn add_relu(
        &mut self,
        relu: bool,
        kind: &'static str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&'static str, OnnxAttribute)],
    ) {
        if !relu {
            return self.add(kind, inputs, output, attributes);
        }
        let before = format!("{output}.before_relu");
        self.add(kind, inputs, &before, attributes);
        self.add("Relu", &[&before], output, &[]);
    }

    /// Adds a pool over all pixels of maps.
    pub(super) fn global(&mut self, kind: &'static str, input: &str, output: &str) {
        let pooled = format!("{output}.pooled");
        self.add(kind, &[input], &pooled, &[]);
        self.add("Flatten", &[&pooled], output, &[("axis", OnnxAttribute::Integer(1))]);
    }

    /// Adds a split along the first axis into equal halves.
    pub(super) fn split(&mut self, input: &str, halves: &[String; 2]) {
        let (inputs, attributes) = (vec![input.to_owned()], vec![("axis", OnnxAttribute::Integer(0))]);
        self.0.push(OnnxNode { kind: "Split", inputs, outputs: halves.to_vec(), attributes });
    }

    /// Whether a node gives this already: what two operations need is computed once.
    pub(super) fn has(&self, output: &str) -> bool {
        self.0.iter().any(|node| node.outputs.iter().any(|name| name == output))
    }
}

/// Kernel, stride and padding as ONNX attributes.
pub(super) fn onnx_window(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> [(&'static str, OnnxAttribute); 3] {
    let integers = |values: &[usize]| OnnxAttribute::Integers(values.to_vec());
    // The padding before, then that after.
    [("kernel_shape", integers(&kernel)), ("strides", integers(&stride)), ("pads", integers(&[padding, padding].concat()))]
}
