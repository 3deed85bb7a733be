//! What a tensor equals: another one of the reference's, or its own shifted, scaled, reordered.

use ndarray::{ArrayD, Axis, IxDyn, Slice};

use super::Explanation;
use super::Scene;
use super::fit::Fit;
use crate::compare::judged_site::JudgedSite;

/// So few numbers say nothing of a common factor.
const FEW: usize = 8;

/// All such explanations with their fits.
pub fn tried(scene: &Scene) -> Vec<(Explanation, Fit)> {
    let wrong = &scene.judged.sites[scene.first];
    let mut tried = Vec::new();
    let mut try_one = |id: String, says: String, explained: &ArrayD<f64>| {
        let plan = None;
        if let Some(fit) = Fit::of(wrong, explained) {
            tried.push((Explanation { id, says, plan }, fit));
        }
    };
    for (id, says, explained) in others(scene, wrong) {
        try_one(id, says, &explained);
    }
    for (id, says, explained) in addends(scene, wrong) {
        try_one(id, says, &explained);
    }
    for (id, says, explained) in without_affine(scene, wrong) {
        try_one(id, says, &explained);
    }
    for (id, says, explained) in reordered(wrong) {
        try_one(id, says, &explained);
    }
    for (id, says, explained) in scaled(scene, wrong) {
        try_one(id, says, &explained);
    }
    for (id, says, explained) in exchanged_rows(wrong) {
        try_one(id, says, &explained);
    }
    tried.extend(shifted(wrong));
    tried
}

type Tried = Vec<(String, String, ArrayD<f64>)>;

/// Another tensor of the reference, of the same shape.
fn others(scene: &Scene, wrong: &JudgedSite) -> Tried {
    let here = &wrong.site.name;
    let mut tried: Tried = same_shape(scene, wrong)
        .filter(|(site, _)| *site != here)
        .map(|(site, values)| {
            let (id, says) = (
                format!("equals:{site}"),
                format!("{here} equals the reference's {site}"),
            );
            (id, says, values.clone())
        })
        .collect();
    if wrong.is_last
        && let Some(all) = scene.replay.reference.witness(here)
    {
        for position in 0..all.shape()[1].saturating_sub(1) {
            let row = all
                .slice_axis(Axis(1), Slice::from(position..=position))
                .to_owned();
            let says = format!("{here} is that of position {position}, not of the last");
            tried.push((format!("position:{position}"), says, row));
        }
    }
    tried
}

/// The reference's own with something too much, too little or twice.
fn addends(scene: &Scene, wrong: &JudgedSite) -> Tried {
    let right = &wrong.reference.witness;
    let mut tried = Tried::new();
    let mut add = |name: &str, values: &ArrayD<f64>| {
        let missing = right - values;
        tried.push((
            format!("minus:{name}"),
            format!("{name} is missing"),
            missing,
        ));
        let twice = right + values;
        tried.push((
            format!("plus:{name}"),
            format!("{name} is added once too often"),
            twice,
        ));
    };
    for (site, values) in same_shape(scene, wrong) {
        let finite = values.iter().all(|x| x.is_finite());
        if finite && *site != wrong.site.name {
            add(site, values);
        }
    }
    for (name, values) in biases(scene, wrong) {
        if let Some(values) = values.broadcast(right.raw_dim()) {
            add(&name, &values.to_owned());
        }
    }
    tried
}

/// The reference's tensors that could stand where the wrong one stands.
fn same_shape<'a>(
    scene: &'a Scene,
    wrong: &'a JudgedSite,
) -> impl Iterator<Item = (&'a String, &'a ArrayD<f64>)> {
    let shape = wrong.reference.witness.shape();
    let sites = scene.replay.reference.sites.iter();
    let held = sites.map(|(site, reference)| (site, &reference.witness));
    held.filter(move |(_, values)| values.shape() == shape)
}

