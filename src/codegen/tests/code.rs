//! The code itself: where it lies, which instructions it has, what is refused.

use super::*;
use crate::tensor::Half;

/// The permissions of the mapping with `address`, and whether any mapping is writable and executable at once.
#[cfg(target_os = "linux")]
fn permissions_of(address: usize) -> (String, bool) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = String::new();
    let mut writable_code = false;
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (begin, end) = fields.next().unwrap().split_once('-').unwrap();
        let permissions = fields.next().unwrap();
        writable_code |= permissions.contains('w') && permissions.contains('x');
        let range = usize::from_str_radix(begin, 16).unwrap()..usize::from_str_radix(end, 16).unwrap();
        if range.contains(&address) {
            found = permissions.to_string();
        }
    }
    (found, writable_code)
}

#[cfg(target_os = "linux")]
#[test]
fn code_is_never_writable_and_executable() {
    let mut module = CodeModule::jit(false).unwrap();
    let tile = module.define_tile("nothing", Isa::detect().into(), 0, &mut |_| {}).unwrap();
    let code = module.finish_jit().unwrap();
    let address = code.address(tile).addr();
    assert_eq!(permissions_of(address), ("r-xp".to_string(), false));
}

fn every_operation(asm: &mut dyn VectorAsm) {
    let (pointer, counter) = (asm.arg(0), asm.int());
    let v: Vec<V> = (0..5).map(|_| asm.vec()).collect();
    asm.set_int(counter, 3);
    let looped = asm.loop_begin(counter);
    asm.load(v[0], pointer.at(4));
    asm.load_first(v[1], pointer.at(8), 3);
    asm.broadcast(v[2], pointer.at(0));
    asm.splat(v[3], 2.0);
    for operation in operations() {
        (operation.emit)(asm, v[3], v[0], v[1]);
    }
    for cmp in [Compare::Lt, Compare::Le, Compare::Gt, Compare::Ge, Compare::Eq] {
        asm.select(cmp, v[4], v[0], v[1], v[2], v[3]);
    }
    asm.fma(v[0], v[1], v[2]);
    asm.horner(v[0], v[1], v[2]);
    asm.fma_load(v[0], v[1], pointer.at(12));
    asm.fma_broadcast(v[0], v[1], pointer.at(12));
    asm.load_wide(v[1], pointer.at(12), Half::Bf16);
    if asm.lanes() > Isa::Clif.lanes() {
        asm.load_wide(v[2], pointer.at(12), Half::F16);
    }
    asm.store(pointer.at(0), v[0]);
    asm.store_first(pointer.at(64), v[4], 3);
    let next = asm.int();
    asm.load_int(next, pointer.at(128));
    let part = asm.if_nonzero(next);
    asm.copy_int(pointer, next);
    asm.end_if(part);
    let part = asm.if_zero(next);
    asm.copy_int(pointer, next);
    asm.end_if(part);
    asm.loop_end(looped);
    asm.free(v[0]);
}

#[test]
fn objects_are_made_for_other_machines() {
    for (triple, cpu, isa) in [
        ("aarch64-unknown-linux-gnu", None, Isa::Clif),
        ("aarch64-apple-darwin", None, Isa::Clif),
        ("x86_64-unknown-linux-gnu", None, Isa::Clif),
        ("x86_64-unknown-linux-gnu", Some("x86-64-v3"), Isa::Avx2),
        ("x86_64-unknown-linux-gnu", Some("x86-64-v4"), Isa::Avx512),
    ] {
        let mut module = CodeModule::object(triple.parse().unwrap(), cpu, true).unwrap();
        let tile = module.define_tile("tile", isa, 1, &mut every_operation).unwrap();
        let call_tile = |nest: &mut crate::codegen::NestBuilder| nest.call(tile, &[nest.arg(0)]);
        module.define_nest("entry", Linkage::Export, 1, call_tile).unwrap();
        let object = module.finish_object().unwrap();
        assert!(object.windows(5).any(|name| name == b"entry"), "{triple}");
    }
}

