//! Steps that go down the picture together give the bits that they give one after the other, in less memory.

use crate::aot::{Build, LIBRARY, assert_same_bits};
use crate::common::*;
use proptest::prelude::*;
use svertka::aot::{self, Emit, OwnMemory, Weights};
use svertka::codegen::Isa;
use svertka::ir::{Graph, NodeId, Verified};
use svertka::kernels::Target;
use svertka::kernels::bands::Bands;
use svertka::runtime::library::Library;
use svertka::runtime::{Engine, Forced, Options, Session, StepDone};
use svertka::schedule::{self, Plan};
use svertka::tensor::Tensor;
use svertka::{Model, ModelOptions};

fn session(graph: &Verified<Graph>, bands: Bands, options: Options) -> Session {
    let forced = Forced { bands, ..options.forced };
    Session::new(graph.clone(), &weights(1), &Options { forced, ..options }).unwrap()
}

fn bits(tensors: &[Tensor]) -> Vec<Vec<u32>> {
    tensors.iter().map(|tensor| tensor.data().iter().map(|x| x.to_bits()).collect()).collect()
}

/// Runs with and without bands; how many steps were in stages of all threads together.
fn check(graph: &Verified<Graph>, waves: usize, forced: Forced, batch: usize, threads: usize) -> usize {
    check_bands(graph, Bands::Alone(waves), forced, batch, threads);
    check_bands(graph, Bands::Always(waves), forced, batch, threads)
}

fn check_bands(graph: &Verified<Graph>, bands: Bands, forced: Forced, batch: usize, threads: usize) -> usize {
    let inputs = inputs(graph, batch, 1);
    let mut most = 0;
    for isa in Isa::available() {
        let options = Options { engine: Engine::Jit(isa), forced, ..Options::default() };
        let mut whole = session(graph, Bands::Never, options);
        let expected = bits(&whole.run(&inputs).unwrap());
        let mut banded = session(graph, bands, Options { threads, ..options });
        let found = bits(&banded.run(&inputs).unwrap());
        assert!(found == expected, "{options:?}\n{}", svertka::ir::print(graph));
        let observed = bits(&banded.run_observed(&inputs, &mut |_| ()).unwrap());
        assert!(observed == expected, "step by step: {options:?}\n{}", svertka::ir::print(graph));
        let [values, collected] = [&mut whole, &mut banded].map(|session| values(session, &inputs));
        assert!(values == collected, "layer by layer: {options:?}\n{}", svertka::ir::print(graph));
        most = most.max(steps_in_stages(banded.plan()));
    }
    most
}

/// The value of each node that has one, though only some of its rows be in memory at a time.
fn values(session: &mut Session, inputs: &[Tensor]) -> Vec<(NodeId, Vec<u32>)> {
    let mut values = Vec::new();
    let mut keep = |done: &StepDone| values.extend(done.values());
    session.run_collected(inputs, &mut keep).unwrap();
    values.into_iter().map(|(node, value)| (node, bits(&[value]).remove(0))).collect()
}

fn steps_in_stages(plan: &Plan) -> usize {
    plan.stages.iter().map(|stage| stage.steps.len()).sum()
}

fn tall_images() -> impl Strategy<Value = Vec<usize>> {
    (1usize..20, 8usize..60, 1usize..40).prop_map(|(channels, rows, columns)| vec![channels, rows, columns])
}

fn parts_of_stages() -> impl Strategy<Value = Vec<Part>> {
    let any = prop_oneof![
        2 => part(2),
        3 => winograd_part(),
        1 => pool(2).prop_map(Part::Layer),
        1 => resample(2).prop_map(Part::Layer),
        2 => conv_transpose(2).prop_map(Part::Layer),
        1 => mobile().prop_map(Part::Mobile),
    ];
    prop::collection::vec(any, 2..9)
}

