//! Graphs that no text and no pass makes: what [`verify`] refuses, and by which words.

use crate::common::*;
use std::sync::Arc;
use svertka::ir::*;
use svertka::layers::*;
use svertka::tensor::{Batch, DType, Quantisation, TensorType};

/// A graph of one input of 8 channels, after `change`.
fn malformed(change: impl FnOnce(&mut Graph, NodeId)) -> String {
    let (mut graph, x) = graph_of(&[8, 6, 6]);
    output(&mut graph, x);
    change(&mut graph, x);
    verify(graph).unwrap_err().to_string()
}

/// As [`malformed`], with a layer that nobody checked.
fn unchecked(op: impl Into<Op>) -> String {
    malformed(|graph, x| {
        let (ty, origin) = (input_type(&[8, 6, 6]), Origin { path: "layer".into(), span: None });
        graph.add_node(Node::new(op.into(), vec![x], Vec::new(), ty, origin));
    })
}

#[test]
fn layers_that_no_constructor_makes_are_refused() {
    let window =
        || Window { kernel: vec![3; 2], stride: vec![1; 2], dilation: vec![1; 2], padding: Padding::Half, ceil: false };
    let conv = |window| Conv { channels: 8, window, groups: 1, bias: false, weights: None };
    let said = |op: Op, why: &str| {
        let found = unchecked(op);
        assert!(found.contains(why), "{found}, not {why}");
    };
    said(Conv { channels: 9, groups: 4, ..conv(window()) }.into(), "9 output channels do not divide into 4 groups");
    said(Conv { groups: 0, ..conv(window()) }.into(), "the number of groups is 0");
    said(Conv { channels: 0, ..conv(window()) }.into(), "the number of output channels is 0");
    said(Conv { weights: Some([1.0; 8].into()), ..conv(window()) }.into(), "8 weights for a kernel of 9");
    said(conv(Window { stride: vec![0, 1], ..window() }).into(), "the stride is 0");
    said(conv(Window { kernel: vec![3, 0], ..window() }).into(), "a size of the kernel is 0");
    said(conv(Window { dilation: vec![1], ..window() }).into(), "has another number");
    said(MaxPool { window: Window { padding: Padding::Sides(vec![(1, 1)]), ..window() } }.into(), "has another number");
    said(MaxPool { window: Window { dilation: vec![0; 2], ..window() } }.into(), "the dilation is 0");
    said(AdaptiveAvgPool { size: vec![0] }.into(), "an output size is 0");
    said(AdaptiveAvgPool { size: vec![] }.into(), "0 sizes for an input with 2 spatial dimensions");
    said(Upsample { scale: vec![2, 0], mode: Interpolation::Nearest }.into(), "a factor is 0");
    said(ChannelShuffle { groups: 0 }.into(), "the number of groups is 0");
    said(Pad { sides: PadArg::Same, channels: (0, 0), fill: Fill::ZEROS }.into(), "belong to a kernel");
    said(ChannelSlice { channels: 3..3 }.into(), "3..3 are no channels");
    said(DepthToSpace { block: vec![2, 0], order: BlockOrder::Crd }.into(), "a size of the block is 0");
    said(SpaceToDepth { block: vec![], order: BlockOrder::Dcr }.into(), "0 sizes for an input");
    said(Subsample { step: vec![0], at: vec![0] }.into(), "a step is 0");
    said(Subsample { step: vec![1], at: vec![usize::MAX] }.into(), "of 6 positions");
    said(Unflatten { size: vec![0] }.into(), "a size is 0");
    said(BatchNorm { eps: f64::NAN, affine: true }.into(), "eps is NaN");
    said(
        LocalResponseNorm { size: 0, alpha: 1.0, beta: 1.0, k: 1.0, longer: Side::Front }.into(),
        "the number of channels is 0",
    );
    said(Activation::LeakyRelu(f32::INFINITY).into(), "the slope is inf");
    said(Activation::Celu(0.0).into(), "alpha is 0.0, and must be above 0");
    said(Activation::HardSigmoid { slope: -1.0, offset: 0.5 }.into(), "a slope of -1.0");
    said(Activation::Clip { low: 1.0, high: 0.0 }.into(), "the least value, 1.0, is above the largest, 0.0");
    said(Activation::Affine { scale: 1.0, shift: f32::NAN }.into(), "the shift is NaN");
    said(Add.into(), "1 inputs are not as many as it takes");
    said(Op::Input, "is an input that is not given as one");
}

