//! What a destination remembers over restarts: a line in the file `state` of its directory.

use std::fs;
use std::io;
use std::path::Path;

use tsdb::tail::TailPosition;

use super::disk::Place;

const STATE: &str = "state";

/// What is remembered over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) tail: TailPosition,
    pub(super) queue: Place,
    pub(super) lanes: u32,
}

impl Saved {
    pub(super) fn read(directory: &Path) -> Option<Self> {
        let text = fs::read_to_string(directory.join(STATE)).ok()?;
        let mut words = text.split_whitespace();
        let tail = words.next()?.parse().ok()?;
        let (file, offset) = words.next()?.split_once(':')?;
        let queue = Place { file: file.parse().ok()?, offset: offset.parse().ok()? };
        Some(Self { tail, queue, lanes: words.next()?.parse().ok()? })
    }

    pub(super) fn write(self, directory: &Path) -> io::Result<()> {
        let temporary = directory.join("state.tmp");
        let Self { tail, queue, lanes } = self;
        fs::write(&temporary, format!("{tail} {}:{} {lanes}\n", queue.file, queue.offset))?;
        fs::File::open(&temporary)?.sync_data()?;
        fs::rename(&temporary, directory.join(STATE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Saved::read(dir.path()), None);
        let saved = Saved { tail: "3:77/1:5".parse().unwrap(), queue: Place { file: 4, offset: 9 }, lanes: 2 };
        saved.write(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(STATE)).unwrap(), "3:77/1:5 4:9 2\n");
        assert_eq!(Saved::read(dir.path()), Some(saved));
        fs::write(dir.path().join(STATE), "nonsense").unwrap();
        assert_eq!(Saved::read(dir.path()), None);
    }
}
