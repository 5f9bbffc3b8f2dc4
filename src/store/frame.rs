//! A file that proves itself: header with name and version, blocks, and a checksum over all of it at the end. It is written
//! beside its place and renamed when it is whole, so that nobody ever finds half of it there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes before the first block.
const HEADER: usize = 20;
/// Bytes of a checksum.
const SUM: usize = 32;
/// Larger blocks are never written.
const MAX_BLOCK: usize = 64 << 20;
/// Bytes that are read and written at a time.
const BUFFER: usize = 256 << 10;

/// What a file is.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// What it begins with.
    pub name: &'static [u8; 16],
    /// The only version that is written and read.
    pub version: u32,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FrameFault {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// It begins with other words.
    #[error("it is something else")]
    Foreign,
    /// Another version.
    #[error("it has version {0}, which this program does not read")]
    Version(u32),
    /// It is cut off, or was changed.
    #[error("it is damaged: its checksum is wrong")]
    Damaged,
    /// The checksum is right, and still it makes no sense.
    #[error("it cannot be understood")]
    Nonsense,
}

impl FrameFault {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable(fault) if fault.kind() == ErrorKind::NotFound)
    }
}

impl From<postcard::Error> for FrameFault {
    fn from(_: postcard::Error) -> Self {
        Self::Nonsense
    }
}

/// A file in the making; without [`FrameWriter::finish`] it never was.
#[derive(Debug)]
pub struct FrameWriter {
    out: BufWriter<File>,
    sum: blake3::Hasher,
    new: Beside,
    place: PathBuf,
}

/// The file beside the place; goes when it is dropped.
#[derive(Debug)]
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        // After the rename there is none.
        let _ = fs::remove_file(&self.0);
    }
}

