//! Files appear whole or not at all.

use super::{IoError, STREAM};
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes a file through a temporary one in the same folder, which takes the place of `path` once its content is on
/// the disk. After an error `path` is as it was and nothing else is left in the folder; on Linux that holds for a
/// program that is killed while it writes, too, where the file system has files without names.
///
/// A symbolic link stays, and the file that it names is replaced, or made; a file that is replaced leaves its
/// permissions to the new one, and its owner as far as the system lets it. `-` is standard output; it, pipes and devices are written as they are, and a reader that
/// goes away before the end has had what it wanted.
///
/// # Errors
/// What the system refuses; also a folder at `path`, and a file that nobody may write.
pub fn write_atomically(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), IoError> {
    let failed = |error| IoError::system(path, "write")(error);
    match Target::of(path)? {
        Target::Stdout => write_stream(io::stdout().lock(), content).map_err(failed),
        Target::Stream => {
            let stream = OpenOptions::new().write(true).open(path).map_err(failed)?;
            write_stream(stream, content).map_err(failed)
        }
        Target::File { path: target, existing } => {
            let folder = folder_of(&target);
            // Dropping the temporary file on an early return deletes it.
            let mut file = Temporary::new(folder).map_err(failed)?;
            write_to(file.file(), content).map_err(failed)?;
            if let Some(existing) = existing {
                inherit(file.file(), &existing).map_err(failed)?;
            }
            file.file().sync_all().map_err(failed)?;
            file.persist(folder, &target).map_err(failed)
        }
    }
}

/// Whether [`write_atomically`] could begin now, for those who first work for long.
///
/// # Errors
/// The same.
pub fn check_writable(path: &Path) -> Result<(), IoError> {
    match Target::of(path)? {
        Target::Stdout | Target::Stream => Ok(()),
        Target::File { path: target, .. } => {
            Temporary::new(folder_of(&target)).map(drop).map_err(IoError::system(path, "write"))
        }
    }
}

/// Whether [`create_folder`] and files in it could be made now, for those who first work for long.
///
/// # Errors
/// The same.
pub fn check_folder(folder: &Path) -> Result<(), IoError> {
    let failed = IoError::system(folder, if folder.exists() { "write" } else { "create" });
    let existing = folder.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    let existing = existing.into_iter().find(|path| path.symlink_metadata().is_ok()).unwrap_or(Path::new("."));
    // An error without the temporary name.
    Temporary::new(existing).map(drop).map_err(|error| failed(error.kind().into()))
}

/// Makes a folder, and those around it, if need be.
pub fn create_folder(folder: &Path) -> Result<(), IoError> {
    fs::create_dir_all(folder).map_err(IoError::system(folder, "create"))
}

/// The user's folder for what can be made again; `None` where there is no home.
pub fn cache_folder() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(folder.join("svertka"))
}

/// Whether a path means standard output.
pub fn is_stdout(path: &Path) -> bool {
    [STREAM, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path == Path::new(name))
}

/// What a path that is to be written leads to.
enum Target {
    Stdout,
    /// A pipe or a device.
    Stream,
    /// A file, or where one is to be.
    File {
        /// Behind all links.
        path: PathBuf,
        /// Of the file that is there.
        existing: Option<fs::Metadata>,
    },
}

/// As Linux: a longer chain is taken for a circle.
const MAX_LINKS: usize = 40;

impl Target {
    fn of(path: &Path) -> Result<Target, IoError> {
        if is_stdout(path) {
            return Ok(Target::Stdout);
        }
        let failed = |error| IoError::system(path, "write")(error);
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(IoError::NotRegular { path: path.to_owned() }),
            // Renaming over a device such as /dev/null would replace it.
            Ok(found) if !found.is_file() => Ok(Target::Stream),
            Ok(found) => {
                let target = behind_links(path).map_err(failed)?;
                writable(&target, &found).map_err(failed)?;
                Ok(Target::File { path: target, existing: Some(found) })
            }
            Err(_) => Ok(Target::File { path: behind_links(path).map_err(failed)?, existing: None }),
        }
    }
}

/// Replacing a file asks for the permission to write its folder only; this asks for the file's own, which who marked
/// it read-only took away from the superuser too.
fn writable(path: &Path, found: &fs::Metadata) -> io::Result<()> {
    if found.permissions().readonly() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    OpenOptions::new().write(true).open(path).map(drop)
}

/// Gives a new file what the one that it replaces had. Only the superuser can give a file away: without that the owner
/// is whoever writes it.
fn inherit(file: &fs::File, existing: &fs::Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        // Before the permissions, of which this takes some away.
        let _ = fchown(file, Some(existing.uid()), Some(existing.gid()));
    }
    file.set_permissions(existing.permissions())
}

/// Where a chain of symbolic links ends, whether or not there is a file.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// The folder that a file lies in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_stream(out: impl Write, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    match write_to(out, content) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

fn write_to(out: impl Write, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::new(out);
    content(&mut writer)?;
    writer.flush()
}

