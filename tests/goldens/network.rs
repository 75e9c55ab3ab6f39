//! Every kind of block, and whole networks: what they say, how they learn, and ten steps of the first.

use crate::compare::{Goldens, Ledger, to_nchw, to_nhwc};
use osteon::Result;
use osteon::autograd::Context;
use osteon::autograd::{Mode, Parameter, Parameters, Tape, Var};
use osteon::models::{Metadata, Model, Pooling, architectures};
use osteon::nn::{
    Attention, AttentionSettings, BatchNorm, Block, BlockSettings, Builder, ChannelAttention, Conv, NormSettings, Placement,
    SpatialAttention,
};
use osteon::optim::{Adam, Moments};
use osteon::prepare::Preprocessing;
use osteon::train::Trainer;
use osteon_kernels::simd::Isa;
use osteon_reference::golden;

/// Of a block's output, gradients and running statistics: a third to a twelfth of the network's layers lie in it.
const MAX_BLOCK_ERROR: f64 = 5e-5;
/// Of the network's logits, probabilities, loss and running statistics.
const MAX_LOGIT_ERROR: f64 = 1e-4;
/// Of each parameter's gradient.
const MAX_GRADIENT_ERROR: f64 = 2e-3;
/// Of the losses of ten steps of Adam.
const MAX_LOSSES_ERROR: f64 = 1e-3;

/// Gives every parameter and running statistic the formula's values.
fn fill(parameters: &mut Parameters, prefix: &str) {
    let fill = |parameter: &mut Parameter| {
        let values = golden::parameter(&format!("{prefix}{}", parameter.name), &parameter.file_shape());
        parameter.set_from_file(&values.iter().map(|value| value.to_le_bytes()).collect::<Vec<_>>());
        Ok(())
    };
    parameters.change_each(fill).expect("nothing is refused");
}

type Forward = Box<dyn Fn(&mut Tape, Var) -> Result<Var>>;

/// Builds the block of that name.
fn build(name: &str, builder: &mut Builder) -> Forward {
    let (attention, norm) = (AttentionSettings::default(), NormSettings::default());
    let mut block = |placement, channels, stride| -> Forward {
        let settings = BlockSettings { placement, shortcut: true, attention, norm };
        // Its parameters are named `block.NAME.conv1.weight` and so on, as in the file.
        let block = Block::new(builder, name, channels, stride, settings);
        Box::new(move |tape, x| block.forward(tape, x))
    };
    match name {
        "residual" => block(Placement::None, [32, 32], 1),
        "residual_downsample" => block(Placement::None, [32, 48], 2),
        "inrac" => block(Placement::Inside, [32, 32], 1),
        "inrac_downsample" => block(Placement::Inside, [32, 64], 2),
        "outrac" => block(Placement::Outside, [32, 32], 1),
        "outrac_downsample" => block(Placement::Outside, [16, 32], 2),
        "channel_attention" => {
            let layer = ChannelAttention::new(builder, name, 32, attention.reduction);
            Box::new(move |tape, x| layer.forward(tape, x))
        }
        "spatial_attention" => {
            let layer = SpatialAttention::new(builder, name, attention, norm);
            Box::new(move |tape, x| layer.forward(tape, x))
        }
        "hybrid_attention" => {
            let layer = Attention::new(builder, name, 48, attention, norm);
            Box::new(move |tape, x| layer.forward(tape, x))
        }
        "stem" => builder.within(name, |builder, _| -> Forward {
            let (conv, norm) = (Conv::new(builder, "conv1", [1, 64], 7, 2), BatchNorm::new(builder, "bn1", 64, norm));
            Box::new(move |tape, x| {
                let x = conv.forward(tape, x)?;
                let x = norm.forward(tape, x)?;
                let x = tape.relu(x)?;
                tape.max_pool(x, [3, 3], [2, 2], [1, 1])
            })
        }),
        other => panic!("no block `{other}`"),
    }
}

