//! The C header: declarations and the documentation of a compiled model.

use super::OwnMemory;
use super::constants;
use super::interface::{ERRORS, Interface, Port, Size, THREADS};
use crate::tensor::DType;

/// The declarations and their documentation; `NAME` and `PREFIX` stand for the model's name, the latter in capitals.
const DECLARATIONS: &str = include_str!("header.h");

pub(super) fn header(interface: &Interface) -> String {
    let errors = ERRORS
        .iter()
        .enumerate()
        .map(|(index, (name, text))| format!("#define PREFIX_ERROR_{name:<18} {:>2} /* {text} */\n", index + 1));
    let state = match interface.own_memory {
        None => "what the caller gives it",
        Some(_) => "the work memory of one run",
    };
    let text = DECLARATIONS
        .replace("@WEIGHTS@", &weights(interface))
        .replace("@ERRORS@", &errors.collect::<String>())
        .replace("@STATE@", state)
        .replace("@BYTES@", &bytes(interface.usual(), interface.scratch))
        .replace("@THREADS@", &THREADS.1.to_string())
        .replace("@MEMORY@", &memory(interface));
    // What comes from the user goes in last, and is not searched again.
    with_name(&text, &interface.name)
        .replace("@INPUT_COUNT@", &interface.usual().inputs.len().to_string())
        .replace("@OUTPUT_COUNT@", &interface.usual().outputs.len().to_string())
        .replace("@BATCH@", &batch(interface.usual()))
        .replace("@VERSION@", &comment(&interface.version))
        .replace("@PORTS@", &ports(interface.usual()))
        .replace("@SIZES@", &sizes(interface))
        .replace("@NUMBERS@", &numbers(interface))
        .replace("@INPUT@", element(&interface.usual().inputs))
        .replace("@OUTPUT@", element(&interface.usual().outputs))
}

/// What is declared for each size besides the usual one.
const OTHER_SIZE: &str = "
/* As the functions of the same names without SIZE, at this size:
@PORTS@ * Batch: @BATCH@. Bytes of the work memory:
@BYTES@ */
size_t NAME_SIZE_memory_bytes(size_t batch, size_t threads);
const size_t *NAME_SIZE_input_shape(size_t index);
const size_t *NAME_SIZE_output_shape(size_t index);
int NAME_SIZE_run(const NAME_context *context, void *memory, size_t batch, const @INPUT@ *const inputs[],
    @OUTPUT@ *const outputs[]);
int NAME_SIZE_run_parallel(const NAME_context *context, void *memory, size_t batch, const @INPUT@ *const inputs[],
    @OUTPUT@ *const outputs[], size_t threads, NAME_parallel_for parallel_for, void *user);
";

const OTHER_SIZES: &str = "
/* Other sizes. The same context serves all. Kernels for different sizes may read the weights in different orders: then
 * they are there once for each of these, else once for all. */
";

/// The declarations for other sizes; nothing where there are none.
fn sizes(interface: &Interface) -> String {
    let of_size = |size: &Size| {
        let text = OTHER_SIZE.replace("SIZE", size.suffix.trim_start_matches('_'));
        with_name(&text, &interface.name)
            .replace("@BATCH@", &batch(size))
            .replace("@BYTES@", &bytes(size, interface.scratch))
            .replace("@PORTS@", &ports(size))
    };
    let others: String = interface.sizes.iter().skip(1).map(of_size).collect();
    if others.is_empty() { others } else { format!("{OTHER_SIZES}{others}") }
}

fn batch(size: &Size) -> String {
    match size.batch {
        (smallest, largest) if smallest == largest => format!("must be {smallest}"),
        (smallest, largest) => format!("{smallest} to {largest}"),
    }
}

/// What the work memory is made of.
fn bytes(size: &Size, scratch: usize) -> String {
    let parts = [
        ("min(batch, threads)", size.arena, "values between the layers, of each sample that is under way"),
        ("batch", size.joint, "values between the last layers, which all samples go through together"),
        ("threads", scratch, "what each thread has for itself"),
    ];
    let line = |(times, bytes, what): (&str, usize, &str)| format!(" *   {times} * {bytes}: {what}\n");
    parts.into_iter().filter(|(_, bytes, _)| *bytes > 0).map(line).collect()
}

