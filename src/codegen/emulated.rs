//! Modules whose wide tiles run in the emulator, so that whole kernels for an instruction set can be tested on machines
//! that lack it, and every access of a network's tiles can be checked. The loop nests are compiled as ever; what they
//! call are stubs that hand a tile's arguments over.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cranelift::prelude::*;
use cranelift_module::Module;

use super::emulator::{Denormals, Fault, Program, Region, Regions};

/// The tiles of one module and the memory they run on.
#[derive(Default)]
pub struct Emulation {
    state: Mutex<State>,
    calls: AtomicU64,
    instructions: AtomicU64,
}

/// What tiles have done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Tiles of the module.
    pub tiles: usize,
    /// Calls of tiles.
    pub calls: u64,
    /// Instructions in all calls.
    pub instructions: u64,
}

/// What a tile did that it may not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{tile}: {fault}")]
pub struct TileFault {
    pub tile: String,
    pub fault: Fault,
}

#[derive(Default)]
struct State {
    tiles: Vec<Arc<Tile>>,
    regions: Arc<[Region]>,
    /// The first.
    fault: Option<TileFault>,
}

struct Tile {
    name: String,
    args: usize,
    program: Program,
}

impl Emulation {
    /// Lets the tiles touch `regions` and nothing else from now on.
    ///
    /// # Safety
    /// As for [`Regions::of`], while kernels of the module run.
    pub unsafe fn lend(&self, regions: Vec<Region>) {
        self.state().regions = regions.into();
    }

    /// After the first fault no tile does anything; this is where it comes to light.
    ///
    /// # Errors
    /// Where a tile has faulted since the last check.
    pub fn check(&self) -> Result<(), TileFault> {
        self.state().fault.take().map_or(Ok(()), Err)
    }

    pub fn executed(&self) -> Executed {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let tiles = self.state().tiles.len();
        Executed { tiles, calls: count(&self.calls), instructions: count(&self.instructions) }
    }

    /// Takes a tile of `args` arguments and builds the function that stands for it: `run(self, tile, [arguments])`.
    pub(super) fn define(
        &self,
        name: &str,
        code: Vec<u8>,
        args: usize,
        mut builder: FunctionBuilder,
        module: &dyn Module,
    ) {
        let tile = Tile { name: name.to_string(), args, program: Program::decode(code.into(), Denormals::Flush) };
        self.state().tiles.push(Arc::new(tile));
        let index = self.state().tiles.len() - 1;

        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, 8 * args as u32, 3);
        let slot = builder.create_sized_stack_slot(slot);
        for (position, arg) in builder.block_params(entry).to_vec().into_iter().enumerate() {
            builder.ins().stack_store(types::I64, arg, slot, 8 * position as i32);
        }
        let mut signature = module.make_signature();
        signature.params.extend([AbiParam::new(types::I64); 3]);
        let signature = builder.import_signature(signature);
        let callee = (run as extern "C" fn(*const Emulation, usize, *const u64)) as usize;
        let emulation = (&raw const *self).expose_provenance();
        let [callee, emulation, index] =
            [callee, emulation, index].map(|word| builder.ins().iconst(types::I64, word as i64));
        let args = builder.ins().stack_addr(types::I64, slot, 0);
        builder.ins().call_indirect(signature, callee, &[emulation, index, args]);
        builder.ins().return_(&[]);
        builder.finalize(module.target_config());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the stubs call. It must not panic: compiled code cannot be unwound.
extern "C" fn run(emulation: *const Emulation, tile: usize, args: *const u64) {
    // SAFETY: a stub passes the emulation that it was built by, which the module's code keeps alive.
    let emulation = unsafe { &*emulation };
    let (tile, regions) = {
        let state = emulation.state();
        if state.fault.is_some() {
            return;
        }
        (state.tiles[tile].clone(), state.regions.clone())
    };
    // SAFETY: a stub passes a stack slot of as many words as its tile has arguments; `lend`'s caller promises the rest.
    let (args, mut regions) = unsafe { (std::slice::from_raw_parts(args, tile.args), Regions::of(&regions)) };
    emulation.calls.fetch_add(1, Ordering::Relaxed);
    match tile.program.run(args, &mut regions) {
        Ok(instructions) => {
            emulation.instructions.fetch_add(instructions, Ordering::Relaxed);
        }
        Err(fault) => {
            emulation.state().fault.get_or_insert(TileFault { tile: tile.name.clone(), fault });
        }
    }
}