#[test]
fn what_a_target_lacks_is_an_error() {
    let arm: Triple = "aarch64-unknown-linux-gnu".parse().unwrap();
    let mut module = CodeModule::object(arm.clone(), None, false).unwrap();
    let error = module.define_tile("tile", Isa::Avx2, 0, &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "avx2 tiles need an x86-64 target, not aarch64-unknown-linux-gnu");
    assert!(CodeModule::object(arm, Some("haswell"), false).is_err());
    let refusal = |triple: &str, cpu| {
        let module = CodeModule::object(triple.parse().unwrap(), cpu, false);
        module.err().map_or_else(String::new, |error| error.to_string())
    };
    for unknown in ["mips-unknown-linux-gnu", "riscv64gc-unknown-linux-gnu", "x86_64-pc-windows-msvc"] {
        assert!(refusal(unknown, None).ends_with("is not supported"), "{unknown}");
    }
    let foreign = match Triple::host().architecture {
        target_lexicon::Architecture::X86_64 => "aarch64-unknown-linux-gnu",
        _ => "x86_64-unknown-linux-gnu",
    };
    assert!(refusal(foreign, Some("native")).starts_with("the CPU `native` is this one"));
    assert_eq!("avx512".parse(), Ok(Isa::Avx512));
    assert!("avx1024".parse::<Isa>().is_err());
}

#[cfg(target_arch = "x86_64")]
#[test]
fn clif_maximum_and_minimum_are_one_instruction() {
    let mut module = CodeModule::jit(true).unwrap();
    let build = &mut |asm: &mut dyn VectorAsm| {
        let v: Vec<V> = (0..2).map(|_| asm.vec()).collect();
        asm.load(v[0], asm.arg(0).at(0));
        asm.load(v[1], asm.arg(0).at(16));
        asm.max(v[0], v[0], v[1]);
        asm.min(v[0], v[0], v[1]);
        asm.store(asm.arg(0).at(0), v[0]);
    };
    module.define_tile("tile", Isa::Clif, 1, build).unwrap();
    let assembly = &module.text()[0].assembly;
    assert!(assembly.contains("maxps") && assembly.contains("minps") && !assembly.contains("cmp"), "{assembly}");
}

#[test]
fn wide_tiles_keep_to_their_instruction_set() {
    use iced_x86::CpuidFeature::*;
    for (isa, allowed) in [
        (Isa::Avx2, vec![X64, MULTIBYTENOP, CMOV, AVX, AVX2, FMA, F16C]),
        (Isa::Avx512, vec![X64, MULTIBYTENOP, AVX, AVX512F]),
    ] {
        let bytes = x64::assemble(isa, 1, &mut every_operation);
        for instruction in &mut iced_x86::Decoder::new(64, &bytes, 0) {
            let features = instruction.cpuid_features();
            let known = |feature| allowed.contains(feature) || format!("{feature:?}").starts_with("INTEL");
            assert!(features.iter().all(known), "{isa}: {:?} needs {features:?}", instruction.code());
            if instruction.code() == iced_x86::Code::Retnq {
                break;
            }
        }
    }
}

/// The instructions of `code` up to the return, as GNU binutils reads them.
fn objdump(code: &[u8]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), code).unwrap();
    let mut command = std::process::Command::new("objdump");
    command.args(["-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel", "--no-show-raw-insn"]).arg(file.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // "  1c:\tvmovups ymm15,YMMWORD PTR [rip+0x109]        # 0x136"
    let listing = String::from_utf8(output.stdout).unwrap().to_lowercase();
    let texts = listing.lines().filter_map(|line| line.split_once(":\t"));
    up_to_return(texts.map(|(_, text)| text.split('#').next().unwrap().to_string()))
}

/// The same as iced reads them, in the syntax of objdump.
fn iced(code: &[u8]) -> Vec<String> {
    use iced_x86::{Decoder, Formatter, IntelFormatter, MemorySizeOptions};
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_small_hex_numbers_in_decimal(false);
    options.set_branch_leading_zeros(false);
    options.set_memory_size_options(MemorySizeOptions::Always);
    options.set_rip_relative_addresses(true);
    options.set_always_show_scale(true);
    options.set_show_zero_displacements(true);
    up_to_return(Decoder::new(64, code, 0).into_iter().map(|instruction| {
        let mut text = String::new();
        formatter.format(&instruction, &mut text);
        match text.strip_suffix("{1to16}") {
            Some(rest) => rest.replace("dword ptr", "dword bcst"),
            None => text,
        }
    }))
}

