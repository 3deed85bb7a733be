//! What `bench` found, as JSON and as a table.

use serde::Serialize;

use super::comparison::Comparison;
use super::figure::{Figure, Growth, Spread};
use super::first_token::FirstToken;
use super::probe::Limits;

/// What was measured, on what.
#[derive(Serialize)]
pub struct Subject {
    pub model: String,
    /// Whether its weights are random numbers.
    pub random: bool,
    pub layers: usize,
    pub channels: usize,
    pub heads: usize,
    pub inner: usize,
    pub positions: usize,
    pub vocabulary: usize,
    pub weight_bytes: f64,
    pub threads: usize,
    pub isa: &'static str,
    pub version: &'static str,
    pub commit: Option<String>,
    /// Whether files differ from the commit's.
    pub dirty: bool,
    pub rounds: usize,
}

/// Everything.
#[derive(Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub subject: Subject,
    pub figures: Vec<Figure>,
    pub first_token: FirstToken,
    pub limits: Range,
    /// Without `--peers` nobody was compared with.
    pub peers: Option<Vec<Comparison>>,
}

/// The limits over the whole run.
#[derive(Serialize)]
pub struct Range {
    pub read: Spread,
    /// The way of reading that was the best most often.
    pub way: String,
    pub multiply_adds: Spread,
    pub round_trip: Spread,
    pub placement: Option<PlacementRange>,
    pub probes: Vec<Limits>,
}

#[derive(Serialize)]
pub struct PlacementRange {
    pub multiply_adds_ratio: Spread,
    pub read_ratio: Spread,
    /// Probes in which threads shared a core.
    pub siblings: usize,
}

impl Range {
    pub fn new(probes: Vec<Limits>) -> Self {
        let spread = |value: fn(&Limits) -> f64| Spread::of(probes.iter().map(value));
        let placed = probes.iter().filter_map(|limits| limits.placement);
        let often = |way: &String| probes.iter().filter(|other| other.way == *way).count();
        let ways = probes.iter().map(|limits| &limits.way);
        Range {
            read: spread(|limits| limits.read),
            way: ways
                .max_by_key(|way| often(way))
                .cloned()
                .unwrap_or_default(),
            multiply_adds: spread(|limits| limits.multiply_adds),
            round_trip: spread(|limits| limits.round_trip),
            placement: placed.clone().next().is_some().then(|| PlacementRange {
                multiply_adds_ratio: Spread::of(placed.clone().map(|p| p.multiply_adds_ratio)),
                read_ratio: Spread::of(placed.clone().map(|p| p.read_ratio)),
                siblings: placed.filter(|p| p.siblings).count(),
            }),
            probes,
        }
    }
}

/// Prints as things are found, or nothing where JSON was asked for.
pub struct Table {
    pub silent: bool,
}

impl Table {
    pub fn head(&self, subject: &Subject) {
        if self.silent {
            return;
        }
        let kind = if subject.random {
            ", random weights"
        } else {
            ""
        };
        say!(
            "model   {}: {:.0} MB{kind}",
            subject.model,
            subject.weight_bytes / 1e6
        );
        say!(
            "shape   {} layers, {} channels, {} heads, {} inner, {} positions, {} tokens",
            subject.layers,
            subject.channels,
            subject.heads,
            subject.inner,
            subject.positions,
            subject.vocabulary
        );
        let threads = subject.threads;
        let plural = if threads == 1 { "" } else { "s" };
        let commit = subject
            .commit
            .as_deref()
            .map_or("unknown", |commit| commit.get(..12).unwrap_or(commit));
        let changes = if subject.dirty { " with changes" } else { "" };
        say!(
            "on      {threads} thread{plural}, {}; version {}, commit {commit}{changes}; {} rounds",
            subject.isa,
            subject.version,
            subject.rounds
        );
        say!();
        say!(
            "{:<28}  {:>9}  {:>13}  {:>6}  {:>6}  growth",
            "",
            "time",
            "rate",
            "read",
            "fma"
        );
    }

    pub fn figure(&self, figure: &Figure) {
        if self.silent {
            return;
        }
        let growth = match figure.growth {
            None => String::new(),
            Some(Growth::OverBatch1(ratio)) => format!("{ratio:.2} x the rate of batch 1"),
            Some(Growth::PerToken {
                time,
                without_attention,
            }) => format!(
                "{time:.3} x the time per token, {without_attention:.3} x without attention"
            ),
        };
        let line = format!(
            "{:<28}  {:>9}  {:>7.1} tok/s  {:>5.1}%  {:>5.1}%  {growth}",
            figure.task.to_string(),
            time(figure.seconds),
            figure.tokens_per_second,
            100.0 * figure.of_read,
            100.0 * figure.of_multiply_adds,
        );
        say!("{}", line.trim_end());
    }

