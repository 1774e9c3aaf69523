//! Calls of layers and blocks, once or repeated.

use super::args::quoted_list;
use super::report::Reported;
use super::scope::Evaluated;
use super::value::{Value, grouped};
use super::{Builder, Flow, Found, Site};
use crate::diagnostic::{Diagnostic, Help};
use crate::front::text::syntax::ast::{Block, Call, Expr, Label, Step};
use crate::layers::{self, Entry};
use crate::source::Span;

/// What a call's name stands for.
enum Callee<'a> {
    Layer(&'static Entry),
    Block(&'a Block),
    /// `none`
    Nothing,
}

impl<'a> Builder<'a> {
    /// `copy` is the number of the copy in a repeat.
    pub fn call(&mut self, call: &'a Call, label: Option<&'a Label>, copy: Option<usize>, x: Flow) -> Flow {
        self.charge(1, call.span)?;
        match self.callee(call)? {
            Callee::Nothing => x,
            Callee::Layer(entry) => {
                self.part(label, entry.spec.keyword, |builder, path| builder.layer(entry, call, copy, path, x))
            }
            Callee::Block(block) => {
                let layers = self.estimate_block(block);
                self.check_copies(1, layers, call.span, "")?;
                self.part(label, &block.name.text, |builder, path| {
                    builder.nested(call.span, |builder| builder.block(block, call, copy, path, x))
                })
            }
        }
    }

    /// A variable that holds a word comes first, then layers, then blocks.
    fn callee(&mut self, call: &'a Call) -> Result<Callee<'a>, Reported> {
        let name = &call.name;
        let variable = self.variable(&name.text, name.span).transpose()?;
        let word = match &variable {
            Some(Value::Word(word)) => &**word,
            _ => &name.text,
        };
        if let Some(entry) = layers::find(word) {
            return Ok(Callee::Layer(entry));
        }
        match self.program.block(word, name.span.file) {
            Some(Found::One(block)) => return Ok(Callee::Block(block)),
            Some(Found::Either(..)) => return Err(self.ambiguous("blocks", word, name.span)),
            None => {}
        }
        if word == "none" {
            return Ok(Callee::Nothing);
        }
        Err(match variable {
            Some(value) => {
                let error = Diagnostic::error("E0203", format!("`{}` is no layer or block", name.text));
                self.error(error.at(name.span, format!("its value is {}", value.described())))
            }
            None => self.unknown_callee(&name.text, name.span),
        })
    }

    fn unknown_callee(&mut self, name: &str, span: Span) -> Reported {
        let error = Diagnostic::error("E0211", format!("unknown layer or block `{name}`")).at(span, "not known");
        let lower = name.to_lowercase();
        if let Some((_, ours)) = FOREIGN.iter().find(|(foreign, _)| *foreign == lower) {
            return self.error(error.fix(format!("here it is called `{ours}`"), span, *ours));
        }
        let written = self.callables().find(|known| known.to_lowercase() == lower);
        if let Some(written) = written {
            let help = format!("it is written `{written}`: small and capital letters differ");
            let error = error.fix(help, span, written);
            return self.error(error);
        }
        let error = error.did_you_mean(name, span, self.callables());
        let layers: Vec<&str> = layers::entries().map(|e| e.spec.keyword).collect();
        self.error(if error.help.is_empty() {
            error.help(format!("the layers are {}", layers.join(", ")))
        } else {
            error
        })
    }

    fn layer(&mut self, entry: &'static Entry, call: &'a Call, copy: Option<usize>, path: String, x: Flow) -> Flow {
        self.frame().copy = copy;
        let args = self.layer_args(entry.spec, call);
        self.frame().copy = None;
        let args = args?;
        let op = (entry.make)(&args.args).map_err(|problem| {
            let place = args.place(problem.param).unwrap_or(call.span);
            let error = Diagnostic::error("E0217", problem.message).at(place, "");
            let fault = args.place(problem.param).map(|place| (problem.param, place));
            let fixes = problem.changes.into_iter().filter_map(|change| self.change(change, &args, fault)).collect();
            self.error(match problem.help {
                Some(text) => error.help(Help { text, fixes }),
                None => error,
            })
        })?;
        self.add(op, vec![x?], Site { path, span: call.span, args: Some(&args) })
    }

    fn block(&mut self, block: &'a Block, call: &'a Call, copy: Option<usize>, path: String, x: Flow) -> Flow {
        if self.frames.iter().any(|f| f.block.is_some_and(|open| std::ptr::eq(open, block))) {
            return Err(self.recursion(block, call));
        }
        let given = self.block_args(block, call, copy);
        self.within(path, None, |builder| {
            let frame = builder.new_frame(Some(block), Some(call.span), x);
            builder.frames.push(frame);
            builder.bind(block, given);
            let y = builder.body(&block.body, x);
            builder.frames.pop();
            y
        })
    }

    /// The values of a block's parameters, evaluated where it is called; `None` where the default holds.
    fn block_args(&mut self, block: &'a Block, call: &'a Call, copy: Option<usize>) -> Vec<Option<Evaluated>> {
        self.frame().copy = copy;
        let (assigned, clear) = self.assign(&block.name.text, &block.params, &call.args);
        let given: Vec<_> = assigned.iter().map(|arg| arg.map(|arg| self.eval(&arg.value))).collect();
        self.frame().copy = None;
        let missing: Vec<&str> = block
            .params
            .iter()
            .zip(&given)
            .filter(|(param, given)| param.default.is_none() && given.is_none())
            .map(|(param, _)| param.name.text.as_str())
            .collect();
        if clear && !missing.is_empty() {
            let message = format!("`{}` needs {}", block.name.text, quoted_list(&missing, "and"));
            let error = Diagnostic::error("E0215", message).at(call.span, "not given here");
            self.error(error.at(block.name.span, "declared here"));
        }
        given
    }

    /// Makes the parameters of a block known in its frame. Defaults may refer to the parameters before them.
    fn bind(&mut self, block: &'a Block, given: Vec<Option<Evaluated>>) {
        for (param, given) in block.params.iter().zip(given) {
            let value = given.unwrap_or_else(|| match &param.default {
                Some(default) => self.eval(default),
                None => Err(Reported),
            });
            self.declare(&param.name.text, value, param.name.span);
        }
    }

    fn recursion(&mut self, block: &Block, call: &Call) -> Reported {
        let open = self.frames.iter().filter_map(|f| f.block).skip_while(|open| !std::ptr::eq(*open, block));
        let chain: Vec<&str> = open.chain([block]).map(|b| b.name.text.as_str()).collect();
        let error = Diagnostic::error("E0508", format!("the block `{}` calls itself", block.name.text))
            .at(call.span, "this call never ends")
            .note(chain.join(" calls "))
            .help("to stack copies, write `n x Block(..)` where the block is used");
        self.error(error)
    }

    /// `3 x Block(64, 2 then 1)`: the copies are numbered, below the label if there is one.
    pub fn repeat(&mut self, count: &'a Expr, call: &'a Call, step: &'a Step, x: Flow) -> Flow {
        let copies = self.integer(count)?;
        let Ok(copies) = u64::try_from(copies) else {
            let error = Diagnostic::error("E0216", "the number of copies must not be negative");
            return Err(self.error(error.at(count.span, format!("this is {copies}"))));
        };
        let what = format!("copies of `{}`", call.name.text);
        let per_copy = self.estimate_call(call, &self.local_names());
        self.check_copies(copies.into(), per_copy, step.span, &what)?;
        self.check_loop(copies.into(), count.span)?;
        let copy_all = |builder: &mut Self| {
            builder.times(copies as usize, x, |builder, i, x| builder.call(call, None, Some(i), x))
        };
        match (&step.label, self.naming.next) {
            (Some(_), _) => self.part(step.label.as_ref(), "", |builder, path| builder.within(path, Some(0), copy_all)),
            (None, Some(_)) => copy_all(self),
            (None, None) => self.part(None, &call.name.text, |builder, path| builder.within(path, Some(0), copy_all)),
        }
    }

    /// Refuses what would exceed the limit on layers before it is expanded.
    pub fn check_copies(&mut self, copies: u128, each: u128, span: Span, what: &str) -> Result<(), Reported> {
        let total = copies.saturating_mul(each);
        if total <= self.layers_left() {
            return Ok(());
        }
        let error = Diagnostic::error("E0509", format!("this would make {} layers", grouped(total)))
            .at(span, format!("the limit is {}", grouped(self.limits.layers as u128)));
        Err(self.halt(if copies > 1 && each > 1 {
            error.note(format!("{} {what}, each of at least {} layers", grouped(copies), grouped(each)))
        } else {
            error
        }))
    }

    fn layers_left(&self) -> u128 {
        self.limits.layers.saturating_sub(self.graph.nodes.len()) as u128
    }

    /// Refuses one more layer above the limit.
    pub fn check_layers(&mut self, span: Span) -> Result<(), Reported> {
        self.charge(1, span)?;
        if self.layers_left() > 0 {
            return Ok(());
        }
        let message = format!("the model has more than {} layers", grouped(self.limits.layers as u128));
        Err(self.halt(Diagnostic::error("E0509", message).at(span, "the limit is reached here")))
    }
}

/// Names of layers in other formats and libraries, lower case, and ours.
const FOREIGN: &[(&str, &str)] = &[
    ("conv1d", "conv"),
    ("conv2d", "conv"),
    ("conv3d", "conv"),
    ("convolution", "conv"),
    ("linear", "dense"),
    ("fc", "dense"),
    ("gemm", "dense"),
    ("fully_connected", "dense"),
    ("batchnorm", "bn"),
    ("batch_norm", "bn"),
    ("batchnorm1d", "bn"),
    ("batchnorm2d", "bn"),
    ("batchnormalization", "bn"),
    ("maxpool2d", "maxpool"),
    ("max_pool", "maxpool"),
    ("max_pool2d", "maxpool"),
    ("avgpool2d", "avgpool"),
    ("avg_pool", "avgpool"),
    ("globalavgpool", "global_avgpool"),
    ("globalaveragepool", "global_avgpool"),
    ("reducemean", "reduce"),
    ("reduce_mean", "reduce"),
    ("reducesum", "reduce"),
    ("reduce_sum", "reduce"),
    ("reducemax", "reduce"),
    ("reduce_max", "reduce"),
    ("swish", "silu"),
    ("hardswish", "hard_swish"),
    ("hardsigmoid", "hard_sigmoid"),
    ("leakyrelu", "leaky_relu"),
    ("lrelu", "leaky_relu"),
    ("hardtanh", "clip"),
    ("clamp", "clip"),
    ("parametric_relu", "prelu"),
    ("convtranspose", "conv_transpose"),
    ("convtranspose2d", "conv_transpose"),
    ("conv_transpose2d", "conv_transpose"),
    ("deconv", "conv_transpose"),
    ("deconvolution", "conv_transpose"),
    ("layernorm", "layer_norm"),
    ("layernorm2d", "layer_norm"),
    ("groupnorm", "group_norm"),
    ("normalize", "l2_norm"),
    ("logsoftmax", "log_softmax"),
    ("instancenorm", "instance_norm"),
    ("instancenorm2d", "instance_norm"),
    ("localresponsenorm", "lrn"),
    ("local_response_norm", "lrn"),
    ("interpolate", "resize"),
    ("zeropad2d", "pad"),
    ("pixel_shuffle", "depth_to_space"),
    ("pixelshuffle", "depth_to_space"),
    ("pixel_unshuffle", "space_to_depth"),
    ("pixelunshuffle", "space_to_depth"),
    ("view", "flatten"),
    ("reshape", "flatten"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_names_lead_to_layers() {
        for (foreign, ours) in FOREIGN {
            assert!(layers::find(ours).is_some(), "{ours}");
            assert!(layers::find(foreign).is_none(), "{foreign}");
        }
    }
}
