//! Tells which digit a picture shows: classify PICTURE, a file of 28x28 f32 values as the network was trained on, row
//! by row: (grey / 255 - 0.1307) / 0.3081 for a white digit on black.

use std::ffi::{CStr, c_char, c_int, c_void};

/// The declarations of `lenet5.h` that are used here.
mod ffi {
    use super::*;

    #[repr(C)]
    #[derive(Default)]
    pub struct Context {
        opaque: [u64; 2],
    }

    unsafe extern "C" {
        pub fn lenet5_error_text(code: c_int) -> *const c_char;
        pub fn lenet5_arena_bytes(batch: usize) -> usize;
        pub fn lenet5_init(context: *mut Context, weights: *const c_void, weights_bytes: usize) -> c_int;
        pub fn lenet5_run(
            context: *const Context,
            arena: *mut c_void,
            batch: usize,
            inputs: *const *const f32,
            outputs: *const *mut f32,
        ) -> c_int;
    }
}

/// Scratch memory is given in pieces of the alignment that it needs.
#[repr(align(64))]
#[derive(Clone)]
struct Line(#[expect(dead_code)] [u8; 64]);

/// The network with its scratch memory.
struct Lenet5 {
    context: ffi::Context,
    arena: Vec<Line>,
}

impl Lenet5 {
    fn new() -> Result<Lenet5, String> {
        let mut context = ffi::Context::default();
        // SAFETY: the context is ours; the weights are in the library.
        check(unsafe { ffi::lenet5_init(&mut context, std::ptr::null(), 0) })?;
        // SAFETY: reads nothing but its argument.
        let bytes = unsafe { ffi::lenet5_arena_bytes(1) };
        Ok(Lenet5 { context, arena: vec![Line([0; 64]); bytes.div_ceil(64)] })
    }

    fn scores(&mut self, picture: &[f32; 28 * 28]) -> Result<[f32; 10], String> {
        let mut scores = [0.0; 10];
        let (inputs, outputs) = ([picture.as_ptr()], [scores.as_mut_ptr()]);
        let arena = self.arena.as_mut_ptr().cast();
        // SAFETY: input, output and arena have the sizes that the header states for a batch of one, and live.
        check(unsafe { ffi::lenet5_run(&self.context, arena, 1, inputs.as_ptr(), outputs.as_ptr()) })?;
        Ok(scores)
    }
}

fn check(code: c_int) -> Result<(), String> {
    match code {
        0 => Ok(()),
        // SAFETY: the codes that functions return have texts, which are constants of the library.
        _ => Err(unsafe { CStr::from_ptr(ffi::lenet5_error_text(code)) }.to_string_lossy().into_owned()),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: classify PICTURE, a file of 28x28 f32 values")?;
    let bytes = std::fs::read(path)?;
    let (values, _) = bytes.as_chunks::<4>();
    let values: Vec<f32> = values.iter().map(|&value| f32::from_le_bytes(value)).collect();
    let picture = values.as_slice().try_into().map_err(|_| "a picture has 28x28 values")?;
    let scores = Lenet5::new()?.scores(picture)?;
    let digit = (0..10).max_by(|&a: &usize, &b| scores[a].total_cmp(&scores[b]));
    println!("{}", digit.expect("there are ten digits"));
    Ok(())
}
