//! What one core of this machine can do at most: fused multiply-adds and reading memory, measured with tiles of the
//! vector assembler; and the roofline that follows (Williams, Waterman and Patterson 2009, "Roofline: an insightful
//! visual performance model for multicore architectures").

use super::SCHEMA_VERSION;
use super::clock::{FmaLoop, LOOK};
use super::machine::{self, Machine};
use crate::codegen::vector::{R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, HostIsa, Isa, JitCode, Linkage};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The peaks of one core. As JSON this is what `svertka peak` keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peak {
    pub schema_version: u32,
    /// [`machine::cpu_id`] of the machine that was measured.
    pub cpu: String,
    /// When, in seconds since 1970 (UTC).
    pub measured_s: u64,
    /// For each instruction set, narrowest first.
    pub fma: Vec<FmaPeak>,
    /// Caches by level, then main memory.
    pub memory: Vec<MemoryPeak>,
}

/// Arithmetic of one instruction set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FmaPeak {
    pub isa: String,
    /// 10^9 floating-point operations a second; a multiply-add is two.
    pub gflops: f64,
}

/// Reading from one level of the memory hierarchy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryPeak {
    /// `L1`, `L2`, ... or `DRAM`.
    pub level: String,
    /// Size in bytes; `None` for main memory.
    pub capacity: Option<u64>,
    /// 10^9 bytes a second.
    pub gb_per_s: f64,
}

/// What bounds a step whose arithmetic takes longer than its bytes.
pub const COMPUTE: &str = "compute";

/// The least time that work can take.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// [`COMPUTE`], or the level of memory.
    pub limit: String,
    pub seconds: f64,
}

impl Peak {
    /// Measures, which takes some seconds. `progress` is told what is being measured.
    pub fn measure(progress: &mut dyn FnMut(&str)) -> Result<Peak, CodeError> {
        let mut fma = Vec::new();
        for isa in Isa::available() {
            progress(&format!("FMA, {isa}"));
            fma.push(FmaPeak { isa: isa.to_string(), gflops: FmaLoop::new(isa)?.gflops(SHORT) });
        }
        let clock = FmaLoop::new(Isa::detect())?;
        let caches = Machine::here().caches;
        let largest = caches.last().map_or(MAIN_MEMORY / 4, |cache| cache.bytes);
        let main_memory = (4 * largest).clamp(MAIN_MEMORY, 4 * MAIN_MEMORY);
        // Half of a cache, for the rest of the system wants its share of it.
        let levels = caches.iter().map(|c| (format!("L{}", c.level), Some(c.bytes), c.bytes / 2));
        let (mut memory, mut clocks) = (Vec::new(), Vec::new());
        for (level, capacity, bytes) in levels.chain([("DRAM".to_string(), None, main_memory)]) {
            progress(&format!("reading, {level}"));
            let (gb_per_s, gflops) = read_gb_per_s(Isa::detect(), bytes.min(main_memory) as usize, &clock)?;
            clocks.push(gflops);
            memory.push(MemoryPeak { level, capacity, gb_per_s });
        }
        let (schema_version, measured_s) = (SCHEMA_VERSION, machine::now_s());
        let mut peak = Peak { schema_version, cpu: machine::cpu_id(), measured_s, fma, memory };
        let reference = peak.clock_gflops();
        peak.memory_at(|level| reference / clocks[level]);
        Ok(peak)
    }

    /// Arithmetic of the loop that tells the clock, [`super::clock`], when this was measured, in GFLOP/s.
    pub fn clock_gflops(&self) -> f64 {
        self.fma.last().map_or(0.0, |widest| widest.gflops)
    }

    /// The same at a clock so many times as fast. What a core has for itself follows its clock; the last cache and main
    /// memory, which are those of all cores, keep theirs.
    pub fn at_clock(&self, times: f64) -> Peak {
        let mut peak = self.clone();
        peak.fma.iter_mut().for_each(|fma| fma.gflops *= times);
        peak.memory_at(|_| times);
        peak
    }

    /// Makes each level that a core has for itself so many times as fast.
    fn memory_at(&mut self, times: impl Fn(usize) -> f64) {
        let own = self.memory.len().saturating_sub(SHARED);
        self.memory[..own].iter_mut().enumerate().for_each(|(index, level)| level.gb_per_s *= times(index));
    }

