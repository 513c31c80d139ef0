//! What agent and hub share beside the wire: files that are named by their digest.
//!
//! * [`listener`]: connections over HTTP, limited in number and in silence.
//! * [`blobs`]: a directory of such files; what is in it is whole.
//! * [`outline`]: the part of a package's manifest that says which files it has, and whose
//!   signature it bears.
//! * [`parcel`]: frames of the wire as a file, sealed and signed, for a courier.
//! * [`range`]: which bytes of a file a request asks for.
//! * [`signature`]: what the hub's authority signs beside certificates.
//! * [`serve`]: hands files out over HTTPS with mutual TLS: the hub to its devices, and a device
//!   to others of its site.
//!
//! Invariants: a file is under its digest only once its content has been compared with it and is
//! on disk; a file that is handed out is one that the caller of [`serve::router`] named.
//!
//! Not here: who wants which file, and from whom.

pub mod blobs;
pub mod listener;
pub mod outline;
pub mod parcel;
pub mod range;
pub mod serve;
pub mod signature;
