//! What is on the disk, what makes room, and what the disk did on its own.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{StreamExt, stream};
use skyclaw_protocol::Hash;

use super::{GROUP, Place, content, put, read};
use crate::blobs::{Blobs, DiskError, PutError, Settings};

#[tokio::test]
async fn what_was_put_is_read_also_after_a_restart() {
    let mut place = Place::new();
    let mut hashes = Vec::new();
    for len in [0, 1, GROUP, GROUP + 1, 3 * GROUP + 17] {
        let bytes = content(len, 1);
        let hash = place.put(&bytes).await.unwrap();
        assert_eq!(hash, Hash::of(&bytes));
        hashes.push((hash, bytes));
    }
    place = place.reopened();
    for (hash, bytes) in &hashes {
        assert_eq!(read(&place.blobs, *hash).await.unwrap().as_ref(), Some(bytes));
        assert!(place.blobs.checked(*hash).await.unwrap().is_some());
    }
    assert_eq!(place.blobs.total().0, 5);
    assert_eq!(place.files().len(), 10);
    assert!(!place.blobs.has(Hash([9; 32])));
    assert_eq!(read(&place.blobs, Hash([9; 32])).await.unwrap(), None);
}

#[tokio::test]
async fn the_same_content_twice_is_one_blob() {
    let place = Place::new();
    let bytes = content(GROUP + 5, 2);
    let hash = place.put(&bytes).await.unwrap();
    let (one, two) = tokio::join!(place.put(&bytes), place.put(&bytes));
    assert_eq!((one.unwrap(), two.unwrap()), (hash, hash));
    assert_eq!(place.blobs.total(), (1, bytes.len() as u64));
    assert_eq!(place.files().len(), 2);
}

#[tokio::test]
async fn other_content_than_announced_is_refused() {
    let place = Place::new();
    let expected = Hash::of(b"right");
    let wrong = stream::iter([Ok(Bytes::from_static(b"wrong"))]);
    let error = place.blobs.put(Some(expected), wrong).await.unwrap_err();
    assert!(matches!(error, PutError::WrongHash { got, .. } if got == Hash::of(b"wrong")));
    assert!(place.files().is_empty());
    let right = stream::iter([Ok(Bytes::from_static(b"right"))]);
    place.blobs.put(Some(expected), right).await.unwrap();
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let place = Place::new();
    let begun = content(2 * GROUP, 3);
    let broken: Vec<io::Result<Bytes>> =
        vec![Ok(begun.clone().into()), Err(io::ErrorKind::ConnectionReset.into())];
    let error = place.blobs.put(None, stream::iter(broken)).await.unwrap_err();
    assert!(matches!(error, PutError::Broken(_)));
    // The caller itself goes away.
    let endless = stream::iter([Ok(Bytes::from(begun.clone()))]).chain(stream::pending());
    let gone =
        tokio::time::timeout(Duration::from_millis(100), place.blobs.put(None, endless)).await;
    assert!(gone.is_err());
    place.settled().await;
    assert!(place.files().is_empty());
    assert!(!place.blobs.has(Hash::of(&begun)));
}

#[tokio::test]
async fn what_is_larger_than_a_blob_may_be_ends_early() {
    let place = Place::new();
    let most = skyclaw_protocol::limits::MAX_BLOB_BYTES;
    // Nothing is written of one piece that is too large alone.
    let large = Bytes::from(vec![0; usize::try_from(most).unwrap() + 1]);
    let error = place.blobs.put(None, stream::iter([Ok(large)])).await.unwrap_err();
    assert!(matches!(error, PutError::TooLarge(_)));
    assert!(place.files().is_empty());
}

#[tokio::test]
async fn leftovers_of_a_crash_are_removed_and_damage_is_noticed_at_the_start() {
    let place = Place::new();
    let (good, short, bare) = (content(GROUP, 1), content(2 * GROUP, 2), content(GROUP * 2 + 1, 3));
    for bytes in [&good, &short, &bare] {
        place.put(bytes).await.unwrap();
    }
    let dir = place.dir.path().join("blobs");
    fs::write(dir.join(".part-0123"), "half").unwrap();
    fs::write(dir.join(".part-0123.outline"), "half").unwrap();
    fs::write(dir.join(format!("{}.outline", Hash([7; 32]).hex())), "orphan").unwrap();
    File::options().write(true).open(place.file(Hash::of(&short))).unwrap().set_len(5).unwrap();
    fs::remove_file(dir.join(format!("{}.outline", Hash::of(&bare).hex()))).unwrap();
    let place = place.reopened();
    assert_eq!(place.files().len(), 2);
    assert!(place.blobs.has(Hash::of(&good)));
    assert_eq!(place.blobs.total(), (1, good.len() as u64));
}

