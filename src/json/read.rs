//! Reads JSON into the types that [`serde`] describes.
//!
//! A value is read as what its type asks for, and as nothing else: an object for a struct, a string for an enum without content, a number
//! for a number. Members without a place are passed over. Absent: types that take whatever comes.

use std::borrow::Cow;

use serde::de::value::CowStrDeserializer;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::scan::{Error, Number, Scan};

/// Reads a value that is the whole of `text`.
///
/// # Errors
/// It is no JSON, or not what the type asks for.
pub fn from_str<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    let mut scan = Scan::new(text);
    let value = T::deserialize(Reader(&mut scan))?;
    scan.end()?;
    Ok(value)
}

/// Reads a value that is the whole of `bytes`.
///
/// # Errors
/// As [`from_str`], or where it is no UTF-8.
pub fn from_slice<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    from_str(std::str::from_utf8(bytes).map_err(|error| Error::new(&error))?)
}

impl de::Error for Error {
    fn custom<T: std::fmt::Display>(what: T) -> Self {
        Self::new(&what)
    }
}

struct Reader<'r, 'a>(&'r mut Scan<'a>);

impl<'r, 'a> Reader<'r, 'a> {
    fn number<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.number()? {
            Number::Natural(number) => visitor.visit_u64(number),
            Number::Negative(number) => visitor.visit_i64(number),
            Number::Fraction(number) => visitor.visit_f64(number),
        }
    }

    fn text<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.string()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn members(self, open: u8) -> Result<Members<'r, 'a>, Error> {
        self.0.expect(open)?;
        // '[' and ']' are two apart, as '{' and '}' are.
        Ok(Members { scan: self.0, close: open + 2, is_first: true, is_over: false })
    }

    fn items<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut members = self.members(b'[')?;
        let value = visitor.visit_seq(&mut members)?;
        members.end()?;
        Ok(value)
    }

    fn fields<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut members = self.members(b'{')?;
        let value = visitor.visit_map(&mut members)?;
        members.end()?;
        Ok(value)
    }
}

/// Methods that do what another does, for types that look alike in JSON.
macro_rules! alike {
    ($($method:ident => $done:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.$done(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_, 'de> {
    type Error = Error;

    alike! {
        deserialize_u8 => number deserialize_u16 => number deserialize_u32 => number deserialize_u64 => number
        deserialize_i8 => number deserialize_i16 => number deserialize_i32 => number deserialize_i64 => number
        deserialize_f32 => number deserialize_f64 => number
        deserialize_str => text deserialize_string => text deserialize_identifier => text deserialize_char => text
        deserialize_seq => items deserialize_map => fields
    }

    forward_to_deserialize_any! { i128 u128 bytes byte_buf unit unit_struct tuple_struct }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(self.0.expected(&"a type that says what it is"))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.0.boolean()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.word("null") { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.items(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.fields(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let name: CowStrDeserializer<'_, Error> = self.0.string()?.into_deserializer();
        visitor.visit_enum(name)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.0.skip(0)?;
        visitor.visit_unit()
    }
}

/// What stands between two brackets.
struct Members<'r, 'a> {
    scan: &'r mut Scan<'a>,
    close: u8,
    is_first: bool,
    is_over: bool,
}

impl Members<'_, '_> {
    fn more(&mut self) -> Result<bool, Error> {
        self.is_over = self.is_over || !self.scan.more(&mut self.is_first, self.close)?;
        Ok(!self.is_over)
    }

    /// That nothing is left.
    fn end(mut self) -> Result<(), Error> {
        if self.more()? { Err(self.scan.expected(&format_args!("'{}'", char::from(self.close)))) } else { Ok(()) }
    }
}

impl<'a> SeqAccess<'a> for &mut Members<'_, 'a> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.more()? { seed.deserialize(Reader(self.scan)).map(Some) } else { Ok(None) }
    }
}

impl<'a> MapAccess<'a> for &mut Members<'_, 'a> {
    type Error = Error;

    fn next_key_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.more()? { seed.deserialize(Reader(self.scan)).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<T::Value, Error> {
        self.scan.expect(b':')?;
        seed.deserialize(Reader(self.scan))
    }
}
