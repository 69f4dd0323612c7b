//! What happens to the links and to the server.

use super::claims::Check;
use super::member::{COMMAND_TIMEOUT, Link};
use super::plan::Deed;
use super::server::Trouble;
use super::world::{Leftover, World};

impl World {
    pub fn change_weather(&mut self, deed: &Deed) -> Check {
        let now = self.now;
        match *deed {
            Deed::Lag { seat, there, back } => {
                let member = self.member_at(seat);
                (self.members[member].there, self.members[member].back) = (there, back);
            }
            Deed::Stall { seat, ms } => {
                let member = self.member_at(seat);
                self.members[member].stall(now, ms);
            }
            Deed::Jam { seat, ms } => {
                let member = self.member_at(seat);
                self.members[member].jammed_until = now + ms;
            }
            Deed::Mute(seat) => {
                let member = self.member_at(seat);
                self.members[member].mute();
            }
            Deed::Cut {
                seat,
                loses,
                late,
                hears,
                down_for,
            } => {
                let member = self.member_at(seat);
                if hears {
                    self.hear_the_rest(member)?;
                }
                let left_before = self.leftovers.len();
                self.cut(member, down_for)?;
                if loses {
                    self.leftovers.truncate(left_before);
                }
                let left_now = self.leftovers.iter_mut().skip(left_before);
                left_now
                    .flat_map(|leftover| &mut leftover.packets)
                    .for_each(|packet| packet.arrives += late);
            }
            Deed::Kill {
                keeps_data,
                hears,
                down_for,
            } => {
                for member in 0..self.members.len() {
                    if hears {
                        self.hear_the_rest(member)?;
                    }
                    self.cut(member, 1)?;
                }
                self.leftovers.clear();
                self.server.restart(keeps_data);
                self.down_until = Some(now + down_for);
                (self.frozen_until, self.trouble_until, self.server.trouble) = (None, None, None);
            }
            Deed::Flush => self.server.flush_scripts(),
            Deed::Freeze(ms) if self.down_until.is_none() => self.frozen_until = Some(now + ms),
            Deed::Trouble { trouble, ms } if self.down_until.is_none() => {
                self.server.trouble = Some(trouble);
                self.trouble_until = Some(now + ms);
            }
            Deed::Clutter { key, ms } => {
                self.server.clutter(key, true);
                self.clutter.push((key, now + ms));
            }
            _ => {}
        }
        Ok(())
    }

    /// From here on nothing keeps anybody from the server.
    pub fn clear_up(&mut self) -> Check {
        (self.down_until, self.frozen_until, self.trouble_until) = (None, None, None);
        self.server.trouble = None;
        for (key, _) in std::mem::take(&mut self.clutter) {
            self.server.clutter(key, false);
        }
        for member in &mut self.members {
            (member.there, member.back, member.jammed_until) = (1, 1, 0);
            member.stall_ends(self.now);
        }
        Ok(())
    }

    pub fn server_changes_at(&self) -> Option<u64> {
        let clutter = self.clutter.iter().map(|(_, until)| *until).min();
        [self.down_until, self.frozen_until, self.trouble_until, clutter]
            .into_iter()
            .flatten()
            .min()
    }

    pub fn change_server(&mut self) -> Check {
        let now = self.now;
        let is_over = |until: &mut u64| *until <= now;
        self.down_until.take_if(is_over);
        self.frozen_until.take_if(is_over);
        if self.trouble_until.take_if(is_over).is_some() {
            self.server.trouble = None;
        }
        for (key, _) in self.clutter.extract_if(.., |(_, until)| *until <= now) {
            self.server.clutter(key, false);
        }
        Ok(())
    }

    /// What is on its way to a member is heard, although its connection ends.
    fn hear_the_rest(&mut self, member: usize) -> Check {
        while self.members[member].has_replies() {
            self.hear(member, u64::MAX)?;
        }
        Ok(())
    }

    /// The link tries to connect, or has connected.
    pub fn link(&mut self, index: usize) -> Check {
        let fences = self.plan.fences;
        let lets_in = self.is_serving() && self.server.trouble != Some(Trouble::Loading);
        let member = &mut self.members[index];
        match member.link {
            Link::Down { .. } if !lets_in => member.find_nobody(self.now),
            Link::Down { .. } => {
                let left_some = self.leftovers.iter().any(|leftover| leftover.member == index);
                let fenced = fences || !(member.left_some || left_some);
                let at = self.now + member.there + member.back;
                member.link = Link::Joining { at, fenced };
                if fenced {
                    if left_some {
                        self.ledger.see("a command of an ended connection was fenced off");
                    }
                    self.leftovers.retain(|leftover| leftover.member != index);
                }
            }
            Link::Joining { fenced, .. } => {
                self.note(|| format!("member {index}: link is up, fenced: {fenced}"));
                // What may still run does so within the time for a command: later than that, nothing is on its way.
                let latest = self.now + COMMAND_TIMEOUT - 1;
                for leftover in self
                    .leftovers
                    .iter_mut()
                    .filter(|leftover| leftover.member == index)
                {
                    let packets = leftover.packets.iter_mut();
                    packets.for_each(|packet| packet.arrives = packet.arrives.min(latest));
                }
                self.members[index].join(self.now, fenced);
            }
            Link::Up(_) => {}
        }
        Ok(())
    }

    /// The connection ends, and what is on its way to the server goes on.
    pub fn cut(&mut self, index: usize, down_for: u64) -> Check {
        self.note(|| format!("member {index}: link is cut"));
        let packets = self.members[index].break_off(self.now, down_for);
        if !packets.is_empty() {
            self.leftovers.push(Leftover {
                member: index,
                packets,
            });
        }
        Ok(())
    }
}
