//! Folders that an owner opens to what runs here.
//!
//! Always: what is opened is a folder that was there at the start, by its real path, and none that
//! holds what is the node's or its owner's own.

use std::fs;
use std::path::{Path, PathBuf};

use super::file::Place;
use super::resolve::is_plain;
use crate::supervisor::workdir;

/// Folders of each list: each is opened for each run.
const MAX_FOLDERS: usize = 64;

/// Where the kernel shows itself and everything else, and where programs listen.
const NEVER: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/var/run"];

/// Where homes of people are.
const HOMES: &str = "/home";

/// Opens the folders that a list names.
///
/// # Errors
/// One cannot be opened: a sentence that says which and why.
pub(super) fn open(list: &str, texts: &[String], place: Place<'_>) -> Result<Vec<PathBuf>, String> {
    if texts.len() > MAX_FOLDERS {
        return Err(format!("{list} has {} folders, {MAX_FOLDERS} are allowed", texts.len()));
    }
    let one = |text: &String| folder(text, place).map_err(|why| format!("{list}: {text} {why}"));
    texts.iter().map(one).collect()
}

fn folder(text: &str, place: Place<'_>) -> Result<PathBuf, String> {
    if text == "/" {
        return Err("would open the whole machine: name folders in it".to_owned());
    }
    if !text.starts_with('/') || !is_plain(text) {
        return Err("is no folder's path: it begins with / and has no empty part, . or ..".into());
    }
    let path = Path::new(text);
    let real = fs::canonicalize(path).map_err(|error| format!("cannot be opened: {error}"))?;
    if real != path {
        return Err(format!("is a link, or lies behind one: name {}", real.display()));
    }
    if !real.is_dir() {
        return Err("is no folder".to_owned());
    }
    if let Some(never) = NEVER.iter().find(|never| real.starts_with(never)) {
        return Err(format!("lies in {never}, which is never opened"));
    }
    let homes = [place.home.unwrap_or("/root"), "/root", HOMES];
    if let Some(home) = homes.iter().find(|home| Path::new(home).starts_with(&real)) {
        return Err(format!("holds {home}, a home: name a folder in it that jobs may see"));
    }
    if real.parent() == Some(Path::new(HOMES)) {
        return Err("is the home of a person: name a folder in it that jobs may see".to_owned());
    }
    if let Some(own) = place.own.iter().find(|own| own.starts_with(&real)) {
        return Err(format!("holds {}, which is the node's own", own.display()));
    }
    let base = place.work_root.map_or_else(std::env::temp_dir, Path::to_owned);
    let base = fs::canonicalize(&base).unwrap_or(base);
    let among_jobs = match place.work_root {
        Some(_) => real.starts_with(&base),
        None => workdir::root_above(&real, &base).is_some(),
    };
    if base.starts_with(&real) || among_jobs {
        return Err("is where the folders of jobs are, each of which is for one job".to_owned());
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[track_caller]
    fn refused(text: &str, place: Place<'_>, word: &str) {
        let said = open("read", &[text.to_owned()], place).expect_err("it is refused");
        assert!(said.starts_with(&format!("read: {text} ")) && said.contains(word), "{said}");
    }

    #[test]
    fn folders_are_opened_by_their_real_path() {
        let base = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(base.path()).unwrap();
        let folder = base.join("data");
        fs::create_dir_all(&folder).unwrap();
        let text = folder.to_str().unwrap();
        assert_eq!(open("read", &[text.to_owned()], Place::default()), Ok(vec![folder.clone()]));
        let link = base.join("link");
        symlink(&folder, &link).unwrap();
        refused(link.to_str().unwrap(), Place::default(), &format!("name {text}"));
        refused(&format!("{text}/none"), Place::default(), "cannot be opened");
        fs::write(folder.join("file"), "").unwrap();
        refused(&format!("{text}/file"), Place::default(), "is no folder");
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn what_would_open_too_much_is_refused() {
        let place = Place { home: Some("/usr/share/someone"), ..Place::default() };
        refused("/", place, "whole machine");
        refused("/usr", place, "holds /usr/share/someone, a home");
        for text in ["relative", "/usr/", "/usr/../etc", "//usr", "/./usr"] {
            refused(text, place, "no folder's path");
        }
        for text in ["/proc", "/proc/self", "/sys/kernel", "/dev"] {
            refused(text, place, "");
        }
        let many = vec!["/usr/lib".to_owned(); 65];
        assert!(open("read", &many, Place::default()).unwrap_err().contains("65 folders"));
    }

    #[test]
    fn the_nodes_own_and_the_folders_of_jobs_stay_closed() {
        let base = tempfile::tempdir().unwrap();
        let base = fs::canonicalize(base.path()).unwrap();
        for name in ["jobs/sub", "node", "open"] {
            fs::create_dir_all(base.join(name)).unwrap();
        }
        let (work, own) = (base.join("jobs"), [base.join("node/coordinator.db")]);
        let place = Place { work_root: Some(&work), home: None, own: &own };
        let text = |name: &str| base.join(name).to_str().unwrap().to_owned();
        assert!(open("write", &[text("open")], place).is_ok());
        refused(&text("node"), place, "coordinator.db, which is the node's own");
        refused(base.to_str().unwrap(), place, "the node's own");
        for name in ["jobs", "jobs/sub"] {
            refused(&text(name), place, "folders of jobs");
        }
        let temp = fs::canonicalize(std::env::temp_dir()).unwrap();
        refused(temp.to_str().unwrap(), Place::default(), "");
        fs::remove_dir_all(&base).unwrap();
    }
}
