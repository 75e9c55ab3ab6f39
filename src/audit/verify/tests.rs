//! Whole networks verify, wrong values are seen, and records that do not fit are refused.

use super::super::log::Summary;
use super::super::trace::tests::{model, step, study};
use super::super::{TraceOptions, trace};
use super::*;
use crate::autograd::ops::ConvNormPool;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};

fn all(folder: &Path) -> Vec<Verdict> {
    verify(folder, None, &|_, _| ()).unwrap().1
}

fn one(folder: &Path, number: usize) -> Result<Verdict> {
    verify(folder, Some(number), &|_, _| ()).map(|(_, verdicts)| verdicts.into_iter().next().unwrap())
}

#[test]
fn whole_networks_verify() {
    let folder = tempfile::tempdir().unwrap();
    let (inference, step) = (TraceOptions::default(), step());
    for (architecture, spatial_norm, options) in [
        ("inrac", true, &inference),
        ("inrac", true, &step),
        ("outrac", false, &inference),
        ("inrac-no-residual", false, &step),
        ("inrac-no-residual-no-attention", false, &inference),
        ("vgg-11", false, &inference),
        ("vgg-11", false, &step),
        ("inception-v1", false, &inference),
        ("inception-v1", false, &step),
    ] {
        let (model, output) = (model(folder.path(), architecture, spatial_norm), folder.path().join("trace"));
        let header = trace(&model, &study(), options, &output).unwrap();
        let verdicts = all(&output);
        assert_eq!(verdicts.len(), header.operations);
        for verdict in &verdicts {
            assert!(verdict.holds(), "{architecture} {}: {verdict:?}", header.run);
        }
        fs::remove_dir_all(output).unwrap();
    }
}

/// One operation of each kind and part, by its number.
fn kinds(records: &[Record]) -> Vec<usize> {
    let mut kinds = BTreeMap::new();
    for record in records.iter().filter(|record| record.equation != Equation::GIVEN) {
        let kind = format!("{} {:?} {:?}", serde_json::to_value(record.equation).unwrap()["kind"], record.part, record.algorithm);
        kinds.entry(kind).or_insert(record.number);
    }
    kinds.into_values().collect()
}

/// Overwrites a tensor; its record says what is there now.
fn replace(folder: &Folder, header: &mut Header, records: &mut [Record], number: usize, bytes: &[u8]) {
    let tensors = TensorReader::open(folder.file(Folder::TENSORS), records).unwrap();
    let mut file = OpenOptions::new().write(true).open(folder.file(Folder::TENSORS)).unwrap();
    file.seek(SeekFrom::Start(tensors.place(number))).unwrap();
    file.write_all(bytes).unwrap();
    let record = &mut records[number];
    (record.sha256, record.summary) = (files::sha256(bytes), Values::from_bytes(record.dtype, bytes).summary());
    folder.write(header, records).unwrap();
}

/// No bound is so wide that a wrong value fits in: the largest of each result, off by one percent, is seen by its error
/// alone. Where terms cancel, by one percent of the largest of them: less may be left of them than their rounding.
#[test]
fn a_wrong_value_is_above_the_bound_of_every_kind_of_operation() {
    let scratch = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for (kind, options) in [("inference", TraceOptions::default()), ("step", step())] {
        let folder = Folder(scratch.path().join(kind));
        trace(&model(scratch.path(), "inrac", false), &study(), &options, &folder.0).unwrap();
        let (mut header, mut records) = folder.read().unwrap();
        let tensors = TensorReader::open(folder.file(Folder::TENSORS), &records).unwrap();
        for number in kinds(&records) {
            let record = records[number].clone();
            let bytes = tensors.bytes(&record).unwrap();
            let mut wrong = bytes.clone();
            match Values::from_bytes(record.dtype, &bytes) {
                Values::Floats(values) => {
                    let (at, value) = values.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).unwrap();
                    let cancels = matches!(one(&folder.0, number).unwrap().bound, Bound::Sum | Bound::NormGradient);
                    let [input, own] = [&records[record.inputs[0]].summary, &record.summary];
                    let largest = |summary: &Summary| summary.max.unwrap().max(-summary.min.unwrap());
                    let size = if cancels { largest(input).max(largest(own)) } else { largest(own) };
                    wrong[4 * at..4 * at + 4].copy_from_slice(&(value + 0.01 * size as f32).to_le_bytes());
                }
                Values::Indices(values) => wrong[..4].copy_from_slice(&(values[0] ^ 1).to_le_bytes()),
            }
            replace(&folder, &mut header, &mut records, number, &wrong);
            let verdict = one(&folder.0, number).unwrap();
            assert!(verdict.error > verdict.allowed && verdict.damage.is_none() && !verdict.holds(), "{verdict:?}");
            replace(&folder, &mut header, &mut records, number, &bytes);
            assert!(one(&folder.0, number).unwrap().holds());
            seen += 1;
        }
    }
    assert!(seen >= 40, "{seen} kinds");
}

