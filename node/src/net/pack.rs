//! Many small messages to one frame.

use skyclaw_protocol::codec;
use skyclaw_protocol::limits::MAX_BATCH_OPS;
use skyclaw_protocol::wire::Message;

/// Neighbouring messages of one kind become one, of at most `most` bytes and as many operations as
/// a batch may have. A single message that is longer stays alone. Returns each with its bytes.
pub(super) fn pack(
    messages: impl Iterator<Item = Message>,
    most: usize,
) -> Vec<(Message, Vec<u8>)> {
    let mut frames: Vec<(Message, usize)> = Vec::new();
    for message in messages {
        let size = codec::encode(&message).len();
        match frames.last_mut() {
            // Joined they are shorter than apart: one head instead of two.
            Some((last, bytes)) if *bytes + size <= most => match append(last, message) {
                None => *bytes += size,
                Some(other) => frames.push((other, size)),
            },
            _ => frames.push((message, size)),
        }
    }
    let bytes = |message: Message| {
        let bytes = codec::encode(&message);
        (message, bytes)
    };
    frames.into_iter().map(|(message, _)| bytes(message)).collect()
}

/// Adds the operations of `more` to `message`; gives it back if they do not belong together.
fn append(message: &mut Message, more: Message) -> Option<Message> {
    match (message, more) {
        (Message::Accept(have), Message::Accept(more)) => join(have, more).map(Message::Accept),
        (Message::Vote(have), Message::Vote(more)) => join(have, more).map(Message::Vote),
        (Message::Prepare(have), Message::Prepare(more)) => join(have, more).map(Message::Prepare),
        (Message::Promise(have), Message::Promise(more)) => join(have, more).map(Message::Promise),
        (Message::Certificates(have), Message::Certificates(more)) => {
            join(have, more).map(Message::Certificates)
        }
        (Message::Confirm(have), Message::Confirm(more)) => join(have, more).map(Message::Confirm),
        (Message::Confirmed(have), Message::Confirmed(more)) => {
            join(have, more).map(Message::Confirmed)
        }
        (Message::Ask(have), Message::Ask(more)) => join(have, more).map(Message::Ask),
        (Message::Tell(have), Message::Tell(more)) => join(have, more).map(Message::Tell),
        (Message::Known(have), Message::Known(more)) => join(have, more).map(Message::Known),
        (Message::Want(have), Message::Want(more)) => join(have, more).map(Message::Want),
        (Message::Hosts(have), Message::Hosts(more)) => join(have, more).map(Message::Hosts),
        (Message::Controls(have), Message::Controls(more)) => {
            join(have, more).map(Message::Controls)
        }
        (_, more) => Some(more),
    }
}

/// Gives back what has no room.
fn join<T>(have: &mut Vec<T>, more: Vec<T>) -> Option<Vec<T>> {
    if have.len() + more.len() > MAX_BATCH_OPS {
        return Some(more);
    }
    have.extend(more);
    None
}

#[cfg(test)]
mod tests {
    use skyclaw_protocol::NodeId;
    use skyclaw_protocol::key::NodeKey;
    use skyclaw_protocol::record::{Proof, Raw};

    use super::*;

    const MOST: usize = 10_000;

    fn hosts(bytes: usize) -> Message {
        let key = NodeKey::from_seed(&[1; 32]);
        let network = skyclaw_protocol::NetworkId([0; 16]);
        let proof = Proof::alone(key.sign(network, "x", b""));
        Message::Hosts(vec![Raw { body: vec![0; bytes], signer: NodeId([0; 32]), proof }])
    }

    #[test]
    fn neighbouring_messages_of_one_kind_share_a_frame() {
        let kinds = [
            Message::Vote(Vec::new()),
            Message::Vote(Vec::new()),
            Message::Accept(Vec::new()),
            Message::Vote(Vec::new()),
        ];
        assert_eq!(pack(kinds.into_iter(), MOST).len(), 3);
        assert!(pack(std::iter::empty(), MOST).is_empty());
    }

    #[test]
    fn frames_keep_to_their_bounds_and_lose_nothing() {
        for (count, size) in [(1000, 10), (100, 900), (3, MOST * 2)] {
            let frames = pack((0..count).map(|_| hosts(size)), MOST);
            let mut held = 0;
            for (message, bytes) in &frames {
                let Message::Hosts(all) = message else { panic!("{message:?}") };
                assert!(bytes.len() <= MOST || all.len() == 1, "{} bytes", bytes.len());
                assert!(all.len() <= MAX_BATCH_OPS);
                held += all.len();
            }
            assert_eq!(held, count);
            assert!(frames.len() < count || size > MOST);
        }
    }
}
