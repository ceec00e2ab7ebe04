//! A structure that may be null: a byte of −1, or a byte of 1 and the structure, in both layouts (KIP-893).

use crate::kafka::wire::{DecodeError, EncodeError, Layout, Reader, Shape, Wire};

const NULL: i8 = -1;
const PRESENT: i8 = 1;

/// A structure, or null.
#[derive(Debug, Clone, PartialEq)]
pub struct Nullable<T>(pub Option<T>);

impl<T> Default for Nullable<T> {
    fn default() -> Self {
        Nullable(None)
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Nullable<T> {
    const SHAPE: Shape = Shape::Nullable(&T::SHAPE);

    fn min_size(_: Layout) -> usize {
        1
    }

    fn read(reader: &mut Reader<'a>, layout: Layout) -> Result<Self, DecodeError> {
        // Kafka's own reader takes any negative byte for null, and any other for a structure.
        let is_null = i8::read(reader, layout)? < 0;
        Ok(Nullable(if is_null { None } else { Some(T::read(reader, layout)?) }))
    }

    fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), EncodeError> {
        match &self.0 {
            None => NULL.write(out, layout),
            Some(value) => {
                PRESENT.write(out, layout)?;
                value.write(out, layout)
            }
        }
    }
}