#[test]
fn a_flipped_bit_is_seen_in_the_operation_and_in_its_reader() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = Folder(scratch.path().join("trace"));
    trace(&model(scratch.path(), "inrac-no-residual-no-attention", false), &study(), &TraceOptions::default(), &folder.0)
        .unwrap();
    let (_, records) = folder.read().unwrap();
    let number = records.iter().position(|record| record.name.contains("max pool")).unwrap();
    let place = TensorReader::open(folder.file(Folder::TENSORS), &records).unwrap().place(number) as usize;
    let mut bytes = fs::read(folder.file(Folder::TENSORS)).unwrap();
    bytes[place] ^= 1; // the last bit of a value
    fs::write(folder.file(Folder::TENSORS), &bytes).unwrap();
    let verdicts = all(&folder.0);
    let broken: Vec<usize> = verdicts.iter().filter(|verdict| !verdict.holds()).map(|verdict| verdict.number).collect();
    assert!(broken.contains(&number) && verdicts[number].damage.as_ref().unwrap().contains("hash"), "{broken:?}");
    let reader = records.iter().find(|record| record.inputs.contains(&number)).unwrap().number;
    let damage = one(&folder.0, reader).unwrap().damage.unwrap();
    assert!(damage.contains(&format!("input {number}")), "{damage}");
}

