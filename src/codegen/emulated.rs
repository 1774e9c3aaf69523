//! Modules whose wide tiles run in the emulator, so that whole kernels for an instruction set can be tested on machines
//! that lack it. The loop nests are compiled as ever; what they call are stubs that hand a tile's arguments over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cranelift::prelude::*;
use cranelift_module::Module;

use super::emulator::{Fault, Program, Region, Regions};

/// The tiles of one module and the memory they run on.
#[derive(Default)]
pub struct Emulation {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tiles: Vec<Arc<Tile>>,
    regions: Vec<Region>,
    /// The first, and the name of the tile.
    fault: Option<(String, Fault)>,
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
        self.state().regions = regions;
    }

    /// After the first fault no tile does anything; this is where it comes to light.
    ///
    /// # Panics
    /// Where a tile has faulted.
    pub fn check(&self) {
        let fault = self.state().fault.take();
        if let Some((tile, fault)) = fault {
            panic!("{tile}: {fault}");
        }
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
        let tile = Tile { name: name.to_string(), args, program: Program::decode(code.into()) };
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
    let (args, mut regions) = unsafe { (std::slice::from_raw_parts(args, tile.args), Regions::of(regions)) };
    if let Err(fault) = tile.program.run(args, &mut regions) {
        emulation.state().fault.get_or_insert((tile.name.clone(), fault));
    }
}
