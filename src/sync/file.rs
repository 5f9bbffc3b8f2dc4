//! The config file as a source: reloads when it, or a file it refers to, changes on disk, and on SIGHUP.

use super::publisher::Publisher;
use crate::config::{self, Config, ConfigError, PortionId};
use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Editors write in several steps; this is how long it has to be quiet before the file is read.
const SETTLE: Duration = Duration::from_millis(150);

/// So long after it was read, nobody holds what a file said any more, and the allocator no longer expects to need the room.
const FREE_BY: Duration = Duration::from_secs(1);
/// More than the allocator puts among smaller blocks.
const LARGE: usize = 40 << 20;

/// A config file under watch.
pub struct Source {
    file: PathBuf,
    files: Vec<PathBuf>,
    /// What is in `files`, as far as is known.
    seen: Vec<Option<[u8; 32]>>,
    watch: Watch,
    touches: mpsc::Receiver<()>,
    hangups: Signal,
}

impl Source {
    /// Begins to watch; what changes from now on is not missed. Belongs in the runtime that [`follow`] will run in.
    ///
    /// # Errors
    /// When the signal handler cannot be installed. A file system that cannot be watched is no error: it is logged, and
    /// SIGHUP still works.
    pub fn watch(file: PathBuf, files: Vec<PathBuf>) -> io::Result<Self> {
        let hangups = signal(SignalKind::hangup())?;
        let (sender, touches) = mpsc::channel(1);
        let mut watch = Watch::new(sender);
        watch.set(&files);
        Ok(Self {
            seen: fingerprint(&files),
            file,
            files,
            watch,
            touches,
            hangups,
        })
    }

    /// Reads what is there, if it differs from what was seen or was asked for, and publishes it if it is good.
    fn reload(&mut self, publisher: &Publisher, asked: bool) {
        let found = fingerprint(&self.files);
        if !asked && found == self.seen {
            return;
        }
        let known = |portion: &PortionId| publisher.knows(portion);
        let outcome = match self.load(found, known) {
            Ok(config) if publisher.publish(&config).is_ok() => return,
            // Read as a whole, it says where the fault is.
            Ok(_) => self.load(fingerprint(&self.files), |_| false),
            Err(fault) => Err(fault),
        };
        match outcome {
            // Nothing is kept of it, so nothing can clash.
            Ok(config) => drop(publisher.publish(&config)),
            Err(ConfigError::Invalid { faults, .. }) => {
                publisher.refused(faults.iter().map(ToString::to_string).collect());
            }
            Err(unreadable @ ConfigError::Unreadable { .. }) => {
                publisher.refused(vec![unreadable.to_string()]);
            }
        }
    }

    /// Reads the file. The fingerprint is taken before, so that what changes meanwhile differs from it and is read again
    /// at its touch; files that are new to us are watched first and then read once more.
    fn load(
        &mut self,
        mut found: Vec<Option<[u8; 32]>>,
        known: impl Fn(&PortionId) -> bool,
    ) -> Result<Config, ConfigError> {
        let mut again = true;
        loop {
            self.seen = found;
            let loaded = config::load_but(&self.file, &known);
            let files = match &loaded {
                Ok(Config { files, .. }) | Err(ConfigError::Invalid { files, .. }) => files,
                Err(ConfigError::Unreadable { .. }) => return loaded,
            };
            self.watch.set(files);
            let settled = *files == self.files;
            self.files.clone_from(files);
            if settled || !again {
                return loaded;
            }
            again = false;
            found = fingerprint(&self.files);
        }
    }
}

/// Publishes every good configuration until `stop`.
pub async fn follow(mut source: Source, publisher: Arc<Publisher>, stop: CancellationToken) {
    // What it took to read the file at the start, or again, is free by then.
    let mut tidy = Box::pin(tokio::time::sleep(FREE_BY));
    let mut is_tidy = false;
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            () = &mut tidy, if !is_tidy => {
                is_tidy = true;
                give_back();
                continue;
            }
            hangup = source.hangups.recv() => hangup.is_some(),
            touch = source.touches.recv() => {
                if touch.is_none() { return }
                false
            }
        };
        if !asked {
            tokio::time::sleep(SETTLE).await;
            while source.touches.try_recv().is_ok() {}
        }
        // Reading, compiling and swapping take their time: the other control thread goes on with what waits here.
        tokio::task::block_in_place(|| source.reload(&publisher, asked));
        tidy.set(tokio::time::sleep(FREE_BY));
        is_tidy = false;
    }
}

/// Has the allocator give back what is free: it does so when a large block is freed, and not by itself. A file with a
/// million keys leaves more than the keys take. Nothing of the block is touched, so it costs two calls of the system.
fn give_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
}

/// What is in the files, so that a touch without a change reloads nothing.
fn fingerprint(files: &[PathBuf]) -> Vec<Option<[u8; 32]>> {
    files
        .iter()
        .map(|file| Some(*blake3::hash(&std::fs::read(file).ok()?).as_bytes()))
        .collect()
}

/// Watches folders, not files: editors and orchestrators replace files by renaming.
struct Watch {
    /// Names of our files. Bytes written to other files in their folders, such as a log, are none of our business.
    names: Arc<Mutex<HashSet<OsString>>>,
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

impl Watch {
    fn new(touched: mpsc::Sender<()>) -> Self {
        let names: Arc<Mutex<HashSet<OsString>>> = Arc::default();
        let ours = Arc::clone(&names);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| concerns(&event, &ours)) {
                // A full queue means that a touch is waiting already.
                let _ = touched.try_send(());
            }
        });
        let watcher = watcher.inspect_err(warn_unwatched).ok();
        Self {
            names,
            watcher,
            folders: BTreeSet::new(),
        }
    }

    /// The folders of these files, and those of the files that links among them lead to.
    fn set(&mut self, files: &[PathBuf]) {
        let real = files.iter().filter_map(|file| file.canonicalize().ok());
        let all: Vec<PathBuf> = files.iter().cloned().chain(real).collect();
        let wanted: BTreeSet<PathBuf> = all.iter().filter_map(|file| folder(file)).collect();
        let names = all
            .iter()
            .filter_map(|file| Some(file.file_name()?.to_owned()));
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names.collect();
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for gone in self.folders.difference(&wanted) {
            // A folder that is gone is not watched anyway.
            let _ = watcher.unwatch(gone);
        }
        for new in wanted.difference(&self.folders) {
            if let Err(fault) = watcher.watch(new, RecursiveMode::NonRecursive) {
                warn_unwatched(&fault);
            }
        }
        self.folders = wanted;
    }
}

/// Whether an event may mean another config: anything that happens to our files, and whatever comes, goes or is renamed in
/// their folders, since links may lead there.
fn concerns(event: &notify::Event, ours: &Mutex<HashSet<OsString>>) -> bool {
    match event.kind {
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => {
            let ours = ours.lock().unwrap_or_else(PoisonError::into_inner);
            event
                .paths
                .iter()
                .filter_map(|path| path.file_name())
                .any(|name| ours.contains(name))
        }
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

fn warn_unwatched(fault: &notify::Error) {
    tracing::warn!(error = %fault, "changes of the config file are not noticed; send SIGHUP to reload");
}

fn folder(file: &Path) -> Option<PathBuf> {
    let parent = file.parent()?;
    Some(if parent.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        parent.to_owned()
    })
}
