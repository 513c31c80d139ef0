//! Hands the files of releases to devices, over HTTPS with the certificates of the hub's own
//! authority. A revoked device gets nothing from its next request on.

use super::registry;
use crate::database::Database;
use crate::database::queries::{self, Admission};
use crate::endpoint::tls_config;
use crate::identity::{ServerIdentity, peer};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use landfall_freight::blobs::{BlobError, Blobs};
use landfall_freight::serve::{Door, Guest, Shelf, router};
use landfall_wire::id::Digest;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The service could not be started.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The address cannot be listened on.
    #[error("cannot listen for files on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The certificates do not work.
    #[error("TLS: {0}")]
    Tls(String),
    /// The directory of files cannot be made.
    #[error(transparent)]
    Blobs(#[from] BlobError),
}

/// Serves until dropped.
#[derive(Debug)]
pub struct Files {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Files {
    /// Listens.
    ///
    /// # Errors
    /// [`FilesError`].
    pub(crate) async fn start(
        address: SocketAddr,
        identity: &ServerIdentity,
        data: &Path,
        database: Database,
    ) -> Result<Files, FilesError> {
        let tls = tls_config(identity).map_err(FilesError::Tls)?;
        let listen = |source| FilesError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let door = Door::open(listener, move || Arc::clone(&tls)).map_err(listen)?;
        let address = door.address();
        // Only files of releases are ever put there.
        let shelf: Arc<dyn Shelf> = Arc::new(Kept(registry::blobs(data)?));
        let admitted = axum::middleware::from_fn_with_state(database, admit);
        let app = router(shelf).layer(admitted).into_make_service_with_connect_info::<Guest>();
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(door, app).await {
                tracing::error!(%error, "files are no longer handed out");
            }
        });
        Ok(Files { address, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Kept(Blobs);

impl Shelf for Kept {
    fn find(&self, digest: Digest) -> Option<PathBuf> {
        self.0.size(digest).map(|_| self.0.path(digest))
    }
}

/// Asked at every request, so that a revocation holds at once.
async fn admit(
    State(database): State<Database>,
    ConnectInfo(guest): ConnectInfo<Guest>,
    request: Request,
    next: Next,
) -> Response {
    let refused = (StatusCode::FORBIDDEN, "this certificate is not let in\n").into_response();
    let Ok(peer) = peer(&guest.certificate) else { return refused };
    let (device, serial) = (peer.device.clone(), peer.serial);
    let admission = database.read(move |reader| queries::admission(reader, &device, &serial)).await;
    match admission {
        Ok(Admission::Granted(_)) => next.run(request).await,
        Ok(Admission::Revoked(_) | Admission::NotEnrolled) => {
            tracing::warn!(device = %peer.device, address = %guest.address, "files were refused");
            refused
        }
        Err(error) => {
            tracing::warn!(%error, "whether files may be handed out cannot be looked up");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
