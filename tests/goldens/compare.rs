//! A file of golden values, PyTorch's layouts, and the worst error of everything compared with it.

use osteon_kernels::simd::Isa;
use osteon_reference::golden;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;

/// The golden values of one file, by name: shape and values.
pub struct Goldens {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

impl Goldens {
    pub fn read(file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference/goldens").join(file);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let archive = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let tensors = archive.iter().map(|(name, view)| {
            let bytes = view.data();
            let values = match view.dtype() {
                Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect(),
                Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
                Dtype::I64 => bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
                other => panic!("{name}: unexpected type {other}"),
            };
            (name.to_owned(), (view.shape().to_vec(), values))
        });
        Goldens { tensors: tensors.collect() }
    }

    /// The values of a tensor.
    pub fn get(&self, name: &str) -> &[f64] {
        self.find(name).unwrap_or_else(|| panic!("no golden value `{name}`"))
    }

    fn find(&self, name: &str) -> Option<&[f64]> {
        self.tensors.get(name).map(|(_, values)| &values[..])
    }

    /// The sizes in `CASE.shape`.
    pub fn shape<const N: usize>(&self, case: &str) -> [usize; N] {
        let sizes: Vec<usize> = self.get(&format!("{case}.shape")).iter().map(|&size| size as usize).collect();
        sizes.try_into().unwrap_or_else(|sizes| panic!("{case}: {sizes:?} where {N} sizes were expected"))
    }

    /// The cases of an operation: what stands before each `.shape` and begins with `OPERATION.`. There is at least one.
    pub fn cases(&self, operation: &str) -> Vec<String> {
        let cases = self.tensors.keys().filter_map(|name| name.strip_suffix(".shape"));
        let cases: Vec<String> = cases.filter(|case| case.split('.').next() == Some(operation)).map(str::to_owned).collect();
        assert!(!cases.is_empty(), "no golden case of `{operation}`");
        cases
    }

    /// What a case's input is: what the file holds, else the formula's.
    pub fn input(&self, name: &str, len: usize) -> Vec<f32> {
        match self.find(name) {
            Some(stored) => stored.iter().map(|&x| x as f32).collect(),
            None => golden::fill(name, len, 0.0, 1.0),
        }
    }

    /// Names in the file that begin with `prefix`, without what marks a part of a compressed tensor.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let parts = [".sample", ".projections"];
        let names = self.tensors.keys().filter(|name| name.starts_with(prefix) && !parts.iter().any(|part| name.ends_with(part)));
        names.map(|name| name.strip_suffix(".norm").unwrap_or(name).to_owned()).collect()
    }

    /// What stands before each `.shape`.
    pub fn all_cases(&self) -> Vec<String> {
        self.tensors.keys().filter_map(|name| name.strip_suffix(".shape")).map(str::to_owned).collect()
    }

    /// The rows of a table of norms and projections.
    pub fn rows(&self, table: &str) -> usize {
        self.tensors.get(table).map_or(0, |(shape, _)| shape[0])
    }

    /// Relative error, in the l2 norm, of the values of tensor `name`, which has row `row` of a table: the larger of two estimates.
    pub fn row_error(&self, table: &str, row: usize, name: &str, actual: &[f32]) -> f64 {
        let actual: Vec<f64> = actual.iter().copied().map(f64::from).collect();
        let expected = &self.get(table)[row * (1 + golden::PROJECTIONS)..][..1 + golden::PROJECTIONS];
        let own_norm = actual.iter().map(|x| x * x).sum::<f64>().sqrt();
        estimate(expected[0], own_norm, golden::projections(&format!("{table}.{name}"), &actual), &expected[1..])
    }

    /// Relative error, in the l2 norm, of values in PyTorch's order; of a compressed tensor the largest of three estimates.
    fn error(&self, name: &str, actual: &[f32]) -> f64 {
        let actual: Vec<f64> = actual.iter().copied().map(f64::from).collect();
        if let Some(expected) = self.find(name) {
            return golden::relative_error(&actual, expected);
        }
        let norm = self.get(&format!("{name}.norm"))[0];
        let own_norm = actual.iter().map(|x| x * x).sum::<f64>().sqrt();
        let sample: Vec<f64> = golden::sample_indices(actual.len()).map(|i| actual[i]).collect();
        let projections = golden::projections(name, &actual);
        largest([
            estimate(norm, own_norm, projections, self.get(&format!("{name}.projections"))),
            golden::relative_error(&sample, self.get(&format!("{name}.sample"))),
        ])
    }
}

/// The larger of the errors that norm and projections show.
fn estimate(norm: f64, own_norm: f64, projections: [f64; golden::PROJECTIONS], expected: &[f64]) -> f64 {
    let squares =
        projections.iter().zip(expected).map(|(actual, expected)| (actual - expected) * (actual - expected)).sum::<f64>();
    largest([golden::relative_error(&[own_norm], &[norm]), (squares / golden::PROJECTIONS as f64).sqrt() / norm])
}

/// `max` would drop a NaN.
fn largest<const N: usize>(estimates: [f64; N]) -> f64 {
    estimates.into_iter().fold(0.0, |worst, e| if e.is_finite() { e.max(worst) } else { f64::INFINITY })
}

/// The worst error of each row of a table, and what exceeded its bound.
#[derive(Default)]
pub struct Ledger {
    rows: BTreeMap<String, Row>,
    exceeded: Vec<String>,
}

