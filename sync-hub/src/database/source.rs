//! Where a hub keeps its database: a file in its directory, or a PostgreSQL server.
//!
//! `postgres://USER@HOST:PORT/NAME`, `postgres:///NAME?host=/run/postgresql&user=USER` for a local
//! socket. The password never stands in it: arguments are seen by everyone on the machine, and
//! end up in logs. It comes from the file that `PGPASSFILE` names, or `~/.pgpass`.
//!
//! Over a network the server must prove who it is, by the authorities of the system or those of
//! `?sslrootcert=FILE`; `?sslmode=disable` does without TLS.

use super::sql::Connector;
use postgres::config::{Host, SslMode};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Name of the database in the data directory.
pub const FILE: &str = "hub.sqlite";

/// Which server has the database, in the data directory: so that commands find it by themselves.
const URL_FILE: &str = "database.url";

/// Authorities that the system trusts, as Debian keeps them.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A server that does not answer by then is taken for unreachable.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A connection whose server acknowledges nothing for this long is given up.
const SILENT_MAX: Duration = Duration::from_secs(30);

const PORT_DEFAULT: u16 = 5432;

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one of it in a process")]
pub enum Source {
    /// A file.
    Sqlite(PathBuf),
    /// A server.
    Postgres(Server),
}

/// A PostgreSQL database.
#[derive(Clone)]
pub struct Server {
    url: String,
    config: postgres::Config,
    authorities: Option<PathBuf>,
}

impl PartialEq for Server {
    fn eq(&self, other: &Server) -> bool {
        self.url == other.url
    }
}

impl Eq for Server {}

/// Why there is no such place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It is not written as it should be.
    #[error("'{url}' is no database: {problem}")]
    Url {
        /// What was given, without a password.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It holds a password.
    #[error("the database's address holds a password, which everyone on this machine can see")]
    Password,
    /// The file that names it cannot be read or written.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
}

impl Source {
    /// Whether the hub of a directory was never there.
    pub(crate) fn is_missing(&self, data: &Path) -> bool {
        match self {
            Source::Sqlite(path) => !path.is_file(),
            Source::Postgres(_) => !data.is_dir(),
        }
    }

    /// The database that is named, else the one that the directory is known for, else the file in
    /// it.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn find(data: &Path, named: Option<&Source>) -> Result<Source, SourceError> {
        if let Some(named) = named {
            return Ok(named.clone());
        }
        let path = data.join(URL_FILE);
        match std::fs::read_to_string(&path) {
            Ok(url) => url.trim().parse(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Source::file(data)),
            Err(error) => Err(SourceError::File { path, problem: error.to_string() }),
        }
    }

    /// The file in a directory.
    pub fn file(data: &Path) -> Source {
        Source::Sqlite(data.join(FILE))
    }

    /// Notes in the directory where its database is, if it is not there.
    ///
    /// # Errors
    /// [`SourceError::File`].
    pub fn remember(&self, data: &Path) -> Result<(), SourceError> {
        let Source::Postgres(server) = self else { return Ok(()) };
        let path = data.join(URL_FILE);
        let text = format!("{}\n", server.url);
        if std::fs::read_to_string(&path).is_ok_and(|known| known == text) {
            return Ok(());
        }
        std::fs::write(&path, text)
            .map_err(|error| SourceError::File { path, problem: error.to_string() })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Sqlite(path) => path.display().fmt(f),
            Source::Postgres(server) => f.write_str(&server.url),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Source, SourceError> {
        let wrong = |problem: String| SourceError::Url { url: text.to_owned(), problem };
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(wrong("it is written postgres://USER@HOST/NAME".to_owned()));
        }
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let (mut rest, mut mode, mut authorities) = (Vec::new(), None, None);
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => authorities = Some(PathBuf::from(value)),
                Some(("password", _)) => return Err(SourceError::Password),
                Some(_) | None => rest.push(part),
            }
        }
        let plain = format!("{address}?{}", rest.join("&"));
        let mut config: postgres::Config = plain.parse().map_err(|error: postgres::Error| {
            // What it says of the address could repeat a password.
            let problem =
                std::error::Error::source(&error).map_or(String::new(), ToString::to_string);
            SourceError::Url { url: "the address".to_owned(), problem }
        })?;
        if config.get_password().is_some() {
            return Err(SourceError::Password);
        }
        if config.get_user().is_none() {
            return Err(wrong("it names no user (postgres://USER@HOST/NAME)".to_owned()));
        }
        if config.get_dbname().is_none() {
            return Err(wrong("it names no database (postgres://USER@HOST/NAME)".to_owned()));
        }
        if config.get_hosts().is_empty() {
            return Err(wrong("it names no host (postgres://USER@HOST/NAME)".to_owned()));
        }
        let local = config.get_hosts().iter().all(is_local);
        let tls = match mode {
            Some("disable") => false,
            Some("require" | "verify-full") => true,
            None => !local || authorities.is_some(),
            Some(other) => {
                return Err(wrong(format!("sslmode is disable or verify-full, not {other}")));
            }
        };
        config
            .ssl_mode(if tls { SslMode::Require } else { SslMode::Disable })
            .application_name("landfall-hub")
            .connect_timeout(CONNECT_MAX)
            .tcp_user_timeout(SILENT_MAX)
            .keepalives_idle(SILENT_MAX);
        let authorities =
            tls.then(|| authorities.unwrap_or_else(|| PathBuf::from(SYSTEM_AUTHORITIES)));
        Ok(Source::Postgres(Server { url: text.to_owned(), config, authorities }))
    }
}

