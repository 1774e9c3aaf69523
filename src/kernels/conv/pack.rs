//! A convolution's weights and biases in the order in which its tiles read them.

use super::Code;
use crate::ir::weights::Values;
use crate::kernels::packing::{self, Packing};
use crate::kernels::{Constant, Used};
use crate::tensor::Half;
use std::ops::Range;

impl Code {
    /// Weights in the order in which the tile reads them:
    /// `[vector group][input block][kernel row][unrolled channels][kernel column][channel][vector][lane]`.
    pub(in crate::kernels) fn pack_weights<'a>(&'a self, weight: &'a Values<'a>) -> Packing<'a> {
        let columns = self.channels_in() * self.window.kernel_rows * self.window.kernel;
        let rows = packing::Rows::new(weight, columns);
        let (places, stride) = (self.weight_places(), self.tile.vectors * self.lanes);
        let parts = self.groups * self.vector_groups();
        Packing::new([1, parts, self.weight_group() as usize / 4], move |part, to, used| {
            let rows_of_part = self.rows_of_part(part, rows.count());
            let part = packing::Part { matrix: &rows, rows: rows_of_part, columns: 0..columns };
            part.transpose_in_slices(&places, stride, to[0], used);
        })
    }

    /// The same in 16 bits.
    pub(super) fn pack_halves<'a>(&'a self, weight: &'a Values<'a>) -> Constant<'a> {
        let (_, bits) = weight.halves().expect("a layer whose weights are stored in 16 bits");
        let of_part = self.weight_group() as usize / 2;
        let fill = move |packed: &mut [i16], used: &Used| {
            let packed: &mut [u16] = bytemuck::cast_slice_mut(packed);
            let stride = self.tile.vectors * self.lanes;
            let places: Vec<usize> = self.weight_places().into_iter().map(|place| place * stride).collect();
            for (part, packed) in packed.chunks_exact_mut(of_part).enumerate() {
                let rows = self.rows_of_part(part, bits.len() / places.len());
                let rows = &bits[rows.start * places.len()..rows.end * places.len()];
                packing::transpose_halves(rows, &places, 1, packed);
                used();
            }
        };
        Constant::I16(self.groups * self.vector_groups() * of_part, Box::new(fill))
    }

    /// The same in pairs of bf16: of the channels of each, where a last one without another has 0 beside it.
    pub(super) fn pack_pairs<'a>(&'a self, weight: &'a Values<'a>) -> Constant<'a> {
        let of_part = self.weight_group() as usize / 2;
        let fill = move |packed: &mut [i16], used: &Used| {
            let packed: &mut [u16] = bytemuck::cast_slice_mut(packed);
            // What is stored in 16 bits is not widened as a whole.
            let elements = weight.halves().map_or_else(|| weight.len(), |(_, bits)| bits.len());
            let columns = elements / self.channels_out;
            let places = self.pair_places(columns);
            for (part, packed) in packed.chunks_exact_mut(of_part).enumerate() {
                let rows = self.rows_of_part(part, self.channels_out);
                let rows = rows.start * columns..rows.end * columns;
                let rows: Vec<u16> = match weight.halves() {
                    None => weight[rows].iter().map(|&w| Half::Bf16.narrow(w)).collect(),
                    Some((half, bits)) => bits[rows].iter().map(|&w| Half::Bf16.narrow(half.widen(w))).collect(),
                };
                packing::transpose_halves(&rows, &places, 2, packed);
                used();
            }
        };
        Constant::I16(self.groups * self.vector_groups() * of_part, Box::new(fill))
    }

    /// For each of so many columns of the layer's weights, where that of the first output lies among numbers of 16 bits.
    fn pair_places(&self, columns: usize) -> Vec<usize> {
        let (places, taps) = (self.weight_places(), self.window.kernel_rows * self.window.kernel);
        let place = |column: usize| {
            let (channel, tap) = (column / taps, column % taps);
            2 * places[channel / 2 * taps + tap] * self.tile.vectors * self.lanes + channel % 2
        };
        (0..columns).map(place).collect()
    }

    /// The output channels, of `channels_out` of all groups, in the `part`-th vector group of all.
    fn rows_of_part(&self, part: usize, channels_out: usize) -> Range<usize> {
        let (group, vector_group) = (part / self.vector_groups(), part % self.vector_groups());
        let (of_group, stride) = (channels_out / self.groups, self.tile.vectors * self.lanes);
        let first = vector_group * stride;
        group * of_group + first..group * of_group + of_group.min(first + stride)
    }

    /// For each input channel and tap, in the order of the layer's weights, which row of a vector group's packed
    /// weights holds it.
    fn weight_places(&self) -> Vec<usize> {
        let (kernel_rows, kernel) = (self.window.kernel_rows, self.window.kernel);
        let place = |input: usize, row: usize, column: usize| {
            let (block, channel) = (input / self.input.block, input % self.input.block);
            let (_, unroll) = self.block_shape(block);
            let (chunk, inner) = (channel / unroll, channel % unroll);
            (block * kernel_rows + row) * kernel * self.input.block + (chunk * kernel + column) * unroll + inner
        };
        index3(self.channels_in(), kernel_rows, kernel).map(|(input, row, column)| place(input, row, column)).collect()
    }

    /// One value for each lane of each vector group; 0 behind the real channels.
    pub(super) fn pack_bias(&self, bias: Option<&[f32]>) -> Vec<f32> {
        let stride = self.tile.vectors * self.lanes;
        let mut packed = vec![0.0; self.groups * self.vector_groups() * stride];
        let Some(bias) = bias else { return packed };
        let channels_out = bias.len() / self.groups;
        for (out, &value) in bias.iter().enumerate() {
            let (group, channel) = (out / channels_out, out % channels_out);
            packed[group * self.vector_groups() * stride + channel] = value;
        }
        packed
    }
}

/// All index triples, the last index fastest.
fn index3(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
}
