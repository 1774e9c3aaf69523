//! The part of Python's pickle that describes a dictionary of tensors.
//!
//! A pickle is a program for a stack machine (CPython's `Lib/pickletools.py` describes every opcode). Here the
//! opcodes that `torch.save` emits for dictionaries of tensors build plain values; every other opcode is an error.
//! Nothing is ever called: the few names that a pickle may mention select one of the cases of [`Global`].
//!
//! No value is walked recursively, so nesting needs no limit; every opcode takes memory for at most one value, so
//! [`MAX_STEPS`] bounds stack, memo and values.

use ::safetensors::tensor::Dtype;
use std::collections::HashMap;

/// Opcodes of one pickle. A tensor takes about 40.
const MAX_STEPS: usize = 1 << 20;

/// PyTorch's convolutions need 5.
const MAX_DIMENSIONS: usize = 8;

/// Protocol 5 is the newest (PEP 574); `torch.save` writes 2 unless told otherwise.
const MAX_PROTOCOL: u8 = 5;

/// The opcodes that are taken, by their names in `pickletools`.
mod op {
    pub const PROTO: u8 = 0x80;
    pub const FRAME: u8 = 0x95;
    pub const STOP: u8 = b'.';
    pub const MARK: u8 = b'(';
    pub const NONE: u8 = b'N';
    pub const NEWTRUE: u8 = 0x88;
    pub const NEWFALSE: u8 = 0x89;
    pub const BINFLOAT: u8 = b'G';
    pub const BININT: u8 = b'J';
    pub const BININT1: u8 = b'K';
    pub const BININT2: u8 = b'M';
    pub const LONG1: u8 = 0x8a;
    pub const BINUNICODE: u8 = b'X';
    pub const SHORT_BINUNICODE: u8 = 0x8c;
    pub const EMPTY_TUPLE: u8 = b')';
    pub const TUPLE: u8 = b't';
    pub const TUPLE1: u8 = 0x85;
    pub const TUPLE2: u8 = 0x86;
    pub const TUPLE3: u8 = 0x87;
    pub const EMPTY_LIST: u8 = b']';
    pub const APPEND: u8 = b'a';
    pub const APPENDS: u8 = b'e';
    pub const EMPTY_DICT: u8 = b'}';
    pub const SETITEM: u8 = b's';
    pub const SETITEMS: u8 = b'u';
    pub const GLOBAL: u8 = b'c';
    pub const STACK_GLOBAL: u8 = 0x93;
    pub const BINPERSID: u8 = b'Q';
    pub const REDUCE: u8 = b'R';
    pub const BUILD: u8 = b'b';
    pub const BINPUT: u8 = b'q';
    pub const LONG_BINPUT: u8 = b'r';
    pub const MEMOIZE: u8 = 0x94;
    pub const BINGET: u8 = b'h';
    pub const LONG_BINGET: u8 = b'j';
}

/// A value on the stack. Those that others may refer to live in [`Pickle`] and are known here by their index.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Int(i64),
    Global(Global),
    Tuple(usize),
    Dict(usize),
    /// What lists hold is dropped: no weights are looked for in them.
    List,
    Storage(Storage<'a>),
    Tensor(usize),
    /// None, a bool, a float or an integer beyond 64 bits: nothing that weights depend on.
    Other,
}

