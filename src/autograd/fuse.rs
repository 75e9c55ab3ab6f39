//! What inference computes in one pass where training needs the parts: decided here and nowhere else, so that layers say what they
//! compute and not how. A frozen tape has the same bits as inference: it fuses what has a gradient fused, and what it takes apart
//! gives the same bits in parts.

use super::build::Window;
use super::ops::{AddHalves, ConvNorm, ConvNormPool, GlobalStats};
use super::{ConvLayer, Mode, NormLayer, ParameterId, Tape, Var};
use crate::Result;
use osteon_kernels::conv::{Algorithm, Pass};

impl Tape<'_> {
    /// A convolution and batch normalisation, with ReLU or without. But in training the normalisation is folded into the weights.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn conv_norm(&mut self, x: Var, conv: &ConvLayer, norm: &NormLayer, relu: bool) -> Result<Var> {
        self.enter(&conv.name);
        let ConvLayer { stride, padding, .. } = *conv;
        if self.mode == Mode::Training {
            let weight = self.parameter(conv.weight);
            let y = self.conv(x, weight, stride, padding)?;
            return self.batch_norm(y, norm, relu);
        }
        let inputs = self.folded(x, conv, norm);
        self.apply(ConvNorm { stride, padding, epsilon: norm.epsilon, relu }, inputs)
    }

    /// [`conv_norm`](Self::conv_norm) with ReLU, and the maximum of windows (kernel, stride, padding). Inference never writes the
    /// convolution's outputs where implicit GEMM computes them; where Winograd does, and on a frozen tape, ReLU follows the maximum, which is
    /// the same from fewer pixels.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn conv_norm_pool(&mut self, x: Var, conv: &ConvLayer, norm: &NormLayer, window: Window) -> Result<Var> {
        let [pool, pool_stride, pool_padding] = window;
        if self.mode == Mode::Training {
            let y = self.conv_norm(x, conv, norm, true)?;
            return self.max_pool(y, pool, pool_stride, pool_padding);
        }
        self.enter(&conv.name);
        let ConvLayer { stride, padding, .. } = *conv;
        let epsilon = norm.epsilon;
        let inputs = self.folded(x, conv, norm);
        let folded = ConvNorm { stride, padding, epsilon, relu: false };
        if self.mode == Mode::Frozen || self.algorithm(folded, &inputs)? != Algorithm::ImplicitGemm {
            let y = self.apply(folded, inputs)?;
            let y = self.max_pool(y, pool, pool_stride, pool_padding)?;
            return self.relu(y);
        }
        self.apply(ConvNormPool { stride, padding, epsilon, pool, pool_stride, pool_padding }, inputs)
    }

    /// `f(mean over pixels) + f(maximum over pixels)` of x (batch, rows, columns, channels), where `f` treats each (channels) by itself.
    /// Inference reads x once, and runs `f` on both together.
    ///
    /// # Errors
    /// Shapes that do not fit; those of `f`.
    pub fn sum_over_average_and_max(&mut self, x: Var, f: impl Fn(&mut Self, Var) -> Result<Var>) -> Result<Var> {
        let layer = self.layer.clone();
        if self.mode == Mode::Inference {
            let both = self.apply(GlobalStats {}, [x])?;
            let both = f(self, both)?;
            self.enter(&layer);
            return self.apply(AddHalves {}, [both]);
        }
        let again = self.retain(&x);
        let (average, maximum) = (self.global_average(x)?, self.global_max(again)?);
        let (average, maximum) = (f(self, average)?, f(self, maximum)?);
        self.enter(&layer);
        self.add(average, maximum)
    }

    /// The inputs of a convolution that holds the batch normalisation which follows.
    fn folded(&mut self, x: Var, conv: &ConvLayer, norm: &NormLayer) -> [Var; 6] {
        let [weight, gamma, beta, mean, variance] =
            [conv.weight, norm.affine[0], norm.affine[1], norm.running[0], norm.running[1]]
                .map(|id: ParameterId| self.parameter(id));
        [x, weight, gamma, beta, mean, variance]
    }

    /// How the forward pass of a convolution will be computed.
    fn algorithm(&self, op: ConvNorm, inputs: &[Var; 6]) -> Result<Algorithm> {
        use super::ops::Operation;
        let shapes = inputs.each_ref().map(|var| self.shape(var));
        op.shape(&shapes).map_err(|problem| self.misfit(problem))?;
        let shape = op.describe(&shapes).convolution.expect("a convolution");
        Ok(Algorithm::choose(Pass::Forward, shape))
    }
}
