//! The class that `svertka.Model` extends.

use crate::errors::{class, diagnostics, raised};
use crate::pictures::{Picture, layout};
use crate::runner::{Runner, unpacked};
use numpy::{PyArray1, PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods, ToPyArray};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyTuple, PyType};
use std::ffi::OsString;
use std::path::{PathBuf, absolute};
use std::sync::{Arc, Mutex, PoisonError};
use svertka::model::split_variant;
use svertka::summary::Format;
use svertka::{
    Batch, Class, DrawingFormat, Error, Model, ModelOptions, Options, Products, Seen, Stage, Tensor, TensorType,
    Weights,
};

/// Arguments from which a model is made again in another process.
struct Recipe {
    /// `FILE`, `FILE:VARIANT` or `zoo:NAME`.
    path: Option<OsString>,
    text: Option<String>,
    params: Vec<(String, String)>,
    weights: Option<Py<PyAny>>,
    weights_key: Option<String>,
    seed: Option<u64>,
    exact: bool,
    products: String,
    memory_limit: usize,
    aux: bool,
    packed: Option<PathBuf>,
}

/// In what layers multiply, by its name.
fn products_of(name: &str) -> PyResult<Products> {
    [Products::F32, Products::Bf16]
        .into_iter()
        .find(|products| products.to_string() == name)
        .ok_or_else(|| PyValueError::new_err(format!("products: `{name}` is none; there are f32 and bf16")))
}

/// Pictures as an input, and which of them it holds.
type Prepared<'py> = (Bound<'py, PyArrayDyn<f32>>, Bound<'py, PyArray1<bool>>);

/// A model and its compiled network.
#[pyclass(subclass, frozen, module = "svertka._svertka")]
pub struct Core {
    recipe: Arc<Recipe>,
    model: Arc<Model>,
    options: Options,
    runner: Runner,
    /// Networks whose outputs are values of layers; of the layers that were asked for last.
    values: Mutex<Option<(Vec<String>, Arc<Runner>)>>,
}

