//! Which machine it is, by what the CPU calls itself.

/// The name under which the machine at hand is known, if it is.
pub fn name() -> Option<&'static str> {
    of_cpu()
}

#[cfg(target_arch = "x86_64")]
fn of_cpu() -> Option<&'static str> {
    use std::arch::x86_64::{__cpuid, CpuidResult};
    let CpuidResult { ebx, ecx, edx, .. } = __cpuid(0);
    let vendor = [ebx, edx, ecx].map(u32::to_le_bytes);
    x86(vendor.as_flattened(), __cpuid(1).eax)
}

/// By vendor and signature: families and models as Linux names them (`intel-family.h`) and GCC tells AMD's apart
/// (`cpuinfo.h`).
#[cfg(any(target_arch = "x86_64", test))]
fn x86(vendor: &[u8], signature: u32) -> Option<&'static str> {
    let bits = |low: u32, count: u32| signature >> low & ((1 << count) - 1);
    let (stepping, base) = (bits(0, 4), bits(8, 4));
    let family = if base == 15 { base + bits(20, 8) } else { base };
    let model = bits(4, 4) | bits(16, 4) << 4;
    match (vendor, family) {
        (b"GenuineIntel", 6) => intel(model, stepping),
        (b"AuthenticAMD", _) => amd(family, model),
        (b"HygonGenuine", 0x18) => Some("znver1"),
        _ => None,
    }
}

#[cfg(any(target_arch = "x86_64", test))]
fn intel(model: u32, stepping: u32) -> Option<&'static str> {
    Some(match model {
        0x3c | 0x3f | 0x45 | 0x46 => "haswell",
        0x3d | 0x47 | 0x4f | 0x56 => "broadwell",
        // Kaby, Coffee and Comet Lake too.
        0x4e | 0x5e | 0x8e | 0x9e | 0xa5 | 0xa6 => "skylake",
        // Cascade Lake from the fifth stepping on, then Cooper Lake.
        0x55 => ["skylake-avx512", "cascadelake"][usize::from(stepping >= 5)],
        0x6a | 0x6c => "icelake-server",
        // Rocket Lake too.
        0x7d | 0x7e | 0xa7 => "icelake-client",
        0x8c | 0x8d => "tigerlake",
        // Raptor Lake too.
        0x97 | 0x9a | 0xb7 | 0xba | 0xbf => "alderlake",
        0x8f => "sapphirerapids",
        0xcf => "emeraldrapids",
        0xad | 0xae => "graniterapids",
        _ => return None,
    })
}

#[cfg(any(target_arch = "x86_64", test))]
fn amd(family: u32, model: u32) -> Option<&'static str> {
    Some(match (family, model) {
        (0x17, 0x00..=0x2f) => "znver1",
        (0x17, _) => "znver2",
        (0x19, 0x10..=0x1f | 0x60..=0xaf) => "znver4",
        (0x19, _) => "znver3",
        (0x1a, 0x00..=0x4f | 0x60..=0x77) => "znver5",
        _ => return None,
    })
}

/// There is no other.
#[cfg(all(target_arch = "aarch64", target_os = "macos"))]
fn of_cpu() -> Option<&'static str> {
    Some("apple-m")
}

#[cfg(all(target_arch = "aarch64", not(target_os = "macos")))]
fn of_cpu() -> Option<&'static str> {
    let register = "/sys/devices/system/cpu/cpu0/regs/identification/midr_el1";
    let of_register = || parse_hex(&super::system::word(register.as_ref())?);
    let field = |name: &str| parse_hex(&super::system::cpu_field(name)?);
    let of_fields = || Some(field("CPU implementer")? << 24 | field("CPU part")? << 4);
    arm(of_register().or_else(of_fields)?)
}

#[cfg(any(target_arch = "aarch64", test))]
fn parse_hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// By the main identification register: implementer and part, as Linux names them (`cputype.h`).
#[cfg(any(target_arch = "aarch64", test))]
fn arm(midr: u64) -> Option<&'static str> {
    Some(match (midr >> 24 & 0xff, midr >> 4 & 0xfff) {
        (0x41, 0xd0c) => "neoverse-n1",
        (0x41, 0xd49) => "neoverse-n2",
        (0x41, 0xd40) => "neoverse-v1",
        (0x41, 0xd4f) => "neoverse-v2",
        (0x61, _) => "apple-m",
        _ => return None,
    })
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn of_cpu() -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::known;

    #[test]
    fn signatures_are_told_apart() {
        let intel = |signature| x86(b"GenuineIntel", signature);
        let amd = |signature| x86(b"AuthenticAMD", signature);
        assert_eq!([0x306c3, 0x406f1, 0x906ea].map(intel), ["haswell", "broadwell", "skylake"].map(Some));
        assert_eq!([0x50654, 0x50657].map(intel), ["skylake-avx512", "cascadelake"].map(Some));
        assert_eq!(
            [0x606a6, 0x806f8, 0xc06f2].map(intel),
            ["icelake-server", "sapphirerapids", "emeraldrapids"].map(Some)
        );
        assert_eq!([0x800f82, 0x830f10, 0xa00f11].map(amd), ["znver1", "znver2", "znver3"].map(Some));
        assert_eq!([0xa10f11, 0xa20f10, 0xb00f21].map(amd), ["znver4", "znver3", "znver5"].map(Some));
        // A Pentium 4, Zen 3's signature of another vendor, one that is still to come.
        assert_eq!([intel(0xf29), intel(0xa00f11), amd(0xc00f00), x86(b"KVMKVMKVM\0\0\0", 0x306c3)], [None; 4]);
    }

    #[test]
    fn parts_are_told_apart() {
        let found = ["0x413fd0c1", "0x411fd401", "0x410fd4f0", "0x611f0230"].map(|text| arm(parse_hex(text).unwrap()));
        assert_eq!(found, ["neoverse-n1", "neoverse-v1", "neoverse-v2", "apple-m"].map(Some));
        assert_eq!((arm(0x410fd034), parse_hex("0x"), parse_hex("d0c"), parse_hex("")), (None, None, None, None));
    }

    #[test]
    fn whatever_is_found_is_in_the_table() {
        let signatures = (0..=0xff).flat_map(|model: u32| {
            let model = (model & 15) << 4 | model >> 4 << 16;
            [0x600, 0x60f, 0x80_0f00, 0xa0_0f00, 0xb0_0f00].map(|family| family | model)
        });
        let x86 = signatures.flat_map(|signature| {
            [b"GenuineIntel", b"AuthenticAMD", b"HygonGenuine"].map(|vendor| x86(vendor, signature))
        });
        let arm = (0..1 << 12).flat_map(|part| [0x41, 0x61].map(|implementer| arm(implementer << 24 | part << 4)));
        let mut found: Vec<_> = x86.chain(arm).flatten().chain(name()).collect();
        found.sort_unstable();
        found.dedup();
        assert!(found.iter().all(|name| known::find(name).is_some()), "{found:?}");
        assert_eq!(found.len() + 1, known::KNOWN.len(), "every one but the generic can be found: {found:?}");
    }
}