#[test]
fn every_block_is_pytorchs() -> Result<()> {
    let goldens = Goldens::read("blocks.safetensors");
    let mut ledger = Ledger::default();
    for case in goldens.cases("block") {
        let name = &case["block.".len()..];
        let nchw @ [batch, channels, rows, columns] = goldens.shape(&case);
        let mut builder = Builder::zeros();
        let forward = builder.within("block", |builder, _| build(name, builder));
        let mut parameters = builder.finish().unwrap();
        fill(&mut parameters, "");
        let x = to_nhwc(&goldens.input(&format!("{case}.input"), nchw.iter().product()), nchw);
        for isa in Isa::all() {
            let mut context = Context::new(isa);
            let mut compare = |name: &str, values: &[f32]| {
                ledger.compare(isa, &case, MAX_BLOCK_ERROR, &goldens, &format!("{case}.{name}"), values)
            };
            let run = |tape: &mut Tape| -> Result<(Var, Var, [usize; 4])> {
                let x = tape.input([batch, rows, columns, channels], &x, true)?;
                let again = tape.retain(&x);
                let y = forward(tape, again)?;
                let shape = tape.shape(&y);
                Ok((x, y, [shape[0], shape[3], shape[1], shape[2]]))
            };

            let mut tape = Tape::new(Mode::Inference, &parameters, &mut context);
            let (_, y, out) = run(&mut tape)?;
            compare("inference", &to_nchw(tape.value(&y), out));
            drop(tape);

            let mut tape = Tape::new(Mode::Training, &parameters, &mut context);
            let (x, y, out) = run(&mut tape)?;
            compare("output", &to_nchw(tape.value(&y), out));
            let grad_output = goldens.input(&format!("{case}.grad_output"), out.iter().product());
            let gradients = tape.backward(y, &to_nhwc(&grad_output, out))?;
            compare("grad_input", &to_nchw(tape.gradient(&x).expect("a gradient of the input"), nchw));
            let name_of = |id| parameters.get(id).name[case.len() + 1..].to_owned();
            for (id, statistic) in tape.take_statistics() {
                compare(&name_of(id), &statistic);
            }
            for id in parameters.trained() {
                let gradient = gradients.get(id).expect("a gradient of every parameter");
                compare(&format!("grad.{}", name_of(id)), &parameters.get(id).to_file(gradient));
            }
        }
    }
    ledger.finish("blocks");
    Ok(())
}

/// The 26-layer network with the formula's weights.
fn classifier(input_size: [usize; 2]) -> Result<Model> {
    let classes = ["NoMet", "ADMet", "nADMet"].map(String::from);
    let mut model = Model::new("inrac", &classes, input_size, Preprocessing::default(), 0)?;
    fill(model.parameters_mut(), "");
    Ok(model)
}

/// Images, shape and labels of the golden training step.
fn training_batch(goldens: &Goldens) -> (Vec<f32>, [usize; 3], Vec<u32>) {
    let name: String = goldens.get("training.input").iter().map(|&byte| char::from(byte as u8)).collect();
    let [batch, _, rows, columns] = goldens.shape("training");
    let labels = goldens.get("training.labels").iter().map(|&label| label as u32).collect();
    (golden::images(&name, batch, rows, columns), [batch, rows, columns], labels)
}

#[test]
fn the_whole_network_is_pytorchs() -> Result<()> {
    let goldens = Goldens::read("network.safetensors");
    let mut ledger = Ledger::default();
    let model = classifier([1024, 256])?;
    for isa in Isa::all() {
        let mut context = Context::new(isa);
        for case in goldens.cases("inference") {
            let [batch, _, rows, columns] = goldens.shape(&case);
            let images = golden::images(&format!("{case}.input"), batch, rows, columns);
            let mut tape = Tape::new(Mode::Inference, model.parameters(), &mut context);
            let x = tape.input([batch, rows, columns, 1], &images, false)?;
            let logits = model.forward(&mut tape, x)?;
            let name = format!("{case}.logits");
            ledger.compare(isa, "inference: logits", MAX_LOGIT_ERROR, &goldens, &name, tape.value(&logits));
        }

        let (images, shape @ [batch, rows, columns], labels) = training_batch(&goldens);
        let mut tape = Tape::new(Mode::Training, model.parameters(), &mut context);
        let x = tape.input([batch, rows, columns, 1], &images, false)?;
        let logits = model.forward(&mut tape, x)?;
        ledger.compare(isa, "training: logits", MAX_LOGIT_ERROR, &goldens, "training.logits", tape.value(&logits));
        drop(tape);

        let step = model.differentiate(&mut context, &images, shape, &labels)?;
        ledger.compare(isa, "training: loss", MAX_LOGIT_ERROR, &goldens, "training.loss", &[step.loss]);
        for (id, statistic) in &step.statistics {
            let name = format!("training.{}", model.parameters().get(*id).name);
            ledger.compare(isa, "training: statistics", MAX_LOGIT_ERROR, &goldens, &name, statistic);
        }
        let expected = goldens.names("training.grad.");
        assert_eq!(model.parameters().trained().len(), expected.len(), "a golden gradient for every parameter");
        for id in model.parameters().trained() {
            let parameter = model.parameters().get(id);
            let gradient = parameter.to_file(step.gradients.get(id).expect("a gradient of every parameter"));
            let name = format!("training.grad.{}", parameter.name);
            ledger.compare(isa, "training: gradients", MAX_GRADIENT_ERROR, &goldens, &name, &gradient);
        }
    }
    ledger.finish("the 26-layer network");
    Ok(())
}

