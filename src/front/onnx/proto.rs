//! The messages of an ONNX file that the importer reads, borrowed from its bytes.
//!
//! Field numbers are those of `onnx.proto` (<https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>). Fields that are not
//! needed are passed over. A message that is given twice is merged and a repeated number replaces the first, as protocol
//! buffers have it. Graphs inside of attributes are not read, so that messages nest no deeper than the types here do; what
//! they take in memory is counted before it is taken.

use super::wire::{Field, Malformed, Message};

/// Limits of a file. Real files have a hundredth of them.
pub const MAX_NODES: usize = 100_000;
const MAX_TENSORS: usize = 100_000;
const MAX_EDGES: usize = 4096;
const MAX_ATTRIBUTES: usize = 64;
const MAX_LIST: usize = 1 << 16;
const MAX_DIMS: usize = 8;
const MAX_NAME: usize = 4096;
const MAX_FUNCTIONS: usize = 1024;
/// Bytes of all structures together.
const MAX_MEMORY: usize = 64 << 20;

/// A model file.
#[derive(Clone, Debug, Default)]
pub struct Model<'a> {
    pub ir_version: i64,
    pub producer: &'a str,
    pub producer_version: &'a str,
    pub graph: Option<Graph<'a>>,
    /// Domain and version of the operator sets; ONNX's own is "".
    pub opsets: Vec<Opset<'a>>,
    pub metadata: Vec<Entry<'a>>,
    pub functions: Vec<Function<'a>>,
}

#[derive(Clone, Debug, Default)]
pub struct Opset<'a> {
    pub domain: &'a str,
    pub version: i64,
}

impl Opset<'_> {
    pub fn is_onnx(&self) -> bool {
        plain(self.domain).is_empty()
    }
}

/// A key and its value.
#[derive(Clone, Debug, Default)]
pub struct Entry<'a> {
    pub key: &'a str,
    pub value: &'a str,
}

#[derive(Clone, Debug, Default)]
pub struct Graph<'a> {
    pub name: &'a str,
    pub nodes: Vec<Node<'a>>,
    pub initializers: Vec<Tensor<'a>>,
    pub sparse_initializers: usize,
    pub inputs: Vec<ValueInfo<'a>>,
    pub outputs: Vec<ValueInfo<'a>>,
}

/// An operator with its operands, of which "" stands for one that is left out.
#[derive(Clone, Debug, Default)]
pub struct Node<'a> {
    pub name: &'a str,
    pub operator: &'a str,
    pub domain: &'a str,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    pub attributes: Vec<Attribute<'a>>,
    /// Which of several functions of one name is called.
    pub overload: &'a str,
    /// The module that the node was exported from and its name there, as PyTorch tells.
    pub scope: Option<(&'a str, &'a str)>,
    /// The version of ONNX's operators that is meant; no field of the message, but of what holds it.
    pub version: i64,
}

impl<'a> Node<'a> {
    /// What is done: domain, name and overload.
    pub fn key(&self) -> [&'a str; 3] {
        [plain(self.domain), self.operator, self.overload]
    }

    /// Whether its operator is one of ONNX's own.
    pub fn is_onnx(&self) -> bool {
        plain(self.domain).is_empty()
    }
}

/// A domain by its shorter name.
fn plain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// A function of the file: nodes that stand for each of its calls, with the names of its own.
#[derive(Clone, Debug, Default)]
pub struct Function<'a> {
    pub name: &'a str,
    pub domain: &'a str,
    pub overload: &'a str,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    /// Names of attributes that have no default.
    pub attributes: Vec<&'a str>,
    pub defaults: Vec<Attribute<'a>>,
    pub nodes: Vec<Node<'a>>,
    pub opsets: Vec<Opset<'a>>,
}

impl<'a> Function<'a> {
    /// What a node has to call: domain, name and overload.
    pub fn key(&self) -> [&'a str; 3] {
        [plain(self.domain), self.name, self.overload]
    }
}

