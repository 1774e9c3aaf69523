//! No kernel reads or writes beside what it was given: values between pages that nobody may touch, with the kernels that
//! estimates choose and with those that measurements may choose; and the command that shows it for one network.

use crate::common::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use region::Protection;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use svertka::codegen::Isa;
use svertka::ir::{Graph, Verified};
use svertka::kernels::bands::Bands;
use svertka::kernels::tuning::Choices;
use svertka::layers::{Conv, Dense, Op, Padding, Window};
use svertka::runtime::{Engine, Forced, Options, Session};
use svertka::schedule;
use svertka::tensor::Tensor;

/// Values that end, or begin, at a page that nobody may touch.
struct Guarded {
    allocation: region::Allocation,
    /// Of the first value, in bytes.
    offset: usize,
    len: usize,
}

impl Guarded {
    fn new(values: &[f32], at_end: bool) -> Guarded {
        let (page, bytes) = (region::page::size(), size_of_val(values));
        let pages = bytes.next_multiple_of(page);
        let mut allocation = region::alloc(pages + 2 * page, Protection::READ_WRITE).unwrap();
        let base = allocation.as_mut_ptr::<u8>();
        for guard in [0, page + pages] {
            // SAFETY: nobody else has an address in the allocation.
            unsafe { region::protect(base.wrapping_add(guard), page, Protection::NONE) }.unwrap();
        }
        let offset = if at_end { page + pages - bytes } else { page };
        let mut guarded = Guarded { allocation, offset, len: values.len() };
        guarded.values_mut().copy_from_slice(values);
        guarded
    }

    fn values_mut(&mut self) -> &mut [f32] {
        let data = self.allocation.as_mut_ptr::<u8>().wrapping_add(self.offset).cast();
        // SAFETY: so many values lie between the guards; the system has filled them with zeros, and any bits are an f32.
        unsafe { std::slice::from_raw_parts_mut(data, self.len) }
    }
}

/// A network, how it is run, and what it is run on.
struct Case {
    graph: Verified<Graph>,
    choices: Choices,
    options: Options,
    batch: usize,
    seed: u64,
}

impl Case {
    /// The network with the kernels that the seed picks: of those that may be chosen by measuring, or forced ones.
    fn new(graph: Verified<Graph>, engine: Engine, batch: usize, seed: u64) -> Case {
        let (winograd, chain) = match seed % 4 {
            0 => (Some([4, 24].map(|part| 1 + seed as usize / part % 6)), Some(1 + seed as usize / 20 % 5)),
            1 => (None, Some(1 + seed as usize / 4 % 5)),
            _ => (None, None),
        };
        let threads = 1 + (seed / 7 % 2) as usize;
        let joint = seed / 140 % 2 == 1;
        let bands = [Bands::WhereLarge, Bands::Always(3)][(seed / 28 % 2) as usize];
        let options = Options {
            engine,
            threads,
            forced: Forced { winograd, chain, joint, bands, ..Forced::default() },
            ..Options::default()
        };
        let mut draw = seed;
        let mut pick = |count: usize| {
            draw = draw.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (draw >> 33) as usize % count
        };
        let plan = schedule::plan(graph.clone(), options.target());
        let choices = schedule::offers(&plan).into_iter().map(|offer| {
            let mut decisions = offer.candidates;
            decisions.push(offer.analytic);
            (offer.key, decisions.swap_remove(pick(decisions.len())))
        });
        Case { choices: choices.collect(), graph, options, batch, seed }
    }

    fn describe(&self) -> String {
        let mut text = format!("{:?}, batch {}, seed {}\n", self.options, self.batch, self.seed);
        self.choices.iter().for_each(|(_, decision)| writeln!(text, "{decision}").unwrap());
        text + &svertka::ir::print(&self.graph)
    }

    fn session(&self) -> Session {
        Session::tuned(self.graph.clone(), &weights(self.seed), &self.options, &self.choices).unwrap()
    }

    /// Some are so large that Winograd convolutions make each output by itself.
    fn inputs(&self) -> Vec<Tensor> {
        let mut inputs = inputs(&self.graph, self.batch, self.seed);
        if self.seed.is_multiple_of(4) {
            inputs.iter_mut().for_each(|input| input.data_mut()[0] = 1e25);
        }
        inputs
    }

    /// Runs between guards; what comes out is what comes out without them.
    fn check_guarded(&self) {
        let mut session = self.session();
        let inputs = self.inputs();
        let expected = session.run(&inputs).unwrap();
        for at_end in [true, false] {
            let guard = |tensor: &Tensor| Guarded::new(tensor.data(), at_end);
            let mut given: Vec<Guarded> = inputs.iter().map(guard).collect();
            let mut made: Vec<Guarded> =
                expected.iter().map(|t| Guarded::new(&vec![f32::NAN; t.data().len()], at_end)).collect();
            let given: Vec<&[f32]> = given.iter_mut().map(|guarded| &*guarded.values_mut()).collect();
            let mut outputs: Vec<&mut [f32]> = made.iter_mut().map(Guarded::values_mut).collect();
            session.run_slices(self.batch, &given, &mut outputs).unwrap();
            for (output, expected) in outputs.iter().zip(&expected) {
                let same = output.iter().zip(expected.data()).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{}", self.describe());
            }
        }
    }
}