#[test]
fn handles_that_lead_nowhere_are_refused() {
    let far = NodeId(9);
    assert_eq!(
        malformed(|graph, _| graph.inputs.push(far)),
        "malformed graph: %9 is an input or an output, but there is no such node"
    );
    let said = |why: &str, change: fn(&mut Graph, NodeId)| {
        let found = malformed(change);
        assert!(found.contains(why), "{found}, not {why}");
    };
    said("no such node", |graph, _| graph.outputs.push(Output { name: "y".into(), node: NodeId(9) }));
    said("which does not come before it", |graph, x| graph[x].inputs.push(NodeId(9)));
    said("has weight 0, which does not exist", |graph, x| graph[x].params.push(ParamId(0)));
    said("no later node", |graph, x| graph[x].slice_of = Some(Slice { concat: NodeId(9), channel: 0 }));
    said("no later node", |graph, x| graph[x].slice_of = Some(Slice { concat: x, channel: 0 }));
    said("fewer inputs than", |graph, x| graph[x].epilogue.push(Epilogue::Add { input: 0 }));
    said("fewer inputs than", |graph, x| graph[x].gated = true);
    said("fewer inputs than", |graph, x| graph[x].beside = true);
    said("no output", |graph, _| graph.outputs.clear());
    // A weight that is made of itself.
    malformed(|graph, _| {
        let source = ParamSource::Merged { weight: ParamId(0), groups: 1, merged: 1 };
        graph.add_param(Param { name: "w".into(), dims: vec![1], source, init: Init::Small });
    });
}

#[test]
fn inputs_of_different_batches_are_refused() {
    let found = malformed(|graph, x| {
        graph[x].ty.batch = Batch::Fixed(3);
        graph.add_input("b", TensorType { batch: Batch::Fixed(2), ..input_type(&[8, 6, 6]) });
    });
    assert_eq!(found, "malformed graph: an input has a batch of 2; batches are equal, and 1 to 65535");
}

#[test]
fn inputs_are_the_input_nodes() {
    let said = |why: &str, change: fn(&mut Graph, NodeId)| {
        let found = malformed(change);
        assert!(found.contains(why), "{found}, not {why}");
    };
    said("is given as an input, and is none or is given twice", |graph, x| graph.inputs.push(x));
    said("is given as an input, and is none or is given twice", |graph, x| {
        let y = graph.add_layer(Activation::Relu, &[x], "relu").unwrap();
        graph.inputs.push(y);
    });
    said("is an input that is not given as one", |graph, _| graph.inputs.clear());
    let given = "an input of the model is given, not computed";
    said(given, |graph, x| {
        let ty = graph[x].ty.clone();
        let second = graph.add_input("second", ty);
        graph[second].inputs.push(x);
    });
    said(given, |graph, x| {
        let weight = file(graph, "w", &[8]);
        graph[x].params.push(weight);
    });
    said(given, |graph, x| graph[x].epilogue.push(Epilogue::Activation(Activation::Relu)));
    said(given, |graph, x| {
        let concat = graph.add_layer(Concat, &[x, x], "concat").unwrap();
        graph[x].slice_of = Some(Slice { concat, channel: 0 });
    });
    for batch in [0, 65_536] {
        let found = malformed(|graph, x| graph[x].ty.batch = Batch::Fixed(batch));
        assert!(found.contains(&format!("a batch of {batch}; batches are equal, and 1 to 65535")), "{found}");
    }
}

fn conv(channels: usize, kernel: usize, groups: usize) -> Conv {
    let (stride, dilation) = (vec![1; 2], vec![1; 2]);
    let window = Window { kernel: vec![kernel; 2], stride, dilation, padding: Padding::Half, ceil: false };
    Conv { channels, window, groups, bias: false, weights: None }
}

