//! Why the broker is not connected, for people: what happened, and what to do about it.

use crate::identity::HubAddress;
use rumqttc::{ConnectReturnCode, ConnectionError, StateError, TlsError};
use std::error::Error;

/// A failed or ended connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// What happened.
    pub(super) what: String,
    /// What a person can do, or that it passes.
    pub(super) remedy: &'static str,
}

const PASSES: &str = "none needed, it is tried again";
const CHECK_ADDRESS: &str = "check --broker, that the broker runs, and the network";
const CHECK_CA: &str = "give the broker a certificate of the hub's authority that names this \
                        address (`landfall-hub broker-config mosquitto --name HOST`), or pass \
                        --broker-ca";
const CHECK_CLIENT: &str = "the broker must trust ca.pem of the hub's data directory, and take the \
                            certificate's name as the user name: see `landfall-hub broker-config`";
const CHECK_ACL: &str = "let the hub read landfall/1/+/up: see `landfall-hub broker-config`";
const CHECK_TWIN: &str = "if it goes on: only one hub may use this identity at this broker";

impl Trouble {
    pub(super) fn new(what: impl Into<String>) -> Trouble {
        Trouble { what: what.into(), remedy: PASSES }
    }

    pub(super) fn subscription(filter: &str) -> Trouble {
        let what = format!("the broker refuses the subscription to {filter}");
        Trouble { what, remedy: CHECK_ACL }
    }

    pub(super) fn connection(error: &ConnectionError, broker: &HubAddress) -> Trouble {
        let text = chain(error);
        // A broker judges the hub's certificate after our side of the handshake, so its refusal
        // comes as an alert on an established connection.
        let (what, remedy) = if text.contains("fatal alert") {
            (format!("{broker} refuses the hub's certificate: {text}"), CHECK_CLIENT)
        } else {
            match error {
                ConnectionError::Tls(TlsError::TLS(_)) => unproven(broker, &text),
                ConnectionError::Tls(TlsError::Io(io)) | ConnectionError::Io(io) if is_tls(io) => {
                    unproven(broker, &text)
                }
                ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
                    (format!("{broker} does not answer in time"), CHECK_ADDRESS)
                }
                ConnectionError::ConnectionRefused(
                    ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
                ) => (format!("{broker} refuses the hub"), CHECK_CLIENT),
                ConnectionError::Io(_) => {
                    (format!("{broker} cannot be reached: {text}"), CHECK_ADDRESS)
                }
                ConnectionError::MqttState(
                    StateError::ConnectionAborted | StateError::Io(_) | StateError::AwaitPingResp,
                ) => ("the connection broke".to_owned(), CHECK_TWIN),
                other => (format!("the connection failed: {}", chain(other)), PASSES),
            }
        };
        Trouble { what, remedy }
    }

    /// One line for a page.
    pub(super) fn line(&self) -> String {
        format!("{} (remedy: {})", self.what, self.remedy)
    }
}

fn unproven(broker: &HubAddress, text: &str) -> (String, &'static str) {
    (format!("{broker} cannot prove that it is the broker: {text}"), CHECK_CA)
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text
}

fn is_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn troubles_say_what_to_do() {
        let broker: HubAddress = "broker.example.org:8883".parse().unwrap();
        let remedy = |error| Trouble::connection(&error, &broker).remedy;
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(remedy(ConnectionError::Io(refused)), CHECK_ADDRESS);
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::UnknownCA);
        let alert = io::Error::new(io::ErrorKind::InvalidData, alert);
        assert_eq!(remedy(ConnectionError::MqttState(StateError::Io(alert))), CHECK_CLIENT);
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let unknown = io::Error::new(io::ErrorKind::InvalidData, unknown);
        assert_eq!(remedy(ConnectionError::Tls(TlsError::Io(unknown))), CHECK_CA);
        let gone = ConnectionError::MqttState(StateError::ConnectionAborted);
        assert_eq!(remedy(gone), CHECK_TWIN);
    }
}
