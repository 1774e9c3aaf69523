//! The finished model to a stream. Of its weights no more than one is in memory at a time.

use super::Model;
use super::builder::{Weight, tensor_head};
use crate::front::onnx::encode::Message;
use crate::front::onnx::fields::{entry, graph, model, tensor};
use crate::ir::weights::{WeightSource, input_major, release, values};
use crate::ir::{Integers, ParamSource};
use std::io::{self, Write};

/// The longest model that is written with its weights inside, in bytes. Protocol Buffers end at 2 GiB.
pub const MAX_INSIDE: u64 = 1_800_000_000;

/// Weights in a file of their own begin at multiples of this, so that they can be mapped.
const ALIGNMENT: u64 = 4096;

/// A file beside the model that holds the weights.
pub struct Apart<'a> {
    /// Its name as the model gives it: in the model's own folder.
    pub name: &'a str,
    pub out: &'a mut dyn Write,
}

/// A weight's field of the graph.
struct Field {
    /// All of it where the values are apart, else what comes before them.
    head: Message,
    /// Where the values begin in their own file.
    apart: Option<u64>,
}

impl Model<'_> {
    /// Bytes of the model with its weights inside.
    pub fn length(&self) -> u64 {
        let (start, graph) = self.start(&self.fields(None));
        start.bytes().len() as u64 + graph
    }

    /// Writes it, the weights into a file of their own if one is given. Small ones stay in the model.
    ///
    /// # Errors
    /// Those of the streams.
    pub fn write(
        &self,
        source: &dyn WeightSource,
        out: &mut dyn Write,
        mut apart: Option<Apart<'_>>,
    ) -> io::Result<()> {
        let fields = self.fields(apart.as_ref().map(|apart| apart.name));
        out.write_all(self.start(&fields).0.bytes())?;
        out.write_all(self.body.bytes())?;
        let mut end = 0;
        for (field, weight) in fields.iter().zip(&self.weights) {
            out.write_all(field.head.bytes())?;
            match (&mut apart, field.apart) {
                (Some(apart), Some(offset)) => {
                    io::copy(&mut io::Read::take(io::repeat(0), offset - end), apart.out)?;
                    self.write_values(weight, source, apart.out)?;
                    end = offset + weight.length();
                }
                _ => self.write_values(weight, source, out)?,
            }
        }
        Ok(())
    }

    fn write_values(&self, weight: &Weight, source: &dyn WeightSource, out: &mut dyn Write) -> io::Result<()> {
        match &self.graph[weight.param].source {
            ParamSource::Integers { values: Integers::I8(values), .. } => {
                return out.write_all(bytemuck::cast_slice(values));
            }
            ParamSource::Integers { values: Integers::I32(values), .. } => {
                return values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()));
            }
            _ => {}
        }
        let mut values = values(self.graph, weight.param, source);
        if let Some(groups) = weight.turned {
            values = input_major(&values, &self.graph[weight.param].dims, groups).into();
        }
        match cfg!(target_endian = "little") {
            true => out.write_all(bytemuck::cast_slice(&values))?,
            false => values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))?,
        }
        drop(values);
        release(self.graph, weight.param, source);
        Ok(())
    }

    /// The model up to the fields of the graph, and the length of these.
    fn start(&self, fields: &[Field]) -> (Message, u64) {
        let inside = |(field, weight): (&Field, &Weight)| {
            field.head.bytes().len() as u64 + if field.apart.is_none() { weight.length() } else { 0 }
        };
        let length = self.body.bytes().len() as u64 + fields.iter().zip(&self.weights).map(inside).sum::<u64>();
        (self.head.clone().begin(model::GRAPH, length), length)
    }

    fn fields(&self, apart: Option<&str>) -> Vec<Field> {
        let mut end = 0u64;
        let field = |weight: &Weight| match apart {
            Some(name) if weight.length() >= ALIGNMENT => {
                let offset = end.next_multiple_of(ALIGNMENT);
                end = offset + weight.length();
                weight.apart(name, offset)
            }
            _ => weight.inside(),
        };
        self.weights.iter().map(field).collect()
    }
}

impl Weight {
    /// Bytes of the values.
    fn length(&self) -> u64 {
        let bytes = if self.element == tensor::INT8 { 1 } else { 4 };
        bytes * self.dims.iter().map(|&size| size as u64).product::<u64>()
    }

    fn head(&self) -> Message {
        tensor_head(&self.name, self.element, &self.dims)
    }

    fn inside(&self) -> Field {
        let tensor = self.head().begin(tensor::RAW_DATA, self.length());
        let length = tensor.bytes().len() as u64 + self.length();
        Field { head: Message::default().begin(graph::INITIALIZER, length).append(&tensor), apart: None }
    }

    fn apart(&self, name: &str, offset: u64) -> Field {
        let place =
            [("location", name.to_owned()), ("offset", offset.to_string()), ("length", self.length().to_string())];
        let tensor = place.iter().fold(self.head(), |tensor, (key, value)| {
            tensor.message(tensor::EXTERNAL_DATA, &Message::default().text(entry::KEY, key).text(entry::VALUE, value))
        });
        let tensor = tensor.int(tensor::DATA_LOCATION, tensor::EXTERNAL);
        Field { head: Message::default().message(graph::INITIALIZER, &tensor), apart: Some(offset) }
    }
}