/// Puts the model's name in place of `NAME` and `PREFIX`, which it may contain itself.
fn with_name(text: &str, name: &str) -> String {
    let parts: Vec<String> = text.split("PREFIX").map(|part| part.replace("NAME", name)).collect();
    parts.join(&name.to_uppercase())
}

/// The table of inputs and outputs.
fn ports(size: &Size) -> String {
    let line = |kind: &str, index: usize, port: &Port| {
        let (name, shape) = (comment(&port.name), comment(&port.ty.with_dtype(DType::F32).to_string()));
        let (ty, stands) = match port.quantisation() {
            None => ("f32", String::new()),
            Some(q) => ("uint8_t", format!(", q for the number (q - {}) * {:?}", q.zero_point(), q.scale())),
        };
        format!(" *   {kind}[{index}]  {name}: {ty} {shape}, {} elements a sample{stands}\n", port.ty.elements())
    };
    let inputs = size.inputs.iter().enumerate().map(|(index, port)| line("inputs", index, port));
    let outputs = size.outputs.iter().enumerate().map(|(index, port)| line("outputs", index, port));
    inputs.chain(outputs).collect()
}

/// What the arrays of inputs or of outputs point to.
fn element(ports: &[Port]) -> &'static str {
    let whole = ports.iter().filter(|port| port.quantisation().is_some()).count();
    match whole {
        0 => "float",
        _ if whole == ports.len() => "uint8_t",
        _ => "void",
    }
}

/// What whole numbers of inputs and outputs stand for, as constants.
fn numbers(interface: &Interface) -> String {
    let of_port = |kind: &str, index: usize, port: &Port| {
        let Some(q) = port.quantisation() else { return String::new() };
        let name = format!("{}_{kind}_{index}", interface.name.to_uppercase());
        let (scale, zero_point) = (q.scale(), q.zero_point());
        format!(
            "#define {name}_SCALE {scale:?}f\n#define {name}_ZERO_POINT {zero_point}\n#define {name}_LARGEST {}\n",
            q.top()
        )
    };
    let Size { inputs, outputs, .. } = interface.usual();
    let inputs = inputs.iter().enumerate().map(|(index, port)| of_port("INPUT", index, port));
    let outputs = outputs.iter().enumerate().map(|(index, port)| of_port("OUTPUT", index, port));
    inputs.chain(outputs).collect()
}

/// Where the weights are.
fn weights(interface: &Interface) -> String {
    match interface.weight_file {
        None => " * The weights are in the object itself: pass NULL and 0. Others are refused.\n".to_string(),
        Some(bytes) => format!(
            " * The weights are in the file NAME.weights of {bytes} bytes, which the program maps or reads into memory\n \
             * that is aligned to 64 bytes and stays as it is while runs go on. Its layout, in little-endian numbers:\n \
             *   bytes 0 to 7    the letters SVERTKAW\n \
             *   bytes 8 to 15   version of the format: {}\n \
             *   bytes 16 to 23  fingerprint of the plan: {:#018x}\n \
             *   bytes 24 to 31  bytes of the file\n \
             *   bytes 32 to 39  checksum of what follows the header: XXH64 with seed 0\n \
             *   bytes 40 to {}  zeros\n \
             *   then            weights and tables of the kernels, in the order in which they are read, each at a\n \
             *                   multiple of 64 bytes\n \
             * All of this is checked, so that the whole file is read: damage by accident is found, not a forgery.\n",
            constants::VERSION,
            interface.fingerprint,
            constants::HEADER_BYTES - 1,
        ),
    }
}

/// What a run without work memory does.
fn memory(interface: &Interface) -> String {
    match interface.own_memory {
        None => String::new(),
        Some(OwnMemory { batch, threads }) => format!(
            " * NULL stands for the library's own work memory, which suffices for `batch` up to {batch} and\n \
             * `threads` up to {threads}; one run at a time may use it.\n"
        ),
    }
}

/// Text that cannot end a comment, nor be taken for a placeholder.
fn comment(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect::<String>().replace("*/", "* /").replace('@', "")
}