/// A file that is gone with this program, unless it is persisted.
enum Temporary {
    /// The system deletes it, even if the program is killed.
    #[cfg(target_os = "linux")]
    Unnamed(fs::File),
    Named(tempfile::NamedTempFile),
}

impl Temporary {
    fn new(folder: &Path) -> io::Result<Temporary> {
        // Asked beforehand, for an error without the temporary name.
        if !fs::metadata(folder)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        #[cfg(target_os = "linux")]
        if let Ok(file) = unnamed::create(folder) {
            return Ok(Temporary::Unnamed(file));
        }
        builder().tempfile_in(folder).map(Temporary::Named)
    }

    fn file(&mut self) -> &mut fs::File {
        match self {
            #[cfg(target_os = "linux")]
            Temporary::Unnamed(file) => file,
            Temporary::Named(file) => file.as_file_mut(),
        }
    }

    /// Puts it in the place of `target`, which lies in `folder`.
    fn persist(self, folder: &Path, target: &Path) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Temporary::Unnamed(file) => {
                // A name cannot be given to it while another file has it, so it gets one of its own first.
                let named = builder().make_in(folder, |path| unnamed::link(&file, path))?;
                named.persist(target).map_err(|error| error.error)
            }
            Temporary::Named(file) => file.persist(target).map(drop).map_err(|error| error.error),
        }
    }
}

/// Files without names: open(2), O_TMPFILE.
#[cfg(target_os = "linux")]
mod unnamed {
    use super::{Path, fs, io};
    use rustix::fs::{AtFlags, CWD, Mode, OFlags};
    use std::os::fd::AsRawFd;

    pub fn create(folder: &Path) -> io::Result<fs::File> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(folder, flags, Mode::from_raw_mode(0o666))?.into())
    }

    pub fn link(file: &fs::File, path: &Path) -> io::Result<()> {
        let from = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, from, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }
}

/// The default of `tempfile` lets only the owner read the file; the umask decides here, as for any other file.
fn builder() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn replaces_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        for text in ["old and long", "new"] {
            write_atomically(&path, |out| out.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn leaves_nothing_behind_after_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let half = |out: &mut dyn Write| {
            out.write_all(b"half")?;
            Err(io::Error::other("the writer failed"))
        };
        assert!(write_atomically(&path, half).unwrap_err().to_string().contains("the writer failed"));
        assert!(names(folder.path()).is_empty());
        fs::write(&path, "old").unwrap();
        write_atomically(&path, half).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    }

    /// So nothing is left behind by a program that is killed now.
    #[cfg(target_os = "linux")]
    #[test]
    fn no_name_is_visible_before_the_file_is_complete() {
        // Not every file system has files without names; this one does.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let look = |out: &mut dyn Write| {
            out.write_all(&[1; 100_000])?;
            assert!(names(folder.path()).is_empty());
            Ok(())
        };
        write_atomically(&folder.path().join("a.txt"), look).unwrap();
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn refuses_to_replace_what_is_not_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_atomically(folder.path(), |_| Ok(())).unwrap_err();
        assert!(matches!(error, IoError::NotRegular { .. }), "{error}");
        let absent = folder.path().join("absent/a.txt");
        for error in [write_atomically(&absent, |_| Ok(())), check_writable(&absent)].map(Result::unwrap_err) {
            assert!(matches!(error, IoError::System { action: "write", .. }), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_nowhere_yet_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("second", &link).unwrap();
        std::os::unix::fs::symlink("file", folder.path().join("second")).unwrap();
        write_atomically(&link, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "new");
        std::os::unix::fs::symlink("circle", folder.path().join("circle")).unwrap();
        let error = write_atomically(&folder.path().join("circle"), |_| Ok(())).unwrap_err().to_string();
        assert!(error.ends_with("too many symbolic links"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_kept_and_obeyed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for wanted in [0o600, 0o664] {
            fs::set_permissions(&path, PermissionsExt::from_mode(wanted)).unwrap();
            write_atomically(&path, |out| out.write_all(b"new")).unwrap();
            assert_eq!((mode(&path), fs::read_to_string(&path).unwrap().as_str()), (wanted, "new"));
        }
        fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
        for error in [write_atomically(&path, |_| Ok(())), check_writable(&path)] {
            assert!(error.unwrap_err().to_string().ends_with("cannot write: permission denied"));
        }
    }

    #[cfg(unix)]
    #[test]
    #[cfg_attr(not(tool = "superuser"), ignore = "needs a superuser, who can give files away")]
    fn the_owner_keeps_the_file() {
        use std::os::unix::fs::{MetadataExt, chown};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        fs::write(&path, "old").unwrap();
        chown(&path, Some(12_345), Some(12_345)).unwrap();
        write_atomically(&path, |out| out.write_all(b"new")).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (12_345, 12_345));
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_written_as_they_are() {
        write_atomically(Path::new("/dev/null"), |out| out.write_all(b"gone")).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        if cfg!(target_os = "linux") {
            let error = write_atomically(Path::new("/dev/full"), |out| out.write_all(b"a")).unwrap_err();
            assert!(error.to_string().contains("No space left on device"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomically(&link, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
