//! Texts of graphs: they build the graph, keep the names of its weights, and read as a person would have written them.

use crate::common::text::model;
use crate::common::*;
use proptest::prelude::*;
use std::borrow::Cow;
use std::collections::HashMap;
use svertka::front::text::write::{self, Form, Written};
use svertka::interp;
use svertka::ir::weights::WeightSource;
use svertka::ir::{Graph, Param, Verified};
use svertka::layers::{Accumulate, Op};
use svertka::tensor::Tensor;

fn written(graph: &Graph, form: Form) -> Written {
    let all = |path: &str| !path.is_empty();
    write::write(graph, &write::Said::new(), form, &all)
        .unwrap_or_else(|errors| panic!("{errors:?}\n{}", svertka::ir::print(graph)))
}

/// What a plainly written network becomes.
fn rewritten(net: &str) -> String {
    let text = format!("model m\ninput x: f32[N, 4, 16, 16]\nnet {{\n{net}\n}}\n");
    let written = written(&model(&text), Form::Rolled);
    assert_eq!(written.form, Form::Rolled, "{}", written.text);
    assert_eq!(written.renamed, []);
    written.text
}

/// Weights under the names of another graph.
struct Renamed<'a> {
    source: &'a dyn WeightSource,
    old: HashMap<&'a str, &'a str>,
}

impl WeightSource for Renamed<'_> {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        let name = self.old.get(&*param.name).map_or(param.name.clone(), |old| old.to_string());
        Cow::Owned(self.source.values(&Param { name, ..param.clone() }).into_owned())
    }
}

/// Whether the language can say it: no list of one, and nothing that only passes make.
fn is_sayable(graph: &Graph) -> bool {
    graph.nodes.iter().all(|node| match &node.op {
        Op::Concat(_) => node.inputs.len() > 1,
        Op::Dense(dense) => !dense.flatten,
        _ => true,
    })
}

/// Checks the outputs of a text against those of the graph.
fn check(graph: &Verified<Graph>, form: Form, seed: u64) -> Form {
    let written = written(graph, form);
    let weights = weights(seed);
    let old = written.renamed.iter().map(|(old, new)| (&**new, &**old)).collect();
    let renamed = Renamed { source: &weights, old };
    let inputs = inputs(graph, 1, seed);
    let expected = interp::run(graph, &weights, &inputs, Accumulate::F32);
    let found = interp::run(&written.graph, &renamed, &inputs, Accumulate::F32);
    let bits = |outputs: &[Tensor]| -> Vec<Vec<u32>> {
        outputs.iter().map(|output| output.data().iter().map(|x| x.to_bits()).collect()).collect()
    };
    assert_eq!(bits(&found), bits(&expected), "{}", written.text);
    written.form
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn texts_of_random_networks_compute_the_same(graph in any_network(), seed in any::<u64>()) {
        prop_assume!(is_sayable(&graph));
        prop_assert!(check(&graph, Form::Rolled, seed) > Form::Flat);
        prop_assert_eq!(check(&graph, Form::Flat, seed), Form::Flat);
    }

    #[test]
    fn texts_of_random_layers_compute_the_same((dims, op) in any_layer(), seed in any::<u64>()) {
        if let Some(graph) = single(op, &dims).ok().filter(|graph| is_sayable(graph)) {
            check(&graph, Form::Rolled, seed);
        }
    }
}

#[test]
fn copies_are_counted() {
    insta::assert_snapshot!(rewritten(
        "
        conv1: conv 3x3, 8, half, bias | relu
        layer1: seq {
          seq { conv 3x3, 8, half, bias | relu }
          seq { conv 3x3, 8, half, bias | relu }
        }
        layer2: seq {
          seq { conv 3x3, 16, half, stride 2, bias | relu }
          seq { conv 3x3, 16, half, bias | relu }
          seq { conv 3x3, 16, half, bias | relu }
        }
        fc: { global_avgpool | 1: dense 10 }"
    ));
}

#[test]
fn residuals_with_and_without_a_projection_are_one_block() {
    insta::assert_snapshot!(rewritten(
        "
        layer1: {
          0: { residual { conv1: conv 3x3, 4, half | relu | conv2: conv 3x3, 4, half } | relu }
          1: { residual { conv1: conv 3x3, 4, half | relu | conv2: conv 3x3, 4, half } | relu }
        }
        layer2: {
          0: {
            residual { conv1: conv 3x3, 9, half, stride 2 | relu | conv2: conv 3x3, 9, half } project {
              down: seq { conv 1x1, 9, stride 2 | bn }
            } | relu
          }
          1: { residual { conv1: conv 3x3, 9, half | relu | conv2: conv 3x3, 9, half } | relu }
        }"
    ));
}

#[test]
fn residuals_only_where_the_shape_stays_are_one_block() {
    insta::assert_snapshot!(rewritten(
        "
        features: seq {
          0: { conv: seq { conv 1x1, 24 | bn | relu6 | conv 3x3, 24, half, groups 24, stride 2 | conv 1x1, 6 } }
          residual { conv: seq { conv 1x1, 36 | bn | relu6 | conv 3x3, 36, half, groups 36 | conv 1x1, 6 } }
          residual { conv: seq { conv 1x1, 36 | bn | relu6 | conv 3x3, 36, half, groups 36 | conv 1x1, 6 } }
        }"
    ));
}

