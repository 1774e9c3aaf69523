use super::super::weights::WeightFile;
use super::super::zip::testing::{archive, deflated};
use super::*;
use half::{bf16, f16};
use proptest::prelude::*;
use std::io::Write;
use tempfile::NamedTempFile;

/// What CPython's pickler writes in protocol 2 for {'epoch': 3, 'lr': 0.1, 'best': None, 'lists': [1, 2, (3,)],
/// 'seed': 2**63 + 5, 'state_dict': OrderedDict(w=parameter of shape (2, 3), n=integer counter)}, the inner
/// dictionary with the attribute `_metadata` that PyTorch gives it.
const PROTOCOL_2: &[u8] = b"\x80\x02}q\x00(X\x05\x00\x00\x00epochq\x01K\x03X\x02\x00\x00\x00lrq\x02G?\xb9\x99\x99\x99\x99\
\x99\x9aX\x04\x00\x00\x00bestq\x03NX\x05\x00\x00\x00listsq\x04]q\x05(K\x01K\x02K\x03\x85q\x06eX\x04\x00\x00\x00seedq\
\x07\x8a\t\x05\x00\x00\x00\x00\x00\x00\x80\x00X\n\x00\x00\x00state_dictq\x08ccollections\nOrderedDict\nq\t)Rq\n(X\x01\
\x00\x00\x00wq\x0bctorch._utils\n_rebuild_parameter\nq\x0cctorch._utils\n_rebuild_tensor_v2\nq\r((X\x07\x00\x00\x00\
storageq\x0ectorch\nFloatStorage\nq\x0fX\x01\x00\x00\x000q\x10X\x03\x00\x00\x00cpuq\x11K\x06tq\x12QK\x00K\x02K\x03\x86q\
\x13K\x03K\x01\x86q\x14\x89h\t)Rq\x15tq\x16Rq\x17\x88h\t)Rq\x18\x87q\x19Rq\x1aX\x01\x00\x00\x00nq\x1bh\r((h\x0ectorch\n\
LongStorage\nq\x1cX\x01\x00\x00\x001q\x1dh\x11K\x01tq\x1eQK\x00))\x89h\t)Rq\x1ftq Rq!u}q\"X\t\x00\x00\x00_metadataq#h\t)\
Rq$X\x00\x00\x00\x00q%}q&X\x07\x00\x00\x00versionq'K\x01sssbu.";

/// The same in protocol 4.
const PROTOCOL_4: &[u8] = b"\x80\x04\x95q\x01\x00\x00\x00\x00\x00\x00}\x94(\x8c\x05epoch\x94K\x03\x8c\x02lr\x94G?\xb9\x99\
\x99\x99\x99\x99\x9a\x8c\x04best\x94N\x8c\x05lists\x94]\x94(K\x01K\x02K\x03\x85\x94e\x8c\x04seed\x94\x8a\t\x05\x00\x00\
\x00\x00\x00\x00\x80\x00\x8c\nstate_dict\x94\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94(\x8c\x01w\x94\
\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_parameter\x94\x93\x94h\x0e\x8c\x12_rebuild_tensor_v2\x94\x93\x94((\x8c\x07\
storage\x94\x8c\x05torch\x94\x8c\x0cFloatStorage\x94\x93\x94\x8c\x010\x94\x8c\x03cpu\x94K\x06t\x94QK\x00K\x02K\x03\x86\
\x94K\x03K\x01\x86\x94\x89h\x0b)R\x94t\x94R\x94\x88h\x0b)R\x94\x87\x94R\x94\x8c\x01n\x94h\x12((h\x13h\x14\x8c\x0bLong\
Storage\x94\x93\x94\x8c\x011\x94h\x18K\x01t\x94QK\x00))\x89h\x0b)R\x94t\x94R\x94u}\x94\x8c\t_metadata\x94h\x0b)R\x94\x8c\
\x00\x94}\x94\x8c\x07version\x94K\x01sssbu.";

