//! The handshake over one stream. Never waits longer than its caller lets it. After the hellos it goes
//! on with the proof of a token, here, or in a ticket network with passes ([`super::pass`]).

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::PeerId;

use super::hello::{Denial, Description, Hello, Message};
use super::limits::{LINGER, MAX_MESSAGE};
use super::membership::{Membership, Session};
use super::pass;

/// How a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// We refuse them.
    ByUs(Denial),
    /// They refuse us.
    ByThem(Denial),
    /// The stream ended; nothing is known.
    Broken,
}

/// One side of a handshake.
pub(super) struct Party<'a> {
    pub(super) membership: &'a Membership,
    pub(super) own: PeerId,
    pub(super) remote: PeerId,
    pub(super) nonce: [u8; 32],
    /// Our encoded description.
    pub(super) description: Vec<u8>,
}

impl Party<'_> {
    /// Plays the opener. On success both know the token, and the other's description is ours.
    pub(super) async fn open<S>(self, stream: &mut S) -> Result<Description, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let ours = self.hello();
        write(stream, &ours).await?;
        let (theirs, hello) = match read(stream).await? {
            (bytes, Message::Hello(hello)) => (bytes, hello),
            other => return unexpected(stream, other.1).await,
        };
        let description = match self.membership.check(&hello) {
            Ok(description) => description,
            Err(why) => return refuse(stream, why).await,
        };
        let session = Session {
            opener: self.own,
            acceptor: self.remote,
            hello_of_opener: ours,
            hello_of_acceptor: theirs,
        };
        if let Some(tickets) = self.membership.tickets() {
            return pass::open(stream, tickets, &session, description).await;
        }
        write(stream, &Message::Proof(self.membership.open(&session)).encode()).await?;
        match read(stream).await? {
            (_, Message::Proof(proof)) if self.membership.closes(&proof, &session) => {}
            (_, Message::Proof(_)) => return refuse(stream, Denial::WrongToken).await,
            other => return unexpected(stream, other.1).await,
        }
        write(stream, &Message::Welcome.encode()).await?;
        Ok(description)
    }

    /// Plays the acceptor.
    pub(super) async fn accept<S>(self, stream: &mut S) -> Result<Description, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (theirs, hello): (Vec<u8>, Hello) = match read(stream).await {
            Ok((bytes, Message::Hello(hello))) => (bytes, hello),
            Ok(other) => return unexpected(stream, other.1).await,
            Err(Failure::ByUs(why)) => return refuse(stream, why).await,
            Err(failure) => return Err(failure),
        };
        let description = match self.membership.check(&hello) {
            Ok(description) => description,
            Err(why) => return refuse(stream, why).await,
        };
        let ours = self.hello();
        write(stream, &ours).await?;
        let session = Session {
            opener: self.remote,
            acceptor: self.own,
            hello_of_opener: theirs,
            hello_of_acceptor: ours,
        };
        if let Some(tickets) = self.membership.tickets() {
            return pass::accept(stream, tickets, &session, description).await;
        }
        let proof = match read(stream).await? {
            (_, Message::Proof(proofs)) => match self.membership.accept(&proofs, &session) {
                Some(proof) => proof,
                None => return refuse(stream, Denial::WrongToken).await,
            },
            other => return unexpected(stream, other.1).await,
        };
        write(stream, &Message::Proof(vec![proof]).encode()).await?;
        match read(stream).await? {
            (_, Message::Welcome) => Ok(description),
            other => unexpected(stream, other.1).await,
        }
    }

    fn hello(&self) -> Vec<u8> {
        Message::Hello(self.membership.hello(self.nonce, self.description.clone())).encode()
    }
}

pub(super) async fn unexpected<S>(stream: &mut S, got: Message) -> Result<Description, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match got {
        Message::Refused(why) => Err(Failure::ByThem(why)),
        _ => refuse(stream, Denial::Malformed).await,
    }
}

/// Says why, and gives the other a moment to read it.
pub(super) async fn refuse<S>(stream: &mut S, why: Denial) -> Result<Description, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if write(stream, &Message::Refused(why).encode()).await.is_ok() && stream.close().await.is_ok()
    {
        let mut rest = [0; 64];
        let gone = async { while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {} };
        // It need not say goodbye.
        let _ = tokio::time::timeout(LINGER, gone).await;
    }
    Err(Failure::ByUs(why))
}

