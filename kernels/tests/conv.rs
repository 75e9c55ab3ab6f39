//! Convolution and GEMM against the plain f64 loops, on every instruction set, and the same bits for any number of threads.

mod common;

use common::{error, values, wide};
use osteon_kernels::conv::{self, Algorithm, ConvShape, Epilogue, Pass};
use osteon_kernels::elementwise;
use osteon_kernels::gemm::{self, GemmShape};
use osteon_kernels::par::Pool;
use osteon_kernels::pool::{self, PoolShape};
use osteon_kernels::simd::Isa;
use osteon_reference as reference;
use proptest::prelude::*;

/// [`gemm_error`] of a product, as of a direct convolution: it rounds alike.
const MAX_GEMM_ERROR: f64 = 2e-6;

/// l2 error of a product of `a` and `b`, relative to its l2 norm. Where few sums cancel to nearly nothing, that says nothing of their
/// rounding: then relative to `|a| |b| / sqrt(k)`, the norm that sums of k terms of random signs have.
fn gemm_error(c: &[f32], expected: &[f64], shape: GemmShape, [a, b]: [&[f32]; 2]) -> f64 {
    let GemmShape { m, n, k, transpose_a, transpose_b } = shape;
    let sizes = |values: &[f32]| values.iter().map(|value| f64::from(value.abs())).collect::<Vec<f64>>();
    let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let terms = norm(&reference::gemm::gemm(m, n, k, transpose_a, transpose_b, &sizes(a), &sizes(b)));
    let difference: Vec<f64> = c.iter().zip(expected).map(|(&c, expected)| f64::from(c) - expected).collect();
    match norm(expected).max(terms / (k as f64).sqrt()) {
        size if size > 0.0 => norm(&difference) / size,
        _ => norm(&difference), // all must be zero; also where k is 0
    }
}

/// The instruction sets with a fused multiply-add, which give the same bits.
const FUSED: [&str; 2] = ["avx512", "avx2+fma"];

/// The passes of one convolution that an algorithm computes, of output, grad_input, grad_weights.
fn passes(isa: Isa, algorithm: Algorithm, shape: ConvShape) -> Vec<Vec<f32>> {
    let (input, weights) = (values(shape.input_len(), 1), values(shape.weight_len(), 2));
    let grad_output = values(shape.output_len(), 3);
    // Whatever was in the buffers must not matter.
    let dirty = |len| vec![f32::NAN; len];
    let mut packed = dirty(algorithm.packed_len(shape));
    algorithm.pack(isa, shape, &weights, &mut packed);
    let mut output = dirty(shape.output_len());
    algorithm.forward(
        isa,
        shape,
        &input,
        &packed,
        Epilogue::default(),
        &mut output,
        &mut dirty(algorithm.forward_scratch_len(shape)),
    );
    if !algorithm.supports(Pass::BackwardData, shape) {
        assert!(!algorithm.supports(Pass::BackwardWeights, shape));
        return vec![output];
    }
    let mut grad_input = dirty(shape.input_len());
    let mut scratch = dirty(algorithm.backward_data_scratch_len(shape));
    algorithm.backward_data(isa, shape, &grad_output, &weights, (&mut grad_input, false), &mut scratch);
    if algorithm.adds() {
        let before = values(shape.input_len(), 4);
        let mut sum = before.clone();
        algorithm.backward_data(isa, shape, &grad_output, &weights, (&mut sum, true), &mut scratch);
        let expected: Vec<f32> = before.iter().zip(&grad_input).map(|(a, b)| a + b).collect();
        assert!(sum == expected, "{algorithm:?} {isa:?} {shape:?}: added");
    }
    let mut grad_weights = dirty(shape.weight_len());
    let mut scratch = dirty(algorithm.backward_weights_scratch_len(shape));
    algorithm.backward_weights(isa, shape, &input, &grad_output, &mut grad_weights, &mut scratch);
    vec![output, grad_input, grad_weights]
}