/// The biases of the wrong site's layer, as they are added there: `[C]`, `[I]`, or `[H, D]` of a third.
fn biases(scene: &Scene, wrong: &JudgedSite) -> Vec<(String, ArrayD<f64>)> {
    let weights = scene.replay.weights;
    let heads = [weights.config.n_head(), weights.config.head_dim()];
    let layer = wrong.site.layer.map(|layer| format!("h.{layer}."));
    let mut biases = Vec::new();
    let widened = |bias: ndarray::ArrayView1<f32>| bias.mapv(f64::from).into_dyn();
    for name in ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"] {
        let Some(Ok(conv)) = layer
            .as_ref()
            .map(|layer| weights.conv1d(&format!("{layer}{name}")))
        else {
            continue;
        };
        let bias = widened(conv.bias);
        if name == "attn.c_attn" {
            for (third, letter) in ["q", "k", "v"].into_iter().enumerate() {
                let width = heads[0] * heads[1];
                let of_letter = Slice::from(third * width..(third + 1) * width);
                let of_letter = bias.slice_axis(Axis(0), of_letter).to_owned();
                if let Ok(of_heads) = of_letter.into_shape_with_order(IxDyn(&heads)) {
                    biases.push((format!("{name}.bias ({letter})"), of_heads));
                }
            }
        }
        biases.push((format!("{name}.bias"), bias));
    }
    for name in ["ln_1", "ln_2", "ln_f"] {
        let name = match (&layer, name) {
            (Some(layer), "ln_1" | "ln_2") => format!("{layer}{name}"),
            _ => "ln_f".to_owned(),
        };
        if let Ok(norm) = weights.norm(&name, None) {
            biases.push((format!("{name}.bias"), widened(norm.bias)));
        }
    }
    biases
}

/// A normalisation whose weight and bias are not applied: what was subtracted and divided, and no more.
fn without_affine(scene: &Scene, wrong: &JudgedSite) -> Tried {
    let right = &wrong.reference.witness;
    let norm = scene.replay.weights.norm(&wrong.site.name, None);
    let Some(norm) = norm.ok().filter(|_| wrong.site.kind.checkpoint == 1) else {
        return Tried::new();
    };
    let (weight, bias) = (norm.weight.mapv(f64::from), norm.bias.mapv(f64::from));
    let says = "weight and bias are not applied".to_owned();
    vec![(
        "without:weight and bias".to_owned(),
        says,
        (right - &bias) / &weight,
    )]
}

/// The same memory with its axes in another order.
fn reordered(wrong: &JudgedSite) -> Tried {
    let right = &wrong.reference.witness;
    let axes: Vec<char> = wrong.site.kind.axes.chars().collect();
    let long: Vec<usize> = (0..right.ndim())
        .filter(|axis| right.shape()[*axis] > 1)
        .collect();
    let mut tried = Tried::new();
    for order in permutations(&long) {
        if order == long {
            continue;
        }
        let mut whole: Vec<usize> = (0..right.ndim()).collect();
        for (place, axis) in long.iter().zip(&order) {
            whole[*place] = *axis;
        }
        let turned = right.view().permuted_axes(IxDyn(&whole));
        let word = |axes_of: &[usize]| -> String {
            axes_of.iter().filter_map(|axis| axes.get(*axis)).collect()
        };
        let (from, to) = (word(&order), word(&long));
        if turned.shape() == right.shape() {
            let says = format!("axes {from} taken for {to}: equal after transposing");
            tried.push((format!("transposed:{from}"), says, turned.to_owned()));
        }
        let memory = turned.as_standard_layout().into_owned();
        if let Ok(read) = memory.into_shape_with_order(right.raw_dim()) {
            let says = format!("memory in the order {from} read as {to}");
            tried.push((format!("reordered:{from}"), says, read));
        }
    }
    tried
}

/// All orders of so few things that there are at most 24.
fn permutations(of: &[usize]) -> Vec<Vec<usize>> {
    if of.len() <= 1 {
        return vec![of.to_vec()];
    }
    let mut all = Vec::new();
    for (at, first) in of.iter().enumerate() {
        let rest: Vec<usize> = [&of[..at], &of[at + 1..]].concat();
        for mut order in permutations(&rest) {
            order.insert(0, *first);
            all.push(order);
        }
    }
    all
}

