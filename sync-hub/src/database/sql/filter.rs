//! Conditions that are put together.

use super::{ToParam, ValueRef};
use std::fmt::Write as _;

/// Conditions and their parameters, for a WHERE clause: each set of them is a statement of its own,
/// so that each uses its index.
#[derive(Debug, Default)]
pub(crate) struct Filter<'a> {
    sql: String,
    params: Vec<ValueRef<'a>>,
}

impl<'a> Filter<'a> {
    /// Adds a condition in which `?` is the parameter.
    pub(crate) fn and<T: ToParam + ?Sized>(mut self, condition: &str, value: &'a T) -> Filter<'a> {
        let joint = if self.sql.is_empty() { "" } else { " AND " };
        let place = self.param(value);
        let _infallible = write!(self.sql, "{joint}{}", condition.replace('?', &place));
        self
    }

    /// Adds a condition if there is something to compare with.
    pub(crate) fn and_if<T: ToParam + ?Sized>(
        self,
        condition: &str,
        value: Option<&'a T>,
    ) -> Filter<'a> {
        match value {
            Some(value) => self.and(condition, value),
            None => self,
        }
    }

    /// Adds a parameter that stands elsewhere in the statement; returns how it is written.
    pub(crate) fn param<T: ToParam + ?Sized>(&mut self, value: &'a T) -> String {
        self.params.push(value.to_param());
        format!("?{}", self.params.len())
    }

    /// `WHERE …`, or nothing.
    pub(crate) fn where_clause(&self) -> String {
        if self.sql.is_empty() { String::new() } else { format!("WHERE {}", self.sql) }
    }

    /// In the order of their numbers.
    pub(crate) fn params(&self) -> &[ValueRef<'a>] {
        &self.params
    }
}
