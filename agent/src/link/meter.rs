//! Bytes that the connection to the hub really takes, as the kernel counts them: every segment
//! of its TCP connection, repetitions, acknowledgements and headers included.
//!
//! Whoever makes the connection keeps its socket to itself. It is found among the open files of this process
//! by the port of its other end, and asked for its `TCP_INFO`; a number that names another
//! socket meanwhile is noticed by its port. Where the kernel does not tell, frames and an
//! estimate of what is around them are counted.

use std::os::fd::RawFd;

/// IPv4 and TCP with time stamps, as Linux sends them. Headers of IPv6 have 20 bytes more.
const HEADER_BYTES: u64 = 20 + 20 + 12;
const HEADER_BYTES_V6: u64 = 40 + 20 + 12;

/// After the last look: the goodbye of TLS, and FIN and ACK both ways.
pub(crate) const CLOSE_BYTES: u64 = 24 + 4 * HEADER_BYTES;

/// An attempt that nobody answers: a few SYN.
pub(crate) const UNANSWERED_BYTES: u64 = 5 * (HEADER_BYTES + 8);

/// One that fails after the TLS handshake began: two certificates, at most.
pub(crate) const REFUSED_BYTES: u64 = 4 * 1024;

/// Of a connection before its first record, where the kernel does not tell.
const GREETING_BYTES: u64 = 5 * 1024;

/// Around a frame where the kernel does not tell: MQTT, TLS, TCP and IP, PUBACK and its way back.
const AROUND_BYTES: u64 = 180;
/// What a long frame is cut into.
const SEGMENT_BYTES: u64 = 1400;

/// One connection's bytes.
#[derive(Debug)]
pub(crate) struct Meter {
    port: u16,
    source: Source,
    /// Told already.
    told: u64,
    /// Of what was handed over since the kernel had taken all of it, and what it had sent then.
    handed: u64,
    frames: u64,
    base: u64,
}

#[derive(Debug)]
enum Source {
    Kernel(RawFd),
    Estimate(u64),
}

impl Meter {
    /// Of the connection to a hub at this port, which is established.
    pub(crate) fn of(port: u16) -> Meter {
        let source = match find(port) {
            Some(socket) => Source::Kernel(socket),
            None => Source::Estimate(GREETING_BYTES),
        };
        let mut meter = Meter { port, source, told: 0, handed: 0, frames: 0, base: 0 };
        meter.pending();
        meter
    }

    /// A frame was handed over.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.handed += bytes as u64;
        self.frames += 1;
        self.frame(bytes);
    }

    /// A frame came in.
    pub(crate) fn received(&mut self, bytes: usize) {
        self.frame(bytes);
    }

    fn frame(&mut self, bytes: usize) {
        if let Source::Estimate(total) = &mut self.source {
            *total += bytes as u64 + around(bytes as u64);
        }
    }

    /// Bytes that were handed over and that the kernel has not sent yet, with what will be around
    /// them.
    pub(crate) fn pending(&mut self) -> u64 {
        let sent = match &self.source {
            Source::Kernel(socket) => carried(*socket, self.port).map(|carried| carried.sent),
            // Counted as it is handed over.
            Source::Estimate(_) => None,
        };
        let sent = sent.unwrap_or(u64::MAX);
        let pending = self.handed.saturating_sub(sent.saturating_sub(self.base));
        if pending == 0 {
            (self.handed, self.frames, self.base) = (0, 0, sent);
            return 0;
        }
        pending + self.frames * AROUND_BYTES + pending / SEGMENT_BYTES * 2 * HEADER_BYTES
    }

    /// Bytes since the last time, both ways.
    pub(crate) fn read(&mut self) -> u64 {
        let total = match &self.source {
            // Closed already: what came last is in `CLOSE_BYTES`.
            Source::Kernel(socket) => {
                carried(*socket, self.port).map_or(self.told, |carried| carried.total)
            }
            Source::Estimate(total) => *total,
        };
        let new = total.saturating_sub(self.told);
        self.told = self.told.max(total);
        new
    }
}

/// An estimate of what is around a frame.
pub(super) fn around(bytes: u64) -> u64 {
    AROUND_BYTES + bytes / SEGMENT_BYTES * 2 * HEADER_BYTES
}

