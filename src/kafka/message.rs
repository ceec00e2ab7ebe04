//! The one macro by which every message is declared, and what each declaration yields.
//!
//! ```text
//! messages! {
//!     /// What it is for.
//!     request FooRequest<'a>: Foo {              // or `response`; Foo is a key of `api.rs`, where its versions stand
//!         name: &'a str;                         // in every version
//!         owner: Option<&'a str>, in 2..;        // from version 2 on; null is allowed wherever the field is present
//!         parts: Option<Vec<Part<'a>>>, null 3..;// null is allowed from version 3 on
//!         limit: i32, in 4..=6, default -1;      // what `Default` gives, and other versions decode to
//!         hint: i64, in 5.., tag 0;              // in the tagged section; left out while it has its default
//!     }
//!
//!     struct Part<'a> { … }                      // a structure within messages
//! }
//! ```
//!
//! A declaration becomes a struct with public fields, `Default`, [`Wire`] and, for requests and responses, [`Message`].
//! A field that a version doesn't have is left out when encoding (so a handler fills in all it knows, whatever version
//! is spoken) and has its default after decoding. `<'a>` is written where a field borrows from the input.

use crate::kafka::api::ApiKey;
use crate::kafka::wire::{DecodeError, EncodeError, Layout, Reader, Wire};

/// A request's or a response's body.
pub trait Message<'a>: Wire<'a> {
    const KEY: ApiKey;

    /// Takes the body off the reader.
    ///
    /// # Errors
    /// [`DecodeError::Version`] if the codec doesn't speak the version, else what is wrong with the bytes.
    fn decode(version: i16, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let layout = Self::KEY.layout(version).ok_or(DecodeError::Version(version))?;
        Self::read(reader, layout)
    }

    /// The body that fills `bytes` exactly.
    ///
    /// # Errors
    /// As [`Message::decode`], and [`DecodeError::Trailing`] if bytes are left over.
    fn from_bytes(version: i16, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let body = Self::decode(version, &mut reader)?;
        reader.finish()?;
        Ok(body)
    }

    /// Appends the body.
    ///
    /// # Errors
    /// [`EncodeError::Version`] if the codec doesn't speak the version, else the value that has no form in it. `out` is
    /// then as it was.
    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let layout = Self::KEY.layout(version).ok_or(EncodeError::Version(version))?;
        let start = out.len();
        self.write(out, layout).inspect_err(|_| out.truncate(start))
    }
}

/// Marks the body of a request.
pub trait Request<'a>: Message<'a> {}

/// Marks the body of a response.
pub trait Response<'a>: Message<'a> {}

/// What a field adds to [`Wire::min_size`].
pub(crate) fn present_size<'a, T: Wire<'a>>(present: bool, layout: Layout) -> usize {
    if present { T::min_size(layout) } else { 0 }
}

