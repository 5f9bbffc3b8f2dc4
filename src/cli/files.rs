//! Files that only their owner reads: written whole or not at all, never over another one unasked.

use super::{Exit, Failed};
use anyhow::{Context, anyhow};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What to do with a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// It stays; a conflict.
    Keep,
    /// The new one takes its place.
    Replace,
}

/// A file that is begun before there is anything to put in it, so that a fault shows early. Gone if never finished.
pub(super) struct Begun {
    target: PathBuf,
    beside: PathBuf,
    file: File,
    guard: Guard,
}

impl Begun {
    pub(super) fn start(target: &Path, guard: Guard) -> Result<Self, Failed> {
        if guard == Guard::Keep && fs::symlink_metadata(target).is_ok() {
            return Err(taken(target));
        }
        let name = target
            .file_name()
            .with_context(|| format!("{} is no name of a file", target.display()))?;
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let random = u64::from_ne_bytes(random);
        let beside = format!(".{}.{random:016x}", name.to_string_lossy());
        let beside = target.with_file_name(beside);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options
            .open(&beside)
            .with_context(|| format!("{} cannot be written", target.display()))?;
        Ok(Self {
            target: target.to_owned(),
            beside,
            file,
            guard,
        })
    }

    /// Puts it in its place, durably.
    pub(super) fn finish(mut self) -> Result<(), Failed> {
        self.file.flush()?;
        self.file.sync_all()?;
        match self.guard {
            Guard::Replace => fs::rename(&self.beside, &self.target)?,
            // A link fails where there is something; a rename would not. Some file systems have no links.
            Guard::Keep => {
                if fs::hard_link(&self.beside, &self.target).is_err() {
                    if fs::symlink_metadata(&self.target).is_ok() {
                        return Err(taken(&self.target));
                    }
                    fs::rename(&self.beside, &self.target)?;
                }
            }
        }
        Ok(())
    }
}

impl Write for Begun {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.beside);
    }
}

fn taken(target: &Path) -> Failed {
    let fault = anyhow!("{} is there already", target.display());
    Failed::with(Exit::Conflict, fault)
}

/// Opens a file to be read; one that is not there has its exit code.
pub(super) fn open(file: &Path) -> Result<File, Failed> {
    File::open(file).map_err(|fault| {
        let exit = if fault.kind() == io::ErrorKind::NotFound {
            Exit::NotFound
        } else {
            Exit::Failure
        };
        let fault = anyhow::Error::from(fault).context(file.display().to_string());
        Failed::with(exit, fault)
    })
}

/// Writes a whole file, 0600.
pub(super) fn write(target: &Path, bytes: &[u8], guard: Guard) -> Result<(), Failed> {
    let mut begun = Begun::start(target, guard)?;
    begun
        .write_all(bytes)
        .with_context(|| format!("{} cannot be written", target.display()))?;
    begun.finish()
}

/// A folder that only its owner enters, with all above it; one that is there stays as it is.
pub(super) fn private_folder(folder: &Path) -> Result<(), Failed> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_that_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        write(&file, b"one", Guard::Keep).ok().unwrap();
        let fault = write(&file, b"two", Guard::Keep).err().unwrap();
        assert_eq!(fault.exit, Exit::Conflict);
        assert_eq!(fs::read(&file).unwrap(), b"one");
        write(&file, b"three", Guard::Replace).ok().unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"three");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_that_came_in_between_stays_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let begun = Begun::start(&file, Guard::Keep).ok().unwrap();
        fs::write(&file, "other").unwrap();
        assert_eq!(begun.finish().err().unwrap().exit, Exit::Conflict);
        assert_eq!(fs::read(&file).unwrap(), b"other");
    }

    #[test]
    fn what_is_never_finished_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(Begun::start(&folder.path().join("secret"), Guard::Keep).ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