impl FrameWriter {
    /// Begins a file that only its owner may read. Its folder is made if it is not there.
    pub fn create(place: &Path, format: Format) -> io::Result<Self> {
        let folder = folder(place);
        if !folder.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let mut new = place.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        // What a crash has left there might be open to others.
        match fs::remove_file(&new) {
            Err(fault) if fault.kind() != ErrorKind::NotFound => return Err(fault),
            Ok(()) | Err(_) => {}
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        let mut writer = Self {
            out: BufWriter::with_capacity(BUFFER, file),
            sum: blake3::Hasher::new(),
            new: Beside(new),
            place: place.to_owned(),
        };
        writer.put(format.name)?;
        writer.put(&format.version.to_le_bytes())?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.out.write_all(bytes)
    }

    /// One more block, which must not be empty.
    pub fn block(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.put(&length.to_le_bytes())?;
        self.put(bytes)
    }

    /// Puts the file in its place, in one step, once it is safe on the disk.
    pub fn finish(mut self) -> io::Result<()> {
        self.put(&0_u32.to_le_bytes())?;
        let sum = self.sum.finalize();
        self.out.write_all(sum.as_bytes())?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        fs::rename(&self.new.0, &self.place)?;
        File::open(folder(&self.place))?.sync_all()
    }
}

fn folder(place: &Path) -> &Path {
    place
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// A file whose checksum is right.
#[derive(Debug)]
pub struct FrameReader {
    input: BufReader<File>,
    block: Vec<u8>,
}

impl FrameReader {
    /// Opens a file and checks all of it.
    pub fn open(place: &Path, format: Format) -> Result<Self, FrameFault> {
        let mut file = File::open(place)?;
        let length = file.metadata()?.len();
        let mut header = [0; HEADER];
        if let Err(fault) = file.read_exact(&mut header) {
            return Err(cut_off(fault, FrameFault::Foreign));
        }
        let (name, version) = header.split_at(16);
        if name != format.name {
            return Err(FrameFault::Foreign);
        }
        let version = version
            .first_chunk()
            .map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if version != format.version {
            return Err(FrameFault::Version(version));
        }
        let covered = length
            .checked_sub((HEADER + SUM) as u64)
            .ok_or(FrameFault::Damaged)?;
        let mut sum = blake3::Hasher::new();
        sum.update(&header);
        let mut rest = (&file).take(covered);
        let mut buffer = vec![0; BUFFER];
        loop {
            match rest.read(&mut buffer)? {
                0 => break,
                read => sum.update(&buffer[..read]),
            };
        }
        let mut wanted = [0; SUM];
        file.read_exact(&mut wanted)
            .map_err(|fault| cut_off(fault, FrameFault::Damaged))?;
        if sum.finalize() != blake3::Hash::from_bytes(wanted) {
            return Err(FrameFault::Damaged);
        }
        file.seek(SeekFrom::Start(HEADER as u64))?;
        Ok(Self {
            input: BufReader::with_capacity(BUFFER, file),
            block: Vec::new(),
        })
    }

    /// Begins again with the first block.
    pub fn rewind(&mut self) -> io::Result<()> {
        self.input.seek(SeekFrom::Start(HEADER as u64))?;
        Ok(())
    }

    /// The block that comes next; `None`: there is no more.
    pub fn next_block(&mut self) -> Result<Option<&[u8]>, FrameFault> {
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_BLOCK {
            return Err(FrameFault::Nonsense);
        }
        if length == 0 {
            return Ok(None);
        }
        self.block.resize(length, 0);
        self.input.read_exact(&mut self.block)?;
        Ok(Some(&self.block))
    }
}

fn cut_off(fault: io::Error, meaning: FrameFault) -> FrameFault {
    if fault.kind() == ErrorKind::UnexpectedEof {
        meaning
    } else {
        fault.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const FORMAT: Format = Format {
        name: b"keygate  testing",
        version: 3,
    };

    fn write(place: &Path, blocks: &[&[u8]]) {
        let mut writer = FrameWriter::create(place, FORMAT).unwrap();
        for block in blocks {
            writer.block(block).unwrap();
        }
        writer.finish().unwrap();
    }

    fn read(place: &Path) -> Result<Vec<Vec<u8>>, FrameFault> {
        let mut reader = FrameReader::open(place, FORMAT)?;
        let mut all = Vec::new();
        while let Some(block) = reader.next_block()? {
            all.push(block.to_vec());
        }
        Ok(all)
    }

    #[test]
    fn what_was_written_is_read_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("made/file");
        write(&place, &[b"one", &vec![7; 300_000]]);
        write(&place, &[b"two", &vec![8; 300_000]]);
        assert_eq!(read(&place).unwrap(), [b"two".to_vec(), vec![8; 300_000]]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place), 0o600);
        assert_eq!(mode(place.parent().unwrap()), 0o700);
        let beside = fs::read_dir(place.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1);
    }

    #[test]
    fn what_was_not_finished_never_was() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("file");
        write(&place, &[b"old"]);
        let mut writer = FrameWriter::create(&place, FORMAT).unwrap();
        writer.block(b"new").unwrap();
        drop(writer);
        assert_eq!(read(&place).unwrap(), [b"old".to_vec()]);
        // What a crash leaves is no hindrance.
        std::mem::forget(FrameWriter::create(&place, FORMAT).unwrap());
        write(&place, &[b"new"]);
        assert_eq!(read(&place).unwrap(), [b"new".to_vec()]);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("file");
        assert!(read(&place).unwrap_err().is_missing());
        write(&place, &[b"one", b"two"]);
        let good = fs::read(&place).unwrap();
        for length in 0..good.len() {
            fs::write(&place, &good[..length]).unwrap();
            let fault = read(&place).unwrap_err();
            assert!(
                matches!(fault, FrameFault::Foreign | FrameFault::Damaged),
                "{length}: {fault:?}"
            );
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&place, &bad).unwrap();
            let fault = read(&place).unwrap_err();
            let told = match bit / 8 {
                0..16 => matches!(fault, FrameFault::Foreign),
                16..20 => matches!(fault, FrameFault::Version(_)),
                _ => matches!(fault, FrameFault::Damaged),
            };
            assert!(told, "{bit}: {fault:?}");
        }
        let mut longer = good.clone();
        longer.push(0);
        fs::write(&place, longer).unwrap();
        assert!(matches!(read(&place), Err(FrameFault::Damaged)));
    }
}
