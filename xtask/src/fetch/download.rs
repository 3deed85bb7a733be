//! One file into the cache: under its hash once it is whole, and under another name until then.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use llorch_weights::hub::{Cache, Repo};

use super::hub::{Download, Hub};
use super::listing::Entry;

/// How often a file is asked for when the connection breaks off, before the user is.
const ATTEMPTS: usize = 5;

/// A commit of a repository, on the hub and in the cache.
pub struct Source<'a> {
    pub hub: &'a Hub,
    pub cache: &'a Cache,
    pub repo: &'a Repo,
    pub commit: &'a str,
}

/// A file that is in the cache, whole and checked.
pub struct Fetched {
    pub blob: PathBuf,
    /// Bytes that came over the network for it.
    pub received: u64,
}

impl Source<'_> {
    /// Brings a file into the cache, unless it is there. Its size and hash have been checked either way.
    pub fn fetch(&self, file: &Entry) -> Result<Fetched> {
        let blobs = self.cache.folder(self.repo).join("blobs");
        create_dir(&blobs)?;
        let _lock = self.lock(file)?;
        let blob = blobs.join(file.digest.hex());
        if blob.is_file() && problem(file, &blob)?.is_none() {
            return Ok(Fetched { blob, received: 0 });
        }
        let partial = blobs.join(format!("{}.incomplete", file.digest.hex()));
        let received = self.download_checked(file, &partial)?;
        fs::rename(&partial, &blob)
            .with_context(|| format!("cannot rename {}", partial.display()))?;
        Ok(Fetched { blob, received })
    }

    /// Downloads what is still missing of a file. What turns out wrong is removed; and where a part of it was
    /// there before, that part may be to blame, and all is asked for once more.
    fn download_checked(&self, file: &Entry, partial: &Path) -> Result<u64> {
        let mut received = 0;
        loop {
            let came = self.download(file, partial)?;
            received += came;
            let Some(problem) = problem(file, partial)? else {
                return Ok(received);
            };
            fs::remove_file(partial)
                .with_context(|| format!("cannot remove {}", partial.display()))?;
            if came >= file.size {
                bail!("{}: {problem}; nothing of it is kept", file.name);
            }
        }
    }

    /// Appends to the partial file until it is as long as it should be, and counts the bytes that came.
    fn download(&self, file: &Entry, partial: &Path) -> Result<u64> {
        let mut received = 0;
        for attempt in 1.. {
            let mut part = Part::open(partial, file)?;
            if part.length == file.size {
                part.file
                    .sync_all()
                    .with_context(|| cannot_write(partial))?;
                break;
            }
            let download = self.hub.open(self.repo, self.commit, file, part.length)?;
            let came = part.append(download);
            received += part.received;
            match came {
                Err(Trouble::Here(error)) => return Err(error),
                Err(Trouble::There(_)) if part.received > 0 && attempt < ATTEMPTS => {}
                Err(Trouble::There(error)) => {
                    return Err(error.context(format!(
                        "{} broke off after {} of {} bytes; the same command goes on from there",
                        file.name, part.length, file.size
                    )));
                }
                Ok(()) => {}
            }
        }
        Ok(received)
    }

    /// Keeps other processes from writing the same file, Hugging Face's own tools included.
    fn lock(&self, file: &Entry) -> Result<File> {
        let locks = self.cache.locks(self.repo);
        create_dir(&locks)?;
        let path = locks.join(format!("{}.lock", file.digest.hex()));
        let lock = File::create(&path).with_context(|| cannot_write(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(lock),
            Err(TryLockError::WouldBlock) => {
                bail!("{}: another process is fetching it", file.name)
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }
}

/// Whose fault it is that a file did not come whole.
enum Trouble {
    /// The disk's.
    Here(Error),
    /// The connection's: asking again may help.
    There(Error),
}

/// What has come of a file so far.
struct Part<'a> {
    file: File,
    path: &'a Path,
    entry: &'a Entry,
    length: u64,
    received: u64,
}

impl<'a> Part<'a> {
    fn open(path: &'a Path, entry: &'a Entry) -> Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = file.with_context(|| cannot_write(path))?;
        let length = file.metadata().with_context(|| cannot_write(path))?.len();
        let mut part = Part {
            file,
            path,
            entry,
            length,
            received: 0,
        };
        if part.length > entry.size {
            part.empty()?;
        }
        Ok(part)
    }

    fn empty(&mut self) -> Result<()> {
        self.file
            .set_len(0)
            .with_context(|| cannot_write(self.path))?;
        self.length = 0;
        Ok(())
    }

    /// Writes what comes, to the file's listed length and not a byte further.
    fn append(&mut self, download: Download) -> Result<(), Trouble> {
        // From the start, although the rest was asked for: some servers know no ranges.
        if download.from < self.length {
            self.empty().map_err(Trouble::Here)?;
        }
        let bar = bar(self.entry, self.length);
        let mut body = download.body.into_reader();
        let mut piece = vec![0; 1 << 16];
        loop {
            let count = match body.read(&mut piece) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Trouble::There(error.into())),
            };
            let missing = self.entry.size - self.length;
            if count as u64 > missing {
                let name = &self.entry.name;
                let size = self.entry.size;
                let error = format!("{name}: expected {size} bytes as listed, more are coming");
                return Err(Trouble::Here(Error::msg(error)));
            }
            if count == 0 {
                let end = io::Error::from(io::ErrorKind::UnexpectedEof);
                return match missing {
                    0 => Ok(()),
                    _ => Err(Trouble::There(end.into())),
                };
            }
            let written = self.file.write_all(&piece[..count]);
            let written = written.with_context(|| {
                format!("{} ({missing} bytes are to come)", cannot_write(self.path))
            });
            written.map_err(Trouble::Here)?;
            self.length += count as u64;
            self.received += count as u64;
            bar.set_position(self.length);
        }
    }
}

/// What is wrong with a file, if anything is.
fn problem(file: &Entry, path: &Path) -> Result<Option<String>> {
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if metadata.len() != file.size {
        return Ok(Some(format!(
            "expected {} bytes, found {}",
            file.size,
            metadata.len()
        )));
    }
    let found = file.digest.of_file(path)?;
    Ok((found != file.digest).then(|| format!("expected {}, found {found}", file.digest)))
}

/// Shown on a terminal only, and gone when it is dropped.
fn bar(file: &Entry, from: u64) -> ProgressBar {
    let bar = ProgressBar::new(file.size)
        .with_message(file.name.clone())
        .with_finish(ProgressFinish::AndClear);
    let style = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    // What was there is no speed.
    bar.set_position(from);
    bar.tick();
    bar.reset_eta();
    bar
}

pub fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}
