//! The first wrong step, and what the dump shows around it.

use serde::Serialize;

use super::lines::number_of;
use super::text::several;
use crate::checkpoints::CHECKPOINTS;
use crate::compare::judge::Judged;
use crate::compare::judged_site::{JudgedSite, Outcome};
use crate::compare::site::Site;

/// The first site that is wrong, in the order of execution.
#[derive(Serialize)]
pub struct FirstWrong {
    site: String,
    name: String,
    what: String,
    last_right: Option<String>,
    /// Steps between the two that the dump does not show.
    between: Vec<String>,
    /// Logits: the positions that agree, from the first on.
    pub right_positions: Option<usize>,
    pub look_at: String,
}

impl FirstWrong {
    pub fn of(judged: &Judged, first: usize, all: &[Site]) -> FirstWrong {
        let wrong = &judged.sites[first];
        let before = judged.sites[..first].iter().rev();
        let last_right = before
            .clone()
            .find(|site| site.call == wrong.call && site.is_right());
        let place = |name: &str| all.iter().position(|site| site.name == name);
        let from = last_right
            .and_then(|right| place(&right.site.name))
            .map_or(0, |at| at + 1);
        let to = place(&wrong.site.name).unwrap_or(from);
        let between = all[from.min(to)..to]
            .iter()
            .map(|site| site.name.clone())
            .collect();
        let page = CHECKPOINTS
            .iter()
            .find(|checkpoint| checkpoint.number == number_of(wrong));
        FirstWrong {
            site: wrong.key(),
            name: wrong.name.clone(),
            what: match &wrong.outcome {
                Outcome::Wrong(what) => what.clone(),
                _ => String::new(),
            },
            last_right: last_right.map(JudgedSite::key),
            between,
            right_positions: Some(wrong)
                .filter(|wrong| !wrong.is_last)
                .and_then(JudgedSite::right_positions),
            look_at: page.map_or(String::new(), |page| {
                format!("docs/checkpoints/{:02}-{}.md", page.number, page.name)
            }),
        }
    }

    pub fn print(&self) {
        let at = if self.between.is_empty() {
            "at"
        } else {
            "at or before"
        };
        let name = if self.site.ends_with(&self.name) {
            String::new()
        } else {
            format!(" ({})", self.name)
        };
        say!("FAIL: first wrong {at} {}{name}", self.site);
        say!("  what            {}", self.what);
        match &self.last_right {
            Some(right) => say!("  last right      {right}"),
            None => say!("  last right      nothing before it is in the dump"),
        }
        if !self.between.is_empty() {
            say!("  not in the dump {}", several(&self.between, 8));
        }
    }
}
