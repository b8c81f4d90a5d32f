//! Records as the original keeps them: JSON, verbatim, in the order they came; and how copies are
//! merged (CONTRACT 6).

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

/// Records of one kind by id. Cheap to clone: every change of the original begins with a copy of all.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    all: Vec<Arc<Value>>,
    places: Arc<HashMap<String, usize>>,
}

impl Records {
    pub(super) fn get(&self, id: &str) -> Option<&Value> {
        self.places.get(id).map(|place| &*self.all[*place])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Value> {
        self.all.iter().map(|record| &**record)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Stores a record under its id; a known one keeps its place.
    pub(super) fn put(&mut self, record: Value) {
        let id = record["id"].as_str().unwrap_or_default().to_owned();
        let record = Arc::new(record);
        if let Some(place) = self.places.get(&id) {
            self.all[*place] = record;
        } else {
            Arc::make_mut(&mut self.places).insert(id, self.all.len());
            self.all.push(record);
        }
    }

    /// Drops those that are not to stay.
    pub(super) fn retain(&mut self, stays: impl Fn(&Value) -> bool) {
        let left: Vec<_> = self.all.drain(..).filter(|record| stays(record)).collect();
        self.places = Arc::default();
        left.into_iter().for_each(|record| self.put(Arc::unwrap_or_clone(record)));
    }

    /// All, ordered by creation as the original orders them: what has none stops it (F21).
    pub(super) fn by_creation(&self) -> Result<Vec<&Value>, String> {
        let lacks = |record: &&Arc<Value>| !record["createdAt"].is_string();
        if self.len() > 1 && self.all.iter().any(|record| lacks(&record)) {
            return Err("Cannot read properties of undefined (reading 'localeCompare')".into());
        }
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by(|a, b| a["createdAt"].as_str().cmp(&b["createdAt"].as_str()));
        Ok(all)
    }

    /// Takes another coordinator's record if it is newer than the one held. Nothing is checked.
    pub(super) fn merge(&mut self, theirs: &Value) -> Result<bool, String> {
        let Some(id) = theirs["id"].as_str() else {
            return Err("Cannot read properties of undefined (reading 'id')".into());
        };
        let newer = self.get(id).is_none_or(|ours| is_newer(theirs, ours));
        if newer {
            self.put(theirs.clone());
        }
        Ok(newer)
    }

    pub(super) fn highest_version(&self) -> f64 {
        self.iter().map(version).filter(|version| version.is_finite()).fold(0.0, f64::max)
    }
}

/// A record's version; not a number where there is none, which then loses every comparison.
pub(super) fn version(record: &Value) -> f64 {
    record["version"].as_f64().unwrap_or(f64::NAN)
}

/// The larger version, then the later change, then the larger name of who made it; nothing else
/// counts, whether a job has ended least of all (F42).
fn is_newer(theirs: &Value, ours: &Value) -> bool {
    if version(theirs) != version(ours) {
        return version(theirs) > version(ours);
    }
    for member in ["updatedAt", "updatedBy"] {
        let text = |record: &Value| record[member].as_str().unwrap_or_default().to_owned();
        if text(theirs) != text(ours) {
            return text(theirs) > text(ours);
        }
    }
    false
}
