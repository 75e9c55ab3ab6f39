//! tract reads the ONNX file.

use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::prelude::*;

use crate::{Given, Result, Work};

pub fn work(given: Given) -> Result<Work> {
    if given.training {
        return Err("tract has no training".into());
    }
    if given.threads > 1 {
        set_default_executor(Executor::multithread(given.threads));
    }
    let mut state = tract_onnx::onnx().model_for_path(&given.model)?.into_optimized()?.into_runnable()?.spawn()?;
    let images = Tensor::from_shape(&given.shape, &given.images)?.into_tvalue();
    Ok(Box::new(move || Ok(state.run(tvec![images.clone()])?[0].to_plain_array_view::<f32>()?.iter().copied().collect())))
}
