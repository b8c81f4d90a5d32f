//! The command line of keys of the API.

use std::time::Duration;

use clap::{Args, Subcommand};

/// `skyclaw keys`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Keys {
    #[command(subcommand)]
    pub(in crate::cli) what: Option<KeysWhat>,
}

/// What can be done about keys.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum KeysWhat {
    /// Make a key, and show it once
    Create(Create),
    /// Refuse a key from now on, at every coordinator
    Revoke {
        /// Its name or id
        which: String,
    },
}

/// `skyclaw keys create`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Create {
    /// What it is called: jobs and services that it makes bear the name
    pub(in crate::cli) name: String,
    /// What it may do: submit, deploy, read, host or admin; may be repeated
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        required = true,
        value_delimiter = ',',
        value_parser = ["submit", "deploy", "read", "host", "admin"]
    )]
    pub(in crate::cli) scopes: Vec<String>,
    /// Jobs of it that may wait at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) queued: Option<u32>,
    /// Jobs of it that may run at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) running: Option<u32>,
    /// Submissions and deployments in a minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) per_minute: Option<u32>,
    /// Bytes of payloads and files in a day
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(in crate::cli) bytes: Option<u64>,
    /// How long it counts, as 30d, 12h, 45m or 90s; for ever without
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(in crate::cli) expires: Option<Duration>,
}

/// A whole number and its unit.
pub(in crate::cli) fn span(text: &str) -> Result<Duration, String> {
    let wrong = || "write it as a whole number and a unit, such as 30d, 12h, 45m or 90s".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        'd' => 86_400,
        'h' => 3600,
        'm' => 60,
        's' => 1,
        _ => return Err(wrong()),
    };
    let count: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| wrong())?;
    let whole = count.checked_mul(seconds).filter(|whole| *whole > 0).ok_or_else(wrong)?;
    Ok(Duration::from_secs(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        assert_eq!(span("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(span("12h"), Ok(Duration::from_secs(43_200)));
        assert_eq!(span("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "d", "30", "1.5h", "0s", "-1d", "1w", "99999999999999999999d", "3µ"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
