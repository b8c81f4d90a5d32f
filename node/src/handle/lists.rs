//! Lists that are read whole from the store, on a blocking thread.

use skyclaw_protocol::{ServiceView, fold};
use skyclaw_store::{ReadError, Reader};

/// The services that were not removed, by creation.
pub(super) fn all_services(reader: &Reader) -> Result<Vec<ServiceView>, ReadError> {
    let mut services: Vec<ServiceView> = reader
        .services()?
        .iter()
        .filter_map(|stored| fold::service_view(stored.spec.body(), stored.chosen()?))
        .collect();
    services.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(services)
}
