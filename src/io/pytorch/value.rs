//! What a pickle describes, as plain values.

use ::safetensors::tensor::Dtype;
use std::collections::HashMap;
use std::fmt;

/// A value on the stack. Those that others may refer to live in [`Pickle`] and are known here by their index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Int(i64),
    Global(Global<'a>),
    Tuple(usize),
    List(usize),
    Dict(usize),
    /// What a class or function makes that is not known here.
    Object(usize),
    Storage(Storage<'a>),
    Tensor(usize),
    /// None, a bool, a float, bytes, a set, an integer beyond 64 bits: nothing that weights depend on.
    Other,
}

/// The names that a pickle mentions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global<'a> {
    /// `collections.OrderedDict`
    OrderedDict,
    /// `collections.defaultdict`
    DefaultDict,
    /// `torch.Size`, a tuple
    Size,
    /// `torch._utils._rebuild_tensor`, `_rebuild_tensor_v2`
    RebuildTensor,
    /// `torch._utils._rebuild_tensor_v3`: of a type that the storage does not tell
    RebuildTensorOfType,
    /// `torch._utils._rebuild_parameter`, `_rebuild_parameter_with_state`
    RebuildParameter,
    /// `torch._tensor._rebuild_from_type_v2`: a tensor with attributes
    RebuildFromType,
    /// `torch.FloatStorage` and the like
    Storage(Dtype),
    /// `torch.float32` and the like
    Dtype(Dtype),
    /// What it stands for is not known; what it makes is an [`Object`].
    Unknown(Name<'a>),
}

/// A class or function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Name<'a> {
    pub(super) module: &'a str,
    pub(super) name: &'a str,
}

/// Elements of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Storage<'a> {
    pub(super) dtype: Dtype,
    /// Its name in the file.
    pub(super) key: &'a str,
    pub(super) elements: usize,
}

/// A view of a storage; offset and strides count elements. As described: nothing is checked but that there is a
/// stride for each dimension.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View<'a> {
    pub(super) storage: Storage<'a>,
    /// That of the storage or, where that is of bytes, another one.
    pub(super) dtype: Dtype,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Dict<'a> {
    /// Those under texts that are not very long; others are dropped, since no weights are named by them.
    pub(super) entries: Vec<(&'a str, Value<'a>)>,
    /// Whether one of them is `_modules`, which every `torch.nn.Module` has among its attributes.
    pub(super) of_module: bool,
}

/// A value of which only that is known what made it.
#[derive(Debug)]
pub(super) struct Object<'a> {
    pub(super) made_by: Name<'a>,
    /// Whether its attributes are those of a `torch.nn.Module`.
    pub(super) is_module: bool,
}

/// What a pickle describes.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub(super) root: Value<'a>,
    pub(super) lists: Vec<Vec<Value<'a>>>,
    pub(super) dicts: Vec<Dict<'a>>,
    pub(super) objects: Vec<Object<'a>>,
    pub(super) tensors: Vec<View<'a>>,
    /// By their keys, also those that no tensor is in.
    pub(super) storages: HashMap<&'a str, Storage<'a>>,
    /// The bytes that the pickle takes.
    pub(super) length: usize,
}

impl Pickle<'_> {
    /// What a value is called in messages.
    pub(super) fn describe(&self, value: Value<'_>) -> String {
        match value {
            Value::Object(object) => format!("an object made by {}", self.objects[object].made_by),
            other => other.kind().to_owned(),
        }
    }
}

impl Value<'_> {
    /// What it is called in messages.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Value::Text(_) => "a text",
            Value::Int(_) => "an integer",
            Value::Global(_) => "a name",
            Value::Tuple(_) => "a tuple",
            Value::List(_) => "a list",
            Value::Dict(_) => "a dictionary",
            Value::Object(_) => "an object",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
            Value::Other => "None, a bool, a number or bytes",
        }
    }
}

impl<'a> Global<'a> {
    pub(super) fn named(module: &'a str, name: &'a str) -> Global<'a> {
        let known = match module {
            "collections" => match name {
                "OrderedDict" => Some(Global::OrderedDict),
                "defaultdict" => Some(Global::DefaultDict),
                _ => None,
            },
            "torch._utils" => match name {
                "_rebuild_tensor" | "_rebuild_tensor_v2" => Some(Global::RebuildTensor),
                "_rebuild_tensor_v3" => Some(Global::RebuildTensorOfType),
                "_rebuild_parameter" | "_rebuild_parameter_with_state" => Some(Global::RebuildParameter),
                _ => None,
            },
            "torch._tensor" if name == "_rebuild_from_type_v2" => Some(Global::RebuildFromType),
            "torch.storage" if name == "UntypedStorage" => Some(Global::Storage(Dtype::U8)),
            "torch" if name == "Size" => Some(Global::Size),
            "torch" => storage_type(name).map(Global::Storage).or_else(|| element_type(name).map(Global::Dtype)),
            _ => None,
        };
        known.unwrap_or(Global::Unknown(Name { module, name }))
    }

    /// The name again, where it is one that makes values.
    pub(super) fn name(self) -> Name<'a> {
        let (module, name) = match self {
            Global::Unknown(name) => return name,
            Global::OrderedDict => ("collections", "OrderedDict"),
            Global::DefaultDict => ("collections", "defaultdict"),
            Global::Size => ("torch", "Size"),
            Global::RebuildTensor => ("torch._utils", "_rebuild_tensor_v2"),
            Global::RebuildTensorOfType => ("torch._utils", "_rebuild_tensor_v3"),
            Global::RebuildParameter => ("torch._utils", "_rebuild_parameter"),
            Global::RebuildFromType => ("torch._tensor", "_rebuild_from_type_v2"),
            Global::Storage(_) => ("torch", "Storage"),
            Global::Dtype(_) => ("torch", "dtype"),
        };
        Name { module, name }
    }
}

/// Of quantised types only the size matters: no tensor of theirs is made in a way that is known here.
fn storage_type(name: &str) -> Option<Dtype> {
    Some(match name {
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "DoubleStorage" => Dtype::F64,
        "LongStorage" => Dtype::I64,
        "IntStorage" | "QInt32Storage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" | "QInt8Storage" => Dtype::I8,
        "ByteStorage" | "QUInt8Storage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        "ComplexFloatStorage" => Dtype::C64,
        _ => return None,
    })
}

fn element_type(name: &str) -> Option<Dtype> {
    Some(match name {
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "float64" => Dtype::F64,
        "int64" => Dtype::I64,
        "int32" => Dtype::I32,
        "int16" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint64" => Dtype::U64,
        "uint32" => Dtype::U32,
        "uint16" => Dtype::U16,
        "uint8" => Dtype::U8,
        "bool" => Dtype::BOOL,
        "complex64" => Dtype::C64,
        "float8_e4m3fn" => Dtype::F8_E4M3,
        "float8_e5m2" => Dtype::F8_E5M2,
        _ => return None,
    })
}

/// Quoted, and cut where it is very long.
impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Name { module, name } = self;
        match module.len() + name.len() {
            ..200 => write!(f, "{:?}", format!("{module}.{name}")),
            _ => write!(f, "{} {}", shortened(module), shortened(name)),
        }
    }
}

/// A text that a message shows: quoted, and cut where it is very long.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
