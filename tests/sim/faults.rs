//! What goes wrong: links are cut, processes die, machines stand still, clocks jump.

use crate::clock::{At, MS, SECOND};
use crate::net::Party;
use crate::world::{Event, World};

impl World {
    /// One thing goes wrong, and the next one will.
    pub(crate) fn fault(&mut self) {
        if self.healed {
            return;
        }
        let gap = self.dice.within(1, 2 * self.scene.fault_gap);
        self.after(gap, Event::Fault);
        match self.dice.below(20) {
            0..6 => self.cut_something(),
            6..10 => self.crash_node(),
            10..12 => self.suspend_node(),
            12..14 => self.suspend_host(),
            14 => self.crash_host(),
            15 | 16 => self.silence_daemon(),
            17 => self.jump_clock(),
            _ => self.open_all(),
        }
    }

    fn parties(&self) -> usize {
        self.nodes.len() + self.hosts.len() + self.daemons.len() + self.clients.len()
    }

    fn cut_something(&mut self) {
        let (nodes, all) = (self.nodes.len(), self.parties());
        let mut ways = Vec::new();
        match self.dice.below(4) {
            // Two sides.
            0 | 1 => {
                let side: Vec<bool> = (0..all).map(|_| self.dice.one_in(2)).collect();
                let one_way = self.dice.one_in(4);
                for a in 0..all {
                    for b in (0..all).filter(|b| side[a] && !side[*b]) {
                        ways.push((a, b));
                        if !one_way {
                            ways.push((b, a));
                        }
                    }
                }
            }
            // One coordinator from some or all others, maybe in one direction.
            2 => {
                let node = self.dice.index(nodes);
                let kind = self.dice.below(3);
                for other in (0..all).filter(|other| *other != node) {
                    if kind != 1 {
                        ways.push((node, other));
                    }
                    if kind != 2 {
                        ways.push((other, node));
                    }
                }
            }
            // One link.
            _ => {
                let (a, b) = (self.dice.index(nodes), self.dice.index(all));
                ways.push((a, b));
                if self.dice.one_in(2) {
                    ways.push((b, a));
                }
            }
        }
        self.say(|_| format!("FAULT cut {ways:?}"));
        self.net.cut.extend(ways.iter().copied());
        let lasts = self.lasts();
        self.touch_ways(&ways, false);
        self.after(lasts, Event::Open(ways));
    }

    fn lasts(&mut self) -> At {
        let most = [2, 10, 45][self.dice.index(3)];
        let lasts = self.dice.within(100, most * 1000) * MS;
        // Nothing outlasts the last heal.
        lasts.min(self.scene.chaos.saturating_sub(self.now))
    }

    fn touch_ways(&mut self, ways: &[(Party, Party)], soon: bool) {
        let linked = self.nodes.len() + self.hosts.len();
        for (a, b) in ways {
            let (a, b) = (*a.min(b), *a.max(b));
            if a != b && a < self.nodes.len() && b < linked {
                self.touch_link(a, b, soon);
            }
        }
    }

    pub(crate) fn open(&mut self, ways: Vec<(Party, Party)>) {
        for way in &ways {
            self.net.cut.remove(way);
        }
        self.touch_ways(&ways, true);
    }

    fn open_all(&mut self) {
        let ways: Vec<_> = std::mem::take(&mut self.net.cut).into_iter().collect();
        self.say(|_| "all ways are open".into());
        self.touch_ways(&ways, true);
    }

    fn crash_node(&mut self) {
        let node = self.dice.index(self.nodes.len());
        let down = match self.dice.below(3) {
            0 => self.dice.within(20, 1000) * MS,
            1 => self.dice.within(1, 10) * SECOND,
            _ => self.dice.within(10, 50) * SECOND,
        };
        self.crash(node, "power or process", down);
    }

    fn suspend_node(&mut self) {
        let node = self.dice.index(self.nodes.len());
        let until = self.now + self.lasts();
        self.say(|_| format!("FAULT coordinator {node} stands still"));
        let at = &mut self.nodes[node];
        (at.asleep, at.slept) = (at.asleep.max(until), self.now);
        self.touch_links(node, false);
        self.touch_later(node, until);
    }

    /// Once it goes on it is connected again.
    fn touch_later(&mut self, party: Party, until: At) {
        let nodes = self.nodes.len();
        let all = if party < nodes { nodes + self.hosts.len() } else { nodes };
        for other in (0..all).filter(|other| *other != party) {
            let pause = until - self.now + self.dice.within(50, 2000) * MS;
            self.after(pause, Event::Link(party.min(other), party.max(other)));
        }
    }

    fn suspend_host(&mut self) {
        let Some(host) = (!self.hosts.is_empty()).then(|| self.dice.index(self.hosts.len())) else {
            return;
        };
        let until = self.now + self.lasts();
        self.say(|_| format!("FAULT host {host} stands still"));
        let at = &mut self.hosts[host];
        (at.asleep, at.slept) = (at.asleep.max(until), self.now);
        let party = self.hosts[host].party;
        self.touch_links(party, false);
        self.touch_later(party, until);
    }

    fn crash_host(&mut self) {
        if !self.hosts.is_empty() {
            let host = self.dice.index(self.hosts.len());
            self.crash_attached(host);
        }
    }

    fn silence_daemon(&mut self) {
        if !self.daemons.is_empty() {
            let daemon = self.dice.index(self.daemons.len());
            let until = self.now + self.lasts();
            self.say(|_| format!("FAULT daemon {daemon} is silent"));
            self.daemons[daemon].asleep = until;
        }
    }

    /// Wall clocks stay within what others believe.
    fn jump_clock(&mut self) {
        let off = self.dice.within(0, 30_000).cast_signed() - 15_000;
        let at = self.dice.index(self.nodes.len() + self.hosts.len());
        self.say(|_| format!("FAULT clock of {at} jumps to {off} ms"));
        let nodes = self.nodes.len();
        match self.nodes.get_mut(at) {
            Some(node) => node.clock.off_ms = off,
            None => self.hosts[at - nodes].clock.off_ms = off,
        }
    }

    /// The last heal: everybody comes back, and nothing goes wrong from here on.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.say(|_| "HEALED".into());
        self.scene.failing = 0;
        for _ in 0..self.scene.dead {
            let node = self.dice.index(self.nodes.len());
            self.nodes[node].dead = true;
            self.crash(node, "for good", 0);
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].machine.is_none() && !self.nodes[node].dead {
                self.start(node);
            }
        }
        self.calm();
    }
}