/// A trace whose records do not fit together is refused in a sentence, whatever is wrong with them.
#[test]
fn records_that_do_not_fit_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let mut refused = 0;
    for (pass, options) in [("step", step()), ("inference", TraceOptions::default())] {
        let folder = Folder(scratch.path().join(pass));
        trace(&model(scratch.path(), "inrac", false), &study(), &options, &folder.0).unwrap();
        let (mut header, records) = folder.read().unwrap();
        let labels = records.iter().position(|record| record.name == "labels").unwrap_or(0);
        for number in kinds(&records) {
            let changes: [&dyn Fn(&mut Record); 6] = [
                &|record| record.inputs.clear(),
                &|record| record.inputs.iter_mut().for_each(|input| *input = 0),
                &|record| record.inputs.iter_mut().for_each(|input| *input = labels.min(number - 1)),
                &|record| record.inputs.reverse(),
                &|record| record.part = Part::Gradient(7),
                &|record| {
                    let mut equation = serde_json::to_value(record.equation).unwrap();
                    for key in ["stride", "padding", "kernel", "pool", "pool_stride", "pool_padding"] {
                        if equation.get(key).is_some() {
                            equation[key] = serde_json::json!([0, usize::MAX]);
                        }
                    }
                    record.equation = serde_json::from_value(equation).unwrap();
                },
            ];
            for change in changes {
                let mut records = records.clone();
                change(&mut records[number]);
                folder.write(&mut header, &records).unwrap();
                // Some changes are still a computation, right or wrong; none may panic.
                if let Err(error) = one(&folder.0, number) {
                    assert!(error.to_string().contains("do not fit it"), "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

/// The outputs of a convolution that a pool follows in one pass are not recorded: a record that claims a padding of 2^18 pixels asks for
/// 35 terabytes of them, and gives a result of the right shape.
#[test]
fn a_forged_padding_asks_for_no_memory() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = Folder(scratch.path().join("trace"));
    trace(&model(scratch.path(), "inrac", false), &study(), &TraceOptions::default(), &folder.0).unwrap();
    let (mut header, mut records) = folder.read().unwrap();
    let number = records.iter().position(|record| matches!(record.equation.op(), Some(Op::ConvNormPool(_)))).unwrap();
    let (padding, epsilon) = (1 << 18, 1e-5);
    let [_, rows, columns, _] = records[records[number].inputs[0]].shape[..] else { panic!("maps") };
    let [_, out_rows, out_columns, _] = records[number].shape[..] else { panic!("maps") };
    let step = |size: usize, out: usize| ((size + 2 * padding - 7) / 2) / (out - 1);
    let forged = ConvNormPool {
        stride: [2, 2],
        padding: [padding; 2],
        epsilon,
        pool: [1, 1],
        pool_stride: [step(rows, out_rows), step(columns, out_columns)],
        pool_padding: [0, 0],
    };
    let shapes: Vec<Shape> =
        records[number].inputs.iter().map(|&input| Shape::try_from(&records[input].shape[..]).unwrap()).collect();
    assert_eq!(&forged.shape(&shapes).unwrap()[..], &records[number].shape, "it fits");
    records[number].equation = forged.into();
    folder.write(&mut header, &records).unwrap();
    let error = one(&folder.0, number).unwrap_err().to_string();
    assert!(error.contains("do not fit it"), "{error}");
}

#[test]
fn files_that_are_cut_off_or_strange_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = Folder(scratch.path().join("trace"));
    trace(&model(scratch.path(), "inrac-no-residual-no-attention", false), &study(), &TraceOptions::default(), &folder.0)
        .unwrap();
    let refuses = |part: &str| {
        let error = verify(&folder.0, None, &|_, _| ()).unwrap_err().to_string();
        assert!(error.contains(part), "`{error}` does not say `{part}`");
    };
    for name in [Folder::TENSORS, Folder::RECORDS, Folder::HEADER] {
        let whole = fs::read(folder.file(name)).unwrap();
        for cut in [0, 1, 7, 9, 200, whole.len() / 2, whole.len() - 2] {
            fs::write(folder.file(name), &whole[..cut]).unwrap();
            refuses(name);
        }
        fs::write(folder.file(name), &whole).unwrap();
    }
    let (mut header, records) = folder.read().unwrap();
    let mut swapped = records.clone();
    swapped.swap(3, 4);
    folder.write(&mut header, &swapped).unwrap();
    refuses("out of order");
    let mut early = records.clone();
    early[6].inputs = vec![6];
    folder.write(&mut header, &early).unwrap();
    refuses("out of order");
    let mut large = records.clone();
    large[6].shape = vec![usize::MAX, 2];
    folder.write(&mut header, &large).unwrap();
    refuses("tensor `6` is not the one");
    header.format = 2;
    folder.write(&mut header, &records).unwrap();
    refuses("format 2");
    assert!(verify(scratch.path(), None, &|_, _| ()).unwrap_err().to_string().contains("is not a trace"));
}

#[test]
fn values_that_are_not_finite_must_be_the_same() {
    let infinity = f64::INFINITY;
    let holds = |expected: f64, actual: f64| {
        let sum = |allowed| Expected { bound: Bound::Sum, values: vec![expected, 1.0], allowed };
        let both = [Allowed::Each(vec![1e-6 * expected.abs(), 1e-6]), Allowed::Norm { claim: 1e-6, size: expected.abs() + 1.0 }];
        both.map(|allowed| {
            let (error, allowed) = sum(allowed).compare(&[actual, 1.0]);
            error <= allowed
        })
    };
    for (expected, actual, same) in [
        (f64::NAN, f64::NAN, true),
        (f64::NAN, 1.0, false),
        (1.0, f64::NAN, false),
        (infinity, infinity, true),
        (infinity, -infinity, false),
        (1e39, infinity, true), // too large for f32
        (1.0, infinity, false),
        (1.0, 1.0 + 1e-7, true),
        (1.0, 1.0 + 1e-5, false),
    ] {
        assert_eq!(holds(expected, actual), [same; 2], "{expected} {actual}");
    }
}
