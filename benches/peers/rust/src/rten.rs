//! rten reads the ONNX file.

use std::sync::Arc;

use rten::{ModelOptions, RunOptions, ThreadPool};
use rten_tensor::{NdTensor, NdTensorView, prelude::*};

use crate::{Given, Result, Work};

pub fn work(given: Given) -> Result<Work> {
    if given.training {
        return Err("rten has no training".into());
    }
    let model = ModelOptions::with_all_ops().prepack_weights(true).load_file(&given.model)?;
    let options = RunOptions::default().with_thread_pool(Some(Arc::new(ThreadPool::with_num_threads(given.threads))));
    Ok(Box::new(move || {
        let images = NdTensorView::from_data(given.shape, given.images.as_slice());
        let logits: NdTensor<f32, 2> = model.run_one(images.into(), Some(options.clone()))?.try_into()?;
        Ok(logits.to_vec())
    }))
}
