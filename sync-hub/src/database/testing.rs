//! Databases for tests.

use super::Source;

/// A new PostgreSQL database; `None`, and said so, where there is no server.
pub(crate) fn postgres() -> Option<Source> {
    match landfall_cluster::database() {
        Ok(url) => Some(url.parse().unwrap()),
        Err(why) => {
            eprintln!("without PostgreSQL: {why}");
            None
        }
    }
}

/// Runs a test on a new file, and on a new database of a server.
pub(crate) fn on_both(test: impl Fn(&Source)) {
    let dir = tempfile::tempdir().unwrap();
    test(&Source::file(dir.path()));
    if let Some(source) = postgres() {
        test(&source);
    }
}