#[test]
fn types_and_weights_are_those_that_a_layer_asks_for() {
    let changed = |change: fn(&mut Graph, NodeId)| {
        malformed(|graph, x| {
            let y = graph.add_layer(conv(8, 3, 1), &[x], "conv").unwrap();
            change(graph, y);
        })
    };
    let said = |why: &str, change: fn(&mut Graph, NodeId)| {
        let found = changed(change);
        assert!(found.starts_with("malformed graph: %1 (conv): ") && found.contains(why), "{found}, not {why}");
    };
    said("the shape rule gives", |graph, y| graph[y].ty.dims[1] = 5);
    said("its weights are not those", |graph, y| graph[y].params.clear());
    said("its weights are not those", |graph, y| {
        let weight = file(graph, "w", &[8, 8, 3, 1]);
        graph[y].params[0] = weight;
    });
    // A layer that takes an operand as f32 and gives whole numbers is no such layer.
    said("f32 and whole numbers in one layer", |graph, y| {
        graph[y].ty.dtype = DType::U8(Quantisation::new(1.0, 0, 255).unwrap());
    });
}

/// `x`, a depthwise convolution of it, and the mean of its value, which the convolution makes; then `change`.
fn beside(change: impl FnOnce(&mut Graph, [NodeId; 3])) -> Result<(), String> {
    let (mut graph, x) = graph_of(&[8, 6, 6]);
    let deep = graph.add_layer(conv(8, 3, 8), &[x], "deep").unwrap();
    let mean = graph.add_layer(mean_of(6), &[deep], "mean").unwrap();
    graph[mean].beside = true;
    output(&mut graph, mean);
    change(&mut graph, [x, deep, mean]);
    verify(graph).map(|_| ()).map_err(|error| error.to_string())
}

fn mean_of(size: usize) -> AvgPool {
    AvgPool { window: Window::whole(&[size; 2]), count_pad: true }
}

#[test]
fn only_a_mean_is_made_beside_a_value_and_only_by_a_depthwise_convolution() {
    assert_eq!(beside(|_, _| {}), Ok(()));
    let said = |why: &str, change: fn(&mut Graph, [NodeId; 3])| {
        let found = beside(change).unwrap_err();
        assert!(found.contains(why), "{found}, not {why}");
    };
    let other = "is made beside its operand, but is not its mean and nothing else";
    said(other, |graph, [_, deep, _]| {
        let part = graph.add_layer(mean_of(3), &[deep], "part").unwrap();
        graph[part].beside = true;
    });
    said(other, |graph, [_, deep, _]| graph[deep].beside = true);
    said(other, |graph, [_, _, mean]| graph[mean].epilogue.push(Epilogue::Activation(Activation::Relu)));
    said(other, |graph, [_, _, mean]| {
        let relu = graph.add_layer(Activation::Relu, &[mean], "relu").unwrap();
        let concat = graph.add_layer(Concat, &[mean, relu], "concat").unwrap();
        graph[mean].slice_of = Some(Slice { concat, channel: 0 });
    });
    said("is the second value that is made beside its operand", |graph, [_, deep, _]| {
        let again = graph.add_layer(mean_of(6), &[deep], "again").unwrap();
        graph[again].beside = true;
    });
    said("which cannot make it", |graph, [x, ..]| {
        let mean = graph.add_layer(mean_of(6), &[x], "of_input").unwrap();
        graph[mean].beside = true;
    });
    said("which cannot make it", |graph, [x, ..]| {
        let wide = graph.add_layer(conv(8, 3, 4), &[x], "wide").unwrap();
        let mean = graph.add_layer(mean_of(6), &[wide], "of_wide").unwrap();
        graph[mean].beside = true;
    });
    said("which cannot make it", |graph, [x, ..]| {
        let one = graph.add_layer(conv(1, 3, 1), &[x], "one").unwrap();
        let mean = graph.add_layer(mean_of(6), &[one], "of_one").unwrap();
        graph[mean].beside = true;
    });
}

