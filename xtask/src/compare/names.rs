//! Other people's names for the sites: tables in maps/*.toml, and a user's own of the same form.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::layout::Layout;
use super::site;

/// What comes with this program, by name.
const BUILT_IN: [(&str, &str); 5] = [
    ("llorch", include_str!("maps/llorch.toml")),
    ("transformers", include_str!("maps/transformers.toml")),
    (
        "transformer-lens",
        include_str!("maps/transformer-lens.toml"),
    ),
    ("llama-cpp", include_str!("maps/llama-cpp.toml")),
    ("nanogpt", include_str!("maps/nanogpt.toml")),
];

/// The queries, keys and values of a layer side by side, [B, T, 3C].
pub const QKV: &str = "attn.qkv";
/// The token ids that a call was fed.
pub const TOKENS: &str = "tokens";

/// A table of names.
#[derive(Debug)]
pub struct Map {
    pub name: String,
    strip: Vec<String>,
    entries: BTreeMap<String, Target>,
}

/// What one of a dump's names stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The site, `{i}` standing for the layer; or [`TOKENS`], or one that ends with [`QKV`].
    pub site: String,
    /// The order of its axes, where the port is known for it.
    pub axes: Option<Layout>,
    /// Scores are divided by the root of D already.
    pub is_scaled: bool,
    /// Scores of the future are masked already.
    pub is_masked: bool,
    /// There may be the last position alone.
    pub may_be_last: bool,
}

/// A name of the dump, understood.
#[derive(Clone, Debug)]
pub struct Meaning {
    pub call: usize,
    /// The site with its layer.
    pub site: String,
    pub target: Target,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    strip: Vec<String>,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a site, or { site = ..., axes, scaled, masked, last }"
)]
enum Entry {
    Site(String),
    Table(Table),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    site: String,
    axes: Option<String>,
    #[serde(default = "yes")]
    scaled: bool,
    #[serde(default = "yes")]
    masked: bool,
    #[serde(default)]
    last: bool,
}

fn yes() -> bool {
    true
}

impl Map {
    /// The built-in map of that name.
    ///
    /// # Errors
    /// Where there is none, with the names there are.
    pub fn named(name: &str) -> Result<Self> {
        let found = BUILT_IN.iter().find(|(known, _)| *known == name);
        let (name, text) = found.with_context(|| {
            let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            format!("--names {name}: expected one of {}", known.join(", "))
        })?;
        Self::parse(name, text)
    }

    /// All built-in maps.
    ///
    /// # Errors
    /// Never, as long as the tests pass.
    pub fn built_in() -> Result<Vec<Self>> {
        BUILT_IN
            .iter()
            .map(|(name, text)| Self::parse(name, text))
            .collect()
    }

    /// A user's own.
    ///
    /// # Errors
    /// Where it cannot be read, or is no such table.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text =
            fs::read_to_string(path).with_context(|| format!("--map: cannot read {shown}"))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text).with_context(|| format!("--map {shown}"))
    }

    fn parse(name: &str, text: &str) -> Result<Self> {
        let file: File = toml::from_str(text).context("expected a map of names")?;
        ensure!(
            !file.tensors.is_empty(),
            "expected names under [tensors], found none"
        );
        let mut entries = BTreeMap::new();
        for (pattern, entry) in file.tensors {
            let target = Target::of(entry).with_context(|| format!("tensors.{pattern:?}"))?;
            let is_layers = target.site.contains("{i}");
            let count = pattern.matches("{i}").count();
            ensure!(
                count <= 1 && (count == 1) <= is_layers,
                "tensors.{pattern:?}: expected one {{i}} in both or in neither"
            );
            entries.insert(pattern, target);
        }
        Ok(Map {
            name: name.to_owned(),
            strip: file.strip,
            entries,
        })
    }

    /// What a name of a dump means: `2/transformer.h.0.ln_1` is the first normalisation of the third call.
    pub fn meaning(&self, name: &str) -> Option<Meaning> {
        let (call, bare) = match name.split_once('/') {
            Some((call, rest)) => match call.parse() {
                Ok(call) => (call, rest),
                Err(_) => (0, name),
            },
            None => (0, name),
        };
        let stripped = self
            .strip
            .iter()
            .filter_map(|prefix| bare.strip_prefix(prefix));
        std::iter::once(bare).chain(stripped).find_map(|bare| {
            self.entries.iter().find_map(|(pattern, target)| {
                let layer = fits(pattern, bare)?;
                let site = match layer {
                    Some(layer) => target.site.replace("{i}", &layer.to_string()),
                    None => target.site.clone(),
                };
                Some(Meaning {
                    call,
                    site,
                    target: target.clone(),
                })
            })
        })
    }
}

