//! How a device asks for its first certificate, over TLS to the hub's own port: it offers
//! [`ALPN`], the hub shows the chain up to its authority, which the device holds against its token,
//! and needs no certificate of the device. One request, one reply, and the connection ends.
//!
//! A message is its length (4 bytes, little endian) and its postcard.

use crate::id::DeviceId;
use crate::token::SECRET_BYTES;
use serde::{Deserialize, Serialize};

/// What a device offers in its TLS greeting when it wants to enroll.
pub const ALPN: &[u8] = b"landfall-enroll/1";

/// Largest message in bytes: a request is about 300, a reply has two or three certificates.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// What a device asks.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Of its token.
    pub secret: [u8; SECRET_BYTES],
    /// A certificate signing request (PKCS #10, DER); the hub sets the name.
    pub request: Vec<u8>,
}

impl std::fmt::Debug for Request {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("bytes", &self.request.len()).finish_non_exhaustive()
    }
}

/// What the hub says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The device is enrolled.
    Issued {
        /// Its name.
        device: DeviceId,
        /// Its certificate, PEM.
        certificate: String,
        /// The authorities to trust, PEM.
        authorities: String,
        /// Where it finds the hub from now on: `host:port`.
        hub: String,
    },
    /// It is not, and why.
    Refused(Refused),
}

/// Why a device is not enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    /// There is no such token, or it was used, or it has expired: the hub does not say which.
    #[error("the hub does not know this token: it was used, or has expired, or is another hub's")]
    Token,
    /// Too many wrong tokens lately.
    #[error("the hub takes no tokens for a minute: there were too many wrong ones")]
    Later,
    /// The request is not one.
    #[error("the hub cannot read the request")]
    Malformed,
    /// The hub could not write its books; the token is still good.
    #[error("the hub could not issue a certificate; its log says why")]
    Failed,
}

/// A message as it is sent.
///
/// # Errors
/// When it is too large or cannot be written.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, String> {
    let body = postcard::to_stdvec(message).map_err(|error| error.to_string())?;
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(format!("a message of {length} bytes is over {MESSAGE_BYTES_MAX}"));
    }
    Ok([&length.to_le_bytes()[..], &body].concat())
}

/// The size of the message that follows its first four bytes.
///
/// # Errors
/// When it is too large.
pub fn length(first: [u8; 4]) -> Result<usize, String> {
    let length = usize::try_from(u32::from_le_bytes(first)).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES_MAX {
        return Err(format!("a message of {length} bytes is over {MESSAGE_BYTES_MAX}"));
    }
    Ok(length)
}

/// Reads a whole message, without its length.
///
/// # Errors
/// When it is anything else.
pub fn decode<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, String> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_and_others_do_not() {
        let request = Request { secret: [7; SECRET_BYTES], request: vec![0x30; 250] };
        let bytes = encode(&request).unwrap();
        let first = [bytes[0], bytes[1], bytes[2], bytes[3]];
        assert_eq!(length(first), Ok(bytes.len() - 4));
        assert_eq!(decode::<Request>(&bytes[4..]), Ok(request));
        assert!(decode::<Request>(&bytes[4..9]).is_err());
        assert!(decode::<Reply>(&[9, 9]).is_err());
        assert!(length([0xff; 4]).is_err());
        let reply = Reply::Refused(Refused::Token);
        assert_eq!(decode::<Reply>(&encode(&reply).unwrap()[4..]), Ok(reply));
        assert!(encode(&Request { secret: [0; 8], request: vec![0; 20_000] }).is_err());
    }
}
