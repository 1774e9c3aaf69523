//! Weight files of compiled libraries: `NAME_init` takes the file that belongs to the library, and no other.

use libloading::Library;
use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use svertka::aot::{self, Cpu, Emit};
use svertka::ir::Graph;
use svertka::ir::weights::RandomWeights;
use svertka::kernels::Target;
use svertka::layers::Dense;
use svertka::tensor::{Batch, DType, TensorType};
use svertka::{codegen::Isa, ir, schedule};

type Init = unsafe extern "C" fn(*mut [u64; 2], *const c_void, usize) -> c_int;

/// A library and its weight file, in words: weights are aligned.
struct Network {
    init: Init,
    file: Vec<u8>,
    _library: Library,
}

fn network() -> &'static Network {
    static NETWORK: OnceLock<Network> = OnceLock::new();
    NETWORK.get_or_init(compile)
}

fn compile() -> Network {
    let mut graph = Graph::default();
    let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: vec![5] };
    let x = graph.add_input("x", ty);
    let y = graph.add_layer(Dense { features: 3, bias: true, flatten: false }, &[x], "fc").expect("it fits");
    graph.outputs.push(ir::Output { name: "y".into(), node: y });
    let plan = schedule::plan(ir::verify(graph).expect("well-formed"), Target::new(Isa::Clif));
    let (cpu, emit) = (Cpu::named("native").expect("this one"), vec![Emit::Shared]);
    let (weights, memory_limit) = (aot::Weights::File, usize::MAX);
    let options = aot::Options { name: "net".into(), cpu, emit, weights, own_memory: None, memory_limit };
    let artifacts = aot::compile(&plan, &RandomWeights { seed: 1 }, &options).expect("it compiles");
    let file = |end: &str| &artifacts.files.iter().find(|(name, _)| name.ends_with(end)).expect("it was asked for").1;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("libnet.so");
    std::fs::write(&path, file(".so")).expect("it is written");
    // SAFETY: it was compiled just now; its functions have the types that its header states, and no initialisers.
    let (library, init) = unsafe {
        let library = Library::new(&path).expect("it loads");
        let init = *library.get::<Init>("net_init").expect("it is there");
        (library, init)
    };
    Network { init, file: file(".weights").clone(), _library: library }
}

/// The bytes of the header, and those of them that say something.
const HEADER: usize = 64;
const STATED: usize = 40;

/// Three bytes are one change of the file: where, and by what it differs. A last odd one or two bytes cut it.
///
/// # Panics
/// If a changed file is taken, or the right one is refused.
pub fn run(bytes: &[u8]) {
    let network = network();
    let mut file = network.file.clone();
    let changes = bytes.chunks_exact(3);
    if let [cut, ..] = changes.remainder() {
        file.truncate(file.len() - usize::from(*cut) % file.len());
    }
    for change in changes {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % file.len();
        file[at] ^= change[2];
    }
    let mut aligned = vec![0u128; file.len().div_ceil(16) + 4];
    let offset = aligned.as_ptr().align_offset(64) * size_of::<u128>();
    // SAFETY: the words behind the offset are as many bytes as the file has, and any bytes are words.
    let weights = unsafe {
        let start = aligned.as_mut_ptr().cast::<u8>().add(offset);
        start.copy_from_nonoverlapping(file.as_ptr(), file.len());
        start
    };
    let mut context = [0; 2];
    // SAFETY: a context of two words, and so many bytes of weights, aligned as the header asks.
    let code = unsafe { (network.init)(&mut context, weights.cast(), file.len()) };
    // What the header states ends before the constants begin.
    file.get_mut(STATED..HEADER).into_iter().for_each(|unused| unused.fill(0));
    assert_eq!(code == 0, file == network.file, "init gives {code}");
}
