//! Moves whole channels between values and layouts: layout conversion, concatenation of what could not be written
//! in place, channel shuffle, zero channels, the spread input of small groups.
//!
//! One element at a time: it is used at the edges of a network, not between its convolutions.

use super::nest::{self, KernelNest};
use super::{Constant, Family, Kernel, Layout, Lowered, NodeView, Target, Value};
use crate::codegen::vector::VectorAsm;
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::Values;
use crate::layers::Op;

/// Where a channel of the output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub operand: usize,
    pub channel: usize,
}

/// One channel of the output and what it becomes; `None` is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub to: usize,
    pub from: Option<Source>,
}

/// Every decision about one permutation.
#[derive(Clone, Debug, PartialEq)]
pub struct Conf {
    pub positions: usize,
    pub lanes: usize,
    pub output: Layout,
    /// Layout of each operand.
    pub inputs: Vec<Layout>,
    /// Channels of the output that are written.
    pub channels: Vec<Move>,
}

/// Makes the conf of a layer that only moves channels.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, String> {
    let source = |channel| Some(Source { operand: 0, channel });
    let inputs: Vec<Layout> = node.inputs.iter().map(|v| v.layout).collect();
    let mut conf = Conf {
        positions: node.output.spatial().iter().product(),
        lanes: target.lanes,
        output: Layout::Blocked,
        inputs,
        channels: Vec::new(),
    };
    match node.op {
        Op::ChannelShuffle(shuffle) => {
            let channels = node.output.channels();
            conf.channels = moves((0..channels).map(|c| source(shuffle.source(c, channels))));
        }
        Op::Pad(pad) => {
            let (front, back) = pad.channels;
            if node.inputs[0].positions() != conf.positions {
                return Err("pads positions too".into());
            }
            let middle = (0..node.inputs[0].channels()).map(source);
            let zeros = |n| std::iter::repeat_n(None, n);
            conf.channels = moves(zeros(front).chain(middle).chain(zeros(back)));
        }
        Op::Flatten(_) => {
            // The output is the row-major input: its channels are the elements.
            conf = Conf::reorder(&node.inputs[0], Layout::Nchw, target.lanes);
        }
        _ => return Err("moves more than channels".into()),
    }
    if node.epilogue != Default::default() {
        return Err("has no epilogue".into());
    }
    Ok(Lowered { inputs: conf.inputs.clone(), output: conf.output, kernel: Kernel::Permute(conf), spread: None })
}

/// The channels of the output in order.
fn moves(sources: impl Iterator<Item = Option<Source>>) -> Vec<Move> {
    sources.enumerate().map(|(to, from)| Move { to, from }).collect()
}

impl Conf {
    /// Copies a value into another layout.
    pub fn reorder(value: &Value, output: Layout, lanes: usize) -> Conf {
        Conf {
            positions: value.positions(),
            lanes,
            output,
            inputs: vec![value.layout],
            channels: moves((0..value.channels()).map(|channel| Some(Source { operand: 0, channel }))),
        }
    }

    /// Byte offset of a channel's first element, and bytes from one position to the next.
    pub(crate) fn place(&self, layout: Layout, channel: usize) -> (i64, i64) {
        match layout {
            Layout::Nchw => ((channel * self.positions * 4) as i64, 4),
            Layout::Blocked => {
                let (block, lane) = (channel / self.lanes, channel % self.lanes);
                (((block * self.positions * self.lanes + lane) * 4) as i64, (self.lanes * 4) as i64)
            }
        }
    }

    /// For each channel: operand (in bytes of the operand array), byte offset and step of the source, byte offset
    /// of the output. Zero channels read a constant zero with step 0.
    fn table(&self) -> Vec<i64> {
        let zero = self.inputs.len() + 1;
        let row = |&Move { to, from }: &Move| {
            let (operand, (offset, step)) = match from {
                Some(s) => (s.operand + 1, self.place(self.inputs[s.operand], s.channel)),
                None => (zero, (0, 0)),
            };
            [operand as i64 * 16, offset, step, self.place(self.output, to).0]
        };
        self.channels.iter().flat_map(row).collect()
    }
}

impl Family for Conf {
    fn name(&self) -> String {
        format!("permute_f32_{}", self.channels.len())
    }

    fn tasks(&self) -> usize {
        self.channels.len()
    }

    fn constants(&self, _params: &[Values<'_>]) -> Vec<Constant<'_>> {
        vec![Constant::F32(vec![0.0; 4]), Constant::I64(self.table())]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let tile = module.define_tile(&format!("{name}_tile"), isa, 3, &mut |asm| self.emit(asm))?;
        let table = self.inputs.len() + 2;
        nest::define(name, module, |nest| {
            nest.for_tasks(self.tasks(), |nest, sample, channel| {
                let entry = nest.constant_pointer(table);
                let entry = nest.offset_by(entry, channel, 32);
                let operand = nest.load(entry, 0);
                let operand = {
                    let operands = nest.arg(0);
                    nest.add(operands, operand)
                };
                let (data, stride) = (nest.load(operand, 0), nest.load(operand, 8));
                let sample_offset = nest.mul(sample, stride);
                let input = nest.add(data, sample_offset);
                let offset = nest.load(entry, 8);
                let input = nest.add(input, offset);
                let step = nest.load(entry, 16);
                let out = nest.sample_pointer(0, sample);
                let offset = nest.load(entry, 24);
                let out = nest.add(out, offset);
                nest.call(tile, &[input, step, out]);
            });
        })
    }
}

impl Conf {
    /// Emits the tile `(input, input step, output)`: one channel.
    fn emit(&self, asm: &mut dyn VectorAsm) {
        let (input, step, out) = (asm.arg(0), asm.arg(1), asm.arg(2));
        let (x, count) = (asm.vec(), asm.int());
        asm.set_int(count, self.positions as i64);
        let positions = asm.loop_begin(count);
        asm.load_first(x, input.at(0), 1);
        asm.store_first(out.at(0), x, 1);
        asm.add_int(input, step);
        asm.add_imm(out, self.place(self.output, 0).1);
        asm.loop_end(positions);
    }
}
