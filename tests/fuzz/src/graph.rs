//! Arbitrary graphs: whatever a graph holds, verification says whether it is one, and if so everybody runs it.

use svertka::codegen::Isa;
use svertka::runtime::Engine;

#[path = "../../common/arbitrary.rs"]
mod arbitrary;

/// # Panics
/// If anything does that should not, or the engines and the interpreter do not agree.
pub fn run(bytes: &[u8]) {
    let engines: Vec<Engine> = Isa::available().into_iter().map(Engine::Jit).chain([Engine::Portable]).collect();
    arbitrary::check_graph(bytes, &engines);
}
