//! Why a command was refused, as a span may say it.
//!
//! Always: one word for each kind. The texts are for whoever asked: they hold names, paths and what others sent.

use skyclaw_protocol::Refusal;

pub(super) const fn label(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownHost(_) => "unknown_host",
        Refusal::HostTaken(_) => "host_taken",
        Refusal::RoleMissing { .. } => "role_missing",
        Refusal::UnknownJob(_) => "unknown_job",
        Refusal::UnknownService(_) => "unknown_service",
        Refusal::UnknownPrincipal(_) => "unknown_principal",
        Refusal::PrincipalExists(_) => "principal_exists",
        Refusal::AssignedElsewhere { .. } => "assigned_elsewhere",
        Refusal::NotLeased(_) => "not_leased",
        Refusal::AlreadyEnded { .. } => "already_ended",
        Refusal::NotAssigned { .. } => "not_assigned",
        Refusal::NotOwner(_) => "not_owner",
        Refusal::NothingToKeep(_) => "nothing_to_keep",
        Refusal::OverQuota { .. } => "over_quota",
        Refusal::KeyReuse { .. } => "key_reuse",
        Refusal::InsufficientPeers { .. } => "insufficient_peers",
        Refusal::TargetNotMet { .. } => "target_not_met",
        Refusal::LowSpace(_) => "low_space",
        Refusal::Clock(_) => "clock",
        Refusal::Store(_) => "store",
        Refusal::Busy(_) => "busy",
        Refusal::Full { .. } => "full",
        Refusal::BadReceipt { .. } => "bad_receipt",
        Refusal::TooLarge(_) => "too_large",
        Refusal::HomeAway { .. } => "home_away",
        Refusal::Stopping => "stopping",
        // The protocol may have learnt more.
        _ => "other",
    }
}
