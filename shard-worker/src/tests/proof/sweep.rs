//! Any flipped bit of any object is found.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::*;

/// Flips per history.
const FLIPS: usize = 200;

impl Bench {
    async fn objects(&self) -> Vec<Path> {
        let listed = futures::TryStreamExt::try_collect::<Vec<_>>(self.store.list(None)).await;
        let mut paths: Vec<_> = listed
            .unwrap()
            .into_iter()
            .map(|meta| meta.location)
            .collect();
        paths.sort();
        paths
    }

    /// Flips a bit; the object as it was.
    async fn flip(&self, path: &Path, rng: &mut SmallRng) -> (Bytes, usize, u8) {
        let sound = self.store.get(path).await.unwrap().bytes().await.unwrap();
        let (at, bit) = (rng.random_range(0..sound.len()), rng.random_range(0..8));
        self.tamper(path, |bytes| bytes[at] ^= 1 << bit).await;
        (sound, at, bit)
    }
}

#[tokio::test(start_paused = true)]
async fn any_flipped_bit_of_any_object_is_reported() {
    let bench = Bench::new(51).await;
    let mut rng = SmallRng::seed_from_u64(51);
    let objects = bench.objects().await;
    let newest = bench
        .rig
        .chain(0)
        .path(bench.rig.links(0).await.len() as u64 - 1);
    let mut missed = Vec::new();
    for flip in 0..FLIPS {
        // the newest commit has no other behind it that vouches for its bytes: look there often
        let path = if flip % 4 == 0 {
            &newest
        } else {
            objects.choose(&mut rng).unwrap()
        };
        let (sound, at, bit) = bench.flip(path, &mut rng).await;
        if bench.report().await.differences.is_empty() {
            let around = at.saturating_sub(20)..(at + 20).min(sound.len());
            missed.push(format!(
                "{path} byte {at} bit {bit}: {:?}",
                sound.slice(around)
            ));
        }
        bench.put(path, sound).await;
    }
    assert!(
        missed.is_empty(),
        "{} of {FLIPS}: {missed:#?}",
        missed.len()
    );
    assert_eq!(bench.report().await.differences, [""; 0]);
}

/// Behind the newest commit stands none that holds the hash of its bytes.
#[tokio::test(start_paused = true)]
async fn a_flipped_bit_of_what_the_root_leaves_out_is_reported() {
    let bench = Bench::new(52).await;
    let links = bench.rig.links(0).await;
    let newest = bench.rig.chain(0).path(links.len() as u64 - 1);
    let text = String::from_utf8(links.last().unwrap().commit.encode().unwrap()).unwrap();
    let at = |field: &str| text.find(field).unwrap() + field.len();
    let letter = |from: usize| from + text[from..].find(|c: char| c.is_ascii_lowercase()).unwrap();
    let spots = [
        (at("\"nonce\":\""), 1),
        // capital letters are hex digits too
        (letter(at("\"prev_hash\":\"")), 1 << 5),
        (letter(at("\"chain_root\":\"")), 1 << 5),
    ];
    for (at, bit) in spots {
        bench.tamper(&newest, |bytes| bytes[at] ^= bit).await;
        bench.expect_one(&newest).await;
        bench.tamper(&newest, |bytes| bytes[at] ^= bit).await;
    }
}
