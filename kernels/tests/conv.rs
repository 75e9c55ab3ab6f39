//! Convolution and GEMM against the plain f64 loops, on every instruction set, and the same bits for any number of threads.

use osteon_kernels::conv::{self, ConvShape};
use osteon_kernels::gemm::{self, GemmShape};
use osteon_kernels::par::Pool;
use osteon_kernels::simd::Isa;
use osteon_reference as reference;
use proptest::prelude::*;

/// Relative l2 error: f32 rounds each product and sum to 6e-8; sums of up to 4608 values that are neither sorted nor of one
/// sign stay ten times below this.
const MAX_ERROR: f64 = 2e-6;

fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

fn error(actual: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let difference: f64 = actual.iter().zip(expected).map(|(&a, e)| (f64::from(a) - e).powi(2)).sum();
    let size: f64 = expected.iter().map(|e| e * e).sum();
    if size == 0.0 { difference.sqrt() } else { (difference / size).sqrt() }
}

/// The three passes of one convolution: output, grad_input, grad_weights.
fn passes(isa: Isa, shape: ConvShape) -> [Vec<f32>; 3] {
    let (input, weights) = (values(shape.input_len(), 1), values(shape.weight_len(), 2));
    let grad_output = values(shape.output_len(), 3);
    // Whatever was in the buffers must not matter.
    let dirty = |len| vec![f32::NAN; len];
    let mut packed = dirty(conv::packed_len(shape));
    conv::pack(isa, shape, &weights, &mut packed);
    let mut output = dirty(shape.output_len());
    conv::forward(isa, shape, &input, &packed, &mut output, &mut dirty(conv::forward_scratch_len(shape)));
    let mut grad_input = dirty(shape.input_len());
    let mut scratch = dirty(conv::backward_data_scratch_len(shape));
    conv::backward_data(isa, shape, &grad_output, &weights, &mut grad_input, &mut scratch);
    let mut grad_weights = dirty(shape.weight_len());
    let mut scratch = dirty(conv::backward_weights_scratch_len(shape));
    conv::backward_weights(isa, shape, &input, &grad_output, &mut grad_weights, &mut scratch);
    [output, grad_input, grad_weights]
}

fn check(shape: ConvShape) {
    let plain = reference::conv::ConvShape {
        batch: shape.batch,
        rows: shape.rows,
        columns: shape.columns,
        in_channels: shape.in_channels,
        out_channels: shape.out_channels,
        kernel: shape.kernel,
        stride: shape.stride,
        padding: shape.padding,
    };
    let (input, weights) = (wide(&values(shape.input_len(), 1)), wide(&values(shape.weight_len(), 2)));
    let grad_output = wide(&values(shape.output_len(), 3));
    let expected = [
        reference::conv::forward(plain, &input, &weights),
        reference::conv::backward_data(plain, &grad_output, &weights),
        reference::conv::backward_weights(plain, &input, &grad_output),
    ];
    for isa in Isa::all() {
        for ((actual, expected), pass) in passes(isa, shape).iter().zip(&expected).zip(["forward", "data", "weights"]) {
            let error = error(actual, expected);
            assert!(error <= MAX_ERROR, "{isa:?} {pass} {shape:?}: {error:e}");
        }
    }
}

prop_compose! {
    fn shapes()(
        batch in 1usize..4, size in [1usize..20, 1usize..20], in_channels in 1usize..20, out_channels in 1usize..36,
        kernel in [1usize..8, 1usize..8], stride in [1usize..4, 1usize..4], padding in [0usize..4, 0usize..4],
    ) -> ConvShape {
        ConvShape { batch, rows: size[0], columns: size[1], in_channels, out_channels, kernel, stride, padding }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn conv_matches_the_reference(shape in shapes()) {
        check(shape);
    }

    #[test]
    fn gemm_matches_the_reference(
        m in 1usize..130, n in 1usize..70, k in 0usize..500, transpose_a: bool, transpose_b: bool,
    ) {
        let (a, b) = (values(m * k, 1), values(k * n, 2));
        let expected = reference::gemm::gemm(m, n, k, transpose_a, transpose_b, &wide(&a), &wide(&b));
        let shape = GemmShape { m, n, k, transpose_a, transpose_b };
        for isa in Isa::all() {
            let mut c = vec![f32::NAN; m * n];
            gemm::gemm(isa, shape, &a, &b, &mut c, &mut vec![f32::NAN; gemm::scratch_len(shape)]);
            let error = error(&c, &expected);
            prop_assert!(error <= MAX_ERROR, "{:?} {:?}: {:e}", isa, shape, error);
        }
    }
}

/// Every kind of convolution that the network has, at a sixteenth of its area.
fn network_shapes() -> Vec<ConvShape> {
    let shape = |rows, columns, in_channels, out_channels, kernel: usize, stride: usize| ConvShape {
        batch: 2,
        rows,
        columns,
        in_channels,
        out_channels,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [kernel / 2; 2],
    };
    vec![
        shape(256, 64, 1, 64, 7, 2),
        shape(64, 16, 64, 64, 3, 1),
        shape(64, 16, 64, 128, 3, 2),
        shape(64, 16, 64, 128, 1, 2),
        shape(32, 8, 128, 128, 3, 1),
        shape(16, 4, 256, 256, 3, 1),
        shape(8, 2, 512, 512, 3, 1),
        shape(64, 16, 2, 1, 7, 1),
    ]
}

#[test]
fn network_shapes_match_the_reference() {
    network_shapes().into_iter().for_each(check);
}

#[test]
fn bits_do_not_depend_on_threads() {
    for shape in network_shapes() {
        for isa in Isa::all() {
            let with = |threads| Pool::new(threads).expect("threads").run(|| passes(isa, shape));
            let one = with(1);
            for threads in [2, 3, 8] {
                assert!(with(threads) == one, "{isa:?} {shape:?} on {threads} threads");
            }
        }
    }
}

#[test]
fn every_instruction_set_of_this_machine_is_tested() {
    let names: Vec<_> = Isa::all().iter().map(|isa| isa.name()).collect();
    println!("tested: {names:?}");
    assert!(names.contains(&"portable"));
    #[cfg(target_arch = "x86_64")]
    assert_eq!(names.contains(&"avx2+fma"), is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"));
}
