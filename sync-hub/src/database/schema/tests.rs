use super::super::testing::{on_both, postgres};
use super::*;
use crate::database::{Source, queries};

/// A file as a hub with the first `versions` steps left it.
fn older(source: &Source, versions: usize) -> Connection {
    let connection = connect(source).unwrap();
    for step in &MIGRATIONS[..versions] {
        connection.batch(step).unwrap();
    }
    set_version(&connection, versions.try_into().unwrap()).unwrap();
    connection
}

#[test]
fn opening_twice_changes_nothing_and_a_newer_database_is_refused() {
    on_both(|source| {
        drop(open(source).unwrap());
        let connection = open(source).unwrap();
        let known = u32::try_from(MIGRATIONS.len()).unwrap();
        assert_eq!(version(&connection).unwrap(), known);
        set_version(&connection, known + 1).unwrap();
        drop(connection);
        let error = open(source).unwrap_err();
        let expected = DbError::Newer { found: known + 1, known };
        assert_eq!(error.to_string(), expected.to_string());
    });
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hub.sqlite");
    std::fs::write(&path, "this is not a database, and long enough to be read as one").unwrap();
    let error = open(&Source::Sqlite(path)).unwrap_err();
    assert!(error.to_string().contains("not a database"), "{error}");
}

#[test]
fn a_database_of_an_older_hub_is_upgraded_and_keeps_what_it_holds() {
    for versions in 1..MIGRATIONS.len() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::file(dir.path());
        let old = older(&source, versions);
        let insert = "INSERT INTO device (name, created_ms, answers_epoch) VALUES ('ship-7', 1, 2)";
        old.execute(insert, &[]).unwrap();
        drop(old);
        let upgraded = open(&source).unwrap();
        let devices = queries::devices(&upgraded).unwrap();
        assert_eq!(devices[0].device, "ship-7", "from version {versions}");
    }
}

#[test]
fn hubs_that_start_at_once_make_the_tables_once() {
    let Some(source) = postgres() else { return };
    std::thread::scope(|scope| {
        let hubs: Vec<_> = (0..4).map(|_| scope.spawn(|| open(&source).map(drop))).collect();
        for hub in hubs {
            hub.join().unwrap().unwrap();
        }
    });
}

/// Columns of every table, as (table, column), in order.
fn columns(connection: &Connection) -> Vec<(String, String)> {
    let sql = match connection.engine() {
        Engine::Sqlite => {
            "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
             WHERE t.type = 'table' ORDER BY t.name, c.cid"
        }
        Engine::Postgres => {
            "SELECT table_name, column_name FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name <> 'schema_version'
             ORDER BY CAST(table_name AS TEXT) COLLATE \"C\", ordinal_position"
        }
    };
    connection.rows(sql, &[], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

#[test]
fn both_databases_have_the_same_tables() {
    let Some(server) = postgres() else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = open(&Source::file(dir.path())).unwrap();
    let server = open(&server).unwrap();
    assert_eq!(columns(&file), columns(&server));
}