    pub fn first_token(&self, found: &FirstToken) {
        if self.silent {
            return;
        }
        let start = found.start;
        say!(
            "{:<28}  {:>9}  {} without the process's start",
            format!("first token after {}", found.prompt),
            time(start.from_start),
            time(start.seconds)
        );
        let (peak, ratio) = match (start.peak_bytes, found.peak_ratio) {
            (Some(peak), Some(ratio)) => (
                format!("{:.0} MB", peak / 1e6),
                format!("{ratio:.3} x weights and cache"),
            ),
            _ => (
                "unknown".to_owned(),
                "no VmHWM in /proc/self/status".to_owned(),
            ),
        };
        say!("{:<28}  {peak:>9}  {ratio}", "peak memory");
    }

    pub fn foot(&self, limits: &Range) {
        if self.silent {
            return;
        }
        say!();
        say!(
            "limits{:22}  {:>9}  {:>9}  {:>9}",
            "",
            "least",
            "median",
            "most"
        );
        let row = |name: &str, unit: f64, digits: usize, spread: Spread, more: &str| {
            let [min, median, max] =
                [spread.min, spread.median, spread.max].map(|value| value / unit);
            let line = format!(
                "{name:<28}  {min:>9.digits$}  {median:>9.digits$}  {max:>9.digits$}  {more}"
            );
            say!("{}", line.trim_end());
        };
        row("read, GB/s", 1e9, 1, limits.read, &limits.way);
        row("multiply-adds, GFLOP/s", 1e9, 0, limits.multiply_adds, "");
        if let Some(placement) = &limits.placement {
            row("round trip, microseconds", 1e-6, 2, limits.round_trip, "");
            row("read, x one thread", 1.0, 2, placement.read_ratio, "");
            let siblings = match placement.siblings {
                0 => String::new(),
                some => format!("siblings of one core in {some} of {}", limits.probes.len()),
            };
            let ratio = placement.multiply_adds_ratio;
            row("multiply-adds, x one thread", 1.0, 2, ratio, &siblings);
        }
        say!();
        say!(
            "read, fma  the share of the limits measured beside it, by what the task cannot do without"
        );
        say!("           (above 100%: it came from a cache)");
        say!("growth     attention's own operations are left out at the limit's speed");
    }

    pub fn peers(&self, peers: &[Comparison]) {
        if self.silent {
            return;
        }
        say!();
        for peer in peers {
            match (&peer.version, &peer.detail, &peer.absent) {
                (_, _, Some(absent)) => say!("{:<15} absent: {absent}", peer.peer),
                (Some(version), Some(detail), None) => {
                    say!("{:<15} {version}; {detail}", peer.peer);
                }
                _ => {}
            }
        }
        let names = peers.iter().flat_map(|peer| &peer.rows);
        let mut names: Vec<&str> = names.map(|row| row.name.as_str()).collect();
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| seen.insert(*name));
        say!();
        say!(
            "{:<28}  {:<15}  {:>9}  {:>9}  {:>6}",
            "in alternation",
            "peer",
            "ours",
            "theirs",
            "ratio"
        );
        for name in names {
            one_row(peers, name);
        }
        say!();
        say!("ratio  the median of the pairs' ratios, their time over ours; * the best peer");
    }
}

/// What all peers did in one row.
fn one_row(peers: &[Comparison], name: &str) {
    let rows = || {
        let of_peer = |peer: &'_ Comparison| peer.rows.iter().position(|row| row.name == name);
        peers.iter().filter_map(move |peer| {
            let row = peer.rows.get(of_peer(peer)?)?;
            Some((peer.peer.as_str(), row))
        })
    };
    let ratios = rows().filter_map(|(_, row)| row.medians.map(|medians| medians.ratio));
    let best = ratios.fold(f64::INFINITY, f64::min);
    for (i, (peer, row)) in rows().enumerate() {
        let name = if i == 0 { name } else { "" };
        match (row.medians, &row.absent) {
            (Some(medians), _) => say!(
                "{name:<28}  {peer:<15}  {:>9}  {:>9}  {:>6.3}{}",
                time(medians.ours),
                time(medians.theirs),
                medians.ratio,
                if medians.ratio == best { " *" } else { "" }
            ),
            (None, absent) => say!(
                "{name:<28}  {peer:<15}  absent: {}",
                absent.as_deref().unwrap_or("no pairs")
            ),
        }
    }
}

fn time(seconds: f64) -> String {
    if seconds < 0.01 {
        format!("{:.3} ms", 1e3 * seconds)
    } else if seconds < 10.0 {
        format!("{:.1} ms", 1e3 * seconds)
    } else {
        format!("{seconds:.1} s")
    }
}
