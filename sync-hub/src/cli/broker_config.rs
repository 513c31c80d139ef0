//! `broker-config`: files for a broker between devices and this hub.

use super::args::{BrokerConfigCommand, MosquittoArgs};
use super::failure::Failure;
use super::{Home, out};
use crate::broker::mosquitto::{self, Became, CONFIG_FILE, MosquittoError, Request};
use crate::database::commands::NoteBrokerDir;
use crate::database::{self, queries};
use crate::hub::{LOCAL_NAMES, now_ms};
use crate::identity::Authority;

pub(super) fn broker_config(home: &Home, command: BrokerConfigCommand) -> Result<(), Failure> {
    match command {
        BrokerConfigCommand::Mosquitto(args) => mosquitto(home, args),
    }
}

fn mosquitto(home: &Home, args: MosquittoArgs) -> Result<(), Failure> {
    let data = &home.data;
    let authority = Authority::open(data, now_ms())?;
    let mut books = database::open(&home.database)?;
    let mut hosts: Vec<String> = LOCAL_NAMES.map(str::to_owned).into();
    if !args.listen.ip().is_unspecified() {
        hosts.push(args.listen.ip().to_string());
    }
    hosts.extend(args.name.iter().cloned());
    hosts.sort();
    hosts.dedup();
    let request = Request {
        dir: args.out.unwrap_or_else(|| data.join("mosquitto")),
        listen: args.listen,
        hosts,
        revoked: queries::revoked_serials(&books)?,
        force: args.force,
    };
    let written = mosquitto::write(&authority, &request, now_ms())?;
    let config = written.iter().find(|(path, _)| path.ends_with(CONFIG_FILE));
    let dir = config.and_then(|(path, _)| path.parent()).unwrap_or(&request.dir);
    database::apply(&mut books, &NoteBrokerDir { dir: dir.display().to_string() })?;
    for (path, became) in &written {
        let what = match became {
            Became::New => "new",
            Became::Changed => "changed",
            Became::Same => "unchanged",
        };
        out::line(format!("{what:9}  {}", path.display()));
    }
    if args.name.is_empty() && args.listen.ip().is_unspecified() {
        out::note(
            "without --name the broker's certificate is good on this machine only: devices \
             elsewhere will not trust it",
        );
    }
    let host = args.name.first().map_or("localhost", String::as_str);
    let (dir, port, data) = (dir.display(), args.listen.port(), data.display());
    out::line(format!(
        "next:
  sudo chown -R mosquitto: {dir}
  sudo mosquitto -c {dir}/{CONFIG_FILE}
  landfall-hub --data {data} run --broker localhost:{port} --name {host}
  landfall-hub --data {data} enroll DEVICE --out DIR --hub {host}:{port}"
    ));
    Ok(())
}

impl From<MosquittoError> for Failure {
    fn from(error: MosquittoError) -> Failure {
        let message = error.to_string();
        match error {
            MosquittoError::ChangedByHand(_) => Failure::new(
                message,
                "keep a copy of the changes, pass --force to overwrite them, and make them again; \
                 nothing was written",
            ),
            MosquittoError::Unnameable(_) => {
                Failure::usage(message, "choose a directory with a plain name")
            }
            MosquittoError::Identity(error) => error.into(),
        }
    }
}
