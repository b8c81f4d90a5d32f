//! Frames: which of them a node that was killed finds again.

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use serde_bytes::ByteBuf;
use skyclaw_protocol::batch::Batch;
use skyclaw_protocol::clock::Hlc;
use skyclaw_protocol::codec;

use super::{Body, Bounds, Encoded, Epoch, Journal, OutboxRow, Scan, scan};
use crate::testing::Chance;

const EPOCH: Epoch = Epoch([1; 16]);
const SMALL: Bounds = Bounds { capacity: 16 * 4096, step: 4096, waiting: 1, waiting_bytes: 1 };

/// A file that two hold.
#[derive(Debug)]
struct File(std::sync::Arc<InMemoryBackend>);

impl StorageBackend for File {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

fn new() -> (Journal, File) {
    let file = std::sync::Arc::new(InMemoryBackend::new());
    (Journal::begin(Box::new(File(file.clone())), EPOCH, &[5; 32], SMALL).unwrap(), File(file))
}

/// Numbers and bodies that are found behind `after`.
fn found(file: &File, after: u64) -> Vec<(u64, Vec<u8>)> {
    match scan(file, &EPOCH, after, &SMALL).unwrap() {
        Scan::Frames(frames) => {
            frames.iter().map(|frame| (frame.number, frame.body(file).unwrap())).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn frames_of_any_length_are_found_as_they_were_written() {
    let mut chance = Chance::new(1);
    for _ in 0..50 {
        let (mut journal, file) = new();
        let mut all = Vec::new();
        for number in 1.. {
            let body = vec![chance.number() as u8; chance.below(9000) as usize];
            if !journal.has_room(body.len()) {
                break;
            }
            journal.append(number, &body).unwrap();
            all.push((number, body));
        }
        assert!(file.len().unwrap() <= SMALL.capacity);
        assert_eq!(found(&file, 0), all);
        assert_eq!(found(&file, 2), all[2..]);
        assert_eq!(scan(&file, &Epoch([2; 16]), 0, &SMALL).unwrap(), Scan::Foreign);
    }
}

#[test]
fn whatever_redb_has_synced_meanwhile_the_rest_is_found_wherever_it_lies() {
    let mut chance = Chance::new(2);
    let (mut ahead, mut wrapped) = (0, 0);
    for _ in 0..200 {
        let (mut journal, file) = new();
        // What redb has on disk, and what the writer has heard of that.
        let (mut synced, mut heard) = (0, 0);
        let mut since: Vec<(u64, Vec<u8>)> = Vec::new();
        for number in 1..=60 {
            let body = vec![number as u8; chance.below(9000) as usize];
            while !journal.has_room(body.len()) || chance.below(4) == 0 {
                synced += chance.below(number - synced);
                since.retain(|(number, _)| *number > synced);
                if chance.below(2) == 0 {
                    heard = synced;
                    journal.release(heard);
                }
            }
            let before = journal.at;
            journal.append(number, &body).unwrap();
            wrapped += u32::from(journal.at < before);
            ahead += u32::from(synced > heard);
            since.push((number, body));
            assert_eq!(found(&file, synced), since);
        }
        assert!(file.len().unwrap() <= SMALL.capacity);
    }
    assert!(ahead > 100 && wrapped > 1000, "{ahead} {wrapped}");
}

#[test]
fn a_frame_that_has_no_room_is_refused_and_spoils_none() {
    let (mut journal, file) = new();
    for number in 1..=15 {
        journal.append(number, &[7; 100]).unwrap();
    }
    assert!(!journal.has_room(0) && journal.is_due());
    assert!(journal.append(16, &[8; 100]).is_err());
    journal.release(3);
    assert!(journal.has_room(8000) && !journal.has_room(13_000));
    journal.append(16, &[8; 8000]).unwrap();
    assert!(journal.has_room(4000) && !journal.has_room(5000));
    assert_eq!(found(&file, 3).len(), 13);
    journal.release(16);
    assert!(journal.has_room(60_000) && !journal.is_due());
}

#[test]
fn a_torn_frame_at_the_end_is_none_and_one_before_others_is_a_gap() {
    let mut chance = Chance::new(3);
    for torn in 1..=5_u64 {
        let (mut journal, file) = new();
        let mut places = Vec::new();
        for number in 1..=5 {
            places.push(journal.at);
            journal.append(number, &[7; 5000]).unwrap();
        }
        let at = places[torn as usize - 1] + chance.below(5000);
        let mut byte = [0];
        file.read(at, &mut byte).unwrap();
        file.write(at, &[byte[0] ^ 4]).unwrap();
        match scan(&file, &EPOCH, 0, &SMALL).unwrap() {
            Scan::Frames(frames) => assert_eq!((torn, frames.len()), (5, 4)),
            Scan::Gap(number) => assert_eq!(number, torn),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_that_was_cut_short_is_none() {
    for short in [45_056, 41_000, 1] {
        let (mut journal, file) = new();
        (1..=5).for_each(|number| journal.append(number, &[7; 5000]).unwrap());
        file.set_len(file.len().unwrap() - short).unwrap();
        let nothing = file.len().unwrap() < 4096;
        let scanned = scan(&file, &EPOCH, 0, &SMALL).unwrap();
        assert_eq!(scanned, if nothing { Scan::Foreign } else { Scan::Cut }, "{short}");
    }
}

#[test]
fn a_frame_within_a_payload_is_no_frame() {
    let (mut journal, file) = new();
    // Whoever sends this does not know the epoch.
    let mut forged = vec![0; 4096 - 40];
    forged.extend(super::framed(&Epoch([0; 16]), 9, b"forged"));
    journal.append(1, &forged).unwrap();
    assert_eq!(found(&file, 0).len(), 1);
    file.write(4096, &[0; 8]).unwrap();
    assert_eq!(found(&file, 0), []);
}

#[test]
fn a_batch_reads_as_it_was_before_there_were_outboxes_in_journals() {
    #[derive(serde::Serialize)]
    struct Before {
        clock: Hlc,
        version: u64,
        writes: Vec<()>,
    }
    let clock = Hlc { ms: 7, count: 3 };
    let before = codec::encode(&Before { clock, version: 9, writes: Vec::new() });
    let batch = Batch { seq: 1, writes: Vec::new(), clock, version: 9 };
    assert_eq!(Encoded::of(&batch).0, before, "and an earlier version reads it");
    let read = Body::read(&before).unwrap();
    assert_eq!((read.stamp, read.outbox.len()), (Some((clock, 9)), 0));
}

#[test]
fn changes_of_the_outbox_move_no_clock() {
    let row = |n, sealed| OutboxRow { key: vec![n], sealed };
    let rows = vec![row(1, Some(ByteBuf::from(vec![5; 300]))), row(2, None)];
    let Encoded(body) = Encoded::of_outbox(&rows);
    assert!(body.len() < 400, "bytes, not numbers: {}", body.len());
    let read = Body::read(&body).unwrap();
    assert_eq!((read.stamp, read.changes(), read.outbox), (None, 2, rows));
}
