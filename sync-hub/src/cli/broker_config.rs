//! `broker-config`: files for a broker between devices and this hub.

use super::args::{BrokerConfigArgs, BrokerConfigCommand};
use super::failure::Failure;
use super::{Home, out};
use crate::broker::mosquitto::{Became, MosquittoError, Request};
use crate::broker::{emqx, mosquitto};
use crate::database::commands::NoteBrokerDir;
use crate::database::{self, queries};
use crate::hub::{LOCAL_NAMES, now_ms};
use crate::identity::Authority;
use std::path::{Path, PathBuf};

pub(super) fn broker_config(home: &Home, command: BrokerConfigCommand) -> Result<(), Failure> {
    match command {
        BrokerConfigCommand::Mosquitto(args) => mosquitto(home, args),
        BrokerConfigCommand::Emqx(args) => emqx(home, args),
    }
}

fn mosquitto(home: &Home, args: BrokerConfigArgs) -> Result<(), Failure> {
    let authority = Authority::open(&home.data, now_ms())?;
    let mut books = database::open(&home.database)?;
    let (listen, names) = (args.listen, args.name.clone());
    let revoked = queries::revoked_serials(&books)?;
    let request = request(args, home.data.join("mosquitto"), revoked);
    let written = mosquitto::write(&authority, &request, now_ms())?;
    let dir = tell(&written, mosquitto::CONFIG_FILE, &request.dir);
    database::apply(&mut books, &NoteBrokerDir { dir: dir.display().to_string() })?;
    warn_of_names(&names, listen);
    let host = names.first().map_or("localhost", String::as_str);
    let (dir, port, data) = (dir.display(), listen.port(), home.data.display());
    let file = mosquitto::CONFIG_FILE;
    out::line(format!(
        "next:
  sudo chown -R mosquitto: {dir}
  sudo mosquitto -c {dir}/{file}
  landfall-hub --data {data} run --broker localhost:{port} --name {host}
  landfall-hub --data {data} enroll DEVICE --out DIR --hub {host}:{port}"
    ));
    Ok(())
}

fn emqx(home: &Home, args: BrokerConfigArgs) -> Result<(), Failure> {
    let authority = Authority::open(&home.data, now_ms())?;
    let (listen, names) = (args.listen, args.name.clone());
    let request = request(args, home.data.join("emqx"), Vec::new());
    let written = emqx::write(&authority, &request, now_ms())?;
    let dir = tell(&written, emqx::CONFIG_FILE, &request.dir);
    warn_of_names(&names, listen);
    let host = names.first().map_or("localhost", String::as_str);
    let (dir, port, data) = (dir.display(), listen.port(), home.data.display());
    let file = emqx::CONFIG_FILE;
    out::line(format!(
        "next:
  set `cookie` in {dir}/{file}, and give the directory to the user emqx
  sudo cp {dir}/{file} /etc/emqx/{file} && sudo systemctl restart emqx
  landfall-hub --data {data} run --broker localhost:{port} --name {host}
  landfall-hub --data {data} enroll DEVICE --out DIR --hub {host}:{port}"
    ));
    Ok(())
}

fn request(args: BrokerConfigArgs, default_dir: PathBuf, revoked: Vec<String>) -> Request {
    let mut hosts: Vec<String> = LOCAL_NAMES.map(str::to_owned).into();
    if !args.listen.ip().is_unspecified() {
        hosts.push(args.listen.ip().to_string());
    }
    hosts.extend(args.name);
    hosts.sort();
    hosts.dedup();
    let dir = args.out.unwrap_or(default_dir);
    Request { dir, listen: args.listen, hosts, revoked, force: args.force }
}

/// Lists what was written; returns the directory as the files name it.
fn tell<'a>(written: &'a [(PathBuf, Became)], config: &str, asked: &'a Path) -> &'a Path {
    for (path, became) in written {
        let what = match became {
            Became::New => "new",
            Became::Changed => "changed",
            Became::Same => "unchanged",
        };
        out::line(format!("{what:9}  {}", path.display()));
    }
    let config = written.iter().find(|(path, _)| path.ends_with(config));
    config.and_then(|(path, _)| path.parent()).unwrap_or(asked)
}

fn warn_of_names(names: &[String], listen: std::net::SocketAddr) {
    if names.is_empty() && listen.ip().is_unspecified() {
        out::note(
            "without --name the broker's certificate is good on this machine only: devices \
             elsewhere will not trust it",
        );
    }
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
