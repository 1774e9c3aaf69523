//! `svertka verify --checked`: the tiles of this very network run in the emulator of their instructions, which lets them
//! touch the operands of their step and nothing else.

use super::args::{EngineArg, EngineArgs, IsaArg, ProductsArgs};
use super::{Failure, Outcome, print};
use crate::codegen::Isa;
use crate::runtime::{Engine, Options, RunError, Session};
use crate::tensor::Tensor;

/// Options of the session, for an instruction set that the machine need not have.
pub fn options(args: &EngineArgs) -> Result<Options, Failure> {
    if args.engine != EngineArg::Jit {
        return Err(Failure::usage("only generated code has tiles to check: `--checked` goes with `--engine jit`"));
    }
    let isa = match args.isa {
        IsaArg::Auto => Isa::detect().into(),
        IsaArg::Clif => Isa::Clif,
        IsaArg::Avx2 => Isa::Avx2,
        IsaArg::Avx512 => Isa::Avx512,
    };
    if isa == Isa::Clif {
        return Err(Failure::usage(
            "`--checked` emulates the instructions that svertka's own assembler emits, and tiles for clif are compiled by \
             Cranelift; choose `--isa avx2` or `--isa avx512`, which need no such CPU here",
        ));
    }
    // What the machine lacks is no matter here.
    let any = EngineArgs { isa: IsaArg::Auto, products: ProductsArgs::default(), ..args.clone() };
    let any = any.options()?.expect("not the interpreter");
    let options = Options { engine: Engine::Emulated(isa), products: args.products.get(), ..any };
    options.target().check().map_err(Failure::usage)?;
    Ok(options)
}

/// Runs once more on numbers so large that other tiles do the work (see [`crate::kernels::winograd`]).
pub fn run_large(session: &mut Session, inputs: &[Tensor]) -> Outcome {
    if session.executed().is_none() {
        return Ok(());
    }
    let large = |input: &Tensor| Tensor::new(input.shape(), input.data().iter().map(|x| x * LARGE).collect());
    let inputs: Vec<Tensor> = inputs.iter().map(large).collect();
    session.run(&inputs).map(drop).map_err(failure)
}

/// Above what Winograd convolution takes whole tiles of.
const LARGE: f32 = 1e24;

/// What a run that was refused says.
///
/// # Panics
/// Where a tile has left its operands: a defect of svertka's own.
pub fn failure(error: RunError) -> Failure {
    match error {
        RunError::Tile { .. } => panic!("{error}"),
        _ => Failure::input(error),
    }
}

/// Prints what was checked, if anything was.
pub fn report(session: &Session) -> Outcome {
    let Some(done) = session.executed() else { return Ok(()) };
    print(&format!(
        "checked {}: {} steps, {} tiles, {} calls, {} instructions; no access outside the operands of a step",
        session.plan().target.isa,
        session.plan().steps.len(),
        done.tiles,
        done.calls,
        done.instructions
    ))
}