    /// Whether these are sensible figures for the machine it runs on.
    pub fn fits_here(&self) -> bool {
        let isas = Isa::available();
        let figures = self.fma.iter().map(|f| f.gflops).chain(self.memory.iter().map(|m| m.gb_per_s));
        self.schema_version == SCHEMA_VERSION
            && self.cpu == machine::cpu_id()
            && self.fma.iter().map(|f| &f.isa).eq(isas.iter().map(HostIsa::to_string).collect::<Vec<_>>().iter())
            && self.memory.last().is_some_and(|m| m.capacity.is_none())
            && figures.into_iter().all(|figure| figure.is_finite() && figure > 0.0)
    }

    /// The widest instruction set's arithmetic, in GFLOP/s.
    pub fn gflops(&self) -> f64 {
        self.fma.iter().map(|f| f.gflops).fold(0.0, f64::max)
    }

    /// The bound for `flops` operations that read and write so many bytes once, on `cores` cores that get in each other's
    /// way nowhere. Whatever is done, a cache can have held no more of the bytes than fit into it, so that the others
    /// come from behind it; and no core writes faster than it reads.
    pub fn bound(&self, flops: f64, read: u64, written: u64, cores: usize) -> Bound {
        let compute = flops / (self.gflops() * 1e9 * cores as f64);
        let (read, written) = (self.moving(read, cores), self.moving(written, cores));
        let memory = if read.seconds >= written.seconds { read } else { written };
        match compute >= memory.seconds {
            true => Bound { limit: COMPUTE.into(), seconds: compute },
            false => memory,
        }
    }

    /// The least time to read so many bytes, and the level from which most of it goes.
    fn moving(&self, bytes: u64, cores: usize) -> Bound {
        let (mut left, mut seconds, mut most) = (bytes, 0.0, (0.0, &self.memory[0].level));
        for (index, level) in self.memory.iter().enumerate() {
            // The last cache is all cores' together; each has the others.
            let shared = index + SHARED >= self.memory.len();
            let holds =
                level.capacity.map_or(u64::MAX, |bytes| bytes.saturating_mul(if shared { 1 } else { cores as u64 }));
            let here = left.min(holds);
            let takes = here as f64 / (level.gb_per_s * 1e9 * cores as f64);
            (left, seconds) = (left - here, seconds + takes);
            if takes > most.0 {
                most = (takes, &level.level);
            }
        }
        Bound { limit: most.1.clone(), seconds }
    }

    /// The same with arithmetic and memory so many times as fast.
    pub fn raised(&self, arithmetic: f64, memory: f64) -> Peak {
        let mut peak = self.clone();
        peak.fma.iter_mut().for_each(|fma| fma.gflops *= arithmetic);
        peak.memory.iter_mut().for_each(|level| level.gb_per_s *= memory);
        peak
    }

    /// Seconds since it was measured, by the system's clock.
    pub fn age_s(&self) -> u64 {
        machine::now_s().saturating_sub(self.measured_s)
    }
}

/// Levels of memory, from the last one on, that are those of all cores.
const SHARED: usize = 2;
/// The least that is read to measure main memory.
const MAIN_MEMORY: u64 = 128 << 20;
/// Accumulators when reading: enough to hide the latency of an FMA, so few that every instruction set has them.
const READ_ACCUMULATORS: usize = 8;

/// How often a measurement is repeated; the best counts, for it was disturbed least.
#[derive(Clone, Copy)]
pub(super) struct Repeats {
    pub(super) count: usize,
    /// The least that one takes.
    pub(super) span: Duration,
}

/// Of what a core has for itself: so short that some are not interrupted, whatever else the machine does.
const SHORT: Repeats = Repeats { count: 200, span: Duration::from_millis(1) };
/// Of what takes longer to read once.
const LONG: Repeats = Repeats { count: 20, span: Duration::from_millis(10) };
/// The most bytes that are read for a short time.
const MOST_SHORT: usize = 8 << 20;
/// Parts of these, before each of which the clock is looked at.
const PARTS: usize = 4;

#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct Line(pub(super) [f32; 16]);

