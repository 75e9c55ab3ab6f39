//! The same bits for any number of threads.

use super::*;

/// Every kernel's outputs at sizes of several chunks.
fn everything(isa: Isa) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    for channels in [64, 13] {
        let shape = ReduceShape { batch: 3, pixels: 1500, channels };
        let (input, grad) = (values(shape.len(), 1), values(shape.len(), 2));
        let (vectors, maps) = (values(3 * channels, 3), values(2 * 3 * 1500, 4));
        let bits = |argmax: Vec<u32>| argmax.into_iter().map(f32::from_bits).collect::<Vec<_>>();
        let mut map = |work: &dyn Fn(&mut [f32])| all.push(filled(shape.len(), work));
        map(&|y| elementwise::relu(isa, &input, y));
        map(&|y| {
            y.copy_from_slice(&grad);
            elementwise::relu_backward(isa, &input, y);
        });
        map(&|y| elementwise::add(isa, &input, &grad, y));
        map(&|y| elementwise::sigmoid(isa, &input, y));
        map(&|y| elementwise::sigmoid_backward(isa, &input, &grad, y));
        map(&|y| reduce::global_average_backward(isa, shape, &vectors, y, false));
        map(&|y| attention::scale_channels(isa, shape, &input, &vectors, y));
        map(&|y| attention::scale_pixels(isa, shape, &input, &maps[..maps.len() / 2], y));
        all.push(filled(vectors.len(), |y| reduce::global_average(isa, shape, &input, y)));
        all.push(filled(2 * vectors.len(), |y| reduce::global_stats(isa, shape, &input, y)));
        let (maximum, argmax) = global_max(isa, shape, &input);
        all.push(filled(shape.len(), |x| reduce::global_max_backward(isa, shape, &argmax, &vectors, x, false)));
        all.extend([maximum, bits(argmax)]);
        let (stats, argmax) = channel_stats(isa, shape, &input);
        all.push(filled(shape.len(), |x| attention::channel_stats_backward(isa, shape, &argmax, &maps, x, false)));
        all.extend([stats, bits(argmax)]);
        let (stats, argmax) = scaled_channel_stats(isa, shape, &input, &vectors);
        let [mut x, mut factor] = [dirty(input.len()), dirty(vectors.len())];
        attention::scaled_channel_stats_backward(isa, shape, &input, &vectors, &argmax, &maps, &mut x, &mut factor, false);
        all.extend([stats, bits(argmax), x, factor]);
        all.extend(scale_add_relu_backward(isa, shape, [&input, &vectors, &maps[..maps.len() / 2], &input, &grad]));
        let [mut x, mut factor] = [dirty(input.len()), dirty(vectors.len())];
        attention::scale_channels_backward(isa, shape, &input, &vectors, &grad, &mut x, &mut factor);
        all.extend([x, factor]);
        let [mut x, mut factor] = [dirty(input.len()), dirty(maps.len() / 2)];
        attention::scale_pixels_backward(isa, shape, &input, &maps[..maps.len() / 2], &grad, &mut x, &mut factor);
        all.extend([x, factor]);
        let shape = NormShape { pixels: 4500, channels, relu: true };
        let (gamma, beta) = (values(channels, 5), values(channels, 6));
        let norm = Norm::run(isa, shape, &input, &gamma, &beta, &grad);
        all.extend([norm.output, norm.mean, norm.inv_std, norm.variance, norm.inference]);
        all.extend(norm.grads);
        let shape = PoolShape {
            batch: 3,
            rows: 50,
            columns: 30,
            channels,
            kernel: [3; 2],
            stride: [2; 2],
            padding: [1; 2],
            ceil_mode: false,
        };
        let (maximum, argmax) = max_pool(isa, shape, &input);
        all.push(filled(input.len(), |x| pool::max_pool_backward(isa, shape, &argmax, &maximum, x)));
        all.push(filled(input.len(), |x| pool::average_pool_backward(isa, shape, &maximum, x)));
        all.push(filled(maximum.len(), |y| pool::average_pool(isa, shape, &input, y)));
        all.extend([maximum, bits(argmax)]);
    }
    let (input, shape) = (values(3 * 50 * 30 * 64, 7), ConcatShape { pixels: 1500, channels: [64, 64, 64, 0] });
    let joined = filled(input.len(), |y| concat::forward(shape, &input.chunks(1500 * 64).collect::<Vec<_>>(), y));
    all.push(filled(1500 * 64, |x| concat::backward(shape, 1, &joined, x)));
    all.extend(drop_out(isa, Dropout { rate: 0.5, seed: 1, step: 1, place: 0 }, &input));
    all.push(filled(64, |sums| bias::backward(isa, &input, sums, &mut dirty(bias::scratch_len(4500, 64)))));
    let shape = AdaptiveShape { batch: 3, size: [50, 30], channels: 64, windows: [4, 4] };
    let averages = filled(shape.output_len(), |y| adaptive::forward(isa, shape, &input, y));
    all.push(filled(input.len(), |x| adaptive::backward(isa, shape, &averages, x)));
    all.extend([joined, averages]);
    let (linear, _) = Linear::run(isa, LinearShape { batch: 9, in_features: 300, out_features: 70 }, 1);
    all.push(linear.output);
    all.extend(linear.grads);
    all.extend(adam_steps(isa, 50_000, 0.01, false, 1));
    all.extend(adam_steps(isa, 50_000, 0.01, true, 1));
    all
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    for isa in Isa::all() {
        let runs = [1, 2, 3].map(|threads| Pool::new(threads).expect("threads").run(|| everything(isa)));
        for (i, one) in runs[0].iter().enumerate() {
            for other in &runs[1..] {
                let same = one.iter().zip(&other[i]).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same && one.len() == other[i].len(), "{isa:?}: output {i} differs");
            }
        }
    }
}
