//! Reads pictures in the formats of Netpbm: `P5` for grey and `P6` for colours, of 8 bits a sample.

/// The picture as `[channels, height, width]`: (sample / 255 - mean) / std of each channel.
pub fn read(path: &str, [channels, height, width]: [usize; 3], mean: &[f32], std: &[f32]) -> Result<Vec<f32>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let kind = if channels == 1 { "P5" } else { "P6" };
    let header = format!("{kind} {width} {height} 255");
    let mut rest = bytes.as_slice();
    for word in header.split(' ') {
        if next_word(&mut rest) != word.as_bytes() {
            return Err(format!("{path}: expected a Netpbm file that begins with {header}"));
        }
    }
    // One space ends the header.
    let samples = rest.get(1..).filter(|samples| samples.len() >= channels * height * width);
    let samples = samples.ok_or_else(|| format!("{path}: the picture ends too early"))?;
    let value = |c: usize, pixel: usize| (f32::from(samples[pixel * channels + c]) / 255.0 - mean[c]) / std[c];
    Ok((0..channels).flat_map(|c| (0..height * width).map(move |pixel| value(c, pixel))).collect())
}

/// Takes the next word, behind spaces and comments.
fn next_word<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    loop {
        *rest = rest.trim_ascii_start();
        let ends: fn(&u8) -> bool = if rest.first() == Some(&b'#') { |c| *c == b'\n' } else { u8::is_ascii_whitespace };
        let (word, behind) = rest.split_at(rest.iter().position(ends).unwrap_or(rest.len()));
        *rest = behind;
        if word.first() != Some(&b'#') {
            return word;
        }
    }
}