#[test]
fn growth_is_a_loop() {
    insta::assert_snapshot!(rewritten(
        "
        features: {
          for i in 1..5 { layer{i}: grow { norm: bn | relu | conv: conv 3x3, 4, half } }
          transition: { norm: bn | relu | conv: conv 1x1, 8 | avgpool 2x2 }
          for i in 6..7 { layer{i}: grow { norm: bn | relu | conv: conv 3x3, 4, half } }
        }"
    ));
}

#[test]
fn branches_gates_and_products() {
    insta::assert_snapshot!(rewritten(
        "
        mixed: concat {
          a: conv 1x1, 4
          none
          b: seq { conv 3x3, 4, half | relu | conv 3x3, 4, half }
          maxpool 3x3, stride 1, pad 1 | c: conv 1x1, 4
        }
        se: gate { global_avgpool | fc1: conv 1x1, 4, bias | silu | fc2: conv 1x1, 16, bias | sigmoid }
        sum: add { a: conv 1x1, 4 \n b: conv 3x3, 4, half }
        product: mul { a: conv 1x1, 4 \n b: conv 3x3, 4, half }"
    ));
}

#[test]
fn long_skips_are_taken_by_name() {
    insta::assert_snapshot!(rewritten(
        "
        enc1: { conv 3x3, 4, half | relu | conv 3x3, 4, half | relu } as s1
        maxpool 2x2 | enc2: { conv 3x3, 8, half | relu | conv 3x3, 8, half | relu } as s2
        maxpool 2x2 | mid: { conv 3x3, 16, half | relu | conv 3x3, 16, half | relu }
        up2: conv_transpose 2x2, 8, stride 2 | grow { from s2 } | dec2: { conv 3x3, 8, half | relu | conv 3x3, 8, half | relu }
        up1: conv_transpose 2x2, 4, stride 2 | grow { from s1 } | dec1: { conv 3x3, 4, half | relu | conv 3x3, 4, half | relu }
        head: conv 1x1, 2"
    ));
}

#[test]
fn values_inside_of_labels_are_taken_by_their_path() {
    insta::assert_snapshot!(rewritten(
        "
        backbone: {
          layer1: { a: conv 3x3, 4, half | relu }
          layer2: { a: conv 3x3, 8, half, stride 2 | relu }
          layer3: { a: conv 3x3, 8, half, stride 2 | relu }
        }
        output c3
        from backbone.layer3 | p3: conv 1x1, 4 | upsample 2 | add { none \n from backbone.layer2 | p2: conv 1x1, 4 } | output p2
        upsample 2 | add { none \n from backbone.layer1 | p1: conv 1x1, 4 } | output p1"
    ));
}

#[test]
fn paths_that_are_no_labels_are_nested_without() {
    let graph = {
        let (mut graph, x) = graph_of(&[2, 5, 5]);
        let bn = || svertka::layers::BatchNorm { eps: 1e-5, affine: true };
        let a = graph.add_layer(bn(), &[x], "").unwrap();
        let b = graph.add_layer(bn(), &[a], "a..b").unwrap();
        let c = graph.add_layer(bn(), &[b], "a b").unwrap();
        output(&mut graph, c);
        verified(graph)
    };
    let written = write::write(&graph, &write::Said::new(), Form::Rolled, &|path| path == "a b").unwrap();
    assert_eq!((written.form, written.renamed.len()), (Form::Flat, 12));
    let written = write::write(&graph, &write::Said::new(), Form::Rolled, &|_| false).unwrap();
    assert_eq!((written.form, written.renamed.len()), (Form::Rolled, 12));
}

/// Deep nests, long lists and blocks of thousands of differences are given up in time.
#[test]
fn hostile_networks_are_written_too() {
    let (mut graph, x) = graph_of(&[2, 1, 1]);
    let affine = |scale: usize| Op::from(svertka::layers::Activation::Affine { scale: 1.0 + scale as f32, shift: 0.0 });
    let mut y = x;
    for copy in 0..2 {
        for i in 0..1000 {
            let bn = svertka::layers::BatchNorm { eps: (1 + i * 2 + copy * i) as f64, affine: false };
            y = graph.add_layer(bn, &[y], &format!("stage{copy}.l{i}")).unwrap();
        }
    }
    let (mut left, mut inner) = (y, y);
    for i in 0..1000 {
        inner = graph.add_layer(affine(i), &[inner], "").unwrap();
        let sum = graph.add_layer(svertka::layers::Add, &[inner, left], "").unwrap();
        (left, inner) = (if i % 2 == 0 { left } else { sum }, sum);
    }
    let parts: Vec<_> = (0..1000).map(|i| graph.add_layer(affine(i), &[inner], "").unwrap()).collect();
    let list = graph.add_layer(svertka::layers::Concat, &parts, "").unwrap();
    output(&mut graph, list);
    assert!(written(&verified(graph), Form::Rolled).form > Form::Flat);
}