#[derive(Clone, Debug, Default)]
pub struct Attribute<'a> {
    pub name: &'a str,
    /// What a function's call gives it, so that there is no value here.
    pub reference: &'a str,
    pub kind: i64,
    pub float: f32,
    pub int: i64,
    pub text: Message<'a>,
    pub tensor: Option<Box<Tensor<'a>>>,
    pub floats: Vec<f32>,
    pub ints: Vec<i64>,
    pub texts: Vec<&'a str>,
    /// Graphs, sparse tensors and types, which no attribute that is imported has.
    pub others: usize,
}

impl Attribute<'_> {
    /// Bytes that a copy takes.
    pub fn memory(&self) -> usize {
        let tensor = self.tensor.as_ref().map_or(0, |tensor| {
            let lists = tensor.dims.len() * size_of::<i64>() + tensor.messages.len() * size_of::<Message>();
            size_of::<Tensor>() + lists + tensor.external.len() * size_of::<Entry>()
        });
        let lists = self.floats.len() * size_of::<f32>() + self.ints.len() * size_of::<i64>();
        size_of::<Self>() + tensor + lists + self.texts.len() * size_of::<&str>()
    }
}

/// A tensor whose elements are in the file, or beside it.
#[derive(Clone, Debug, Default)]
pub struct Tensor<'a> {
    pub name: &'a str,
    pub dims: Vec<i64>,
    pub data_type: i64,
    /// Little-endian elements, where they are not in lists of numbers.
    pub raw: Option<Message<'a>>,
    /// The tensor itself (several messages if it is given in parts), whose lists are read where they are needed.
    pub messages: Vec<Message<'a>>,
    pub external: Vec<Entry<'a>>,
    /// 1: in another file.
    pub location: i64,
    /// Parts of tensors, which no program writes.
    pub segmented: bool,
}

/// Name and type of an input or output.
#[derive(Clone, Debug, Default)]
pub struct ValueInfo<'a> {
    pub name: &'a str,
    pub ty: Type<'a>,
}

#[derive(Clone, Debug, Default)]
pub struct Type<'a> {
    /// `None` for sequences, maps and the like.
    pub tensor: Option<TensorType<'a>>,
}

#[derive(Clone, Debug, Default)]
pub struct TensorType<'a> {
    pub element: i64,
    /// `None` where even the number of dimensions is open.
    pub shape: Option<Shape<'a>>,
}

#[derive(Clone, Debug, Default)]
pub struct Shape<'a> {
    pub dims: Vec<Dim<'a>>,
}

/// A size: a number, a name, or neither.
#[derive(Clone, Debug, Default)]
pub struct Dim<'a> {
    pub value: Option<i64>,
    pub name: &'a str,
}

impl<'a> Model<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it is no ONNX file, or above a limit: the offset and the reason.
    pub fn parse(bytes: &'a [u8]) -> Result<Model<'a>, Malformed> {
        let mut model = Model::default();
        merge(&mut model, Message::file(bytes), &mut Budget::default())?;
        Ok(model)
    }
}

/// Memory that structures may still take.
pub struct Budget {
    left: usize,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { left: MAX_MEMORY }
    }
}

impl Budget {
    /// # Errors
    /// If that is more than is left.
    pub fn spend(&mut self, bytes: usize, at: usize) -> Result<(), Malformed> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| Malformed::new(at, "more nodes, names and attributes than fit in 64 MiB"))?;
        Ok(())
    }

    /// Adds an item to a list of at most `limit`.
    fn push<T>(&mut self, items: &mut Vec<T>, item: T, limit: usize, at: usize) -> Result<(), Malformed> {
        if items.len() >= limit {
            return Err(Malformed::new(at, format!("a list of more than {limit} items")));
        }
        self.spend(size_of::<T>(), at)?;
        items.push(item);
        Ok(())
    }

    /// Reads the message of a repeated field and adds it.
    fn push_message<'a, T: Read<'a>>(
        &mut self,
        items: &mut Vec<T>,
        field: Field<'a>,
        limit: usize,
    ) -> Result<(), Malformed> {
        let mut item = T::default();
        merge(&mut item, field.message()?, self)?;
        self.push(items, item, limit, field.at)
    }
}

