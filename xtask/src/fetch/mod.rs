//! `cargo xtask fetch`: a model from the Hugging Face hub into the cache that its own tools share.
//!
//! Not by the hf-hub crate: 1.0 starts a broken download anew, checks no hash, knows no HF_HUB_OFFLINE, and
//! brings 235 crates, aws-lc and its cmake among them.

mod digest;
mod download;
mod hub;
mod listing;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use llorch_weights::hub::{Cache, MAIN, Repo, is_revision};
use llorch_weights::{Config, Weights};
use serde::Deserialize;

use digest::Digest;
use download::Source;
use hub::{Hub, variable};
use listing::Listing;
use snapshot::Snapshot;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// SHA-256 of GPT-2's weights, of 548,105,171 bytes, as many public repositories record it independently of
/// each other, for commit 607a30d783dfa663caf39e06633721c8d4cfcd7e.
const GPT2: &str = "248dfc3911869ec493c76e65bf2fcf7f615828b0254c12b473182f0f81d3a707";

/// Fetches a GPT-2 from the Hugging Face hub; `--model NAME` finds it from then on.
///
/// What is there already is checked and not fetched again; what broke off is resumed. HF_HOME, HF_HUB_CACHE,
/// HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE and HF_HUB_DOWNLOAD_TIMEOUT (seconds without a byte) mean what
/// they mean to Hugging Face's own tools.
#[derive(clap::Args)]
pub struct Options {
    /// A repository of the hub: openai-community/gpt2, openai-community/gpt2-xl, distilbert/distilgpt2, ...
    model: String,
    /// A branch, a tag or a commit
    #[arg(long, value_name = "R", default_value = MAIN)]
    revision: String,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let (name, revision) = (&options.model, &options.revision);
    let repo = Repo::new(name).with_context(|| {
        format!("{name}: expected a repository's name as openai-community/gpt2")
    })?;
    ensure!(
        is_revision(revision),
        "--revision {revision}: expected a branch, a tag or a commit"
    );
    let cache = Cache::from_env()
        .context("HF_HOME: expected a folder for the cache, found neither that nor a home")?;
    if is_offline() {
        let dir = cache.snapshot(&repo, revision).with_context(|| {
            let root = cache.root().display();
            format!("HF_HUB_OFFLINE is set, and {repo} at {revision} is not in {root}")
        })?;
        say!("HF_HUB_OFFLINE is set: nothing was asked or checked");
        return Ok(done(&repo, revision, &dir));
    }
    let hub = Hub::from_env()?;
    let listing = hub.listing(&repo, revision)?;
    check_known(&repo, revision, &listing)?;
    let snapshot = Snapshot::new(&cache, &repo, &listing.commit);
    let source = Source {
        hub: &hub,
        cache: &cache,
        repo: &repo,
        commit: &listing.commit,
    };
    say!("{repo} at {}", listing.commit);
    fetch(&source, &listing, &snapshot)?;
    snapshot.name(revision)?;
    Ok(done(&repo, revision, snapshot.dir()))
}

/// All files of a model, the smallest first: what is not a GPT-2 is refused before its weights are fetched.
fn fetch(source: &Source, listing: &Listing, snapshot: &Snapshot) -> Result<()> {
    let fetch = |name: &str| {
        let entry = listing.entry(name)?;
        let fetched = source.fetch(&entry)?;
        let how = match fetched.received {
            0 => "was there".to_owned(),
            received if received < entry.size => format!("resumed, {received} bytes fetched"),
            _ => "fetched".to_owned(),
        };
        say!("  {name}: {} bytes, {}, {how}", entry.size, entry.digest);
        snapshot.show(name, &fetched.blob)
    };
    let weights = weights(source, listing)?;
    fetch("config.json")?;
    Config::open(snapshot.dir())?;
    let pair = ["vocab.json", "merges.txt"];
    if listing.has("tokenizer.json") {
        fetch("tokenizer.json")?;
    } else if pair.iter().all(|name| listing.has(name)) {
        pair.into_iter().try_for_each(fetch)?;
    } else {
        say!("  the repository has no tokenizer: the model takes token ids alone");
    }
    weights.iter().try_for_each(|name| fetch(name))?;
    Weights::open(snapshot.dir())?;
    Ok(())
}

/// The files of the weights: one, or an index and the shards that it names.
fn weights(source: &Source, listing: &Listing) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    if listing.has(WEIGHTS) {
        return Ok(vec![WEIGHTS.to_owned()]);
    }
    ensure!(
        listing.has(INDEX),
        "{}: expected {WEIGHTS} or {INDEX} in the repository, found neither; weights in any other form \
         (pickles are programs) are never fetched",
        source.repo
    );
    let index = source.fetch(&listing.entry(INDEX)?)?.blob;
    let text = std::fs::read(&index).with_context(|| format!("cannot read {}", index.display()))?;
    let Index { weight_map } =
        serde_json::from_slice(&text).with_context(|| format!("{INDEX} is no index"))?;
    let shards: BTreeSet<String> = weight_map.into_values().collect();
    for shard in &shards {
        let is_plain = shard.ends_with(".safetensors") && !shard.contains(['/', '\\', ':']);
        ensure!(
            is_plain,
            "{INDEX}: expected names of .safetensors files, found {shard:?}"
        );
    }
    Ok([INDEX.to_owned()].into_iter().chain(shards).collect())
}

/// Compares what the hub lists with what is known of the model from elsewhere.
fn check_known(repo: &Repo, revision: &str, listing: &Listing) -> Result<()> {
    if matches!(repo.name(), "openai-community/gpt2" | "gpt2") && revision == MAIN {
        let listed = listing.entry(WEIGHTS)?.digest;
        if Some(&listed) != Digest::sha256(GPT2).as_ref() {
            bail!(
                "{repo}: {WEIGHTS} is listed with {listed}, and GPT-2's is known to have sha256 {GPT2}; \
                 nothing was fetched (--revision COMMIT fetches one that is meant)"
            );
        }
    }
    Ok(())
}

fn done(repo: &Repo, revision: &str, dir: &Path) -> ExitCode {
    say!("{}", dir.display());
    if revision == MAIN {
        say!("`--model {repo}` finds it");
    } else {
        say!("`--model` takes this path; `--model {repo}` means {MAIN}");
    }
    ExitCode::SUCCESS
}

/// As Hugging Face's tools read it.
fn is_offline() -> bool {
    let value = variable("HF_HUB_OFFLINE").unwrap_or_default();
    ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
}
