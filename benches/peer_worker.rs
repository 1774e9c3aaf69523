//! A warm process that runs one network whenever it is told to, so that a driver can measure several inference
//! engines in turn. See `benches/README.md`.
//!
//! Line protocol: loads the weights, runs once, writes the output, and says that it is ready with one line of JSON.
//! Then each line `run N SECONDS` on standard input is answered with the nanoseconds of N runs (fewer once SECONDS
//! are over); anything else ends it. One run is [`Session::run`]: host array in, host array out.

use clap::Parser;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use svertka::codegen::Isa;
use svertka::front::text::build::{self, NoFiles};
use svertka::io::bind::BoundWeights;
use svertka::io::npy::{self, ArrayData};
use svertka::io::weights::WeightFile;
use svertka::ir::{Graph, Verified};
use svertka::runtime::{Engine, Options, Session};
use svertka::source::SourceMap;
use svertka::tensor::Tensor;

#[derive(Parser)]
struct Args {
    /// Name of the network, such as `resnet50`; `_b8` behind it is passed over, since the input decides the batch
    #[arg(long)]
    net: String,
    /// Safetensors with torchvision's names
    #[arg(long)]
    weights: PathBuf,
    /// Little-endian f32, NCHW
    #[arg(long)]
    input: PathBuf,
    /// Where to write the output, as the input
    #[arg(long)]
    output: PathBuf,
    /// An array in npy format; the largest difference from it is printed on standard error
    #[arg(long)]
    reference: Option<PathBuf>,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Leave Winograd convolution out
    #[arg(long)]
    exact: bool,
    /// End after the first run
    #[arg(long)]
    once: bool,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let args = Args::parse();
    let start = Instant::now();
    let mut session = load(&args)?;
    let load = start.elapsed();
    let input = [read_input(&args.input, &session.plan().graph)?];
    let start = Instant::now();
    let outputs = session.run(&input)?;
    let first = start.elapsed();
    write_output(&args.output, &outputs[0])?;
    if let Some(reference) = &args.reference {
        eprintln!("{}: {:.2e} of the largest output from the reference", args.net, distance(&outputs[0], reference)?);
    }
    answer(&format!(
        r#"{{"ready":true,"version":"svertka {} {}","import_ms":0,"load_ms":{:.3},"first_ms":{:.3},"rss_mb":{:.1},"peak_mb":{:.1}}}"#,
        env!("CARGO_PKG_VERSION"),
        Isa::detect(),
        milliseconds(load),
        milliseconds(first),
        memory_mib("VmRSS:"),
        memory_mib("VmHWM:"),
    ))?;
    if args.once { Ok(()) } else { serve(&mut session, &input) }
}

/// The model file and variant of a network.
fn model(net: &str) -> Result<(PathBuf, Option<&str>)> {
    let net = net.strip_suffix("_b8").unwrap_or(net);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (file, variant) = match net {
        "lenet5" => ("benches/peer_lenet5.cnn", None),
        "alexnet" => ("models/alexnet.cnn", None),
        "googlenet" => ("models/googlenet.cnn", None),
        "inception_v3" => ("models/inception_v3.cnn", None),
        "mobilenet_v2" => ("models/mobilenet_v2.cnn", None),
        _ if net.starts_with("vgg") => ("models/vgg.cnn", Some(net)),
        _ if net.starts_with("resnet") => ("models/resnet.cnn", Some(net)),
        _ if net.starts_with("densenet") => ("models/densenet.cnn", Some(net)),
        _ if net.starts_with("efficientnet") => ("models/efficientnet.cnn", Some(net)),
        _ if net.starts_with("squeezenet") => ("models/squeezenet.cnn", Some(net)),
        _ => return Err(format!("no network is known as {net}").into()),
    };
    Ok((root.join(file), variant))
}

fn load(args: &Args) -> Result<Session> {
    let (path, variant) = model(&args.net)?;
    let graph = graph(&path, variant)?;
    let weights = BoundWeights::bind(&graph, WeightFile::open(&args.weights)?)?;
    let engine = Engine::Jit(Isa::detect());
    let options = Options { engine, threads: args.threads, exact: args.exact, ..Options::default() };
    Ok(Session::new(graph, &weights, &options)?)
}

fn graph(path: &Path, variant: Option<&str>) -> Result<Verified<Graph>> {
    let mut sources = SourceMap::default();
    let root = sources.add(path.display().to_string(), svertka::io::text::read(path)?);
    let options = build::Options { variant: variant.map(str::to_string), ..build::Options::default() };
    build::load(&mut sources, root, &options, &mut NoFiles)
        .and_then(|program| build::build(&mut sources, &program, &options))
        .map_err(|errors| svertka::diagnostic::render(&errors, &sources, false).into())
}

/// The first input of `graph`, with as many samples as the file holds.
fn read_input(path: &Path, graph: &Graph) -> Result<Tensor> {
    let bytes = fs::read(path)?;
    let values: Vec<f32> = bytes.as_chunks().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect();
    let ty = &graph[graph.inputs[0]].ty;
    let batch = values.len() / ty.elements();
    if bytes.len() != 4 * batch * ty.elements() {
        return Err(format!("{}: {} bytes are no whole samples of {ty}", path.display(), bytes.len()).into());
    }
    Ok(Tensor::new(ty.shape(batch), values))
}

fn write_output(path: &Path, output: &Tensor) -> Result<()> {
    let bytes: Vec<u8> = output.data().iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(fs::write(path, bytes)?)
}

/// The largest difference from a stored array, relative to the largest magnitude in it.
fn distance(output: &Tensor, reference: &Path) -> Result<f32> {
    let ArrayData::F32(reference) = npy::read(reference)?.data else { return Err("the reference is not f32".into()) };
    if reference.len() != output.data().len() {
        return Err(format!("the reference has {} values, not {}", reference.len(), output.data().len()).into());
    }
    let largest = reference.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    let differences = output.data().iter().zip(&reference).map(|(a, b)| (a - b).abs());
    // Not `max`, which would pass over NaN.
    let worst = differences.fold(0.0f32, |a, b| if b > a || b.is_nan() { b } else { a });
    Ok(worst / largest)
}

fn serve(session: &mut Session, input: &[Tensor]) -> Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["run", runs, limit @ ..] = &words[..] else { break };
        let limit = limit.first().map_or(Ok(Duration::MAX), |s| s.parse().map(Duration::from_secs_f64))?;
        let nanoseconds = measure(session, input, runs.parse()?, limit)?;
        answer(&format!(r#"{{"ns":{nanoseconds:?},"peak_mb":{:.1}}}"#, memory_mib("VmHWM:")))?;
    }
    Ok(())
}

/// Nanoseconds of each run.
fn measure(session: &mut Session, input: &[Tensor], runs: usize, limit: Duration) -> Result<Vec<u128>> {
    let start = Instant::now();
    let mut nanoseconds = Vec::new();
    while nanoseconds.len() < runs && (nanoseconds.is_empty() || start.elapsed() <= limit) {
        let start = Instant::now();
        let outputs = session.run(input)?;
        nanoseconds.push(start.elapsed().as_nanos());
        black_box(outputs);
    }
    Ok(nanoseconds)
}

fn answer(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A line of `/proc/self/status` in MiB; 0 where there is none.
fn memory_mib(key: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}
