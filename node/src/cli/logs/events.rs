//! Server-sent events out of the bytes of an answer (WHATWG HTML, 9.2.6).
//!
//! Always: what an event may take is bounded; how the bytes were cut does not matter.

/// Longest event: a log line is cut by the host long before.
const MOST: usize = 1 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Event {
    /// Its name; empty if it has none.
    pub(in crate::cli) name: String,
    /// Its data, the lines joined.
    pub(in crate::cli) data: String,
}

/// An event is longer than is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct TooLong;

/// Takes bytes and gives events.
#[derive(Debug, Default)]
pub(in crate::cli) struct Events {
    line: Vec<u8>,
    name: String,
    data: Option<String>,
    /// The byte before was a carriage return: a newline after it is part of the same end.
    after_return: bool,
}

impl Events {
    /// The events that these bytes complete.
    pub(in crate::cli) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut done = Vec::new();
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => done.extend(self.end_of_line()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > MOST {
                return Err(TooLong);
            }
        }
        Ok(done)
    }

    fn end_of_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            return self.data.take().map(|data| Event { name, data });
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // Comments keep the connection alive; ids and pauses are not used here.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_are_cut() {
        let text = ": hello\n\ndata: a\ndata:b\ndata\n\nevent: end\r\ndata:  é\r\nid: 7\r\n\r\n\
                    data: c\r\revent: x\n\n";
        let want = [event("", "a\nb\n"), event("end", " é"), event("", "c")];
        for size in 1..text.len() {
            let mut events = Events::default();
            let got: Vec<Event> =
                text.as_bytes().chunks(size).flat_map(|cut| events.push(cut).unwrap()).collect();
            assert_eq!(got, want, "pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut events = Events::default();
        let line = vec![b'x'; MOST / 2];
        assert_eq!(events.push(&line), Ok(vec![]));
        assert_eq!(events.push(&line), Ok(vec![]));
        assert_eq!(events.push(b"x"), Err(TooLong));
        let mut events = Events::default();
        let lines = b"data: 0123456789\n".repeat(MOST / 10);
        assert_eq!(events.push(&lines), Err(TooLong));
    }
}
