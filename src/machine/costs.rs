//! Figures that hold for all machines alike: what was measured on one, or decides how sums are rounded, which no machine
//! may. "Measured" is on a Zen 3 server where nothing else is said.

/// Tasks that a sample is cut into where it can be, so that several threads find equal shares.
pub const TASKS: usize = 8;

/// Multiply-accumulates (or bytes moved) for each lane of a vector below which a second thread costs more than it brings: it
/// takes some microseconds to wake. Measured with 8 lanes; with 16, LeNet-5's 240,000 took 1.2 times as long on two threads.
const SPLIT_WORK: u64 = 25_000;

/// The same of vectors with so many lanes.
pub fn split_work(lanes: usize) -> u64 {
    SPLIT_WORK * lanes as u64
}

/// Bytes of each sample of a batch that may wait for the others, of the steps that all samples do together.
pub const MOST_WAITING: usize = 1 << 20;

/// Unrolled code of one tile stays below this many multiply-adds: a third of the 32 KiB for instructions that all machines
/// of the table have at least, at 8 bytes each.
pub const MAX_UNROLLED: usize = 1400;

/// Vectors of a tile of 512 bits at most, but where weights are read once. Measured on an Emerald Rapids: with three to five,
/// 1x1 and Winograd convolutions took up to 1.10 of the time that they take with two.
pub const WIDE_VECTORS: usize = 2;

/// Bytes of input that a block of rows may take at most. Measured with 512 KiB of second level; more was not tried with
/// more.
pub const BLOCK_BYTES: usize = 200 << 10;

/// Bytes of weights that stay in a first level of 32 KiB beside the input and the output of a tile.
pub const PANEL_BYTES: usize = 18 << 10;

/// Weights of many taps that a tile may read from the second level: chunks of them are short in channels, so that sums are
/// loaded and stored often.
pub const FAR_PANEL_BYTES: usize = 96 << 10;

/// How many bytes ahead a tile asks for weights that it reads once: further than a line takes from memory, and into the next
/// page of 4096, before which the prefetcher of the CPU stops. On an Emerald Rapids, reading 400 MiB by a loop that adds:
/// f32 15.0 GB/s without and 15.8 with, f16, which has twice the instructions, 11.1 and 14.8; in large pages 14.5 and 17.0, 12.2
/// and 16.3. As good with 16384.
pub const STREAM_AHEAD: i64 = 4096;

/// Bytes of f32 weights that stay in the second level from one block of rows to the next: above, tiles ask for the next.
pub const NEAR_WEIGHTS: usize = 128 << 10;

/// The same of weights of whole numbers, from one sample to the next.
pub const NEAR_WHOLE_WEIGHTS: usize = 64 << 10;

/// Bytes of weights that do not stay in the second level from one sample to the next, so that several share them.
pub const FAR_WEIGHTS: usize = 512 << 10;

/// A value of at most that size is still in a second level of 512 KiB when it is read.
pub const NEAR_VALUE: usize = 512 << 10;

/// A value of more than that size is in no second level. A core waits for lines that it is about to write there: an Emerald
/// Rapids writes 16 GB/s to the third level, and 28 where it asks for the lines before.
pub const FAR_VALUE: usize = 2 << 20;

/// Bytes of the rows between two layers that are done together at most: the rest of a second level of 512 KiB is for
/// inputs, weights and outputs.
pub const RING_BYTES: usize = 160 << 10;

/// Bytes of a strip of columns between the two steps of Winograd's transform of the input.
pub const STRIP_BYTES: i64 = 12 << 10;

/// Multiply-accumulates for each element between two layers done together at most: where there are more, moving the element
/// takes no time beside them. Measured: pairs with 16 to 40 took 0.81 to 0.99 of the time of two kernels, those with 112
/// and more 0.98 to 1.08.
pub const CHAIN_MACS: usize = 64;

/// Bytes of input rows that a depthwise tile reads from one end to the other: a first level. Measured: rows that are read
/// tile by tile from farther away took half as long again.
pub const NEAREST: usize = 32 << 10;

/// Cycles after which a sum of Winograd's products can be added to again: four by the book, five measured.
pub const WINOGRAD_LATENCY: usize = 5;

/// Cycles of a register tile of Winograd's products beside its multiply-adds: zeroing, filling the pipeline, storing.
/// Measured.
pub const WINOGRAD_TILE: usize = 24;

/// Cycles of Winograd's transforms for each vector that one of their steps writes. Measured.
pub const WINOGRAD_TRANSFORM: usize = 3;

/// Instructions for each vector of outputs of Winograd convolution on whole numbers, behind the transforms: counted.
pub const WHOLE_OUTPUT: usize = 12;

/// Cycles of a direct convolution in f32 whose tiles are estimated at so many: it reaches about 19 parts in 20. Measured.
pub fn direct(estimated: usize) -> usize {
    estimated * 20 / 19
}

/// Fifths of the time to read weights that arithmetic does not hide in any case: of Winograd convolution, measured, and of
/// direct ones, measured on an Emerald Rapids: in a network that is larger than its caches, 3x3 with 512 channels at 7x7
/// take 1.22 ms and 1.15 by themselves, where reading 9.4 MB takes 0.7.
pub const WINOGRAD_EXPOSED: usize = 2;
pub const DIRECT_EXPOSED: usize = 1;

/// Fifths of the time to read Winograd's weights again from the second level that arithmetic does not hide. Measured on an
/// Emerald Rapids: groups of one row of tiles and of all rows.
pub const WINOGRAD_NEAR: usize = 4;

/// Eighths of what stays in the second level that Winograd's V and M may take there: the rest is for weights, inputs and
/// outputs. Found on an Emerald Rapids, where groups that took more were slower though they read their weights less often.
pub const WINOGRAD_VALUES: usize = 5;

/// What arithmetic does not hide of the time to read weights: so many fifths in any case, and all that takes longer than the
/// arithmetic.
pub fn exposed(fifths: usize, stream: usize, arithmetic: usize) -> usize {
    (stream * fifths / 5).max(stream.saturating_sub(arithmetic))
}
