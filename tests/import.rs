//! Imported ONNX files: the operators' own test cases, whole networks with their outputs, and files that lie.

mod import {
    pub mod free;
    pub mod functions;
    pub mod hostile;
    pub mod light;
    pub mod memory;
    pub mod node_cases;
    pub mod proto;
    pub mod types;
}
