//! Walks through a tar that comes in pieces: which entries there are, and their content.
//!
//! The invariant: whatever comes, memory stays bounded and nothing is written anywhere; what is no tar has no entries. Deliberately elsewhere:
//! long names, which are only shown to people and shown as the short header has them.

const BLOCK: usize = 512;

/// Where a walk is.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    header: Vec<u8>,
    /// Bytes of the entry's content that are still to come, and of what fills its last block.
    content: u64,
    filling: u64,
    /// How much was taken so far.
    at: u64,
    over: bool,
}

/// A piece of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// An entry begins.
    Entry {
        /// As its header has it.
        name: String,
        /// Bytes of content.
        size: u64,
        /// Where its header begins.
        at: u64,
    },
    /// Content of the entry that began last.
    Content(&'a [u8]),
}

impl Walk {
    /// Takes the next part from the beginning of `bytes`; `None` when more has to come, or nothing will.
    pub(crate) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Part<'a>> {
        loop {
            if self.over || bytes.is_empty() {
                return None;
            }
            if self.content > 0 {
                let piece = self.take(bytes, self.content);
                self.content -= piece.len() as u64;
                return Some(Part::Content(piece));
            }
            if self.filling > 0 {
                let piece = self.take(bytes, self.filling);
                self.filling -= piece.len() as u64;
                continue;
            }
            let piece = self.take(bytes, (BLOCK - self.header.len()) as u64);
            self.header.extend_from_slice(piece);
            if self.header.len() < BLOCK {
                return None;
            }
            let Some((name, size)) = entry(&self.header) else {
                self.over = true;
                return None;
            };
            self.header.clear();
            self.content = size;
            self.filling = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
            return Some(Part::Entry { name, size, at: self.at - BLOCK as u64 });
        }
    }

    fn take<'a>(&mut self, bytes: &mut &'a [u8], most: u64) -> &'a [u8] {
        let (piece, rest) = bytes.split_at(usize::try_from(most).map_or(bytes.len(), |most| most.min(bytes.len())));
        *bytes = rest;
        self.at += piece.len() as u64;
        piece
    }
}

/// Name and size, if this is a header (POSIX.1-1988 "ustar", and GNU's larger sizes).
fn entry(header: &[u8]) -> Option<(String, u64)> {
    let sum: u64 = header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum();
    if number(&header[148..156])? != sum {
        return None;
    }
    let text = |field: &[u8]| {
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        String::from_utf8_lossy(&field[..end]).into_owned()
    };
    let (mut name, prefix) = (text(&header[..100]), text(&header[345..500]));
    if header[257..].starts_with(b"ustar\0") && !prefix.is_empty() {
        name = format!("{prefix}/{name}");
    }
    // Links, devices and folders have no content, whatever they say.
    let size = if matches!(header[156], b'1'..=b'6') { 0 } else { number(&header[124..136])? };
    Some((name, size))
}

/// Octal digits, or a binary number where the first bit says so.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        return field[1..].iter().try_fold(u64::from(field[0] & 0x7f), |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)));
    }
    let digits = String::from_utf8_lossy(field);
    u64::from_str_radix(digits.trim_matches(['\0', ' ']), 8).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An archive of these files.
    pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, content) in files {
            let mut header = [0_u8; BLOCK];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
            header[148..156].copy_from_slice(b"        ");
            header[156] = b'0';
            header[257..263].copy_from_slice(b"ustar\0");
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            out.extend_from_slice(&header);
            out.extend_from_slice(content);
            out.resize(out.len().next_multiple_of(BLOCK), 0);
        }
        out.resize(out.len() + 2 * BLOCK, 0);
        out
    }

    #[test]
    fn entries_come_out_wherever_the_stream_is_cut() {
        let whole = archive(&[("a/first", b"one"), ("empty", b""), ("b", &[7; 1000])]);
        for size in [1, 7, 511, 512, 513, whole.len()] {
            let (mut walk, mut names, mut content) = (Walk::default(), Vec::new(), Vec::new());
            for mut piece in whole.chunks(size) {
                while let Some(part) = walk.next(&mut piece) {
                    match part {
                        Part::Entry { name, size, at } => names.push((name, size, at)),
                        Part::Content(bytes) => content.extend_from_slice(bytes),
                    }
                }
            }
            assert_eq!(names, [("a/first".to_owned(), 3, 0), ("empty".to_owned(), 0, 1024), ("b".to_owned(), 1000, 1536)], "{size}");
            assert_eq!(content, [b"one".as_slice(), &[7; 1000]].concat());
        }
    }

    #[test]
    fn what_gnu_tar_writes_is_read_too() {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("x"), "content").expect("file");
        std::os::unix::fs::symlink("x", folder.path().join("y")).expect("link");
        let written = std::process::Command::new("tar").args(["--create", "x", "y"]).current_dir(folder.path()).output().expect("tar");
        let (mut walk, mut rest, mut names) = (Walk::default(), written.stdout.as_slice(), Vec::new());
        while let Some(part) = walk.next(&mut rest) {
            names.extend(if let Part::Entry { name, size, .. } = part { Some((name, size)) } else { None });
        }
        assert_eq!(names, [("x".to_owned(), 7), ("y".to_owned(), 0)]);
    }

    #[test]
    fn what_is_no_tar_has_no_entries() {
        for rubbish in [[0xff; 2048], [0; 2048], [b'7'; 2048]] {
            assert_eq!(Walk::default().next(&mut rubbish.as_slice()), None);
        }
    }
}