/// The newest open socket whose other end has this port. Numbers of files are used again, those of
/// sockets (`socket:[35711]`) grow.
fn find(port: u16) -> Option<RawFd> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?;
    let sockets = open.filter_map(|entry| {
        let entry = entry.ok()?;
        let to = std::fs::read_link(entry.path()).ok()?;
        let socket = to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        Some::<(u64, RawFd)>((socket, entry.file_name().to_str()?.parse().ok()?))
    });
    let ours = sockets.filter(|(_, file)| carried(*file, port).is_some());
    ours.max().map(|(_, file)| file)
}

struct Carried {
    /// All segments, both ways.
    total: u64,
    /// What was given to the socket, and sent.
    sent: u64,
}

fn carried(socket: RawFd, port: u16) -> Option<Carried> {
    let is_v6 = peer(socket, port)?;
    let info = info(socket)?;
    let number = |at: usize, bytes: usize| {
        let mut whole = [0; 8];
        whole[..bytes].copy_from_slice(info.get(at..at + bytes)?);
        Some(u64::from_ne_bytes(whole))
    };
    // Offsets of `struct tcp_info` in linux/tcp.h, which only grows at its end.
    let (received, segments_out, segments_in) = (number(128, 8)?, number(136, 4)?, number(140, 4)?);
    let sent = number(200, 8)?;
    let header = if is_v6 { HEADER_BYTES_V6 } else { HEADER_BYTES };
    // What was sent twice, in the second number.
    let again = number(208, 8)?;
    let total = sent + received + (segments_out + segments_in) * header;
    Some(Carried { total, sent: sent.saturating_sub(again) })
}

/// Whether the other end is at this port, and has an address of IPv6.
fn peer(socket: RawFd, port: u16) -> Option<bool> {
    const BYTES: usize = size_of::<libc::sockaddr_in6>();
    let mut address = [0_u8; BYTES];
    let mut length = libc::socklen_t::try_from(BYTES).ok()?;
    #[expect(unsafe_code, reason = "the standard library asks only sockets that it owns")]
    // SAFETY: the address is a local of the length given. A number that is no socket is an error.
    let done = unsafe {
        libc::getpeername(socket, address.as_mut_ptr().cast::<libc::sockaddr>(), &raw mut length)
    };
    let family = i32::from(u16::from_ne_bytes([address[0], address[1]]));
    let theirs = u16::from_be_bytes([address[2], address[3]]);
    let is_ip = family == libc::AF_INET || family == libc::AF_INET6;
    (done == 0 && is_ip && theirs == port).then_some(family == libc::AF_INET6)
}

/// `TCP_INFO`, as much of it as this kernel has.
fn info(socket: RawFd) -> Option<Vec<u8>> {
    const BYTES_MAX: usize = 512;
    let mut info = vec![0_u8; BYTES_MAX];
    let mut length = libc::socklen_t::try_from(BYTES_MAX).ok()?;
    #[expect(unsafe_code, reason = "the standard library does not ask for it")]
    // SAFETY: the buffer is a local of the length given, which the kernel shortens. A number that
    // is no TCP socket is an error.
    let done = unsafe {
        libc::getsockopt(
            socket,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast::<libc::c_void>(),
            &raw mut length,
        )
    };
    info.truncate(usize::try_from(length).ok()?);
    (done == 0).then_some(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_kernel_counts_every_byte_and_header() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(find(address.port()), None);
        let mut stream = TcpStream::connect(address).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        let mut meter = Meter::of(address.port());
        assert!(matches!(meter.source, Source::Kernel(_)), "this kernel does not tell");
        meter.read();
        stream.write_all(&[7; 1000]).unwrap();
        other.read_exact(&mut [0; 1000]).unwrap();
        other.write_all(&[7; 500]).unwrap();
        stream.read_exact(&mut [0; 500]).unwrap();
        let carried = meter.read();
        assert!((1500 + 2 * HEADER_BYTES..1500 + 6 * HEADER_BYTES).contains(&carried), "{carried}");
        drop((stream, other));
        assert_eq!(meter.read(), 0, "closed");
    }

    #[test]
    fn without_the_kernel_frames_are_counted_with_what_is_around_them() {
        let mut meter =
            Meter { port: 1, source: Source::Estimate(0), told: 0, handed: 0, frames: 0, base: 0 };
        meter.sent(100);
        assert_eq!(meter.read(), 100 + AROUND_BYTES);
        meter.received(14_000);
        assert_eq!(meter.pending(), 0);
        assert_eq!(meter.read(), 14_000 + AROUND_BYTES + 10 * 2 * HEADER_BYTES);
        assert_eq!(meter.read(), 0);
    }
}
