//! Determines which file systems are local.
//!
//! Reads the table of mounts rather than asking the file system: statfs(2) hangs where stat(2) does.

use rustix::fs::CWD;
use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// Types of file systems without a server (proc(5), filesystems(5)).
const LOCAL: &[&str] = &[
    "bcachefs", "btrfs", "devtmpfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfsplus", "iso9660",
    "jfs", "nilfs2", "ntfs3", "overlay", "ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "udf", "vfat",
    "xfs", "zfs",
];

/// How long the table is cached.
const VALID: Duration = Duration::from_secs(1);

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileSystem {
    at: PathBuf,
    is_local: bool,
}

/// Whether the whole path to this file is on local file systems, so that accessing it does not hang. Never hangs
/// itself.
pub fn is_local(path: &Path) -> bool {
    let Ok(path) = std::path::absolute(path) else {
        return false;
    };
    if path.components().any(|part| part == Component::ParentDir) {
        return false;
    }
    table().is_some_and(|mounts| is_local_by(&mounts, &path))
}

fn is_local_by(mounts: &[FileSystem], path: &Path) -> bool {
    // the later of two mounts at the same place is visible
    let over = mounts.iter().filter(|mount| path.starts_with(&mount.at));
    let Some(mount) = over.max_by_key(|mount| mount.at.as_os_str().len()) else {
        return false;
    };
    let Ok(rest) = path.strip_prefix(&mount.at) else {
        return false;
    };
    // the kernel follows links as long as they stay on this file system
    mount.is_local && !leaves(&mount.at, rest)
}

/// Whether a link on the path crosses to another file system. Stops before it.
fn leaves(mount: &Path, rest: &Path) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::openat(CWD, mount, flags | OFlags::DIRECTORY, Mode::empty()) else {
        return true;
    };
    if rest.as_os_str().is_empty() {
        return false;
    }
    let opened = rustix::fs::openat2(root, rest, flags, Mode::empty(), ResolveFlags::NO_XDEV);
    // without openat2(2), before Linux 5.6, only the name is known
    matches!(opened, Err(Errno::XDEV))
}

/// The mounts of this process.
fn table() -> Option<Arc<Vec<FileSystem>>> {
    static LAST: Mutex<Option<(Instant, Arc<Vec<FileSystem>>)>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    match &*last {
        Some((since, mounts)) if since.elapsed() < VALID => Some(Arc::clone(mounts)),
        _ => {
            let text = fs::read("/proc/self/mountinfo").ok()?;
            let mounts: Vec<FileSystem> = text.split(|&b| b == b'\n').filter_map(mount).collect();
            let mounts = Arc::new(mounts);
            *last = Some((Instant::now(), Arc::clone(&mounts)));
            Some(mounts)
        }
    }
}

/// A line of /proc/self/mountinfo (proc_pid_mountinfo(5)): the fifth field is the mount point, the first after ` - `
/// the type.
fn mount(line: &[u8]) -> Option<FileSystem> {
    let mut fields = line.split(|&b| b == b' ');
    let at = fields.nth(4)?;
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(FileSystem {
        at: OsString::from_vec(unescaped(at)).into(),
        is_local: LOCAL.iter().any(|local| local.as_bytes() == kind),
    })
}

/// Spaces, tabs, line feeds and backslashes are escaped as three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, more)) = rest.split_first() {
        let code = more.get(..3).filter(|_| first == b'\\');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = more.get(3..).unwrap_or_default();
            }
            None => {
                out.push(first);
                rest = more;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_place_and_type() {
        let parsed = |line: &str| mount(line.as_bytes()).map(|mount| (mount.at, mount.is_local));
        for (line, at, local) in [
            ("25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw", "/", true),
            (
                "36 25 0:32 / /srv/nas rw shared:9 master:1 - nfs4 nas:/x rw,hard",
                "/srv/nas",
                false,
            ),
            (
                "37 25 0:33 / /mnt/a\\040b rw - fuse.sshfs host:/ rw",
                "/mnt/a b",
                false,
            ),
            ("38 25 0:34 / /tmp rw - tmpfs tmpfs rw", "/tmp", true),
        ] {
            assert_eq!(parsed(line), Some((at.into(), local)), "{line}");
        }
        assert_eq!(parsed(""), None);
    }

    #[test]
    fn the_last_mount_over_a_path_counts_and_links_are_followed() {
        let folder = std::env::temp_dir().join(format!("iipsrv-mounts-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), "").unwrap();
        std::os::unix::fs::symlink("file", folder.join("near")).unwrap();
        std::os::unix::fs::symlink("/proc/self/status", folder.join("far")).unwrap();
        assert!(is_local(&folder.join("file")) && is_local(&folder.join("near")));
        assert!(is_local(&folder.join("missing")));
        assert!(!is_local(&folder.join("far")), "it leads to proc");
        assert!(!is_local(Path::new("/proc/self/status")));
        assert!(!is_local(&folder.join("../x")), "an unresolved path is not local");
        let at = |at: &str, is_local| FileSystem {
            at: at.into(),
            is_local,
        };
        let mounts = [
            at("/", true),
            at("/srv", false),
            at("/srv", true),
            at("/srv/nas", false),
        ];
        for (path, local) in [
            ("/etc/x", true),
            ("/srv/x", true),
            ("/srv/nas/x", false),
            ("/srv/nasty", true),
        ] {
            assert_eq!(is_local_by(&mounts, Path::new(path)), local, "{path}");
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
