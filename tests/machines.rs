//! Plans for different machines: other kernels, the same bits.

use crate::common::*;
use proptest::prelude::*;
use svertka::codegen::{Bytes, Isa};
use svertka::ir::{Graph, Verified};
use svertka::kernels::{Kernel, Target, conv};
use svertka::machine::{GENERIC, KNOWN, Known, Machine};
use svertka::model::Model;
use svertka::runtime::{Engine, Forced, Options, Session};
use svertka::schedule::{self, Plan};
use svertka::tensor::Tensor;
use target_lexicon::Architecture;

/// One of the table, or one with a cache so small that small layers are cut.
fn machine() -> impl Strategy<Value = Machine> {
    let second = prop::sample::select(vec![None, Some(48 << 10), Some(96 << 10)]);
    (0..KNOWN.len(), second).prop_map(|(index, second)| {
        let mut machine = KNOWN[index].machine;
        machine.caches.second = second.unwrap_or(machine.caches.second);
        machine
    })
}

fn bits(outputs: &[Tensor]) -> Vec<u32> {
    outputs.iter().flat_map(Tensor::data).map(|value| value.to_bits()).collect()
}

/// What a network computes in a plan for a machine.
fn run(graph: &Verified<Graph>, batch: usize, seed: u64, engine: Engine, machine: Machine) -> Vec<u32> {
    let forced = Forced { machine: Some(machine), ..Forced::default() };
    let options = Options { engine, forced, ..Options::default() };
    let mut session = Session::new(graph.clone(), &weights(seed), &options).unwrap();
    bits(&session.run(&inputs(graph, batch, seed)).unwrap())
}

fn check(graph: &Verified<Graph>, batch: usize, seed: u64, machine: Machine) {
    for engine in Isa::available().into_iter().map(Engine::Jit).chain([Engine::Portable]) {
        let [expected, found] = [GENERIC, machine].map(|machine| run(graph, batch, seed, engine, machine));
        assert!(expected == found, "{engine:?}, {machine:?}\n{}", svertka::ir::print(graph));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    #[test]
    fn networks_have_the_same_bits(graph in any_network(), batch in 1usize..3, seed: u64, machine in machine()) {
        check(&graph, batch, seed, machine);
    }

    /// Rows of images that are larger than the smaller caches, and chains of sums that end in the midst of channels.
    #[test]
    fn convolutions_have_the_same_bits(
        (channels_in, channels) in (1usize..200, 1usize..40),
        (size, kernel) in (7usize..30, prop::sample::select(vec![1, 3, 5])),
        seed: u64,
        machine in machine(),
    ) {
        let text = format!(
            "model m\ninput x: f32[N, {channels_in}, {size}, {size}]\nnet {{ conv {kernel}x{kernel}, {channels}, half | relu }}\n"
        );
        check(Model::parse(&text).unwrap().graph(), 1, seed, machine);
    }
}

/// Networks with convolutions of all kinds.
const NETWORKS: [&str; 10] = [
    "alexnet",
    "vgg",
    "resnet:resnet18",
    "resnet:resnet50",
    "densenet",
    "mobilenet_v2",
    "efficientnet",
    "googlenet",
    "unet",
    "convnext",
];

fn network(name: &str) -> Verified<Graph> {
    Model::open(format!("models/{}", name.replacen(':', ".cnn:", 1) + if name.contains(':') { "" } else { ".cnn" }))
        .unwrap()
        .graph()
        .clone()
}

/// The kernels of a plan, without what does not order sums: the rows that a block and a task have, and the tiles that
/// Winograd convolution does together, in panels that suit so many.
fn kernels(plan: &Plan) -> Vec<Kernel> {
    plan.steps.iter().map(|step| without_blocks(step.kernel.clone())).collect()
}

fn without_blocks(mut kernel: Kernel) -> Kernel {
    let clear = |code: &mut conv::Code| (code.block_rows, code.task_rows) = (0, 0);
    match &mut kernel {
        Kernel::Conv(conf) => clear(&mut conf.code),
        Kernel::Chain(conf) => clear(&mut conf.code.first),
        Kernel::Scale(conf) => clear(&mut conf.code.conv),
        Kernel::Winograd(conf) => {
            let code = &mut conf.code;
            (code.group, code.task_panels) = ([0, 0], 0);
            (code.product.vectors, code.product.block_stride, code.product.v_stride) = (0, 0, 0);
        }
        _ => {}
    }
    kernel
}

/// Forms of convolutions in f32 differ in rounding.
#[test]
fn plans_of_real_networks_differ_in_blocks_and_groups_alone() {
    let mut differing = 0;
    for name in NETWORKS {
        let graph = network(name);
        for isa in [Isa::Clif, Isa::Avx2, Isa::Avx512] {
            let target = Target::of(isa, Architecture::X86_64);
            let expected = schedule::plan(graph.clone(), target);
            for name_of_machine in ["haswell", "emeraldrapids", "znver5", "apple-m"] {
                let machine = Known::named(name_of_machine).unwrap().machine;
                let plan = schedule::plan(graph.clone(), Target { machine, ..target });
                assert!(kernels(&plan) == kernels(&expected), "{name}, {isa}, {name_of_machine}");
                let same = plan.steps.iter().zip(&expected.steps).all(|(a, b)| a.kernel == b.kernel);
                differing += usize::from(!same);
            }
        }
    }
    assert!(differing > 0, "256 KiB of second level ask for smaller blocks");
}

/// Nobody asks about this machine unless a session is to run here.
#[test]
fn targets_of_others_are_the_same_everywhere() {
    assert_eq!(Target::of(Isa::Avx2, Architecture::X86_64).machine, GENERIC);
    let target = Target::on(Known::named("znver4").unwrap(), None).unwrap();
    assert_eq!((target.isa, target.bytes, target.machine.name), (Isa::Avx512, Bytes::Bf16, "znver4"));
    let narrower = Target::on(Known::named("znver4").unwrap(), Some(Isa::Avx2)).unwrap();
    assert_eq!((narrower.isa, narrower.bytes), (Isa::Avx2, Bytes::Vectors));
    let arm = Target::on(Known::named("neoverse-v1").unwrap(), None).unwrap();
    assert_eq!((arm.isa, arm.registers), (Isa::Clif, 28));
    let error = Target::on(Known::named("znver3").unwrap(), Some(Isa::Avx512)).unwrap_err();
    assert_eq!(error.to_string(), "the machine znver3 has no avx512; its widest instruction set is avx2");
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let message = Known::named("znver33").unwrap_err().to_string();
    assert!(
        message.starts_with("unknown machine `znver33`, did you mean `znver3`?: expected one of generic, "),
        "{message}"
    );
    assert!(message.ends_with(", apple-m"), "{message}");
}
