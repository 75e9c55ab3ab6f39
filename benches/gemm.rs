//! The matrix product of the kernels beside `matrixmultiply`, over every product that the 26-layer network at 1024x256 is made of. It is the
//! yardstick of the register tile, not a part of the network: convolutions use the tile without this driver.
//!
//! `for t in 1 2; do OSTEON_THREADS=$t MATMUL_NUM_THREADS=$t cargo bench --bench gemm; done`; throughput is in FLOP/s ("elements" are
//! multiplications and additions).

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use osteon_kernels::gemm::{self, GemmShape};
use osteon_kernels::par::Pool;
use osteon_kernels::simd::Isa;

/// (name, rows, columns, length of the sums). A convolution of one image as one product: pixels by out channels, over kernel and in
/// channels; Winograd's of eight images: tiles by out channels, over in channels; linear layers of eight.
const SHAPES: [(&str, usize, usize, usize); 17] = [
    ("stem 7x7", 512 * 128, 64, 49),
    ("stage1 3x3", 256 * 64, 64, 9 * 64),
    ("stage2 3x3/2", 128 * 32, 128, 9 * 64),
    ("stage2 1x1", 128 * 32, 128, 64),
    ("stage2 3x3", 128 * 32, 128, 9 * 128),
    ("stage3 3x3/2", 64 * 16, 256, 9 * 128),
    ("stage3 1x1", 64 * 16, 256, 128),
    ("stage3 3x3", 64 * 16, 256, 9 * 256),
    ("stage4 3x3/2", 32 * 8, 512, 9 * 256),
    ("stage4 1x1", 32 * 8, 512, 256),
    ("stage4 3x3", 32 * 8, 512, 9 * 512),
    ("attention 7x7", 256 * 64, 1, 49 * 2),
    ("Winograd stage1", 8 * 64 * 16, 64, 64),
    ("Winograd stage2", 8 * 32 * 8, 128, 128),
    ("Winograd stage3", 8 * 16 * 4, 256, 256),
    ("Winograd stage4", 8 * 8 * 2, 512, 512),
    ("linear", 8, 3, 512),
];

fn products(criterion: &mut Criterion) {
    let isa = Isa::detect();
    let threads = std::env::var("OSTEON_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let pool = Pool::new(threads).expect("the system gives no threads");
    for (name, m, n, k) in SHAPES {
        let shape = GemmShape { m, n, k, transpose_a: false, transpose_b: false };
        let mut group = criterion.benchmark_group(format!("{name} {m}x{n}x{k}, {threads} threads"));
        group.throughput(Throughput::Elements(shape.flops())).sample_size(10);
        let (a, b, mut c) = (vec![0.5; m * k], vec![0.5; k * n], vec![0.0; m * n]);
        let mut scratch = vec![0.0; pool.run(|| gemm::scratch_len(shape))];
        group.bench_function("osteon", |bencher| {
            pool.run(|| bencher.iter(|| gemm::gemm(isa, shape, &a, &b, &mut c, &mut scratch)));
        });
        let (rows, columns) = (k as isize, n as isize);
        group.bench_function("matrixmultiply", |bencher| {
            // SAFETY: the pointers are of arrays of m * k, k * n and m * n values with these strides.
            bencher.iter(|| unsafe {
                let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
                matrixmultiply::sgemm(m, k, n, 1.0, a, rows, 1, b, columns, 1, 0.0, c, columns, 1);
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(50))
        .measurement_time(std::time::Duration::from_millis(300))
        .without_plots();
    targets = products
}
criterion_main!(benches);