fn up_to_return(instructions: impl Iterator<Item = String>) -> Vec<String> {
    let words = instructions.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    words.take_while(|text| text != "ret").collect()
}

#[test]
#[cfg_attr(not(tool = "objdump"), ignore = "needs objdump")]
fn a_second_disassembler_reads_the_same() {
    let mut in_last_registers = |asm: &mut dyn VectorAsm| {
        let others = asm.registers() - 5;
        first_registers(asm, others);
        every_operation(asm);
    };
    for isa in [Isa::Avx2, Isa::Avx512] {
        let pixels = if isa == Isa::Avx2 { 6 } else { 14 };
        let tile = Tile { pixels, vectors: 2, unroll: 2, broadcast_once: false };
        let tiles: [Build; 4] =
            [&mut every_operation, &mut in_last_registers, &mut four_fmas, &mut |asm| matrix_tile(asm, tile, 18)];
        for build in tiles {
            let code = x64::assemble(isa, 4, build);
            let listing = objdump(&code);
            assert!(listing.len() > 10);
            assert_eq!(listing, iced(&code), "{isa}");
        }
    }
}

/// A nest that calls an emulated tile, which writes one vector at the given offset of a buffer of two.
fn write_emulated(isa: Isa, offset: i32) -> Vec<f32> {
    let mut module = CodeModule::jit_emulated().unwrap();
    let build = &mut |asm: &mut dyn VectorAsm| {
        let v = asm.vec();
        asm.load(v, asm.arg(1).at(0));
        asm.store(asm.arg(0).at(offset), v);
    };
    let tile = module.define_tile("tile", isa, 2, build).unwrap();
    let call_tile = |nest: &mut crate::codegen::NestBuilder| nest.call(tile, &[nest.arg(0), nest.arg(1)]);
    let nest = module.define_nest("nest", Linkage::Local, 2, call_tile).unwrap();
    let code = module.finish_jit().unwrap();
    let (mut output, input) = (vec![0.0f32; 2 * isa.lanes()], noise(isa.lanes(), 10));
    let lent = |start: *const f32, len, writable| Region { start: start.expose_provenance(), len: 4 * len, writable };
    let regions = vec![lent(output.as_mut_ptr(), output.len(), true), lent(input.as_ptr(), input.len(), false)];
    let args = regions.iter().map(|region| region.start as u64).collect::<Vec<_>>();
    let emulation = code.emulation().unwrap();
    // SAFETY: the vectors live beyond the call, and only the tile touches them meanwhile.
    unsafe { emulation.lend(regions) };
    // SAFETY: the nest calls the tile alone, which touches what was lent.
    unsafe { call(&code, Isa::Clif, nest, &args) };
    emulation.check().unwrap_or_else(|fault| panic!("{fault}"));
    output
}

#[test]
fn nests_call_emulated_tiles() {
    for isa in [Isa::Avx2, Isa::Avx512] {
        let output = write_emulated(isa, 4 * isa.lanes() as i32);
        assert_eq!(output, [vec![0.0; isa.lanes()], noise(isa.lanes(), 10)].concat());
    }
}

#[test]
#[should_panic(expected = "tile: at 0x")]
fn an_emulated_tile_may_touch_only_what_was_lent() {
    write_emulated(Isa::Avx512, 68);
}

#[test]
fn loops_begin_at_aligned_addresses() {
    let bytes = x64::assemble(Isa::Avx2, 1, &mut |asm| {
        let counters: Vec<R> = (0..4).map(|_| asm.int()).collect();
        asm.set_int(counters[3], 5);
        let looped = asm.loop_begin(counters[3]);
        asm.add_imm(counters[0], 1);
        asm.loop_end(looped);
    });
    let jump = iced_x86::Decoder::new(64, &bytes, 0).into_iter().find(|i| i.is_jcc_short_or_near()).unwrap();
    assert_eq!(jump.near_branch_target() % x64::ALIGNMENT as u64, 0);
}

#[test]
#[should_panic(expected = "more than 16 registers")]
fn too_many_registers_are_a_defect() {
    x64::assemble(Isa::Avx2, 0, &mut |asm| {
        first_registers(asm, 17);
    });
}