/// Single layers, many of them with one position and more channels than a tile takes at once; and networks.
fn any_graph() -> impl Strategy<Value = Verified<Graph>> {
    let dense = (1usize..200, 1usize..40, any::<bool>());
    let dense =
        dense.prop_map(|(channels, features, bias)| (vec![channels], Dense { features, bias, flatten: false }.into()));
    let layer = dims().prop_flat_map(|dims| {
        let layer = layer(dims.len() - 1);
        (Just(dims), layer)
    });
    let single = |(dims, op): (Vec<usize>, Op)| single(op, &dims).ok();
    let network_of = dims().prop_flat_map(|dims| {
        let parts = prop::collection::vec(part(dims.len() - 1), 1..6);
        (Just(dims), parts)
    });
    prop_oneof![
        2 => dense.prop_filter_map("a layer", single),
        2 => layer.prop_filter_map("a layer that fits", single),
        1 => (images(), winograd_part()).prop_map(|(dims, part)| network(&dims, &[part])),
        1 => (images(), chained()).prop_map(|(dims, parts)| network(&dims, &parts)),
        2 => network_of.prop_map(|(dims, parts)| network(&dims, &parts)),
    ]
}

/// Calls `check` for random networks, each on all engines.
fn for_cases(count: u32, engines: &[Engine], mut check: impl FnMut(Case)) {
    let mut runner = TestRunner::new(ProptestConfig::default());
    let strategy = (any_graph(), 1usize..4, any::<u64>());
    for _ in 0..count {
        let (graph, batch, seed) = strategy.new_tree(&mut runner).unwrap().current();
        engines.iter().for_each(|&engine| check(Case::new(graph.clone(), engine, batch, seed)));
    }
}

/// Where the process that runs between guards says what it is about to run.
const CURRENT: &str = "SVERTKA_BOUNDS_CURRENT";

fn cases() -> u32 {
    ProptestConfig::default().cases
}

/// A fault ends a process, which can no longer say of what: another one does it, and tells beforehand.
#[test]
fn kernels_touch_nothing_beside_inputs_and_outputs() {
    let current = tempfile::NamedTempFile::new().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "bounds::between_guards", "--ignored", "--nocapture"]).env(CURRENT, current.path());
    let result = child.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let case = std::fs::read_to_string(current.path()).unwrap();
    assert!(result.status.success(), "{}\n{case}\n{}", result.status, text(&result.stderr));
    assert!(text(&result.stdout).contains("1 passed") && !case.is_empty(), "{result:?}");
}

#[test]
#[ignore = "run by kernels_touch_nothing_beside_inputs_and_outputs in a process of its own"]
fn between_guards() {
    let Some(current) = std::env::var_os(CURRENT) else { return };
    let engines: Vec<Engine> = Isa::available().into_iter().map(Engine::Jit).chain([Engine::Portable]).collect();
    for_cases(cases(), &engines, |case| {
        std::fs::write(Path::new(&current), case.describe()).unwrap();
        case.check_guarded();
    });
}

/// The same kernels in the emulator, which knows the bounds of every single operand.
#[test]
fn tiles_touch_nothing_beside_their_operands() {
    for_cases((cases() / 10).max(30), &[Isa::Avx2, Isa::Avx512].map(Engine::Emulated), |case| {
        let found = case.session().run(&case.inputs());
        found.unwrap_or_else(|error| panic!("{error}\n{}", case.describe()));
    });
}

/// One position, channels that are no multiple of the lanes, and sums that wait in the caller's output between chunks of
/// the input channels: every candidate for the last layer of LeNet-5.
#[test]
fn all_candidates_for_a_dense_layer_stay_in_its_output() {
    let window = Window { kernel: vec![1], stride: vec![1], dilation: vec![1], padding: Padding::Valid, ceil: false };
    let layers: [(Op, Vec<usize>); 2] = [
        (Dense { features: 10, bias: true, flatten: false }.into(), vec![84]),
        (Conv { channels: 21, window, groups: 1, bias: true, weights: None }.into(), vec![200, 1]),
    ];
    for isa in [Isa::Avx2, Isa::Avx512] {
        let mut decisions = 0;
        for (op, dims) in layers.clone() {
            let graph = single(op, &dims).unwrap();
            let options = Options { engine: Engine::Emulated(isa), ..Options::default() };
            for offer in schedule::offers(&schedule::plan(graph.clone(), options.target())) {
                for decision in offer.candidates {
                    let choices = Choices::from_iter([(offer.key.clone(), decision)]);
                    let case = Case { graph: graph.clone(), choices, options, batch: 2, seed: 1 };
                    let found = case.session().run(&case.inputs());
                    found.unwrap_or_else(|error| panic!("{error}\n{}", case.describe()));
                    decisions += 1;
                }
            }
        }
        assert!(decisions > 1, "{isa}: nothing to choose from");
    }
}

fn verify(args: &[&str], code: i32) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svertka"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["verify", "models/lenet5.cnn", "--tuned", "none"]);
    let result = command.args(args).output().unwrap();
    assert_eq!(result.status.code(), Some(code), "{result:?}");
    String::from_utf8([result.stdout, result.stderr].concat()).unwrap()
}

#[test]
fn verify_checked_shows_it_for_one_network() {
    for isa in ["avx2", "avx512"] {
        let text = verify(&["--checked", "--isa", isa, "--batch", "2", "--threads", "2"], 0);
        let line = text.lines().find(|line| line.starts_with(&format!("checked {isa}: "))).expect("the report");
        assert!(line.ends_with("no access outside the operands of a step"), "{line}");
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [steps, tiles, calls, instructions] = numbers[..] else { panic!("{line}") };
        assert!(steps >= 6 && tiles >= 6 && calls > tiles && instructions > 10 * calls, "{line}");
    }
}

#[test]
fn verify_checked_says_what_it_cannot_check() {
    assert!(verify(&["--checked", "--isa", "clif"], 2).contains("choose `--isa avx2` or `--isa avx512`"));
    assert!(verify(&["--checked", "--engine", "portable"], 2).contains("`--engine jit`"));
}