proptest! {
    #[test]
    fn bands_give_the_same_bits(
        dims in tall_images(),
        parts in parts_of_stages(),
        waves in 1usize..9,
        winograd in prop::option::of([1usize..7, 1usize..7]),
        chain in prop::option::of(1usize..4),
        batch in 1usize..4,
        threads in 1usize..5,
    ) {
        check(&network(&dims, &parts), waves, Forced { winograd, chain, ..Forced::default() }, batch, threads);
    }

    #[test]
    fn neighbours_in_bands_give_the_same_bits(
        dims in tall_images(),
        parts in neighbours(),
        waves in 1usize..9,
        batch in 1usize..3,
    ) {
        check(&network(&dims, &parts), waves, Forced::default(), batch, 2);
    }
}

fn model(path: &str, height: usize, width: usize) -> Verified<Graph> {
    let size = [("H", height), ("W", width)];
    let (file, variant) = path.split_once(':').map_or((path, None), |(file, variant)| (file, Some(variant)));
    let options =
        size.iter().fold(ModelOptions::default(), |options, (name, size)| options.define(*name, size.to_string()));
    let options = variant.into_iter().fold(options, ModelOptions::variant);
    let model: Model = options.open(format!("models/{file}")).unwrap();
    model.graph().clone()
}

#[test]
fn whole_networks_go_down_the_picture() {
    for (path, height, width, least) in [("unet.cnn:unet_small", 96, 64, 32), ("hed.cnn", 70, 33, 26)] {
        let graph = model(path, height, width);
        let found = check(&graph, 6, Forced::default(), 2, 2);
        assert!(found >= least, "{path}: {found} steps");
    }
}

/// Those between which nothing but a band needs to be in memory.
#[test]
fn each_kind_of_layer_goes_down_the_picture() {
    let kinds = [
        "conv 3x3, 24, groups 24, half",
        "conv 1x1, 64 | conv 3x3, 96, groups 2, half | relu",
        "conv 1x1, 48 | residual { conv 3x3, 48, groups 3, half } | relu | conv 3x3, 48, groups 12, half",
        "conv 5x5, 24, stride 2, groups 24, half | relu",
        "conv_transpose 2x2, 40, stride 2",
        "conv_transpose 4x3, 40, stride 3x2, pad 1 | relu",
        "conv_transpose 5x5, 40, pad 2",
        "maxpool 3x3, stride 1 | bn | tanh",
        "maxpool 2x2 | prelu | residual { tanh }",
    ];
    let pairs = [
        "conv 1x1, 40 | relu | conv 3x3, 40, groups 40, stride 2, half | conv 1x1, 16",
        "conv 3x3, 40, dilation 2, half | maxpool 3x3, stride 2, pad 1 | conv 1x1, 16",
        "conv 3x3, 24, dilation 2, half | relu | residual { conv 1x1, 24 | conv 5x5, 24, groups 24, dilation 2, half } | relu | conv 1x1, 16",
    ];
    let none = Forced::default();
    let kinds = kinds.into_iter().map(|kind| (kind, none));
    let pairs =
        pairs.into_iter().flat_map(|pair| (1..4).map(move |chain| (pair, Forced { chain: Some(chain), ..none })));
    for (kind, forced) in kinds.chain(pairs) {
        let text = format!(
            "model m\ninput x: f32[N, 3, 50, 26]\nnet {{ a: conv 3x3, 24, half | {kind} | b: conv 3x3, 8, half }}\n"
        );
        let model = Model::parse(&text).unwrap();
        for threads in 1..5 {
            check(model.graph(), 5, forced, 2, threads);
        }
        for isa in Isa::available() {
            let options = Options { engine: Engine::Jit(isa), forced, ..Options::default() };
            let plan = session(model.graph(), Bands::Always(5), options).plan().clone();
            let [stage] = &plan.stages[..] else { panic!("{kind}: {:?}", plan.stages) };
            assert_eq!(stage.steps, 0..plan.steps.len(), "{kind}");
            let chained = plan.steps.iter().any(|step| step.chained.is_some());
            assert_eq!(chained, forced.chain.is_some(), "{kind}");
        }
    }
}