/// Whether nothing leaves this machine on the way to it.
fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

impl Server {
    /// With password and authorities, read anew: they may have been renewed.
    pub(super) fn connector(&self) -> Result<Connector, String> {
        let mut config = self.config.clone();
        if let Some(password) = self.password()? {
            config.password(password);
        }
        let tls = self.authorities.as_deref().map(tls).transpose()?;
        Ok(Connector { config, tls })
    }

    fn password(&self) -> Result<Option<String>, String> {
        let named = std::env::var_os("PGPASSFILE").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".pgpass"));
        let Some(path) = named.clone().or_else(home) else { return Ok(None) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(_) if named.is_none() => return Ok(None),
            Err(error) => return Err(format!("PGPASSFILE {}: {error}", path.display())),
        };
        if is_open_to_others(&path) {
            let path = path.display();
            return Err(format!("{path} can be read by others: chmod 600 {path}"));
        }
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(_)) | None => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(PORT_DEFAULT).to_string();
        let name = self.config.get_dbname().unwrap_or_default();
        let user = self.config.get_user().unwrap_or_default();
        Ok(find_password(&text, [&host, &port, name, user]))
    }
}

fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

/// The first line `host:port:database:user:password` that fits; `*` fits everything.
fn find_password(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = fields(line).into_iter();
        let fits = wanted
            .iter()
            .all(|wanted| fields.next().is_some_and(|field| field == "*" || field == *wanted));
        fields.next().filter(|_| fits)
    })
}

/// Divided at colons; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, fields.last_mut()) {
            (':', _) => fields.push(String::new()),
            ('\\', Some(field)) => field.extend(chars.next()),
            (c, Some(field)) => field.push(c),
            (_, None) => {}
        }
    }
    fields
}

fn tls(authorities: &Path) -> Result<rustls::ClientConfig, String> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    let failed = |error: &dyn fmt::Display| {
        format!("the authorities in {} (sslrootcert): {error}", authorities.display())
    };
    let mut roots = rustls::RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(authorities).map_err(|error| failed(&error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| failed(&error))?;
        // One that the system carries along and rustls does not understand harms nobody.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        return Err(failed(&"no certificate in it"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Server {
        match url.parse() {
            Ok(Source::Postgres(server)) => server,
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn an_address_is_checked_and_never_holds_a_password() {
        for (url, problem) in [
            ("hub.sqlite", "postgres://USER"),
            ("postgres://db.example.org/landfall", "no user"),
            ("postgres://hub@db.example.org", "no database"),
            ("postgres://hub@db.example.org/landfall?sslmode=prefer", "sslmode"),
        ] {
            let error = url.parse::<Source>().unwrap_err().to_string();
            assert!(error.contains(problem), "{url}: {error}");
        }
        for url in
            ["postgres://hub:secret@db/landfall", "postgres://hub@db/landfall?password=secret"]
        {
            let error = url.parse::<Source>().unwrap_err();
            assert_eq!(error, SourceError::Password);
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn over_a_network_the_server_must_prove_who_it_is() {
        let authorities = |url| server(url).authorities;
        assert_eq!(
            authorities("postgres://hub@db.example.org/landfall"),
            Some(PathBuf::from(SYSTEM_AUTHORITIES))
        );
        assert_eq!(authorities("postgres://hub@127.0.0.1/landfall"), None);
        assert_eq!(authorities("postgres:///landfall?host=/run/postgresql&user=hub"), None);
        assert_eq!(authorities("postgres://hub@db/landfall?sslmode=disable"), None);
        assert_eq!(
            authorities("postgres://hub@db/landfall?sslrootcert=/etc/db.pem"),
            Some(PathBuf::from("/etc/db.pem"))
        );
    }

    #[test]
    fn a_password_is_found_by_host_port_database_and_user() {
        let text = "# ours\ndb:5432:landfall:hub:first\n*:*:*:hub:a\\:b\n";
        let find = |host, user| find_password(text, [host, "5432", "landfall", user]);
        assert_eq!(find("db", "hub").as_deref(), Some("first"));
        assert_eq!(find("elsewhere", "hub").as_deref(), Some("a:b"));
        assert_eq!(find("db", "other"), None);
    }

    #[test]
    fn a_directory_remembers_its_server() {
        let dir = tempfile::tempdir().unwrap();
        let found = |named| Source::find(dir.path(), named).unwrap();
        assert_eq!(found(None), Source::file(dir.path()));
        let server: Source = "postgres://hub@127.0.0.1/landfall".parse().unwrap();
        assert_eq!(found(Some(&server)), server);
        server.remember(dir.path()).unwrap();
        assert_eq!(found(None), server);
    }
}
