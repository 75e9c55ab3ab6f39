//! What lies between the layers of VGG and Inception.

use super::*;

fn check_concat(pixels: usize, channels: [usize; 4], seed: u64) {
    let shape = ConcatShape { pixels, channels };
    let parts: Vec<Vec<f32>> = channels.iter().map(|channels| values(pixels * channels, seed + *channels as u64)).collect();
    let own: Vec<&[f32]> = parts.iter().filter(|part| !part.is_empty()).map(Vec::as_slice).collect();
    let wide_parts: Vec<(Vec<f64>, usize)> =
        parts.iter().map(|part| wide(part)).zip(channels).filter(|part| part.1 > 0).collect();
    let plain: Vec<(&[f64], usize)> = wide_parts.iter().map(|(part, channels)| (&part[..], *channels)).collect();
    let output = filled(pixels * shape.out_channels(), |y| concat::forward(shape, &own, y));
    let expected = reference::concat::forward(&plain);
    assert!(output.iter().zip(&expected).all(|(&a, &e)| f64::from(a) == e) && output.len() == expected.len(), "{shape:?}");
    // The gradients of a joining are the parts again.
    for (k, part) in parts.iter().enumerate().filter(|(_, part)| !part.is_empty()) {
        assert_eq!(&filled(part.len(), |x| concat::backward(shape, k, &output, x)), part, "part {k} of {shape:?}");
        assert_eq!(reference::concat::backward(&channels, k, &expected), wide(part));
    }
}

fn check_bias(pixels: usize, channels: usize, seed: u64) {
    let grad = values(pixels * channels, seed);
    let expected = reference::bias::backward(channels, &wide(&grad));
    for isa in Isa::all() {
        let mut scratch = dirty(bias::scratch_len(pixels, channels));
        let sums = filled(channels, |sums| bias::backward(isa, &grad, sums, &mut scratch));
        assert_near(&sums, &expected, (pixels as f64).sqrt(), MAX_SUM_ERROR, "bias", isa);
    }
}

pub fn drop_out(isa: Isa, dropout: Dropout, input: &[f32]) -> [Vec<f32>; 2] {
    let mut mask = dirty(input.len());
    let output = filled(input.len(), |y| dropout::forward(isa, dropout, input, &mut mask, y));
    [mask, output]
}

fn check_dropout(dropout: Dropout, len: usize) {
    let Dropout { rate, seed, step, place } = dropout;
    let expected = reference::dropout::mask(reference::dropout::Dropout { rate: rate.into(), seed, step, place }, len);
    let (input, grad) = (values(len, seed), values(len, seed + 1));
    for isa in Isa::all() {
        let [mask, output] = drop_out(isa, dropout, &input);
        assert_near(&mask, &expected, 1.0 / (1.0 - f64::from(rate)), MAX_ROUNDING_ERROR, "mask", isa);
        assert!(mask.iter().zip(&expected).all(|(&a, &e)| (a == 0.0) == (e == 0.0)), "{isa:?} {dropout:?}");
        let mask = wide(&mask);
        assert_exact(&output, &reference::dropout::apply(&mask, &wide(&input)), "dropout", isa);
        let mask: Vec<f32> = mask.iter().map(|&x| x as f32).collect();
        let actual = filled(len, |x| dropout::backward(isa, &mask, &grad, x));
        assert_exact(&actual, &reference::dropout::apply(&wide(&mask), &wide(&grad)), "dropout, backward", isa);
    }
}

proptest! {
    #[test]
    fn joined_channels_are_as_the_reference(
        pixels in 1usize..40, mut channels in [1usize..20, 0usize..20, 0usize..20, 0usize..20], seed in 0u64..1000,
    ) {
        channels.sort_by(|a, b| b.cmp(a)); // parts that are there come first
        check_concat(pixels, channels, seed);
    }

    #[test]
    fn gradients_of_biases_are_as_the_reference(pixels in 1usize..200, channels in 1usize..70, seed in 0u64..1000) {
        check_bias(pixels, channels, seed);
    }

    #[test]
    fn dropout_is_as_the_reference(
        rate in 0f32..0.95, seed in any::<u64>(), step in 0u64..100, place in 0u32..4, len in 1usize..300,
    ) {
        check_dropout(Dropout { rate, seed: seed >> 1, step, place }, len);
    }
}

#[test]
fn several_chunks_of_channels_biases_and_drops() {
    check_concat(3000, [64, 128, 32, 32], 1);
    check_bias(40_001, 64, 1);
    check_dropout(Dropout { rate: 0.5, seed: 3, step: 2, place: 1 }, 70_001);
}

/// Each of the four things that a mask depends on makes it another one, and the share of what is dropped is the rate.
#[test]
fn masks_depend_on_seed_step_place_and_index() {
    let dropout = Dropout { rate: 0.3, seed: 1, step: 1, place: 1 };
    let mask = |dropout| drop_out(Isa::detect(), dropout, &[1.0; 40_000])[0].iter().map(|&x| x == 0.0).collect::<Vec<bool>>();
    let first = mask(dropout);
    assert_eq!(first, mask(dropout));
    let others = [Dropout { seed: 2, ..dropout }, Dropout { step: 2, ..dropout }, Dropout { place: 2, ..dropout }].map(mask);
    let mut shifted = first.clone();
    shifted.rotate_left(1);
    for other in others.iter().chain([&shifted]) {
        // Of independent masks a share of 0.3^2 + 0.7^2 agrees: 0.58, give or take 0.0025.
        let same = first.iter().zip(other).filter(|(a, b)| a == b).count() as f64 / 4e4;
        assert!((same - 0.58).abs() < 0.0125, "{same}");
        let dropped = other.iter().filter(|&&dropped| dropped).count() as f64 / 4e4;
        assert!((dropped - 0.3).abs() < 0.0125, "{dropped}");
    }
}
