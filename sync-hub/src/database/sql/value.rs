//! Values on their way into statements and out of rows.

/// A value that is lent: a parameter, or a column of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// Nothing.
    Null,
    /// An integer, or a truth value.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

impl ValueRef<'_> {
    pub(super) fn kind(self) -> &'static str {
        match self {
            ValueRef::Null => "null",
            ValueRef::Integer(_) => "an integer",
            ValueRef::Real(_) => "a real number",
            ValueRef::Text(_) => "text",
            ValueRef::Blob(_) => "bytes",
        }
    }
}

/// A value that is owned.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Value {
    /// Lends it.
    pub fn lend(&self) -> ValueRef<'_> {
        match self {
            Value::Null => ValueRef::Null,
            Value::Integer(value) => ValueRef::Integer(*value),
            Value::Real(value) => ValueRef::Real(*value),
            Value::Text(value) => ValueRef::Text(value),
            Value::Blob(value) => ValueRef::Blob(value),
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Integer(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Value {
        Value::Blob(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// What can be a parameter. Unsigned 64-bit numbers cannot: say how they are to be stored.
pub trait ToParam {
    /// Lends it to a statement.
    fn to_param(&self) -> ValueRef<'_>;
}

impl<T: ToParam + ?Sized> ToParam for &T {
    fn to_param(&self) -> ValueRef<'_> {
        (**self).to_param()
    }
}

impl<T: ToParam> ToParam for Option<T> {
    fn to_param(&self) -> ValueRef<'_> {
        self.as_ref().map_or(ValueRef::Null, ToParam::to_param)
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl ToParam for $type {
            fn to_param(&self) -> ValueRef<'_> {
                ValueRef::Integer(i64::from(*self))
            }
        }
    )*};
}
integers!(i64, i32, u32, u16, u8, bool);

impl ToParam for f64 {
    fn to_param(&self) -> ValueRef<'_> {
        ValueRef::Real(*self)
    }
}

impl ToParam for str {
    fn to_param(&self) -> ValueRef<'_> {
        ValueRef::Text(self)
    }
}

impl ToParam for String {
    fn to_param(&self) -> ValueRef<'_> {
        ValueRef::Text(self)
    }
}

impl ToParam for [u8] {
    fn to_param(&self) -> ValueRef<'_> {
        ValueRef::Blob(self)
    }
}

impl ToParam for Vec<u8> {
    fn to_param(&self) -> ValueRef<'_> {
        ValueRef::Blob(self)
    }
}

impl ToParam for Value {
    fn to_param(&self) -> ValueRef<'_> {
        self.lend()
    }
}

/// What can be read from a column.
pub trait FromColumn: Sized {
    /// `None` if the column holds something else.
    fn from_column(value: ValueRef<'_>) -> Option<Self>;
}

impl<T: FromColumn> FromColumn for Option<T> {
    fn from_column(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Null => Some(None),
            value => T::from_column(value).map(Some),
        }
    }
}

impl FromColumn for i64 {
    fn from_column(value: ValueRef<'_>) -> Option<i64> {
        match value {
            ValueRef::Integer(value) => Some(value),
            _ => None,
        }
    }
}

impl FromColumn for u32 {
    fn from_column(value: ValueRef<'_>) -> Option<u32> {
        i64::from_column(value).and_then(|value| u32::try_from(value).ok())
    }
}

impl FromColumn for bool {
    fn from_column(value: ValueRef<'_>) -> Option<bool> {
        i64::from_column(value).map(|value| value != 0)
    }
}

impl FromColumn for f64 {
    fn from_column(value: ValueRef<'_>) -> Option<f64> {
        match value {
            ValueRef::Real(value) => Some(value),
            #[expect(clippy::cast_precision_loss, reason = "as the engines convert, too")]
            ValueRef::Integer(value) => Some(value as f64),
            _ => None,
        }
    }
}

impl FromColumn for String {
    fn from_column(value: ValueRef<'_>) -> Option<String> {
        match value {
            ValueRef::Text(value) => Some(value.to_owned()),
            _ => None,
        }
    }
}

impl FromColumn for Vec<u8> {
    fn from_column(value: ValueRef<'_>) -> Option<Vec<u8>> {
        match value {
            ValueRef::Blob(value) => Some(value.to_vec()),
            _ => None,
        }
    }
}

impl<const N: usize> FromColumn for [u8; N] {
    fn from_column(value: ValueRef<'_>) -> Option<[u8; N]> {
        match value {
            ValueRef::Blob(value) => value.try_into().ok(),
            _ => None,
        }
    }
}