#[pymethods]
impl Core {
    /// As `load` and `compile` call it; `of` is another one whose network is shared.
    #[new]
    #[pyo3(signature = (path, text, params, weights, weights_key, seed, exact, products, memory_limit, aux, packed, threads, *, of=None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        path: Option<OsString>,
        text: Option<String>,
        params: Vec<(String, String)>,
        weights: Option<Bound<'_, PyAny>>,
        weights_key: Option<String>,
        seed: Option<u64>,
        exact: bool,
        products: String,
        memory_limit: usize,
        aux: bool,
        packed: Option<PathBuf>,
        threads: usize,
        of: Option<Bound<'_, Core>>,
    ) -> PyResult<Core> {
        let options = Options { threads, exact, products: products_of(&products)?, memory_limit, ..Options::default() };
        if threads == 0 {
            return Err(PyValueError::new_err("threads: at least one is needed, that of the caller"));
        }
        if let Some(of) = of {
            let Core { recipe, model, runner, .. } = of.get();
            let (recipe, model, runner) = (recipe.clone(), model.clone(), runner.fork(threads));
            return Ok(Core { recipe, model, options, runner, values: Mutex::new(None) });
        }
        let weights = weights.map(kept_weights).transpose()?;
        let packed = packed.map(absolute).transpose()?;
        let mut recipe =
            Recipe { path, text, params, weights, weights_key, seed, exact, products, memory_limit, aux, packed };
        let source = recipe.weights(py)?;
        let compiled = py.detach(|| {
            let model = recipe.open()?;
            let session = model.compile(&source, &options)?;
            return_freed_memory();
            Ok((model, session))
        });
        let (model, session) = compiled.map_err(|error| raised(py, error))?;
        recipe.settle(&model)?;
        let (recipe, model, runner) = (Arc::new(recipe), Arc::new(model), Runner::new(session, threads));
        Ok(Core { recipe, model, options, runner, values: Mutex::new(None) })
    }

    /// Computes the outputs of arrays.
    #[pyo3(signature = (*inputs, out=None))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyTuple>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let inputs: Vec<_> = inputs.iter().collect();
        self.runner.call(py, &inputs, out)
    }

    /// The arguments of `__new__` with another number of threads.
    fn _arguments<'py>(&self, py: Python<'py>, threads: usize) -> PyResult<Bound<'py, PyTuple>> {
        let Recipe { path, text, params, weights, weights_key, seed, exact, products, memory_limit, aux, packed } =
            &*self.recipe;
        let arguments =
            (path, text, params, weights, weights_key, seed, exact, products, memory_limit, aux, packed, threads);
        arguments.into_pyobject(py)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyTuple>)> {
        let (py, core) = (slf.py(), slf.get());
        Ok((slf.get_type(), core._arguments(py, core.options.threads)?))
    }

    /// Values of layers by the names given; of a block, those of its last layer.
    ///
    /// `inputs` is what a call takes, several in a tuple. The network is compiled once more for it, and kept for the
    /// layers that were asked for last.
    fn values<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyAny>,
        layers: Vec<String>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let runner = self.runner_of(py, &layers)?;
        let found = runner.call(py, &unpacked(inputs)?, None)?;
        match found.cast_into::<PyDict>() {
            Ok(named) => Ok(named),
            Err(single) => {
                let named = PyDict::new(py);
                named.set_item(&layers[0], single.into_inner())?;
                Ok(named)
            }
        }
    }

    /// What of the input one position of a layer's value sees; of a block, that of its last layer.
    fn receptive_field<'py>(&self, py: Python<'py>, layer: &str, position: Vec<usize>) -> PyResult<Bound<'py, PyAny>> {
        let (_, input) = self.model.inputs().next().expect("a network has an input");
        let sizes = input.spatial();
        let seen = self.model.receptive_field(layer, &position).map_err(|error| raised(py, error))?;
        let ranges: Vec<(i64, i64)> = match seen {
            Seen::Local(ranges) => ranges.into_iter().map(|range| (range.start, range.end)).collect(),
            Seen::Whole => sizes.iter().map(|&size| (0, size as i64)).collect(),
            Seen::Differs => {
                let message = format!("no single window is what `{layer}` sees: paths of different strides meet");
                return Err(PyValueError::new_err(message));
            }
        };
        class(py, "ReceptiveField")?.call1((PyTuple::new(py, ranges)?, PyTuple::new(py, sizes)?))
    }

    /// Which kernels were chosen, what was fused, and why, a line a step: of a layer and all below it, or of all.
    ///
    /// With `verbose` everything about each step, and what the passes did and refused.
    #[pyo3(signature = (layer=None, *, verbose=false))]
    fn explain(&self, py: Python<'_>, layer: Option<&str>, verbose: bool) -> PyResult<String> {
        self.runner.network.explain(layer, verbose).map_err(|error| raised(py, error.into()))
    }

    /// The summary as a table and as JSON.
    fn _summary(&self) -> (String, String) {
        let mut summary = self.model.summary();
        summary.arena_bytes = Some(self.runner.network.arena_bytes() as u64);
        (summary.render(Format::Table), summary.render(Format::Json))
    }

    fn _draw(&self, py: Python<'_>, stage: &str, format: &str) -> PyResult<String> {
        let stage = match stage {
            "source" => Stage::Source,
            "fused" => Stage::Fused,
            "plan" => Stage::Plan,
            other => {
                let message = format!("no stage {other:?}; there are \"source\", \"fused\" and \"plan\"");
                return Err(PyValueError::new_err(message));
            }
        };
        let format = match format {
            "dot" => DrawingFormat::Dot,
            "mermaid" => DrawingFormat::Mermaid,
            _ => DrawingFormat::Svg,
        };
        py.detach(|| self.model.draw(stage, format, &self.options)).map_err(|error| raised(py, error))
    }

    /// Pictures as one array, and which of them it holds: all, or with `mask` those that could be read.
    fn _preprocess<'py>(
        &self,
        py: Python<'py>,
        pictures: Vec<Bound<'py, PyAny>>,
        input: Option<String>,
        layout_name: Option<String>,
        mask: bool,
    ) -> PyResult<Prepared<'py>> {
        let (first, _) = self.model.inputs().next().expect("a network has an input");
        let input = input.unwrap_or_else(|| first.to_owned());
        let layout = layout_name.as_deref().map(layout).transpose()?;
        let pictures = pictures.iter().map(Picture::of).collect::<PyResult<Vec<Picture>>>()?;
        let prepare = || {
            let prepared = pictures.into_iter().enumerate();
            let prepared = prepared.map(|(index, picture)| match picture.prepare(&self.model, &input, index, layout) {
                Ok(tensor) => Ok(Some(tensor)),
                Err(Error::Io(_)) if mask => Ok(None),
                Err(error) => Err(error),
            });
            prepared.collect::<Result<Vec<Option<Tensor>>, Error>>()
        };
        let prepared = py.detach(prepare).map_err(|error| raised(py, error))?;
        let held: Vec<bool> = prepared.iter().map(Option::is_some).collect();
        let dims = self.model.inputs().find(|(name, _)| *name == input).map_or(Vec::new(), |(_, ty)| ty.dims.clone());
        let values: Vec<f32> = prepared.into_iter().flatten().flat_map(Tensor::into_data).collect();
        let sample: usize = dims.iter().product();
        let shape: Vec<usize> = [values.len().checked_div(sample).unwrap_or(0)].into_iter().chain(dims).collect();
        let array = numpy::PyArray::from_vec(py, values).reshape(shape)?;
        Ok((array, held.to_pyarray(py)))
    }

    /// For each sample of an output its likeliest classes.
    fn _classes<'py>(
        &self,
        py: Python<'py>,
        output: &Bound<'py, PyArrayDyn<f32>>,
        top: usize,
    ) -> PyResult<Vec<Vec<Bound<'py, PyAny>>>> {
        let output = output.try_readonly()?;
        let output = Tensor::new(output.shape().to_vec(), output.as_array().iter().copied().collect());
        let ranked = py.detach(|| self.model.classes(&output)).map_err(|error| raised(py, error))?;
        let class = class(py, "Class")?;
        let one = |found: Class| class.call1((found.index, found.label, found.probability));
        ranked.into_iter().map(|of_sample| of_sample.into_iter().take(top).map(one).collect()).collect()
    }

    fn _labels(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        self.model.labels().map_err(|error| raised(py, error))
    }

    /// Shapes of the inputs; a free batch by its name.
    #[getter]
    fn inputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        shapes(py, self.runner.network.inputs())
    }

    /// Shapes of the outputs.
    #[getter]
    fn outputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        shapes(py, self.runner.network.outputs())
    }

    /// Shapes of the weights that a weight file holds.
    #[getter]
    fn weights<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let named = PyDict::new(py);
        for (name, dims) in self.model.weights() {
            named.set_item(name, PyTuple::new(py, dims)?)?;
        }
        Ok(named)
    }

    /// The text of the model; of an ONNX file, that which was made of it.
    #[getter]
    fn source(&self) -> &str {
        &self.model.sources().files()[0].text
    }

    /// As messages name it.
    #[getter]
    fn name(&self) -> &str {
        self.model.name()
    }

    /// Threads of a call, the caller's included.
    #[getter]
    fn threads(&self, py: Python<'_>) -> usize {
        self.runner.threads(py)
    }

    /// Bytes of packed weights and tables, which all forks share.
    #[getter]
    fn packed_bytes(&self) -> usize {
        self.runner.network.constant_bytes()
    }

    /// What in the text is odd or without effect, as far as building showed.
    #[getter]
    fn warnings<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        diagnostics(py, self.model.warnings(), self.model.sources())
    }

    /// What in the card is without effect; how the network differs from its ONNX file.
    #[getter]
    fn remarks(&self) -> Vec<String> {
        self.model.remarks().to_vec()
    }
}

