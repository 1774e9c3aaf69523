//! Graphs, most of them malformed: whatever `verify` takes, the interpreter and the engines run, and agree.

#[allow(dead_code, reason = "shared with the tests")]
#[path = "../../common/arbitrary.rs"]
mod arbitrary;

use svertka::codegen::Isa;
use svertka::runtime::Engine;

/// # Panics
/// If a graph that verification takes cannot be run, or engines disagree.
pub fn run(bytes: &[u8]) {
    let emulated = Isa::ALL.map(Engine::Emulated);
    let engines = [Engine::Portable].into_iter().chain(emulated);
    arbitrary::check_graph(bytes, &engines.collect::<Vec<_>>());
}
