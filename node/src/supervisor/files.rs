//! What a job takes in and leaves behind: blobs that are laid into its directory before it runs, and
//! files that become blobs after it.
//!
//! Always: nothing is written or read outside the job's directory, whatever the payload or the job
//! says: paths are checked, and links are not followed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ignore::WalkBuilder;
use ignore::overrides::OverrideBuilder;
use rustix::fs::OFlags;
use rustix::io::Errno;
use serde_json::{Map, Value};
use skyclaw_protocol::limits::{MAX_BLOB_BYTES, MAX_JOB_FILES};
use skyclaw_protocol::{Hash, OutputFile};
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

use crate::blobs::{Blobs, FetchError};
use crate::bundle::{BundleError, paths};

/// How long keeping the files of a job may take: the largest blob over a modest line. The lease goes
/// on meanwhile.
const KEEPING: Duration = Duration::from_secs(600);

/// Bytes read at once.
const PIECE: usize = 64 << 10;

/// What a payload says about files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    inputs: Vec<Input>,
    outputs: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Input {
    hash: Hash,
    /// None: the directory itself for a bundle, the hash for a file.
    path: Option<String>,
    unpack: bool,
}

/// Why the inputs are not there.
pub(super) enum Missing {
    /// The job's fault, or nobody's.
    Job(String),
    /// This host's.
    Host(String),
}

impl Files {
    /// Reads `inputs` and `outputs` of a payload. The error is the job's.
    pub(super) fn read(payload: &Map<String, Value>) -> Result<Self, String> {
        let inputs = items(payload, "inputs")?.iter().map(input).collect::<Result<_, _>>()?;
        let glob = |glob: &Value| {
            let text = glob.as_str().filter(|text| !text.is_empty() && !text.contains('\0'));
            text.map(str::to_owned).ok_or_else(|| "payload.outputs must hold globs".to_owned())
        };
        let outputs = items(payload, "outputs")?.iter().map(glob).collect::<Result<_, _>>()?;
        Ok(Self { inputs, outputs })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.outputs.is_empty()
    }

    /// Lays the inputs into `work`, in their order. `lays` is held for as long as anything is written there, also
    /// if this is given up.
    pub(super) async fn place(
        &self,
        blobs: Option<&Blobs>,
        work: &Path,
        lays: mpsc::Sender<()>,
    ) -> Result<(), Missing> {
        if self.inputs.is_empty() {
            return Ok(());
        }
        let none = || Missing::Host("this host keeps no blobs".to_owned());
        let blobs = blobs.ok_or_else(none)?;
        for input in &self.inputs {
            let placed = if input.unpack {
                unpack(blobs, input, work, lays.clone()).await
            } else {
                copy(blobs, input, work, lays.clone()).await
            };
            let hash = input.hash.hex();
            placed.map_err(|missing| match missing {
                Missing::Job(why) => Missing::Job(format!("input {hash}: {why}")),
                Missing::Host(why) => Missing::Host(format!("input {hash}: {why}")),
            })?;
        }
        Ok(())
    }

    /// Makes blobs of the files in `work` that the job asked to be kept. The error is the job's.
    pub(super) async fn keep(
        &self,
        blobs: Option<&Blobs>,
        work: &Path,
    ) -> Result<Vec<OutputFile>, String> {
        if self.outputs.is_empty() {
            return Ok(Vec::new());
        }
        let blobs = blobs.ok_or("its outputs were not kept: this host keeps no blobs")?;
        let kept = tokio::time::timeout(KEEPING, self.keep_all(blobs, work)).await;
        let kept = kept.unwrap_or_else(|_| Err("it took too long".to_owned()));
        kept.map_err(|why| format!("its outputs were not kept: {why}"))
    }

    async fn keep_all(&self, blobs: &Blobs, work: &Path) -> Result<Vec<OutputFile>, String> {
        let (top, globs) = (work.to_owned(), self.outputs.clone());
        let found = tokio::task::spawn_blocking(move || matching(&top, &globs)).await;
        let mut kept = Vec::new();
        for path in found.map_err(|_| "the host stops".to_owned())?? {
            let shown = path.display().to_string();
            let text = path.to_str().ok_or_else(|| format!("{shown} is no text"))?.to_owned();
            let at = work.join(&path);
            let file = tokio::task::spawn_blocking(move || open(&at)).await;
            let file = file.map_err(|_| "the host stops".to_owned())?;
            let file =
                tokio::fs::File::from_std(file.map_err(|error| format!("{shown}: {error}"))?);
            let pieces = ReaderStream::with_capacity(file, PIECE);
            let held =
                blobs.put(None, pieces).await.map_err(|error| format!("{shown}: {error}"))?;
            blobs.share(&held).await.map_err(|why| format!("{shown}: {why}"))?;
            let (hash, bytes) = (held.outline.hash(), held.outline.size());
            kept.push(OutputFile { path: text, hash, bytes });
        }
        Ok(kept)
    }
}

fn items<'a>(payload: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], String> {
    match payload.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) if items.len() <= MAX_JOB_FILES => Ok(items),
        Some(_) => Err(format!("payload.{name} must be an array of at most {MAX_JOB_FILES}")),
    }
}

