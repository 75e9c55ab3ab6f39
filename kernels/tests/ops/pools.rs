//! Maxima and averages over windows.

use super::*;

pub fn max_pool(isa: Isa, shape: PoolShape, input: &[f32]) -> (Vec<f32>, Vec<u32>) {
    let (mut output, mut argmax) = (dirty(shape.output_len()), vec![u32::MAX; shape.output_len()]);
    pool::max_pool(isa, shape, input, &mut output, &mut argmax);
    (output, argmax)
}

fn check_pool(shape: PoolShape, seed: u64) {
    let PoolShape { batch, rows, columns, channels, kernel, stride, padding, ceil_mode } = shape;
    let plain = reference::pool::PoolShape { batch, rows, columns, channels, kernel, stride, padding, ceil_mode };
    assert_eq!([shape.out_rows(), shape.out_columns()], plain.out());
    let (input, grad_output) = (ties(shape.input_len(), seed), values(shape.output_len(), seed + 1));
    let (maximum, winners) = reference::pool::max_pool(plain, &wide(&input));
    let max_grad = reference::pool::max_pool_backward(plain, &winners, &wide(&grad_output));
    for isa in Isa::all() {
        let (output, argmax) = max_pool(isa, shape, &input);
        assert_exact(&output, &maximum, "max_pool", isa);
        assert_eq!(argmax, winners, "{isa:?} {shape:?}");
        let grad = filled(input.len(), |x| pool::max_pool_backward(isa, shape, &argmax, &grad_output, x));
        assert_near(&grad, &max_grad, 1.0, MAX_SUM_ERROR, "max_pool_backward", isa);
        if ceil_mode {
            continue; // of maxima only
        }
        let average = reference::pool::average_pool(plain, &wide(&input));
        let average_grad = reference::pool::average_pool_backward(plain, &wide(&grad_output));
        let window = (kernel[0] * kernel[1]) as f64;
        let output = filled(grad_output.len(), |y| pool::average_pool(isa, shape, &input, y));
        assert_near(&output, &average, 1.0 / window.sqrt(), MAX_SUM_ERROR, "average_pool", isa);
        let grad = filled(input.len(), |x| pool::average_pool_backward(isa, shape, &grad_output, x));
        assert_near(&grad, &average_grad, 1.0 / window.sqrt(), MAX_SUM_ERROR, "average_pool_backward", isa);
    }
}

fn pools() -> impl Strategy<Value = PoolShape> {
    let kernel = (1usize..5, 1usize..5);
    let steps = ((1usize..4, 1usize..4), (0usize..4, 0usize..4), any::<bool>());
    let shape = (1usize..3, 4usize..14, 4usize..14, 1usize..20, kernel, steps);
    shape.prop_map(|(batch, rows, columns, channels, kernel, (stride, padding, ceil_mode))| PoolShape {
        batch,
        rows,
        columns,
        channels,
        kernel: [kernel.0, kernel.1],
        stride: [stride.0, stride.1],
        padding: [padding.0 % kernel.0, padding.1 % kernel.1],
        ceil_mode,
    })
}

proptest! {
    #[test]
    fn pools_are_as_the_reference(shape in pools(), seed in 0u64..1000) {
        check_pool(shape, seed);
    }
}

#[test]
fn pools_of_the_networks() {
    let shape = |kernel, stride, padding| PoolShape {
        batch: 2,
        rows: 32,
        columns: 16,
        channels: 64,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [padding; 2],
        ceil_mode: false,
    };
    check_pool(shape(3, 2, 1), 1); // the residual networks'
    check_pool(shape(2, 2, 0), 2); // VGG's
    check_pool(shape(3, 1, 1), 3); // inside an inception block
    check_pool(PoolShape { ceil_mode: true, ..shape(3, 2, 0) }, 4); // between them
}

fn check_adaptive(shape: AdaptiveShape, seed: u64) {
    let AdaptiveShape { batch, size, channels, windows } = shape;
    let plain = reference::adaptive::AdaptiveShape { batch, size, channels, windows };
    let (input, grad_output) = (values(shape.input_len(), seed), values(shape.output_len(), seed + 1));
    let average = reference::adaptive::forward(plain, &wide(&input));
    let grad_input = reference::adaptive::backward(plain, &wide(&grad_output));
    for isa in Isa::all() {
        let output = filled(grad_output.len(), |y| adaptive::forward(isa, shape, &input, y));
        assert_near(&output, &average, 1.0, MAX_SUM_ERROR, "adaptive average", isa);
        let grad = filled(input.len(), |x| adaptive::backward(isa, shape, &grad_output, x));
        let windows = (windows[0] * windows[1]) as f64;
        assert_near(&grad, &grad_input, windows.sqrt(), MAX_SUM_ERROR, "adaptive average, backward", isa);
    }
}

proptest! {
    #[test]
    fn adaptive_averages_are_as_the_reference(
        batch in 1usize..3, rows in 1usize..20, columns in 1usize..20, channels in 1usize..20, over in 1usize..6, across in 1usize..6,
        seed in 0u64..1000,
    ) {
        check_adaptive(AdaptiveShape { batch, size: [rows, columns], channels, windows: [over, across] }, seed);
    }
}
