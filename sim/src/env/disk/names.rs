//! Folders: which name stands for which file, now and after a power cut.
//!
//! A rename is atomic, and so is every other change of a name; but before `sync_dir` any of them may be lost while later
//! ones of other names survive. What needs a lost one is lost as well. Said aloud: a folder itself is durable at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use matrixkv::types::Rng;

use super::content::Content;

/// A file, whatever its name.
pub(super) type Inode = Arc<Mutex<Content>>;

#[derive(Default)]
pub(super) struct Names {
    now: BTreeMap<PathBuf, Inode>,
    durable: BTreeMap<PathBuf, Inode>,
    unsynced: Vec<Change>,
    folders: BTreeSet<PathBuf>,
}

enum Change {
    Create(PathBuf, Inode),
    Rename(PathBuf, PathBuf, Inode),
    Remove(PathBuf),
}

impl Names {
    pub(super) fn create_dir(&mut self, folder: &Path) {
        self.folders.extend(folder.ancestors().map(Path::to_owned));
    }

    pub(super) fn is_dir(&self, folder: &Path) -> bool {
        self.folders.contains(folder)
    }

    pub(super) fn get(&self, path: &Path) -> Option<&Inode> {
        self.now.get(path)
    }

    pub(super) fn create(&mut self, path: &Path) -> Inode {
        let file = Inode::default();
        self.change(Change::Create(path.to_owned(), file.clone()));
        file
    }

    /// Whether there was something to rename.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> bool {
        let Some(file) = self.now.get(from).cloned() else { return false };
        self.change(Change::Rename(from.to_owned(), to.to_owned(), file));
        true
    }

    /// Whether there was something to remove.
    pub(super) fn remove(&mut self, path: &Path) -> bool {
        let found = self.now.contains_key(path);
        if found {
            self.change(Change::Remove(path.to_owned()));
        }
        found
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.unsynced.push(change);
    }

    /// The names in `folder`, ascending.
    pub(super) fn list(&self, folder: &Path) -> Vec<String> {
        let inside = self.now.keys().filter(|path| path.parent() == Some(folder));
        inside.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
    }

    pub(super) fn sync_dir(&mut self, folder: &Path) {
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.unsynced).into_iter().partition(|change| change.folder() == Some(folder));
        self.unsynced = elsewhere;
        here.into_iter().for_each(|change| change.apply(&mut self.durable));
    }

    /// All files, in the order of their names.
    pub(super) fn files(&self) -> impl Iterator<Item = (&PathBuf, &Inode)> {
        self.now.iter()
    }

    /// The same files, as somebody who copies them finds them; all of it durable.
    pub(super) fn copied(&self) -> Names {
        let copy = |(path, file): (&PathBuf, &Inode)| {
            let mut content = file.lock().expect("no holder panics").clone();
            content.sync();
            (path.clone(), Arc::new(Mutex::new(content)))
        };
        let now: BTreeMap<_, _> = self.now.iter().map(copy).collect();
        Names { durable: now.clone(), now, unsynced: Vec::new(), folders: self.folders.clone() }
    }

    /// Loses any of the changes that were not synced, and what needs them. How many.
    pub(super) fn power_loss(&mut self, rng: &mut Rng) -> u64 {
        let mode = rng.below(3);
        let (mut torn, mut lost) = (BTreeSet::new(), 0);
        for change in std::mem::take(&mut self.unsynced) {
            let falls = mode == 0 || (mode == 1 && rng.chance(0.5));
            if falls || change.names().iter().any(|name| torn.contains(*name)) {
                lost += 1;
                torn.extend(change.names().into_iter().map(Path::to_owned));
            } else {
                change.apply(&mut self.durable);
            }
        }
        self.now = self.durable.clone();
        lost
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Inode>) {
        match self {
            Change::Create(path, file) => drop(names.insert(path.clone(), file.clone())),
            Change::Remove(path) => drop(names.remove(path)),
            Change::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), file.clone());
            }
        }
    }

    fn names(&self) -> Vec<&Path> {
        match self {
            Change::Create(path, _) | Change::Remove(path) => vec![path],
            Change::Rename(from, to, _) => vec![from, to],
        }
    }

    fn folder(&self) -> Option<&Path> {
        self.names().last().and_then(|name| name.parent())
    }
}
