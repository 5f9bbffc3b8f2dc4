//! Collects what is wrong, what is odd and what was read, while the tree is walked.

use super::tree::Place;
use crate::config::Fault;
use std::cell::RefCell;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Everything the walk leaves behind besides the values.
pub(crate) struct Report {
    file: PathBuf,
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<Fault>>,
    files: RefCell<Vec<PathBuf>>,
}

/// A [`Report`] when the walk is over; both lists are in the order of the file.
pub(crate) struct Parts {
    pub(crate) faults: Vec<Fault>,
    pub(crate) warnings: Vec<Fault>,
    pub(crate) files: Vec<PathBuf>,
}

impl Report {
    pub(crate) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            faults: RefCell::default(),
            warnings: RefCell::default(),
            files: RefCell::new(vec![file.to_owned()]),
        }
    }

    pub(crate) fn fault(&self, place: Place, path: String, what: String) {
        let fault = self.line(place, path, what);
        self.faults.borrow_mut().push(fault);
    }

    pub(crate) fn warn(&self, place: Place, path: String, what: String) {
        let warning = self.line(place, path, what);
        self.warnings.borrow_mut().push(warning);
    }

    /// How many faults there are so far.
    pub(crate) fn count(&self) -> usize {
        self.faults.borrow().len()
    }

    /// The folder that relative paths start at.
    pub(crate) fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// Remembers that a file was read.
    pub(crate) fn read(&self, file: PathBuf) {
        self.files.borrow_mut().push(file);
    }

    pub(crate) fn into_parts(self) -> Parts {
        let mut files = self.files.into_inner();
        let mut seen = HashSet::new();
        files.retain(|file| seen.insert(file.clone()));
        Parts {
            faults: sorted(self.faults.into_inner()),
            warnings: sorted(self.warnings.into_inner()),
            files,
        }
    }

    fn line(&self, place: Place, path: String, what: String) -> Fault {
        Fault {
            file: self.file.clone(),
            place: Some(place),
            path,
            what,
        }
    }
}

fn sorted(mut lines: Vec<Fault>) -> Vec<Fault> {
    lines.sort_by(|one, other| (one.place, &one.path).cmp(&(other.place, &other.path)));
    lines
}