/// A constant factor, or a constant added.
fn scaled(scene: &Scene, wrong: &JudgedSite) -> Tried {
    let (found, right) = (&wrong.values, &wrong.reference.witness);
    if found.shape() != right.shape() {
        return Tried::new();
    }
    let open = || {
        found
            .iter()
            .zip(right)
            .filter(|(f, r)| f.is_finite() && r.is_finite())
    };
    let (product, square) = open().fold((0.0, 0.0), |(fr, rr), (f, r)| (fr + f * r, rr + r * r));
    let mut tried = Tried::new();
    // Few numbers are a multiple of others by chance.
    if open().count() < FEW {
        return tried;
    }
    if square > 0.0 {
        let factor = product / square;
        let named = name_factor(factor, scene);
        let says = format!("{factor:.6} times what it should be{named}");
        tried.push((format!("factor:{factor:.4}"), says, right * factor));
    }
    let offset = open().map(|(f, r)| f - r).sum::<f64>() / open().count() as f64;
    let says = format!("{offset:+.6} everywhere");
    tried.push((format!("offset:{offset:.4}"), says, right + offset));
    tried
}

/// What a factor is, where it is one of those that attention is scaled by.
fn name_factor(factor: f64, scene: &Scene) -> String {
    let config = &scene.replay.weights.config;
    let (d, c) = (config.head_dim() as f64, config.n_embd() as f64);
    let named = [
        (2.0, "twice"),
        (0.5, "half"),
        (-1.0, "the sign"),
        (d.sqrt(), "the root of D: 1/sqrt(D) is missing"),
        (1.0 / d.sqrt(), "1/sqrt(D) once too often"),
        (d, "D"),
        (1.0 / d, "1/D"),
        (c.sqrt(), "the root of C"),
        (1.0 / c.sqrt(), "1/sqrt(C)"),
        ((d / c).sqrt(), "the root of C in the place of that of D"),
    ];
    let found = named
        .iter()
        .find(|(known, _)| (factor / known - 1.0).abs() < 1e-4);
    found.map_or_else(String::new, |(_, name)| format!(", {name}"))
}

/// Rows of the batch under each other's index.
fn exchanged_rows(wrong: &JudgedSite) -> Tried {
    let right = &wrong.reference.witness;
    let batch = right.shape().first().copied().unwrap_or_default();
    (1..batch)
        .map(|by| {
            let order: Vec<usize> = (0..batch).map(|row| (row + by) % batch).collect();
            let says = format!("rows of the batch under each other's index: {order:?}");
            (format!("rows:{by}"), says, right.select(Axis(0), &order))
        })
        .collect()
}

/// Equal at positions shifted by a few, where at least three remain to be compared.
fn shifted(wrong: &JudgedSite) -> Vec<(Explanation, Fit)> {
    let (found, right) = (&wrong.values, &wrong.reference.witness);
    let Some(axis) = wrong
        .site
        .kind
        .axes
        .find('T')
        .filter(|_| found.shape() == right.shape())
    else {
        return Vec::new();
    };
    if wrong.site.kind.axes.contains('S') {
        return Vec::new();
    }
    let tokens = right.shape()[axis];
    let mut tried = Vec::new();
    for by in [1usize, 2, 3].into_iter().filter(|by| tokens >= by + 3) {
        for (sign, ours, theirs) in [('+', 0, by), ('-', by, 0)] {
            let part = |values: &ArrayD<f64>, from: usize| {
                let slice = Slice::from(from..from + tokens - by);
                values.slice_axis(Axis(axis), slice).to_owned()
            };
            let mut compared = part_of(wrong, part(found, ours), part(right, theirs));
            // What is right at these rows is the reference at the port's own positions.
            let explained = std::mem::replace(&mut compared.reference.witness, part(right, ours));
            let says = format!("equal at positions shifted by {sign}{by}");
            if let Some(fit) = Fit::of(&compared, &explained) {
                let (id, plan) = (format!("shifted:{sign}{by}"), None);
                tried.push((Explanation { id, says, plan }, fit));
            }
        }
    }
    tried
}

/// The wrong site with some of its rows.
fn part_of(wrong: &JudgedSite, found: ArrayD<f64>, held: ArrayD<f64>) -> JudgedSite {
    JudgedSite {
        site: wrong.site.clone(),
        name: wrong.name.clone(),
        outcome: wrong.outcome.clone(),
        values: found,
        reference: crate::compare::reference::Reference {
            witness: held,
            delta: None,
            rounding: wrong.reference.rounding,
        },
        worst: None,
        ..*wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_once() {
        let mut orders = permutations(&[0, 1, 2, 3]);
        assert_eq!(orders.len(), 24);
        orders.sort();
        orders.dedup();
        assert_eq!(orders.len(), 24);
        assert!(orders.contains(&vec![3, 1, 0, 2]));
    }
}