/// The disk flips one bit while the node runs.
#[tokio::test]
async fn a_blob_that_rots_is_noticed_when_it_is_read_and_can_be_put_again() {
    let place = Place::new();
    let bytes = content(3 * GROUP, 4);
    let hash = place.put(&bytes).await.unwrap();
    let file = File::options().write(true).open(place.file(hash)).unwrap();
    file.write_all_at(&[!bytes[GROUP + 9]], (GROUP + 9) as u64).unwrap();
    let mut reading = place.blobs.open_at(hash, 0).await.unwrap().unwrap();
    assert_eq!(reading.next().await.unwrap().unwrap(), &bytes[..GROUP]);
    let error = reading.next().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(!place.blobs.has(hash) && place.files().is_empty());
    place.put(&bytes).await.unwrap();
    // A reader of the damaged file does no harm to the new one.
    assert!(reading.next().await.is_err());
    assert_eq!(read(&place.blobs, hash).await.unwrap(), Some(bytes));
    file.set_len(1).unwrap();
    assert!(place.blobs.checked(hash).await.unwrap().is_some(), "that file is gone");
}

#[tokio::test]
async fn a_cut_file_is_noticed_too() {
    let place = Place::new();
    let bytes = content(2 * GROUP, 4);
    let hash = place.put(&bytes).await.unwrap();
    File::options().write(true).open(place.file(hash)).unwrap().set_len(GROUP as u64).unwrap();
    assert!(place.blobs.checked(hash).await.unwrap().is_none());
    assert!(!place.blobs.has(hash));
}

/// Makes a blob look as if it was used last so long ago.
fn age(place: &Place, hash: Hash, by: Duration) {
    let path = place.dir.path().join("blobs").join(format!("{}.outline", hash.hex()));
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn the_one_used_least_lately_makes_room() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let open = |most| {
        let settings = Settings { most_bytes: most, ..Settings::new(dir.path().join("blobs"), 0) };
        Place { blobs: Blobs::open(settings).unwrap(), dir: Arc::clone(&dir) }
    };
    let place = open(1 << 30);
    let mut hashes = Vec::new();
    for seed in 0..5 {
        hashes.push(place.put(&content(1 << 20, seed)).await.unwrap());
    }
    for (ago, hash) in (1..).zip(&hashes) {
        age(&place, *hash, HOUR * ago);
    }
    drop(place);
    // Room is taken in steps of four MiB: two blobs must go for one.
    let place = open(7 << 20);
    let needed: HashSet<_> = [hashes[4]].into();
    place.blobs.set_keep(Arc::new(move || Some(needed.clone())));
    let _in_use = place.blobs.held(hashes[3]).unwrap();
    read(&place.blobs, hashes[2]).await.unwrap().unwrap();
    let new = place.put(&content(100, 9)).await.unwrap();
    let left: Vec<_> = hashes.iter().map(|hash| place.blobs.has(*hash)).collect();
    // Kept is what is needed, held, was read just now; and what has just come.
    assert_eq!(left, [false, false, true, true, true]);
    assert!(place.blobs.has(new));
    let error = place.put(&content(3 << 20, 10)).await.unwrap_err();
    assert!(matches!(error, PutError::Disk(DiskError::Full { .. })), "{error}");
    assert_eq!(place.blobs.total().0, 4);
    place.settled().await;
    assert_eq!(place.files().len(), 8);
}

#[tokio::test]
async fn nothing_goes_while_it_cannot_be_said_what_is_needed() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let settings = Settings::new(dir.path().join("blobs"), 0);
    let place = Place { blobs: Blobs::open(settings.clone()).unwrap(), dir };
    let old = place.put(&content(100, 1)).await.unwrap();
    age(&place, old, HOUR * 24 * 30);
    let dir = Arc::clone(&place.dir);
    drop(place);
    let place =
        Place { blobs: Blobs::open(Settings { most_bytes: 200, ..settings }).unwrap(), dir };
    place.blobs.set_keep(Arc::new(|| None));
    assert!(place.put(&content(100, 2)).await.is_err());
    place.blobs.sweep().await;
    assert!(place.blobs.has(old));
}

#[tokio::test]
async fn what_nobody_used_for_a_week_goes() {
    let place = Place::new();
    let (old, new) = (place.put(b"old").await.unwrap(), place.put(b"new").await.unwrap());
    age(&place, old, HOUR * 24 * 8);
    age(&place, new, HOUR * 24 * 6);
    let place = place.reopened();
    place.blobs.sweep().await;
    assert!(!place.blobs.has(old) && place.blobs.has(new));
}

