//! Opens regular local files without blocking, optionally confined to a directory.

use crate::error::Error;
use crate::error::Result;
use crate::store::File;
use rustix::fd::OwnedFd;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs;
use std::path::Path;

/// Opening a pipe must not block, and a terminal must not become the controlling one.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Opens a file anywhere.
pub fn open(path: &Path) -> Result<File> {
    file(rustix::fs::open(path, FLAGS, Mode::empty()).map_err(io)?)
}

/// Opens a file whose path begins with `directory`; links must not lead outside.
pub fn open_beneath(directory: &Path, path: &Path) -> Result<File> {
    let outside = || Error::Missing("a link leads out of the directory".into());
    let rest = match path.strip_prefix(directory) {
        Ok(rest) => rest,
        // a path without a slash is in `.`
        Err(_) if directory == Path::new(".") && path.is_relative() => path,
        Err(_) => return Err(outside()),
    };
    match beneath(directory, rest, false) {
        // an absolute link may still lead inside
        Err(Errno::XDEV) => {
            let (directory, real) = (fs::canonicalize(directory)?, fs::canonicalize(path)?);
            let rest = real.strip_prefix(&directory).map_err(|_| outside())?;
            file(beneath(&directory, rest, true).map_err(io)?)
        }
        // a kernel before 5.6, or a sandbox without the call
        Err(Errno::NOSYS | Errno::PERM) => {
            let (directory, real) = (fs::canonicalize(directory)?, fs::canonicalize(path)?);
            if !real.starts_with(directory) {
                return Err(outside());
            }
            let flags = FLAGS | OFlags::NOFOLLOW;
            file(rustix::fs::open(real, flags, Mode::empty()).map_err(io)?)
        }
        opened => file(opened.map_err(io)?),
    }
}

fn io(error: Errno) -> Error {
    Error::Io(error.into())
}

fn file(opened: OwnedFd) -> Result<File> {
    File::new(fs::File::from(opened))
}

/// `openat2` below a directory; `real` forbids symbolic links altogether.
#[cfg(target_os = "linux")]
fn beneath(directory: &Path, rest: &Path, real: bool) -> std::result::Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;
    let handle = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, handle, Mode::empty())?;
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    if real {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    loop {
        match rustix::fs::openat2(&directory, rest, FLAGS, Mode::empty(), resolve) {
            // a concurrent rename
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn beneath(_: &Path, _: &Path, _: bool) -> std::result::Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Blob;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let place = std::env::temp_dir().join(format!("iipsrv-{name}-{}", std::process::id()));
            fs::create_dir_all(place.join("in/deep")).unwrap();
            fs::write(place.join("in/own"), "own").unwrap();
            fs::write(place.join("out"), "out").unwrap();
            Place(place)
        }

        fn open(&self, name: &str) -> Option<u64> {
            let directory = self.0.join("in");
            let opened = open_beneath(&directory, &directory.join(name));
            opened.ok().map(|file| file.version().bytes())
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn links_may_lead_anywhere_inside_but_not_outside() {
        let place = Place::new("beneath");
        let inside = place.0.join("in");
        for (to, name) in [
            (PathBuf::from("own"), "relative"),
            (PathBuf::from("../own"), "deep/up"),
            (inside.join("own"), "absolute"),
            (PathBuf::from("../out"), "leaves"),
            (place.0.join("out"), "leaves-absolute"),
            (PathBuf::from("../in/own"), "returns"),
            (PathBuf::from("/proc/self/exe"), "magic"),
            (PathBuf::from("loop"), "loop"),
        ] {
            symlink(to, inside.join(name)).unwrap();
        }
        symlink("..", inside.join("deep/folder")).unwrap();
        for name in [
            "own",
            "relative",
            "deep/up",
            "absolute",
            "deep/folder/own",
            "returns",
        ] {
            assert_eq!(place.open(name), Some(3), "{name}");
        }
        for name in [
            "leaves",
            "leaves-absolute",
            "magic",
            "loop",
            "../out",
            "nothing",
            "deep",
        ] {
            assert_eq!(place.open(name), None, "{name}");
        }
    }

    #[test]
    fn opening_pipes_and_devices_does_not_block() {
        let place = Place::new("pipes");
        let pipe = place.0.join("in/pipe");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(place.0.join("in/socket")).unwrap();
        for name in ["pipe", "socket", ""] {
            assert_eq!(place.open(name), None, "{name}");
        }
        for path in [
            &pipe,
            Path::new("/dev/zero"),
            Path::new("/dev/tty"),
            Path::new("/"),
        ] {
            assert!(open(path).is_err(), "{}", path.display());
        }
    }
}
