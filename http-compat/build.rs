//! Takes the files of Swagger UI that `/docs` needs, and their licence, out of the archive in which a crate brings it.
//!
//! In an archive each file stands compressed as gzip has it, so it is framed anew and never unpacked: the
//! binary holds 0.4 MB of it instead of 4, and browsers unpack it.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED as ARCHIVE;

const FILES: [&str; 4] = ["dist/swagger-ui-bundle.js", "dist/swagger-ui.css", "LICENSE", "NOTICE"];

/// Begins the entry of a file in the directory at the archive's end.
const ENTRY: [u8; 4] = *b"PK\x01\x02";
/// Begins that directory's own end.
const END: [u8; 4] = *b"PK\x05\x06";
const ENTRY_BYTES: usize = 46;
const HEAD_BYTES: usize = 30;
const STORED: usize = 0;
const DEFLATED: usize = 8;

/// A gzip's start: deflate, no name, no time, no system.
const GZIP: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    let folder = env::var("OUT_DIR")?;
    for name in FILES {
        let gzip = find(name).ok_or("the archive of Swagger UI is another")?;
        let name = name.trim_start_matches("dist/");
        fs::write(Path::new(&folder).join(format!("{name}.gz")), gzip)?;
    }
    Ok(())
}

/// The number of `N` bytes there, the least byte first.
fn number<const N: usize>(at: usize) -> Option<usize> {
    let bytes = ARCHIVE.get(at..at + N)?;
    Some(bytes.iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte)))
}

/// A file of that name within the archive's one folder, as gzip.
fn find(name: &str) -> Option<Vec<u8>> {
    let end = ARCHIVE.windows(4).rposition(|four| four == END)?;
    let mut at = number::<4>(end + 16)?;
    while ARCHIVE.get(at..at + 4)? == ENTRY {
        let [named, extra, note] =
            [number::<2>(at + 28)?, number::<2>(at + 30)?, number::<2>(at + 32)?];
        let text = ARCHIVE.get(at + ENTRY_BYTES..at + ENTRY_BYTES + named)?;
        let slash = text.iter().position(|byte| *byte == b'/')?;
        if text[slash + 1..] == *name.as_bytes() {
            return framed(at);
        }
        at += ENTRY_BYTES + named + extra + note;
    }
    None
}

/// The file of this entry.
fn framed(entry: usize) -> Option<Vec<u8>> {
    let way = number::<2>(entry + 10)?;
    let (sum, size) = (ARCHIVE.get(entry + 16..entry + 20)?, number::<4>(entry + 20)?);
    let (whole, head) = (ARCHIVE.get(entry + 24..entry + 28)?, number::<4>(entry + 42)?);
    let start = head + HEAD_BYTES + number::<2>(head + 26)? + number::<2>(head + 28)?;
    let content = ARCHIVE.get(start..start + size)?;
    // What was not worth compressing is one block of deflate as it is (RFC 1951, 3.2.4).
    let length = u16::try_from(size).ok();
    let block = match (way, length) {
        (DEFLATED, _) => Vec::new(),
        (STORED, Some(length)) => {
            [&[1][..], &length.to_le_bytes(), &(!length).to_le_bytes()].concat()
        }
        _ => return None,
    };
    Some([&GZIP[..], &block, content, sum, whole].concat())
}