/// The names that a pickle may mention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Global {
    /// `collections.OrderedDict`
    OrderedDict,
    /// `torch._utils._rebuild_tensor_v2`
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`
    RebuildParameter,
    /// `torch.FloatStorage` and the like
    Storage(Dtype),
}

/// Elements in an entry of the archive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Storage<'a> {
    pub(super) dtype: Dtype,
    /// The name of the entry behind `data/`.
    pub(super) key: &'a str,
    pub(super) elements: usize,
}

/// A view of a storage; offset and strides count elements. As described: nothing is checked but that there is a
/// stride for each dimension.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// What a pickle describes.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub(super) root: Value<'a>,
    /// Their entries under texts; others are dropped, since no weights are named by them.
    pub(super) dicts: Vec<Vec<(&'a str, Value<'a>)>>,
    pub(super) tensors: Vec<View<'a>>,
}

/// Reads a pickle.
///
/// # Errors
/// What is wrong with it or goes beyond dictionaries of tensors, and at which byte.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle<'_>, String> {
    let mut machine = Machine { rest: bytes, ..Machine::default() };
    for _ in 0..MAX_STEPS {
        let at = bytes.len() - machine.rest.len();
        if let Some(root) = machine.step().map_err(|error| format!("{error} (at byte {at} of its pickle)"))? {
            return Ok(Pickle { root, dicts: machine.dicts, tensors: machine.tensors });
        }
    }
    Err(format!("its pickle has more than {MAX_STEPS} opcodes"))
}

type Step<T> = Result<T, String>;

#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value<'a>>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    tuples: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(&'a str, Value<'a>)>>,
    tensors: Vec<View<'a>>,
}

impl<'a> Machine<'a> {
    /// Executes one opcode and gives the value of the pickle if that was STOP.
    fn step(&mut self) -> Step<Option<Value<'a>>> {
        match self.byte()? {
            op::PROTO => self.protocol()?,
            op::FRAME => self.skip::<8>()?, // how much to read ahead
            op::NONE | op::NEWTRUE | op::NEWFALSE => self.stack.push(Value::Other),
            op::BINFLOAT => {
                self.skip::<8>()?;
                self.stack.push(Value::Other);
            }
            op::BININT1 => self.int(|bytes| u8::from_le_bytes(bytes).into())?,
            op::BININT2 => self.int(|bytes| u16::from_le_bytes(bytes).into())?,
            op::BININT => self.int(|bytes| i32::from_le_bytes(bytes).into())?,
            op::LONG1 => self.long()?,
            op::BINUNICODE => self.text(u32::from_le_bytes)?,
            op::SHORT_BINUNICODE => self.text(|bytes| u8::from_le_bytes(bytes).into())?,
            op::MARK => self.marks.push(self.stack.len()),
            op::EMPTY_TUPLE => self.tuple(vec![]),
            op::TUPLE1 => self.tuple_of::<1>()?,
            op::TUPLE2 => self.tuple_of::<2>()?,
            op::TUPLE3 => self.tuple_of::<3>()?,
            op::TUPLE => {
                let items = self.pop_to_mark()?;
                self.tuple(items);
            }
            op::EMPTY_LIST => self.stack.push(Value::List),
            op::APPEND => {
                self.pop()?;
                self.expect_list()?;
            }
            op::APPENDS => {
                self.pop_to_mark()?;
                self.expect_list()?;
            }
            op::EMPTY_DICT => self.dict(),
            op::SETITEM => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            op::SETITEMS => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)?;
            }
            op::GLOBAL => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            op::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err(format!("a name is given by {} and {}", module.kind(), name.kind()));
                };
                self.global(module, name)?;
            }
            op::BINPERSID => self.persistent()?,
            op::REDUCE => self.reduce()?,
            op::BUILD => self.build()?,
            op::MEMOIZE => self.put(self.memo.len() as u32)?,
            op::BINPUT => {
                let index = self.byte()?;
                self.put(index.into())?;
            }
            op::LONG_BINPUT => {
                let index = u32::from_le_bytes(self.array()?);
                self.put(index)?;
            }
            op::BINGET => {
                let index = self.byte()?;
                self.get(index.into())?;
            }
            op::LONG_BINGET => {
                let index = u32::from_le_bytes(self.array()?);
                self.get(index)?;
            }
            op::STOP => return self.pop().map(Some),
            other => return Err(format!("opcode {} has no place in a dictionary of tensors", name_of_opcode(other))),
        }
        Ok(None)
    }

    fn take(&mut self, count: usize) -> Step<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("it ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        Ok(*self.take(N)?.first_chunk().expect("as many as taken"))
    }

    fn skip<const N: usize>(&mut self) -> Step<()> {
        self.take(N).map(drop)
    }

    fn byte(&mut self) -> Step<u8> {
        self.array().map(|[byte]| byte)
    }

    fn line(&mut self) -> Step<&'a str> {
        let end = self.rest.iter().position(|&byte| byte == b'\n').ok_or("a name has no end")?;
        let line = self.take(end + 1)?;
        utf8(&line[..end])
    }

    fn protocol(&mut self) -> Step<()> {
        let protocol = self.byte()?;
        if protocol <= MAX_PROTOCOL { Ok(()) } else { Err(format!("protocol {protocol} is not known")) }
    }

    fn int<const N: usize>(&mut self, decode: impl Fn([u8; N]) -> i64) -> Step<()> {
        let value = decode(self.array()?);
        self.stack.push(Value::Int(value));
        Ok(())
    }

    /// LONG1: a two's complement number of any length.
    fn long(&mut self) -> Step<()> {
        let length = self.byte()?;
        let bytes = self.take(length.into())?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut extended = [if negative { 0xff } else { 0 }; 8];
        self.stack.push(match extended.get_mut(..bytes.len()) {
            Some(low) => {
                low.copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(extended))
            }
            None => Value::Other,
        });
        Ok(())
    }

    fn text<const N: usize>(&mut self, length: impl Fn([u8; N]) -> u32) -> Step<()> {
        let length = length(self.array()?);
        let text = utf8(self.take(length as usize)?)?;
        self.stack.push(Value::Text(text));
        Ok(())
    }

    fn pop(&mut self) -> Step<Value<'a>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("a value is taken from an empty stack".to_owned());
        }
        Ok(self.stack.pop().expect("not empty"))
    }

    fn top(&mut self) -> Step<Value<'a>> {
        let top = self.pop()?;
        self.stack.push(top);
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Step<Vec<Value<'a>>> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, items: Vec<Value<'a>>) {
        self.stack.push(Value::Tuple(self.tuples.len()));
        self.tuples.push(items);
    }

    fn tuple_of<const N: usize>(&mut self) -> Step<()> {
        let mut items = vec![Value::Other; N];
        for item in items.iter_mut().rev() {
            *item = self.pop()?;
        }
        self.tuple(items);
        Ok(())
    }

    fn expect_list(&mut self) -> Step<()> {
        match self.top()? {
            Value::List => Ok(()),
            other => Err(format!("an item is appended to {}", other.kind())),
        }
    }

    fn dict(&mut self) {
        self.stack.push(Value::Dict(self.dicts.len()));
        self.dicts.push(vec![]);
    }

    fn set_items(&mut self, items: &[Value<'a>]) -> Step<()> {
        let Value::Dict(dict) = self.top()? else {
            return Err(format!("an entry is set in {}", self.top()?.kind()));
        };
        let (pairs, []) = items.as_chunks() else { return Err("a key has no value".to_owned()) };
        let named =
            pairs.iter().filter_map(|&[key, value]| if let Value::Text(key) = key { Some((key, value)) } else { None });
        self.dicts[dict].extend(named);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Step<()> {
        let global = Global::named(module, name).ok_or_else(|| {
            let name = shortened(&format!("{module}.{name}"));
            format!(
                "it names {name}, which is none of what dictionaries of tensors are made of and is not executed; save \
                 a state dict: torch.save(model.state_dict(), ...)"
            )
        })?;
        self.stack.push(Value::Global(global));
        Ok(())
    }

    /// BINPERSID: `torch.save` describes a storage by the tuple ("storage", type, key, device, elements).
    fn persistent(&mut self) -> Step<()> {
        let id = self.pop()?;
        let [Value::Text("storage"), Value::Global(Global::Storage(dtype)), Value::Text(key), Value::Text(_), elements] =
            self.items(id)?[..]
        else {
            return Err("a persistent id does not describe a storage".to_owned());
        };
        let storage = Storage { dtype, key, elements: size(elements)? };
        self.stack.push(Value::Storage(storage));
        Ok(())
    }

    fn reduce(&mut self) -> Step<()> {
        let arguments = self.pop()?;
        let callable = self.pop()?;
        match (callable, &self.items(arguments)?[..]) {
            (Value::Global(Global::OrderedDict), []) => self.dict(),
            (Value::Global(Global::RebuildTensor), &[Value::Storage(storage), offset, shape, strides, ..]) => {
                let view =
                    View { storage, offset: size(offset)?, shape: self.sizes(shape)?, strides: self.sizes(strides)? };
                if view.shape.len() != view.strides.len() {
                    return Err("a tensor has another number of strides than of dimensions".to_owned());
                }
                self.stack.push(Value::Tensor(self.tensors.len()));
                self.tensors.push(view);
            }
            (Value::Global(Global::RebuildParameter), &[tensor @ Value::Tensor(_), ..]) => self.stack.push(tensor),
            (Value::Global(global), _) => return Err(format!("{global:?} has arguments of other types than expected")),
            (other, _) => return Err(format!("{} is called", other.kind())),
        }
        Ok(())
    }

    /// BUILD: attributes of a state dict, such as the versions of its layers, are dropped.
    fn build(&mut self) -> Step<()> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) => Ok(()),
            other => Err(format!("{} is given attributes", other.kind())),
        }
    }

    fn put(&mut self, index: u32) -> Step<()> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn get(&mut self, index: u32) -> Step<()> {
        let value = self.memo.get(&index).ok_or_else(|| format!("the memo has no value {index}"))?;
        self.stack.push(*value);
        Ok(())
    }

    fn items(&self, tuple: Value<'a>) -> Step<&Vec<Value<'a>>> {
        match tuple {
            Value::Tuple(index) => Ok(&self.tuples[index]),
            other => Err(format!("{} stands where a tuple should", other.kind())),
        }
    }

    fn sizes(&self, tuple: Value<'a>) -> Step<Vec<usize>> {
        let items = self.items(tuple)?;
        if items.len() > MAX_DIMENSIONS {
            return Err(format!("a tensor has {} dimensions; accepted: {MAX_DIMENSIONS}", items.len()));
        }
        items.iter().copied().map(size).collect()
    }
}

impl Global {
    fn named(module: &str, name: &str) -> Option<Global> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
            ("torch.storage", "UntypedStorage") => Global::Storage(Dtype::U8),
            ("torch", _) => Global::Storage(match name {
                "FloatStorage" => Dtype::F32,
                "HalfStorage" => Dtype::F16,
                "BFloat16Storage" => Dtype::BF16,
                "DoubleStorage" => Dtype::F64,
                "LongStorage" => Dtype::I64,
                "IntStorage" => Dtype::I32,
                "ShortStorage" => Dtype::I16,
                "CharStorage" => Dtype::I8,
                "ByteStorage" => Dtype::U8,
                "BoolStorage" => Dtype::BOOL,
                "ComplexFloatStorage" => Dtype::C64,
                _ => return None,
            }),
            _ => return None,
        })
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
            Value::Dict(_) => "a dictionary",
            Value::List => "a list",
            Value::Storage(_) => "a storage",
            Value::Tensor(_) => "a tensor",
            Value::Other => "None, a bool or a float",
        }
    }
}

fn size(value: Value<'_>) -> Step<usize> {
    match value {
        Value::Int(value) => value.try_into().map_err(|_| format!("{value} is not a size")),
        other => Err(format!("{} stands where a size should", other.kind())),
    }
}

fn utf8(bytes: &[u8]) -> Step<&str> {
    std::str::from_utf8(bytes).map_err(|_| "a text is not UTF-8".to_owned())
}

/// A text that a message shows: quoted, and cut where it is very long.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The name of an opcode that is refused, where strangers are likely to use it, and its number.
fn name_of_opcode(opcode: u8) -> String {
    let name = match opcode {
        b'i' => "INST",
        b'o' => "OBJ",
        0x81 => "NEWOBJ",
        0x92 => "NEWOBJ_EX",
        0x82..=0x84 => "EXT",
        b'P' => "PERSID",
        b'B' => "BINBYTES",
        b'C' => "SHORT_BINBYTES",
        0x8f => "EMPTY_SET",
        0x90 => "ADDITEMS",
        0x91 => "FROZENSET",
        _ => return format!("{opcode:#04x}"),
    };
    format!("{name} ({opcode:#04x})")
}
