//! The configuration on disk: read at start, replaced as a whole at each commit.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};

use rustix::event::{EventfdFlags, eventfd};
use zeroize::Zeroizing;

use crate::exit::Exit;
use crate::privileges;

/// Largest configuration that is read, bytes.
const SIZE_MAX: u64 = 64 << 20;
/// Orders that may wait for a disk that hangs.
const ORDERS_MAX: usize = 4;

/// Where the configuration comes from and where it goes.
#[derive(Clone, Debug)]
pub struct Place {
    /// Read at start.
    pub source: PathBuf,
    /// Rewritten by a commit.
    pub target: PathBuf,
}

impl Place {
    /// `configuration` is both, unless a state folder is given: then commits go into its `config.adit`, which is also
    /// what is read once it exists.
    pub fn new(configuration: &Path, state: Option<&Path>) -> Result<Self, Exit> {
        let Some(state) = state else {
            // Through a link the file is replaced, not the link.
            let target = fs::canonicalize(configuration).map_err(|error| unreadable(configuration, &error))?;
            return Ok(Self { source: configuration.to_owned(), target });
        };
        if !state.is_dir() {
            fs::DirBuilder::new()
                .recursive(true)
                .create(state)
                .and_then(|()| fs::set_permissions(state, fs::Permissions::from_mode(0o700)))
                .map_err(|error| Exit::failed(format!("{} cannot be made: {error}", state.display())))?;
        }
        let target = state.join("config.adit");
        let source = if target.exists() { target.clone() } else { configuration.to_owned() };
        Ok(Self { source, target })
    }
}

/// Reads a whole configuration. It holds keys: it is wiped when it is done with.
pub fn read(path: &Path) -> Result<Zeroizing<String>, Exit> {
    let unreadable = |error: io::Error| unreadable(path, &error);
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(SIZE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|size| size > SIZE_MAX) {
        return Err(Exit::usage(format!("{} is larger than {} MiB", path.display(), SIZE_MAX >> 20)));
    }
    String::from_utf8(bytes).map(Zeroizing::new).map_err(|error| {
        let line = error.as_bytes().iter().take(error.utf8_error().valid_up_to()).filter(|byte| **byte == b'\n');
        Exit::usage(format!("{}:{}: not UTF-8 text", path.display(), line.count().saturating_add(1)))
    })
}

/// The permissions of a file with keys in it, and what they let others than its owner do with it, if anything.
pub fn open_to_others(path: &Path) -> Option<(u32, &'static str)> {
    let mode = fs::metadata(path).ok()?.mode() & 0o777;
    let others = match (mode & 0o044 != 0, mode & 0o022 != 0) {
        (true, true) => "read and write",
        (true, false) => "read",
        (false, true) => "write",
        (false, false) => return None,
    };
    Some((mode, others))
}

/// Why a configuration cannot be read, and what helps where it is not there.
fn unreadable(path: &Path, error: &io::Error) -> Exit {
    let path = path.display();
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => {
            format!("; name the configuration file, or make an empty one with `install -m 600 /dev/null {path}`")
        }
        _ => String::new(),
    };
    Exit::usage(format!("{path} cannot be read: {error}{remedy}"))
}

/// True when the file, or where it does not exist its folder, belongs to somebody else.
pub fn is_foreign(path: &Path) -> bool {
    let place = if path.exists() { path } else { path.parent().unwrap_or(path) };
    fs::metadata(place).is_ok_and(|metadata| metadata.uid() != rustix::process::geteuid().as_raw())
}

