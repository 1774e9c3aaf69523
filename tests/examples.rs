//! The way of a stranger: a model is compiled by the real binary, and the programs of `tests/aot` are built as their
//! README files say and run on pictures. Tests are ignored where a compiler, an emulator or data are absent.

use std::path::{Path, PathBuf};
use std::process::Command;
use svertka::io::{npy, testdata};

/// A folder to work in.
struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Lab {
        Lab { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// `svertka compile` into the folder.
    fn compile(&self, model: &str, args: &[&str]) {
        let mut svertka = Command::new(env!("CARGO_BIN_EXE_svertka"));
        svertka
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["compile", model, "--tuned", "none", "-o"])
            .arg(self.folder.path());
        output(svertka.args(args));
    }

    /// `svertka quantize` of LeNet-5, then as [`compile`](Lab::compile) with `--bytes`.
    fn compile_bytes(&self, args: &[&str]) {
        let (root, weights) = (env!("CARGO_MANIFEST_DIR"), self.text("digits8.safetensors"));
        let pictures = (0..10).map(|digit| format!("models/pictures/digit_{digit}.png"));
        let mut svertka = Command::new(env!("CARGO_BIN_EXE_svertka"));
        svertka.current_dir(root).args(["quantize", "models/lenet5.cnn", "-o", &weights, "--calibrate"]);
        output(svertka.args(pictures));
        self.compile("models/lenet5.cnn", &[&["--weights", &weights, "--bytes"], args].concat());
    }

    /// Builds `tests/aot/c/SOURCE.c` against the library into `program`.
    fn cc(&self, cc: &str, source: &str, library: &str, flags: &[&str]) {
        let mut command = Command::new(cc);
        command.args(["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-I"]).arg(self.folder.path());
        command.arg("-o").arg(self.path("program")).arg(example(&format!("c/{source}.c")));
        output(command.arg(self.path(&format!("lib{library}.a"))).args(flags));
    }

    /// Builds `tests/aot/rust/SOURCE.rs` against the library into `program`.
    fn rustc(&self, source: &str, library: &str) {
        let mut command = Command::new("rustc");
        command.args(["--edition", "2024", "-D", "warnings", "-l", &format!("static={library}"), "-L"]);
        command.arg(self.folder.path()).arg(example(&format!("rust/{source}.rs")));
        output(command.arg("-o").arg(self.path("program")));
    }

    /// What `program` prints.
    fn run(&self, args: &[&str]) -> String {
        String::from_utf8(output(Command::new(self.path("program")).args(args))).unwrap()
    }

    /// Writes a picture in Netpbm's format; its path.
    fn netpbm(&self, picture: &Path) -> String {
        let file = std::io::BufReader::new(std::fs::File::open(picture).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut samples = vec![0; reader.output_buffer_size().unwrap()];
        let png::OutputInfo { width, height, color_type, .. } = reader.next_frame(&mut samples).unwrap();
        let kind = if color_type == png::ColorType::Rgb { "P6" } else { "P5" };
        let path = self.text("picture.pnm");
        let header = format!("{kind}\n# a comment\n{width} {height}\n255\n");
        std::fs::write(&path, [header.into_bytes(), samples].concat()).unwrap();
        path
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aot").join(name)
}

/// What a command writes to standard output; it must succeed.
fn output(command: &mut Command) -> Vec<u8> {
    let result = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(result.status.success(), "{command:?}\n{}{}", text(&result.stdout), text(&result.stderr));
    result.stdout
}

const LABELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/labels/imagenet.txt");
const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/labels/digits.txt");

/// Checks a program, called with a picture, on the ten digits.
fn reads_digits(lab: &Lab, program: impl Fn(&str) -> String) {
    for digit in 0..10 {
        let picture = format!("{}/models/pictures/digit_{digit}.png", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(program(&lab.netpbm(Path::new(&picture))), format!("{digit}\n"));
    }
}

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn digits_in_c() {
    let lab = Lab::new();
    lab.compile("models/lenet5.cnn", &[]);
    lab.cc("cc", "digit", "lenet5", &[]);
    reads_digits(&lab, |picture| lab.run(&[picture]));
    let size = std::fs::metadata(lab.path("program")).unwrap().len();
    assert!(size < 400_000, "the program with its weights has {size} bytes");
    let wrong = Command::new(lab.path("program")).arg(LABELS).output().unwrap();
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("not a binary PGM file"), "{wrong:?}");
}

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn digits_in_rust() {
    let lab = Lab::new();
    lab.compile("models/lenet5.cnn", &["--emit", "static"]);
    lab.rustc("digit", "lenet5");
    reads_digits(&lab, |picture| lab.run(&[picture]));
}

#[test]
#[cfg_attr(not(all(tool = "numpy", tool = "cc")), ignore = "needs numpy and cc")]
fn digits_in_python() {
    let lab = Lab::new();
    lab.compile("models/lenet5.cnn", &["--emit", "shared"]);
    let library = lab.text("liblenet5.so");
    reads_digits(&lab, |picture| classify(&[&library, "lenet5", picture, DIGITS]));
}

/// Who asks the library or its header what its input is gives a model on whole numbers such.
#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn digits_as_bytes() {
    let lab = Lab::new();
    lab.compile_bytes(&["--emit", "static,header"]);
    lab.cc("cc", "digit", "lenet5", &["-lm"]);
    reads_digits(&lab, |picture| lab.run(&[picture]));
    lab.rustc("digit", "lenet5");
    reads_digits(&lab, |picture| lab.run(&[picture]));
}

#[test]
#[cfg_attr(not(all(tool = "numpy", tool = "cc")), ignore = "needs numpy and cc")]
fn digits_as_bytes_in_python() {
    let lab = Lab::new();
    lab.compile_bytes(&["--emit", "shared"]);
    let library = lab.text("liblenet5.so");
    reads_digits(&lab, |picture| classify(&[&library, "lenet5", picture, DIGITS]));
}

/// What `classify.py` prints.
fn classify(args: &[&str]) -> String {
    let python = output(Command::new("python3").arg(example("python/classify.py")).args(args));
    String::from_utf8(python).unwrap()
}

/// MobileNetV2's weights, and photographs with the classes that PyTorch finds.
fn photographs() -> (String, Vec<(PathBuf, String)>) {
    let folder = testdata::shared("imagenet");
    let top5: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("top5.json")).unwrap()).unwrap();
    let labels: Vec<String> = std::fs::read_to_string(LABELS).unwrap().lines().map(String::from).collect();
    let photographs = top5["mobilenet_v2_imagenet"].as_object().unwrap().iter().map(|(name, best)| {
        let class = best[0][0].as_u64().unwrap() as usize;
        (folder.join(format!("{name}_224.png")), format!("{}\n", labels[class]))
    });
    let photographs = photographs.collect();
    (folder.join("mobilenet_v2_imagenet.safetensors").display().to_string(), photographs)
}

