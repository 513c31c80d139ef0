//! `backup` and `restore`.

use super::failure::Failure;
use super::{Home, out};
use crate::database::Source;
use crate::database::backup::{self, BackupError};
use crate::database::views::time;
use crate::hub::{is_running, now_ms};
use std::path::Path;

pub(super) fn backup(home: &Home, to: &Path) -> Result<(), Failure> {
    if !home.exists() {
        return Err(Failure::new(
            format!("{} holds no hub", home.data.display()),
            "pass the hub's directory with --data",
        ));
    }
    let made = backup::backup(&home.data, &home.database, to, now_ms())?;
    let at = to.display();
    if made.database {
        out::line(format!("the hub is in {at}: its database and {} files", made.files));
    } else {
        out::line(format!("{} files of the hub are in {at}, without the database", made.files));
        out::note(&format!(
            "the database is copied by PostgreSQL: pg_dump --format=custom --file=hub.dump '{}'",
            home.database
        ));
    }
    out::note("it holds the authority's key: keep it where nobody else reads it");
    Ok(())
}

pub(super) fn restore(home: &Home, from: &Path) -> Result<(), Failure> {
    if is_running(&home.data) {
        return Err(Failure::new(
            format!("a hub runs on {}", home.data.display()),
            "stop it, and restore into another directory",
        ));
    }
    let made = backup::restore(from, &home.data)?;
    let (data, at) = (home.data.display(), time(made.made_ms));
    out::line(format!("the hub of {at} is in {data}: {} files", made.files));
    if !made.database {
        let database = match Source::find(&home.data, None) {
            Ok(Source::Postgres(server)) => Source::Postgres(server).to_string(),
            _ => "URL".to_owned(),
        };
        out::note(&format!(
            "its database was on a server: pg_restore --clean --if-exists --dbname='{database}' \
             hub.dump"
        ));
    }
    Ok(())
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Failure {
        let remedy = match &error {
            BackupError::File { .. } => "check the path, its owner and the free space",
            BackupError::Copy { .. } => "check the free space; nothing was changed",
            BackupError::Exists(_) => {
                "choose another name, or an empty directory: nothing is \
                                       overwritten"
            }
            BackupError::NotABackup { .. } => "name a file that `landfall-hub backup` has written",
            BackupError::TooLarge(_) => "move it out of the hub's directory",
        };
        Failure::new(error.to_string(), remedy)
    }
}