/// One step of each of the others, without dropout. Of gradients and statistics a file has norm and projections.
#[test]
fn the_other_networks_are_pytorchs() -> Result<()> {
    let goldens = Goldens::read("networks.safetensors");
    let mut ledger = Ledger::default();
    let mut cases = goldens.all_cases();
    for case in &cases {
        let [batch, _, rows, columns] = goldens.shape(case);
        let number = goldens.get(&format!("{case}.input"))[0];
        let images = golden::images(&format!("network.input.{number}"), batch, rows, columns);
        let labels: Vec<u32> = goldens.get(&format!("{case}.labels")).iter().map(|&label| label as u32).collect();
        let classes = ["NoMet", "ADMet", "nADMet"].map(String::from);
        let architecture = case.strip_suffix("-average").unwrap_or(case);
        let mut metadata = Metadata::new(architecture, &classes, [rows, columns], Preprocessing::default());
        metadata.pooling = if architecture == case { Pooling::Auto } else { Pooling::Average };
        let mut model = Model::initialised(metadata, 0)?;
        fill(model.parameters_mut(), "");
        for isa in Isa::all() {
            let mut context = Context::new(isa);
            let mut compare = |what: &str, bound, name: &str, values: &[f32]| {
                ledger.compare(isa, &format!("{case}: {what}"), bound, &goldens, &format!("{case}.{name}"), values)
            };
            for (mode, what, name) in
                [(Mode::Inference, "inference", "inference"), (Mode::Training, "training: logits", "logits")]
            {
                let mut tape = Tape::new(mode, model.parameters(), &mut context);
                let x = tape.input([batch, rows, columns, 1], &images, false)?;
                let logits = model.forward(&mut tape, x)?;
                compare(what, MAX_LOGIT_ERROR, name, tape.value(&logits));
            }
            let step = model.differentiate(&mut context, &images, [batch, rows, columns], &labels)?;
            compare("training: loss", MAX_LOGIT_ERROR, "loss", &[step.loss]);
            let mut tables = [("gradients", MAX_GRADIENT_ERROR, Vec::new()), ("statistics", MAX_LOGIT_ERROR, Vec::new())];
            for id in model.parameters().trained() {
                let parameter = model.parameters().get(id);
                let gradient = parameter.to_file(step.gradients.get(id).expect("a gradient of every parameter"));
                tables[0].2.push((parameter.name.clone(), gradient));
            }
            let statistics =
                step.statistics.iter().map(|(id, values)| (model.parameters().get(*id).name.clone(), values.to_vec()));
            tables[1].2.extend(statistics);
            for (what, bound, mut tensors) in tables {
                let table = format!("{case}.{what}");
                assert_eq!(tensors.len(), goldens.rows(&table), "rows of {table}");
                tensors.sort_by(|a, b| a.0.cmp(&b.0));
                for (row, (name, values)) in tensors.iter().enumerate() {
                    let error = goldens.row_error(&table, row, name, values);
                    ledger.note(isa, &format!("{case}: training: {what}"), bound, &format!("{table}.{name}"), error);
                }
            }
        }
    }
    ledger.finish("the other networks");
    cases.push("inrac".into());
    assert!(architectures().iter().all(|name| cases.iter().any(|case| case == name)), "goldens of every network: {cases:?}");
    Ok(())
}

#[test]
fn ten_steps_of_adam_are_pytorchs() -> Result<()> {
    let goldens = Goldens::read("network.safetensors");
    let mut ledger = Ledger::default();
    let (images, shape @ [_, rows, columns], labels) = training_batch(&goldens);
    let learning_rate = goldens.get("curve.learning_rate")[0] as f32;
    let steps = goldens.get("curve.losses").len();
    let mut compare = |isa, row: &str, losses: &[f32]| {
        println!("{row} on {isa:?}: {losses:.4?}");
        ledger.compare(isa, row, MAX_LOSSES_ERROR, &goldens, "curve.losses", losses);
    };
    for isa in Isa::all() {
        let (mut model, mut context) = (classifier([rows, columns])?, Context::new(isa));
        let mut moments = Moments::new(model.parameters());
        let mut losses = Vec::new();
        for _ in 0..steps {
            let step = model.differentiate(&mut context, &images, shape, &labels)?;
            moments.step(isa, &Adam::default(), model.parameters_mut(), &step.gradients, learning_rate);
            losses.push(step.loss);
        }
        compare(isa, "losses", &losses);
    }
    let mut trainer = Trainer::new(classifier([rows, columns])?, Adam::default());
    let losses: Result<Vec<f32>> = (0..steps).map(|_| Ok(trainer.step(&images, &labels, learning_rate)?.loss)).collect();
    compare(Isa::detect(), "losses of the trainer", &losses?);
    ledger.finish("ten steps of Adam");
    Ok(())
}
