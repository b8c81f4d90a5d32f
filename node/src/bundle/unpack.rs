//! From a bundle to a directory. The bundle may be anybody's.
//!
//! Always: everything is made within one fresh directory that nobody else knows yet, by names that were
//! checked, in folders that were made here; nothing is opened that was there before, and no link
//! is followed. The directory gets its name when all of it is right.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use skyclaw_protocol::limits::{MAX_BLOB_BYTES, MAX_BUNDLE_ENTRIES, MAX_BUNDLE_PATH};
use tar::{Archive, Entry, EntryType};

use super::paths;

/// Longest list of extensions of an entry, in bytes: two paths and what other programs add.
const MAX_EXTENSIONS: u64 = 4 * MAX_BUNDLE_PATH as u64;

/// Entries that may say something of the one after them: two names, a list, and one of the archive.
const MAX_EXTRA: usize = 4;

/// What came out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files, links among them.
    pub files: usize,
    /// Bytes in them.
    pub bytes: u64,
}

/// Why a bundle was not unpacked. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It holds what no bundle may.
    #[error("the bundle is refused: {path} {fault}")]
    Entry {
        /// What.
        path: String,
        /// Why.
        fault: &'static str,
    },
    /// It has too many entries.
    #[error("the bundle is refused: it has more than {MAX_BUNDLE_ENTRIES} entries")]
    TooMany,
    /// It has too much in it.
    #[error("the bundle is refused: it has more than {MAX_BLOB_BYTES} bytes")]
    TooLarge,
    /// It is no tar, or a broken one.
    #[error("the bundle is refused: it is no whole tar ({0})")]
    NotATar(#[source] io::Error),
    /// It cannot be read, or the directory not be written.
    #[error("the bundle cannot be unpacked")]
    Io(#[from] io::Error),
}

/// Unpacks the bundle in the file `bundle` into `into`, which must not be there, or be an empty
/// directory. Blocks.
///
/// # Errors
/// [`UnpackError`]; `into` is as it was.
pub fn unpack(bundle: &Path, into: &Path) -> Result<Unpacked, UnpackError> {
    unpack_most(bundle, into, MAX_BUNDLE_ENTRIES)
}

/// The same with at most `most` entries.
pub(super) fn unpack_most(
    bundle: &Path,
    into: &Path,
    most: usize,
) -> Result<Unpacked, UnpackError> {
    let file = File::open(bundle)?;
    let fresh = Fresh::beside(into)?;
    let done = unpack_all(io::BufReader::new(file), &fresh.0, most)?;
    fs::rename(&fresh.0, into)?;
    Ok(done)
}

/// The directory while it is filled; removed unless it got its name.
struct Fresh(PathBuf);

impl Fresh {
    fn beside(into: &Path) -> io::Result<Self> {
        // Without the name it is to get, which may be as long as a name can be.
        let path = into.with_file_name(format!(".unpack-{:016x}", rand::random::<u64>()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // Nobody was told of it, so nothing in it has changed since it was made.
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.0.display(), %error, "cannot remove what was not unpacked");
            }
            _ => {}
        }
    }
}

