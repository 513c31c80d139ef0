//! PostgreSQL's side: a synchronous client that prepares each statement once.

use super::placeholders::numbered;
use super::{Result, Row, RowInner, SqlError, ValueRef};
use ::postgres::fallible_iterator::FallibleIterator;
use ::postgres::types::private::BytesMut;
use ::postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use ::postgres::{NoTls, Statement};
use std::cell::{Cell, RefCell, RefMut};
use std::collections::HashMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::time::Duration;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Statements kept prepared per connection; then all are prepared anew. Statements are put
/// together from few parts, so that this many never come.
const STATEMENTS_CACHED: usize = 256;

/// A server that does not answer a trivial question for this long is taken for gone.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// How a server is reached.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) config: ::postgres::Config,
    /// `None` on a local socket, or where it was asked for.
    pub(crate) tls: Option<rustls::ClientConfig>,
}

/// A connection to a server.
pub(super) struct Client {
    /// `None` only while it is dropped.
    client: Option<RefCell<::postgres::Client>>,
    statements: RefCell<HashMap<String, Statement>>,
    /// A statement of the transaction failed, and so did the transaction.
    failed: Cell<bool>,
}

impl Client {
    pub(super) fn open(connector: &Connector) -> Result<Client> {
        let client = match &connector.tls {
            Some(tls) => connector.config.connect(MakeRustlsConnect::new(tls.clone()))?,
            None => connector.config.connect(NoTls)?,
        };
        Ok(Client {
            client: Some(RefCell::new(client)),
            statements: RefCell::default(),
            failed: Cell::new(false),
        })
    }

    fn client(&self) -> Result<RefMut<'_, ::postgres::Client>> {
        let client = self.client.as_ref().ok_or(SqlError::Busy)?;
        client.try_borrow_mut().map_err(|_| SqlError::Busy)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client().is_ok_and(|client| client.is_closed())
    }

    pub(super) fn is_alive(&self) -> bool {
        self.client().is_ok_and(|mut client| client.is_valid(ALIVE_WITHIN).is_ok())
    }

    fn statement(&self, client: &mut ::postgres::Client, sql: &str) -> Result<Statement> {
        if let Some(known) = self.statements.borrow().get(sql) {
            return Ok(known.clone());
        }
        let statement = client.prepare(&numbered(sql))?;
        let mut statements = self.statements.borrow_mut();
        if statements.len() >= STATEMENTS_CACHED {
            statements.clear();
        }
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Remembers that a statement failed.
    fn noted<T>(&self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.failed.set(true);
        }
        result
    }

    pub(super) fn execute(&self, sql: &str, params: &[ValueRef<'_>]) -> Result<u64> {
        let run = || {
            let mut client = self.client()?;
            let statement = self.statement(&mut client, sql)?;
            let params: Vec<&(dyn ToSql + Sync)> =
                params.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
            Ok(client.execute(&statement, &params)?)
        };
        self.noted(run())
    }

    pub(super) fn query(&self, sql: &str, params: &[ValueRef<'_>]) -> Result<Vec<::postgres::Row>> {
        let run = || {
            let mut client = self.client()?;
            let statement = self.statement(&mut client, sql)?;
            Ok(client.query_raw(&statement, params)?.collect()?)
        };
        self.noted(run())
    }

    pub(super) fn each(
        &self,
        sql: &str,
        params: &[ValueRef<'_>],
        visit: &mut dyn FnMut(&Row<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut run = || {
            let mut client = self.client()?;
            let statement = self.statement(&mut client, sql)?;
            let mut rows = client.query_raw(&statement, params)?;
            while let Some(row) = rows.next()? {
                if visit(&Row(RowInner::Postgres(&row)))?.is_break() {
                    break;
                }
            }
            Ok(())
        };
        self.noted(run())
    }

    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        let run = || Ok(self.client()?.batch_execute(sql)?);
        self.noted(run())
    }

    pub(super) fn begin(&self, sql: &str) -> Result<()> {
        self.batch(sql)?;
        self.failed.set(false);
        Ok(())
    }

    /// The server answers COMMIT of a failed transaction with a rollback and without an error.
    pub(super) fn commit(&self) -> Result<()> {
        if self.failed.get() {
            return Err(SqlError::Aborted);
        }
        self.batch("COMMIT")
    }

    pub(super) fn rollback(&self) -> Result<()> {
        self.batch("ROLLBACK")
    }
}

impl Drop for Client {
    /// The client waits for its goodbye, which must not happen on a thread of a runtime.
    fn drop(&mut self) {
        let client = self.client.take();
        if tokio::runtime::Handle::try_current().is_ok() {
            // Without a thread the process is at its end, and the server sees that, too.
            let _ = std::thread::Builder::new().spawn(move || drop(client));
        }
    }
}

/// Text without U+0000, which PostgreSQL does not store.
pub(crate) fn storable(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

impl ToSql for ValueRef<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (*self, ty) {
            (ValueRef::Null, _) => Ok(IsNull::Yes),
            (ValueRef::Integer(value), &Type::INT8) => value.to_sql(ty, out),
            (ValueRef::Integer(value), &Type::INT4) => i32::try_from(value)?.to_sql(ty, out),
            (ValueRef::Integer(value), &Type::BOOL) => (value != 0).to_sql(ty, out),
            #[expect(clippy::cast_precision_loss, reason = "as SQLite converts, too")]
            (ValueRef::Integer(value), &Type::FLOAT8) => (value as f64).to_sql(ty, out),
            (ValueRef::Real(value), &Type::FLOAT8) => value.to_sql(ty, out),
            (ValueRef::Text(value), _) if <&str as ToSql>::accepts(ty) => {
                storable(value).as_ref().to_sql(ty, out)
            }
            (ValueRef::Blob(value), &Type::BYTEA) => value.to_sql(ty, out),
            (value, ty) => Err(format!("{} where {ty} is wanted", value.kind()).into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

struct Column<'a>(ValueRef<'a>);

impl<'a> FromSql<'a> for Column<'a> {
    fn from_sql(
        ty: &Type,
        raw: &'a [u8],
    ) -> std::result::Result<Column<'a>, Box<dyn Error + Sync + Send>> {
        Ok(Column(match *ty {
            Type::INT8 => ValueRef::Integer(i64::from_sql(ty, raw)?),
            Type::INT4 => ValueRef::Integer(i32::from_sql(ty, raw)?.into()),
            Type::INT2 => ValueRef::Integer(i16::from_sql(ty, raw)?.into()),
            Type::BOOL => ValueRef::Integer(bool::from_sql(ty, raw)?.into()),
            Type::FLOAT8 => ValueRef::Real(f64::from_sql(ty, raw)?),
            Type::FLOAT4 => ValueRef::Real(f32::from_sql(ty, raw)?.into()),
            Type::BYTEA => ValueRef::Blob(raw),
            _ if <&str as FromSql<'_>>::accepts(ty) => ValueRef::Text(<&str>::from_sql(ty, raw)?),
            _ => return Err(format!("a column of type {ty}, cast it").into()),
        }))
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Column<'a>, Box<dyn Error + Sync + Send>> {
        Ok(Column(ValueRef::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

pub(super) fn value(row: &::postgres::Row, index: usize) -> Result<ValueRef<'_>> {
    let cell: Column<'_> = row.try_get(index)?;
    Ok(cell.0)
}
