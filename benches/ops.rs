//! The kernels beside convolution at the network's own shapes (input 1024x256), forward and backward.
//!
//! Each is bound by memory: the throughput is that of the arrays it must read and write once, and stands beside that of `copy`.
//!
//! `cargo bench --bench ops -- norm` measures those whose name has `norm` in it.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use osteon_kernels::adam::{self, AdamStep};
use osteon_kernels::norm::{self, NormShape};
use osteon_kernels::par::Pool;
use osteon_kernels::pool::{self, PoolShape};
use osteon_kernels::reduce::{self, ReduceShape};
use osteon_kernels::simd::Isa;
use osteon_kernels::{attention, elementwise, par};
use std::time::Duration;

/// Images: enough that the first stages do not fit into the caches.
const BATCH: usize = 4;

/// (rows, columns, channels) after the first convolution and in the four stages.
const STAGES: [(usize, usize, usize); 5] = [(512, 128, 64), (256, 64, 64), (128, 32, 128), (64, 16, 256), (32, 8, 512)];

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// Times `work`, which touches `arrays` arrays of the stage's size, on `OSTEON_THREADS` threads (default 2).
fn time(criterion: &mut Criterion, name: &str, arrays: f64, stage: (usize, usize, usize), mut work: impl FnMut() + Send) {
    let threads = std::env::var("OSTEON_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let pool = Pool::new(threads).expect("the system gives no threads");
    let bytes = arrays * (4 * BATCH * stage.0 * stage.1 * stage.2) as f64;
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64));
    let id = BenchmarkId::from_parameter(format!("{}x{}x{}", stage.0, stage.1, stage.2));
    group.bench_function(id, |bencher| pool.run(|| bencher.iter(&mut work)));
}

fn ops(criterion: &mut Criterion) {
    let isa = Isa::detect();
    for stage in STAGES {
        let (rows, columns, channels) = stage;
        let shape = ReduceShape { batch: BATCH, pixels: rows * columns, channels };
        let pixels = BATCH * rows * columns;
        let (input, grad) = (values(shape.len()), values(shape.len()));
        let mut output = vec![0.0; shape.len()];
        let (vectors, maps) = (values(BATCH * channels), values(2 * pixels));
        let (mut out_vectors, mut out_maps) = (vectors.clone(), maps.clone());
        let (mut vector_argmax, mut map_argmax) = (vec![0; BATCH * channels], vec![0; pixels]);

        time(criterion, "copy", 2.0, stage, || {
            par::chunks_mut(&mut output, 1 << 15, |i, part| part.copy_from_slice(&input[i << 15..][..part.len()]));
        });
        time(criterion, "relu", 2.0, stage, || elementwise::relu(isa, &input, &mut output));
        time(criterion, "relu_backward", 3.0, stage, || elementwise::relu_backward(isa, &input, &mut output));
        time(criterion, "add", 3.0, stage, || elementwise::add(isa, &input, &grad, &mut output));
        time(criterion, "add_assign", 3.0, stage, || elementwise::add_assign(isa, &mut output, &input));

        let norm = NormShape { pixels, channels, relu: true };
        let mut scratch = vec![0.0; norm::scratch_len(norm)];
        let (gamma, beta) = (values(channels), values(channels));
        let (mut mean, mut inv_std, mut variance) = (gamma.clone(), gamma.clone(), gamma.clone());
        time(criterion, "norm_training", 3.0, stage, || {
            let (mean, inv_std, variance) = (&mut mean, &mut inv_std, &mut variance);
            norm::forward_training(isa, norm, 1e-5, &input, &gamma, &beta, &mut output, mean, inv_std, variance, &mut scratch);
        });
        let running = vec![1.0; channels];
        time(criterion, "norm_inference", 2.0, stage, || {
            norm::forward_inference(isa, norm, 1e-5, &input, &gamma, &beta, &running, &running, &mut output, &mut scratch);
        });
        let (mut grad_gamma, mut grad_beta) = (gamma.clone(), gamma.clone());
        time(criterion, "norm_backward", 5.0, stage, || {
            let (gamma_out, beta_out) = (&mut grad_gamma, &mut grad_beta);
            norm::backward(isa, norm, &input, &gamma, &beta, &running, &running, &mut output, gamma_out, beta_out, &mut scratch);
        });

        if channels == 64 {
            let pool = PoolShape {
                batch: BATCH,
                rows,
                columns,
                channels,
                kernel: [3; 2],
                stride: [2; 2],
                padding: [1; 2],
                ceil_mode: false,
            };
            let mut argmax = vec![0; pool.output_len()];
            let mut pooled = vec![0.0; pool.output_len()];
            time(criterion, "max_pool", 1.5, stage, || pool::max_pool(isa, pool, &input, &mut pooled, &mut argmax));
            time(criterion, "max_pool_backward", 1.5, stage, || {
                pool::max_pool_backward(isa, pool, &argmax, &pooled, &mut output);
            });
            time(criterion, "average_pool", 1.25, stage, || pool::average_pool(isa, pool, &input, &mut pooled));
            time(criterion, "average_pool_backward", 1.25, stage, || {
                pool::average_pool_backward(isa, pool, &pooled, &mut output);
            });
        }

        time(criterion, "global_average", 1.0, stage, || reduce::global_average(isa, shape, &input, &mut out_vectors));
        time(criterion, "global_average_backward", 1.0, stage, || {
            reduce::global_average_backward(isa, shape, &vectors, &mut output, false);
        });
        time(criterion, "global_max", 1.0, stage, || {
            reduce::global_max(isa, shape, &input, &mut out_vectors, &mut vector_argmax);
        });
        time(criterion, "global_max_backward", 1.0, stage, || {
            reduce::global_max_backward(isa, shape, &vector_argmax, &vectors, &mut output, false);
        });
        time(criterion, "channel_stats", 1.0, stage, || {
            attention::channel_stats(isa, shape, &input, &mut out_maps, &mut map_argmax);
        });
        time(criterion, "channel_stats_backward", 1.0, stage, || {
            attention::channel_stats_backward(isa, shape, &map_argmax, &maps, &mut output, false);
        });
        time(criterion, "scale_channels", 2.0, stage, || {
            attention::scale_channels(isa, shape, &input, &vectors, &mut output);
        });
        time(criterion, "scale_channels_backward", 3.0, stage, || {
            attention::scale_channels_backward(isa, shape, &input, &vectors, &grad, &mut output, &mut out_vectors);
        });
        let factor = &maps[..pixels];
        time(criterion, "scale_pixels", 2.0, stage, || attention::scale_pixels(isa, shape, &input, factor, &mut output));
        time(criterion, "scale_pixels_backward", 3.0, stage, || {
            let out = &mut out_maps[..pixels];
            attention::scale_pixels_backward(isa, shape, &input, factor, &grad, &mut output, out);
        });
    }

    // All 15.1 million parameters at once.
    let stage = (15_100, 1000 / BATCH, 1);
    let len = 15_100 * 1000;
    let gradient = values(len);
    let [mut parameter, mut first, mut second] = [gradient.clone(), vec![0.0; len], vec![0.0; len]];
    let adam =
        AdamStep { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, decoupled: false, step: 10 };
    time(criterion, "adam", 7.0, stage, || adam::step(isa, &adam, &gradient, &mut parameter, &mut first, &mut second));
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(300))
        .without_plots();
    targets = ops
}
criterion_main!(benches);
