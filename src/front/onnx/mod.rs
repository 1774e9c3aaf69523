//! ONNX files (<https://onnx.ai>), read and written.
//!
//! | file | concern |
//! | --- | --- |
//! | [`wire`] | protocol buffers: fields of messages, in place |
//! | [`proto`] | the messages of a model file |

pub mod proto;
pub mod wire;
