//! SHA-256 as lowercase hexadecimal, the form that manifests and verdicts use.

use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// The hash of no bytes at all: what an unread file gives.
const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The SHA-256 of `bytes`, 64 lowercase hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of everything that `reader` still holds, read in pieces: for files too large to hold.
///
/// # Errors
///
/// Whatever reading gives.
pub fn sha256_reader(mut reader: impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(length) => hasher.update(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether `text` is 64 lowercase hexadecimal digits and not the hash of nothing.
pub(crate) fn is_sha256(text: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == 64 && text.bytes().all(digit) && text != OF_NOTHING
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn gives_the_published_digest_of_abc() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), abc);
        assert_eq!(sha256_reader(&b"abc"[..]).unwrap(), abc);
        assert_eq!(sha256_hex(b""), OF_NOTHING);
    }

    /// Gives its answers one after the other, then the end.
    struct Answers(Vec<Result<&'static [u8], ErrorKind>>);

    impl Read for Answers {
        fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let bytes = self.0.remove(0)?;
            piece[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        }
    }

    #[test]
    fn an_interrupted_read_goes_on_and_a_failed_one_has_no_hash() {
        let read = |answers| sha256_reader(Answers(answers)).map_err(|error| error.kind());
        let interrupted = read(vec![Ok(b"a"), Err(ErrorKind::Interrupted), Ok(b"bc")]);
        assert_eq!(interrupted, Ok(sha256_hex(b"abc")));
        let failed = read(vec![Ok(b"abc"), Err(ErrorKind::InvalidData)]);
        assert_eq!(failed, Err(ErrorKind::InvalidData));
    }

    #[test]
    fn only_a_full_lowercase_hash_of_something_counts() {
        let good = sha256_hex(b"abc");
        assert!(is_sha256(&good));
        assert!(!is_sha256(""));
        assert!(!is_sha256(OF_NOTHING));
        assert!(!is_sha256(&good[1..]));
        assert!(!is_sha256(&good.to_uppercase()));
        assert!(!is_sha256(&format!("{good}0")));
        assert!(!is_sha256(&good.replace('b', "g")));
    }
}