fn unpack_all(source: impl Read, top: &Path, most: usize) -> Result<Unpacked, UnpackError> {
    let mut archive = Archive::new(source);
    // Raw: names and links that come as entries of their own are read here, within bounds.
    let entries = archive.entries().map_err(UnpackError::NotATar)?.raw(true);
    let mut tree = Tree { top, most, made: HashMap::new(), done: Unpacked::default() };
    let mut extra = Extra::default();
    let mut any = false;
    for entry in entries {
        let mut entry = entry.map_err(UnpackError::NotATar)?;
        any = true;
        if !extra.take(&mut entry)? {
            tree.add(&mut entry, std::mem::take(&mut extra))?;
        }
    }
    if !any {
        return Err(UnpackError::NotATar(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(tree.done)
}

/// What entries before another one say of it.
#[derive(Default)]
struct Extra {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    entries: usize,
}

impl Extra {
    /// False if the entry is one for itself.
    fn take(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<bool, UnpackError> {
        use EntryType::{GNULongLink, GNULongName, XGlobalHeader, XHeader};
        let kind = entry.header().entry_type();
        if !matches!(kind, GNULongName | GNULongLink | XHeader | XGlobalHeader) {
            return Ok(false);
        }
        self.entries += 1;
        if self.entries > MAX_EXTRA {
            return Err(refused("an entry", "is announced for ever"));
        }
        if kind == XGlobalHeader {
            // Of the archive as a whole: where it is from.
            return Ok(true);
        }
        let said = entry.size();
        if said > MAX_EXTENSIONS {
            return Err(refused("an entry", "has a name that is too long"));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(UnpackError::NotATar)?;
        let twice = match kind {
            GNULongName => self.path.replace(until_zero(bytes)).is_some(),
            GNULongLink => self.link.replace(until_zero(bytes)).is_some(),
            _ => self.take_list(&bytes)?,
        };
        if twice { Err(refused("an entry", "has two names")) } else { Ok(true) }
    }

    fn take_list(&mut self, bytes: &[u8]) -> Result<bool, UnpackError> {
        let mut twice = false;
        for item in tar::PaxExtensions::new(bytes) {
            let item = item.map_err(UnpackError::NotATar)?;
            match item.key_bytes() {
                b"path" => twice |= self.path.replace(item.value_bytes().to_vec()).is_some(),
                b"linkpath" => twice |= self.link.replace(item.value_bytes().to_vec()).is_some(),
                b"size" => {
                    let size = item.value().ok().and_then(|text| text.parse().ok());
                    let size =
                        size.ok_or_else(|| refused("an entry", "has a size that is no number"))?;
                    twice |= self.size.replace(size).is_some();
                }
                key if key.starts_with(b"GNU.sparse") => {
                    return Err(refused("an entry", "is a file with holes"));
                }
                _ => {}
            }
        }
        Ok(twice)
    }
}

fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Folder,
    File,
    Link,
}

struct Tree<'a> {
    top: &'a Path,
    most: usize,
    made: HashMap<String, Made>,
    done: Unpacked,
}

impl Tree<'_> {
    fn add(&mut self, entry: &mut Entry<'_, impl Read>, extra: Extra) -> Result<(), UnpackError> {
        let header = entry.header();
        let (kind, size) = (header.entry_type(), entry.size());
        let raw = extra.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let shown = || shown(&raw);
        let wrong = |fault| UnpackError::Entry { path: shown(), fault };
        // Programs that believe one and programs that believe the other see two bundles.
        if extra.size.is_some_and(|said| said != size) {
            return Err(wrong("says its size twice, and not the same"));
        }
        let text = std::str::from_utf8(&raw).map_err(|_| wrong("has a name that is not text"))?;
        let names = paths::names(text).map_err(wrong)?;
        let Some((last, above)) = names.split_last() else {
            return if kind == EntryType::Directory { Ok(()) } else { Err(wrong("has no name")) };
        };
        let target = extra.link.or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        let target = target.map(|bytes| {
            String::from_utf8(bytes).map_err(|_| wrong("is a link to what is not text"))
        });
        let target = target.transpose()?.unwrap_or_default();
        let folder = self.folder(above, &wrong)?;
        let name = join(&folder, last);
        if kind == EntryType::Directory {
            // One may come after what is in it.
            return match self.made.get(&name) {
                Some(Made::Folder) => Ok(()),
                Some(_) => Err(wrong("comes twice")),
                None => self.make_folder(name),
            };
        }
        if self.made.contains_key(&name) {
            return Err(wrong("comes twice"));
        }
        let path = self.top.join(&name);
        let made = match kind {
            EntryType::Regular | EntryType::Continuous => {
                self.fill(entry, &path, size)?;
                Made::File
            }
            EntryType::Symlink => {
                paths::check_link(above.len(), &target).map_err(wrong)?;
                symlink(&target, &path)?;
                Made::Link
            }
            EntryType::Link => {
                let other = paths::names(&target).map_err(wrong)?.join("/");
                if self.made.get(&other) != Some(&Made::File) {
                    return Err(wrong("is a link to what is no file of the bundle"));
                }
                match fs::hard_link(self.top.join(&other), &path) {
                    Err(error) if Errno::from_io_error(&error) == Some(Errno::MLINK) => {
                        return Err(wrong("is one link too many to a file"));
                    }
                    linked => linked?,
                }
                Made::File
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                return Err(wrong("is a device or pipe"));
            }
            EntryType::GNUSparse => return Err(wrong("is a file with holes")),
            _ => return Err(wrong("is of an unknown kind")),
        };
        self.done.files += 1;
        self.note(name, made)
    }

    /// The folder for an entry, made if need be.
    fn folder(
        &mut self,
        above: &[&str],
        wrong: &dyn Fn(&'static str) -> UnpackError,
    ) -> Result<String, UnpackError> {
        let mut path = String::new();
        for name in above {
            path = join(&path, name);
            match self.made.get(&path) {
                Some(Made::Folder) => {}
                Some(Made::Link) => return Err(wrong("lies behind a link")),
                Some(Made::File) => return Err(wrong("lies in a file")),
                None => self.make_folder(path.clone())?,
            }
        }
        Ok(path)
    }

    fn make_folder(&mut self, name: String) -> Result<(), UnpackError> {
        DirBuilder::new().mode(0o755).create(self.top.join(&name))?;
        self.note(name, Made::Folder)
    }

    fn note(&mut self, name: String, made: Made) -> Result<(), UnpackError> {
        self.made.insert(name, made);
        // Folders count that no entry named.
        if self.made.len() > self.most { Err(UnpackError::TooMany) } else { Ok(()) }
    }

    fn fill(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        path: &Path,
        size: u64,
    ) -> Result<(), UnpackError> {
        self.done.bytes = self.done.bytes.saturating_add(size);
        if self.done.bytes > MAX_BLOB_BYTES {
            return Err(UnpackError::TooLarge);
        }
        // Nothing else of the mode: no program gets the rights of somebody else, and each file can be
        // read by whom it is for.
        let runs = entry.header().mode().map_err(UnpackError::NotATar)? & 0o111 != 0;
        let mode = if runs { 0o755 } else { 0o644 };
        let mut file = File::options().write(true).create_new(true).mode(mode).open(path)?;
        let written = io::copy(entry, &mut file)?;
        if written != size {
            return Err(UnpackError::NotATar(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

fn refused(path: &str, fault: &'static str) -> UnpackError {
    UnpackError::Entry { path: path.to_owned(), fault }
}

/// A name from outside, for a message.
fn shown(raw: &[u8]) -> String {
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(raw);
    let clean = text.chars().map(|c| if c.is_control() { '?' } else { c });
    clean.take(MOST).collect()
}