#[test]
#[cfg_attr(not(all(test_data, tool = "cc")), ignore = "needs the test data and cc")]
fn photographs_in_c() {
    let (weights, photographs) = photographs();
    for place in ["embed", "file"] {
        let lab = Lab::new();
        lab.compile("models/mobilenet_v2.cnn", &["--weights", &weights, "--weights-in", place]);
        lab.cc("cc", "photograph", "mobilenet_v2", &[]);
        let file = lab.text("mobilenet_v2.weights");
        for (photograph, class) in &photographs {
            let picture = lab.netpbm(photograph);
            let args = [picture.as_str(), LABELS, &file];
            assert_eq!(lab.run(&args[..if place == "file" { 3 } else { 2 }]), *class, "{place}");
        }
        if place == "file" {
            let none = Command::new(lab.path("program")).args([&lab.text("picture.pnm"), LABELS]).output().unwrap();
            assert!(String::from_utf8_lossy(&none.stderr).contains("the weights are missing"), "{none:?}");
        }
    }
}

#[test]
#[cfg_attr(not(all(test_data, tool = "cc", tool = "numpy")), ignore = "needs the test data, cc and numpy")]
fn photographs_in_rust_and_python() {
    let (weights, photographs) = photographs();
    let lab = Lab::new();
    lab.compile("models/mobilenet_v2.cnn", &["--weights", &weights, "--emit", "static,shared"]);
    lab.rustc("photograph", "mobilenet_v2");
    let library = lab.text("libmobilenet_v2.so");
    for (photograph, class) in &photographs[..3] {
        let picture = lab.netpbm(photograph);
        assert_eq!(lab.run(&[&picture, LABELS]), *class);
        assert_eq!(classify(&[&library, "mobilenet_v2", &picture, LABELS]), *class);
    }
}

/// LeNet-5 for AArch64 on ten digits, against PyTorch's logits.
#[test]
#[cfg_attr(not(tool = "aarch64"), ignore = "needs a cross compiler and an emulator for AArch64")]
fn aarch64_digits_agree_with_the_reference() {
    let cc = "aarch64-linux-gnu-gcc";
    let data = testdata::committed("digits");
    let lab = Lab::new();
    let weights = "models/weights/lenet5_relu.safetensors";
    lab.compile("models/lenet5.cnn", &["--weights", weights, "--cpu", "aarch64-generic", "--name", "net"]);
    let mut command = Command::new(cc);
    command.args(["-std=c11", "-D_GNU_SOURCE", "-static", "-pthread", "-I"]).arg(lab.folder.path());
    output(command.arg(example("driver.c")).arg(lab.path("libnet.a")).arg("-o").arg(lab.path("program")).arg("-lm"));

    let batch = 10;
    let images = npy::read(&data.join("mnist_test200_images_u8.npy")).unwrap();
    let npy::ArrayData::U8(images) = images.data else { panic!("pictures are bytes") };
    let normal = |grey: &u8| (f32::from(*grey) / 255.0 - 0.1307) / 0.3081;
    let inputs: Vec<f32> = images[..batch * 28 * 28].iter().map(normal).collect();
    std::fs::write(lab.path("inputs"), bytemuck::cast_slice(&inputs)).unwrap();
    let logits = npy::read(&data.join("lenet5_relu_maxpool_mnist_test200_logits.npy")).unwrap();
    let npy::ArrayData::F32(logits) = logits.data else { panic!("logits are floats") };
    let scale = logits.iter().fold(0f32, |largest, x| largest.max(x.abs()));

    for mode in ["serial", "parallel"] {
        let mut emulator = Command::new("qemu-aarch64");
        let found = output(emulator.arg(lab.path("program")).args([mode, "10"]).arg(lab.path("inputs")));
        let found: Vec<f32> = bytemuck::pod_collect_to_vec(&found);
        assert_eq!(found.len(), batch * 10);
        let difference = found.iter().zip(&logits).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(difference <= 1e-5 * scale, "{mode}: {difference} of {scale}");
    }
}

#[test]
fn the_same_command_writes_the_same_bytes() {
    let (first, second) = (Lab::new(), Lab::new());
    for lab in [&first, &second] {
        lab.compile("models/lenet5.cnn", &["--cpu", "x86-64-v3", "--emit", "obj,static,header,asm,clif"]);
    }
    for file in ["lenet5.o", "liblenet5.a", "lenet5.h", "lenet5.s", "lenet5.clif"] {
        assert!(std::fs::read(first.path(file)).unwrap() == std::fs::read(second.path(file)).unwrap(), "{file}");
    }
}