/// The six values of `w`.
const VALUES: [f32; 6] = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0];

fn file(content: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

/// An archive of this pickle and storages `0`, `1` and so on.
fn saved(pickle: &[u8], storages: &[&[u8]]) -> Vec<u8> {
    let keys: Vec<String> = (0..storages.len()).map(|key| format!("net/data/{key}")).collect();
    let mut entries = vec![("net/data.pkl", pickle), ("net/byteorder", b"little")];
    entries.extend(keys.iter().map(String::as_str).zip(storages.iter().copied()));
    entries.push(("net/version", b"3\n"));
    archive(&entries)
}

fn open(bytes: &[u8]) -> Result<WeightFile, IoError> {
    WeightFile::open(file(bytes).path())
}

fn error_of(bytes: &[u8]) -> String {
    open(bytes).unwrap_err().to_string()
}

/// What refuses this pickle, which has one storage of six f32.
fn refusal(pickle: &[u8]) -> String {
    error_of(&saved(pickle, &[bytemuck::bytes_of(&VALUES)]))
}

/// A complete small file.
fn example() -> Vec<u8> {
    saved(PROTOCOL_2, &[bytemuck::bytes_of(&VALUES), &7i64.to_le_bytes()])
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn int(value: i64) -> Vec<u8> {
    [&[0x8a, 8][..], &value.to_le_bytes()].concat()
}

fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &items.concat()[..], b"t"].concat()
}

fn ints(values: &[i64]) -> Vec<u8> {
    tuple(&values.iter().map(|&value| int(value)).collect::<Vec<_>>())
}

/// A dictionary that ends a pickle must have a `.` put behind it.
fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<Vec<u8>> = entries.iter().map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(", &entries.concat()[..], b"u"].concat()
}

fn storage(kind: &str, key: &str, elements: i64) -> Vec<u8> {
    let kind = format!("ctorch\n{kind}\n").into_bytes();
    [tuple(&[text("storage"), kind, text(key), text("cuda:0"), int(elements)]), b"Q".to_vec()].concat()
}

fn tensor(storage: Vec<u8>, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let arguments = tuple(&[storage, int(offset), ints(shape), ints(strides), vec![0x89], b"}".to_vec()]);
    [b"ctorch._utils\n_rebuild_tensor_v2\n", &arguments[..], b"R"].concat()
}

/// A view of a storage of six f32.
fn view(offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    tensor(storage("FloatStorage", "0", 6), offset, shape, strides)
}

/// The pickle of this value.
fn pickle(value: Vec<u8>) -> Vec<u8> {
    [b"\x80\x02", &value[..], b"."].concat()
}

