//! A link that can be cut: a TCP proxy that counts every byte.
//!
//! While cut, open connections are closed and new ones are closed as soon as they are accepted,
//! so that a caller fails at once and tries again. The listening port stays the link's own, so
//! that nobody else can take it meanwhile.
//!
//! Invariant: after [`Link::cut`] returns, no further byte passes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Read at once from one side; a TLS record is at most 16 kB.
const CHUNK_BYTES: usize = 16 * 1024;

/// How long the far side may take to accept. It is on loopback.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes that passed a link, TLS and MQTT included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the device to the hub.
    pub up_bytes: u64,
    /// From the hub to the device.
    pub down_bytes: u64,
    /// Connections that reached the hub.
    pub connections: u64,
}

/// A running link; dropped, it closes.
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Mode {
    Open,
    Cut,
    Closed,
}

struct State {
    mode: Mode,
    target: SocketAddr,
    traffic: Traffic,
    /// Both ends of every open connection, by number.
    open: Vec<(u64, TcpStream)>,
}

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl Link {
    /// Listens on a free loopback port and passes everything on to `target`.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn open(target: SocketAddr) -> io::Result<Link> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let state =
            State { mode: Mode::Open, target, traffic: Traffic::default(), open: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Ok(Link { address, shared })
    }

    /// Where devices connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every connection, and every new one, until [`Link::restore`].
    pub fn cut(&self) {
        self.shared.close_all(Mode::Cut);
    }

    /// Lets connections through again.
    pub fn restore(&self) {
        self.shared.lock().mode = Mode::Open;
    }

    /// New connections go to `target`, as after a hub's restart on another port.
    pub fn retarget(&self, target: SocketAddr) {
        self.shared.lock().target = target;
    }

    /// What has passed so far.
    pub fn traffic(&self) -> Traffic {
        self.shared.lock().traffic
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.close_all(Mode::Closed);
        // Wakes the accepting thread, which then sees that it is over.
        let _unimportant = TcpStream::connect_timeout(&self.address, CONNECT_TIMEOUT);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_all(&self, mode: Mode) {
        let mut state = self.lock();
        state.mode = mode;
        for (_, stream) in state.open.drain(..) {
            let _already_closed = stream.shutdown(Shutdown::Both);
        }
    }

    /// Counts `bytes` if the link is open; whoever gets `false` must not pass them on.
    fn count(&self, connection: u64, way: Way, bytes: usize) -> bool {
        let mut state = self.lock();
        if !state.open.iter().any(|(id, _)| *id == connection) {
            return false;
        }
        match way {
            Way::Up => state.traffic.up_bytes += bytes as u64,
            Way::Down => state.traffic.down_bytes += bytes as u64,
        }
        true
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(device) = stream else { continue };
        let (mode, target) = {
            let state = shared.lock();
            (state.mode, state.target)
        };
        match mode {
            Mode::Closed => return,
            Mode::Cut => drop(device),
            Mode::Open => {
                // A hub that is down looks like a link that is down.
                let _closed_instead = connect(shared, device, target);
            }
        }
    }
}

fn connect(shared: &Arc<Shared>, device: TcpStream, target: SocketAddr) -> io::Result<()> {
    let hub = TcpStream::connect_timeout(&target, CONNECT_TIMEOUT)?;
    device.set_nodelay(true)?;
    hub.set_nodelay(true)?;
    let (device_reads, hub_reads) = (device.try_clone()?, hub.try_clone()?);
    let connection = {
        let mut state = shared.lock();
        if state.mode != Mode::Open {
            return Ok(());
        }
        state.traffic.connections += 1;
        let connection = state.traffic.connections;
        state.open.push((connection, device.try_clone()?));
        state.open.push((connection, hub.try_clone()?));
        connection
    };
    let (up, down) = (Arc::clone(shared), Arc::clone(shared));
    thread::spawn(move || pass(&up, connection, Way::Up, device_reads, hub));
    thread::spawn(move || pass(&down, connection, Way::Down, hub_reads, device));
    Ok(())
}

fn pass(shared: &Shared, connection: u64, way: Way, mut from: TcpStream, mut to: TcpStream) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(bytes) = from.read(&mut chunk) {
        if bytes == 0 || !shared.count(connection, way, bytes) {
            break;
        }
        if to.write_all(&chunk[..bytes]).is_err() {
            break;
        }
    }
    // One side is done: so is the connection.
    shared.lock().open.retain(|(id, _)| *id != connection);
    let _already_closed = from.shutdown(Shutdown::Both);
    let _already_closed = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut copy = stream.try_clone().unwrap();
                    let _closed = io::copy(&mut stream, &mut copy);
                });
            }
        });
        address
    }

    fn call(link: &Link, message: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(link.address())?;
        exchange(&mut stream, message)
    }

    fn exchange(stream: &mut TcpStream, message: &[u8]) -> io::Result<Vec<u8>> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(message)?;
        let mut reply = vec![0; message.len()];
        stream.read_exact(&mut reply)?;
        Ok(reply)
    }

    #[test]
    fn bytes_pass_and_are_counted() {
        let link = Link::open(echo()).unwrap();
        assert_eq!(call(&link, b"hello").unwrap(), b"hello");
        assert_eq!(call(&link, b"again").unwrap(), b"again");
        assert_eq!(link.traffic(), Traffic { up_bytes: 10, down_bytes: 10, connections: 2 });
    }

    #[test]
    fn a_cut_ends_what_is_open_and_refuses_what_is_new() {
        let link = Link::open(echo()).unwrap();
        let mut open = TcpStream::connect(link.address()).unwrap();
        assert_eq!(exchange(&mut open, b"up").unwrap(), b"up");
        link.cut();
        let before = link.traffic();
        assert!(exchange(&mut open, b"down").is_err());
        assert!(call(&link, b"new").is_err());
        assert_eq!(link.traffic(), before, "nothing passes a cut link");
        link.restore();
        assert_eq!(call(&link, b"back").unwrap(), b"back");
    }

    #[test]
    fn a_link_follows_the_hub_to_another_port() {
        let gone = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let link = Link::open(gone).unwrap();
        assert!(call(&link, b"nobody").is_err());
        link.retarget(echo());
        assert_eq!(call(&link, b"found").unwrap(), b"found");
    }
}