/// Two steps write to the same blocks: the convolution all lanes, and behind it a copy the lanes that it has not.
#[test]
fn a_copy_does_not_run_ahead_of_what_is_written_around_it() {
    let text = "\
model m
input x: f32[N, 1, 8, 22]
net {
  conv 3x3, 5, half | upsample 3x1
  concat {
    slice 1..5 | conv 1x1, 4
    slice 0..1
  }
}
";
    assert_eq!(check(Model::parse(text).unwrap().graph(), 2, Forced::default(), 1, 1), 6);
}

#[test]
#[cfg_attr(not(tool = "aarch64"), ignore = "needs a cross compiler and an emulator for AArch64")]
fn an_object_for_another_architecture_has_the_bits_that_it_has_without_bands() {
    let graph = Model::parse(OBJECT).unwrap().graph().clone();
    let options = crate::aot::options("aarch64-generic", &LIBRARY, Weights::Embed);
    let inputs = inputs(&graph, 4, 1);
    let run = |bands: Bands, mode: &str| {
        let plan = schedule::plan(graph.clone(), Target { bands, ..options.cpu.target() });
        let build = Build::new(&aot::compile(&plan, &weights(1), &options).unwrap());
        build.compile_c("aarch64-linux-gnu-gcc", "driver.c", "net", &["-static"]);
        build.drive(Some("qemu-aarch64"), mode, &inputs, None)
    };
    let expected = run(Bands::Never, "serial");
    assert_same_bits(&run(Bands::Always(5), "parallel"), &expected);
    assert_same_bits(&run(Bands::Alone(5), "serial"), &expected);
}

/// A plan in bands for an instruction set of a CPU, as an object is made of it.
fn compiled(graph: &Verified<Graph>, isa: Isa, bands: Bands, options: &aot::Options) -> (Plan, aot::Artifacts) {
    let target = Target { bands, ..options.cpu.target_of(isa) };
    let plan = schedule::plan(graph.clone(), target);
    let artifacts = aot::compile(&plan, &weights(1), options).unwrap();
    (plan, artifacts)
}

/// Checks an object in bands against a session without.
fn check_object(graph: &Verified<Graph>, isa: Isa, bands: Bands, batches: &[usize], threads: &[usize]) -> Plan {
    let (plan, artifacts) =
        compiled(graph, isa, bands, &crate::aot::options("native", &[Emit::Shared], Weights::Embed));
    let build = Build::new(&artifacts);
    let options = Options { engine: Engine::Jit(isa.on_host().unwrap()), ..Options::default() };
    let mut whole = session(graph, Bands::Never, options);
    for &threads in threads {
        // SAFETY: it was compiled just now.
        let mut library = unsafe { Library::open(&build.path("libnet.so"), "net", threads) }.unwrap();
        for &batch in batches {
            let inputs = inputs(graph, batch, 1);
            let (found, expected) = (library.run(&inputs).unwrap(), whole.run(&inputs).unwrap());
            let same = bits(&found) == bits(&expected);
            assert!(same, "{isa:?}, {batch} samples, {threads} threads\n{}", svertka::ir::print(graph));
        }
    }
    plan
}

