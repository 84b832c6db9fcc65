//! Maps identifiers to paths below the prefix.

use crate::error::Error;
use crate::error::Result;
use crate::library::Library;
use percent_encoding::percent_decode_str;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;

/// The percent-decoded name, if it differs and is valid UTF-8.
pub(in crate::library) fn decoded(name: &str) -> Option<String> {
    let again = percent_decode_str(name).decode_utf8().ok()?;
    (again != name).then(|| again.into_owned())
}

/// Whether it is a regular file. Checked before opening: opening a pipe would wait for its writer.
pub(in crate::library) fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file())
}

/// The directory of a prefix: everything up to the last slash.
fn directory(prefix: &str) -> &Path {
    let bytes = prefix.as_bytes();
    let end = bytes
        .iter()
        .rposition(|&b| b == b'/')
        .map_or(0, |slash| slash + 1);
    match bytes.get(..end) {
        Some(b"") | None => Path::new("."),
        Some(directory) => Path::new(OsStr::from_bytes(directory)),
    }
}

/// The identifier, unless it is empty or contains `..` or NUL.
pub(in crate::library) fn checked(id: &str) -> Result<&str> {
    let climbs = id.split('/').any(|part| part == "..");
    if id.is_empty() || climbs || id.contains('\0') {
        return Err(missing(id));
    }
    Ok(id)
}

pub(in crate::library) fn missing(id: &str) -> Error {
    Error::Missing(format!("no image {}", printable(id)))
}

/// The error for a file that cannot be opened. A lack of descriptors or memory and a failing disk are errors of the server; a
/// link that leaves the directory, and anything but a regular file, is a missing image.
pub(in crate::library) fn unopened(error: Error, id: &str) -> Error {
    let Error::Io(error) = error else {
        return missing(id);
    };
    match Errno::from_io_error(&error) {
        Some(Errno::ACCESS) => Error::Unreadable {
            text: missing(id).public().into(),
            why: error.to_string(),
        },
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO | Errno::STALE) => Error::Io(error),
        _ => missing(id),
    }
}

/// The identifier in quotes, shortened and without control characters, for messages.
pub(in crate::library) fn printable(id: &str) -> String {
    let text: String = id
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(200)
        .collect();
    format!("\"{text}\"")
}

impl Library {
    /// The path of the file of an identifier.
    pub(in crate::library) fn path(&self, id: &str, suffix: &str) -> Result<PathBuf> {
        checked(id)?;
        let (prefix, rest) = match self.settings.stores.find(id) {
            Some((root, rest)) => (root.folder().ok_or_else(|| missing(id))?, checked(rest)?),
            None => (self.settings.prefix.as_str(), id),
        };
        Ok(PathBuf::from(format!("{prefix}{rest}{suffix}")))
    }

    /// The directory that the file of an identifier must be in; `None` if links may lead anywhere.
    pub(in crate::library) fn confinement(&self, id: &str) -> Result<Option<&Path>> {
        let prefix = match self.settings.stores.find(id) {
            Some((root, _)) => root.folder().ok_or_else(|| missing(id))?,
            None => self.settings.prefix.as_str(),
        };
        let free = self.settings.follow_symlinks || prefix.is_empty();
        Ok((!free).then(|| directory(prefix)))
    }

    /// The path, unless a link on it leads out of the permitted directory.
    pub(in crate::library) fn allowed<'a>(&self, path: &'a Path, id: &str) -> Result<&'a Path> {
        let Some(root) = self.confinement(id)? else {
            return Ok(path);
        };
        let real = fs::canonicalize(path).map_err(|_| missing(id))?;
        let root = fs::canonicalize(root).map_err(|_| missing(id))?;
        if real.starts_with(root) {
            Ok(path)
        } else {
            Err(missing(id))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_the_system_does_not_open_is_not_simply_missing() {
        let error = |code: Errno| unopened(Error::Io(code.into()), "a");
        for code in [Errno::MFILE, Errno::IO] {
            assert_eq!(error(code).status(), 500);
        }
        for code in [Errno::ACCESS, Errno::NOENT, Errno::LOOP, Errno::NXIO] {
            assert_eq!(
                (error(code).status(), error(code).public()),
                (404, "no image \"a\"")
            );
        }
        assert_eq!(
            error(Errno::ACCESS).to_string(),
            "Permission denied (os error 13)"
        );
        assert_eq!(unopened(missing("out"), "a").status(), 404);
    }
}
