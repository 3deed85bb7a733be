//! The generated part of docs/witnesses.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use super::matrix::{OURS, Table};
use super::{About, Floor, Witness};
use crate::checkpoints::sites::HIDDEN;
use crate::model_dir::relative;
use crate::root;

/// Writes the part about a model into the page, or compares it with what is there.
///
/// # Errors
/// Where the page cannot be read or written, or has no place for this model.
pub fn publish(
    model: &str,
    witnesses: &[Witness],
    tables: &[Table],
    check: bool,
) -> Result<ExitCode> {
    let path = path();
    let shown = relative(path.clone());
    let shown = shown.display();
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
    let made = replaced(&page, model, witnesses, tables).with_context(|| format!("{shown}"))?;
    if check {
        let is_same = made == page;
        let verdict = if is_same { "is" } else { "is not" };
        say!("{shown} {verdict} what the traces of {model} give");
        return Ok(ExitCode::from(u8::from(!is_same)));
    }
    fs::write(&path, made).with_context(|| format!("cannot write {shown}"))?;
    say!("{model}: {} tables written to {shown}", tables.len());
    Ok(ExitCode::SUCCESS)
}

/// The page with the part about a model made anew.
///
/// # Errors
/// Where it has no place for this model.
pub fn replaced(
    page: &str,
    model: &str,
    witnesses: &[Witness],
    tables: &[Table],
) -> Result<String> {
    let start = format!("<!-- matrix of {model}: cargo xtask refs --matrix -->\n");
    let end = format!("<!-- end of matrix of {model} -->\n");
    let parts = page
        .split_once(&start)
        .and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) =
        parts.with_context(|| format!("expected the lines {}{}", start, end.trim_end()))?;
    let text = text(witnesses, tables);
    Ok(format!("{before}{start}\n{text}\n{end}{after}"))
}

pub fn path() -> PathBuf {
    root().join("docs").join("witnesses.md")
}

fn text(witnesses: &[Witness], tables: &[Table]) -> String {
    let mut text = described(witnesses);
    for (basis, fed) in [
        ("isolated", "every module on what `hf` stored"),
        ("propagated", "the whole model on the tokens"),
    ] {
        let tables: Vec<&Table> = tables.iter().filter(|table| table.basis == basis).collect();
        if tables.is_empty() {
            continue;
        }
        let _ = write!(
            text,
            "\n#### Errors against the truth, {basis}\n\nRMS, in units of max(1, \\|hf\\|), {fed}.\n\n{}",
            errors(&tables)
        );
        let _ = write!(
            text,
            "\n#### Who agrees with whom, {basis}\n\nThe worst difference, in units of the RMS of the tensor.\n"
        );
        for table in tables {
            let _ = write!(text, "\n{}", differences(table));
        }
    }
    text
}

/// What each witness says of itself.
fn described(witnesses: &[Witness]) -> String {
    let mut text = String::from(
        "| witness | label | model code | kernels | versions | not shown |\n|---|---|---|---|---|---|\n",
    );
    for Witness { about, .. } in witnesses {
        let join = |map: &BTreeMap<String, String>| {
            let pairs = map.iter().map(|(name, said)| format!("{name} {said}"));
            pairs.collect::<Vec<_>>().join(", ")
        };
        let hidden = about
            .not_shown
            .keys()
            .map(|kind| format!("`{}`", kind.trim_start_matches("h.")));
        let reasons: BTreeSet<&str> = about.not_shown.values().map(String::as_str).collect();
        let hidden = hidden.collect::<Vec<_>>().join(", ");
        let reasons = reasons.into_iter().collect::<Vec<_>>().join("; ");
        let hidden = if hidden.is_empty() {
            hidden
        } else {
            format!("{hidden}: {reasons}")
        };
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {hidden} |",
            about.name,
            about.label,
            about.model_code,
            about.kernels,
            join(&about.versions)
        );
    }
    text.push('\n');
    for Witness { about, .. } in witnesses {
        let _ = writeln!(text, "- `{}`: {}.{}", about.name, about.how, limits(about));
    }
    text
}

/// What a witness can judge, where its own errors are above the tolerance at some sites.
fn limits(about: &About) -> String {
    let sites = || about.floor.values().flatten();
    // A witness whose own error is above the tolerance cannot judge there.
    let (near, far): (Vec<_>, Vec<_>) = sites().partition(|(_, floor)| floor.worst <= HIDDEN);
    let worst = |a: &Floor, b: &Floor| a.worst.total_cmp(&b.worst);
    let Some((site, most)) = far.iter().max_by(|(_, a), (_, b)| worst(a, b)) else {
        return String::new();
    };
    let near: Vec<String> = near.iter().map(|(site, _)| format!("`{site}`")).collect();
    format!(
        " Its floor ({}) is within {HIDDEN:.0e} at {} alone; above that at {} sites, most at `{site}`: RMS {:.1e}, worst {:.1e}.",
        about.floor_measured,
        near.join(", "),
        far.len(),
        most.rms,
        most.worst
    )
}

/// A row a kind, a column a witness.
fn errors(tables: &[&Table]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for column in tables.iter().flat_map(|table| &table.columns) {
        if !names.contains(&column.name.as_str()) {
            names.push(&column.name);
        }
    }
    let mut text = format!(
        "| kind | {} |\n|---|{}\n",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    let mut above = Vec::new();
    for table in tables {
        let error = |name: &str| {
            table
                .columns
                .iter()
                .find(|c| c.name == name)
                .map(|c| c.error)
        };
        let cells = names
            .iter()
            .map(|name| error(name).map_or(String::new(), figure));
        let _ = writeln!(
            text,
            "| `{}` | {} |",
            table.kind,
            cells.collect::<Vec<_>>().join(" | ")
        );
        let ours = error(OURS).unwrap_or(f64::INFINITY);
        let better = names
            .iter()
            .filter(|name| error(name).is_some_and(|error| error < ours));
        above.extend(better.map(|name| {
            let ratio = ours / error(name).unwrap_or(f64::NAN);
            format!("`{}` ({name}, {ratio:.2} x)", table.kind)
        }));
    }
    let above = if above.is_empty() {
        "at no kind of site".to_owned()
    } else {
        above.join(", ")
    };
    let _ = writeln!(text, "\nOurs is above a witness's: {above}.");
    text
}

/// Everybody who shows a kind beside everybody.
fn differences(table: &Table) -> String {
    let names: Vec<&str> = table.columns.iter().map(|column| &*column.name).collect();
    let mut text = format!(
        "| `{}`, {} floats | {} |\n|---|{}\n",
        table.kind,
        table.elements,
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for column in &table.columns {
        let cells: Vec<String> = column.differences.iter().copied().map(figure).collect();
        let _ = writeln!(text, "| {} | {} |", column.name, cells.join(" | "));
    }
    text
}

fn figure(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    format!("{value:.1e}")
}
