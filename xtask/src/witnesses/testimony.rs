//! What another implementation says of a case, in the place of `hf`.

use std::sync::Arc;

use llorch_parity::{Rule, Tolerance, Trace};

use super::Floors;
use crate::checkpoints::Basis;

/// Its tensors of one case, and how far they are from the truth themselves.
pub struct Testimony {
    pub isolated: Trace,
    pub propagated: Trace,
    pub floor: Arc<Floors>,
}

/// Whether a tensor can be judged by a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stance {
    Judges,
    /// Its own worst error there takes more than half of the bound.
    BelowFloor,
    NotShown,
}

impl Testimony {
    pub fn trace(&self, basis: Basis) -> &Trace {
        match basis {
            Basis::Isolated => &self.isolated,
            Basis::Propagated | Basis::Both => &self.propagated,
        }
    }

    /// Of a tensor that is to be compared by a rule; its name may begin with a call.
    pub fn stance(&self, basis: Basis, name: &str, rule: Rule) -> Stance {
        let sites = self.floor.get(basis.name());
        let floor = sites.and_then(|sites| sites.get(site(name)));
        let bound = match rule.tolerance {
            Tolerance::Within(bound) => bound,
            Tolerance::Exact => 0.0,
        };
        match floor {
            None => Stance::NotShown,
            Some(floor) if 2.0 * floor.worst <= bound => Stance::Judges,
            Some(_) => Stance::BelowFloor,
        }
    }
}

/// A tensor's name without its call.
pub fn site(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_call, site)| site)
}
