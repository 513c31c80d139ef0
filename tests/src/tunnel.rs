//! A link emulator: two network namespaces joined by a program that passes packets between two
//! TUN devices. TCP stays the kernel's own on both ends; delay, rate, queue, loss, cuts and
//! forgotten flows are ours. (The kernel here has no netem.)
//!
//! Invariant: while cut, no packet passes, and nobody is told: no reset, no unreachable.

#![expect(unsafe_code, reason = "namespaces and TUN devices have no safe binding")]

use anyhow::{Context, Result, anyhow, ensure};
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Largest packet; a common size on tunnels and modems.
const MTU_BYTES: usize = 1400;

/// Name of the device in either namespace.
const DEVICE: &str = "lf0";

/// The network of both ends.
const NETWORK: &str = "10.77.0.0/24";

/// How a link behaves, in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// From one end to the other, when nothing waits.
    pub delay: Duration,
    /// Bytes a second; `None` is as fast as it goes.
    pub bytes_per_sec: Option<u64>,
    /// Packets of a thousand that vanish.
    pub loss_permille: u32,
    /// Bytes that may wait for the line; what comes then vanishes.
    pub queue_bytes: u64,
}

/// Two namespaces and the link between them; dropped, it ends.
pub struct Tunnel {
    near: Namespace,
    far: Namespace,
    shared: Arc<Shared>,
}

/// A network namespace; it exists as long as this, a process or a socket in it does.
struct Namespace(File);

struct Shared {
    state: Mutex<State>,
}

struct State {
    line: Line,
    is_cut: bool,
    is_closed: bool,
    /// Flows seen, by the two ports; and those that a box in between has forgotten.
    seen: BTreeSet<Flow>,
    forgotten: BTreeSet<Flow>,
    passed: u64,
    lost: u64,
    carried: Carried,
    dice: u64,
}

/// Bytes of packets that the line was busy with, headers and those that it then lost included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// From the near end to the far one.
    pub to_far_bytes: u64,
    /// From the far end to the near one.
    pub to_near_bytes: u64,
}

/// The ports of a TCP flow, the near one first.
type Flow = (u16, u16);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    NearToFar,
    FarToNear,
}

impl Tunnel {
    /// Address of the near end.
    pub const NEAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