/// 10^9 bytes a second, from a buffer of so many bytes that is read again and again; and what `clock` did beside that.
fn read_gb_per_s(host: HostIsa, bytes: usize, clock: &FmaLoop) -> Result<(f64, f64), CodeError> {
    let isa = Isa::from(host);
    let mut module = CodeModule::jit(false)?;
    let tile = module.define_tile("read", isa, 3, &mut read_tile)?;
    let nest = module.define_nest("read_nest", Linkage::Local, 4, |nest| {
        let (zero, passes) = (nest.iconst(0), nest.arg(3));
        let args = [nest.arg(0), nest.arg(1), nest.arg(2)];
        nest.for_range(zero, passes, |nest, _| nest.call(tile, &args));
    })?;
    let code = module.finish_jit()?;
    let run = function::<unsafe extern "C" fn(*mut Line, *const Line, u64, u64)>(&code, nest);
    let turn = READ_ACCUMULATORS * isa.lanes() * 4;
    let turns = (bytes / turn).max(1);
    let buffer = vec![Line([1.0; 16]); (turns * turn).div_ceil(size_of::<Line>())];
    let mut sink = Line([0.0; 16]);
    // SAFETY: the tile stores one vector, at most a line, and reads `turns` > 0 times `turn` bytes, which the buffer
    // has.
    let mut read = |passes| unsafe { run(&mut sink, buffer.as_ptr(), turns as u64, passes) };
    // The best of each are of one clock, the fastest of this time, if it changes at all.
    let all = if bytes <= MOST_SHORT { SHORT } else { LONG };
    let part = Repeats { count: all.count / PARTS, ..all };
    let (mut passes_per_second, mut gflops) = (0.0f64, 0.0f64);
    for _ in 0..PARTS {
        gflops = gflops.max(clock.gflops(LOOK));
        passes_per_second = passes_per_second.max(best_rate(part, &mut read));
    }
    Ok((passes_per_second * (turns * turn) as f64 / 1e9, gflops))
}

/// `tile(out, in, turns)`: each turn reads the next vectors, each as the operand of an FMA.
fn read_tile(asm: &mut dyn VectorAsm) {
    let bytes = asm.lanes() as i32 * 4;
    let factor = asm.vec();
    asm.splat(factor, 0.5);
    let accumulators = zeros(asm, READ_ACCUMULATORS);
    let (out, input, turns) = (asm.arg(0), asm.arg(1), asm.arg(2));
    let looped = asm.loop_begin(turns);
    for (i, &acc) in accumulators.iter().enumerate() {
        asm.fma_load(acc, factor, input.at(i as i32 * bytes));
    }
    asm.add_imm(input, i64::from(bytes) * READ_ACCUMULATORS as i64);
    asm.loop_end(looped);
    store_sum(asm, &accumulators, out);
}

pub(super) fn zeros(asm: &mut dyn VectorAsm, count: usize) -> Vec<V> {
    let registers: Vec<V> = (0..count).map(|_| asm.vec()).collect();
    registers.iter().for_each(|&v| asm.splat(v, 0.0));
    registers
}

/// Stores the sum, so that no accumulator can be left out as dead.
pub(super) fn store_sum(asm: &mut dyn VectorAsm, accumulators: &[V], out: R) {
    accumulators[1..].iter().for_each(|&v| asm.add(accumulators[0], accumulators[0], v));
    asm.store(out.at(0), accumulators[0]);
}

/// A function of `code`, which must outlive it, as a pointer of type `F`.
pub(super) fn function<F: Copy>(code: &JitCode, id: FuncId) -> F {
    const { assert!(size_of::<F>() == size_of::<*const u8>()) };
    let address = code.address(id);
    // SAFETY: `F` is a function pointer (by the callers above) with the C convention and 64-bit arguments, as
    // `define_nest` makes functions.
    unsafe { std::mem::transmute_copy(&address) }
}

