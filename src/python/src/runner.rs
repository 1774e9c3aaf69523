//! A compiled network that any number of threads may call at the same time.
//!
//! A call takes a session out of the pool, makes one where none is left, and puts it back. Sessions share code and packed
//! weights; each has threads and an arena of its own. The pool's lock is held only while the interpreter is attached, and
//! `os.fork` attaches it too: in a child nobody else holds the lock.
//!
//! In a child of a fork, the worker threads of sessions do not exist, and what waits for them would wait for ever. The pool
//! therefore remembers the process: in another one it lets its sessions lie (their memory is the parent's, copied on
//! writing), and makes new ones that run on the caller's thread alone.

use crate::arrays::Values;
use crate::errors::raised;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::mem;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use svertka::{Batch, Error, Network, RunError, Session, TensorType};

pub struct Runner {
    pub network: Network,
    pool: Mutex<Pool>,
}

struct Pool {
    process: u32,
    threads: usize,
    idle: Vec<Session>,
}

impl Pool {
    /// Lets go of what is another process's.
    fn settle(&mut self) {
        if self.process != process::id() {
            // Dropped, they would join threads that are not there.
            mem::take(&mut self.idle).into_iter().for_each(mem::forget);
            (self.process, self.threads) = (process::id(), 1);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Where outputs go.
struct Outputs<'py> {
    arrays: Vec<Values<'py>>,
    /// The objects that the caller gave for them.
    callers: Option<Vec<Bound<'py, PyAny>>>,
}

/// Addresses that go to a thread which is detached from the interpreter.
struct Addresses {
    inputs: Vec<*const f32>,
    outputs: Vec<*mut f32>,
}

// SAFETY: they are used by one thread at a time, as `Session::run_addresses` says.
unsafe impl Send for Addresses {}

impl Runner {
    pub fn new(session: Session, threads: usize) -> Runner {
        let network = session.network();
        Runner { network, pool: Mutex::new(Pool { process: process::id(), threads, idle: vec![session] }) }
    }

    /// Another one of the same network.
    pub fn fork(&self, threads: usize) -> Runner {
        let pool = Pool { process: process::id(), threads, idle: Vec::new() };
        Runner { network: self.network.clone(), pool: Mutex::new(pool) }
    }

    /// Threads of a call, the caller's included.
    pub fn threads(&self, py: Python<'_>) -> usize {
        self.pool(py).threads
    }

    fn pool(&self, _attached: Python<'_>) -> MutexGuard<'_, Pool> {
        // A panic under the lock leaves sessions that are whole.
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.settle();
        pool
    }

    /// Computes the outputs of the arrays given: an array, or a dictionary where there are several.
    pub fn call<'py>(
        &self,
        py: Python<'py>,
        given: &[Bound<'py, PyAny>],
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let inputs = self.inputs(given)?;
        let batch = inputs[0].shape()[0];
        let Outputs { arrays, callers } = self.outputs(py, batch, out)?;
        check_overlap(&inputs, &arrays)?;
        if batch > 0 {
            let addresses = Addresses {
                inputs: inputs.iter().map(|array| array.address().cast_const()).collect(),
                outputs: arrays.iter().map(Values::address).collect(),
            };
            self.run(py, batch, addresses)?;
        }
        let mut objects = callers.unwrap_or_else(|| arrays.into_iter().map(|a| a.into_array().into_any()).collect());
        if objects.len() == 1 {
            return Ok(objects.remove(0));
        }
        let named = PyDict::new(py);
        self.network.outputs().zip(objects).try_for_each(|((name, _), object)| named.set_item(name, object))?;
        Ok(named.into_any())
    }

    fn run(&self, py: Python<'_>, batch: usize, addresses: Addresses) -> PyResult<()> {
        let (idle, threads) = {
            let mut pool = self.pool(py);
            (pool.idle.pop(), pool.threads)
        };
        let done = py.detach(move || {
            let addresses = addresses;
            let mut session = match idle {
                Some(session) => session,
                None => self.network.session(threads)?,
            };
            // SAFETY: `call` holds references to arrays of the shapes of the network for this batch, in C order, aligned;
            // those of outputs can be written to and overlap no other. As with NumPy's own functions that let other
            // threads run, these may write to the arrays meanwhile: code was generated for this (`Engine::Jit`), which
            // makes the outputs any numbers. Nobody may take their memory away (`ndarray.resize(refcheck=False)`).
            let outcome = unsafe { session.run_addresses(batch, &addresses.inputs, &addresses.outputs) };
            Ok((session, outcome))
        });
        let (session, outcome) = done.map_err(|error: Error| raised(py, error))?;
        self.pool(py).idle.push(session);
        outcome.map_err(|error| raised(py, error.into()))
    }

    /// The inputs, all of one batch: in their order, or by name in a dictionary.
    fn inputs<'py>(&self, given: &[Bound<'py, PyAny>]) -> PyResult<Vec<Values<'py>>> {
        let wanted = self.network.inputs();
        let given = match given {
            [only] => match only.cast::<PyDict>() {
                Ok(named) => &by_name(named, wanted.map(|(name, _)| name), "input")?[..],
                Err(_) => given,
            },
            _ => given,
        };
        let wanted = self.network.inputs();
        if given.len() != wanted.len() {
            let names: Vec<&str> = wanted.map(|(name, _)| name).collect();
            let message = format!("{} inputs are given, the model has: {}", given.len(), names.join(", "));
            return Err(PyTypeError::new_err(message));
        }
        let mut arrays: Vec<Values> = Vec::with_capacity(given.len());
        for ((name, ty), given) in wanted.zip(given) {
            let array = Values::of(given, format_args!("input `{name}`"), false)?;
            let shape = array.shape();
            if !fits(ty, shape) {
                let (name, found) = (name.to_owned(), shape.to_vec());
                let error = RunError::InputShape { name, expected: ty.to_string(), found };
                return Err(raised(given.py(), error.into()));
            }
            if let Some(first) = arrays.first().map(|first| first.shape()[0]).filter(|first| *first != shape[0]) {
                return Err(raised(given.py(), RunError::BatchSizes(first, shape[0]).into()));
            }
            arrays.push(array);
        }
        Ok(arrays)
    }