impl Core {
    /// The network whose outputs are the values of these layers.
    fn runner_of(&self, py: Python<'_>, layers: &[String]) -> PyResult<Arc<Runner>> {
        // Held while the interpreter is attached only, as the pool's lock.
        let last = || self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, runner)) = &*last()
            && known == layers
        {
            return Ok(runner.clone());
        }
        let source = self.recipe.weights(py)?;
        let names: Vec<&str> = layers.iter().map(String::as_str).collect();
        let options = Options { threads: self.runner.threads(py), ..self.options };
        let session = py.detach(|| self.model.compile_values(&names, &source, &options));
        let session = session.map_err(|error| raised(py, error))?;
        py.detach(return_freed_memory);
        let runner = Arc::new(Runner::new(session, options.threads));
        *last() = Some((layers.to_vec(), runner.clone()));
        Ok(runner)
    }
}

impl Recipe {
    fn open(&self) -> Result<Model, Error> {
        let Recipe { path, text, params, aux, .. } = self;
        let options = ModelOptions::default().aux(*aux);
        let options = params.iter().fold(options, |options, (name, value)| options.define(name, value));
        match path {
            Some(path) => {
                let (path, variant) = split_variant(path);
                variant.into_iter().fold(options, ModelOptions::variant).open(path)
            }
            None => options.parse(text.as_deref().unwrap_or_default()),
        }
    }

