//! Each pass of each convolution of the 26-layer network at 1024x256.
//! `cargo bench --bench conv`; throughput is in FLOP/s ("elements" are multiplications and additions).

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use osteon_kernels::conv::{Algorithm, ConvShape, Epilogue, Pass};
use osteon_kernels::simd::Isa;

const BATCH: usize = 8;

fn shapes() -> Vec<(&'static str, ConvShape)> {
    let shape = |rows, columns, in_channels, out_channels, kernel: usize, stride: usize| ConvShape {
        batch: BATCH,
        rows,
        columns,
        in_channels,
        out_channels,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [kernel / 2; 2],
    };
    vec![
        ("stem 7x7/2 1>64", shape(1024, 256, 1, 64, 7, 2)),
        ("stage1 3x3 64", shape(256, 64, 64, 64, 3, 1)),
        ("stage2 3x3/2 64>128", shape(256, 64, 64, 128, 3, 2)),
        ("stage2 1x1/2 64>128", shape(256, 64, 64, 128, 1, 2)),
        ("stage2 3x3 128", shape(128, 32, 128, 128, 3, 1)),
        ("stage3 3x3/2 128>256", shape(128, 32, 128, 256, 3, 2)),
        ("stage3 3x3 256", shape(64, 16, 256, 256, 3, 1)),
        ("stage4 3x3/2 256>512", shape(64, 16, 256, 512, 3, 2)),
        ("stage4 3x3 512", shape(32, 8, 512, 512, 3, 1)),
        ("attention 7x7 2>1", shape(256, 64, 2, 1, 7, 1)),
    ]
}

fn convolutions(criterion: &mut Criterion) {
    let isa = Isa::detect();
    for (name, shape) in shapes() {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(shape.flops())).sample_size(10);
        let (mut input, mut weights) = (vec![0.5; shape.input_len()], vec![0.5; shape.weight_len()]);
        let mut output = vec![0.5; shape.output_len()];
        for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.supports(Pass::Forward, shape)) {
            let name = |pass| format!("{pass}, {}", algorithm.name());
            let mut packed = vec![0.0; algorithm.packed_len(shape)];
            algorithm.pack(isa, shape, &weights, &mut packed);
            let mut scratch = vec![0.0; algorithm.forward_scratch_len(shape)];
            group.bench_function(name("forward"), |b| {
                b.iter(|| algorithm.forward(isa, shape, &input, &packed, Epilogue::default(), &mut output, &mut scratch));
            });
            if !algorithm.supports(Pass::BackwardData, shape) {
                continue;
            }
            let mut scratch = vec![0.0; algorithm.backward_data_scratch_len(shape)];
            group.bench_function(name("backward-data"), |b| {
                b.iter(|| algorithm.backward_data(isa, shape, &output, &weights, (&mut input, false), &mut scratch));
            });
            let mut scratch = vec![0.0; algorithm.backward_weights_scratch_len(shape)];
            group.bench_function(name("backward-weights"), |b| {
                b.iter(|| algorithm.backward_weights(isa, shape, &input, &output, &mut weights, &mut scratch));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, convolutions);
criterion_main!(benches);
