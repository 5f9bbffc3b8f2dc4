//! `keygate backup` and `keygate restore`: everything in the store as one file, and back. They open the store itself, so
//! that they work without a running gateway.

use super::{Exit, Failed, load, say};
use crate::clock::SystemClock;
use crate::config::StoreLocation;
use crate::domain::actor::Actor;
use crate::store::Store;
use crate::store::backup::{BackupFault, Contents};
use crate::store::frame::FrameFault;
use anyhow::anyhow;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Runtime;

#[derive(Args)]
pub(super) struct Backup {
    /// Where the copy goes; a file of that name is replaced
    file: PathBuf,
}

#[derive(Args)]
pub(super) struct Restore {
    /// A file that `keygate backup` has made
    file: PathBuf,
    /// Replace everything in a store that is not empty
    #[arg(long)]
    replace: bool,
}

impl Backup {
    pub(super) fn run(self, config: &Path) -> Result<Exit, Failed> {
        let location = location(config)?;
        if let StoreLocation::Sqlite(file) = &location
            && !file.exists()
        {
            let missing = anyhow!("{}: there is no store", file.display());
            return Err(Failed::with(Exit::NotFound, missing));
        }
        let (runtime, store) = open(&location)?;
        let bar = Bar::new();
        let made = runtime.block_on(store.backup(&self.file, |done, total| bar.show(done, total)));
        let made = made.map_err(|fault| failed(&self.file, fault))?;
        say(&told("saved", &self.file, &made));
        Ok(Exit::Ok)
    }
}

impl Restore {
    pub(super) fn run(self, config: &Path) -> Result<Exit, Failed> {
        let location = location(config)?;
        let (runtime, store) = open(&location)?;
        let (bar, actor) = (Bar::new(), Actor::system("restore"));
        let progress = |done, total| bar.show(done, total);
        let put = runtime.block_on(store.restore(&self.file, self.replace, &actor, progress));
        // SQLite then has all of it in one file.
        runtime.block_on(store.close());
        let put = put.map_err(|fault| failed(&self.file, fault))?;
        say(&told("restored", &self.file, &put));
        Ok(Exit::Ok)
    }
}

fn location(config: &Path) -> Result<StoreLocation, Failed> {
    let none = || {
        anyhow!(
            "{}: `store: none`, so there is nothing to save",
            config.display()
        )
    };
    Ok(load(config)?.store.ok_or_else(none)?)
}

fn open(location: &StoreLocation) -> Result<(Runtime, Store), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let store = runtime.block_on(Store::open(location, Arc::new(SystemClock::new())))?;
    Ok((runtime, store))
}

fn told(done: &str, file: &Path, contents: &Contents) -> String {
    format!(
        "keygate: {done} {}: {} rows in {} tables, revision {}, made {}",
        file.display(),
        contents.rows(),
        contents.tables.len(),
        contents.revision,
        contents.made_at(),
    )
}

fn failed(file: &Path, fault: BackupFault) -> Failed {
    let exit = match &fault {
        BackupFault::File(FrameFault::Unreadable(_)) if !file.exists() => Exit::NotFound,
        BackupFault::File(FrameFault::Unreadable(_))
        | BackupFault::Unwritable(_)
        | BackupFault::Store(_) => Exit::Failure,
        BackupFault::File(_) | BackupFault::Newer(..) => Exit::CheckFailed,
        BackupFault::InUse => Exit::Conflict,
    };
    let cause = match &fault {
        BackupFault::Store(_) | BackupFault::InUse => fault.into(),
        BackupFault::File(_) | BackupFault::Unwritable(_) | BackupFault::Newer(..) => {
            anyhow!("{}: {fault}", file.display())
        }
    };
    Failed::with(exit, cause)
}

/// How far it is; only on a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} rows, {eta} left") {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn show(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
