//! Files appear whole or not at all.

use super::IoError;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes a file through a temporary one in the same folder, which takes the place of `path` once its content is on
/// the disk. After an error `path` is as it was and nothing else is left in the folder; on Linux that holds for a
/// program that is killed while it writes, too, where the file system has files without names.
///
/// What stands at `path` already must be a regular file, or a symbolic link to one, which stays.
pub fn write_atomically(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), IoError> {
    let failed = |error| IoError::system(path, "write")(error);
    // Renaming over a device such as /dev/null would replace it.
    if fs::metadata(path).is_ok_and(|existing| !existing.is_file()) {
        return Err(IoError::NotRegular { path: path.to_owned() });
    }
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Dropping the temporary file on an early return deletes it.
    let mut file = Temporary::new(folder).map_err(failed)?;
    let mut writer = BufWriter::new(file.file());
    content(&mut writer).and_then(|()| writer.flush()).map_err(failed)?;
    drop(writer);
    file.file().sync_all().map_err(failed)?;
    file.persist(folder, &target).map_err(failed)
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
        let folder = tempfile::tempdir().unwrap();
        if unnamed::create(folder.path()).is_err() {
            return eprintln!("skipped: {} has no files without names", folder.path().display());
        }
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
        let error = write_atomically(&folder.path().join("absent/a.txt"), |_| Ok(())).unwrap_err();
        assert!(matches!(error, IoError::System { action: "write", .. }), "{error}");
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
