//! Imported ONNX files: the operators' own test cases, whole networks with their outputs, and files that lie.

mod free;
mod functions;
mod hostile;
mod light;
mod memory;
mod node_cases;
mod proto;
mod quantised;
mod types;