    /// Makes two namespaces; the far end has the address `far`. Needs root.
    ///
    /// # Errors
    /// When the system refuses a namespace or a device.
    pub fn open(far: Ipv4Addr, line: Line, seed: u64) -> Result<Tunnel> {
        let (near, near_device) = Namespace::with_device(Tunnel::NEAR)?;
        let (far, far_device) = Namespace::with_device(far)?;
        let state = State {
            line,
            is_cut: false,
            is_closed: false,
            seen: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            passed: 0,
            lost: 0,
            carried: Carried::default(),
            dice: seed | 1,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state) });
        for (way, from, to) in [
            (Way::NearToFar, near_device.try_clone(), far_device.try_clone()),
            (Way::FarToNear, Ok(far_device), Ok(near_device)),
        ] {
            let (from, to) = (from.context("a TUN device")?, to.context("a TUN device")?);
            let queue = Arc::new((Mutex::new(VecDeque::new()), Condvar::new()));
            let (taking, giving) = (Arc::clone(&queue), Arc::clone(&shared));
            thread::spawn(move || deliver(to, &taking, &giving));
            let shared = Arc::clone(&shared);
            thread::spawn(move || take(from, way, &queue, &shared));
        }
        Ok(Tunnel { near, far, shared })
    }

    /// Runs `act` in the near namespace: sockets, processes and threads that it makes are there.
    ///
    /// # Errors
    /// Those of `act`.
    pub fn near<T: Send>(&self, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.near.run(act)
    }

    /// Runs `act` in the far namespace.
    ///
    /// # Errors
    /// Those of `act`.
    pub fn far<T: Send>(&self, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.far.run(act)
    }

    /// From now on it behaves like this.
    pub fn set(&self, line: Line) {
        self.shared.lock().line = line;
    }

    /// Connections made from now on, at either end, use this congestion control of the kernel.
    ///
    /// # Errors
    /// When the kernel does not have it.
    pub fn control(&self, name: &str) -> Result<()> {
        // A route's own choice, as on a real device: no setting of the whole machine.
        let set = || {
            ip(&["route", "change", NETWORK, "dev", DEVICE, "congctl", name]).with_context(|| {
                format!("no congestion control '{name}' here\nremedy: modprobe tcp_{name}, or choose another")
            })
        };
        self.near.run(set)?;
        self.far.run(set)
    }

    /// No packet passes until [`Tunnel::restore`].
    pub fn cut(&self) {
        self.shared.lock().is_cut = true;
    }

    /// Packets pass again.
    pub fn restore(&self) {
        self.shared.lock().is_cut = false;
    }

    /// A box in between forgets every flow there is: their packets vanish for good, and neither
    /// end hears of it.
    pub fn forget_flows(&self) {
        let mut state = self.shared.lock();
        let seen = std::mem::take(&mut state.seen);
        state.forgotten.extend(seen);
    }

    /// The far end gets another address; its open connections keep the old one, and are dead.
    ///
    /// # Errors
    /// When the address cannot be set.
    pub fn move_far(&self, from: Ipv4Addr, to: Ipv4Addr) -> Result<()> {
        self.far(|| {
            // In this order: with the first address of a network go all that came after it.
            ip(&["addr", "del", &format!("{from}/24"), "dev", DEVICE])?;
            ip(&["addr", "add", &format!("{to}/24"), "dev", DEVICE])
        })
    }

    /// Packets that passed, and that were lost, on purpose or in a full queue.
    pub fn packets(&self) -> (u64, u64) {
        let state = self.shared.lock();
        (state.passed, state.lost)
    }

    /// What the line was busy with so far.
    pub fn carried(&self) -> Carried {
        self.shared.lock().carried
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        for namespace in [&self.near, &self.far] {
            // Whoever waits for a packet of a device hears that it is gone.
            let _gone_with_the_process = namespace.run(|| ip(&["link", "del", DEVICE]));
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Namespace {
    /// Makes one, with a TUN device of this address.
    fn with_device(address: Ipv4Addr) -> Result<(Namespace, File)> {
        thread::spawn(move || {
            // SAFETY: takes no pointers; it moves this thread alone, which ends soon.
            let done = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            ensure!(done == 0, "a network namespace: {}", std::io::Error::last_os_error());
            let namespace = File::open("/proc/thread-self/ns/net").context("the namespace")?;
            let device = tun()?;
            ip(&["link", "set", "lo", "up"])?;
            ip(&["addr", "add", &format!("{address}/24"), "dev", DEVICE])?;
            ip(&["link", "set", DEVICE, "mtu", &MTU_BYTES.to_string(), "up"])?;
            Ok((Namespace(namespace), device))
        })
        .join()
        .map_err(|_| anyhow!("a thread panicked"))?
    }

    fn run<T: Send>(&self, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let acting = scope.spawn(|| {
                // SAFETY: the descriptor is open; it moves this thread alone.
                let done = unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) };
                ensure!(done == 0, "a namespace: {}", std::io::Error::last_os_error());
                act()
            });
            acting.join().map_err(|_| anyhow!("a thread panicked"))?
        })
    }
}

/// A TUN device in this thread's namespace.
fn tun() -> Result<File> {
    // SAFETY: a C string; the descriptor is checked before it is owned.
    let fd = unsafe { libc::open(c"/dev/net/tun".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    ensure!(fd >= 0, "/dev/net/tun: {}", std::io::Error::last_os_error());
    // SAFETY: open, and nobody else's.
    let device = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: plain data, for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).context("flags of a device")?;
    // SAFETY: the request is whole and outlives the call.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    ensure!(done == 0, "a TUN device: {}", std::io::Error::last_os_error());
    Ok(File::from(device))
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output();
    let output = output.context("cannot run ip; install the package iproute2")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {said}", args.join(" "));
    Ok(())
}

/// Packets under way, in order, each with the moment at which it arrives.
type Queue = (Mutex<VecDeque<(Instant, Vec<u8>)>>, Condvar);

/// Takes what one end sends and decides when, and whether, it arrives.
fn take(mut from: File, way: Way, queue: &Queue, shared: &Shared) {
    let mut packet = vec![0; MTU_BYTES + 100];
    let mut busy_until = Instant::now();
    while let Ok(bytes) = from.read(&mut packet) {
        let now = Instant::now();
        let packet = &packet[..bytes];
        let mut state = shared.lock();
        if state.is_closed {
            return;
        }
        let line = state.line;
        let flow = flow(packet, way);
        let is_forgotten = flow.is_some_and(|flow| state.forgotten.contains(&flow));
        state.seen.extend(flow.filter(|_| !is_forgotten));
        let wait = busy_until.saturating_duration_since(now);
        let takes = |bytes: u64| {
            let nanos = |rate| bytes.saturating_mul(1_000_000_000) / rate;
            line.bytes_per_sec.map_or(Duration::ZERO, |rate| Duration::from_nanos(nanos(rate)))
        };
        let overflows = wait > takes(line.queue_bytes);
        if state.is_cut || is_forgotten || overflows {
            state.lost += 1;
            continue;
        }
        let is_lost = state.roll() < line.loss_permille;
        state.count(way, bytes as u64, is_lost);
        drop(state);
        // What is lost on the way has taken its time on the line all the same.
        busy_until = now.max(busy_until) + takes(bytes as u64);
        if is_lost {
            continue;
        }
        let (packets, arrived) = queue;
        let mut packets = packets.lock().unwrap_or_else(PoisonError::into_inner);
        packets.push_back((busy_until + line.delay, packet.to_vec()));
        arrived.notify_one();
    }
}

/// Hands packets to the other end when they are due.
fn deliver(mut to: File, queue: &Queue, shared: &Shared) {
    let (packets, arrived) = queue;
    let mut waiting = packets.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let pause = match waiting.front() {
            None => Duration::from_secs(1),
            Some((at, _)) => at.saturating_duration_since(Instant::now()),
        };
        if pause.is_zero() {
            let Some((_, packet)) = waiting.pop_front() else { continue };
            let is_cut = shared.lock().is_cut;
            if !is_cut {
                // A full device drops, as a network does.
                let _dropped = to.write(&packet);
            }
            continue;
        }
        if shared.lock().is_closed {
            return;
        }
        let waited = arrived.wait_timeout(waiting, pause);
        waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
}

impl State {
    fn count(&mut self, way: Way, bytes: u64, is_lost: bool) {
        *(if is_lost { &mut self.lost } else { &mut self.passed }) += 1;
        match way {
            Way::NearToFar => self.carried.to_far_bytes += bytes,
            Way::FarToNear => self.carried.to_near_bytes += bytes,
        }
    }

    /// A number below 1000, by xorshift64.
    fn roll(&mut self) -> u32 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        u32::try_from(self.dice % 1000).unwrap_or(0)
    }
}