pub(super) async fn write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    message: &[u8],
) -> Result<(), Failure> {
    let length = u32::try_from(message.len()).map_err(|_| Failure::Broken)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(message);
    stream.write_all(&frame).await.map_err(|_| Failure::Broken)?;
    stream.flush().await.map_err(|_| Failure::Broken)
}

pub(super) async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> Result<(Vec<u8>, Message), Failure> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.map_err(|_| Failure::Broken)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(Failure::ByUs(Denial::Malformed));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.map_err(|_| Failure::Broken)?;
    let message = Message::decode(&bytes).ok_or(Failure::ByUs(Denial::Malformed))?;
    Ok((bytes, message))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    type Outcome = Result<Description, Failure>;

    async fn meet(opener: Membership, acceptor: Membership) -> (Outcome, Outcome) {
        let (a, b) = tokio::io::duplex(64 << 10);
        let (mut a, mut b) = (a.compat(), b.compat());
        let (one, two) = (PeerId::random(), PeerId::random());
        let party = |membership, own, remote, label: &str| Party {
            membership,
            own,
            remote,
            nonce: rand::random(),
            description: Description { label: label.into(), ..Description::default() }.encode(),
        };
        tokio::join!(
            async {
                let ended = party(&opener, one, two, "opener").open(&mut a).await;
                drop(a);
                ended
            },
            async {
                let ended = party(&acceptor, two, one, "acceptor").accept(&mut b).await;
                drop(b);
                ended
            }
        )
    }

    #[tokio::test]
    async fn members_learn_who_the_other_is() {
        let us = || Membership::new(Some("t"), "local");
        let (opener, acceptor) = meet(us(), us()).await;
        assert_eq!(opener.unwrap().label, "acceptor");
        assert_eq!(acceptor.unwrap().label, "opener");
    }

    #[tokio::test]
    async fn both_sides_hear_why_it_does_not_work() {
        let us = || Membership::new(Some("t"), "local");
        for (them, why) in [
            (Membership::new(Some("u"), "local"), Denial::WrongToken),
            (Membership::new(None, "local"), Denial::WrongToken),
            (Membership::new(Some("t"), "elsewhere"), Denial::OtherNetwork),
        ] {
            let ended = meet(them.clone(), us()).await;
            assert_eq!(ended, (Err(Failure::ByThem(why)), Err(Failure::ByUs(why))));
            let ended = meet(us(), them).await;
            assert_eq!(ended, (Err(Failure::ByThem(why)), Err(Failure::ByUs(why))));
        }
    }

    /// The other side sends anything; the acceptor ends, refuses or breaks, and never admits.
    #[tokio::test]
    async fn mutated_messages_are_refused() {
        let us = Membership::new(Some("t"), "local");
        let description = Description { label: "x".into(), ..Description::default() }.encode();
        let good = Message::Hello(us.hello([7; 32], description.clone())).encode();
        let mut chance = 0x1234_5678_9abc_def0_u64;
        let mut next = move || {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (chance >> 33) as usize
        };
        let mut refused = 0;
        for _ in 0..10_000 {
            let mut bytes = good.clone();
            for _ in 0..=next() % 3 {
                let at = next() % bytes.len();
                match next() % 3 {
                    0 => bytes[at] = next().to_le_bytes()[0],
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, next().to_le_bytes()[0]),
                }
            }
            let (a, b) = tokio::io::duplex(64 << 10);
            let (mut a, mut b) = (a.compat(), b.compat());
            write(&mut a, &bytes).await.unwrap();
            // A stray second message in place of a proof.
            write(&mut a, &bytes).await.unwrap();
            a.close().await.unwrap();
            let party = Party {
                membership: &us,
                own: PeerId::random(),
                remote: PeerId::random(),
                nonce: rand::random(),
                description: description.clone(),
            };
            let ended = tokio::time::timeout(Duration::from_secs(5), party.accept(&mut b)).await;
            let ended = ended.expect("a handshake ends when the other side has");
            refused += usize::from(matches!(ended, Err(Failure::ByUs(_))));
            assert!(ended.is_err());
        }
        assert!(refused > 9_000, "{refused}");
    }
}
