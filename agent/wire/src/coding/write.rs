//! Records to bits: what serde sees of a record, with the path to it.

use super::CodingError;
use super::values::{Path, Values};
use serde::ser::{self, Serialize};

/// Serializes one value at a path.
pub(super) struct Writer<'v, 'a> {
    pub(super) values: &'v mut Values<'a>,
    pub(super) path: Path,
}

type Done = Result<(), CodingError>;

impl<'v, 'a> Writer<'v, 'a> {
    fn parts(self, path: Path) -> Parts<'v, 'a> {
        Parts { values: self.values, path, next: 0, is_list: false }
    }

    fn variant(self, index: u32) -> Result<Writer<'v, 'a>, CodingError> {
        self.values.variant(self.path, index)?;
        let path = self.path.then(index);
        Ok(Writer { values: self.values, path })
    }

    fn number(self, value: u64) -> Done {
        self.values.number(self.path, value).map(drop)
    }
}

impl<'v, 'a> ser::Serializer for Writer<'v, 'a> {
    type Ok = ();
    type Error = CodingError;
    type SerializeSeq = Parts<'v, 'a>;
    type SerializeTuple = Parts<'v, 'a>;
    type SerializeTupleStruct = Parts<'v, 'a>;
    type SerializeTupleVariant = Parts<'v, 'a>;
    type SerializeMap = ser::Impossible<(), CodingError>;
    type SerializeStruct = Parts<'v, 'a>;
    type SerializeStructVariant = Parts<'v, 'a>;

    fn serialize_bool(self, value: bool) -> Done {
        self.number(value.into())
    }

    fn serialize_u8(self, value: u8) -> Done {
        self.values.byte(self.path, value).map(drop)
    }

    fn serialize_u16(self, value: u16) -> Done {
        self.number(value.into())
    }

    fn serialize_u32(self, value: u32) -> Done {
        self.number(value.into())
    }

    fn serialize_u64(self, value: u64) -> Done {
        self.values.step(self.path, value).map(drop)
    }

    fn serialize_i8(self, _: i8) -> Done {
        Err(CodingError::Kind)
    }

    fn serialize_i16(self, _: i16) -> Done {
        Err(CodingError::Kind)
    }

    fn serialize_i32(self, _: i32) -> Done {
        Err(CodingError::Kind)
    }

    fn serialize_i64(self, _: i64) -> Done {
        Err(CodingError::Kind)
    }

    fn serialize_f32(self, _: f32) -> Done {
        Err(CodingError::Kind)
    }

    fn serialize_f64(self, _: f64) -> Done {
        Err(CodingError::Kind)
    }

    fn serialize_char(self, _: char) -> Done {
        Err(CodingError::Kind)
    }

    fn serialize_str(self, value: &str) -> Done {
        self.serialize_bytes(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Done {
        self.values.text(self.path, value).map(drop)
    }

    fn serialize_none(self) -> Done {
        self.values.variant(self.path, 0).map(drop)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Done {
        value.serialize(self.variant(1)?)
    }

    fn serialize_unit(self) -> Done {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Done {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Done {
        self.variant(index).map(drop)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Done {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Done {
        value.serialize(self.variant(index)?)
    }

    fn serialize_seq(self, count: Option<usize>) -> Result<Parts<'v, 'a>, CodingError> {
        let count = count.ok_or(CodingError::Kind)?;
        self.values.number(self.path, count as u64)?;
        let path = self.path;
        Ok(Parts { is_list: true, ..self.parts(path) })
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'v, 'a>, CodingError> {
        let path = self.path;
        Ok(self.parts(path))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        count: usize,
    ) -> Result<Parts<'v, 'a>, CodingError> {
        self.serialize_tuple(count)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        count: usize,
    ) -> Result<Parts<'v, 'a>, CodingError> {
        self.variant(index)?.serialize_tuple(count)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, CodingError> {
        Err(CodingError::Kind)
    }

    fn serialize_struct(self, _: &'static str, count: usize) -> Result<Parts<'v, 'a>, CodingError> {
        self.serialize_tuple(count)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        count: usize,
    ) -> Result<Parts<'v, 'a>, CodingError> {
        self.variant(index)?.serialize_tuple(count)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The parts of a struct, each at a path of its own, or of a list, all at one.
pub(super) struct Parts<'v, 'a> {
    values: &'v mut Values<'a>,
    path: Path,
    next: u32,
    is_list: bool,
}

impl Parts<'_, '_> {
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
        let path = self.path.then(self.next);
        self.next += u32::from(!self.is_list);
        value.serialize(Writer { values: self.values, path })
    }
}

macro_rules! parts {
    ($($kind:ident, $method:ident;)*) => {$(
        impl ser::$kind for Parts<'_, '_> {
            type Ok = ();
            type Error = CodingError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Done {
                self.part(value)
            }

            fn end(self) -> Done {
                Ok(())
            }
        }
    )*};
}

parts! {
    SerializeSeq, serialize_element;
    SerializeTuple, serialize_element;
    SerializeTupleStruct, serialize_field;
    SerializeTupleVariant, serialize_field;
}

macro_rules! named_parts {
    ($($kind:ident;)*) => {$(
        impl ser::$kind for Parts<'_, '_> {
            type Ok = ();
            type Error = CodingError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                _: &'static str,
                value: &T,
            ) -> Done {
                self.part(value)
            }

            fn end(self) -> Done {
                Ok(())
            }
        }
    )*};
}

named_parts! {
    SerializeStruct;
    SerializeStructVariant;
}