impl Target {
    fn of(entry: Entry) -> Result<Self> {
        let table = match entry {
            Entry::Site(site) => Table {
                site,
                axes: None,
                scaled: true,
                masked: true,
                last: false,
            },
            Entry::Table(table) => table,
        };
        ensure!(
            is_site(&table.site),
            "expected a site such as h.{{i}}.attn.q, found {:?}",
            table.site
        );
        Ok(Target {
            site: table.site,
            axes: table.axes.map(|word| Layout::parse(&word)).transpose()?,
            is_scaled: table.scaled,
            is_masked: table.masked,
            may_be_last: table.last,
        })
    }
}

/// Whether this is a site as maps write it, with `{i}` or a number for the layer.
fn is_site(name: &str) -> bool {
    if let Some(rest) = name.strip_prefix("h.") {
        let (layer, inner) = rest.split_once('.').unwrap_or((rest, ""));
        let is_layer = layer == "{i}" || layer.parse::<usize>().is_ok();
        return is_layer && (inner == QKV || site::LAYER.iter().any(|kind| kind.name == inner));
    }
    let outer = [site::EMBED, site::LN_F, site::LOGITS];
    name == TOKENS || outer.iter().any(|kind| kind.name == name)
}

/// Whether a name is of a pattern, and the layer that it names.
fn fits(pattern: &str, name: &str) -> Option<Option<usize>> {
    let Some((before, after)) = pattern.split_once("{i}") else {
        return (pattern == name).then_some(None);
    };
    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten().map(Some)
}

