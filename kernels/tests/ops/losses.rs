//! Softmax and cross-entropy.

use super::*;

proptest! {
    #[test]
    fn softmax_is_as_the_reference(batch in 1usize..6, classes in 1usize..20, scale in 0.1f32..60.0, seed in 0u64..1000) {
        let logits: Vec<f32> = values(batch * classes, seed).iter().map(|x| x * scale).collect();
        let labels: Vec<u32> = (0..batch).map(|n| ((n as u64 + seed) % classes as u64) as u32).collect();
        let expected = reference::softmax::softmax(classes, &wide(&logits));
        let loss = reference::softmax::cross_entropy(classes, &wide(&logits), &labels);
        let grad = reference::softmax::cross_entropy_backward(classes, &expected, &labels, 0.7);
        for isa in Isa::all() {
            let plain = filled(logits.len(), |p| softmax::softmax(isa, batch, classes, &logits, p));
            assert_close(&plain, &expected, MAX_SUM_ERROR, "softmax", isa);
            let mut probabilities = dirty(logits.len());
            let actual = softmax::cross_entropy(isa, batch, classes, &logits, &labels, &mut probabilities);
            assert_eq!(plain, probabilities);
            assert!((f64::from(actual) - loss).abs() < MAX_SUM_ERROR * loss.max(1.0), "{isa:?}: {actual} {loss}");
            let actual = filled(logits.len(), |g| {
                softmax::cross_entropy_backward(batch, classes, &probabilities, &labels, 0.7, g);
            });
            let worst = actual.iter().zip(&grad).map(|(&a, e)| (f64::from(a) - e).abs()).fold(0.0, f64::max);
            assert!(worst < MAX_ROUNDING_ERROR, "{isa:?}: {worst:e}");
        }
    }
}

proptest! {
    #[test]
    fn weighted_cross_entropy_is_as_the_reference(
        batch in 1usize..6, classes in 1usize..20, scale in 0.1f32..60.0, seed in 0u64..1000,
    ) {
        let logits: Vec<f32> = values(batch * classes, seed).iter().map(|x| x * scale).collect();
        let labels: Vec<u32> = (0..batch).map(|n| ((n as u64 * 3 + seed) % classes as u64) as u32).collect();
        let weights: Vec<f32> = values(classes, seed + 1).iter().map(|x| x.abs() + 0.05).collect();
        let loss = reference::softmax::weighted_cross_entropy(classes, &wide(&logits), &labels, &wide(&weights));
        let expected = reference::softmax::softmax(classes, &wide(&logits));
        let grad =
            reference::softmax::weighted_cross_entropy_backward(classes, &expected, &labels, &wide(&weights), 0.7);
        for isa in Isa::all() {
            let (mut probabilities, mut shares) = (dirty(logits.len()), dirty(batch));
            let actual = softmax::weighted_cross_entropy(
                isa, batch, classes, &logits, &labels, &weights, &mut probabilities, &mut shares,
            );
            prop_assert_eq!(&probabilities, &filled(logits.len(), |p| softmax::softmax(isa, batch, classes, &logits, p)));
            prop_assert!((f64::from(actual) - loss).abs() < MAX_SUM_ERROR * loss.max(1.0), "{:?}: {} {}", isa, actual, loss);
            let actual = filled(logits.len(), |g| {
                softmax::weighted_cross_entropy_backward(batch, classes, &probabilities, &labels, &shares, 0.7, g);
            });
            let worst = actual.iter().zip(&grad).map(|(&a, e)| (f64::from(a) - e).abs()).fold(0.0, f64::max);
            prop_assert!(worst < MAX_ROUNDING_ERROR, "{:?}: {:e}", isa, worst);
        }
    }
}

/// `torch.nn.CrossEntropyLoss(weight=[0.5, 1, 3], reduction='mean')` in float64 (PyTorch 2.15) on the logits below, and its gradient.
#[test]
fn weighted_cross_entropy_is_pytorchs() {
    let logits = [1.5, -0.25, 0.75, -2.0, 0.5, 3.0, 0.25, 0.125, -1.0, 2.0, 2.0, 2.0];
    let (labels, weights) = ([2, 0, 1, 2], [0.5, 1.0, 3.0]);
    let loss = 1.3977270491700946;
    #[rustfmt::skip]
    let grad = [
        0.242992624825, 0.0422257866452, -0.28521841147, -0.0662541143151, 0.00502591653087, 0.0612281977843,
        0.061472212478, -0.0790842962265, 0.0176120837485, 0.133333333333, 0.133333333333, -0.266666666667,
    ];
    for isa in Isa::all() {
        let (mut probabilities, mut shares, mut actual) = (dirty(12), dirty(4), dirty(12));
        let value = softmax::weighted_cross_entropy(isa, 4, 3, &logits, &labels, &weights, &mut probabilities, &mut shares);
        assert!((f64::from(value) - loss).abs() < 4e-7, "{isa:?}: {value}");
        softmax::weighted_cross_entropy_backward(4, 3, &probabilities, &labels, &shares, 1.0, &mut actual);
        assert_close(&actual, &grad, MAX_ROUNDING_ERROR, "gradient", isa);
    }
}

/// Equal weights are none, whatever they are.
#[test]
fn equal_weights_change_nothing() {
    let (logits, labels) = (values(15, 3), [0, 1, 2, 1, 0]);
    for isa in Isa::all() {
        let (mut plain, mut weighted, mut shares) = (dirty(15), dirty(15), dirty(5));
        let a = softmax::cross_entropy(isa, 5, 3, &logits, &labels, &mut plain);
        let b = softmax::weighted_cross_entropy(isa, 5, 3, &logits, &labels, &[0.25; 3], &mut weighted, &mut shares);
        assert_eq!((a, &plain), (b, &weighted), "{isa:?}");
        let [mut a, mut b] = [dirty(15), dirty(15)];
        softmax::cross_entropy_backward(5, 3, &plain, &labels, 0.5, &mut a);
        softmax::weighted_cross_entropy_backward(5, 3, &plain, &labels, &shares, 0.5, &mut b);
        assert_close(&b, &wide(&a), MAX_ROUNDING_ERROR, "gradient", isa);
    }
}

#[test]
fn the_loss_of_a_hopeless_label_is_finite() {
    for isa in Isa::all() {
        let loss = softmax::cross_entropy(isa, 1, 2, &[500.0, -500.0], &[1], &mut [0.0; 2]);
        assert_eq!(loss, 1000.0, "{isa:?}");
    }
}