/// What a message is read into.
trait Read<'a>: Default {
    /// The message that is about to be read.
    fn begin(&mut self, _message: Message<'a>, _budget: &mut Budget) -> Result<(), Malformed> {
        Ok(())
    }
    fn read(&mut self, field: Field<'a>, budget: &mut Budget) -> Result<(), Malformed>;
}

fn merge<'a>(target: &mut impl Read<'a>, mut message: Message<'a>, budget: &mut Budget) -> Result<(), Malformed> {
    target.begin(message, budget)?;
    while let Some(field) = message.field()? {
        target.read(field, budget)?;
    }
    Ok(())
}

/// A text that names something.
fn name<'a>(field: Field<'a>) -> Result<&'a str, Malformed> {
    let message = field.message()?;
    match message.bytes().len() {
        0..=MAX_NAME => message.text(),
        length => Err(Malformed::new(field.at, format!("a name of {length} bytes, the limit is {MAX_NAME}"))),
    }
}

impl<'a> Read<'a> for Model<'a> {
    fn read(&mut self, field: Field<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match field.number {
            1 => self.ir_version = field.int()?,
            2 => self.producer = name(field)?,
            3 => self.producer_version = name(field)?,
            7 => merge(self.graph.get_or_insert_default(), field.message()?, budget)?,
            8 => budget.push_message(&mut self.opsets, field, MAX_ATTRIBUTES)?,
            14 => budget.push_message(&mut self.metadata, field, MAX_LIST)?,
            25 => budget.push_message(&mut self.functions, field, MAX_FUNCTIONS)?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Read<'a> for Opset<'a> {
    fn read(&mut self, field: Field<'a>, _budget: &mut Budget) -> Result<(), Malformed> {
        match field.number {
            1 => self.domain = name(field)?,
            2 => self.version = field.int()?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Read<'a> for Entry<'a> {
    fn read(&mut self, field: Field<'a>, _budget: &mut Budget) -> Result<(), Malformed> {
        match field.number {
            1 => self.key = name(field)?,
            2 => self.value = field.message()?.text()?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Read<'a> for Graph<'a> {
    fn read(&mut self, field: Field<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match field.number {
            1 => budget.push_message(&mut self.nodes, field, MAX_NODES)?,
            2 => self.name = name(field)?,
            5 => budget.push_message(&mut self.initializers, field, MAX_TENSORS)?,
            11 => budget.push_message(&mut self.inputs, field, MAX_TENSORS)?,
            12 => budget.push_message(&mut self.outputs, field, MAX_EDGES)?,
            15 => self.sparse_initializers += 1,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Read<'a> for Node<'a> {
    fn read(&mut self, field: Field<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match field.number {
            1 => budget.push(&mut self.inputs, name(field)?, MAX_EDGES, field.at)?,
            2 => budget.push(&mut self.outputs, name(field)?, MAX_EDGES, field.at)?,
            3 => self.name = name(field)?,
            4 => self.operator = name(field)?,
            5 => budget.push_message(&mut self.attributes, field, MAX_ATTRIBUTES)?,
            7 => self.domain = name(field)?,
            8 => self.overload = name(field)?,
            9 => {
                let mut entry = Entry::default();
                merge(&mut entry, field.message()?, budget)?;
                if entry.key == SCOPES {
                    self.scope = innermost(entry.value);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What PyTorch's exporter calls the list of modules around a node.
const SCOPES: &str = "pkg.torch.onnx.name_scopes";

/// The innermost module and the name in it of a list such as `['', 'layer1', 'layer1.0', 'add']`.
fn innermost(scopes: &str) -> Option<(&str, &str)> {
    let mut quoted = scopes.rsplit('\'').skip(1).step_by(2);
    let (name, module) = (quoted.next()?, quoted.next()?);
    Some((module, name))
}

impl<'a> Read<'a> for Function<'a> {
    fn read(&mut self, field: Field<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match field.number {
            1 => self.name = name(field)?,
            4 => budget.push(&mut self.inputs, name(field)?, MAX_EDGES, field.at)?,
            5 => budget.push(&mut self.outputs, name(field)?, MAX_EDGES, field.at)?,
            6 => budget.push(&mut self.attributes, name(field)?, MAX_ATTRIBUTES, field.at)?,
            7 => budget.push_message(&mut self.nodes, field, MAX_NODES)?,
            9 => budget.push_message(&mut self.opsets, field, MAX_ATTRIBUTES)?,
            10 => self.domain = name(field)?,
            11 => budget.push_message(&mut self.defaults, field, MAX_ATTRIBUTES)?,
            13 => self.overload = name(field)?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Read<'a> for Attribute<'a> {
    fn read(&mut self, field: Field<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match field.number {
            1 => self.name = name(field)?,
            2 => self.float = field.float()?,
            3 => self.int = field.int()?,
            4 => self.text = field.message()?,
            5 => merge(&mut **self.tensor.get_or_insert_default(), field.message()?, budget)?,
            7 => {
                field.floats(&mut self.floats, MAX_LIST)?;
                budget.spend(field.length() * size_of::<f32>(), field.at)?;
            }
            8 => {
                field.ints(&mut self.ints, MAX_LIST)?;
                budget.spend(field.length() * size_of::<i64>(), field.at)?;
            }
            9 => budget.push(&mut self.texts, name(field)?, MAX_LIST, field.at)?,
            6 | 10 | 11 | 14 | 15 | 22 | 23 => self.others += 1,
            20 => self.kind = field.int()?,
            21 => self.reference = name(field)?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Read<'a> for Tensor<'a> {
    fn begin(&mut self, message: Message<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        budget.push(&mut self.messages, message, MAX_EDGES, message.range().start)
    }

    fn read(&mut self, field: Field<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match field.number {
            1 => field.ints(&mut self.dims, MAX_DIMS)?,
            2 => self.data_type = field.int()?,
            3 => self.segmented = true,
            8 => self.name = name(field)?,
            9 => self.raw = Some(field.message()?),
            13 => budget.push_message(&mut self.external, field, MAX_ATTRIBUTES)?,
            14 => self.location = field.int()?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Read<'a> for ValueInfo<'a> {
    fn read(&mut self, field: Field<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match field.number {
            1 => self.name = name(field)?,
            2 => merge(&mut self.ty, field.message()?, budget)?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Read<'a> for Type<'a> {
    fn read(&mut self, field: Field<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        if field.number == 1 {
            merge(self.tensor.get_or_insert_default(), field.message()?, budget)?;
        }
        Ok(())
    }
}

impl<'a> Read<'a> for TensorType<'a> {
    fn read(&mut self, field: Field<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        match field.number {
            1 => self.element = field.int()?,
            2 => merge(self.shape.get_or_insert_default(), field.message()?, budget)?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Read<'a> for Shape<'a> {
    fn read(&mut self, field: Field<'a>, budget: &mut Budget) -> Result<(), Malformed> {
        if field.number == 1 {
            budget.push_message(&mut self.dims, field, MAX_DIMS)?;
        }
        Ok(())
    }
}

impl<'a> Read<'a> for Dim<'a> {
    fn read(&mut self, field: Field<'a>, _budget: &mut Budget) -> Result<(), Malformed> {
        match field.number {
            1 => self.value = Some(field.int()?),
            2 => self.name = name(field)?,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that holds `bytes`.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).ok().filter(|length| *length < 0x80).expect("a short field");
        [&[number << 3 | 2, length][..], bytes].concat()
    }

    fn number(number: u8, value: u8) -> Vec<u8> {
        vec![number << 3, value]
    }

    /// x -> Relu -> y, with an attribute and an initializer, opset 17.
    pub(crate) fn small() -> Vec<u8> {
        let dim = field(1, &[number(1, 3), field(2, b"N")].concat());
        let ty = field(1, &[number(1, 1), field(2, &dim)].concat());
        let input = [field(1, b"x"), field(2, &ty)].concat();
        let attribute = [field(1, b"a"), field(8, &[1, 2]), number(8, 3), field(7, &[0, 0, 128, 63]), vec![0xa0, 1, 7]];
        let node = [field(1, b"x"), field(1, b""), field(2, b"y"), field(4, b"Relu"), field(5, &attribute.concat())];
        let tensor = [number(1, 2), number(2, 1), field(8, b"w"), field(4, &[0; 8])].concat();
        let graph = [field(1, &node.concat()), field(2, b"g"), field(5, &tensor), field(11, &input), field(12, &input)];
        [number(1, 8), field(8, &number(2, 17)), field(7, &graph.concat())].concat()
    }

    #[test]
    fn a_model_is_read() {
        let bytes = small();
        let model = Model::parse(&bytes).unwrap();
        let graph = model.graph.unwrap();
        let node = &graph.nodes[0];
        assert_eq!((model.ir_version, model.opsets[0].version, graph.name), (8, 17, "g"));
        assert_eq!((node.operator, &node.inputs[..], &node.outputs[..]), ("Relu", &["x", ""][..], &["y"][..]));
        assert_eq!((&node.attributes[0].ints[..], &node.attributes[0].floats[..]), (&[1, 2, 3][..], &[1.0][..]));
        assert_eq!((node.attributes[0].kind, &graph.initializers[0].dims[..]), (7, &[2][..]));
        let shape = graph.inputs[0].ty.tensor.as_ref().unwrap().shape.as_ref().unwrap();
        assert_eq!((shape.dims[0].value, shape.dims[0].name), (Some(3), "N"));
    }

    #[test]
    fn what_is_given_twice_is_merged_and_numbers_replace_each_other() {
        let bytes = [small(), number(1, 9), field(7, &field(2, b"h"))].concat();
        let model = Model::parse(&bytes).unwrap();
        let graph = model.graph.unwrap();
        assert_eq!((model.ir_version, graph.name, graph.nodes.len()), (9, "h", 1));
    }

    /// Whatever is cut off or changed, it is read or refused.
    #[test]
    fn damaged_files_are_refused_or_read() {
        let bytes = small();
        for length in 0..bytes.len() {
            let _ = Model::parse(&bytes[..length]);
        }
        for at in 0..bytes.len() {
            for change in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                let _ = Model::parse(&changed);
                changed[at] = bytes[at].wrapping_add(change);
                let _ = Model::parse(&changed);
            }
        }
    }

    #[test]
    fn empty_nodes_are_counted_before_they_take_memory() {
        let graph = [10, 0].repeat(MAX_NODES + 1);
        let length = graph.len();
        let head = [0x3a, length as u8 | 0x80, (length >> 7) as u8 | 0x80, (length >> 14) as u8];
        assert!(Model::parse(&[&head[..], &graph].concat()).unwrap_err().reason.contains("more than"));
    }

    #[test]
    fn nested_graphs_are_not_read() {
        // A graph in an attribute of a node in a graph in an attribute and so on; the innermost is no message at all.
        let mut graph = vec![0xff; 4];
        for _ in 0..8 {
            graph = field(1, &field(5, &field(6, &graph)));
        }
        let bytes = field(7, &graph);
        let model = Model::parse(&bytes).unwrap();
        assert_eq!(model.graph.unwrap().nodes[0].attributes[0].others, 1);
    }
}
