//! What the agent is to do: from the command line, a file, or standard input.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};

use skyclaw_protocol::limits::MAX_AGENT_MESSAGE_BYTES;

use crate::cli::args::Agent;
use crate::cli::error::CliError;

/// The message, which is text and not blank.
pub(super) fn read(args: &Agent) -> Result<String, CliError> {
    let text = match (&args.message, &args.message_file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) if path.as_os_str() != "-" => {
            let shown = path.display().to_string();
            let file = File::open(path).map_err(|error| unreadable(&shown, &error))?;
            all(file, &shown)?
        }
        (None, None) if io::stdin().is_terminal() => {
            return Err(CliError::Usage(
                "what is the agent to do? use --message TEXT, --message-file PATH, or a pipe"
                    .to_owned(),
            ));
        }
        _ => all(io::stdin().lock(), "standard input")?,
    };
    judged(text)
}

/// Whether coordinators would take it.
pub(in crate::cli) fn judged(text: String) -> Result<String, CliError> {
    if text.trim().is_empty() {
        return Err(CliError::Usage("the message is blank: say what the agent is to do".into()));
    }
    if text.len() > MAX_AGENT_MESSAGE_BYTES {
        return Err(CliError::Usage(format!(
            "the message is longer than {MAX_AGENT_MESSAGE_BYTES} bytes: give the rest as a file, with --input"
        )));
    }
    Ok(text)
}

fn all(from: impl Read, name: &str) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    // One byte more than fits tells that it does not.
    let read = from.take(MAX_AGENT_MESSAGE_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(name, &error))?;
    // A character that was cut in two at the bound must not hide that it is too long.
    if bytes.len() > MAX_AGENT_MESSAGE_BYTES {
        return judged(String::from_utf8_lossy(&bytes).into_owned());
    }
    String::from_utf8(bytes).map_err(|_| CliError::Source(format!("{name} is no UTF-8 text")))
}

fn unreadable(name: &str, error: &io::Error) -> CliError {
    CliError::Source(format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_text_of_a_length_that_is_taken() {
        assert_eq!(judged(all(&b" --x\n"[..], "it").unwrap()).unwrap(), " --x\n");
        let long = "é".repeat(MAX_AGENT_MESSAGE_BYTES / 2);
        assert_eq!(
            judged(all(long.as_bytes(), "it").unwrap()).unwrap().len(),
            MAX_AGENT_MESSAGE_BYTES
        );
        let longer = format!("x{long}");
        let error = all(longer.as_bytes(), "it").unwrap_err().to_string();
        assert!(error.contains("--input"), "{error}");
        for blank in ["", " \n\t"] {
            assert!(judged(blank.to_owned()).unwrap_err().to_string().contains("blank"));
        }
        assert!(all(&[0xff][..], "it").unwrap_err().to_string().contains("UTF-8"));
    }
}
