//! The part of Python's pickle that describes tensors and what checkpoints hold beside them.
//!
//! A pickle is a program for a stack machine (CPython's `Lib/pickletools.py` describes every opcode). Here its
//! opcodes build plain values and nothing is ever called: the few names that tensors and dictionaries are made by
//! select a case of [`Global`], and what any other name makes is a value of which nothing but that name is known.
//!
//! No value is walked recursively, so nesting needs no limit. [`MAX_STEPS`] bounds stack, memo and values: every
//! opcode takes memory for at most one value, but for copies of lists into dictionaries, which are counted.

use super::value::{Dict, Global, Name, Object, Pickle, Storage, Value, View};
use ::safetensors::tensor::Dtype;
use std::collections::HashMap;

/// Opcodes of one pickle, and entries copied by it. A tensor takes about 40.
const MAX_STEPS: usize = 1 << 20;

/// PyTorch's convolutions need 5.
const MAX_DIMENSIONS: usize = 8;

/// Bytes of a name by which a tensor or a dictionary can be found, and of the key of a storage. A pickle can refer to
/// one long text a million times; with this limit, to look at all of them takes seconds.
const MAX_NAME_BYTES: usize = 4096;

/// Protocol 5 is the newest (PEP 574); `torch.save` writes 2 unless told otherwise.
const MAX_PROTOCOL: u8 = 5;

/// The opcodes that are taken, by their names in `pickletools`.
mod op {
    pub const PROTO: u8 = 0x80;
    pub const FRAME: u8 = 0x95;
    pub const STOP: u8 = b'.';
    pub const MARK: u8 = b'(';
    pub const POP: u8 = b'0';
    pub const POP_MARK: u8 = b'1';
    pub const DUP: u8 = b'2';
    pub const NONE: u8 = b'N';
    pub const NEWTRUE: u8 = 0x88;
    pub const NEWFALSE: u8 = 0x89;
    pub const BINFLOAT: u8 = b'G';
    pub const BININT: u8 = b'J';
    pub const BININT1: u8 = b'K';
    pub const BININT2: u8 = b'M';
    pub const LONG1: u8 = 0x8a;
    pub const LONG4: u8 = 0x8b;
    pub const BINUNICODE: u8 = b'X';
    pub const SHORT_BINUNICODE: u8 = 0x8c;
    pub const BINUNICODE8: u8 = 0x8d;
    pub const BINSTRING: u8 = b'T';
    pub const SHORT_BINSTRING: u8 = b'U';
    pub const BINBYTES: u8 = b'B';
    pub const SHORT_BINBYTES: u8 = b'C';
    pub const BINBYTES8: u8 = 0x8e;
    pub const BYTEARRAY8: u8 = 0x96;
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
    pub const EMPTY_SET: u8 = 0x8f;
    pub const ADDITEMS: u8 = 0x90;
    pub const FROZENSET: u8 = 0x91;
    pub const GLOBAL: u8 = b'c';
    pub const STACK_GLOBAL: u8 = 0x93;
    pub const BINPERSID: u8 = b'Q';
    pub const REDUCE: u8 = b'R';
    pub const NEWOBJ: u8 = 0x81;
    pub const NEWOBJ_EX: u8 = 0x92;
    pub const BUILD: u8 = b'b';
    pub const BINPUT: u8 = b'q';
    pub const LONG_BINPUT: u8 = b'r';
    pub const MEMOIZE: u8 = 0x94;
    pub const BINGET: u8 = b'h';
    pub const LONG_BINGET: u8 = b'j';
}

