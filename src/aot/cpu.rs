//! The CPUs that object files can be made for, by name.

use crate::codegen::{Bytes, Isa};
use crate::kernels::Target;
use crate::machine::{GENERIC, Known, Machine};
use target_lexicon::{Architecture, Triple};

/// A CPU: what code for it may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Cpu {
    pub name: &'static str,
    pub triple: Triple,
    /// The widest instruction set it has; narrower ones run on it too.
    pub isa: Isa,
    /// What tiles of that can do with bytes; those of narrower ones make vectors of them.
    bytes: Bytes,
    /// Cranelift's name for its features.
    pub(super) preset: Option<&'static str>,
}

/// No CPU has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown CPU `{name}`: expected one of {}", names().collect::<Vec<_>>().join(", "))]
pub struct UnknownCpu {
    pub name: String,
}

const X86_64: &str = "x86_64-unknown-linux-gnu";
const AARCH64: &str = "aarch64-unknown-linux-gnu";

/// Name, triple, widest instruction set and what its tiles can do with bytes, Cranelift's name.
const CPUS: [(&str, &str, Isa, Bytes, Option<&str>); 19] = [
    ("x86-64-v2", X86_64, Isa::Clif, Bytes::Vectors, Some("x86-64-v2")),
    ("x86-64-v3", X86_64, Isa::Avx2, Bytes::Vectors, Some("x86-64-v3")),
    ("x86-64-v4", X86_64, Isa::Avx512, Bytes::Vectors, Some("x86-64-v4")),
    ("haswell", X86_64, Isa::Avx2, Bytes::Vectors, Some("haswell")),
    ("broadwell", X86_64, Isa::Avx2, Bytes::Vectors, Some("broadwell")),
    ("skylake", X86_64, Isa::Avx2, Bytes::Vectors, Some("skylake")),
    ("skylake-avx512", X86_64, Isa::Avx512, Bytes::Vectors, Some("skylake-avx512")),
    ("cascadelake", X86_64, Isa::Avx512, Bytes::Dots, Some("cascadelake")),
    ("icelake-client", X86_64, Isa::Avx512, Bytes::Tables, Some("icelake-client")),
    ("icelake-server", X86_64, Isa::Avx512, Bytes::Tables, Some("icelake-server")),
    ("tigerlake", X86_64, Isa::Avx512, Bytes::Tables, Some("tigerlake")),
    ("alderlake", X86_64, Isa::Avx2, Bytes::Dots, Some("alderlake")),
    ("sapphirerapids", X86_64, Isa::Avx512, Bytes::Bf16, Some("sapphirerapids")),
    ("graniterapids", X86_64, Isa::Avx512, Bytes::Bf16, Some("graniterapids")),
    ("znver1", X86_64, Isa::Avx2, Bytes::Vectors, Some("znver1")),
    ("znver2", X86_64, Isa::Avx2, Bytes::Vectors, Some("znver2")),
    ("znver3", X86_64, Isa::Avx2, Bytes::Vectors, Some("znver3")),
    ("znver4", X86_64, Isa::Avx512, Bytes::Bf16, Some("znver4")),
    ("aarch64-generic", AARCH64, Isa::Clif, Bytes::Vectors, None),
];

/// The CPU that it runs on.
pub const NATIVE: &str = "native";

/// All names, for help texts.
pub fn names() -> impl Iterator<Item = &'static str> {
    CPUS.iter().map(|&(name, ..)| name).chain([NATIVE])
}

impl Cpu {
    /// # Errors
    /// Where no CPU has this name; the message lists those that are known.
    pub fn named(name: &str) -> Result<Cpu, UnknownCpu> {
        if name == NATIVE {
            let (host, triple, preset) = (Isa::detect(), Triple::host(), Some(NATIVE));
            return Ok(Cpu { name: NATIVE, triple, isa: host.into(), bytes: host.bytes(), preset });
        }
        let known = CPUS.iter().find(|cpu| cpu.0 == name);
        let &(name, triple, isa, bytes, preset) = known.ok_or_else(|| UnknownCpu { name: name.to_string() })?;
        Ok(Cpu { name, triple: triple.parse().expect("triples of the table are well formed"), isa, bytes, preset })
    }

    pub fn architecture(&self) -> Architecture {
        self.triple.architecture
    }

    /// What a plan for this CPU is made with.
    pub fn target(&self) -> Target {
        self.target_of(self.isa)
    }

    /// The same for an instruction set, which should not be wider than the CPU's. Nothing of it depends on where it is
    /// asked, but for `native`, of which two of a kind are the same.
    pub fn target_of(&self, isa: Isa) -> Target {
        let target = Target { machine: self.machine(), ..Target::of(isa, self.architecture()) };
        if isa == self.isa { Target { bytes: self.bytes, ..target } } else { target }
    }

    /// What is known under its name; the generic machine where it is the name of many.
    fn machine(&self) -> Machine {
        match self.name {
            NATIVE => Machine::kind(),
            name => Known::named(name).map_or(GENERIC, |known| known.machine),
        }
    }

    /// Whether the code of a plan made for `target` runs on it.
    pub(super) fn runs(&self, target: Target) -> bool {
        // The other fields say which kernels were taken, which run anywhere.
        let machine = |target: Target| (target.lanes, target.registers, target.plain_registers);
        let own = self.target_of(target.isa);
        target.isa <= self.isa && target.bytes <= own.bytes && machine(target) == machine(own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::CodeModule;

    #[test]
    fn every_name_is_known_to_the_code_generator() {
        for name in names() {
            let cpu = Cpu::named(name).unwrap();
            CodeModule::object(cpu.triple, cpu.preset, false).unwrap();
        }
    }

    /// But for levels of x86-64 and the generic one.
    #[test]
    fn machines_have_the_features_of_the_cpu_of_their_name() {
        let known = CPUS.iter().filter_map(|cpu| Some((Known::named(cpu.0).ok()?, Cpu::named(cpu.0).unwrap())));
        let known: Vec<_> = known.collect();
        assert_eq!(known.len(), CPUS.len() - 4);
        for (known, cpu) in known {
            let (architecture, isa, bytes) = (known.architecture, known.isa, known.bytes);
            assert_eq!((architecture, isa, bytes), (Some(cpu.architecture()), cpu.isa, cpu.bytes), "{}", cpu.name);
            assert_eq!(cpu.target().machine, known.machine);
        }
        assert_eq!(Cpu::named("x86-64-v3").unwrap().target().machine, GENERIC);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = Cpu::named("pentium").unwrap_err().to_string();
        assert!(message.starts_with("unknown CPU `pentium`: expected one of x86-64-v2, "), "{message}");
        assert!(message.ends_with("aarch64-generic, native"), "{message}");
    }

    #[test]
    fn narrower_plans_run_and_wider_ones_do_not() {
        let v3 = Cpu::named("x86-64-v3").unwrap();
        assert!(v3.runs(Target::of(Isa::Clif, Architecture::X86_64)) && v3.runs(v3.target()));
        assert!(!v3.runs(Target::of(Isa::Avx512, Architecture::X86_64)));
        assert!(!v3.runs(Cpu::named("aarch64-generic").unwrap().target()));
        let alder = Cpu::named("alderlake").unwrap();
        assert!(alder.runs(v3.target()) && !v3.runs(alder.target()), "one has dot products, the other has none");
    }
}
