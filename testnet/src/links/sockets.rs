//! Whose socket it is, by the kernel's table: `/proc/net/tcp` and the descriptors of processes.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};

const LISTEN: &str = "0A";

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    local: SocketAddrV4,
    remote: SocketAddrV4,
    listens: bool,
    inode: u64,
}

/// Which of these processes has a socket from `local` to `remote`; the place in the list.
pub(super) fn owner(local: SocketAddrV4, remote: SocketAddrV4, processes: &[Option<u32>]) -> Option<usize> {
    let row = table().into_iter().find(|row| row.local == local && row.remote == remote)?;
    processes.iter().position(|pid| pid.is_some_and(|pid| sockets_of(pid).contains(&row.inode)))
}

/// A port at which a process takes TCP connections on this machine.
pub(super) fn listening_port(pid: u32) -> Option<u16> {
    let sockets = sockets_of(pid);
    table().into_iter().find(|row| row.listens && sockets.contains(&row.inode)).map(|row| row.local.port())
}

fn table() -> Vec<Row> {
    let text = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    text.lines().skip(1).filter_map(parse).collect()
}

/// The sockets that a process has open, by their inodes.
fn sockets_of(pid: u32) -> BTreeSet<u64> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let inode = |link: std::path::PathBuf| -> Option<u64> {
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    descriptors.filter_map(|entry| inode(fs::read_link(entry.path()).ok()?)).collect()
}

fn parse(line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    let listens = fields.next()? == LISTEN;
    Some(Row { local, remote, listens, inode: fields.nth(5)?.parse().ok()? })
}

/// `0100007F:1F90`: the address in the machine's own order of bytes, the port as a number.
fn address(text: &str) -> Option<SocketAddrV4> {
    let (ip, port) = text.split_once(':')?;
    let ip = u32::from_str_radix(ip, 16).ok()?;
    Some(SocketAddrV4::new(Ipv4Addr::from(ip.to_ne_bytes()), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{SocketAddr, TcpListener, TcpStream};

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        match address {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(address) => panic!("{address}"),
        }
    }

    #[test]
    fn this_very_process_owns_its_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (local, remote) = (v4(stream.local_addr().unwrap()), v4(stream.peer_addr().unwrap()));
        let own = Some(std::process::id());
        assert_eq!(owner(local, remote, &[None, Some(1), own]), Some(2));
        assert_eq!(owner(local, remote, &[None]), None);
        assert!(listening_port(std::process::id()).is_some());
    }

    #[test]
    fn a_row_is_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1";
        let row = parse(line).unwrap();
        assert_eq!((row.local.port(), row.listens, row.inode), (8080, true, 12345));
    }
}