/// Reads the pickle at the start of `bytes`.
///
/// # Errors
/// What is wrong with it, and at which byte.
pub(super) fn read(bytes: &[u8]) -> Result<Pickle<'_>, String> {
    let mut machine = Machine { rest: bytes, ..Machine::default() };
    for _ in 0..MAX_STEPS {
        let at = bytes.len() - machine.rest.len();
        if let Some(root) = machine.step().map_err(|error| format!("{error} (at byte {at} of its pickle)"))? {
            let length = bytes.len() - machine.rest.len();
            let Machine { lists, dicts, objects, tensors, storages, .. } = machine;
            return Ok(Pickle { root, lists, dicts, objects, tensors, storages, length });
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
    lists: Vec<Vec<Value<'a>>>,
    dicts: Vec<Dict<'a>>,
    objects: Vec<Object<'a>>,
    tensors: Vec<View<'a>>,
    storages: HashMap<&'a str, Storage<'a>>,
    /// Items of lists of which dictionaries were made.
    copied: usize,
}

impl<'a> Machine<'a> {
    /// Executes one opcode and gives the value of the pickle if that was STOP.
    fn step(&mut self) -> Step<Option<Value<'a>>> {
        match self.byte()? {
            op::PROTO => self.protocol()?,
            op::FRAME => self.skip::<8>()?, // how much to read ahead
            op::POP => self.pop_or_mark()?,
            op::POP_MARK => drop(self.pop_to_mark()?),
            op::DUP => {
                let top = self.top()?;
                self.stack.push(top);
            }
            op::NONE | op::NEWTRUE | op::NEWFALSE | op::EMPTY_SET => self.stack.push(Value::Other),
            op::BINFLOAT => {
                self.skip::<8>()?;
                self.stack.push(Value::Other);
            }
            op::BININT1 => self.int(|bytes| u8::from_le_bytes(bytes).into())?,
            op::BININT2 => self.int(|bytes| u16::from_le_bytes(bytes).into())?,
            op::BININT => self.int(|bytes| i32::from_le_bytes(bytes).into())?,
            op::LONG1 => self.long(|bytes| u8::from_le_bytes(bytes).into())?,
            op::LONG4 => self.long(|bytes| u32::from_le_bytes(bytes).into())?,
            op::BINUNICODE => self.text(|bytes| u32::from_le_bytes(bytes).into())?,
            op::SHORT_BINUNICODE => self.text(|bytes| u8::from_le_bytes(bytes).into())?,
            op::BINUNICODE8 => self.text(u64::from_le_bytes)?,
            op::BINSTRING => self.bytes_or_text(|bytes| u32::from_le_bytes(bytes).into())?,
            op::SHORT_BINSTRING => self.bytes_or_text(|bytes| u8::from_le_bytes(bytes).into())?,
            op::BINBYTES => self.other(|bytes| u32::from_le_bytes(bytes).into())?,
            op::SHORT_BINBYTES => self.other(|bytes| u8::from_le_bytes(bytes).into())?,
            op::BINBYTES8 | op::BYTEARRAY8 => self.other(u64::from_le_bytes)?,
            op::MARK => self.marks.push(self.stack.len()),
            op::EMPTY_TUPLE => self.tuple(vec![]),
            op::TUPLE1 => self.tuple_of::<1>()?,
            op::TUPLE2 => self.tuple_of::<2>()?,
            op::TUPLE3 => self.tuple_of::<3>()?,
            op::TUPLE => {
                let items = self.pop_to_mark()?;
                self.tuple(items);
            }
            op::EMPTY_LIST => {
                self.stack.push(Value::List(self.lists.len()));
                self.lists.push(vec![]);
            }
            op::APPEND => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            op::APPENDS => {
                let items = self.pop_to_mark()?;
                self.append(&items)?;
            }
            op::ADDITEMS => drop(self.pop_to_mark()?),
            op::FROZENSET => {
                self.pop_to_mark()?;
                self.stack.push(Value::Other);
            }
            op::EMPTY_DICT => self.dict(Dict::default()),
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
                self.stack.push(Value::Global(Global::named(module, name)));
            }
            op::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err(format!("a name is given by {} and {}", module.kind(), name.kind()));
                };
                self.stack.push(Value::Global(Global::named(module, name)));
            }
            op::BINPERSID => self.persistent()?,
            op::REDUCE | op::NEWOBJ => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.make(callable, arguments)?;
            }
            op::NEWOBJ_EX => {
                let (_keywords, arguments, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.make(callable, arguments)?;
            }
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
            other => return Err(format!("opcode {} has no place in a file of tensors", name_of_opcode(other))),
        }
        Ok(None)
    }

    fn take(&mut self, count: u64) -> Step<&'a [u8]> {
        let split = usize::try_from(count).ok().and_then(|count| self.rest.split_at_checked(count));
        let (taken, rest) = split.ok_or("it ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        Ok(*self.take(N as u64)?.first_chunk().expect("as many as taken"))
    }

    fn skip<const N: usize>(&mut self) -> Step<()> {
        self.array::<N>().map(drop)
    }

    fn byte(&mut self) -> Step<u8> {
        self.array().map(|[byte]| byte)
    }

    fn line(&mut self) -> Step<&'a str> {
        let end = self.rest.iter().position(|&byte| byte == b'\n').ok_or("a name has no end")?;
        let line = self.take(end as u64 + 1)?;
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

    /// The bytes behind their number.
    fn counted<const N: usize>(&mut self, length: impl Fn([u8; N]) -> u64) -> Step<&'a [u8]> {
        let length = length(self.array()?);
        self.take(length)
    }

    /// A two's complement number of any length.
    fn long<const N: usize>(&mut self, length: impl Fn([u8; N]) -> u64) -> Step<()> {
        let bytes = self.counted(length)?;
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

    fn text<const N: usize>(&mut self, length: impl Fn([u8; N]) -> u64) -> Step<()> {
        let text = utf8(self.counted(length)?)?;
        self.stack.push(Value::Text(text));
        Ok(())
    }

    /// A `str` of Python 2, which holds texts as well as bytes.
    fn bytes_or_text<const N: usize>(&mut self, length: impl Fn([u8; N]) -> u64) -> Step<()> {
        let text = utf8(self.counted(length)?);
        self.stack.push(text.map_or(Value::Other, Value::Text));
        Ok(())
    }

    fn other<const N: usize>(&mut self, length: impl Fn([u8; N]) -> u64) -> Step<()> {
        self.counted(length)?;
        self.stack.push(Value::Other);
        Ok(())
    }

    fn pop(&mut self) -> Step<Value<'a>> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("a value is taken from an empty stack".to_owned());
        }
        Ok(self.stack.pop().expect("not empty"))
    }

    /// POP: a mark, where one is on top.
    fn pop_or_mark(&mut self) -> Step<()> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
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

    fn append(&mut self, items: &[Value<'a>]) -> Step<()> {
        match self.top()? {
            Value::List(list) => self.lists[list].extend(items),
            Value::Object(_) => {}
            other => return Err(format!("an item is appended to {}", other.kind())),
        }
        Ok(())
    }

    fn dict(&mut self, dict: Dict<'a>) {
        self.stack.push(Value::Dict(self.dicts.len()));
        self.dicts.push(dict);
    }

    fn object(&mut self, made_by: Name<'a>) {
        self.stack.push(Value::Object(self.objects.len()));
        self.objects.push(Object { made_by, is_module: false });
    }

    fn set_items(&mut self, items: &[Value<'a>]) -> Step<()> {
        let (pairs, []) = items.as_chunks() else { return Err("a key has no value".to_owned()) };
        match self.top()? {
            Value::Dict(dict) => pairs.iter().for_each(|&[key, value]| self.dicts[dict].set(key, value)),
            Value::Object(_) => {}
            other => return Err(format!("an entry is set in {}", other.kind())),
        }
        Ok(())
    }

    /// BINPERSID: `torch.save` describes a storage by the tuple ("storage", type, key, device, elements), in its old
    /// format with a sixth item, which is None unless it is a part of another storage; and in its old format a class
    /// with its source text by ("module", class, file, text).
    fn persistent(&mut self) -> Step<()> {
        let id = self.pop()?;
        let (storage, is_part) = match self.items(id)?[..] {
            [
                Value::Text("storage"),
                Value::Global(Global::Storage(dtype)),
                Value::Text(key),
                _,
                elements,
                ref more @ ..,
            ] => {
                let is_part = matches!(more, [Value::Tuple(_), ..]);
                (Storage { dtype, key, elements: size(elements)? }, is_part)
            }
            [Value::Text("storage"), Value::Global(Global::Unknown(kind)), ..] => {
                self.object(kind);
                return Ok(());
            }
            [Value::Text("module"), class @ Value::Global(_), ..] => {
                self.stack.push(class);
                return Ok(());
            }
            _ => return Err("a persistent id does not describe a storage".to_owned()),
        };
        if storage.key.len() > MAX_NAME_BYTES {
            return Err(format!("the key of a storage has {} bytes; accepted: {MAX_NAME_BYTES}", storage.key.len()));
        }
        self.storages.entry(storage.key).or_insert(storage);
        if is_part {
            self.object(Name { module: "torch", name: "Storage (a part of another one)" });
        } else {
            self.stack.push(Value::Storage(storage));
        }
        Ok(())
    }

    /// REDUCE, NEWOBJ: what a name makes of a tuple of arguments.
    fn make(&mut self, callable: Value<'a>, arguments: Value<'a>) -> Step<()> {
        let global = match callable {
            Value::Global(global) => global,
            // A function that was made before, such as a part of one.
            Value::Object(object) => Global::Unknown(self.objects[object].made_by),
            other => return Err(format!("{} is called", other.kind())),
        };
        let wrong = || Err(format!("{} has arguments of other types than expected", global.name()));
        match (global, &self.items(arguments)?[..]) {
            (Global::OrderedDict | Global::DefaultDict, []) | (Global::DefaultDict, [_]) => self.dict(Dict::default()),
            // As Python 2 writes it.
            (Global::OrderedDict, &[Value::List(list)]) => self.dict_of_pairs(list)?,
            (Global::Size, &[sizes @ Value::Tuple(_)]) => self.stack.push(sizes),
            (Global::RebuildTensor, &[Value::Storage(storage), offset, shape, strides, ..]) => {
                self.tensor(storage, storage.dtype, [offset, shape, strides])?;
            }
            (
                Global::RebuildTensorOfType,
                &[Value::Storage(storage), offset, shape, strides, _, _, Value::Global(Global::Dtype(dtype)), ..],
            ) => self.tensor(storage, dtype, [offset, shape, strides])?,
            (Global::RebuildParameter, &[tensor @ (Value::Tensor(_) | Value::Object(_)), ..]) => {
                self.stack.push(tensor)
            }
            (Global::RebuildFromType, &[Value::Global(function), _, arguments, ..]) => match function {
                // No function is this one's own: `make` calls itself once at most.
                Global::RebuildFromType => return wrong(),
                function => self.make(Value::Global(function), arguments)?,
            },
            // Of a storage or type that is not known.
            (Global::RebuildTensor, [Value::Object(_), ..]) | (Global::RebuildTensorOfType, _) => {
                self.object(global.name());
            }
            (Global::Unknown(name), _) => self.object(name),
            _ => return wrong(),
        }
        Ok(())
    }

    fn tensor(&mut self, storage: Storage<'a>, dtype: Dtype, view: [Value<'a>; 3]) -> Step<()> {
        let [offset, shape, strides] = view;
        let (offset, shape, strides) = (size(offset)?, self.sizes(shape)?, self.sizes(strides)?);
        if shape.len() != strides.len() {
            return Err("a tensor has another number of strides than of dimensions".to_owned());
        }
        self.stack.push(Value::Tensor(self.tensors.len()));
        self.tensors.push(View { storage, dtype, offset, shape, strides });
        Ok(())
    }

    /// The dictionary of a list of pairs. The same list may be given again and again, hence the count.
    fn dict_of_pairs(&mut self, list: usize) -> Step<()> {
        let items = &self.lists[list];
        self.copied += items.len();
        if self.copied > MAX_STEPS {
            return Err(format!("its dictionaries are made of more than {MAX_STEPS} items"));
        }
        let mut dict = Dict::default();
        for &item in items {
            let pair = match item {
                Value::Tuple(tuple) => &self.tuples[tuple],
                Value::List(list) => &self.lists[list],
                other => return Err(format!("{} stands where an entry of a dictionary should", other.kind())),
            };
            let &[key, value] = &pair[..] else { return Err("an entry of a dictionary is no pair".to_owned()) };
            dict.set(key, value);
        }
        self.dict(dict);
        Ok(())
    }

    /// BUILD: attributes, such as the versions of the layers of a state dict, are dropped.
    fn build(&mut self) -> Step<()> {
        let attributes = self.pop()?;
        match (self.top()?, attributes) {
            (Value::Object(object), Value::Dict(dict)) => self.objects[object].is_module |= self.dicts[dict].of_module,
            (Value::Object(_) | Value::Dict(_) | Value::Tensor(_), _) => {}
            (other, _) => return Err(format!("{} is given attributes", other.kind())),
        }
        Ok(())
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

impl<'a> Dict<'a> {
    fn set(&mut self, key: Value<'a>, value: Value<'a>) {
        if let Value::Text(key) = key
            && key.len() <= MAX_NAME_BYTES
        {
            self.of_module |= key == "_modules";
            self.entries.push((key, value));
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

/// The name of an opcode that is refused, where strangers are likely to use it, and its number.
fn name_of_opcode(opcode: u8) -> String {
    let name = match opcode {
        b'i' => "INST",
        b'o' => "OBJ",
        0x82..=0x84 => "EXT",
        b'P' => "PERSID",
        _ => return format!("{opcode:#04x}"),
    };
    format!("{name} ({opcode:#04x})")
}
