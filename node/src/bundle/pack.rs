//! From a directory to a bundle.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ignore::{DirEntry, WalkBuilder};
use rustix::fs::OFlags;
use skyclaw_protocol::Hash;
use skyclaw_protocol::blob::{BlobError, Outliner};
use skyclaw_protocol::limits::{MAX_BLOB_BYTES, MAX_BUNDLE_ENTRIES};
use tar::{Builder, EntryType, Header};

use super::paths;
use crate::config::DEFAULT_FILE;

/// The file that says what is left out, beside `.gitignore`.
const IGNORE_FILE: &str = ".skyclawignore";

/// Never packed, wherever they lie.
const NEVER: [&str; 2] = [".git", ".skyclaw"];

/// Names shown of what was left out.
const MAX_LEFT_OUT: usize = 32;

/// A bundle, in a file without a name: it is gone when this is dropped, or the process.
#[derive(Debug)]
pub struct Packed {
    /// What it is named.
    pub hash: Hash,
    /// Its size.
    pub bytes: u64,
    /// Files in it.
    pub files: usize,
    /// Entries of the top folder that ignore files left out, to be shown.
    pub left_out: Vec<String>,
    file: File,
}

impl Packed {
    /// The bundle from its beginning.
    ///
    /// # Errors
    /// Of the file.
    pub fn open(&self) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        Ok(file)
    }
}

/// Why a directory cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It is none.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// Everything in it is left out.
    #[error("there is nothing to pack in {}", .0.display())]
    Nothing(PathBuf),
    /// An entry cannot be in a bundle.
    #[error("{} {fault}; name it in {IGNORE_FILE}, or take it away", path.display())]
    Entry {
        /// Which.
        path: PathBuf,
        /// Why.
        fault: &'static str,
    },
    /// It has too many entries.
    #[error(
        "a bundle may have {MAX_BUNDLE_ENTRIES} entries; name what need not travel in {IGNORE_FILE}"
    )]
    TooMany,
    /// It is too large.
    #[error("a bundle may have {MAX_BLOB_BYTES} bytes; name what need not travel in {IGNORE_FILE}")]
    TooLarge,
    /// A file was changed meanwhile.
    #[error("{} was changed while it was read", .0.display())]
    Changed(PathBuf),
    /// Something cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The tree or an ignore file cannot be read.
    #[error("the directory cannot be read")]
    Walk(#[from] ignore::Error),
    /// The temporary file cannot be written.
    #[error("the bundle cannot be written to the temporary directory")]
    Write(#[source] io::Error),
}

/// Packs a directory. Blocks.
///
/// # Errors
/// [`PackError`], which names what is wrong.
pub fn pack(dir: &Path) -> Result<Packed, PackError> {
    if !fs::metadata(dir).is_ok_and(|meta| meta.is_dir()) {
        return Err(PackError::NotADirectory(dir.to_owned()));
    }
    let out = Hashing {
        file: BufWriter::new(nameless().map_err(PackError::Write)?),
        outliner: Outliner::default(),
    };
    let mut writer = Writer { tar: Builder::new(out), entries: 0, files: 0 };
    let mut top = Vec::new();
    for entry in walk(dir) {
        let entry = entry?;
        if entry.depth() == 1 {
            top.push(entry.file_name().to_owned());
        }
        if entry.depth() > 0 {
            writer.add(dir, &entry)?;
        }
        // Of an ignore file that cannot be read, or says what makes no sense: what it meant to keep
        // back must not travel.
        if let Some(error) = entry.error() {
            return Err(error.clone().into());
        }
    }
    if writer.entries == 0 {
        return Err(PackError::Nothing(dir.to_owned()));
    }
    let files = writer.files;
    let out = writer.tar.into_inner().map_err(written)?;
    let outline = out.outliner.finish();
    let file = out.file.into_inner().map_err(|error| PackError::Write(error.into_error()))?;
    let bytes = outline.size();
    let left_out = left_out(dir, &top);
    Ok(Packed { hash: outline.hash(), bytes, files, left_out, file })
}

/// All that is not left out, folders before what is in them, by name. The same on every machine: no
/// settings of git beside the tree are looked at, except that within a repository the ignore files
/// above the directory count.
fn walk(dir: &Path) -> ignore::Walk {
    let whole = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let in_repository = whole.ancestors().any(|above| above.join(".git").exists());
    WalkBuilder::new(dir)
        .standard_filters(false)
        .git_ignore(true)
        .require_git(in_repository)
        .parents(in_repository)
        .add_custom_ignore_filename(IGNORE_FILE)
        .follow_links(false)
        .sort_by_file_name(Ord::cmp)
        .filter_entry(|entry| {
            let settings = entry.depth() == 1 && entry.file_name() == DEFAULT_FILE;
            !settings && !NEVER.iter().any(|never| entry.file_name() == *never)
        })
        .build()
}

fn left_out(dir: &Path, taken: &[std::ffi::OsString]) -> Vec<String> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut left: Vec<String> = names
        .filter(|name| !taken.contains(name) && name != DEFAULT_FILE)
        .filter(|name| !NEVER.iter().any(|never| name == *never))
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    left.sort();
    left.truncate(MAX_LEFT_OUT);
    left
}

