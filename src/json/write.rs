//! Writes what [`serde`] describes as JSON, without space between.
//!
//! Structs and maps become objects, sequences and tuples arrays, enums without content strings. Absent: enums with content, bytes, and maps
//! whose keys are no text; what holds one has no JSON.

use serde::Serialize;
use serde::ser::{self, Impossible, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple, Serializer};

use super::scan::Error;
use super::string;

/// `value` as JSON, on one line; `null` where it has none.
#[must_use]
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> String {
    let mut out = String::new();
    match value.serialize(Writer(&mut out)) {
        Ok(()) => out,
        Err(_) => "null".to_owned(),
    }
}

impl ser::Error for Error {
    fn custom<T: std::fmt::Display>(what: T) -> Self {
        Self::new(&what)
    }
}

struct Writer<'w>(&'w mut String);

impl<'w> Writer<'w> {
    fn natural(self, number: u64) -> Result<(), Error> {
        self.0.push_str(&number.to_string());
        Ok(())
    }

    fn integer(self, number: i64) -> Result<(), Error> {
        self.0.push_str(&number.to_string());
        Ok(())
    }

    fn word(self, word: &str) -> Result<(), Error> {
        self.0.push_str(word);
        Ok(())
    }

    fn members(self, open: char, close: char) -> Result<Members<'w>, Error> {
        self.0.push(open);
        Ok(Members { out: self.0, close, is_first: true })
    }
}

/// What has no JSON.
fn none<T>() -> Result<T, Error> {
    Err(Error::new(&"it has no JSON"))
}

/// Methods for numbers, each made wider.
macro_rules! numbers {
    ($($method:ident $narrow:ty => $done:ident)*) => {$(
        fn $method(self, number: $narrow) -> Result<(), Error> {
            self.$done(number.into())
        }
    )*};
}

impl<'w> Serializer for Writer<'w> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Members<'w>;
    type SerializeTuple = Members<'w>;
    type SerializeMap = Members<'w>;
    type SerializeStruct = Members<'w>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeStructVariant = Impossible<(), Error>;

    numbers! {
        serialize_u8 u8 => natural serialize_u16 u16 => natural serialize_u32 u32 => natural serialize_u64 u64 => natural
        serialize_i8 i8 => integer serialize_i16 i16 => integer serialize_i32 i32 => integer serialize_i64 i64 => integer
        serialize_f32 f32 => serialize_f64
    }

    fn serialize_f64(self, number: f64) -> Result<(), Error> {
        // With a fraction even where there is none, so that it is read back as what it was.
        if number.is_finite() { self.word(&format!("{number:?}")) } else { self.word("null") }
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.word(if value { "true" } else { "false" })
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.word(&string(value))
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Error> {
        none()
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.word("null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.word("null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.word("null")
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<(), Error> {
        self.serialize_str(name)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        none()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Members<'w>, Error> {
        self.members('[', ']')
    }

    fn serialize_tuple(self, _: usize) -> Result<Members<'w>, Error> {
        self.members('[', ']')
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Impossible<(), Error>, Error> {
        none()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<(), Error>, Error> {
        none()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'w>, Error> {
        self.members('{', '}')
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'w>, Error> {
        self.members('{', '}')
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<(), Error>, Error> {
        none()
    }
}

/// What stands between two brackets.
struct Members<'w> {
    out: &'w mut String,
    close: char,
    is_first: bool,
}

impl Members<'_> {
    /// Where the next one is to be written.
    fn next(&mut self) -> Writer<'_> {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(',');
        }
        Writer(self.out)
    }

    fn close(self) -> Result<(), Error> {
        self.out.push(self.close);
        Ok(())
    }
}

impl SerializeSeq for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(self.next())
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

impl SerializeTuple for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(self.next())
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

impl SerializeMap for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        let out = self.next().0;
        let begin = out.len();
        key.serialize(Writer(out))?;
        if out.get(begin..).is_some_and(|key| key.starts_with('"')) { Ok(()) } else { none() }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.out.push(':');
        value.serialize(Writer(self.out))
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}

impl SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.next().serialize_str(name)?;
        self.out.push(':');
        value.serialize(Writer(self.out))
    }

    fn end(self) -> Result<(), Error> {
        self.close()
    }
}