/// Units of work a second, where `work(n)` does n units.
pub(super) fn best_rate(repeats: Repeats, work: &mut dyn FnMut(u64)) -> f64 {
    let mut time = |count: u64| {
        let start = Instant::now();
        work(count);
        start.elapsed()
    };
    let mut count = 1;
    while time(count) < repeats.span {
        count *= 2;
    }
    let best = (0..repeats.count).map(|_| time(count)).min().expect("there are repetitions");
    count as f64 / best.as_secs_f64()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// 100 GFLOP/s; 1 KiB at 200, 1 MiB at 100, beyond at 10 GB/s.
    pub fn round_figures() -> Peak {
        let level = |level: &str, capacity, gb_per_s| MemoryPeak { level: level.to_string(), capacity, gb_per_s };
        Peak {
            schema_version: SCHEMA_VERSION,
            cpu: machine::cpu_id(),
            measured_s: 0,
            fma: Isa::available().iter().map(|isa| FmaPeak { isa: isa.to_string(), gflops: 100.0 }).collect(),
            memory: vec![
                level("L1", Some(1 << 10), 200.0),
                level("L2", Some(1 << 20), 100.0),
                level("DRAM", None, 10.0),
            ],
        }
    }

    #[test]
    fn the_slower_of_arithmetic_and_memory_bounds() {
        let peak = round_figures();
        let bound = |limit: &str, seconds| Bound { limit: limit.into(), seconds };
        assert_eq!(peak.bound(1e9, 1 << 10, 0, 1), bound("compute", 0.01));
        assert_eq!(peak.bound(1e9, 1 << 10, 0, 2), bound("compute", 0.005));
        assert_eq!(peak.bound(0.0, 1000, 999, 1), bound("L1", 5e-9));
        assert_eq!(peak.bound(0.0, 999, 1000, 1), bound("L1", 5e-9));
        assert_eq!(peak.bound(0.0, 0, 0, 1), bound("compute", 0.0));
    }

    #[test]
    fn a_cache_holds_what_fits_into_it_and_the_rest_comes_from_behind() {
        let peak = round_figures();
        let found = |bytes, cores| peak.bound(1e3, bytes, 0, cores);
        let near = |bound: Bound, limit: &str, seconds: f64| {
            assert!(bound.limit == limit && (bound.seconds / seconds - 1.0).abs() < 1e-12, "{bound:?}, {seconds}");
        };
        let (l1, l2) = ((1 << 10) as f64 / 200e9, (1 << 20) as f64 / 100e9);
        near(found(101_024, 1), "L2", l1 + 1e5 / 100e9);
        // Twice the first level, at twice the rate.
        near(found(102_048, 2), "L2", l1 + 1e5 / 200e9);
        near(found((1 << 10) + (1 << 20) + 1_000_000, 1), "DRAM", l1 + l2 + 1e6 / 10e9);
        // The second level, the last before main memory, is that of both.
        near(found((2 << 10) + (1 << 20) + 1_000_000, 2), "DRAM", l1 + l2 / 2.0 + 1e6 / 20e9);
        let raised = peak.raised(2.0, 4.0);
        assert_eq!((raised.gflops(), raised.memory[2].gb_per_s, raised.memory[2].capacity), (200.0, 40.0, None));
    }

    #[test]
    fn what_a_core_has_for_itself_follows_its_clock() {
        let peak = round_figures();
        assert_eq!(peak.clock_gflops(), 100.0);
        let slow = peak.at_clock(0.5);
        assert_eq!((slow.gflops(), slow.clock_gflops()), (50.0, 50.0));
        let rates: Vec<f64> = slow.memory.iter().map(|level| level.gb_per_s).collect();
        assert_eq!(rates, [100.0, 100.0, 10.0], "the last cache and main memory are those of all cores");
        assert_eq!(slow.bound(1e9, 0, 0, 1).seconds, 2.0 * peak.bound(1e9, 0, 0, 1).seconds);
    }

    #[test]
    fn figures_of_another_machine_do_not_fit() {
        let peak = round_figures();
        assert!(peak.fits_here());
        assert!(!Peak { cpu: "another".into(), ..peak.clone() }.fits_here());
        assert!(!Peak { schema_version: SCHEMA_VERSION + 1, ..peak.clone() }.fits_here());
        assert!(!Peak { fma: vec![], ..peak.clone() }.fits_here());
        let zero = FmaPeak { gflops: 0.0, ..peak.fma[0].clone() };
        assert!(!Peak { fma: [vec![zero], peak.fma[1..].to_vec()].concat(), ..peak.clone() }.fits_here());
        assert!(!Peak { memory: peak.memory[..2].to_vec(), ..peak }.fits_here());
    }

    /// The sums show that the tiles did what the rates are computed from.
    #[test]
    fn tiles_read_and_add_all() {
        for isa in Isa::available().into_iter().map(Isa::from) {
            let mut module = CodeModule::jit(false).unwrap();
            let read = module.define_tile("read", isa, 3, &mut read_tile).unwrap();
            let nest = |nest: &mut crate::codegen::NestBuilder| {
                let args = [nest.arg(0), nest.arg(1), nest.arg(2)];
                nest.call(read, &args);
            };
            let nest = module.define_nest("nest", Linkage::Local, 3, nest).unwrap();
            let code = module.finish_jit().unwrap();
            let run = function::<unsafe extern "C" fn(*mut Line, *const Line, u64)>(&code, nest);
            let input = vec![Line([1.0; 16]); 3 * READ_ACCUMULATORS * isa.lanes() / 16];
            let mut out = Line([0.0; 16]);
            // SAFETY: three turns read the whole input.
            unsafe { run(&mut out, input.as_ptr(), 3) };
            assert_eq!(out.0[..isa.lanes()].iter().sum::<f32>(), 0.5 * 16.0 * input.len() as f32, "{isa}");
        }
    }
}