struct Writer {
    tar: Builder<Hashing>,
    entries: usize,
    files: usize,
}

impl Writer {
    fn add(&mut self, dir: &Path, entry: &DirEntry) -> Result<(), PackError> {
        self.entries += 1;
        if self.entries > MAX_BUNDLE_ENTRIES {
            return Err(PackError::TooMany);
        }
        let path = entry.path();
        let name = path.strip_prefix(dir).unwrap_or(path);
        let wrong = |fault| PackError::Entry { path: name.to_owned(), fault };
        let read = |source| PackError::Read { path: name.to_owned(), source };
        let text = name.to_str().ok_or_else(|| wrong("has a name that is not text"))?;
        let names = paths::names(text).map_err(wrong)?;
        let meta = fs::symlink_metadata(path).map_err(read)?;
        if meta.is_dir() {
            let mut header = header(EntryType::Directory, 0o755, 0);
            return self.tar.append_data(&mut header, name, io::empty()).map_err(written);
        }
        if meta.is_symlink() {
            let target = fs::read_link(path).map_err(read)?;
            let target = target.to_str().ok_or_else(|| wrong("is a link to what is not text"))?;
            paths::check_link(names.len().saturating_sub(1), target).map_err(wrong)?;
            let mut header = header(EntryType::Symlink, 0o777, 0);
            return self.tar.append_link(&mut header, name, target).map_err(written);
        }
        if !meta.is_file() {
            return Err(wrong("is neither file, folder nor link"));
        }
        // It may have become something else meanwhile.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let file = File::options().read(true).custom_flags(flags).open(path).map_err(read)?;
        let meta = file.metadata().map_err(read)?;
        if !meta.is_file() {
            return Err(PackError::Changed(name.to_owned()));
        }
        let size = meta.len();
        if size > MAX_BLOB_BYTES {
            return Err(PackError::TooLarge);
        }
        let mode = if meta.mode() & 0o111 == 0 { 0o644 } else { 0o755 };
        let mut header = header(EntryType::Regular, mode, size);
        let mut source = Source { file: file.take(size), error: None };
        let done = self.tar.append_data(&mut header, name, &mut source);
        if let Some(error) = source.error {
            return Err(read(error));
        }
        done.map_err(written)?;
        if source.file.limit() > 0 {
            return Err(PackError::Changed(name.to_owned()));
        }
        self.files += 1;
        Ok(())
    }
}

/// Nothing of who packs, when and where.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn written(error: io::Error) -> PackError {
    let large = error.get_ref().and_then(|inner| inner.downcast_ref::<BlobError>());
    if large.is_some() { PackError::TooLarge } else { PackError::Write(error) }
}

/// A file whose errors are told from those of the bundle.
struct Source {
    file: io::Take<File>,
    error: Option<io::Error>,
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read(buf).map_err(|error| {
            let kind = error.kind();
            self.error = Some(error);
            kind.into()
        })
    }
}

/// Writes and hashes.
struct Hashing {
    file: BufWriter<File>,
    outliner: Outliner,
}

impl Write for Hashing {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.outliner.update(buf).map_err(io::Error::other)?;
        self.file.write_all(buf)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file in the temporary directory, readable by this user, that is gone when it is closed.
fn nameless() -> io::Result<File> {
    let name = format!("skyclaw-bundle-{}-{:016x}", std::process::id(), rand::random::<u64>());
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}
