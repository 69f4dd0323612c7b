//! What happens to the links and to the server.

use super::claims::Check;
use super::plan::Deed;
use super::world::World;

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
                unnoticed,
            } => {
                let member = self.member_at(seat);
                if hears {
                    self.hear_the_rest(member)?;
                }
                let left_before = self.leftovers.len();
                self.cut(member, down_for, unnoticed);
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
                    self.cut(member, 1, 0);
                }
                self.leftovers.clear();
                if !keeps_data {
                    self.server.flush_all();
                }
                self.down_until = Some(now + down_for);
                (self.frozen_until, self.trouble_until, self.server.trouble) = (None, None, None);
            }
            Deed::FlushAll => {
                self.server.flush_all();
                self.ledger.forget_places(|_| true);
            }
            Deed::Deafen { seat, ms } => {
                let member = self.member_at(seat);
                self.members[member].deaf_until = now + ms;
            }
            Deed::Echo(seat) => {
                let member = self.member_at(seat);
                self.members[member].echo(now);
            }
            Deed::Suspend { seat, ms } => {
                let member = self.member_at(seat);
                self.members[member].freeze(now, ms);
                self.ledger.frozen_until[member] = self.members[member].frozen_until;
            }
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
    pub fn clear_up(&mut self) {
        (self.down_until, self.frozen_until, self.trouble_until) = (None, None, None);
        self.server.trouble = None;
        for (key, _) in std::mem::take(&mut self.clutter) {
            self.server.clutter(key, false);
        }
        for member in &mut self.members {
            (member.there, member.back) = (1, 1);
            member.deaf_until = 0;
            if self.now >= member.frozen_until {
                member.stall_ends(self.now);
            }
        }
    }

    pub fn server_changes_at(&self) -> Option<u64> {
        let clutter = self.clutter.iter().map(|(_, until)| *until).min();
        [self.down_until, self.frozen_until, self.trouble_until, clutter]
            .into_iter()
            .flatten()
            .min()
    }

    pub fn change_server(&mut self) {
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
    }

    /// What is on its way to a member is heard, although its connection ends.
    fn hear_the_rest(&mut self, member: usize) -> Check {
        while self.members[member].has_words() {
            self.hear(member, u64::MAX)?;
        }
        Ok(())
    }
}