#[tokio::test]
async fn whoever_is_told_hears_of_each_blob_that_goes() {
    let place = Place::new();
    let (old, new) = (place.put(b"old").await.unwrap(), place.put(b"new").await.unwrap());
    age(&place, old, HOUR * 24 * 8);
    let place = place.reopened();
    assert_eq!(place.blobs.0.disk.latest(9), [new, old]);
    assert_eq!(place.blobs.0.disk.latest(1), [new]);
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    place.blobs.0.disk.set_gone(Box::new(move |hash| told.send(hash).unwrap()));
    place.blobs.sweep().await;
    assert_eq!(heard.try_recv().unwrap(), old);
    fs::write(place.file(new), "wen").unwrap();
    assert!(place.blobs.checked(new).await.unwrap().is_none());
    assert_eq!(heard.try_recv().unwrap(), new);
    assert!(heard.try_recv().is_err());
}

/// As long as the disk takes.
#[tokio::test(flavor = "multi_thread")]
async fn who_looks_does_not_wait_while_a_blob_goes_and_who_brings_it_back_does() {
    let place = Place::new();
    let (old, new) = (place.put(b"old").await.unwrap(), place.put(b"new").await.unwrap());
    age(&place, old, HOUR * 24 * 8);
    let place = place.reopened();
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let (go_on, goes_on) = std::sync::mpsc::channel::<()>();
    let goes_on = std::sync::Mutex::new(goes_on);
    place.blobs.0.disk.set_gone(Box::new(move |hash| {
        told.send(hash).unwrap();
        goes_on.lock().unwrap().recv().unwrap();
    }));
    let blobs = place.blobs.clone();
    let sweep = tokio::spawn(async move { blobs.sweep().await });
    assert_eq!(heard.recv().await, Some(old));
    assert!(!place.blobs.has(old) && place.blobs.has(new));
    let blobs = place.blobs.clone();
    let mut again = tokio::spawn(async move { put(&blobs, b"old").await });
    let early = tokio::time::timeout(Duration::from_millis(100), &mut again).await;
    assert!(early.is_err(), "its files would go with those of before");
    go_on.send(()).unwrap();
    assert_eq!(again.await.unwrap().unwrap(), old);
    sweep.await.unwrap();
    assert_eq!(read(&place.blobs, old).await.unwrap().as_deref(), Some(&b"old"[..]));
}

#[tokio::test]
async fn a_full_disk_is_said_and_nothing_is_lost() {
    let place = Place::with(|settings| Settings { min_free: u64::MAX / 2, ..settings });
    let error = place.put(b"x").await.unwrap_err();
    assert!(matches!(error, PutError::Disk(DiskError::LowSpace { .. })), "{error}");
    assert!(place.files().is_empty());
}

#[tokio::test]
async fn one_folder_is_one_nodes() {
    let place = Place::new();
    assert!(Blobs::open(Settings::new(place.dir.path().join("blobs"), 0)).is_err());
    assert_eq!(Place::new().reopened().blobs.total(), (0, 0));
}

/// Readers go on while the blob is written anew and taken away.
#[tokio::test(flavor = "multi_thread")]
async fn readers_are_not_disturbed() {
    let place = Place::new();
    let bytes = content(8 * GROUP, 5);
    let hash = place.put(&bytes).await.unwrap();
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let blobs = place.blobs.clone();
            tokio::spawn(async move { read(&blobs, hash).await.unwrap() })
        })
        .collect();
    for seed in 0..4 {
        place.put(&bytes).await.unwrap();
        place.put(&content(GROUP, 50 + seed)).await.unwrap();
    }
    for reader in readers {
        assert_eq!(reader.await.unwrap().as_ref(), Some(&bytes));
    }
}

#[tokio::test]
async fn a_reading_begins_at_any_group() {
    let place = Place::new();
    let bytes = content(3 * GROUP + 1, 6);
    let hash = place.put(&bytes).await.unwrap();
    for from in [0, 2, 3, 4, u64::MAX] {
        let reading = place.blobs.open_at(hash, from).await.unwrap().unwrap();
        let begins = usize::try_from(from).unwrap_or(usize::MAX).saturating_mul(GROUP);
        let want = bytes.get(begins..).unwrap_or_default();
        assert_eq!(reading.rest(), want.len() as u64);
        let parts: Vec<_> = reading.stream().map(Result::unwrap).collect().await;
        assert_eq!(parts.concat(), want);
    }
}
