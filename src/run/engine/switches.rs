//! Faults, switched by the timeline, a person, a guard or the end.

use super::{Engine, Sidecars};
use crate::{
    event::{FaultState, RunEvent, SwitchedBy},
    run::{
        mesh::{self, Switch},
        outcome::Ending,
    },
};

impl Engine<'_> {
    pub(super) fn stands(&self, index: usize) -> Switch {
        self.scenario
            .faults
            .get(index)
            .and_then(|fault| self.wiring.switches.get(&fault.id).copied())
            .unwrap_or_default()
    }

    /// Sets switches and publishes what follows, at once.
    pub(super) fn throw(
        &mut self,
        faults: impl IntoIterator<Item = usize>,
        to: Switch,
        sidecars: &Sidecars,
    ) {
        for index in faults {
            if let Some(fault) = self.scenario.faults.get(index) {
                self.wiring.switches.insert(fault.id.clone(), to);
            }
        }
        self.switch(sidecars);
    }

    /// Switches a fault that goes by the clock; the others look at when a request was due.
    pub(super) fn by_the_clock(&mut self, index: usize, on: bool, sidecars: &Sidecars) {
        let fault = self.scenario.faults.get(index);
        let Some(fault) = fault.filter(|fault| fault.kind.is_of_connections()) else {
            return;
        };
        if on {
            self.wiring.live.insert(fault.id.clone());
        } else {
            self.wiring.live.remove(&fault.id);
        }
        self.switch(sidecars);
    }

    /// Publishes faults as their switches stand.
    pub(super) fn switch(&mut self, sidecars: &Sidecars) {
        if let Err(wrong) = self.publish(sidecars) {
            let why = format!("faults could not be switched: {wrong}");
            self.end(Ending::Failed(why));
        }
    }

    /// Gives the sidecars what the wiring says by now; `Err`: what is wrong with it.
    pub(super) fn publish(&self, sidecars: &Sidecars) -> Result<(), String> {
        let config = mesh::config(self.scenario, &self.wiring);
        sidecars.proxy.publish(config).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            problems.join("; ")
        })
    }

    pub(super) fn tell_fault(&mut self, index: usize, state: FaultState, by: SwitchedBy) {
        let t_us = self.now_us();
        let Some(fault) = self.scenario.faults.get(index) else {
            return;
        };
        if let Some(switched) = self.switched.get_mut(index) {
            switched.on = state == FaultState::On;
            switched.ever |= switched.on;
            switched.undone |= state == FaultState::Undone;
        }
        self.emit(RunEvent::Fault {
            t_us,
            id: fault.id.clone(),
            state,
            by,
        });
    }

    /// Takes every fault away, whatever the timeline says.
    pub(super) fn all_off(&mut self, by: SwitchedBy, sidecars: &Sidecars) {
        self.throw(0..self.scenario.faults.len(), Switch::Off, sidecars);
        let on: Vec<usize> = (0..)
            .zip(&self.switched)
            .filter(|(_, switched)| switched.on)
            .map(|(index, _)| index)
            .collect();
        for index in on {
            self.tell_fault(index, FaultState::Off, by);
        }
    }
}
