//! Bits to records: the mirror of `write`, which asks for the same values in the same order.

use super::CodingError;
use super::values::{Path, Values};
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

/// Deserializes one value at a path.
pub(super) struct Reader<'v, 'a> {
    pub(super) values: &'v mut Values<'a>,
    pub(super) path: Path,
}

impl Reader<'_, '_> {
    fn number<T: TryFrom<u64>>(self) -> Result<T, CodingError> {
        T::try_from(self.values.number(self.path, 0)?).map_err(|_| CodingError::Value)
    }

    fn parts<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        count: usize,
        is_list: bool,
    ) -> Result<V::Value, CodingError> {
        let Reader { values, path } = self;
        visitor.visit_seq(Parts { values, path, next: 0, left: count, is_list })
    }
}

macro_rules! unsupported {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, CodingError> {
            Err(CodingError::Kind)
        }
    )*};
}

macro_rules! numbers {
    ($($method:ident, $visit:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodingError> {
            visitor.$visit(self.number()?)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Reader<'_, '_> {
    type Error = CodingError;

    unsupported! {
        deserialize_any deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_f32 deserialize_f64 deserialize_char deserialize_map deserialize_identifier
        deserialize_ignored_any
    }

    numbers! {
        deserialize_u16, visit_u16;
        deserialize_u32, visit_u32;
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodingError> {
        match self.number::<u8>()? {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            _ => Err(CodingError::Value),
        }
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodingError> {
        visitor.visit_u8(self.values.byte(self.path, 0)?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodingError> {
        visitor.visit_u64(self.values.step(self.path, 0)?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodingError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodingError> {
        let text = self.values.text(self.path, &[])?;
        visitor.visit_string(String::from_utf8(text).map_err(|_| CodingError::Value)?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodingError> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodingError> {
        visitor.visit_byte_buf(self.values.text(self.path, &[])?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodingError> {
        match self.values.variant(self.path, 0)? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(Reader { path: self.path.then(1), ..self }),
            _ => Err(CodingError::Value),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodingError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, CodingError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, CodingError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodingError> {
        let count = self.values.number(self.path, 0)?;
        let count = usize::try_from(count).map_err(|_| CodingError::TooLarge)?;
        self.parts(visitor, count, true)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, CodingError> {
        self.parts(visitor, count, false)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, CodingError> {
        self.parts(visitor, count, false)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodingError> {
        self.parts(visitor, fields.len(), false)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodingError> {
        visitor.visit_enum(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The parts of a struct, each at a path of its own, or of a list, all at one.
struct Parts<'v, 'a> {
    values: &'v mut Values<'a>,
    path: Path,
    next: u32,
    left: usize,
    is_list: bool,
}

impl<'de> de::SeqAccess<'de> for Parts<'_, '_> {
    type Error = CodingError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, CodingError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let path = self.path.then(self.next);
        self.next += u32::from(!self.is_list);
        seed.deserialize(Reader { values: self.values, path }).map(Some)
    }
}

impl<'de, 'v, 'a> de::EnumAccess<'de> for Reader<'v, 'a> {
    type Error = CodingError;
    type Variant = Reader<'v, 'a>;

    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Reader<'v, 'a>), CodingError> {
        let index = self.values.variant(self.path, 0)?;
        let name = seed.deserialize(IntoDeserializer::<CodingError>::into_deserializer(index))?;
        Ok((name, Reader { path: self.path.then(index), ..self }))
    }
}

impl<'de> de::VariantAccess<'de> for Reader<'_, '_> {
    type Error = CodingError;

    fn unit_variant(self) -> Result<(), CodingError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, CodingError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, CodingError> {
        self.parts(visitor, count, false)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodingError> {
        self.parts(visitor, fields.len(), false)
    }
}