#[test]
fn reads_what_python_writes() {
    for protocol in [PROTOCOL_2, PROTOCOL_4] {
        let file = file(&saved(protocol, &[bytemuck::bytes_of(&VALUES), &7i64.to_le_bytes()]));
        let weights = WeightFile::open(file.path()).unwrap();
        assert_eq!(weights.names(), ["w", "n"]);
        assert_eq!(weights.shape("w"), Some(&[2, 3][..]));
        assert_eq!(weights.shape("n"), Some(&[][..]));
        let values = weights.read("w").unwrap();
        assert!(matches!(values, Cow::Borrowed(_)));
        assert_eq!(*values, VALUES);
        let error = weights.read("n").unwrap_err().to_string();
        assert!(error.ends_with(r#"tensor "n" is stored as I64; accepted: F32, F16, BF16, F64"#), "{error}");
        assert!(matches!(weights.read("x"), Err(IoError::Missing { .. })));
    }
}

#[test]
fn gathers_views_of_a_storage() {
    type Case<'a> = (&'a str, i64, &'a [i64], &'a [i64], &'a [f32]);
    let views: [Case<'_>; 8] = [
        ("whole", 0, &[6], &[1], &VALUES),
        ("part", 2, &[3], &[1], &[1.5, 2.0, 2.5]),
        ("transposed", 0, &[3, 2], &[1, 3], &[0.5, 2.0, 1.0, 2.5, 1.5, 3.0]),
        ("every second", 1, &[3], &[2], &[1.0, 2.0, 3.0]),
        ("strides of single dimensions", 3, &[1, 3, 1], &[99, 1, 77], &[2.0, 2.5, 3.0]),
        ("repeated", 1, &[2, 3], &[0, 1], &[1.0, 1.5, 2.0, 1.0, 1.5, 2.0]),
        ("scalar", 5, &[], &[], &[3.0]),
        ("empty", 9, &[0, 3], &[3, 1], &[]),
    ];
    let entries: Vec<_> =
        views.iter().map(|(name, at, shape, strides, _)| (*name, view(*at, shape, strides))).collect();
    let weights = open(&saved(&pickle(dict(&entries)), &[bytemuck::bytes_of(&VALUES)])).unwrap();
    for (name, _, shape, _, expected) in views {
        assert_eq!(weights.shape(name).unwrap().len(), shape.len(), "{name}");
        assert_eq!(*weights.read(name).unwrap(), *expected, "{name}");
    }
}

#[test]
fn converts_every_floating_point_type() {
    let storages = [
        ("DoubleStorage", [1.5f64, -2.0].map(f64::to_le_bytes).concat()),
        ("HalfStorage", [1.5, -2.0].map(|v| f16::from_f32(v).to_le_bytes()).concat()),
        ("BFloat16Storage", [1.5, -2.0].map(|v| bf16::from_f32(v).to_le_bytes()).concat()),
        ("FloatStorage", [1.5f32, -2.0].map(f32::to_le_bytes).concat()),
    ];
    for (kind, values) in storages {
        let pickle = pickle(dict(&[("t", tensor(storage(kind, "0", 2), 0, &[2], &[1]))]));
        let weights = open(&saved(&pickle, &[&values])).unwrap();
        assert_eq!(*weights.read("t").unwrap(), [1.5, -2.0], "{kind}");
    }
}

#[test]
fn integers_are_errors_only_when_read() {
    for (kind, dtype, bytes) in
        [("LongStorage", "I64", 8), ("IntStorage", "I32", 4), ("BoolStorage", "BOOL", 1), ("ByteStorage", "U8", 1)]
    {
        let pickle = pickle(dict(&[("t", tensor(storage(kind, "0", 1), 0, &[], &[]))]));
        let weights = open(&saved(&pickle, &[&vec![0; bytes]])).unwrap();
        assert_eq!(weights.dtype("t").as_deref(), Some(dtype));
        assert!(matches!(weights.read("t"), Err(IoError::Unsupported { .. })));
    }
}

#[test]
fn finds_the_state_dict_within_a_checkpoint() {
    let inner = dict(&[("a", view(0, &[6], &[1])), ("b", view(0, &[1], &[1]))]);
    for wrapper in ["state_dict", "model", "anything.at.all"] {
        let best = ("best", view(0, &[], &[]));
        let outer = dict(&[("epoch", int(3)), best, ("optimizer", dict(&[])), (wrapper, inner.clone())]);
        for value in [outer.clone(), dict(&[("model", outer)])] {
            let weights = open(&saved(&pickle(value), &[bytemuck::bytes_of(&VALUES)])).unwrap();
            assert_eq!(weights.names(), ["a", "b"]);
        }
    }
    let deep = (0..9).fold(inner, |inner, _| dict(&[("in", inner)]));
    assert!(refusal(&pickle(deep)).contains("its dictionary has no tensors"));
}

#[test]
fn one_of_several_dictionaries_is_chosen_by_its_keys() {
    let tensors = |names: &[&str]| dict(&names.iter().map(|name| (*name, view(0, &[6], &[1]))).collect::<Vec<_>>());
    let ema = dict(&[("decay", int(1)), ("module.x", tensors(&["a", "b"])), ("best", view(0, &[], &[]))]);
    let outer = pickle(dict(&[("model", tensors(&["a"])), ("ema", ema), ("best", view(0, &[], &[]))]));
    let bytes = saved(&outer, &[bytemuck::bytes_of(&VALUES)]);
    let file = file(&bytes);
    let open = |key| WeightFile::open_dictionary(file.path(), key).map(|weights| weights.names());
    let error = |key| open(key).unwrap_err().to_string().split_once(": ").unwrap().1.to_owned();
    let list = "\n    \"model\" (1 tensor)\n    \"ema.module.x\" (2 tensors)";
    assert_eq!(error(None), format!("it has 2 dictionaries of tensors; name one of them:{list}"));
    assert_eq!(error(Some("ema.x")), format!("it has no dictionary of tensors \"ema.x\"; it has:{list}"));
    for wrong in ["model.", ".model", "x", "odel"] {
        assert!(error(Some(wrong)).contains("it has no dictionary of tensors"), "{wrong}");
    }
    assert_eq!(open(Some("model")).unwrap(), ["a"]);
    assert_eq!(open(Some("ema.module.x")).unwrap(), ["a", "b"]);
    assert_eq!(open(Some("ema")).unwrap(), ["best"]);
    assert_eq!(open(Some("")).unwrap(), ["best"]);
    let many: Vec<String> = (0..20).map(|n| format!("d{n}")).collect();
    let many: Vec<(&str, Vec<u8>)> = many.iter().map(|name| (name.as_str(), tensors(&["a"]))).collect();
    assert!(refusal(&pickle(dict(&many))).ends_with("\"d7\" (1 tensor)\n    and 12 more"));
}

#[test]
fn names_what_it_does_not_execute() {
    let error = refusal(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.");
    assert!(error.ends_with(r#"it holds an object made by "os.system", not a dictionary of tensors"#), "{error}");
    let error = refusal(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.");
    assert!(error.ends_with("it holds a name, not a dictionary of tensors"), "{error}");
    for (opcode, name) in [(0x82, "EXT (0x82)"), (b'i', "INST (0x69)"), (b'o', "OBJ (0x6f)"), (b'P', "PERSID (0x50)")] {
        let error = refusal(&[0x80, 2, b'}', opcode, b'.']);
        assert!(error.contains(&format!("opcode {name} has no place in a file of tensors")), "{error}");
    }
    let long = [b"\x80\x02c", "x".repeat(1 << 20).as_bytes(), b"\ny\n)R."].concat();
    assert!(refusal(&long).len() < 400);
    let known = b"\x80}()tQabehjqrsuGJKMNXR]c.012TUBC\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96";
    for opcode in (0..=255).filter(|opcode| !known.contains(opcode)) {
        assert!(refusal(&[0x80, 2, opcode]).contains("has no place"), "{opcode:#04x}");
    }
}

#[test]
fn values_of_wrong_types_are_errors() {
    let cases: [(&[u8], &str); 17] = [
        (b"\x80\x06", "protocol 6 is not known"),
        (b".", "empty stack"),
        (b"(.", "empty stack"),
        (b"N(q\x00", "empty stack"),
        (b"t.", "a mark is missing"),
        (b"N(Ne.", "an item is appended to None"),
        (b"]NNs.", "an entry is set in a list"),
        (b"}(Nu.", "a key has no value"),
        (b"ccollections\nOrderedDict\nNR.", "None, a bool, a number or bytes stands where a tuple should"),
        (b"N)R.", "None, a bool, a number or bytes is called"),
        (b"ccollections\nOrderedDict\nN\x85R.", r#""collections.OrderedDict" has arguments of other types"#),
        (
            b"ctorch._utils\n_rebuild_parameter\nN\x85R.",
            r#""torch._utils._rebuild_parameter" has arguments of other types"#,
        ),
        (b"]}b.", "a list is given attributes"),
        (b"N\x85Q.", "a persistent id does not describe a storage"),
        (b"NN\x93.", "a name is given by None, a bool, a number or bytes and"),
        (b"X\x01\x00\x00\x00\xff.", "a text is not UTF-8"),
        (b"h\x07.", "the memo has no value 7"),
    ];
    for (pickle, expected) in cases {
        let error = refusal(pickle);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(refusal(b"].").ends_with("it holds a list, not a dictionary of tensors"));
    let error = refusal(&pickle(dict(&[("weights", dict(&[]))])));
    assert!(error.ends_with(r#"its dictionary has no tensors; it has: "weights""#), "{error}");
    let error = refusal(&pickle(dict(&[("a", view(0, &[1], &[1])), ("a", view(0, &[1], &[1]))])));
    assert!(error.ends_with(r#"two tensors are named "a""#), "{error}");
}

#[test]
fn sizes_that_lie_are_errors() {
    let large = i64::MAX;
    let cases: [(Vec<u8>, &str); 14] = [
        (view(0, &[7], &[1]), "lies outside its storage"),
        (view(1, &[6], &[1]), "lies outside its storage"),
        (view(large, &[2], &[1]), "lies outside its storage"),
        (view(0, &[3], &[3]), "lies outside its storage"),
        (view(0, &[3], &[large]), "lies outside its storage"),
        (view(0, &[large, large], &[0, 0]), "lies outside its storage"),
        (view(0, &[large, large, 0], &[0, 0, 0]), "lies outside its storage"),
        (view(0, &[1 << 40], &[0]), "repeats its elements"),
        (view(0, &[-1], &[1]), "-1 is not a size"),
        (view(-1, &[1], &[1]), "-1 is not a size"),
        (view(0, &[1, 1], &[1]), "another number of strides than of dimensions"),
        (view(0, &[1; 9], &[1; 9]), "a tensor has 9 dimensions; accepted: 8"),
        (tensor(storage("FloatStorage", "0", 7), 0, &[1], &[1]), "storage of 7 elements of F32, but that has 24 bytes"),
        (tensor(storage("FloatStorage", "0", large), 0, &[1], &[1]), "but that has 24 bytes"),
    ];
    for (tensor, expected) in cases {
        let error = refusal(&pickle(dict(&[("t", tensor)])));
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let error = refusal(&pickle(dict(&[("t", tensor(storage("FloatStorage", "1", 6), 0, &[1], &[1]))])));
    assert!(error.ends_with(r#"it has no entry "net/data/1""#), "{error}");
}

#[test]
fn cycles_and_nesting_end() {
    // A dictionary that is its own state dict, and has a tensor; a list that holds itself.
    let cycle = [b"}q\x00", &text("state_dict")[..], b"h\x00s", &text("t"), &view(0, &[6], &[1]), b"s."].concat();
    let weights = open(&saved(&cycle, &[bytemuck::bytes_of(&VALUES)])).unwrap();
    assert_eq!(weights.names(), ["t"]);
    assert!(refusal(b"]q\x00h\x00a.").contains("it holds a list"));
    let deep = 500_000;
    assert!(refusal(&[b")".to_vec(), vec![0x85; deep], b".".to_vec()].concat()).contains("it holds a tuple"));
    assert!(refusal(&[vec![b'('; deep], vec![b't'; deep], b".".to_vec()].concat()).contains("it holds a tuple"));
    assert!(refusal(&[vec![b'}'; deep], b".".to_vec()].concat()).contains("no tensors"));
}

#[test]
fn length_and_memo_are_limited() {
    assert!(refusal(&vec![b'N'; 1 << 21]).ends_with("its pickle has more than 1048576 opcodes"));
    assert!(refusal(&[b"N".to_vec(), vec![0x94; 1 << 21]].concat()).ends_with("more than 1048576 opcodes"));
    let error = refusal(&vec![b'N'; (16 << 20) + 1]);
    assert!(error.contains("archive entry is 16777217 bytes, the limit is 16777216"), "{error}");
    // A list of 100,000 pairs, of which dictionaries are made again and again.
    let pair = [b"]".to_vec(), text("k"), b"a".to_vec(), b"Na".to_vec()].concat();
    let pairs = [b"](", &pair.repeat(100_000)[..], b"eq\x00"].concat();
    let again = b"ccollections\nOrderedDict\nh\x00\x85R0".repeat(1000);
    assert!(refusal(&[pairs, again, b".".to_vec()].concat()).contains("made of more than 1048576 items"));
    // One long text that is referred to again and again: as the key of a storage, of entries, and as a name.
    let long = "x".repeat(8 << 20);
    let error = refusal(&pickle(dict(&[("t", tensor(storage("FloatStorage", &long, 6), 0, &[1], &[1]))])));
    assert!(error.contains("the key of a storage has 8388608 bytes; accepted: 4096"), "{error}");
    let entries = b"h\x00h\x01".repeat(200_000);
    let remembered = [&text(&long)[..], b"q\x000ca\nb\n)Rq\x010}(", &text("t"), &view(0, &[6], &[1])].concat();
    let many = open(&saved(&[remembered, entries, b"u.".to_vec()].concat(), &[bytemuck::bytes_of(&VALUES)])).unwrap();
    assert_eq!(many.names(), ["t"]);
    let objects = [&b"c"[..], long.as_bytes(), b"\nb\nq\x000}("].concat();
    let named: Vec<u8> = (0..100_000).flat_map(|n| [text(&format!("{n:06}")), b"h\x00)R".to_vec()].concat()).collect();
    let tensor = [text("t"), view(0, &[6], &[1]), b"u.".to_vec()].concat();
    let many = open(&saved(&[objects, named, tensor].concat(), &[bytemuck::bytes_of(&VALUES)])).unwrap();
    assert_eq!((many.objects().len(), many.names().len()), (100_000, 1));
    // A length that the file does not have.
    for opcode in [&b"\x8e"[..], b"\x8d", b"\x96", b"B", b"T", b"X", b"\x8b"] {
        assert!(refusal(&[opcode, &[0xff; 12], b"."].concat()).contains("it ends too early"), "{opcode:?}");
    }
    // A high index takes no more memory than a low one.
    assert!(refusal(b"Nr\xff\xff\xff\xffj\xff\xff\xff\xff.").contains("it holds None"));
}

#[test]
fn other_formats_of_pytorch_are_told_apart() {
    assert!(error_of(b"\x80\x02N.").contains("it is a Python pickle, but not one of torch.save"));
    let script = archive(&[("net/data.pkl", PROTOCOL_2), ("net/code/__torch__.py", b""), ("net/version", b"3\n")]);
    assert!(error_of(&script).contains("it is a TorchScript program"));
    assert!(error_of(&archive(&[("net/data.pkl", b""), ("net/constants.pkl", b"")])).contains("TorchScript"));
    let order = |order| error_of(&archive(&[("net/data.pkl", PROTOCOL_2), ("net/byteorder", order)]));
    assert!(order(b"big").contains("its values are big-endian"));
    assert!(order(b"\xff").contains(r"its byte order is '\xff'"));
    assert!(error_of(&archive(&[("x", b"")])).ends_with("its archive has no data.pkl"));
    assert!(error_of(&archive(&[("x.npy", b"")])).contains("it is a NumPy archive (.npz)"));
    assert!(error_of(&archive(&[("config.json", b""), ("model.weights.h5", b"")])).contains("it is a Keras model"));
}

/// A file in the format before PyTorch 1.6: this pickle, and storages of so many elements under these keys.
fn legacy(pickle: &[u8], storages: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let keys: Vec<Vec<u8>> = storages.iter().map(|(key, ..)| text(key)).collect();
    let keys = [b"\x80\x02](", &keys.concat()[..], b"e."].concat();
    let start = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    let storages = storages.iter().map(|(_, count, bytes)| [&count.to_le_bytes(), *bytes].concat());
    [&start[..], pickle, &keys, &storages.collect::<Vec<_>>().concat()].concat()
}

#[test]
fn reads_the_format_before_1_6() {
    let values = bytemuck::bytes_of(&VALUES);
    let two = [("u", tensor(storage("LongStorage", "1", 1), 0, &[], &[])), ("t", view(4, &[2], &[1]))];
    let good = pickle(dict(&two));
    let weights = open(&legacy(&good, &[("1", 1, &[0; 8]), ("0", 6, values)])).unwrap();
    assert_eq!((weights.names().join(" "), weights.read("t").unwrap().to_vec()), ("u t".to_owned(), vec![2.5, 3.0]));
    let error = |storages: &[(&str, u64, &[u8])]| error_of(&legacy(&good, storages));
    assert!(error(&[("0", 6, values)]).ends_with(r#"it has no storage "1""#));
    assert!(error(&[("0", 6, values), ("2", 1, &[])]).ends_with(r#"nothing describes storage "2""#));
    assert!(error(&[("0", 6, values), ("0", 6, values)]).ends_with(r#"it has two storages "0""#));
    assert!(error(&[("0", 5, values)]).ends_with(r#"storage "0" of 6 elements of F32 says that it has 5"#));
    assert!(error(&[("0", 6, &values[..23])]).contains("it is truncated"));
    let huge = pickle(dict(&[("t", tensor(storage("FloatStorage", "0", i64::MAX), 0, &[1], &[1]))]));
    assert!(error_of(&legacy(&huge, &[("0", i64::MAX as u64, values)])).contains("it is truncated"));
    let other = legacy(&good, &[]).iter().map(|&byte| if byte == 0xe9 { 0xea } else { byte }).collect::<Vec<_>>();
    assert!(error_of(&other).ends_with("version 1002 of its format is not known"));
    // More bytes than pickles may have, and no end of the first of them.
    let long = [&b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19X\xff\xff\xff\x7f"[..], &vec![0; 17 << 20]].concat();
    assert!(
        error_of(&long).ends_with("it ends too early (at byte 14 of its pickle); accepted: pickles of 16777216 bytes")
    );
}

/// A storage in the format before PyTorch 1.6, where it may be a part of another one.
fn storage_with(part: Vec<u8>) -> Vec<u8> {
    let id = [text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu"), int(6), part];
    [tuple(&id), b"Q".to_vec()].concat()
}

#[test]
fn what_is_not_made_here_is_told_by_name() {
    let values = bytemuck::bytes_of(&VALUES);
    let whole = tensor(storage_with(b"N".to_vec()), 0, &[6], &[1]);
    let part = tensor(storage_with(tuple(&[text("9"), int(0), int(2)])), 0, &[2], &[1]);
    let quantised = [b"ctorch._utils\n_rebuild_qtensor\n", &tuple(std::slice::from_ref(&whole))[..], b"R"].concat();
    let complex = tensor(storage("ComplexDoubleStorage", "7", 1), 0, &[1], &[1]);
    let state = pickle(dict(&[("whole", whole), ("part", part), ("quantised", quantised), ("complex", complex)]));
    let weights = open(&legacy(&state, &[("0", 6, values)])).unwrap();
    assert_eq!(weights.names(), ["whole"]);
    let objects: Vec<&str> = weights.objects().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(objects, ["complex", "part", "quantised"]);
    assert_eq!(weights.objects()[2].1, r#"an object made by "torch._utils._rebuild_qtensor""#);
    // A module of which the source text was saved beside it.
    let class = [tuple(&[text("module"), b"cnets\nNet\n".to_vec(), text("nets.py"), text("class")]), b"Q".to_vec()];
    let net = [&class.concat()[..], b")\x81", &dict(&[("_modules", b"}".to_vec())]), b"b"].concat();
    let error = error_of(&legacy(&pickle(net), &[]));
    assert!(error.contains(r#"it holds a whole model (an object made by "nets.Net")"#), "{error}");
}

#[test]
fn reads_an_archive_that_was_compressed_again() {
    let counter = 7i64.to_le_bytes();
    let bytes =
        deflated(&[("n/data.pkl", PROTOCOL_2), ("n/data/0", bytemuck::bytes_of(&VALUES)), ("n/data/1", &counter)]);
    assert_eq!(*open(&bytes).unwrap().read("w").unwrap(), VALUES);
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x55;
        let _ = open(&damaged);
    }
}

#[test]
fn truncation_is_an_error_at_every_length() {
    let bytes = example();
    open(&bytes).unwrap();
    for length in 0..bytes.len() {
        let error = open(&bytes[..length]).unwrap_err();
        // The first three bytes do not tell what it is.
        assert!(length < ZIP.len() || matches!(error, IoError::Malformed { .. }), "{length} bytes: {error}");
    }
    for protocol in [PROTOCOL_2, PROTOCOL_4] {
        for length in 0..protocol.len() {
            assert!(pickle::read(&protocol[..length]).unwrap_err().contains(" (at byte "), "{length} bytes");
        }
    }
}

/// Opens a file and reads all that it has, whatever that is.
fn exhaust(bytes: &[u8]) {
    if let Ok(weights) = open(bytes) {
        for name in weights.names() {
            if let Ok(values) = weights.read(&name) {
                assert_eq!(values.len(), weights.shape(&name).unwrap().iter().product::<usize>());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn damaged_files_never_panic(damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = example();
        for (position, value) in damages {
            let position = position.index(bytes.len());
            bytes[position] = value;
        }
        exhaust(&bytes);
    }

    #[test]
    fn damaged_pickles_never_panic(damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut pickle = PROTOCOL_2.to_vec();
        for (position, value) in damages {
            let position = position.index(pickle.len());
            pickle[position] = value;
        }
        exhaust(&saved(&pickle, &[bytemuck::bytes_of(&VALUES), &7i64.to_le_bytes()]));
    }

    /// Programs that are mostly not refused at once, as damaged ones are.
    #[test]
    fn no_program_panics(parts in prop::collection::vec(any::<prop::sample::Index>(), 1..60)) {
        let known: [&[u8]; 34] = [
            b"N", b"K\x02", b"(", b"]", b"}", b")", b"t", b"\x85", b"\x86", b"\x87", b"a", b"e", b"s", b"u", b"R", b"b",
            b"\x81", b"Q", b"0", b"1", b"2", b"q\x00", b"h\x00", b"q\x01", b"h\x01", b"\x90", b"\x91", b"\x93",
            b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n",
            b"ctorch._tensor\n_rebuild_from_type_v2\n", b"cos\nsystem\n", b"ctorch\nSize\n",
        ];
        let made = [
            text("a"),
            text("_modules"),
            storage("FloatStorage", "0", 6),
            view(0, &[6], &[1]),
            dict(&[("a", view(0, &[6], &[1])), ("b", dict(&[("c", view(2, &[2], &[1]))]))]),
            tuple(&[storage("FloatStorage", "0", 6), int(0), ints(&[2, 3]), ints(&[3, 1])]),
        ];
        let all: Vec<&[u8]> = known.into_iter().chain(made.iter().map(Vec::as_slice)).collect();
        let program: Vec<u8> = parts.iter().flat_map(|part| all[part.index(all.len())]).copied().collect();
        // On a stack that does not run empty soon.
        let program = [b"}(])Nh\x00", &program[..], b"."].concat();
        exhaust(&saved(&[b"Nq\x00q\x01", &program[..]].concat(), &[bytemuck::bytes_of(&VALUES)]));
    }
}
