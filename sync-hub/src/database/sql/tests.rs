use super::*;
use crate::database::Source;

fn both(check: impl Fn(&mut Connection)) {
    let dir = tempfile::tempdir().unwrap();
    check(&mut Connection::sqlite(&dir.path().join("test.sqlite")).unwrap());
    if let Some(server) = crate::database::testing::postgres() {
        let Source::Postgres(server) = server else { unreachable!() };
        check(&mut Connection::postgres(&server.connector().unwrap()).unwrap());
    }
}

#[test]
fn values_come_back_as_they_were_written() {
    both(|connection| {
        let bytes = if connection.engine() == Engine::Sqlite { "BLOB" } else { "BYTEA" };
        let table = format!(
            "CREATE TABLE thing (id BIGINT, name TEXT, share DOUBLE PRECISION, raw {bytes})"
        );
        connection.batch(&table).unwrap();
        let written = connection
            .execute(
                "INSERT INTO thing (id, name, share, raw) VALUES (?1, ?2, ?3, ?4)",
                params![i64::MIN, "a 'name' ?1", 0.5, &[0_u8, 255][..]],
            )
            .unwrap();
        assert_eq!(written, 1);
        let sql = "SELECT id, name, share, raw, id < 0, NULL FROM thing WHERE name = ?1";
        let row = connection.row(sql, params!["a 'name' ?1"], |row| {
            let name: String = row.get(1)?;
            let (share, raw): (f64, Vec<u8>) = (row.get(2)?, row.get(3)?);
            let (negative, nothing): (bool, Option<i64>) = (row.get(4)?, row.get(5)?);
            Ok((row.get::<i64>(0)?, name, share, raw, negative, nothing))
        });
        let expected = (i64::MIN, "a 'name' ?1".to_owned(), 0.5, vec![0, 255], true, None);
        assert_eq!(row.unwrap(), expected);
        let none = connection.row(sql, params!["another"], |row| row.get::<i64>(0));
        assert!(matches!(none, Err(SqlError::NoRow)), "{none:?}");
        let wrong = connection.row("SELECT name FROM thing", &[], |row| row.get::<i64>(0));
        assert!(matches!(wrong, Err(SqlError::Column { index: 0, .. })), "{wrong:?}");
    });
}

#[test]
fn a_transaction_that_is_not_committed_leaves_nothing() {
    both(|connection| {
        connection.batch("CREATE TABLE thing (id BIGINT PRIMARY KEY)").unwrap();
        let count = |connection: &Connection| {
            connection.row("SELECT count(*) FROM thing", &[], |row| row.get::<i64>(0)).unwrap()
        };
        let insert = "INSERT INTO thing (id) VALUES (?1)";
        let transaction = connection.begin().unwrap();
        transaction.execute(insert, params![1]).unwrap();
        drop(transaction);
        assert_eq!(count(connection), 0);
        let transaction = connection.begin().unwrap();
        transaction.execute(insert, params![1]).unwrap();
        transaction.commit().unwrap();
        assert_eq!(count(connection), 1);
        let mut seen = Vec::new();
        connection.execute(insert, params![2]).unwrap();
        connection
            .each("SELECT id FROM thing ORDER BY id", &[], |row| {
                seen.push(row.get::<i64>(0)?);
                Ok(ControlFlow::Break(()))
            })
            .unwrap();
        assert_eq!(seen, [1], "it stops when it is told to");
        assert_eq!(count(connection), 2, "and can be used again");
    });
}
