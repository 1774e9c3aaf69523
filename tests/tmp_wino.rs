use std::time::Duration;
use svertka::codegen::Isa;
use svertka::ir::weights::RandomWeights;
use svertka::ir::{Graph, Output};
use svertka::layers::*;
use svertka::runtime::{Engine, Options, Session};
use svertka::tensor::*;
#[repr(C)]
struct Ts { s: i64, n: i64 }
unsafe extern "C" { fn clock_gettime(id: i32, t: *mut Ts) -> i32; }
fn cpu() -> Duration { let mut t = Ts { s: 0, n: 0 }; unsafe { clock_gettime(3, &mut t) }; Duration::new(t.s as u64, t.n as u32) }
#[test]
fn tmp_wino() {
    let isa = match std::env::var("ISA") { Ok(s) => s.parse().unwrap(), _ => Isa::detect() };
    let runs: usize = std::env::var("RUNS").map_or(20, |s| s.parse().unwrap());
    let kinds: Vec<(bool, Option<usize>)> = match std::env::var("KINDS") {
        Ok(s) => s.split(',').map(|k| match k { "d" => (true, None), "a" => (false, None), m => (false, Some(m.parse().unwrap())) }).collect(),
        _ => vec![(true, None), (false, Some(2)), (false, Some(4)), (false, Some(6))],
    };
    let only = std::env::var("ONLY").ok();
    for (cin, size, cout) in [(64usize, 56usize, 64usize), (128, 28, 128), (256, 14, 256), (512, 7, 512), (64, 224, 64), (512, 28, 512)] {
        let name = format!("{cin}@{size}");
        if only.as_ref().is_some_and(|o| !o.split(',').any(|o| *o == name)) { continue; }
        let mut all: Vec<(Session, usize, String, Duration)> = kinds.iter().map(|&(exact, force_winograd)| {
            let window = Window { kernel: vec![3; 2], stride: vec![1; 2], dilation: vec![1; 2], padding: Padding::Half, ceil: false };
            let conv = Conv { channels: cout, window, groups: 1, bias: true, weights: None };
            let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: vec![cin, size, size] };
            let mut graph = Graph::default();
            let x = graph.add_input("x", ty.clone());
            let x1 = graph.add_layer(Activation::Relu, &[x], "a").unwrap();
            let y = graph.add_layer(conv, &[x1], "conv").unwrap();
            graph.outputs.push(Output { name: "y".into(), node: y });
            let options = Options { engine: Engine::Jit(isa), exact, force_winograd, ..Options::default() };
            let session = Session::new(graph, &RandomWeights { seed: 1 }, &options).unwrap();
            let index = session.plan().steps.iter().position(|s| s.params.len() > 0).unwrap();
            let f = session.plan().steps[index].kernel.family();
            let kname = format!("{} tasks {} scratch {}K {:?}", f.name(), f.tasks(), f.scratch() / 1024, session.plan().steps[index].refusals);
            (session, index, kname, Duration::MAX)
        }).collect();
        let input = Tensor::zeros(vec![1, cin, size, size]);
        for _ in 0..runs {
            for (session, index, _, best) in &mut all {
                for _ in 0..3 {
                let mut last = cpu();
                session.run_observed(std::slice::from_ref(&input), &mut |d| { let now = cpu(); if d.index == *index { *best = (*best).min(now - last); } last = now; }).unwrap();
                }
            }
        }
        let macs = (cin * cout * 9 * size * size) as f64;
        let direct = all[0].3.as_secs_f64();
        for (_, _, kname, best) in &all {
            println!("{name:8} {:9.1} us {:7.1} GFLOP/s {:5.2}x {kname}", best.as_secs_f64() * 1e6, 2.0 * macs / best.as_secs_f64() / 1e9, direct / best.as_secs_f64());
        }
    }
}