/// Layers of many kinds; behind them one that all samples of a batch do together.
const OBJECT: &str = "model m
input x: f32[N, 3, 50, 26]
net {
  a: conv 3x3, 16, half | relu as skip | maxpool 2x2
  b: conv 3x3, 32, dilation 2, half | relu | conv 3x3, 32, groups 32, half | residual { conv 1x1, 32 }
  concat { from skip
    conv_transpose 2x2, 16, stride 2 }
  conv 5x5, 24, stride 2, half | relu
  adaptive_avgpool 1x1 | flatten | dense 20000 | relu | dense 7
}
";

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn an_object_has_the_bits_of_a_session() {
    let graph = Model::parse(OBJECT).unwrap().graph().clone();
    for isa in Isa::available() {
        let plan = check_object(&graph, isa.into(), Bands::Always(5), &[1, 2, 7], &[1, 2, 3, 4]);
        let [stage] = &plan.stages[..] else { panic!("{:?}", plan.stages) };
        assert!(stage.steps.len() >= 7 && plan.joint_from < plan.steps.len(), "{:?}", stage.steps);
        let plan = check_object(&graph, isa.into(), Bands::Alone(5), &[1, 2, 7], &[1, 2, 3, 4]);
        assert!(!plan.stages.is_empty() && plan.stages.iter().all(|stage| stage.alone), "{:?}", plan.stages);
    }
    for path in ["unet.cnn:unet_small", "hed.cnn"] {
        let plan = check_object(&model(path, 64, 48), Isa::detect().into(), Bands::Always(6), &[1, 3], &[2]);
        assert!(steps_in_stages(&plan) >= 26, "{path}");
    }
}

/// What is copied where rings end, and what is computed in a turn, is enough for several threads.
#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn an_object_splits_turns_and_what_is_copied_behind_them() {
    let text =
        "model m\ninput x: f32[N, 3, 60, 700]\nnet { conv 1x1, 64 | maxpool 5x5, stride 1, pad 2 | conv 1x1, 64 }\n";
    let graph = Model::parse(text).unwrap().graph().clone();
    let plan = check_object(&graph, Isa::detect().into(), Bands::Always(6), &[1, 3], &[2, 3]);
    let turns = || plan.stages.iter().flat_map(|stage| &stage.turns);
    assert!(turns().flat_map(|turn| &turn.echoes).any(|echo| echo.is_worth_splitting()));
    assert!(turns().any(|turn| plan.steps[turn.step].is_worth_splitting_tasks(turn.tasks.len())));
}

/// Also in memory that held something else, on workers of which some are idle, and in memory of its own.
#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn a_c_program_goes_down_the_picture_in_the_memory_that_the_header_states() {
    let graph = Model::parse(OBJECT).unwrap().graph().clone();
    let isa = Isa::detect();
    let own_memory = Some(OwnMemory { batch: 4, threads: 1 });
    let options = aot::Options { own_memory, ..crate::aot::options("native", &LIBRARY, Weights::File) };
    let (plan, artifacts) = compiled(&graph, isa.into(), Bands::Always(5), &options);
    let whole = schedule::plan(graph.clone(), Target { bands: Bands::Never, ..plan.target });
    assert!(plan.arena < whole.arena, "{} of {}", plan.arena, whole.arena);
    let header = &artifacts.files.iter().find(|(name, _)| name == "net.h").unwrap().1;
    let stated = format!(" *   min(batch, threads) * {}: values between the layers", plan.arena);
    assert!(String::from_utf8_lossy(header).contains(&stated), "{}", String::from_utf8_lossy(header));
    let build = Build::new(&artifacts);
    build.compile_c("cc", "driver.c", "net", &[]);
    let mut session = session(&graph, Bands::Never, Options { engine: Engine::Jit(isa), ..Options::default() });
    for (mode, batch) in [("serial", 1), ("serial", 3), ("parallel", 1), ("parallel", 5), ("own", 4)] {
        let inputs = inputs(&graph, batch, 1);
        let expected: Vec<f32> = session.run(&inputs).unwrap().into_iter().flat_map(Tensor::into_data).collect();
        assert_same_bits(&build.drive(None, mode, &inputs, Some("net.weights")), &expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    #[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
    fn objects_in_bands_give_the_same_bits(
        dims in tall_images(),
        parts in parts_of_stages(),
        waves in 1usize..9,
        batch in 1usize..4,
        threads in 1usize..5,
    ) {
        let graph = network(&dims, &parts);
        for bands in [Bands::Always(waves), Bands::Alone(waves)] {
            check_object(&graph, Isa::detect().into(), bands, &[batch], &[threads]);
        }
    }
}
