//! Who is who: the hub's own certificate authority, and the certificates that it issues.
//!
//! The authority is made with the data directory. Its key signs the hub's server certificate
//! and one client certificate per device, whose CN is the device's name; where a broker stands
//! between the two, also the broker's certificate and the hub's own as its client. Which serial numbers
//! may connect is in the database, so that a revocation needs no list to be distributed.
//!
//! A device gets its first certificate in a directory that is put on it (`enroll`), or by a one-time
//! token (`tokens`), with a key that never leaves it. An authority is replaced with an overlap: see
//! [`Rotation`].
//!
//! Keys are P-256: in every TLS stack, small, and quick on old ARM cores. Private keys are
//! written with mode 0600, before anything that refers to them.

mod authority;
mod broker;
mod enroll;
mod files;
pub(crate) mod renewals;
pub(crate) mod tokens;

pub(crate) use authority::hex;
pub use authority::{
    Authority, HUB_USER, HUBS_MAX, Peer, Pem, Rotation, ServerIdentity, Signed, hub_user, peer,
};
pub use broker::BrokerFiles;
pub use enroll::{BUNDLE_FILES, EnrollError, Enrolled, HubAddress, Request, enroll};
pub(crate) use files::{PRIVATE, PUBLIC, failed, read, write};
pub(crate) use tokens::Found;
pub use tokens::new_token;

use std::path::PathBuf;
use std::sync::Arc;

/// An identity could not be made or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("cannot {operation} {}: {source}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: Arc<std::io::Error>,
    },
    /// A certificate or key is not what it should be.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("cannot issue a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// No random numbers.
    #[error("no random numbers from the system: {0}")]
    Random(#[from] getrandom::Error),
}
