//! Why a connection failed or ended, for people: what happened, and what to do about it.

use landfall_agent_core::session::Closing;
use rumqttc::{ConnectReturnCode, ConnectionError, StateError, TlsError};
use std::error::Error;

/// A failed or ended connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// What happened.
    pub(super) what: String,
    /// What a person can do, if it is not going to pass by itself.
    pub(super) remedy: Option<&'static str>,
}

const CHECK_ADDRESS: &str = "check the address of the hub, that it runs, and the link";
const CHECK_CA: &str = "copy the identity directory from this hub's `landfall-hub enroll` again, \
                        and check the clock and the hub's name";
const ENROLL: &str = "enroll the device again with `landfall-hub enroll` and copy the directory";
const UPDATE: &str = "update the hub or the agent, whichever is older";
const LOOK_AT_STORE: &str = "look at the store with `landfall-agent status`";

impl Trouble {
    pub(super) fn new(what: impl Into<String>) -> Trouble {
        Trouble { what: what.into(), remedy: None }
    }

    pub(super) fn store(error: &crate::store::StoreError) -> Trouble {
        Trouble { what: format!("the store failed: {error}"), remedy: Some(LOOK_AT_STORE) }
    }

    pub(super) fn frame(error: &landfall_wire::frame::FrameError) -> Trouble {
        Trouble { what: format!("the hub sent what is not a frame: {error}"), remedy: Some(UPDATE) }
    }

    pub(super) fn closing(why: &Closing) -> Trouble {
        let remedy = match why {
            Closing::Protocol(_) => Some(UPDATE),
            Closing::NoWelcome(_)
            | Closing::StoreChanged
            | Closing::RolledBack
            | Closing::Silent(_) => None,
        };
        Trouble { what: why.to_string(), remedy }
    }

    pub(super) fn connection(error: &ConnectionError, hub: &str) -> Trouble {
        let text = chain(error);
        // The hub judges the device's certificate after our side of the handshake, so its
        // refusal comes as an alert on an established connection.
        if text.contains("fatal alert") {
            let what = format!("{hub} refuses the device's certificate: {text}");
            return Trouble { what, remedy: Some(ENROLL) };
        }
        let (what, remedy) = match error {
            ConnectionError::Tls(TlsError::TLS(_)) => {
                (format!("{hub} cannot prove that it is the hub: {text}"), Some(CHECK_CA))
            }
            ConnectionError::Tls(TlsError::Io(io)) | ConnectionError::Io(io)
                if chain_has_tls(io) =>
            {
                (format!("{hub} cannot prove that it is the hub: {text}"), Some(CHECK_CA))
            }
            ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
                (format!("{hub} does not answer in time"), Some(CHECK_ADDRESS))
            }
            ConnectionError::ConnectionRefused(
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
            ) => (format!("{hub} refuses the device"), Some(ENROLL)),
            ConnectionError::Io(_) => {
                (format!("{hub} cannot be reached: {text}"), Some(CHECK_ADDRESS))
            }
            ConnectionError::MqttState(
                StateError::ConnectionAborted | StateError::Io(_) | StateError::AwaitPingResp,
            ) => ("the connection broke".to_owned(), None),
            other => (format!("the connection failed: {}", chain(other)), None),
        };
        Trouble { what, remedy }
    }

    /// Of a handshake or of reading and writing, for a tool that looks at a connection step by
    /// step: what happened, and what to do about it.
    pub(super) fn of_io(error: std::io::Error, hub: &str) -> (String, &'static str) {
        let trouble = Trouble::connection(&ConnectionError::Io(error), hub);
        (trouble.what, trouble.remedy.unwrap_or(CHECK_ADDRESS))
    }

    /// One line for a status page.
    pub(super) fn line(&self) -> String {
        match self.remedy {
            Some(remedy) => format!("{} (remedy: {remedy})", self.what),
            None => self.what.clone(),
        }
    }
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

fn chain_has_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn troubles_say_what_to_do() {
        let refused = ConnectionError::Io(io::Error::from(io::ErrorKind::ConnectionRefused));
        let trouble = Trouble::connection(&refused, "hub:1");
        assert_eq!(trouble.remedy, Some(CHECK_ADDRESS), "{trouble:?}");
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateUnknown);
        let alert = io::Error::new(io::ErrorKind::InvalidData, alert);
        let alert = ConnectionError::MqttState(StateError::Io(alert));
        let trouble = Trouble::connection(&alert, "hub:1");
        assert_eq!(trouble.remedy, Some(ENROLL), "{trouble:?}");
        let other = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let other = io::Error::new(io::ErrorKind::InvalidData, other);
        let other = ConnectionError::Tls(TlsError::Io(other));
        let trouble = Trouble::connection(&other, "hub:1");
        assert_eq!(trouble.remedy, Some(CHECK_CA), "{trouble:?}");
        assert!(trouble.line().contains("(remedy: "));
    }
}
