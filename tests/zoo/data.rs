//! Real weights, pictures and reference outputs.

use safetensors::SafeTensors;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use svertka::ir::Param;
use svertka::ir::weights::WeightSource;
use svertka::tensor::Tensor;

/// The file `name` in the folder of test data: `SVERTKA_DATA`, else `../shared/data` beside the crate. `None`, with
/// a message that the test skips, where it is absent.
pub fn shared(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("SVERTKA_DATA").map_or_else(beside, PathBuf::from).join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent (SVERTKA_DATA names the folder of test data)", path.display());
    None
}

/// All tensors of a weight file by name.
pub struct Weights(pub BTreeMap<String, Tensor>);

impl Weights {
    pub fn read(path: &Path) -> Weights {
        let bytes = fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        // PyTorch counts training steps beside the statistics of a batch norm.
        let tensors = file.tensors().into_iter().filter(|(name, _)| !name.ends_with(".num_batches_tracked"));
        let read = |(name, view): (String, safetensors::tensor::TensorView)| {
            let values = view.data().chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
            (name, Tensor::new(view.shape(), values))
        };
        Weights(tensors.map(read).collect())
    }
}

impl WeightSource for Weights {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        Cow::Borrowed(self.0[&param.name].data())
    }
}

/// Shape and values of a NumPy file.
pub fn npy<T: npyz::Deserialize>(path: &Path) -> (Vec<usize>, Vec<T>) {
    let bytes = fs::read(path).unwrap();
    let array = npyz::NpyFile::new(&bytes[..]).unwrap();
    let shape = array.shape().iter().map(|&size| size as usize).collect();
    (shape, array.into_vec().unwrap())
}

/// A row of numbers for each sample.
pub fn logits(path: &Path) -> Tensor {
    let (shape, values) = npy(path);
    Tensor::new(shape, values)
}

/// Bytes [batch, height, width, channels], with `map(value, channel)`, as [batch, channels, height, width].
pub fn channels_first(shape: [usize; 4], bytes: &[u8], map: impl Fn(f32, usize) -> f32) -> Tensor {
    let [batch, height, width, channels] = shape;
    let mut tensor = Tensor::zeros([batch, channels, height, width]);
    for (i, &byte) in bytes.iter().enumerate() {
        let (n, p, c) = (i / channels / (height * width), i / channels % (height * width), i % channels);
        tensor.plane_mut(n, c)[p] = map(byte.into(), c);
    }
    tensor
}

/// The first samples of a batch.
pub fn first(x: &Tensor, samples: usize) -> Tensor {
    let mut shape = x.shape().to_vec();
    shape[0] = samples.min(shape[0]);
    let len = shape.iter().product();
    Tensor::new(shape, x.data()[..len].to_vec())
}
