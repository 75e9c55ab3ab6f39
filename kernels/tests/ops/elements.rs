//! Operations on each value by itself, and NaN in all kernels.

use super::*;

proptest! {
    #[test]
    fn elementwise_is_as_the_reference(len in 1usize..100, seed in 0u64..1000) {
        check_elementwise(len, seed);
    }
}

#[test]
fn elementwise_of_many_chunks() {
    check_elementwise(3 * 32768 + 5, 1);
}

fn check_elementwise(len: usize, seed: u64) {
    let (a, b) = (ties(len, seed), values(len, seed + 1));
    let scaled: Vec<f32> = b.iter().map(|x| x * 30.0).collect();
    let (wide_a, wide_b) = (wide(&a), wide(&b));
    for isa in Isa::all() {
        let relu = filled(len, |y| elementwise::relu(isa, &a, y));
        assert_exact(&relu, &reference::elementwise::relu(&wide_a), "relu", isa);
        let grad = {
            let mut grad = b.clone();
            elementwise::relu_backward(isa, &relu, &mut grad);
            grad
        };
        assert_exact(&grad, &reference::elementwise::relu_backward(&wide(&relu), &wide_b), "relu_backward", isa);
        let (mut first, mut copy) = (b.to_vec(), dirty(b.len()));
        elementwise::relu_backward_both(isa, &relu, &mut first, &mut copy);
        assert_eq!([&first, &copy], [&grad, &grad], "relu_backward_both {isa:?}");
        let sum = reference::elementwise::add(&wide_a, &wide_b);
        assert_exact(&filled(len, |y| elementwise::add(isa, &a, &b, y)), &sum, "add", isa);
        let mut target = a.clone();
        elementwise::add_assign(isa, &mut target, &b);
        assert_exact(&target, &sum, "add_assign", isa);
        let sum = reference::elementwise::add_scaled(f64::from(0.3_f32), &wide_b, &wide_a);
        let actual = filled(len, |y| elementwise::add_scaled(isa, 0.3, &b, &a, y));
        assert_near(&actual, &sum, 1.0, MAX_ROUNDING_ERROR, "add_scaled", isa);
        let product = reference::elementwise::scale(f64::from(0.3_f32), &wide_b);
        assert_exact(&filled(len, |y| elementwise::scale(isa, 0.3, &b, y)), &product, "scale", isa);
        let sigmoid = filled(len, |y| elementwise::sigmoid(isa, &scaled, y));
        let expected = reference::elementwise::sigmoid(&wide(&scaled));
        assert_close(&sigmoid, &expected, MAX_ROUNDING_ERROR, "sigmoid", isa);
        let grad = filled(len, |y| elementwise::sigmoid_backward(isa, &sigmoid, &a, y));
        let expected = reference::elementwise::sigmoid_backward(&wide(&sigmoid), &wide_a);
        assert_close(&grad, &expected, MAX_ROUNDING_ERROR, "sigmoid_backward", isa);
    }
}

#[test]
fn not_a_number_stays() {
    let input = [f32::NAN, 1.0, -1.0];
    for isa in Isa::all() {
        assert!(filled(3, |y| elementwise::relu(isa, &input, y))[0].is_nan(), "{isa:?}");
        assert!(filled(3, |y| elementwise::sigmoid(isa, &input, y))[0].is_nan(), "{isa:?}");
        assert!(filled(3, |y| softmax::softmax(isa, 1, 3, &input, y)).iter().all(|p| p.is_nan()), "{isa:?}");
        let shape = ReduceShape { batch: 1, pixels: 1, channels: 3 };
        let (stats, argmax) = channel_stats(isa, shape, &[1.0, f32::NAN, 2.0]);
        assert!(stats.iter().all(|y| y.is_nan()) && argmax == [1], "{isa:?}");
        let (scaled, argmax) = scaled_channel_stats(isa, shape, &[1.0, f32::INFINITY, 2.0], &[1.0, 0.0, 1.0]);
        assert!(scaled.iter().all(|y| y.is_nan()) && argmax == [1], "{isa:?}");
        // An infinity of each sign makes the mean NaN, not the maximum.
        let (stats, argmax) = channel_stats(isa, shape, &[1.0, f32::NEG_INFINITY, f32::INFINITY]);
        assert!(stats[0].is_nan() && stats[1] == f32::INFINITY && argmax == [2], "{isa:?}");
        let shape = ReduceShape { batch: 1, pixels: 3, channels: 1 };
        let (maximum, argmax) = global_max(isa, shape, &[1.0, f32::NAN, 2.0]);
        assert!(maximum[0].is_nan() && argmax == [1], "{isa:?}");
        let stats = filled(2, |y| reduce::global_stats(isa, shape, &[1.0, f32::NAN, 2.0], y));
        assert!(stats.iter().all(|y| y.is_nan()), "{isa:?}");
        let shape = PoolShape {
            batch: 1,
            rows: 1,
            columns: 3,
            channels: 1,
            kernel: [1, 3],
            stride: [1, 1],
            padding: [0, 0],
            ceil_mode: false,
        };
        let (maximum, argmax) = max_pool(isa, shape, &[1.0, f32::NAN, 2.0]);
        assert!(maximum[0].is_nan() && argmax == [1], "{isa:?}");
    }
}
