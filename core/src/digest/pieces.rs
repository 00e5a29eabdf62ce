//! The digest of a file in pieces, so that a part of the file can be proven without the rest.
//!
//! BLAKE3 is a tree over the file. The pieces are its subtrees of [`PIECE_BYTES`]; joined, they give
//! the digest of the whole file, so who trusts that digest can trust the pieces, and one piece of
//! the file proves itself.

use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

use super::Digest;

/// Bytes of every piece but the last; a power of two.
pub const PIECE_BYTES: u64 = 1 << 20;

/// Digest of a whole file, and of its pieces: none if there would be only one.
pub fn file_digest(bytes: &[u8]) -> (Digest, Vec<Digest>) {
    if bytes.len() as u64 <= PIECE_BYTES {
        return (Digest::of(bytes), Vec::new());
    }
    let step = usize::try_from(PIECE_BYTES).unwrap_or(usize::MAX);
    let pieces = (0_u64..).zip(bytes.chunks(step));
    let pieces: Vec<_> = pieces.map(|(n, piece)| subtree(n, piece)).collect();
    (joined(&pieces), pieces)
}

/// Whether these pieces are the ones of a file of this size and digest.
pub fn are_pieces_of(pieces: &[Digest], bytes: u64, file: Digest) -> bool {
    match bytes.div_ceil(PIECE_BYTES) {
        0 | 1 => pieces.is_empty(),
        count => pieces.len() as u64 == count && joined(pieces) == file,
    }
}

/// Digest of piece `number` of a file of several, as it stands among the file's pieces.
pub fn subtree(number: u64, piece: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(number * PIECE_BYTES).update(piece);
    Digest(hasher.finalize_non_root())
}

/// The digest of the file that has these pieces, at least two.
fn joined(pieces: &[Digest]) -> Digest {
    let (left, right) = halves(pieces);
    Digest(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
}

fn halves(pieces: &[Digest]) -> (ChainingValue, ChainingValue) {
    // the left side of a BLAKE3 tree is full
    let (left, right) = pieces.split_at(pieces.len().div_ceil(2).next_power_of_two());
    (inner(left), inner(right))
}

fn inner(pieces: &[Digest]) -> ChainingValue {
    if let [one] = pieces {
        return one.0;
    }
    let (left, right) = halves(pieces);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_the_digest_of_the_whole_file() {
        let piece = usize::try_from(PIECE_BYTES).unwrap();
        let bytes: Vec<u8> = (0..piece * 9 + 5)
            .map(|i| ((i * 31) >> 3).to_le_bytes()[0])
            .collect();
        let lengths = (0..9).flat_map(|n| [n * piece, n * piece + 1, (n + 1) * piece - 1]);
        for length in lengths.chain([bytes.len()]) {
            let file = &bytes[..length];
            let (digest, pieces) = file_digest(file);
            assert_eq!(digest, Digest::of(file), "{length} bytes");
            assert!(are_pieces_of(&pieces, length as u64, digest), "{length}");
            assert_eq!(pieces.is_empty(), length <= piece);
            if let Some(last) = pieces.last() {
                let number = pieces.len() - 1;
                assert_eq!(subtree(number as u64, &file[number * piece..]), *last);
            }
        }
    }

    #[test]
    fn other_pieces_are_refused() {
        let bytes = vec![7; usize::try_from(PIECE_BYTES * 3).unwrap()];
        let (digest, pieces) = file_digest(&bytes);
        let size = bytes.len() as u64;
        let mut other = pieces.clone();
        other[1].0[0] ^= 1;
        assert!(!are_pieces_of(&other, size, digest));
        assert!(!are_pieces_of(&pieces[..2], size, digest));
        assert!(!are_pieces_of(&[], size, digest));
        assert!(!are_pieces_of(&pieces, size - PIECE_BYTES, digest));
        assert!(!are_pieces_of(&pieces, 5, digest));
        assert!(are_pieces_of(&[], 5, digest));
    }
}