/// A layer behind `x` and a mean of it, with the mean as its gate; then `change`.
fn gated(layer: impl Into<Op>, change: impl FnOnce(&mut Graph, [NodeId; 3])) -> Result<(), String> {
    let (mut graph, x) = graph_of(&[8, 6, 6]);
    let mean = graph.add_layer(mean_of(6), &[x], "mean").unwrap();
    let y = graph.add_layer(layer, &[x], "layer").unwrap();
    graph[y].inputs.insert(1, mean);
    graph[y].gated = true;
    output(&mut graph, y);
    change(&mut graph, [x, mean, y]);
    verify(graph).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn a_gate_has_one_number_for_each_channel_of_a_pointwise_convolution() {
    assert_eq!(gated(conv(16, 1, 1), |_, _| {}), Ok(()));
    let before = "a gate stands before what is no 1x1 convolution of one group";
    for found in
        [gated(conv(16, 3, 1), |_, _| {}), gated(conv(16, 1, 2), |_, _| {}), gated(Activation::Relu, |_, _| {})]
    {
        assert!(found.as_ref().is_err_and(|error| error.contains(before)), "{found:?}");
    }
    let mut row = conv(16, 1, 1);
    row.window.kernel[1] = 3;
    assert!(gated(row, |_, _| {}).unwrap_err().contains(before));
    let said = |change: fn(&mut Graph, [NodeId; 3])| {
        let found = gated(conv(16, 1, 1), change).unwrap_err();
        assert!(found.contains("a gate of type "), "{found}");
    };
    said(|graph, [x, _, y]| graph[y].inputs[1] = x);
    // A number for each of other channels.
    let found = gated(conv(16, 1, 1), |graph, [x, _, y]| {
        let narrow = graph.add_layer(conv(4, 1, 1), &[x], "narrow").unwrap();
        let mean = graph.add_layer(mean_of(6), &[narrow], "of_narrow").unwrap();
        let last = graph.add_node(Node { inputs: vec![x, mean], ..graph[y].clone() });
        output(graph, last);
    });
    assert!(found.as_ref().is_err_and(|error| error.contains("a gate of type ")), "{found:?}");
}

#[test]
fn an_epilogue_adds_one_value_of_its_own_type() {
    let changed = |change: fn(&mut Graph, NodeId)| {
        let (mut graph, x) = graph_of(&[8, 6, 6]);
        let y = graph.add_layer(conv(8, 3, 1), &[x], "layer").unwrap();
        output(&mut graph, y);
        change(&mut graph, y);
        verify(graph).map(|_| ()).map_err(|error| error.to_string())
    };
    let add = |graph: &mut Graph, y: NodeId| {
        let x = graph[y].inputs[0];
        graph[y].inputs.push(x);
        graph[y].epilogue.push(Epilogue::Add { input: 1 });
    };
    assert_eq!(changed(add), Ok(()));
    let said = |why: &str, change: fn(&mut Graph, NodeId)| {
        let found = changed(change).unwrap_err();
        assert!(found.contains(why), "{found}, not {why}");
    };
    said("adds input 0, where the one to be added is 1, and no other", |graph, y| {
        let x = graph[y].inputs[0];
        graph[y].inputs.push(x);
        graph[y].epilogue.push(Epilogue::Add { input: 0 });
    });
    said("adds input 1, where the one to be added is 1, and no other", |graph, y| {
        let x = graph[y].inputs[0];
        graph[y].inputs.extend([x, x]);
        graph[y].epilogue.extend([Epilogue::Add { input: 1 }, Epilogue::Add { input: 1 }]);
    });
    said("adds a value of type ", |graph, y| {
        let x = graph[y].inputs[0];
        let narrow = graph.add_layer(conv(4, 3, 1), &[x], "narrow").unwrap();
        graph[narrow].inputs.push(x);
        graph[narrow].epilogue.push(Epilogue::Add { input: 1 });
    });
    said("enlarges rounding errors without bound", |graph, y| {
        graph[y].epilogue.push(Epilogue::Activation(Activation::Reciprocal));
    });
    said("which no kernel of it can do", |graph, y| {
        let flat = graph.add_layer(Flatten, &[y], "flat").unwrap();
        graph[flat].epilogue.push(Epilogue::Activation(Activation::Relu));
    });
}

#[test]
fn a_slice_is_where_the_concatenation_has_it() {
    let sliced = |channel: usize, twice: bool| {
        let (mut graph, x) = graph_of(&[8, 6, 6]);
        let [a, b] = ["a", "b"].map(|path| graph.add_layer(Activation::Relu, &[x], path).unwrap());
        let concat = graph.add_layer(Concat, &[a, if twice { a } else { b }, b], "concat").unwrap();
        output(&mut graph, concat);
        graph[a].slice_of = Some(Slice { concat, channel });
        verify(graph).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(sliced(0, false), Ok(()));
    for (channel, twice) in [(8, false), (0, true), (8, true)] {
        let found = sliced(channel, twice);
        let why = format!("is not what %3 has at channel {channel}, once");
        assert!(found.as_ref().is_err_and(|error| error.contains(&why)), "{found:?}");
    }
}

#[test]
fn outputs_are_real_numbers() {
    let (mut graph, x) = graph_of(&[8, 6, 6]);
    let y = graph.add_layer(Convert, &[x], "whole").unwrap();
    graph[y].ty.dtype = DType::U8(Quantisation::new(1.0, 0, 255).unwrap());
    output(&mut graph, y);
    let found = verify(graph).unwrap_err().to_string();
    assert_eq!(found, "malformed graph: its output y0 is of whole numbers");
}

fn file(graph: &mut Graph, name: &str, dims: &[usize]) -> ParamId {
    let (dims, source) = (dims.to_vec(), ParamSource::File);
    graph.add_param(Param { name: name.into(), dims, source, init: Init::Small })
}

/// Whether there can be a weight of this shape that is made in this way: of a kernel of 6 and 4 channels and 3 x 3 taps, and
/// of vectors of 6 and of 5 numbers.
fn weight(dims: &[usize], source: impl FnOnce(Parts) -> ParamSource) -> Result<(), String> {
    let (mut graph, x) = graph_of(&[8]);
    output(&mut graph, x);
    let [kernel, six, five] =
        [("kernel", &[6, 4, 3, 3][..]), ("six", &[6]), ("five", &[5])].map(|(name, dims)| file(&mut graph, name, dims));
    let source = source(Parts { kernel, six, five });
    graph.add_param(Param { name: "made".into(), dims: dims.to_vec(), source, init: Init::Small });
    verify(graph).map(|_| ()).map_err(|error| error.to_string())
}

#[derive(Clone, Copy)]
struct Parts {
    kernel: ParamId,
    six: ParamId,
    five: ParamId,
}

/// That it can be made in the first shape, and in none of the others.
fn only_as(first: &[usize], others: &[&[usize]], source: impl Fn(Parts) -> ParamSource) {
    assert_eq!(weight(first, &source), Ok(()));
    others.iter().for_each(|dims| refused(dims, &source));
}

fn refused(dims: &[usize], source: impl FnOnce(Parts) -> ParamSource) {
    let expected = format!("malformed graph: weight made: its shape {dims:?} does not fit what it is made of");
    assert_eq!(weight(dims, source), Err(expected));
}

#[test]
fn weights_have_elements() {
    for dims in [&[][..], &[0], &[4, 0], &[usize::MAX, 2]] {
        let found = weight(dims, |_| ParamSource::File);
        assert_eq!(found, Err(format!("malformed graph: weight made: a shape of {dims:?}")));
    }
}

#[test]
fn weights_of_the_text_are_as_many_as_their_shape_says() {
    only_as(&[6, 2], &[&[6], &[6, 3]], |_| ParamSource::Fixed([0.5; 12].into()));
    let bytes = |values: [i8; 12], scales: Vec<f32>| {
        move |_| ParamSource::Integers { values: Integers::I8(Arc::new(values)), scales: scales.clone().into() }
    };
    only_as(&[6, 2], &[&[6, 3], &[12], &[3, 4]], bytes([-127; 12], vec![1.0; 6]));
    refused(&[6, 2], bytes([-128; 12], vec![1.0; 6]));
    for scale in [0.0, f32::INFINITY, f32::NAN] {
        refused(&[6, 2], bytes([1; 12], vec![1.0, 1.0, scale, 1.0, 1.0, 1.0]));
    }
    let bias = |_| ParamSource::Integers { values: Integers::I32([7; 6].into()), scales: [1.0; 6].into() };
    only_as(&[6], &[&[5], &[6, 1, 2], &[3, 2]], bias);
}

#[test]
fn merged_and_reordered_weights_have_the_groups_of_what_they_are_made_of() {
    let merged = |groups, merged| move |of: Parts| ParamSource::Merged { weight: of.kernel, groups, merged };
    only_as(&[6, 8, 3, 3], &[&[6, 4, 3, 3], &[6, 8, 3, 1], &[12, 4, 3, 3]], merged(6, 2));
    // Groups that cannot be merged by so many, or that the output channels do not divide into.
    refused(&[6, 16, 3, 3], merged(6, 4));
    refused(&[6, 8, 3, 3], merged(4, 2));
    refused(&[6, 4, 3, 3], merged(0, 1));
    refused(&[6, 4, 3, 3], merged(6, 0));

    let ordered = |groups| move |of: Parts| ParamSource::OutputMajor { weight: of.kernel, groups };
    only_as(&[8, 3, 3, 3], &[&[9, 3, 3, 3], &[8, 2, 3, 3], &[8, 3, 3, 1], &[8, 3, 9], &[8]], ordered(2));
    refused(&[16, 1, 3, 3], ordered(4));
    refused(&[8, 3, 3, 3], ordered(0));
    refused(&[6, 1], |of| ParamSource::OutputMajor { weight: of.six, groups: 1 });
}

#[test]
fn subpixel_weights_take_taps_that_there_are() {
    let made = |taps: Vec<Vec<Vec<Option<usize>>>>| {
        move |of: Parts| ParamSource::Subpixel { weight: of.kernel, taps: taps.clone() }
    };
    let rows = || vec![vec![Some(0), Some(2)], vec![None, Some(1)]];
    let columns = || vec![vec![Some(1)]];
    only_as(
        &[12, 4, 2, 1],
        &[&[6, 4, 2, 1], &[12, 4, 2], &[12, 8, 2, 1], &[12, 4, 1, 2]],
        made(vec![rows(), columns()]),
    );
    refused(&[6, 4, 1, 1], made(vec![columns(), vec![vec![Some(3)]]]));
    refused(&[12, 4, 2, 1], made(vec![vec![vec![Some(0), Some(2)], vec![Some(1)]], columns()]));
    refused(&[6, 4, 1], made(vec![columns()]));
    refused(&[6, 4, 1, 1], made(vec![columns(), vec![]]));
    refused(&[6, 4], |of| ParamSource::Subpixel { weight: of.six, taps: vec![] });
}

#[test]
fn repeated_scaled_and_shifted_weights_are_of_one_length() {
    let repeated = |times| move |of: Parts| ParamSource::Repeated { values: of.six, times };
    only_as(&[18], &[&[17], &[6]], repeated(3));
    refused(&[6], repeated(0));
    refused(&[6], repeated(usize::MAX));

    let norm = |of: Parts, eps: f64| Norm {
        gamma: Some(of.six),
        beta: Some(of.six),
        statistics: Some(Statistics { mean: of.six, variance: of.six, eps }),
    };
    let scaled = |of: Parts, norm| ParamSource::Scaled { weight: Some(of.kernel), norm };
    let shifted = |of: Parts, norm| ParamSource::Shifted { bias: Some(of.six), norm };
    only_as(&[6, 4, 3, 3], &[&[6, 4, 3, 1], &[6, 4, 9]], |of| scaled(of, norm(of, 1e-5)));
    only_as(&[6], &[&[5], &[6, 1]], |of| shifted(of, norm(of, 0.0)));
    only_as(&[6, 3], &[&[5]], |of| ParamSource::Scaled { weight: None, norm: norm(of, 0.0) });
    refused(&[6], |of| ParamSource::Shifted { bias: Some(of.five), norm: norm(of, 0.0) });
    for eps in [f64::NAN, f64::INFINITY, -1e-5] {
        refused(&[6, 4, 3, 3], |of| scaled(of, norm(of, eps)));
        refused(&[6], |of| shifted(of, norm(of, eps)));
    }
    let statistics =
        |of: Parts, mean, variance| Norm { statistics: Some(Statistics { mean, variance, eps: 0.0 }), ..norm(of, 0.0) };
    refused(&[6], |of| shifted(of, Norm { gamma: Some(of.five), ..norm(of, 0.0) }));
    refused(&[6], |of| shifted(of, Norm { beta: Some(of.five), ..norm(of, 0.0) }));
    refused(&[6], |of| shifted(of, statistics(of, of.five, of.six)));
    refused(&[6], |of| shifted(of, statistics(of, of.six, of.five)));
}

/// A dense layer on whole numbers, of 2 sums of 4 products, with the bias -5 and 5; then `change`.
fn whole(change: impl FnOnce(&mut Graph, NodeId)) -> Result<(), String> {
    let (mut graph, x) = graph_of(&[4]);
    let to = graph.add_layer(Convert, &[x], "to").unwrap();
    graph[to].ty.dtype = bytes();
    let dense = graph.add_layer(Dense { features: 2, bias: true, flatten: false }, &[to], "dense").unwrap();
    graph[dense].ty.dtype = DType::F32;
    let scales: Arc<[f32]> = [1.0; 2].into();
    let params = graph[dense].params.clone();
    let of = |values| ParamSource::Integers { values, scales: scales.clone() };
    graph.params[params[0].0 as usize].source = of(Integers::I8([1, 2, 3, 4, 5, 6, 7, 8].into()));
    graph.params[params[1].0 as usize].source = of(Integers::I32([-5, 5].into()));
    output(&mut graph, dense);
    change(&mut graph, dense);
    verify(graph).map(|_| ()).map_err(|error| error.to_string())
}

fn bytes() -> DType {
    DType::U8(Quantisation::new(0.5, 3, 255).unwrap())
}

#[test]
fn layers_on_whole_numbers_are_such_as_there_are() {
    assert_eq!(whole(|_, _| {}), Ok(()));
    let said = |why: &str, change: fn(&mut Graph, NodeId)| {
        let found = whole(change);
        assert!(found.as_ref().is_err_and(|error| error.contains(why)), "{found:?}, not {why}");
    };
    let bias = |graph: &mut Graph, dense: NodeId, bias: [i32; 2]| {
        let param = graph[dense].params[1].0 as usize;
        let ParamSource::Integers { values, .. } = &mut graph.params[param].source else { unreachable!("made above") };
        *values = Integers::I32(bias.into());
    };
    assert_eq!(whole(|graph, dense| bias(graph, dense, [1 << 28, -(1 << 28)])), Ok(()));
    for large in [(1 << 28) + 1, i32::MAX, i32::MIN] {
        let found = whole(|graph, dense| bias(graph, dense, [large, 0]));
        assert!(found.as_ref().is_err_and(|error| error.contains("its sums may not fit 32 bits")), "{found:?}");
    }
    said("weights of f32 and an operand of whole numbers", |graph, dense| {
        let weight = graph[dense].params[0].0 as usize;
        graph.params[weight].source = ParamSource::File;
    });
    said("a bias of f32 behind whole numbers", |graph, dense| {
        let bias = graph[dense].params[1].0 as usize;
        graph.params[bias].source = ParamSource::File;
    });
    said("f32 and whole numbers in one layer", |graph, dense| graph[dense].inputs[0] = NodeId(0));
    said("something is fused behind sums that stay f32", |graph, dense| {
        graph[dense].epilogue.push(Epilogue::Activation(Activation::Relu));
    });
    said("its output y0 is of whole numbers", |graph, dense| {
        graph[dense].ty.dtype = bytes();
        graph[dense].epilogue.push(Epilogue::Activation(Activation::Relu));
    });
    said("what is fused behind it is not done on whole numbers", |graph, dense| {
        graph[dense].ty.dtype = bytes();
        graph[dense].epilogue.push(Epilogue::Activation(Activation::Silu));
    });
    said("there is no such layer on whole numbers", |graph, _| {
        let softmax = graph.add_layer(Softmax::CHANNELS, &[NodeId(1)], "softmax").unwrap();
        graph[softmax].ty.dtype = DType::F32;
    });
    said("passes numbers on as another type", |graph, _| {
        let flat = graph.add_layer(Flatten, &[NodeId(1)], "flat").unwrap();
        graph[flat].ty.dtype = DType::U8(Quantisation::new(0.25, 3, 255).unwrap());
    });
    said("which it cannot do on whole numbers", |graph, _| {
        let flat = graph.add_layer(Flatten, &[NodeId(1)], "flat").unwrap();
        graph[flat].epilogue.push(Epilogue::Activation(Activation::Relu));
    });
    said("nothing makes ", |graph, _| {
        graph.add_layer(Convert, &[NodeId(0)], "again").unwrap();
    });
    said("has a gate or makes a mean", |graph, dense| {
        graph[dense].inputs.push(NodeId(1));
        graph[dense].gated = true;
    });
}
