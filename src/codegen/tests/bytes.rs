//! Operations on bytes.

use super::*;

/// What lies in memory for f32 of these bits.
fn words(seed: u32) -> Vec<f32> {
    noise(16, seed).into_iter().map(|x| f32::from_bits(x.to_bits().wrapping_mul(0x9e37_79b9))).collect()
}

#[test]
fn dot_products_of_bytes_do_not_saturate() {
    let largest = || vec![f32::from_bits(0xffff_ffff); 16];
    let pairs = [
        (words(1), words(2)),
        (largest(), vec![f32::from_bits(0x7f7f_7f7f); 16]),
        (largest(), vec![f32::from_bits(0x8080_8080); 16]),
    ];
    let without = std::is_x86_feature_detected!("avx512f") && !std::is_x86_feature_detected!("avx512vnni");
    for (a, b) in pairs {
        let data = Data { inputs: vec![a.clone(), b.clone(), words(3)], outputs: vec![vec![0.0; 16]], ints: vec![] };
        let mut build = |asm: &mut dyn VectorAsm| {
            let [x, y, sum] = [(); 3].map(|()| asm.vec());
            for (v, arg) in [(x, 0), (y, 1), (sum, 2)] {
                asm.load(v, asm.arg(arg).at(0));
            }
            asm.dot_bytes(sum, x, y);
            asm.store(asm.arg(3).at(0), sum);
        };
        let found =
            if without { run_emulated(Isa::Avx512, data, &mut build) } else { run(Isa::Avx512, &data, &mut build) };
        let expected = (0..16).map(|lane| {
            let (a, b) = (a[lane].to_bits().to_le_bytes(), b[lane].to_bits().to_le_bytes());
            let products = (0..4).map(|k| i64::from(a[k]) * i64::from(b[k] as i8)).sum::<i64>();
            f32::from_bits((i64::from(words(3)[lane].to_bits()) + products) as u32)
        });
        assert_same(&found[0], &expected.collect::<Vec<_>>(), "dot products");
    }
}

#[test]
fn bytes_are_widened_and_narrowed() {
    let data = Data { inputs: vec![words(5), words(6)], outputs: vec![vec![0.0; 16], vec![1.0; 5]], ints: vec![] };
    let found = run(Isa::Avx512, &data, &mut |asm| {
        let v = asm.vec();
        asm.load_bytes(v, asm.arg(0).at(4));
        asm.store(asm.arg(2).at(0), v);
        asm.load(v, asm.arg(1).at(0));
        asm.store_bytes(asm.arg(3).at(0), v);
    });
    let bytes: Vec<u8> = words(5).iter().flat_map(|word| word.to_bits().to_le_bytes()).collect();
    let widened: Vec<f32> = bytes[4..20].iter().map(|&byte| f32::from_bits(byte.into())).collect();
    assert_same(&found[0], &widened, "widened");
    let low: Vec<u8> = words(6).iter().map(|word| word.to_bits() as u8).collect();
    let narrowed = low.chunks(4).map(|word| f32::from_bits(u32::from_le_bytes(word.try_into().unwrap())));
    assert_same(&found[1], &narrowed.chain([1.0]).collect::<Vec<_>>(), "narrowed: sixteen bytes, no more");
}
