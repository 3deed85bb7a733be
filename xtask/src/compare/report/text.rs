//! A report as it is printed.

use super::Report;
use super::first_wrong::FirstWrong;
use crate::compare::diagnosis::{Cause, Diagnosis};

impl Report {
    pub fn print_text(&self, verbose: bool) {
        say!("model       {}", self.model);
        say!("references  {}, case {}", self.references, self.case);
        say!("dump        {}", self.dump);
        say!("names       {}", self.map);
        for assumed in &self.assumed {
            say!("assumed     {assumed}");
        }
        say!("");
        say!(" #  checkpoint   sites  elements  worst |d|   bound      R  verdict");
        for checkpoint in &self.checkpoints {
            say!("{}", checkpoint.line());
        }
        say!("");
        self.print_verdict();
        if let (Some(wrong), Some(diagnosis)) = (&self.first_wrong, &self.diagnosis) {
            print_diagnosis(wrong, diagnosis);
        }
        if verbose {
            self.print_details();
        }
    }

    fn print_verdict(&self) {
        let sites = self
            .sites
            .iter()
            .filter(|row| row.verdict == "right")
            .count();
        match (&self.first_wrong, self.verdict) {
            (Some(wrong), _) => wrong.print(),
            (None, "PASS") => {
                say!("PASS over {sites} tensors: they agree");
                self.print_limits();
            }
            (None, _) => say!("INCONCLUSIVE: {sites} tensors agree, and more is not known"),
        }
        for because in &self.because {
            say!("  not known       {because}");
        }
    }

    /// What a PASS is not about.
    fn print_limits(&self) {
        for absent in &self.not_in_the_dump {
            let some = |what: &str, of: &Option<String>| {
                of.as_ref()
                    .map_or(String::new(), |some| format!("{what} {some}: "))
            };
            say!(
                "  not in the dump {}{}{}",
                some("calls", &absent.calls),
                some("layers", &absent.layers),
                absent.sites.join(", ")
            );
        }
        if !self.unknown_names.is_empty() {
            say!("  no such name    {}", several(&self.unknown_names, 8));
        }
        if !self.without_reference.is_empty() {
            say!(
                "  not judged      {} tensors that this case has no reference for",
                self.without_reference.len()
            );
        }
    }

    fn print_details(&self) {
        say!("");
        for row in &self.sites {
            say!("{}", row.line());
        }
        for (what, names) in [
            ("no such name in the map", &self.unknown_names),
            ("no reference in this case", &self.without_reference),
        ] {
            if !names.is_empty() {
                say!("{what}: {}", names.join(", "));
            }
        }
    }
}

/// The first few names, and how many more there are.
pub fn several(names: &[String], most: usize) -> String {
    let shown = names
        .iter()
        .take(most)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
fn print_diagnosis(wrong: &FirstWrong, diagnosis: &Diagnosis) {
    if !diagnosis.is_complete {
        say!(
            "  not tried       the known mistakes: too many layers for them; dump more sites, or feed fewer tokens"
        );
    }
    match &diagnosis.causes[..] {
        [] => say!(
            "  cause           none of {} explanations reproduces it",
            diagnosis.tried
        ),
        [cause] if diagnosis.is_certain => print_cause("cause", cause),
        [cause] => print_cause("perhaps", cause),
        causes => {
            say!(
                "  cause           one of {} that cannot be told apart here",
                causes.len()
            );
            for cause in causes {
                print_cause("    or", cause);
            }
        }
    }
    let figure = |value: Option<f64>| {
        value.map_or("of another form".to_owned(), |value| {
            format!("off by {value:.1e}")
        })
    };
    let runner_up = diagnosis.runner_up.as_ref().map_or(String::new(), |next| {
        format!("; next best off by {:.1e}: {}", next.residue, next.says)
    });
    let correct = figure(diagnosis.correct);
    say!(
        "  beside it       what is right is {correct}, rounding is {:.1e}{runner_up}",
        diagnosis.noise
    );
    if let Some(right) = diagnosis.place.right_before {
        say!(
            "  positions       right before position {right}, wrong from there on: a boundary of chunks?"
        );
    } else if let Some(right) = wrong.right_positions.filter(|right| *right > 0) {
        say!("  positions       the first {right} agree");
    }
    if diagnosis.causes.is_empty() {
        say!("  where           {}", diagnosis.place.says.join("; "));
        let growth = diagnosis
            .place
            .growth
            .iter()
            .map(|(site, error)| format!("{site} {error:.1e}"));
        let growth: Vec<String> = growth.collect();
        if !growth.is_empty() {
            say!("  along layers    {}", several(&growth, 8));
        }
    }
    say!("  look at         {}", wrong.look_at);
}

fn print_cause(label: &str, cause: &Cause) {
    say!(
        "  {label:<15} {} (off by {:.1e})",
        cause.says,
        cause.residue
    );
    let Some(reach) = &cause.reach else {
        return;
    };
    let layers = reach.only_layer.map_or(String::new(), |layer| {
        format!(", made in layer {layer} alone")
    });
    let extent = match &reach.until {
        None => format!("all {} tensors from there on{layers}", reach.of),
        Some(until) => format!(
            "{} of {} tensors from there on{layers}; not {until}: compare again when this is mended",
            reach.sites, reach.of
        ),
    };
    say!("  {:<15} reproduces {extent}", "");
}