/// The built-in map that explains most of the names.
///
/// # Errors
/// Where none explains any, or several explain as many and differently.
pub fn recognise(names: &BTreeSet<&str>) -> Result<Map> {
    let meanings = |map: &Map| -> BTreeMap<String, String> {
        let known = names
            .iter()
            .filter_map(|name| Some((*name, map.meaning(name)?)));
        known
            .map(|(name, meaning)| (name.to_owned(), meaning.site))
            .collect()
    };
    let mut maps: Vec<(BTreeMap<String, String>, Map)> = Map::built_in()?
        .into_iter()
        .map(|map| (meanings(&map), map))
        .collect();
    // Stable: of equals the first of the list.
    maps.sort_by_key(|(known, _)| std::cmp::Reverse(known.len()));
    let most = maps.first().map_or(0, |(known, _)| known.len());
    let sample: Vec<&str> = names.iter().take(4).copied().collect();
    if most == 0 {
        bail!(
            "none of the {} names is known ({}); --map FILE.toml says what they mean, \
             docs/porting.md how it is written",
            names.len(),
            sample.join(", ")
        );
    }
    let mut best = maps
        .into_iter()
        .take_while(|(known, _)| known.len() == most);
    let (first, map) = best.next().context("a map was counted")?;
    for (known, other) in best {
        ensure!(
            known == first,
            "the names fit {} and {} equally and mean different things there; --names says which",
            map.name,
            other.name
        );
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(map: &str, name: &str) -> Option<(usize, String)> {
        let map = Map::named(map).expect("a map");
        map.meaning(name)
            .map(|meaning| (meaning.call, meaning.site))
    }

    #[test]
    fn every_built_in_map_is_a_table_of_sites() {
        let maps = Map::built_in().expect("tables");
        assert_eq!(maps.len(), BUILT_IN.len());
        assert!(maps.iter().all(|map| map.entries.len() > 12));
    }

    #[test]
    fn names_mean_what_their_projects_mean() {
        let meant = [
            ("llorch", "3/h.11.attn.cache.k", 3, "h.11.attn.cache.k"),
            (
                "transformers",
                "0/transformer.h.2.attn.c_attn",
                0,
                "h.2.attn.qkv",
            ),
            ("transformers", "h.0", 0, "h.0"),
            ("transformer-lens", "blocks.0.hook_resid_pre", 0, "embed"),
            (
                "transformer-lens",
                "blocks.7.attn.hook_z",
                0,
                "h.7.attn.heads",
            ),
            ("llama-cpp", "kq_soft_max-3", 0, "h.3.attn.probs"),
            ("llama-cpp", "l_out-10", 0, "h.10"),
            (
                "nanogpt",
                "_orig_mod.transformer.h.1.mlp.gelu",
                0,
                "h.1.mlp.act",
            ),
        ];
        for (map, name, call, meaning) in meant {
            assert_eq!(
                site(map, name),
                Some((call, meaning.to_owned())),
                "{map} {name}"
            );
        }
        for (map, name) in [
            ("transformers", "transformer.h.x.ln_1"),
            ("transformers", "transformer.h..ln_1"),
            ("transformer-lens", "blocks.1.hook_resid_pre"),
            ("llama-cpp", "l_out-"),
        ] {
            assert_eq!(site(map, name), None, "{map} {name}");
        }
    }

    #[test]
    fn a_dump_is_recognised_by_most_of_its_names() {
        let recognised = |names: &[&str]| recognise(&names.iter().copied().collect());
        let lens = recognised(&["blocks.0.hook_resid_post", "blocks.0.attn.hook_q", "h.0"]);
        assert_eq!(lens.expect("a map").name, "transformer-lens");
        let llama = recognised(&["l_out-0", "kqv_out-0", "l_out-1"]).expect("a map");
        assert_eq!(llama.name, "llama-cpp");
        // Equal in both, and the same in both.
        assert_eq!(recognised(&["h.0", "ln_f"]).expect("a map").name, "llorch");
        let error = recognised(&["conv1", "conv2"]).expect_err("unknown names");
        assert!(error.to_string().contains("conv1, conv2"), "{error}");
        // Four names as ours, four as transformers', of which `h.0.attn.q` is in the one only.
        let error = recognised(&["h.0.attn.q", "h.0.mlp.c_fc"]).expect_err("a tie");
        assert!(error.to_string().contains("--names"), "{error}");
    }

    #[test]
    fn a_map_that_means_nothing_is_refused() {
        let wrong = [
            "",
            "[tensors]",
            "tensors = 3",
            "[tensors]\n'a' = 'h.{i}.conv'",
            "[tensors]\n'a.{i}' = 'embed'",
            "[tensors]\n'a.{i}.{i}' = 'h.{i}'",
            "[tensors]\n'a' = { site = 'embed', axes = 'btc' }",
            "[tensors]\n'a' = { site = 'embed', axis = 'BTC' }",
            "[tensors]\n'a' = { axes = 'BTC' }",
            "[sites]\n'a' = 'embed'",
        ];
        for text in wrong {
            assert!(Map::parse("own", text).is_err(), "{text}");
        }
        // One layer may be spelt out.
        let own = Map::parse("own", "[tensors]\n'first' = 'h.0.attn.q'").expect("a map");
        assert_eq!(
            own.meaning("first").map(|meaning| meaning.site),
            Some("h.0.attn.q".into())
        );
    }
}
