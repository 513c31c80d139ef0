//! Rules that devices decide by before their model: what operators give, beside an answer or as a
//! file, and how devices learn of it.
//!
//! * `books`: the rules, checked with the parser of the devices before they are kept.
//! * `driver`: compares what each device should have with what it was sent, and sends the rest.
//! * `views`: what is shown.
//!
//! A rule that comes with an answer holds once that answer is given: while it can be taken back,
//! or others must agree, no device hears of it.

pub mod books;
pub(crate) mod driver;
pub mod views;

use crate::identity::{Authority, IdentityError};
use landfall_freight::signature::{SignError, sign};
use landfall_wire::id::DeviceId;
use landfall_wire::rules::RulesOrder;
use rustls_pki_types::PrivateKeyDer;

/// Who signs rules: the authority that devices trust.
pub struct Signer {
    key: PrivateKeyDer<'static>,
    /// Names the key.
    pub(crate) name: String,
}

impl std::fmt::Debug for Signer {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("name", &self.name).finish()
    }
}

impl Signer {
    /// The authority that every device trusts, also while it is being replaced.
    ///
    /// # Errors
    /// [`IdentityError`] if its key or certificate cannot be read.
    pub fn of(authority: &Authority) -> Result<Signer, IdentityError> {
        Ok(Signer { key: authority.key()?, name: authority.name()? })
    }

    pub(crate) fn sign(
        &self,
        device: &DeviceId,
        order: RulesOrder,
    ) -> Result<RulesOrder, SignError> {
        let signature = sign(&self.key, &order.signed(device))?;
        Ok(RulesOrder { signature, ..order })
    }
}
