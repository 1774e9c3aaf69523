//! Models go out as ONNX and come back as the text that they were.

use super::{Folder, all, text};
use std::borrow::Cow;
use std::sync::Arc;
use svertka::export;
use svertka::front::onnx::constant::{Bytes, External};
use svertka::front::onnx::source::{self, Arguments};
use svertka::front::onnx::{self, Options};
use svertka::front::text::build;
use svertka::ir::Param;
use svertka::ir::weights::WeightSource;
use svertka::source::SourceMap;

/// What is larger takes its time.
const MOST_ELEMENTS: usize = 4_000_000;

/// What a text is as ONNX, if it is not too large.
fn exported(file: &str, arguments: &Arguments) -> Option<Vec<u8>> {
    let mut sources = SourceMap::default();
    let root = sources.add(format!("models/{file}.cnn"), text(file));
    let mut options = build::Options {
        variant: arguments.variant.clone(),
        defines: arguments.define.clone(),
        aux: arguments.aux,
        ..build::Options::default()
    };
    let program = build::load(&mut sources, root, &options, &mut Folder).unwrap();
    let graph = build::build(&mut sources, &program, &options).unwrap();
    if graph.params.iter().map(Param::elements).sum::<usize>() > MOST_ELEMENTS {
        return None;
    }
    let others = export::at_other_sizes(&graph, |sizes| {
        options.defines =
            [arguments.define.clone(), sizes.iter().map(|(name, size)| (name.clone(), size.to_string())).collect()]
                .concat();
        build::build(&mut sources, &program, &options).ok()
    });
    let model = export::export(&graph, &others, &source::metadata(&sources, arguments)).unwrap();
    let mut bytes = Vec::new();
    model.write(&Equal, &mut bytes, None).unwrap();
    Some(bytes)
}

struct Equal;

impl WeightSource for Equal {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        vec![0.5; param.elements()].into()
    }
}

struct Nothing;

impl External for Nothing {
    fn open(&mut self, _location: &str) -> Result<Bytes, String> {
        Err("there is nothing beside it".into())
    }
}

#[test]
fn texts_come_back() {
    let (mut done, mut count) = (None, 0);
    for name in all().into_iter().rev() {
        if done.as_ref() == Some(&name.file) {
            continue;
        }
        let arguments = Arguments { variant: name.variant.clone(), ..Arguments::default() };
        let Some(bytes) = exported(&name.file, &arguments) else { continue };
        let options = Options { own_text: true, ..Options::default() };
        let import = onnx::import(&(Arc::new(bytes) as Bytes), &mut Nothing, &options).unwrap();
        assert_eq!((import.text, import.arguments), (text(&name.file), arguments), "{name}");
        (done, count) = (Some(name.file), count + 1);
    }
    assert!(count >= 15, "{count} networks are small enough");
}
