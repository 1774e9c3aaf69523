//! A network from a shared library that `svertka compile` made: the C interface (see `aot`) from within the program
//! that made it, to compare the two.

use super::buffer::AlignedBuffer;
use super::threads::Threads;
use crate::tensor::Tensor;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

/// Why a library could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error("cannot load the library: {0}")]
    Load(#[from] libloading::Error),
    #[error("cannot start {threads} threads: {cause}")]
    Threads { threads: usize, cause: std::io::Error },
    #[error("the library says: {0}")]
    Refused(String),
    #[error("these inputs do not have the shapes {0:?} for one batch")]
    Inputs(Vec<Vec<usize>>),
    #[error("the library takes or gives whole numbers of eight bits; compile it without --bytes")]
    Bytes,
    #[error("out of memory")]
    Allocation,
}

type Work = unsafe extern "C" fn(*mut c_void, usize, usize, usize);
type ParallelFor = extern "C" fn(*mut c_void, usize, Work, *mut c_void);
type ErrorText = unsafe extern "C" fn(c_int) -> *const c_char;
type Count = unsafe extern "C" fn() -> usize;
type Rank = unsafe extern "C" fn(usize) -> usize;
type Shape = unsafe extern "C" fn(usize) -> *const usize;
type Quantisation = unsafe extern "C" fn(usize) -> *const c_void;
type MemoryBytes = unsafe extern "C" fn(usize, usize) -> usize;
type Init = unsafe extern "C" fn(*mut [u64; 2], *const c_void, usize) -> c_int;
type RunParallel = unsafe extern "C" fn(
    *const [u64; 2],
    *mut c_void,
    usize,
    *const *const f32,
    *const *mut f32,
    usize,
    ParallelFor,
    *mut c_void,
) -> c_int;

/// A loaded network whose weights are embedded.
pub struct Library {
    context: [u64; 2],
    /// The work memory, and the batch that it suffices for.
    memory: Option<(usize, AlignedBuffer)>,
    threads: Threads,
    thread_count: usize,
    /// Shapes, with 0 for a batch that is free.
    inputs: Vec<Vec<usize>>,
    outputs: Vec<Vec<usize>>,
    error_text: ErrorText,
    memory_bytes: MemoryBytes,
    run_parallel: RunParallel,
    /// Behind the functions that it holds.
    _library: libloading::Library,
}

impl Library {
    /// Loads the library at `path` of the model `name`, to be run on so many threads, and checks the CPU.
    ///
    /// # Errors
    /// Where it cannot be loaded or does not run here, and where its inputs and outputs are not all f32.
    ///
    /// # Safety
    /// The file must be one that `aot::compile` made: whatever it is, its code is run.
    pub unsafe fn open(path: &Path, name: &str, threads: usize) -> Result<Library, LibraryError> {
        // SAFETY: the caller's; such a library has no initialisers, and its functions have the types above.
        unsafe {
            let library = libloading::Library::new(path)?;
            let symbol = |function: &str| format!("{name}_{function}");
            let error_text: ErrorText = *library.get(symbol("error_text"))?;
            let init: Init = *library.get(symbol("init"))?;
            let mut context = [0; 2];
            check(error_text, init(&mut context, std::ptr::null(), 0))?;
            Ok(Library {
                context,
                memory: None,
                threads: Threads::new(threads).map_err(|cause| LibraryError::Threads { threads, cause })?,
                thread_count: threads,
                inputs: shapes(&library, &symbol("input"))?,
                outputs: shapes(&library, &symbol("output"))?,
                error_text,
                memory_bytes: *library.get(symbol("memory_bytes"))?,
                run_parallel: *library.get(symbol("run_parallel"))?,
                _library: library,
            })
        }
    }

