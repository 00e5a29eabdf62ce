//! Writes the seeds that are not text into a corpus folder: `seeds fuzz/corpus`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let corpus = std::env::args_os()
        .nth(1)
        .map_or_else(PathBuf::new, PathBuf::from);
    for (target, name, bytes) in tourbillon_fuzz_smoke::samples::binary_seeds() {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
