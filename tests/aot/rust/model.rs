//! A safe wrapper around a compiled model with one input, one output and its weights in the library.

use std::ffi::{CStr, c_char, c_int, c_void};

/// What a model is ready to run with. Its content is the library's.
#[repr(C)]
#[derive(Default)]
pub struct Context {
    opaque: [u64; 2],
}

/// What whole numbers of eight bits stand for.
#[repr(C)]
pub struct Quantisation {
    scale: f32,
    zero_point: u8,
    largest: u8,
}

impl Quantisation {
    /// The number that stands for a real one.
    fn quantise(&self, x: f32) -> u8 {
        let number = (x / self.scale).round_ties_even() + f32::from(self.zero_point);
        number.clamp(0.0, self.largest.into()) as u8
    }
}

/// The functions of the header that are used here.
pub struct Functions {
    pub error_text: unsafe extern "C" fn(c_int) -> *const c_char,
    pub memory_bytes: unsafe extern "C" fn(usize, usize) -> usize,
    pub init: unsafe extern "C" fn(*mut Context, *const c_void, usize) -> c_int,
    pub input_quantisation: unsafe extern "C" fn(usize) -> *const Quantisation,
    pub run: unsafe extern "C" fn(*const Context, *mut c_void, usize, *const *const c_void, *const *mut f32) -> c_int,
}

/// The [`Functions`] with these names.
macro_rules! functions {
    ($error_text:ident, $memory_bytes:ident, $init:ident, $input_quantisation:ident, $run:ident) => {{
        use crate::model::{Context, Functions, Quantisation};
        use std::ffi::{c_char, c_int, c_void};
        unsafe extern "C" {
            fn $error_text(code: c_int) -> *const c_char;
            fn $memory_bytes(batch: usize, threads: usize) -> usize;
            fn $init(context: *mut Context, weights: *const c_void, weights_bytes: usize) -> c_int;
            fn $input_quantisation(index: usize) -> *const Quantisation;
            fn $run(
                context: *const Context,
                memory: *mut c_void,
                batch: usize,
                inputs: *const *const c_void,
                outputs: *const *mut f32,
            ) -> c_int;
        }
        Functions {
            error_text: $error_text,
            memory_bytes: $memory_bytes,
            init: $init,
            input_quantisation: $input_quantisation,
            run: $run,
        }
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

    /// The class with the highest score, which is f32. The input has the size that the header states.
    pub fn class(&mut self, input: &[f32]) -> Result<usize, String> {
        let mut scores = vec![0.0; self.classes];
        // SAFETY: reads nothing but its argument; what it gives is a constant of the library, or NULL for an input of f32.
        let numbers = unsafe { (self.functions.input_quantisation)(0).as_ref() };
        let bytes: Option<Vec<u8>> = numbers.map(|numbers| input.iter().map(|&x| numbers.quantise(x)).collect());
        let input: *const c_void = bytes.as_ref().map_or(input.as_ptr().cast(), |bytes| bytes.as_ptr().cast());
        let (inputs, outputs) = ([input], [scores.as_mut_ptr()]);
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