    /// Computes the outputs.
    ///
    /// # Errors
    /// Where the inputs do not fit, or there is not enough memory.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, LibraryError> {
        let batch = inputs.first().and_then(|tensor| tensor.shape().first()).copied().unwrap_or(0);
        let fits = |(tensor, shape): (&Tensor, &Vec<usize>)| {
            (shape[0] == 0 || shape[0] == batch) && tensor.shape() == [&[batch], &shape[1..]].concat()
        };
        if inputs.len() != self.inputs.len() || !inputs.iter().zip(&self.inputs).all(fits) {
            return Err(LibraryError::Inputs(self.inputs.clone()));
        }
        let memory = self.reserve(batch)?;
        let mut outputs: Vec<Tensor> =
            self.outputs.iter().map(|shape| Tensor::zeros([&[batch], &shape[1..]].concat())).collect();
        let from: Vec<*const f32> = inputs.iter().map(|tensor| tensor.data().as_ptr()).collect();
        let to: Vec<*mut f32> = outputs.iter_mut().map(|tensor| tensor.data_mut().as_mut_ptr()).collect();
        let user = (&raw mut self.threads).cast();
        // SAFETY: the context is ready; inputs and outputs have the shapes that the library states, the memory the size
        // that it states; `parallel_for` gets the threads of which there are `thread_count`, and nothing else uses them.
        let code = unsafe {
            let (from, to) = (from.as_ptr(), to.as_ptr());
            (self.run_parallel)(&self.context, memory, batch, from, to, self.thread_count, parallel_for, user)
        };
        check(self.error_text, code)?;
        Ok(outputs)
    }

    fn reserve(&mut self, batch: usize) -> Result<*mut c_void, LibraryError> {
        if self.memory.as_ref().is_none_or(|(enough_for, _)| *enough_for < batch) {
            // SAFETY: reads nothing but its arguments.
            let bytes = unsafe { (self.memory_bytes)(batch, self.thread_count) };
            if bytes == usize::MAX {
                return Err(LibraryError::Refused(format!("a batch of {batch} cannot be run")));
            }
            self.memory = Some((batch, AlignedBuffer::zeroed(bytes).map_err(|_| LibraryError::Allocation)?));
        }
        let (_, memory) = self.memory.as_mut().expect("reserved");
        Ok(memory.as_mut_ptr().cast())
    }
}

/// The shapes of all inputs or outputs, which are f32; `kind` is the common part of the functions' names.
///
/// # Safety
/// As for [`Library::open`].
unsafe fn shapes(library: &libloading::Library, kind: &str) -> Result<Vec<Vec<usize>>, LibraryError> {
    // SAFETY: the caller's; a shape is an array of as many sizes as its rank says.
    unsafe {
        let count: Count = *library.get(format!("{kind}_count"))?;
        let rank: Rank = *library.get(format!("{kind}_rank"))?;
        let shape: Shape = *library.get(format!("{kind}_shape"))?;
        let quantisation: Quantisation = *library.get(format!("{kind}_quantisation"))?;
        if (0..count()).any(|index| !quantisation(index).is_null()) {
            return Err(LibraryError::Bytes);
        }
        Ok((0..count()).map(|index| std::slice::from_raw_parts(shape(index), rank(index)).to_vec()).collect())
    }
}

fn check(error_text: ErrorText, code: c_int) -> Result<(), LibraryError> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: the codes that functions return have texts, which are constants of the library.
    let text = unsafe { CStr::from_ptr(error_text(code)) };
    Err(LibraryError::Refused(text.to_string_lossy().into_owned()))
}

/// What a library gives to run on several threads.
struct Job {
    work: Work,
    task: *mut c_void,
}

// SAFETY: the interface lets `work` be called with `task` from any thread.
unsafe impl Sync for Job {}

impl Job {
    fn run(&self, worker: usize, tasks: std::ops::Range<usize>) {
        // SAFETY: `parallel_for` calls it as the interface wants it.
        unsafe { (self.work)(self.task, worker, tasks.start, tasks.end) }
    }
}

/// Splits tasks over the [`Threads`] at `user`.
extern "C" fn parallel_for(user: *mut c_void, tasks: usize, work: Work, task: *mut c_void) {
    // SAFETY: `Library::run` gave the address of its threads, and does not use them before the library returns.
    let threads = unsafe { &mut *user.cast::<Threads>() };
    let job = Job { work, task };
    threads.run(tasks, true, &|worker, range| job.run(worker, range));
}
