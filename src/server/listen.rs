//! Opens the listening sockets for the addresses of the command line.
//!
//! A Unix socket is open to every user (mode 0666), because the web server runs as a different one. To restrict
//! access, put it into a directory that only the web server may enter.

use crate::server::http::Local;
use rustix::fd::AsFd;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrAny;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::sockopt;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::net::ToSocketAddrs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// The protocol of a listener.
#[derive(Clone, Debug)]
pub enum Transport {
    /// FastCGI, for web servers.
    FastCgi,
    /// HTTP, for any client.
    Http(Arc<Local>),
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    /// The non-blocking socket.
    pub socket: OwnedFd,
    /// The protocol.
    pub transport: Transport,
    /// Whether it is the admin listener.
    pub is_admin: bool,
    /// The path that this process created and must remove, with its device and inode.
    created: Option<(PathBuf, u64, u64)>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        // another server may have replaced the socket meanwhile
        if let Some((path, device, inode)) = &self.created
            && std::fs::symlink_metadata(path).is_ok_and(|meta| (meta.dev(), meta.ino()) == (*device, *inode))
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Listener {
    /// Opens FastCGI listeners on `HOST:PORT`, `:PORT`, `[v6]:PORT` or a path; a host name with several addresses
    /// gives several sockets. The error text is for the terminal.
    pub fn fastcgi(address: &str, backlog: u32) -> io::Result<Vec<Listener>> {
        open(address, backlog, false)
    }

    /// Opens HTTP listeners; addresses as for [`Listener::fastcgi`].
    pub fn http(address: &str, backlog: u32) -> io::Result<Vec<Listener>> {
        open(address, backlog, true)
    }

    /// Opens admin listeners; addresses as for [`Listener::fastcgi`]. A Unix socket is accessible to its owner only.
    pub fn admin(address: &str, backlog: u32) -> io::Result<Vec<Listener>> {
        let mut listeners = open(address, backlog, true)?;
        for listener in &mut listeners {
            listener.is_admin = true;
            if let Some((path, ..)) = &listener.created {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            }
        }
        Ok(listeners)
    }

    /// Wraps a listening socket that another process opened.
    pub fn adopt(socket: OwnedFd, http: bool) -> io::Result<Listener> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        if local(&socket).is_some() {
            // accepted connections inherit this
            let _ = sockopt::set_tcp_nodelay(&socket, true);
        }
        Ok(Listener::new(socket, http, None))
    }

    fn new(socket: OwnedFd, http: bool, created: Option<(PathBuf, u64, u64)>) -> Listener {
        let transport = if http {
            Transport::Http(Arc::new(local(&socket).map_or_else(Local::default, |address| {
                Local {
                    name: address.ip().to_canonical().to_string(),
                    port: address.port().to_string(),
                }
            })))
        } else {
            Transport::FastCgi
        };
        Listener {
            socket,
            transport,
            is_admin: false,
            created,
        }
    }

    /// The TCP address, if any.
    pub fn address(&self) -> Option<SocketAddr> {
        local(&self.socket)
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.transport {
            Transport::FastCgi => "FastCGI",
            Transport::Http(_) if self.is_admin => "administration",
            Transport::Http(_) => "HTTP",
        };
        match (self.address(), &self.created) {
            (Some(address), _) => write!(f, "{protocol} on {address}"),
            (None, Some((path, ..))) => write!(f, "{protocol} on {}", path.display()),
            (None, None) => write!(f, "{protocol} on a socket that was passed on"),
        }
    }
}

/// A parsed address of the command line.
#[derive(Debug, PartialEq, Eq)]
enum ListenAddress<'a> {
    Path(&'a Path),
    /// All addresses of this machine, IPv6 and IPv4.
    Any(u16),
    Host(&'a str),
}

impl<'a> ListenAddress<'a> {
    fn parse(text: &'a str) -> Option<ListenAddress<'a>> {
        if text.contains('/') {
            return Some(ListenAddress::Path(Path::new(text)));
        }
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok()?;
        if host.is_empty() || host == "*" {
            return Some(ListenAddress::Any(port));
        }
        Some(ListenAddress::Host(text))
    }
}

fn open(text: &str, backlog: u32, http: bool) -> io::Result<Vec<Listener>> {
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {text}: {error}"));
    match ListenAddress::parse(text) {
        Some(ListenAddress::Path(path)) => unix(path, backlog, http)
            .map(|listener| vec![listener])
            .map_err(failed),
        Some(ListenAddress::Any(port)) => {
            let six = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
            let four = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, port));
            match tcp(six, backlog, http) {
                // no IPv6 on this machine
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => tcp(four, backlog, http),
                other => other,
            }
            .map(|listener| vec![listener])
            .map_err(failed)
        }
        Some(ListenAddress::Host(host)) => {
            let mut listeners = Vec::new();
            let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
            for address in host.to_socket_addrs().map_err(failed)? {
                match tcp(address, backlog, http) {
                    Ok(listener) => listeners.push(listener),
                    // `localhost` has two addresses, of which a machine may lack one
                    Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => last = error,
                    Err(error) => return Err(failed(error)),
                }
                if address.port() == 0 {
                    break;
                }
            }
            if listeners.is_empty() {
                return Err(failed(last));
            }
            Ok(listeners)
        }
        None => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{text} is neither HOST:PORT, :PORT, [v6]:PORT nor a path with a slash"),
        )),
    }
}

