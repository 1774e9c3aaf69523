//! Numbers of fields and kinds: `onnx.proto` of ONNX 1.15, <https://github.com/onnx/onnx/blob/v1.15.0/onnx/onnx.proto>.

/// `ModelProto`.
pub mod model {
    pub const IR_VERSION: u32 = 1;
    pub const PRODUCER_NAME: u32 = 2;
    pub const PRODUCER_VERSION: u32 = 3;
    pub const GRAPH: u32 = 7;
    pub const OPSET_IMPORT: u32 = 8;
    pub const METADATA: u32 = 14;
    pub const FUNCTION: u32 = 25;
}

/// `FunctionProto`.
pub mod function {
    pub const NAME: u32 = 1;
    pub const INPUT: u32 = 4;
    pub const OUTPUT: u32 = 5;
    pub const ATTRIBUTE: u32 = 6;
    pub const NODE: u32 = 7;
    pub const OPSET_IMPORT: u32 = 9;
    pub const DOMAIN: u32 = 10;
    pub const DEFAULT: u32 = 11;
}

/// `OperatorSetIdProto`.
pub mod opset {
    pub const DOMAIN: u32 = 1;
    pub const VERSION: u32 = 2;
}

/// `StringStringEntryProto`.
pub mod entry {
    pub const KEY: u32 = 1;
    pub const VALUE: u32 = 2;
}

/// `GraphProto`.
pub mod graph {
    pub const NODE: u32 = 1;
    pub const NAME: u32 = 2;
    pub const INITIALIZER: u32 = 5;
    pub const INPUT: u32 = 11;
    pub const OUTPUT: u32 = 12;
    pub const VALUE_INFO: u32 = 13;
}

/// `NodeProto`.
pub mod node {
    pub const INPUT: u32 = 1;
    pub const OUTPUT: u32 = 2;
    pub const NAME: u32 = 3;
    pub const OPERATOR: u32 = 4;
    pub const ATTRIBUTE: u32 = 5;
    pub const DOMAIN: u32 = 7;
}

/// `AttributeProto`, and its `AttributeType`.
pub mod attribute {
    pub const NAME: u32 = 1;
    pub const F: u32 = 2;
    pub const I: u32 = 3;
    pub const S: u32 = 4;
    pub const LIST_OF_INTS: u32 = 8;
    pub const TYPE: u32 = 20;
    pub const REFERENCE: u32 = 21;

    pub const FLOAT: i64 = 1;
    pub const INT: i64 = 2;
    pub const STRING: i64 = 3;
    pub const INTS: i64 = 7;
}

/// `ValueInfoProto`, and `TypeProto` within it.
pub mod value {
    pub const NAME: u32 = 1;
    pub const TYPE: u32 = 2;
    pub const TENSOR_TYPE: u32 = 1;
    pub const ELEMENT_TYPE: u32 = 1;
    pub const SHAPE: u32 = 2;
    pub const DIMENSION: u32 = 1;
    pub const SIZE: u32 = 1;
    pub const SYMBOL: u32 = 2;
}

/// `TensorProto`, its `DataType` and `DataLocation`.
pub mod tensor {
    pub const DIMS: u32 = 1;
    pub const ELEMENT_TYPE: u32 = 2;
    pub const NAME: u32 = 8;
    pub const RAW_DATA: u32 = 9;
    pub const EXTERNAL_DATA: u32 = 13;
    pub const DATA_LOCATION: u32 = 14;

    pub const FLOAT: i64 = 1;
    pub const UINT8: i64 = 2;
    pub const INT8: i64 = 3;
    pub const INT32: i64 = 6;
    pub const INT64: i64 = 7;

    pub const EXTERNAL: i64 = 1;
}