/// Replaces the file so that after a power cut it is wholly the old or wholly the new one. Mode and owner stay; a new
/// file is for its owner alone.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let passing = folder.join(format!(".{name}.new"));
    // What an interrupted attempt left.
    match fs::remove_file(&passing) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_new(&passing, path, text).and_then(|()| fs::rename(&passing, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&passing);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

fn write_new(passing: &Path, like: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(passing)?;
    if let Ok(old) = fs::metadata(like) {
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A configuration to be written. It holds keys: it is wiped when it is done with.
type Order = (u64, Zeroizing<String>);

/// Writes configurations on a thread of its own: a slow disk does not keep packets waiting.
pub struct Writer {
    jobs: SyncSender<Order>,
    results: Receiver<(u64, Result<(), String>)>,
    bell: OwnedFd,
}

impl Writer {
    /// Starts the thread; it ends with this value.
    pub fn start(target: PathBuf) -> io::Result<Self> {
        Self::start_with(move |text| {
            replace(&target, text).map_err(|error| format!("{} cannot be written: {error}", target.display()))
        })
    }

    fn start_with(write: impl Fn(&str) -> Result<(), String> + Send + 'static) -> io::Result<Self> {
        let (jobs, orders) = sync_channel::<Order>(ORDERS_MAX);
        let (done, results) = channel();
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let ring = bell.try_clone()?;
        std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            privileges::leave_the_network();
            for (ticket, text) in orders {
                if done.send((ticket, write(&text))).is_err() {
                    return;
                }
                // Fails only when 2^64 - 1 rings are waiting.
                let _ = rustix::io::write(&ring, &1_u64.to_ne_bytes());
            }
        })?;
        Ok(Self { jobs, results, bell })
    }

    /// Orders a configuration to be written.
    pub fn store(&self, ticket: u64, text: String) -> Result<(), String> {
        self.jobs.try_send((ticket, Zeroizing::new(text))).map_err(|error| match error {
            TrySendError::Full(_) => "the disk has not finished the orders before".to_owned(),
            TrySendError::Disconnected(_) => "the thread that writes has ended".to_owned(),
        })
    }

    /// The next order that is done, if any.
    pub fn finished(&self) -> Option<(u64, Result<(), String>)> {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        self.results.try_recv().ok()
    }
}

impl AsFd for Writer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("adit-store-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_leaves_nothing_beside_it() {
        let folder = Folder::new("mode");
        let file = folder.0.join("hq.adit");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(folder.0.join(".hq.adit.new"), "torn").unwrap();
        replace(&file, "new").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o640);
        assert_eq!(names(&folder.0), ["hq.adit"]);
    }

    #[test]
    fn a_new_file_is_for_its_owner_alone() {
        let folder = Folder::new("new");
        let file = folder.0.join("config.adit");
        replace(&file, "text").unwrap();
        assert_eq!(open_to_others(&file), None);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_others_may_do_with_a_file_is_told() {
        let folder = Folder::new("others");
        let file = folder.0.join("hq.adit");
        fs::write(&file, "text").unwrap();
        let cases = [(0o644, Some("read")), (0o620, Some("write")), (0o660, Some("read and write")), (0o711, None)];
        for (mode, others) in cases {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(open_to_others(&file), others.map(|others| (mode, others)), "{mode:o}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_can_be_made() {
        let error = read(Path::new("/nowhere/hq.adit")).unwrap_err();
        assert!(error.message().ends_with("`install -m 600 /dev/null /nowhere/hq.adit`"), "{}", error.message());
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error_for_people() {
        let folder = Folder::new("gone");
        let writer = Writer::start(folder.0.join("absent/config.adit")).unwrap();
        writer.store(7, "text".to_owned()).unwrap();
        let (ticket, result) = loop {
            if let Some(finished) = writer.finished() {
                break finished;
            }
            std::thread::yield_now();
        };
        assert_eq!(ticket, 7);
        assert!(result.unwrap_err().contains("config.adit cannot be written: No such file"));
    }

    #[test]
    fn a_disk_that_hangs_is_given_a_few_orders_and_no_more() {
        let (go, let_go) = channel::<()>();
        let writer = Writer::start_with(move |_| let_go.recv().map_err(|error| error.to_string())).unwrap();
        let refused = (0..=ORDERS_MAX as u64 + 1).find_map(|ticket| writer.store(ticket, "text".to_owned()).err());
        assert_eq!(refused.as_deref(), Some("the disk has not finished the orders before"));
        drop(go);
    }

    #[test]
    fn a_state_folder_takes_over_from_the_configuration_once_something_was_committed() {
        let folder = Folder::new("state");
        let configuration = folder.0.join("first.adit");
        fs::write(&configuration, "first").unwrap();
        let state = folder.0.join("state");
        let place = Place::new(&configuration, Some(&state)).unwrap();
        assert_eq!(place.source, configuration);
        replace(&place.target, "committed").unwrap();
        assert_eq!(Place::new(&configuration, Some(&state)).unwrap().source, state.join("config.adit"));
        assert_eq!(fs::read_to_string(&configuration).unwrap(), "first");
    }

    #[test]
    fn a_link_is_written_through() {
        let folder = Folder::new("link");
        let (file, link) = (folder.0.join("real.adit"), folder.0.join("link.adit"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let place = Place::new(&link, None).unwrap();
        replace(&place.target, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }
}