fn socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, None)?)
}

/// The kernel applies its own limit as well (net.core.somaxconn).
fn listen(socket: &OwnedFd, backlog: u32) -> io::Result<()> {
    Ok(rustix::net::listen(
        socket,
        i32::try_from(backlog).unwrap_or(i32::MAX),
    )?)
}

fn tcp(address: SocketAddr, backlog: u32, http: bool) -> io::Result<Listener> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let socket = socket(family)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // accepted connections inherit this
    sockopt::set_tcp_nodelay(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    rustix::net::bind(&socket, &address)?;
    listen(&socket, backlog)?;
    Ok(Listener::new(socket, http, None))
}

fn unix(path: &Path, backlog: u32, http: bool) -> io::Result<Listener> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket(AddressFamily::UNIX)?;
    match rustix::net::bind(&socket, &address) {
        Err(Errno::ADDRINUSE) if is_left_over(path, &address)? => {
            std::fs::remove_file(path)?;
            rustix::net::bind(&socket, &address)?;
        }
        other => other?,
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    listen(&socket, backlog)?;
    let meta = std::fs::symlink_metadata(path)?;
    let created = Some((path.to_path_buf(), meta.dev(), meta.ino()));
    Ok(Listener::new(socket, http, created))
}

/// Whether the path is a socket that no process listens on; an error says why it cannot be replaced.
fn is_left_over(path: &Path, address: &SocketAddrUnix) -> io::Result<bool> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file that is not a socket",
        ));
    }
    // non-blocking: a listening server with a full backlog gives EAGAIN
    match rustix::net::connect(socket(AddressFamily::UNIX)?, address) {
        Err(Errno::CONNREFUSED) => Ok(true),
        Ok(()) | Err(Errno::AGAIN) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another server is listening there",
        )),
        Err(error) => Err(error.into()),
    }
}

fn local(socket: impl AsFd) -> Option<SocketAddr> {
    let address: SocketAddrAny = rustix::net::getsockname(socket).ok()?;
    SocketAddr::try_from(address).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_addresses_are_distinguished() {
        assert_eq!(ListenAddress::parse(":9000"), Some(ListenAddress::Any(9000)));
        assert_eq!(ListenAddress::parse("*:9000"), Some(ListenAddress::Any(9000)));
        assert_eq!(
            ListenAddress::parse("localhost:1"),
            Some(ListenAddress::Host("localhost:1"))
        );
        assert_eq!(
            ListenAddress::parse("[::1]:1"),
            Some(ListenAddress::Host("[::1]:1"))
        );
        assert_eq!(
            ListenAddress::parse("./a:1"),
            Some(ListenAddress::Path(Path::new("./a:1")))
        );
        for text in ["9000", "host", "host:", "host:99999", ""] {
            assert_eq!(ListenAddress::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let path = std::env::temp_dir().join(format!("iipsrv-listen-{}.sock", std::process::id()));
        let text = path.to_str().unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let first = Listener::fastcgi(text, 8).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o666);
        let error = Listener::fastcgi(text, 8).unwrap_err();
        assert!(
            error.to_string().contains("another server is listening"),
            "{error}"
        );
        // its creator removes it, but not if another socket has replaced it
        std::fs::remove_file(&path).unwrap();
        let second = Listener::fastcgi(text, 8).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_is_never_replaced() {
        let path = std::env::temp_dir().join(format!("iipsrv-listen-{}.file", std::process::id()));
        std::fs::write(&path, "precious").unwrap();
        assert!(Listener::fastcgi(path.to_str().unwrap(), 8).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn an_empty_host_listens_on_every_address() {
        let listeners = Listener::http(":0", 8).unwrap();
        let port = listeners[0].address().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}