    /// Arrays for the outputs of a batch: new ones where the caller gives none.
    fn outputs<'py>(&self, py: Python<'py>, batch: usize, out: Option<&Bound<'py, PyAny>>) -> PyResult<Outputs<'py>> {
        let wanted = self.network.outputs();
        let Some(out) = out.filter(|out| !out.is_none()) else {
            // SAFETY: a run writes all of its outputs; arrays of runs that fail are dropped unseen.
            let new = wanted.map(|(_, ty)| unsafe { Values::unset(py, &ty.shape(batch)) });
            return Ok(Outputs { arrays: new.collect(), callers: None });
        };
        let objects = match out.cast::<PyDict>() {
            Ok(named) => by_name(named, wanted.map(|(name, _)| name), "output")?,
            Err(_) if wanted.len() == 1 => vec![out.clone()],
            Err(_) => return Err(PyTypeError::new_err("`out` is a dictionary with an array for each output")),
        };
        let mut arrays = Vec::with_capacity(objects.len());
        for ((name, ty), object) in self.network.outputs().zip(&objects) {
            let array = Values::of(object, format_args!("output `{name}`"), true)?;
            let expected = ty.shape(batch);
            if array.shape() != expected {
                let (name, found) = (name.to_owned(), array.shape().to_vec());
                return Err(raised(py, RunError::OutputShape { name, expected, found }.into()));
            }
            arrays.push(array);
        }
        Ok(Outputs { arrays, callers: Some(objects) })
    }
}

/// Whether an array is one for an input; a batch may be empty, and gives empty outputs.
fn fits(ty: &TensorType, shape: &[usize]) -> bool {
    let batch_fits = |found: usize| match ty.batch {
        Batch::Fixed(batch) => found == batch,
        Batch::Symbolic(_) => true,
    };
    shape.split_first().is_some_and(|(&batch, dims)| batch_fits(batch) && dims == ty.dims)
}

/// The values of a dictionary in the order of names, all of which and no others it must have.
fn by_name<'py, 'n>(
    named: &Bound<'py, PyDict>,
    names: impl Iterator<Item = &'n str>,
    what: &str,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let names: Vec<&str> = names.collect();
    let found = names.iter().map(|name| named.get_item(name)).collect::<PyResult<Option<Vec<_>>>>()?;
    match found {
        Some(found) if named.len() == names.len() => Ok(found),
        _ => {
            let given = named.keys();
            let message = format!("{what}s are {}, the dictionary has {given}", names.join(", "));
            Err(PyValueError::new_err(message))
        }
    }
}

/// Refuses outputs in memory of inputs or of other outputs.
fn check_overlap(inputs: &[Values], outputs: &[Values]) -> PyResult<()> {
    let overlap = |a: &Values, b: &Values| a.range().start < b.range().end && b.range().start < a.range().end;
    for (index, output) in outputs.iter().enumerate() {
        if inputs.iter().chain(&outputs[..index]).any(|other| overlap(output, other)) {
            let message = "`out` lies in memory of an input or of another output; outputs need memory of their own";
            return Err(PyValueError::new_err(message));
        }
    }
    Ok(())
}

/// What is given for the inputs as one object: an array, a tuple of them, or a dictionary.
pub fn unpacked<'py>(inputs: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    match inputs.cast::<PyTuple>() {
        Ok(tuple) => Ok(tuple.iter().collect()),
        Err(_) => Ok(vec![inputs.clone()]),
    }
}