    /// Makes the path that of the same file in any folder, where the model is of one.
    fn settle(&mut self, model: &Model) -> PyResult<()> {
        if let (Some(path), Some(_)) = (&self.path, model.path()) {
            self.path = Some(absolute(path)?.into_os_string());
        }
        Ok(())
    }

    /// What the library makes of the weights that were given.
    fn weights(&self, py: Python<'_>) -> PyResult<Weights> {
        let weights = self.unpacked(py)?;
        Ok(match &self.packed {
            Some(folder) => weights.packed_in(folder),
            None => weights,
        })
    }

    fn unpacked(&self, py: Python<'_>) -> PyResult<Weights> {
        let Some(weights) = &self.weights else {
            return Ok(self.seed.map_or_else(Weights::of_card, Weights::random));
        };
        let weights = weights.bind(py);
        if let Ok(path) = weights.extract::<PathBuf>() {
            return Ok(match &self.weights_key {
                Some(key) => Weights::dictionary(path, key),
                None => Weights::file(path),
            });
        }
        let asarray = py.import("numpy")?.getattr("asarray")?;
        let tensor = |item: Bound<'_, PyAny>| {
            let (name, value): (String, Bound<'_, PyAny>) = item.extract()?;
            let wrong = |cause: PyErr| {
                let error = PyTypeError::new_err(format!("weight `{name}`: it is no array of numbers: {cause}"));
                error.set_cause(py, Some(cause));
                error
            };
            let array = asarray.call1((&value, "float32")).map_err(wrong)?;
            let array = array.cast_into::<PyArrayDyn<f32>>()?;
            let shape = array.shape().to_vec();
            let values = array.try_readonly()?.as_array().iter().copied().collect();
            Ok((name, Tensor::new(shape, values)))
        };
        let items = weights.cast::<PyMapping>()?.items()?;
        Ok(Weights::tensors(items.iter().map(tensor).collect::<PyResult<Vec<_>>>()?))
    }
}

/// Gives back to the system what compiling took and freed: about as much as a network's values take, which the C library
/// would keep for this process alone.
fn return_freed_memory() {
    // SAFETY: it may be called at any time by any thread, and moves nothing that is in use.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Weights as a recipe keeps them: an absolute path, or a mapping.
fn kept_weights(given: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    if given.cast::<PyMapping>().is_ok() {
        return Ok(given.unbind());
    }
    let path: PathBuf = given.extract().map_err(|_| {
        let name = given.get_type();
        PyTypeError::new_err(format!("weights are a path, or a mapping from names to arrays: {name}"))
    })?;
    Ok(absolute(path)?.into_pyobject(given.py())?.into_any().unbind())
}

/// By name, the sizes of ports; the batch by its name where it is free.
fn shapes<'py, 'n>(
    py: Python<'py>,
    ports: impl Iterator<Item = (&'n str, &'n TensorType)>,
) -> PyResult<Bound<'py, PyDict>> {
    let named = PyDict::new(py);
    for (name, ty) in ports {
        let batch = match &ty.batch {
            Batch::Fixed(batch) => batch.into_pyobject(py)?.into_any(),
            Batch::Symbolic(name) => name.into_pyobject(py)?.into_any(),
        };
        let dims = ty.dims.iter().map(|size| Ok(size.into_pyobject(py)?.into_any()));
        let sizes = [Ok(batch)].into_iter().chain(dims).collect::<PyResult<Vec<_>>>()?;
        named.set_item(name, PyTuple::new(py, sizes)?)?;
    }
    Ok(named)
}