/// Declares messages and the structures within them; the syntax stands at the top of this file.
macro_rules! messages {
    ($($(#[$meta:meta])* $kind:ident $name:ident $(<$lt:lifetime>)? $(: $key:ident)? { $($body:tt)* })*) => {$(
        $crate::kafka::message::structure! { $(#[$meta])* $name [$($lt)?] { $($body)* } }
        $crate::kafka::message::role! { $kind $name [$($lt)?] $($key)? }
    )*};
}

/// Ties a request or a response to its API.
macro_rules! role {
    (struct $name:ident [$($lt:lifetime)?]) => {};
    (request $name:ident [$($lt:lifetime)?] $key:ident) => {
        $crate::kafka::message::role! { @ Request $name [$($lt)?] $key }
    };
    (response $name:ident [$($lt:lifetime)?] $key:ident) => {
        $crate::kafka::message::role! { @ Response $name [$($lt)?] $key }
    };
    (@ $role:ident $name:ident [] $key:ident) => {
        impl<'a> $crate::kafka::message::Message<'a> for $name {
            const KEY: $crate::kafka::api::ApiKey = $crate::kafka::api::ApiKey::$key;
        }
        impl<'a> $crate::kafka::message::$role<'a> for $name {}
    };
    (@ $role:ident $name:ident [$lt:lifetime] $key:ident) => {
        impl<$lt> $crate::kafka::message::Message<$lt> for $name<$lt> {
            const KEY: $crate::kafka::api::ApiKey = $crate::kafka::api::ApiKey::$key;
        }
        impl<$lt> $crate::kafka::message::$role<$lt> for $name<$lt> {}
    };
}

/// Declares the struct and its defaults.
macro_rules! structure {
    ($(#[$meta:meta])* $name:ident [$($lt:lifetime)?] { $(
        $(#[$field_meta:meta])*
        $field:ident: $ty:ty
            $(, in $versions:expr)? $(, null $null:expr)? $(, tag $tag:literal)? $(, default $default:expr)?;
    )* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name $(<$lt>)? { $($(#[$field_meta])* pub $field: $ty,)* }

        impl $(<$lt>)? Default for $name $(<$lt>)? {
            fn default() -> Self {
                $name { $($field: $crate::kafka::message::or_default!($($default)?),)* }
            }
        }

        $crate::kafka::message::wire! { $name [$($lt)?] { $(
            $field: $ty, [$($versions)?] [$($null)?] [$($tag)?];
        )* } }
    };
}

/// Reads and writes the struct, and describes it. Each field comes as `name: type, [versions] [null] [tag];`.
macro_rules! wire {
    ($name:ident [] $body:tt) => {
        $crate::kafka::message::wire! { @ $name ['a] [$name] $body }
    };
    ($name:ident [$lt:lifetime] $body:tt) => {
        $crate::kafka::message::wire! { @ $name [$lt] [$name<$lt>] $body }
    };
    (@ $name:ident [$lt:lifetime] [$whole:ty] { $(
        $field:ident: $ty:ty, [$($versions:expr)?] [$($null:expr)?] [$($tag:literal)?];
    )* }) => {
        impl<$lt> $crate::kafka::wire::Wire<$lt> for $whole {
            const SHAPE: $crate::kafka::wire::Shape = $crate::kafka::wire::Shape::Struct(&[$(
                $crate::kafka::wire::FieldShape {
                    name: stringify!($field),
                    shape: <$ty as $crate::kafka::wire::Wire<$lt>>::SHAPE,
                    present: |_version| $crate::kafka::message::within!(_version $(, $versions)?),
                    nullable: |_version| $crate::kafka::message::within!(_version $(, $null)?),
                    tag: $crate::kafka::message::or_none!($($tag)?),
                },
            )*]);

            fn min_size(layout: $crate::kafka::wire::Layout) -> usize {
                let mut size = usize::from(layout.flexible);
                $($crate::kafka::message::untagged!([$($tag)?] {
                    let present = $crate::kafka::message::within!(layout.version $(, $versions)?);
                    size += $crate::kafka::message::present_size::<$ty>(present, layout);
                });)*
                size
            }

            fn read(
                reader: &mut $crate::kafka::wire::Reader<$lt>, layout: $crate::kafka::wire::Layout,
            ) -> Result<Self, $crate::kafka::wire::DecodeError> {
                let mut value = Self::default();
                $($crate::kafka::message::untagged!([$($tag)?] {
                    if $crate::kafka::message::within!(layout.version $(, $versions)?) {
                        value.$field = <$ty>::read(reader, layout)?;
                        $crate::kafka::message::refuse_null!(DecodeError, value, $field, layout $(, $null)?);
                    }
                });)*
                if layout.flexible {
                    reader.tagged(|_tag, _reader| {
                        $($crate::kafka::message::tagged!([$($tag)?] {
                            if $(_tag == $tag &&)? $crate::kafka::message::within!(layout.version $(, $versions)?) {
                                value.$field = <$ty>::read(_reader, layout)?;
                                return Ok(true);
                            }
                        });)*
                        Ok(false)
                    })?;
                }
                Ok(value)
            }

            fn write(
                &self, out: &mut Vec<u8>, layout: $crate::kafka::wire::Layout,
            ) -> Result<(), $crate::kafka::wire::EncodeError> {
                $($crate::kafka::message::untagged!([$($tag)?] {
                    if $crate::kafka::message::within!(layout.version $(, $versions)?) {
                        $crate::kafka::message::refuse_null!(EncodeError, self, $field, layout $(, $null)?);
                        self.$field.write(out, layout)?;
                    }
                });)*
                if layout.flexible {
                    let _default = Self::default();
                    let count = 0u32 $(+ $crate::kafka::message::tagged_count!([$($tag)?] {
                        $crate::kafka::message::within!(layout.version $(, $versions)?)
                            && self.$field != _default.$field
                    }))*;
                    $crate::kafka::wire::write_uvarint(out, count);
                    $($crate::kafka::message::tagged!([$($tag)?] {
                        if $crate::kafka::message::within!(layout.version $(, $versions)?)
                            && self.$field != _default.$field
                        {
                            $($crate::kafka::wire::write_tagged(out, $tag, &self.$field, layout)?;)?
                        }
                    });)*
                }
                Ok(())
            }
        }
    };
}

/// Whether a version is in the range of a field; without a range it always is.
macro_rules! within {
    ($version:expr) => {
        true
    };
    ($version:expr, $range:expr) => {
        ($range).contains(&$version)
    };
}

macro_rules! or_default {
    () => {
        Default::default()
    };
    ($value:expr) => {
        $value
    };
}

macro_rules! or_none {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

/// The body, if the field is not a tagged one.
macro_rules! untagged {
    ([] $body:block) => {
        $body
    };
    ([$tag:literal] $body:block) => {};
}

/// The body, if the field is a tagged one.
macro_rules! tagged {
    ([] $($body:tt)*) => {};
    ([$tag:literal] $body:block) => {
        $body
    };
}

macro_rules! tagged_count {
    ([] $body:block) => {
        0
    };
    ([$tag:literal] $body:block) => {
        u32::from($body)
    };
}

/// Returns an error if a field is null in a version outside of the range given.
macro_rules! refuse_null {
    ($error:ident, $value:expr, $field:ident, $layout:expr) => {};
    ($error:ident, $value:expr, $field:ident, $layout:expr, $null:expr) => {
        if $value.$field.is_none() && !($null).contains(&$layout.version) {
            return Err($crate::kafka::wire::$error::Null(stringify!($field)));
        }
    };
}

pub(crate) use {
    messages, or_default, or_none, refuse_null, role, structure, tagged, tagged_count, untagged, wire, within,
};