#[test]
fn freed_registers_are_given_out_again() {
    for isa in [Isa::Avx2, Isa::Avx512] {
        x64::assemble(isa, 0, &mut |asm| {
            let count = asm.registers();
            let all = first_registers(asm, count);
            asm.free(all[3]);
            assert_eq!(asm.vec(), all[3]);
        });
    }
}

#[test]
fn the_emulator_refuses_what_a_tile_may_not_do() {
    let refuses = |code: &[u8], reason: &str| {
        let data = [0.0; 8];
        let mut regions = Regions::new();
        let args = [regions.input(&data)];
        let fault = emulate(code, &args, &mut regions).unwrap_err().to_string();
        assert!(fault.contains(reason), "{fault}");
    };
    refuses(&[0x0f, 0xa2, 0xc3], "not known to emit"); // cpuid
    refuses(&[0xc5, 0xfc, 0x10, 0x07, 0xc3], "vzeroupper is missing"); // vmovups ymm0, [rdi]
    refuses(&[0xc5, 0xfc, 0x11, 0x07, 0xc3], "write of 4 bytes outside"); // vmovups [rdi], ymm0
    refuses(&[0xc5, 0xfc, 0x10, 0x47, 0x04, 0xc3], "read of 4 bytes outside"); // vmovups ymm0, [rdi+4]
    refuses(&[0x48, 0xff, 0xcb, 0xc3], "RBX is not restored"); // dec rbx
    refuses(&[0x53, 0xc3], "stack is not restored"); // push rbx
    refuses(&[0x90], "past the end"); // nop
}

/// 12 accumulators and operands in registers: what the back end reaches without memory.
fn peak_tile(asm: &mut dyn VectorAsm) {
    let v = first_registers(asm, 14);
    v.iter().for_each(|&v| asm.splat(v, 0.0));
    let looped = asm.loop_begin(asm.arg(3));
    v[..12].iter().for_each(|&acc| asm.fma(acc, v[12], v[13]));
    asm.loop_end(looped);
    asm.store(asm.arg(2).at(0), v[0]);
}

/// Billions of floating-point operations a second of a tile that does `operations` of them.
fn throughput(isa: Isa, mut data: Data, operations: usize, build: Build) -> f64 {
    let args = data.lend(&mut Regions::new());
    let mut module = CodeModule::jit(false).unwrap();
    let id = module.define_tile("tile", isa, args.len(), build).unwrap();
    let code = module.finish_jit().unwrap();
    let repeat = 1000;
    let mut best = f64::INFINITY;
    for _ in 0..50 {
        let start = std::time::Instant::now();
        for _ in 0..repeat {
            // SAFETY: the tiles measured stay inside `data`.
            unsafe { call(&code, isa, id, &args) };
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    (operations * repeat) as f64 / best / 1e9
}

/// Prints what register tiles reach: `cargo test tile_throughput -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn tile_throughput() {
    let depth = 256;
    let shapes = [(4, 2), (5, 2), (6, 2), (3, 3), (4, 3), (3, 4), (2, 5), (8, 1), (10, 1), (12, 1), (13, 1), (14, 1)];
    for isa in Isa::available().into_iter().map(Isa::from) {
        let data = Data { inputs: vec![vec![], vec![]], outputs: vec![vec![0.0; 16]], ints: vec![depth as u64] };
        let peak = throughput(isa, data, 24 * isa.lanes() * depth, &mut peak_tile);
        println!("{isa} peak: {peak:.1} GFLOP/s");
        for (pixels, vectors) in shapes {
            for (broadcast_once, unroll) in [(false, 1), (false, 4), (true, 1), (true, 4)] {
                let registers = pixels * vectors + vectors + usize::from(broadcast_once);
                if registers > isa.registers(Triple::host().architecture) {
                    continue;
                }
                let tile = Tile { pixels, vectors, unroll, broadcast_once };
                let width = vectors * isa.lanes();
                let data = Data {
                    inputs: vec![noise(pixels * depth, 1), noise(depth * width, 2)],
                    outputs: vec![vec![0.0; pixels * width]],
                    ints: vec![(depth / unroll) as u64],
                };
                let operations = 2 * pixels * width * depth;
                let reached = throughput(isa, data, operations, &mut |asm| matrix_tile(asm, tile, depth));
                println!("{isa} {tile:?}: {reached:.1} GFLOP/s, {:.0} %", 100.0 * reached / peak);
            }
        }
    }
}