/// The flow of a TCP packet over IPv4.
fn flow(packet: &[u8], way: Way) -> Option<Flow> {
    let first = packet.first()?;
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || *packet.get(9)? != 6 {
        return None;
    }
    let port = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let (source, target) = (port(header)?, port(header + 2)?);
    Some(match way {
        Way::NearToFar => (source, target),
        Way::FarToNear => (target, source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt;

    const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    #[test]
    fn a_line_delays_loses_and_is_cut_in_silence() {
        if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            println!("SKIPPED: network namespaces need root");
            return;
        }
        let delay = Duration::from_millis(50);
        let line = Line { delay, bytes_per_sec: None, loss_permille: 100, queue_bytes: 1 << 20 };
        let tunnel = Tunnel::open(FAR, line, 7).unwrap();
        let listener = tunnel.near(|| Ok(TcpListener::bind((Tunnel::NEAR, 0))?)).unwrap();
        let near = listener.local_addr().unwrap();
        let connect = || Ok(TcpStream::connect(SocketAddr::from((Tunnel::NEAR, near.port())))?);
        let start = Instant::now();
        let mut far = tunnel.far(connect).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        assert!(start.elapsed() >= 2 * delay, "there and back");
        let text = vec![b'x'; 100_000];
        let sending = text.clone();
        let sender = thread::spawn(move || far.write_all(&sending).map(|()| far));
        let mut read = vec![0; text.len()];
        accepted.read_exact(&mut read).unwrap();
        assert!(read == text, "TCP makes up for the loss");
        let mut far = sender.join().unwrap().unwrap();
        assert!(tunnel.packets().1 > 0, "{:?}", tunnel.packets());
        let carried = tunnel.carried();
        assert!(carried.to_near_bytes > text.len() as u64, "with headers: {carried:?}");
        assert!(carried.to_far_bytes > 0, "acknowledgements: {carried:?}");
        tunnel.cut();
        let (passed, _) = tunnel.packets();
        far.write_all(b"more").unwrap();
        accepted.set_read_timeout(Some(4 * delay)).unwrap();
        assert!(accepted.read(&mut read).is_err(), "nothing arrives");
        assert_eq!(tunnel.packets().0, passed);
        tunnel.restore();
        accepted.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        accepted.read_exact(&mut read[..4]).unwrap();
        assert_eq!(&read[..4], b"more", "sent again by TCP");
    }

    #[test]
    fn flows_are_known_by_their_ports() {
        let mut packet = vec![0; 40];
        (packet[0], packet[9]) = (0x45, 6);
        packet[20..24].copy_from_slice(&[0, 80, 1, 0]);
        assert_eq!(flow(&packet, Way::NearToFar), Some((80, 256)));
        assert_eq!(flow(&packet, Way::FarToNear), Some((256, 80)));
        packet[9] = 17;
        assert_eq!(flow(&packet, Way::NearToFar), None, "not TCP");
        assert_eq!(flow(&packet[..10], Way::NearToFar), None, "cut off");
        assert_eq!(flow(&[], Way::NearToFar), None);
    }
}