struct Row {
    compared: usize,
    worst: f64,
    bound: f64,
    name: String,
    isa: &'static str,
}

impl Ledger {
    /// Compares values in PyTorch's order with the golden `name`.
    pub fn compare(&mut self, isa: Isa, row: &str, bound: f64, goldens: &Goldens, name: &str, actual: &[f32]) {
        self.note(isa, row, bound, name, goldens.error(name, actual));
    }

    /// Takes down an error.
    pub fn note(&mut self, isa: Isa, row: &str, bound: f64, name: &str, error: f64) {
        let isa = isa.name();
        if !error.le(&bound) {
            self.exceeded.push(format!("{name} on {isa}: {error:.1e} where {bound:.0e} is allowed"));
        }
        let first = Row { compared: 0, worst: -1.0, bound, name: String::new(), isa };
        let row = self.rows.entry(row.to_owned()).or_insert(first);
        row.compared += 1;
        if error > row.worst {
            (row.worst, row.name, row.isa) = (error, name.to_owned(), isa);
        }
    }

    /// Prints the table.
    ///
    /// # Panics
    /// Where a bound was exceeded.
    pub fn finish(self, title: &str) {
        let mut table = format!("\n{title}: worst relative error against PyTorch in float64\n");
        for (title, Row { compared, worst, bound, name, isa }) in &self.rows {
            table += &format!("  {title:44} {worst:8.1e} of {bound:.0e} allowed, {compared:4} compared, worst {name} on {isa}\n");
        }
        print!("{table}");
        assert!(self.exceeded.is_empty(), "{} errors exceed their bounds:\n{}", self.exceeded.len(), self.exceeded.join("\n"));
    }
}

/// From PyTorch's (n, c, h, w) to (n, h, w, c).
pub fn to_nhwc(values: &[f32], [n, c, h, w]: [usize; 4]) -> Vec<f32> {
    permute(values, [n, c, h, w], [0, 2, 3, 1])
}

/// From (n, h, w, c) to PyTorch's (n, c, h, w), which is given.
pub fn to_nchw(values: &[f32], [n, c, h, w]: [usize; 4]) -> Vec<f32> {
    permute(values, [n, h, w, c], [0, 3, 1, 2])
}

/// From PyTorch's (out, in, rows, columns) to (rows, columns, in, out).
pub fn to_hwio(values: &[f32], oihw: [usize; 4]) -> Vec<f32> {
    permute(values, oihw, [2, 3, 1, 0])
}

/// From (rows, columns, in, out) to PyTorch's (out, in, rows, columns), which is given.
pub fn to_oihw(values: &[f32], [o, i, h, w]: [usize; 4]) -> Vec<f32> {
    permute(values, [h, w, i, o], [3, 2, 0, 1])
}

/// Axis `k` of the result is axis `order[k]` of `values`, whose sizes are `shape`.
fn permute(values: &[f32], shape: [usize; 4], order: [usize; 4]) -> Vec<f32> {
    assert_eq!(values.len(), shape.iter().product::<usize>(), "values of a tensor {shape:?}");
    let stride = [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1];
    let [size, step] = [order.map(|axis| shape[axis]), order.map(|axis| stride[axis])];
    let mut permuted = Vec::with_capacity(values.len());
    for a in 0..size[0] {
        for b in 0..size[1] {
            for c in 0..size[2] {
                permuted.extend((0..size[3]).map(|d| values[a * step[0] + b * step[1] + c * step[2] + d * step[3]]));
            }
        }
    }
    permuted
}

#[test]
fn layouts_are_inverse() {
    let shape = [2, 3, 5, 4];
    let values = golden::fill("layout", 120, 0.0, 1.0);
    let nhwc = to_nhwc(&values, shape);
    // (n, c, h, w) = (1, 2, 3, 1)
    assert_eq!(nhwc[((5 + 3) * 4 + 1) * 3 + 2], values[((3 + 2) * 5 + 3) * 4 + 1]);
    assert_eq!(to_nchw(&nhwc, shape), values);
    assert_eq!(to_oihw(&to_hwio(&values, shape), shape), values);
}

/// The comparison must be able to fail: one wrong value among many, anywhere.
#[test]
fn a_wrong_value_is_seen() {
    let values = golden::fill("values", 10_000, 0.0, 1.0);
    let exact: Vec<f64> = values.iter().copied().map(f64::from).collect();
    let norm = exact.iter().map(|x| x * x).sum::<f64>().sqrt();
    let part = |name: &str, values: Vec<f64>| (format!("x.{name}"), (vec![values.len()], values));
    let sample = golden::sample_indices(exact.len()).map(|i| exact[i]).collect();
    let projections = golden::projections("x", &exact).to_vec();
    let goldens =
        Goldens { tensors: BTreeMap::from([part("norm", vec![norm]), part("sample", sample), part("projections", projections)]) };
    assert!(goldens.error("x", &values) < 1e-12);
    for at in [0, 5_001, 9_999] {
        let mut wrong = values.clone();
        wrong[at] += 0.2 * norm as f32;
        assert!(goldens.error("x", &wrong) > 0.1, "{at}");
        wrong[at] = f32::NAN;
        assert_eq!(goldens.error("x", &wrong), f64::INFINITY, "{at}");
    }
    assert!(goldens.error("x", &values.iter().rev().copied().collect::<Vec<_>>()) > 1.0);
}