fn algorithms(shape: ConvShape) -> impl Iterator<Item = Algorithm> {
    Algorithm::ALL.into_iter().filter(move |algorithm| algorithm.supports(Pass::Forward, shape))
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
    for algorithm in algorithms(shape) {
        let mut fused: Option<Vec<Vec<f32>>> = None;
        for isa in Isa::all() {
            let actual = passes(isa, algorithm, shape);
            // Sixteen lanes, other tiles and other registers must not show.
            if FUSED.contains(&isa.name()) {
                assert!(*fused.get_or_insert_with(|| actual.clone()) == actual, "{algorithm:?} {isa:?} {shape:?}: other bits");
            }
            for ((actual, expected), pass) in actual.iter().zip(&expected).zip(["forward", "data", "weights"]) {
                let error = error(actual, expected);
                assert!(error <= algorithm.max_error(), "{algorithm:?} {isa:?} {pass} {shape:?}: {error:e}");
            }
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

prop_compose! {
    /// What Winograd computes.
    fn winograd_shapes()(
        batch in 1usize..6, size in [1usize..30, 1usize..30], in_channels in 1usize..6, out_channels in 1usize..6,
        stride in 1usize..3, padding in [0usize..3, 0usize..3],
    ) -> ConvShape {
        let [in_channels, out_channels] = [8 * in_channels, 8 * out_channels];
        ConvShape { batch, rows: size[0], columns: size[1], in_channels, out_channels, kernel: [3; 2], stride: [stride; 2], padding }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn winograd_matches_the_reference(shape in winograd_shapes()) {
        prop_assert!(Algorithm::Winograd.supports(Pass::Forward, shape));
        check(shape);
    }

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
            let error = gemm_error(&c, &expected, shape, [&a, &b]);
            prop_assert!(error <= MAX_GEMM_ERROR, "{:?} {:?}: {:e}", isa, shape, error);
        }
    }
}

proptest! {
    /// Beside another implementation, over odd shapes, with all four layouts given by strides.
    #[test]
    fn gemm_is_as_matrixmultiply(
        m in 1usize..130, n in 1usize..70, k in 1usize..800, transpose_a: bool, transpose_b: bool,
    ) {
        let (a, b) = (values(m * k, 1), values(k * n, 2));
        let strides = |transposed, rows: usize, columns: usize| if transposed { (1, rows as isize) } else { (columns as isize, 1) };
        let ((a_row, a_column), (b_row, b_column)) = (strides(transpose_a, m, k), strides(transpose_b, k, n));
        let mut expected = vec![f32::NAN; m * n];
        // SAFETY: the pointers are of arrays of m * k, k * n and m * n values with these strides.
        unsafe {
            let (a, b, c) = (a.as_ptr(), b.as_ptr(), expected.as_mut_ptr());
            matrixmultiply::sgemm(m, k, n, 1.0, a, a_row, a_column, b, b_row, b_column, 0.0, c, n as isize, 1);
        }
        let shape = GemmShape { m, n, k, transpose_a, transpose_b };
        for isa in Isa::all() {
            let mut c = vec![f32::NAN; m * n];
            gemm::gemm(isa, shape, &a, &b, &mut c, &mut vec![f32::NAN; gemm::scratch_len(shape)]);
            // Each of the two is off by as much.
            let error = gemm_error(&c, &wide(&expected), shape, [&a, &b]);
            prop_assert!(error <= 2.0 * MAX_GEMM_ERROR, "{:?} {:?}: {:e}", isa, shape, error);
        }
    }
}

#[test]
fn an_epilogue_is_what_would_follow() {
    for shape in network_shapes() {
        let (input, weights, bias) = (values(shape.input_len(), 1), values(shape.weight_len(), 2), values(shape.out_channels, 3));
        for (isa, algorithm) in Isa::all().into_iter().flat_map(|isa| algorithms(shape).map(move |algorithm| (isa, algorithm))) {
            let mut packed = vec![f32::NAN; algorithm.packed_len(shape)];
            algorithm.pack(isa, shape, &weights, &mut packed);
            let forward = |epilogue| {
                let mut output = vec![f32::NAN; shape.output_len()];
                let mut scratch = vec![f32::NAN; algorithm.forward_scratch_len(shape)];
                algorithm.forward(isa, shape, &input, &packed, epilogue, &mut output, &mut scratch);
                output
            };
            let plain = forward(Epilogue::default());
            for relu in [false, true] {
                let expected = plain.iter().zip(bias.iter().cycle()).map(|(y, b)| if relu { (y + b).max(0.0) } else { y + b });
                let actual = forward(Epilogue { bias: Some(&bias), relu });
                // Winograd takes the bias in where its products are summed: another order of the same sum.
                let error = error(&actual, &wide(&expected.collect::<Vec<f32>>()));
                let claim = if algorithm == Algorithm::Winograd { algorithm.max_error() } else { 0.0 };
                assert!(error <= claim, "{algorithm:?} {isa:?} {shape:?}: {error:e}");
                assert!(!relu || actual.iter().all(|&y| y >= 0.0), "{algorithm:?} {isa:?} {shape:?}");
            }
        }
    }
}

/// The maxima of a convolution's outputs in one pass are those of one operation after the other, to the bit.
fn check_max_pool(shape: ConvShape, [kernel, stride, padding]: [[usize; 2]; 3], ceil_mode: bool) {
    let (rows, columns) = (shape.out_rows(), shape.out_columns());
    let kernel = [kernel[0].min(rows), kernel[1].min(columns)];
    let padding = [padding[0] % kernel[0], padding[1] % kernel[1]];
    let pool = PoolShape { batch: shape.batch, rows, columns, channels: shape.out_channels, kernel, stride, padding, ceil_mode };
    let (mut input, weights) = (values(shape.input_len(), 1), values(shape.weight_len(), 2));
    let bias = values(shape.out_channels, 3);
    input[shape.input_len() / 2] = f32::NAN;
    let algorithm = Algorithm::ImplicitGemm;
    for isa in Isa::all() {
        let dirty = |len| vec![f32::NAN; len];
        let mut packed = dirty(algorithm.packed_len(shape));
        algorithm.pack(isa, shape, &weights, &mut packed);
        let (mut outputs, mut scratch) = (dirty(shape.output_len()), dirty(algorithm.forward_scratch_len(shape)));
        let epilogue = Epilogue { bias: Some(&bias), relu: false };
        algorithm.forward(isa, shape, &input, &packed, epilogue, &mut outputs, &mut scratch);
        let (mut maxima, mut argmax) = (dirty(pool.output_len()), vec![0; pool.output_len()]);
        pool::max_pool(isa, pool, &outputs, &mut maxima, &mut argmax);
        let mut expected = dirty(pool.output_len());
        elementwise::relu(isa, &maxima, &mut expected);
        let mut scratch = dirty(conv::forward_max_pool_scratch_len(shape, pool));
        let mut actual = dirty(pool.output_len());
        conv::forward_max_pool(isa, shape, pool, &input, &packed, &bias, &mut actual, &mut scratch);
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(&actual) == bits(&expected), "{isa:?} {shape:?} {pool:?}");
    }
}

proptest! {
    #[test]
    fn maxima_of_a_convolution_are_those_of_its_outputs(
        shape in shapes(),
        kernel in (1usize..5, 1usize..5),
        stride in (1usize..7, 1usize..4),
        padding in (0usize..4, 0usize..4),
        ceil_mode: bool,
    ) {
        prop_assume!(shape.weight_len() > 0 && shape.input_len() > 0 && shape.output_len() > 0);
        check_max_pool(shape, [kernel.into(), stride.into(), padding.into()], ceil_mode);
    }
}

#[test]
fn maxima_of_the_stem() {
    for (rows, columns) in [(256, 64), (1024, 256), (250, 70)] {
        let shape = ConvShape {
            batch: 1,
            rows,
            columns,
            in_channels: 1,
            out_channels: 64,
            kernel: [7, 7],
            stride: [2, 2],
            padding: [3, 3],
        };
        check_max_pool(shape, [[3, 3], [2, 2], [1, 1]], false);
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
        shape(32, 8, 128, 256, 3, 2),
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
        for (isa, algorithm) in Isa::all().into_iter().flat_map(|isa| algorithms(shape).map(move |algorithm| (isa, algorithm))) {
            let with = |threads| Pool::new(threads).expect("threads").run(|| passes(isa, algorithm, shape));
            let one = with(1);
            for threads in [2, 3, 8] {
                assert!(with(threads) == one, "{algorithm:?} {isa:?} {shape:?} on {threads} threads");
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
    assert_eq!(names.contains(&"avx512"), is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl"));
    #[cfg(target_arch = "x86_64")]
    assert_eq!(names.contains(&"avx2+fma"), is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"));
}
