//! Fully connected layers.

use super::*;

pub struct Linear {
    pub output: Vec<f32>,
    /// input, weight, bias
    pub grads: [Vec<f32>; 3],
}

impl Linear {
    pub fn run(isa: Isa, shape: LinearShape, seed: u64) -> (Linear, [Vec<f32>; 4]) {
        let LinearShape { batch, in_features, out_features } = shape;
        let (input, weight) = (values(batch * in_features, seed), values(out_features * in_features, seed + 1));
        let (bias, grad) = (values(out_features, seed + 2), values(batch * out_features, seed + 3));
        let output = filled(grad.len(), |y| linear::forward(isa, shape, &input, &weight, &bias, y));
        let mut grads = [dirty(input.len()), dirty(weight.len()), dirty(bias.len())];
        let [grad_input, grad_weight, grad_bias] = &mut grads;
        linear::backward(isa, shape, &input, &weight, &grad, grad_input, grad_weight, grad_bias);
        (Linear { output, grads }, [input, weight, bias, grad])
    }
}

fn check_linear(shape: LinearShape, seed: u64) {
    for isa in Isa::all() {
        let (actual, arguments) = Linear::run(isa, shape, seed);
        let [input, weight, bias, grad] = arguments.map(|x| wide(&x));
        let output = reference::linear::forward(shape.in_features, &input, &weight, &bias);
        let random = |terms: usize| (terms as f64).sqrt();
        assert_near(&actual.output, &output, random(shape.in_features), MAX_SUM_ERROR, "linear", isa);
        let grads = reference::linear::backward(shape.in_features, &input, &weight, &grad);
        let [grad_input, grad_weight, grad_bias] = &actual.grads;
        assert_near(grad_input, &grads[0], random(shape.out_features), MAX_SUM_ERROR, "grad_input", isa);
        assert_near(grad_weight, &grads[1], random(shape.batch), MAX_SUM_ERROR, "grad_weight", isa);
        assert_near(grad_bias, &grads[2], random(shape.batch), MAX_SUM_ERROR, "grad_bias", isa);
    }
}

proptest! {
    #[test]
    fn linear_is_as_the_reference(batch in 1usize..12, in_features in 1usize..90, out_features in 1usize..20, seed in 0u64..1000) {
        check_linear(LinearShape { batch, in_features, out_features }, seed);
    }
}

#[test]
fn linear_of_several_tasks() {
    check_linear(LinearShape { batch: 9, in_features: 777, out_features: 131 }, 1);
}
