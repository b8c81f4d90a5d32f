//! The numbers of the network part, for metrics.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use skyclaw_http_compat::MetricWriter;

use super::counts::{Counts, Overstep};
use super::hello::Denial;
use super::pace::{Paces, Step};
use super::tunnel::PathKind;
use super::view::Shared;

/// Read when the metrics are.
#[derive(Debug)]
pub(super) struct Numbers(pub(super) Arc<Shared>);

impl Collector for Numbers {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut metrics = MetricWriter::new(encoder);
        members(&mut metrics, &self.0)?;
        said(&mut metrics, &self.0.counts)?;
        between(&mut metrics, &self.0.counts)?;
        kinds(&mut metrics, &self.0.counts)?;
        paces(&mut metrics, &self.0.paces)
    }
}

/// Who is there, and how they met.
fn members(metrics: &mut MetricWriter<'_>, shared: &Shared) -> fmt::Result {
    let counts = &shared.counts;
    let (connected, known) = shared.peer_counts();
    let open = counts.connections.load(Relaxed);
    metrics.gauge("p2p_connections", "Connections open, strangers included", open)?;
    metrics.gauge("p2p_peers", "Members connected", connected)?;
    metrics.gauge("p2p_peers_known", "Members known", known)?;
    metrics.atomic_counter("p2p_dials", "Attempts to reach a node", &counts.dials)?;
    metrics.atomic_counter("p2p_dial_failures", "Attempts that failed", &counts.dial_failures)?;
    let help = "Attempts of others to reach this node, at its wish, that failed";
    metrics.atomic_counter("p2p_unreached", help, &counts.unreached)?;
    metrics.atomic_counter(
        "p2p_handshakes",
        "Handshakes that admitted a peer",
        &counts.handshakes,
    )?;
    let help = "Handshakes not begun: too many";
    metrics.atomic_counter("p2p_handshakes_dropped", help, &counts.handshakes_dropped)
}

/// What members said and asked.
fn said(metrics: &mut MetricWriter<'_>, counts: &Counts) -> fmt::Result {
    let help = "Coordinators that pass on to this one what coordinators gossip";
    metrics.gauge("gossip_mesh_peers", help, counts.gossip_mesh.load(Relaxed))?;
    let help = "Coordinators connected that do not hear gossip";
    metrics.gauge("gossip_deaf_peers", help, counts.deaf.load(Relaxed))?;
    metrics.atomic_counter("frames_sent", "Frames sent to coordinators", &counts.frames_sent)?;
    metrics.atomic_counter(
        "frames_received",
        "Frames received from coordinators",
        &counts.frames_received,
    )?;
    let help = "Frames and frame streams not taken: strangers, nonsense, no room";
    metrics.atomic_counter("frames_refused", help, &counts.frames_refused)?;
    metrics.atomic_counter("gossip_published", "Frames gossiped", &counts.gossip_published)?;
    let help = "Gossip not sent: too long, said before, or to nobody";
    metrics.atomic_counter("gossip_unsent", help, &counts.gossip_unsent)?;
    metrics.atomic_counter(
        "gossip_received",
        "Frames of gossip received",
        &counts.gossip_received,
    )?;
    metrics.atomic_counter("gossip_accepted", "Of these, passed on", &counts.gossip_accepted)?;
    metrics.atomic_counter("gossip_ignored", "Of these, not passed on", &counts.gossip_ignored)?;
    let help = "Of these, such as no honest node sends";
    metrics.atomic_counter("gossip_rejected", help, &counts.gossip_rejected)?;
    metrics.atomic_counter(
        "gossip_dropped",
        "Of those ignored, without room",
        &counts.gossip_dropped,
    )?;
    let help = "Connections begun anew because the other did not hear gossip";
    metrics.atomic_counter("gossip_mended", help, &counts.deaf_mended)?;
    metrics.atomic_counter(
        "asks_answered",
        "Questions of members that were answered",
        &counts.asks_answered,
    )?;
    let help = "Questions whose asker went away, or that have no answer";
    metrics.atomic_counter("asks_given_up", help, &counts.asks_given_up)?;
    let help = "Questions not heard: strangers, nonsense, too slow, no room";
    metrics.atomic_counter("asks_refused", help, &counts.asks_refused)
}

/// Between nodes that cannot simply call each other: relays, punched holes, tunnels.
fn between(metrics: &mut MetricWriter<'_>, counts: &Counts) -> fmt::Result {
    let help = "Relays at which this node holds a place";
    metrics.gauge("relay_reservations", help, counts.berths.load(Relaxed))?;
    let help = "Connections of others that this node passes on";
    metrics.gauge("relay_circuits", help, counts.circuits_open.load(Relaxed))?;
    let help = "Places that this node gave others, as their relay";
    metrics.atomic_counter("relay_reservations_given", help, &counts.places_given)?;
    let help = "Connections of others that this node began to pass on";
    metrics.atomic_counter("relay_circuits_opened", help, &counts.circuits)?;
    let help = "Places and connections that this node refused others, as their relay";
    metrics.atomic_counter("relay_refusals", help, &counts.circuits_refused)?;
    let help = "Relayed connections that became direct ones";
    metrics.atomic_counter("hole_punches", help, &counts.punched)?;
    let help = "Relayed connections that stayed so";
    metrics.atomic_counter("hole_punches_failed", help, &counts.not_punched)?;
    let help = "Tunnels of others not served: strangers, nonsense, no room, or as the service said";
    metrics.atomic_counter("tunnels_refused", help, &counts.tunnels_refused)?;
    let help = "Tunnels to others that were not opened";
    metrics.atomic_counter("tunnels_failed", help, &counts.tunnels_failed)?;
    let of_path = |value: fn(&Counts, PathKind) -> u64| {
        let paths = [PathKind::Direct, PathKind::Relayed].into_iter();
        paths.map(move |path| ([("path", path.as_str())], value(counts, path)))
    };
    let help = "Tunnels that were opened, by either side and by path";
    let opened = of_path(|counts, path| counts.tunnels(path).opened.load(Relaxed));
    metrics.counters("tunnels_opened", help, opened)?;
    let open = of_path(|counts, path| counts.tunnels(path).open.load(Relaxed));
    metrics.gauges("tunnels", "Tunnels open as of now, by path", open)
}

/// What was not taken, by kind.
fn kinds(metrics: &mut MetricWriter<'_>, counts: &Counts) -> fmt::Result {
    let refused = Denial::ALL.iter().zip(&counts.refused);
    metrics.counters(
        "p2p_refusals",
        "Handshakes that ended in a refusal, by reason",
        refused.map(|(why, count)| ([("reason", why.label())], count.load(Relaxed))),
    )?;
    let overstepped = Overstep::ALL.iter().zip(&counts.overstepped);
    metrics.counters(
        "p2p_oversteps",
        "What members did that their roles do not allow, by kind; none of it was taken",
        overstepped.map(|(what, count)| ([("kind", what.label())], count.load(Relaxed))),
    )
}

/// How much peers make this node work.
fn paces(metrics: &mut MetricWriter<'_>, paces: &Paces) -> fmt::Result {
    let of_step = |value: fn(&Paces, Step) -> u64| {
        let steps = Step::ALL.into_iter();
        steps.map(move |step| ([("step", step.label())], value(paces, step)))
    };
    let help = "Work that peers asked for, in units, by step";
    metrics.counters("peer_work_units", help, of_step(|paces, step| paces.asked(step)))?;
    let help = "How often a peer asked for more than its rate, and waited or was dropped, by step";
    metrics.counters("peer_throttled", help, of_step(|paces, step| paces.throttled(step)))
}
