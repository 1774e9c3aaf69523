//! What a file is that is none of those which are read, and what to do about it.

use super::first_bytes;

/// As many bytes of a file as [`explain`] looks at.
pub(super) const START_BYTES: usize = 512;

/// Where a tar archive has its mark.
const TAR_MARK: usize = 257;

const UNPACK: &str = "unpack it first";

/// What people give by mistake: its first bytes, what it is, and a way out where there is one.
const SIGNATURES: [(&[u8], &str, &str); 17] = [
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer, which only stands for the file",
        "fetch the file itself: git lfs pull",
    ),
    (b"\x89HDF\r\n\x1a\n", "HDF5, as Keras writes it, which is not read", "save its weights as safetensors"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture", ""),
    (b"\xff\xd8\xff", "a JPEG picture", ""),
    (b"GIF8", "a GIF picture", ""),
    (b"BM", "a BMP picture", ""),
    (b"II*\0", "a TIFF picture", ""),
    (b"MM\0*", "a TIFF picture", ""),
    (b"\x93NUMPY", "a NumPy array (.npy)", ""),
    (b"%PDF", "a PDF document", ""),
    (b"GGUF", "a language model (GGUF)", ""),
    (b"PK\x03\x04", "a zip archive", UNPACK),
    (b"\x1f\x8b", "compressed by gzip", "unpack it first (gunzip, or tar xzf for .tar.gz)"),
    (b"BZh", "compressed by bzip2", UNPACK),
    (b"\xfd7zXZ\0", "compressed by xz", UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
];

/// Says of a file that begins so what it is. `neither` lists what is accepted: `neither PNG nor JPEG`.
pub(super) fn explain(start: &[u8], neither: &str) -> String {
    match recognise(start) {
        Some((what, "")) => format!("it is {what}, {neither}"),
        Some((what, advice)) => format!("it is {what}; {advice}"),
        None => format!("{neither}: it begins with {}", first_bytes(start)),
    }
}

fn recognise(start: &[u8]) -> Option<(&'static str, &'static str)> {
    if let Some((_, what, advice)) = SIGNATURES.iter().find(|(first, ..)| start.starts_with(first)) {
        return Some((what, advice));
    }
    if is_html(start) {
        return Some(("an HTML page, as a failed download leaves it", "download the file itself"));
    }
    if start.get(TAR_MARK..).is_some_and(|mark| mark.starts_with(b"ustar")) {
        return Some(tar(start));
    }
    match start {
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(("a WebP picture", "")),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(("a HEIC or AVIF picture or a film", "")),
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => Some(("a TensorFlow Lite model, which is not read", "")),
        _ if is_onnx(start) => Some((
            "ONNX, which is not read yet",
            "save the weights of the original model: torch.save(model.state_dict(), ...)",
        )),
        _ => None,
    }
}

fn is_html(start: &[u8]) -> bool {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start().to_ascii_lowercase();
    [&b"<!doctype html"[..], b"<html", b"<head", b"<body"].iter().any(|tag| text.starts_with(tag))
}

/// A tar archive, which begins with the name of its first entry.
fn tar(start: &[u8]) -> (&'static str, &'static str) {
    let of_pytorch = [&b"sys_info\0"[..], b"pickle\0", b"tensors\0", b"storages\0"];
    if of_pytorch.iter().any(|entry| start.starts_with(entry)) {
        let what = "a tar archive of PyTorch before 0.1.10, which is not read";
        return (what, "write it anew with a later PyTorch: torch.save(torch.load(...), ...)");
    }
    ("a tar archive", UNPACK)
}

/// ONNX is a protocol buffer without a mark: the version (field 1), then mostly the name of the program that wrote it
/// (field 2), else one of the model's other fields.
fn is_onnx(start: &[u8]) -> bool {
    match start {
        [0x08, 1..=31, 0x12 | 0x1a | 0x22, length, text @ ..] => {
            let text = &text[..text.len().min((*length).into())];
            !text.is_empty() && text.iter().all(|byte| matches!(byte, b' '..=b'~'))
        }
        [0x08, 1..=31, 0x28 | 0x3a | 0x42, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_a_file_is_and_the_way_out() {
        let mut tar = vec![0; START_BYTES];
        tar[TAR_MARK..][..5].copy_from_slice(b"ustar");
        let mut old = tar.clone();
        old[..7].copy_from_slice(b"pickle\0");
        let cases: [(&[u8], &str); 12] = [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\n", "git lfs pull"),
            (b"<!DOCTYPE html><html>404</html>", "it is an HTML page, as a failed download leaves it; download"),
            (b"\xef\xbb\xbf\n  <HTML lang=en>", "an HTML page"),
            (b"\x08\x07\x12\x07pytorch", "it is ONNX, which is not read yet; save"),
            (b"\x08\x0a\x3a\x80\x01", "ONNX"),
            (b"\x89HDF\r\n\x1a\n\0\0", "HDF5, as Keras writes it"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "it is a WebP picture, neither A nor B"),
            (b"\0\0\0\x18ftypheic", "a HEIC or AVIF picture"),
            (b"\x1f\x8b\x08", "compressed by gzip; unpack it first"),
            (&tar, "it is a tar archive; unpack it first"),
            (&old, "PyTorch before 0.1.10"),
            (b"what", "neither A nor B: it begins with the bytes 77 68 61 74 'what'"),
        ];
        for (start, expected) in cases {
            let text = explain(start, "neither A nor B");
            assert!(text.contains(expected), "{text}");
        }
        // A TensorFlow model begins as ONNX does, up to where ONNX has a name.
        assert!(explain(b"\x08\x01\x12\xe4\x9a\x01\x0a", "neither").contains("it begins with"));
    }
}
