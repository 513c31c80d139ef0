//! Who can be asked for files, with the certificate that the device has at that moment.

use super::source::Source;
use super::{ReleasesConfig, site};
use crate::sync::{Identity, Wallet};
use std::sync::Arc;

/// Who can be asked.
#[derive(Default)]
pub(super) struct Sources {
    /// Devices of the site.
    pub(super) near: Vec<Source>,
    /// Everybody else, cheapest first.
    pub(super) far: Vec<Source>,
    /// Who cannot be asked, and why.
    pub(super) faults: Vec<String>,
}

impl Sources {
    /// By the site's configuration.
    pub(super) fn of(releases: &ReleasesConfig, wallet: Option<&Wallet>) -> Sources {
        let Some(wallet) = wallet else { return Sources::default() };
        match wallet.pick() {
            Ok((identity, _)) => Sources::with(releases, &identity, wallet),
            Err(error) => Sources {
                faults: vec![format!("nobody can be asked: {error}")],
                ..Sources::default()
            },
        }
    }

    fn with(releases: &ReleasesConfig, identity: &Identity, wallet: &Wallet) -> Sources {
        let mut sources = Sources::default();
        match site::client(identity, wallet.clock()) {
            Ok(tls) => {
                let peer = |at: &String| {
                    let name = format!("the device at {at}");
                    Source::new(name, &format!("https://{at}"), Arc::clone(&tls))
                };
                sources.near.extend(releases.peers.iter().map(peer));
            }
            Err(error) => sources.faults.push(format!("devices of the site: {error}")),
        }
        match site::mirror(releases.mirror_ca.as_deref(), identity, wallet.clock()) {
            Ok(tls) => sources.far.extend(releases.mirrors.iter().map(|mirror| {
                Source::new(format!("the mirror {mirror}"), mirror, Arc::clone(&tls))
            })),
            Err(error) => sources.faults.push(format!("mirrors: {error}")),
        }
        if let Some(hub) = releases.hub.as_ref().or(identity.files.as_ref()) {
            let tls = Arc::clone(&identity.tls);
            let name = format!("the hub at {hub}");
            sources.far.push(Source::new(name, &format!("https://{hub}"), tls));
        }
        sources
    }
}
