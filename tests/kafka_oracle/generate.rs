//! A generator of messages' bytes.
//!
//! It walks a message's [`Shape`] and writes by Kafka's own rules, not by the codec's writers, so that the two check
//! each other.

use brooklet::kafka::wire::{FieldShape, Layout, Shape};

/// What to fill a message with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filling {
    /// Zeros and empty strings and arrays, no tagged field.
    Empty,
    /// As `Empty`, with this many elements in every array.
    Hollow(usize),
    /// As `Empty`, with null wherever it is allowed.
    Null,
    /// Every value different from all others and from its default; this many elements in every array.
    Full(usize),
    /// Anything, from a seed; with tags nobody knows.
    Random(u64),
}

/// Bytes of one message.
pub(crate) fn generate(shape: Shape, layout: Layout, filling: Filling) -> Vec<u8> {
    let seed = if let Filling::Random(seed) = filling { seed } else { 0 };
    let mut generator = Generator { layout, filling, count: 0, random: seed ^ 0x9e37_79b9_7f4a_7c15 };
    generator.value(shape, true)
}

struct Generator {
    layout: Layout,
    filling: Filling,
    count: i64,
    random: u64,
}

impl Generator {
    /// A number of at least 1 that repeats late, or anything.
    fn number(&mut self) -> i64 {
        self.count += 1;
        match self.filling {
            Filling::Empty | Filling::Null | Filling::Hollow(_) => 0,
            Filling::Full(_) => self.count,
            Filling::Random(_) => self.random(),
        }
    }

    fn random(&mut self) -> i64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random as i64
    }

    fn below(&mut self, bound: i64) -> usize {
        self.random().rem_euclid(bound) as usize
    }

    fn value(&mut self, shape: Shape, nullable: bool) -> Vec<u8> {
        match shape {
            Shape::Bool => vec![self.number().rem_euclid(2) as u8 | u8::from(matches!(self.filling, Filling::Full(_)))],
            Shape::Int8 => (self.number() as i8).to_be_bytes().to_vec(),
            Shape::Int16 => (self.number() as i16).to_be_bytes().to_vec(),
            Shape::Int32 => (self.number() as i32).to_be_bytes().to_vec(),
            Shape::Int64 => self.number().to_be_bytes().to_vec(),
            Shape::Uuid => [self.number().to_be_bytes(), self.number().to_be_bytes()].concat(),
            Shape::String => self.string(),
            Shape::Bytes => {
                let bytes = self.blob();
                [self.length(Some(bytes.len()), false), bytes].concat()
            }
            Shape::Nullable(inner) => {
                let null = match self.filling {
                    Filling::Null => true,
                    Filling::Random(_) => self.below(3) == 0,
                    _ => false,
                };
                match inner {
                    Shape::Struct(_) if null => vec![0xff],
                    Shape::Struct(_) => [vec![1], self.value(*inner, nullable)].concat(),
                    _ if !null || !nullable => self.value(*inner, nullable),
                    Shape::String => self.length(None, true),
                    _ => self.length(None, false),
                }
            }
            Shape::Array(inner) => {
                let count = match self.filling {
                    Filling::Empty | Filling::Null => 0,
                    Filling::Full(count) | Filling::Hollow(count) => count,
                    Filling::Random(_) => self.below(4),
                };
                let mut out = self.length(Some(count), false);
                (0..count).for_each(|_| out.extend(self.value(*inner, true)));
                out
            }
            Shape::Struct(fields) => self.structure(fields),
        }
    }

    fn string(&mut self) -> Vec<u8> {
        let number = self.number();
        let text = match self.filling {
            Filling::Empty | Filling::Null | Filling::Hollow(_) => String::new(),
            Filling::Full(1) => format!("text-{number}"),
            // Lengths whose varint takes two bytes.
            Filling::Full(_) => format!("Gerät №{number}\t\"\\{}", "x".repeat(130)),
            Filling::Random(_) => "é".repeat(self.below(100)),
        };
        [self.length(Some(text.len()), true), text.into_bytes()].concat()
    }

    fn blob(&mut self) -> Vec<u8> {
        let length = match self.filling {
            Filling::Empty | Filling::Null | Filling::Hollow(_) => 0,
            Filling::Full(count) => 100 * count,
            Filling::Random(_) => self.below(300),
        };
        (0..length).map(|_| self.number() as u8).collect()
    }

    fn structure(&mut self, fields: &[FieldShape]) -> Vec<u8> {
        let version = self.layout.version;
        let mut out = Vec::new();
        for field in fields.iter().filter(|field| field.tag.is_none() && (field.present)(version)) {
            out.extend(self.value(field.shape, (field.nullable)(version)));
        }
        if !self.layout.flexible {
            return out;
        }
        let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
        for field in fields.iter().filter(|field| (field.present)(version)) {
            let Some(tag) = field.tag else { continue };
            let skip = match self.filling {
                Filling::Empty | Filling::Null | Filling::Hollow(_) => true,
                Filling::Full(_) => false,
                Filling::Random(_) => self.below(2) == 0,
            };
            if !skip {
                tagged.push((tag, self.value(field.shape, false)));
            }
        }
        tagged.sort();
        if matches!(self.filling, Filling::Random(_)) && self.below(4) == 0 {
            tagged.push((1_000, vec![0xff; self.below(200)]));
        }
        out.extend(uvarint(tagged.len()));
        for (tag, value) in tagged {
            out.extend([uvarint(tag as usize), uvarint(value.len()), value].concat());
        }
        out
    }

    fn length(&self, length: Option<usize>, is_string: bool) -> Vec<u8> {
        match (self.layout.flexible, is_string) {
            (true, _) => uvarint(length.map_or(0, |length| length + 1)),
            (false, true) => length.map_or(-1, |length| length as i16).to_be_bytes().to_vec(),
            (false, false) => length.map_or(-1, |length| length as i32).to_be_bytes().to_vec(),
        }
    }
}

pub(crate) fn uvarint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value /= 0x80;
    }
    out.push(value as u8);
    out
}
