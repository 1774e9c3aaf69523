//! A safe wrapper around a compiled model with one input, one output and its weights in the library.

use std::ffi::{CStr, c_char, c_int, c_void};

/// What a model is ready to run with. Its content is the library's.
#[repr(C)]
#[derive(Default)]
pub struct Context {
    opaque: [u64; 2],
}

/// The functions of the header that are used here.
pub struct Functions {
    pub error_text: unsafe extern "C" fn(c_int) -> *const c_char,
    pub memory_bytes: unsafe extern "C" fn(usize, usize) -> usize,
    pub init: unsafe extern "C" fn(*mut Context, *const c_void, usize) -> c_int,
    pub run: unsafe extern "C" fn(*const Context, *mut c_void, usize, *const *const f32, *const *mut f32) -> c_int,
}

/// The [`Functions`] with these names.
macro_rules! functions {
    ($error_text:ident, $memory_bytes:ident, $init:ident, $run:ident) => {{
        use crate::model::{Context, Functions};
        use std::ffi::{c_char, c_int, c_void};
        unsafe extern "C" {
            fn $error_text(code: c_int) -> *const c_char;
            fn $memory_bytes(batch: usize, threads: usize) -> usize;
            fn $init(context: *mut Context, weights: *const c_void, weights_bytes: usize) -> c_int;
            fn $run(
                context: *const Context,
                memory: *mut c_void,
                batch: usize,
                inputs: *const *const f32,
                outputs: *const *mut f32,
            ) -> c_int;
        }
        Functions { error_text: $error_text, memory_bytes: $memory_bytes, init: $init, run: $run }
    }};
}
pub(crate) use functions;

/// Work memory is taken in pieces of the alignment that it needs.
#[repr(align(64))]
#[derive(Clone)]
struct Line(#[expect(dead_code)] [u8; 64]);

/// A network with its work memory.
pub struct Model {
    functions: Functions,
    context: Context,
    memory: Vec<Line>,
    classes: usize,
}

impl Model {
    /// A model with so many elements in its output.
    pub fn new(functions: Functions, classes: usize) -> Result<Model, String> {
        let mut context = Context::default();
        // SAFETY: the context is ours; the weights are in the library.
        check(&functions, unsafe { (functions.init)(&mut context, std::ptr::null(), 0) })?;
        // SAFETY: reads nothing but its arguments.
        let bytes = unsafe { (functions.memory_bytes)(1, 1) };
        Ok(Model { functions, context, memory: vec![Line([0; 64]); bytes.div_ceil(64)], classes })
    }

    /// The class with the highest score. The input has the size that the header states.
    pub fn class(&mut self, input: &[f32]) -> Result<usize, String> {
        let mut scores = vec![0.0; self.classes];
        let (inputs, outputs) = ([input.as_ptr()], [scores.as_mut_ptr()]);
        let memory = self.memory.as_mut_ptr().cast();
        // SAFETY: input, output and memory have the sizes that the header states for a batch of one, and live.
        let code = unsafe { (self.functions.run)(&self.context, memory, 1, inputs.as_ptr(), outputs.as_ptr()) };
        check(&self.functions, code)?;
        let best = (0..self.classes).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        best.ok_or_else(|| "a model without classes".into())
    }
}

fn check(functions: &Functions, code: c_int) -> Result<(), String> {
    match code {
        0 => Ok(()),
        // SAFETY: the codes that functions return have texts, which are constants of the library.
        _ => Err(unsafe { CStr::from_ptr((functions.error_text)(code)) }.to_string_lossy().into_owned()),
    }
}
