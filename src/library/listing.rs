//! Lists the images of a folder, and the members of a set.

use crate::error::Result;
use crate::library::Library;
use crate::library::Opened;
use crate::library::paths::missing;
use crate::source::file_format::FileFormat;
use crate::source::sequence::split_view;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// Maximum number of names of a folder that are read, and of members of a set.
const FOLDER_NAMES: usize = 10_000;

impl Library {
    /// The content of a folder of images: the names as used in identifiers, each with whether it is a folder, sorted;
    /// and when the folder was last modified. `id` is empty for FILESYSTEM_PREFIX itself. Hidden files are left out,
    /// and names beyond `FOLDER_NAMES`. `Error::Missing` if there is no such folder, or no prefix: the whole machine
    /// would be listed then.
    pub fn folder(&self, id: &str) -> Result<(Vec<(String, bool)>, SystemTime)> {
        let id = id.trim_end_matches('/');
        if !self.settings.prefix.ends_with('/') {
            return Err(missing(id));
        }
        let path = if id.is_empty() {
            PathBuf::from(&self.settings.prefix)
        } else {
            self.path(id, "")?
        };
        let path = self.allowed(&path, id)?;
        let found = fs::metadata(path).map_err(|_| missing(id))?;
        let entries = fs::read_dir(path).map_err(|_| missing(id))?;
        let named = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            if name.starts_with('.') {
                return None;
            }
            if entry.path().is_dir() {
                return Some((name, true));
            }
            FileFormat::named(&name)?;
            let name = name.strip_suffix(&self.settings.suffix)?;
            (!name.is_empty()).then(|| (name.to_string(), false))
        };
        let mut names: Vec<_> = entries.flatten().take(FOLDER_NAMES).filter_map(named).collect();
        names.sort_unstable();
        Ok((names, found.modified().unwrap_or(UNIX_EPOCH)))
    }

    /// The identifiers of the pictures under an identifier: the pages of a file if `IIIF_DELIMITER` is set, the files
    /// of a sequence, or the image alone. At most `FOLDER_NAMES`.
    pub fn members(&self, opened: &Opened) -> Vec<String> {
        let (id, _) = split_view(&opened.identity.name);
        let set = &opened.source.header().set;
        let delimiter = &self.settings.delimiter;
        if !set.stack.is_empty() && !delimiter.is_empty() && self.page(id).is_none() {
            let pages = 0..set.stack.len().min(FOLDER_NAMES);
            return pages.map(|page| format!("{id}{delimiter}{page}")).collect();
        }
        let (folder, stem) = match id.rsplit_once('/') {
            Some((folder, stem)) => (format!("{folder}/"), stem),
            None => (String::new(), id),
        };
        if !set.horizontal.is_empty()
            && !self.settings.pattern.is_empty()
            && let Ok((names, _)) = self.folder(&folder)
        {
            let start = format!("{stem}{}", self.settings.pattern);
            let files = names
                .iter()
                .filter(|(name, folder)| !folder && name.starts_with(&start));
            let files: Vec<_> = files.map(|(name, _)| format!("{folder}{name}")).collect();
            if !files.is_empty() {
                return files;
            }
        }
        vec![id.to_string()]
    }
}
