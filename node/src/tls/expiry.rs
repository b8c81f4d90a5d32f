//! When a certificate ends, said in time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::sign::CertifiedKey;

/// How often it is looked at.
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// A certificate that ends within this is warned of, each day: renewals are due at 30 days for
/// certificates of 90, so this one was missed.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Says aloud that a certificate ends soon, or has ended.
pub(super) fn warn(key: &CertifiedKey, now: SystemTime) {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    match left(key, now) {
        Some(left) if left.is_zero() => {
            tracing::error!(
                "the TLS certificate has ended: clients refuse it; put a new one in place"
            );
        }
        Some(left) if left < SOON => {
            let days = left.as_secs() / DAY.as_secs();
            tracing::warn!(days, "the TLS certificate ends soon: was its renewal missed?");
        }
        Some(_) => {}
        None => tracing::debug!("when the TLS certificate ends cannot be read"),
    }
}

/// How long the first certificate is still good.
fn left(key: &CertifiedKey, now: Duration) -> Option<Duration> {
    let (_, certificate) = x509_parser::parse_x509_certificate(key.cert.first()?).ok()?;
    let end = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Some(Duration::from_secs(end).saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use rustls::crypto::ring;
    use rustls::pki_types::PrivateKeyDer;

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let der = PrivateKeyDer::try_from(made.key_pair.serialize_der()).unwrap();
        let chain = vec![made.cert.der().clone()];
        let key = CertifiedKey::from_der(chain, der, &ring::default_provider()).unwrap();
        // rcgen's certificates end in the year 4096.
        let end = Duration::from_secs(67_090_032_000);
        let long = left(&key, Duration::ZERO).unwrap();
        assert!(long > end - DAY * 3 && long < end + DAY * 3, "{long:?}");
        assert_eq!(left(&key, end + DAY * 3), Some(Duration::ZERO));
    }
}