fn input(value: &Value) -> Result<Input, String> {
    let hash = value.get("hash").and_then(Value::as_str).unwrap_or_default();
    let hash = Hash::parse(hash).map_err(|error| format!("payload.inputs: {error}"))?;
    let path = match value.get("path") {
        None | Some(Value::Null) => None,
        Some(Value::String(path)) => Some(path),
        Some(_) => return Err("payload.inputs: path must be a string".to_owned()),
    };
    let path = path.map(|path| match paths::names(path) {
        Ok(names) => Ok(names.join("/")),
        Err(fault) => Err(format!("payload.inputs: {path} {fault}")),
    });
    let path = path.transpose()?.filter(|path| !path.is_empty());
    let unpack = value.get("unpack").and_then(Value::as_bool).unwrap_or(false);
    Ok(Input { hash, path, unpack })
}

async fn unpack(
    blobs: &Blobs,
    input: &Input,
    work: &Path,
    lays: mpsc::Sender<()>,
) -> Result<(), Missing> {
    let into = input.path.as_ref().map_or_else(|| work.to_owned(), |path| work.join(path));
    parents(work, &into)?;
    // Nobody else writes here yet. Found out by the last step of unpacking, it would look like this
    // host's fault, and be tried on one host after another.
    if !is_free(&into).map_err(|error| fault_of(&error))? {
        return Err(taken(input.path.as_deref().unwrap_or(".")));
    }
    blobs.unpack(input.hash, &into, lays).await.map_err(|error| match error {
        BundleError::Unavailable(why) | BundleError::Broken(why) => Missing::Job(why),
        BundleError::Host(why) => Missing::Host(why),
    })
}

async fn copy(
    blobs: &Blobs,
    input: &Input,
    work: &Path,
    lays: mpsc::Sender<()>,
) -> Result<(), Missing> {
    let held = blobs.fetch(input.hash).await.map_err(|error| match &error {
        FetchError::Disk(_) => Missing::Host(error.to_string()),
        _ => Missing::Job(error.to_string()),
    })?;
    let name = input.path.clone().unwrap_or_else(|| input.hash.hex());
    let to = work.join(&name);
    parents(work, &to)?;
    let copied = tokio::task::spawn_blocking(move || {
        let _lays = lays;
        let host = |error: io::Error| Missing::Host(error.to_string());
        let mut from = File::open(&held.path).map_err(host)?;
        let made = File::options().write(true).create_new(true).mode(0o644).open(&to);
        let mut file = made.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(&name),
            _ => fault_of(&error),
        })?;
        io::copy(&mut from, &mut file).map_err(host)?;
        file.set_permissions(fs::Permissions::from_mode(0o644)).map_err(host)
    });
    copied.await.unwrap_or_else(|_| Err(Missing::Host("the host stops".to_owned())))
}

/// Makes the folders above. Links that bundles brought lead to places within them.
fn parents(work: &Path, path: &Path) -> Result<(), Missing> {
    match path.parent().filter(|parent| parent.starts_with(work)) {
        None => Ok(()),
        Some(parent) => fs::create_dir_all(parent).map_err(|error| fault_of(&error)),
    }
}

/// Whether a bundle may get this name: nothing lies there, or a folder with nothing in it.
fn is_free(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(fs::read_dir(path)?.next().is_none()),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn taken(path: &str) -> Missing {
    Missing::Job(format!("something lies at {path} already"))
}

/// Whose fault it is that something cannot be made within the job's directory.
fn fault_of(error: &io::Error) -> Missing {
    // By the names that the job chose, and what its other inputs brought: so on every host.
    const OF_NAMES: [Errno; 6] = [
        Errno::EXIST,
        Errno::NOTEMPTY,
        Errno::NOTDIR,
        Errno::ISDIR,
        Errno::NAMETOOLONG,
        Errno::LOOP,
    ];
    let text = error.to_string();
    let of_names = Errno::from_io_error(error).is_some_and(|errno| OF_NAMES.contains(&errno));
    if of_names { Missing::Job(text) } else { Missing::Host(text) }
}

/// The files below `top` that a glob names, by path.
fn matching(top: &Path, globs: &[String]) -> Result<Vec<PathBuf>, String> {
    let mut wanted = OverrideBuilder::new(top);
    for glob in globs {
        // With a mark before it a glob would take away.
        let glob = glob.trim_start_matches('!');
        wanted.add(glob).map_err(|error| error.to_string())?;
    }
    let wanted = wanted.build().map_err(|error| error.to_string())?;
    let walk = WalkBuilder::new(top)
        .standard_filters(false)
        .follow_links(false)
        .overrides(wanted)
        .sort_by_file_name(Ord::cmp)
        .build();
    let (mut found, mut bytes) = (Vec::new(), 0_u64);
    for entry in walk {
        let entry = entry.map_err(|error| error.to_string())?;
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        bytes = bytes.saturating_add(entry.metadata().map_or(0, |meta| meta.len()));
        if found.len() == MAX_JOB_FILES || bytes > MAX_BLOB_BYTES {
            return Err(format!(
                "more than {MAX_JOB_FILES} files, or more than {MAX_BLOB_BYTES} bytes, are named"
            ));
        }
        let path = entry.path().strip_prefix(top).map_err(|error| error.to_string())?;
        found.push(path.to_owned());
    }
    Ok(found)
}

/// The job may have put something else there while the tree was walked: some process of it that
/// nobody saw.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no file")) }
}
