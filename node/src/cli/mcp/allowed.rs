//! Folders of this machine from which an agent may send files.
//!
//! Always: a path counts by where it leads, not by how it is written.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::error::CliError;

/// The folders, with no links in them.
#[derive(Clone, Debug)]
pub(super) struct Allowed(Vec<PathBuf>);

impl Allowed {
    /// The working directory, unless that holds all of a user's files (it is their home, or above it), and what was named; and if
    /// the working directory is left out, why.
    pub(super) fn new(
        named: &[PathBuf],
        home: Option<&Path>,
    ) -> Result<(Self, Option<String>), CliError> {
        let resolved = |path: &Path| {
            fs::canonicalize(path).map_err(|error| {
                CliError::Source(format!("--allow-path {}: {error}", path.display()))
            })
        };
        let mut all = named.iter().map(|path| resolved(path)).collect::<Result<Vec<_>, _>>()?;
        let home = home.and_then(|home| fs::canonicalize(home).ok());
        let mut left_out = None;
        match fs::canonicalize(".") {
            Ok(here)
                if here.parent().is_none()
                    || home.as_ref().is_some_and(|home| home.starts_with(&here)) =>
            {
                left_out = Some(format!(
                    "files are not sent from {} as such: name a folder with --allow-path",
                    here.display()
                ));
            }
            Ok(here) => all.push(here),
            // It was removed: nothing can be sent from there.
            Err(_) => {}
        }
        Ok((Self(all), left_out))
    }

    /// Where the path leads, if that is allowed.
    pub(super) fn path(&self, path: &Path) -> Result<PathBuf, CliError> {
        let real = fs::canonicalize(path)
            .map_err(|error| CliError::Source(format!("{}: {error}", path.display())))?;
        if self.0.iter().any(|folder| real.starts_with(folder)) {
            return Ok(real);
        }
        let folders: Vec<String> =
            self.0.iter().map(|folder| folder.display().to_string()).collect();
        let only = if folders.is_empty() { "none".to_owned() } else { folders.join(", ") };
        Err(CliError::Source(format!(
            "{} is not in a folder from which files may be sent ({only}); the user can allow more \
             with `skyclaw mcp --allow-path DIR`",
            path.display()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_counts_by_where_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["in", "out"] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join("f"), "x").unwrap();
        }
        std::os::unix::fs::symlink(at("out"), at("in/link")).unwrap();
        std::os::unix::fs::symlink(at("in"), at("way")).unwrap();
        let (allowed, _) = Allowed::new(&[at("in")], None).unwrap();
        let real = fs::canonicalize(at("in/f")).unwrap();
        for good in ["in/f", "way/f", "in/../in/f"] {
            assert_eq!(allowed.path(&at(good)).unwrap(), real, "{good}");
        }
        for bad in ["out/f", "in/link/f", "in/../out/f"] {
            let error = allowed.path(&at(bad)).unwrap_err().to_string();
            assert!(error.contains("--allow-path"), "{error}");
        }
        assert!(allowed.path(&at("none")).is_err());
        assert!(Allowed::new(&[at("none")], None).is_err());
    }

    #[test]
    fn a_working_directory_with_all_files_of_a_user_is_not_allowed() {
        let here = fs::canonicalize(".").unwrap();
        let (allowed, left_out) = Allowed::new(&[], Some(&here)).unwrap();
        assert!(left_out.unwrap().contains("--allow-path"));
        assert!(allowed.path(Path::new("Cargo.toml")).is_err());
        let (allowed, left_out) = Allowed::new(&[], None).unwrap();
        assert_eq!(left_out, None);
        assert!(allowed.path(Path::new("Cargo.toml")).is_ok());
    }
}
