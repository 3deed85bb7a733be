//! Equal to the bit, however the queries come in and whoever listens.

mod common;

use std::num::NonZeroUsize;

use common::{Input, Sites, assert_same_bits, attention};
use llorch_attention::Attention;
use llorch_fixtures::{CASES, Case, Fixture, assert_is_on_its_cpu, bits, integers, tiny};
use llorch_numerics::{Cpu, Isa, KvPanels, Probe};
use ndarray::{Array1, Array2, Array3, Array4, ArrayViewD, Axis, concatenate, s};

/// Every call and layer of the cases.
fn for_every_input(cases: &[&str], mut test: impl FnMut(&Fixture, &Input)) {
    let fixture = tiny();
    for case in cases {
        let case = fixture.case(case);
        for call in 0..case.calls {
            for layer in 0..fixture.config.n_layer() {
                test(&fixture, &Input::new(&case, call, layer));
            }
        }
    }
}

/// All calls of a case as one: every query, and the keys and values of the last call.
fn whole(case: &Case, layer: usize) -> Input {
    let calls: Vec<Input> = (0..case.calls)
        .map(|call| Input::new(case, call, layer))
        .collect();
    let queries: Vec<_> = calls.iter().map(|input| input.q.view()).collect();
    let q = concatenate(Axis(1), &queries).expect("calls of one case");
    let Input { k, v, .. } = calls[case.calls - 1].clone();
    Input { layer, q, k, v }
}

/// Rows of the batch, as an input of their own.
fn rows(input: &Input, rows: &[usize]) -> Input {
    let select = |all: &Array4<f32>| all.select(Axis(0), rows);
    Input {
        layer: input.layer,
        q: select(&input.q),
        k: select(&input.k),
        v: select(&input.v),
    }
}

#[test]
fn two_runs_are_equal() {
    for_every_input(&CASES, |fixture, input| {
        let attention = attention(fixture, input.layer);
        assert_same_bits(&input.attend(&attention), &input.attend(&attention));
    });
}

/// Two rows of 3 heads of 5 channels, 70 positions of which the last `tokens` ask. Sevenths, so that sums
/// are rounded and their order can be seen.
fn long(tokens: usize) -> (Attention, Input) {
    let mut next = integers(1);
    let mut values =
        |tokens| Array4::from_shape_simple_fn((2, tokens, 3, 5), || next() / 7.0 + next() / 900.0);
    let [k, v, q] = [70, 70, 70].map(&mut values);
    let weight = Array2::from_shape_simple_fn((15, 15), || next() / 7.0);
    let attention = Attention::new(weight.view(), Array1::ones(15).view(), 3);
    let q = q.slice(s![.., 70 - tokens.., .., ..]).to_owned();
    let input = Input { layer: 0, q, k, v };
    (attention.expect("weights that fit"), input)
}

/// Blocks of queries begin where the whole text says, not where a call begins.
#[test]
fn queries_in_pieces_of_any_length_are_equal() {
    let (attention, input) = long(70);
    let all = input.attend(&attention);
    for tokens in [1, 5, 6, 7, 31, 32, 33, 39, 64, 69] {
        let (_, last) = long(tokens);
        let queries = s![.., .., 70 - tokens.., ..];
        let part = Sites {
            scores: all.scores.slice(queries).to_owned(),
            probs: all.probs.slice(queries).to_owned(),
            out: all.out.slice(s![.., 70 - tokens.., ..]).to_owned(),
        };
        assert_same_bits(&last.attend(&attention), &part);
    }
    assert_same_bits(&input.attend_seeing(&attention, |t| t + 1), &all);
}

/// Attention knows no longest text, whatever a model's context is.
#[test]
fn queries_behind_a_long_past_are_equal_one_by_one() {
    let mut next = integers(2);
    let mut values = |tokens| Array4::from_shape_simple_fn((1, tokens, 1, 4), || next() / 7.0);
    let [k, v, q] = [1500, 1500, 40].map(&mut values);
    let input = Input { layer: 0, q, k, v };
    let attention = Attention::new(Array2::eye(4).view(), Array1::zeros(4).view(), 1);
    let attention = attention.expect("weights that fit");
    let single = input.attend_seeing(&attention, |t| input.past() + t + 1);
    assert_same_bits(&input.attend(&attention), &single);
}

#[test]
fn threads_and_instruction_sets_agree() {
    for tokens in [1, 70] {
        let (attention, input) = long(tokens);
        let alone = input.attend(&attention);
        for isa in Isa::available() {
            for threads in [1, 2, 3, 8].map(NonZeroUsize::new) {
                let cpu = Cpu::new(threads.expect("some")).and_then(|cpu| cpu.with_isa(isa));
                let attention = attention
                    .clone()
                    .on(&cpu.expect("an available instruction set"));
                assert_same_bits(&input.attend(&attention), &alone);
            }
        }
    }
}

#[test]
fn the_layer_is_on_the_threads_it_is_given() {
    let (attention, _) = long(1);
    assert_is_on_its_cpu(|cpu| attention.on(cpu));
}

#[test]
fn the_whole_and_query_by_query_are_equal() {
    for_every_input(&["multibyte", "batch", "chunks"], |fixture, input| {
        let attention = attention(fixture, input.layer);
        let single = input.attend_seeing(&attention, |t| input.past() + t + 1);
        assert_same_bits(&input.attend(&attention), &single);
    });
}

#[test]
fn cached_calls_and_all_positions_recomputed_are_equal() {
    let fixture = tiny();
    for case in ["steps", "chunks"].map(|name| fixture.case(name)) {
        for layer in 0..fixture.config.n_layer() {
            let attention = attention(&fixture, layer);
            let all = whole(&case, layer).attend(&attention);
            for call in 0..case.calls {
                let input = Input::new(&case, call, layer);
                let end = input.k.dim().1;
                let queries = input.past()..end;
                let seen = s![.., .., queries.clone(), ..end];
                let part = Sites {
                    scores: all.scores.slice(seen).to_owned(),
                    probs: all.probs.slice(seen).to_owned(),
                    out: all.out.slice(s![.., queries, ..]).to_owned(),
                };
                assert_same_bits(&input.attend(&attention), &part);
            }
        }
    }
}

#[test]
fn each_row_alone_gives_what_it_gives_in_a_batch_of_up_to_four() {
    for_every_input(&["batch", "chunks"], |fixture, input| {
        let attention = attention(fixture, input.layer);
        for batch in [&[1][..], &[1, 0], &[0, 1, 0], &[1, 1, 0, 1]] {
            let together = rows(input, batch).attend(&attention);
            for (place, &row) in batch.iter().enumerate() {
                let here = place..=place;
                let of_batch = Sites {
                    scores: together
                        .scores
                        .slice(s![here.clone(), .., .., ..])
                        .to_owned(),
                    probs: together
                        .probs
                        .slice(s![here.clone(), .., .., ..])
                        .to_owned(),
                    out: together.out.slice(s![here, .., ..]).to_owned(),
                };
                assert_same_bits(&rows(input, &[row]).attend(&attention), &of_batch);
            }
        }
    });
}

/// Wants one site and nothing else.
struct Only(&'static str);

impl Probe for Only {
    fn wants(&self, site: &str) -> bool {
        site == self.0
    }

    fn record(&mut self, site: &str, _: ArrayViewD<f32>) {
        assert_eq!(site, self.0, "a site nobody asked for");
    }
}

#[test]
fn the_output_is_equal_whoever_listens() {
    for_every_input(&["multibyte", "chunks"], |fixture, input| {
        let attention = attention(fixture, input.layer);
        let panels = input.panels(input.k.dim().1);
        let forward = |probe: &mut dyn Probe| -> Array3<f32> {
            let out = attention.forward(input.q.view(), &panels, probe);
            out.expect("queries that fit")
        };
        let silent = bits(&forward(&mut ()));
        assert_eq!(silent, bits(&forward(&mut Sites::default())));
        for site in ["scores", "probs", "out"] {
            assert_eq!(silent, bits(&forward(&mut Only(site))), "{site}");
        }
    });
}

#[test]
fn queries_in_another_memory_order_are_read_by_their_axes() {
    for_every_input(&["batch"], |fixture, input| {
        let attention = attention(fixture, input.layer);
        let by_heads = input.q.view().permuted_axes([0, 2, 1, 3]);
        let by_heads = by_heads.as_standard_layout();
        let q = by_heads.view().permuted_axes([0, 2, 1, 3]);
        assert!(!q.is_standard_layout());
        let panels = input.panels(input.k.dim().1);
        let mut sites = Sites::default();
        attention
            .forward(q, &panels, &mut sites)
            .expect("queries that fit");
        assert_same_bits(&sites, &input.attend(&attention));
    });
}

/// The room behind what is stored, and what was stored there once, are nothing to attention.
#[test]
fn capacity_and_what_was_truncated_do_not_matter() {
    for_every_input(&["chunks"], |fixture, input| {
        let attention = attention(fixture, input.layer);
        let (batch, stored, heads, dim) = input.k.dim();
        let mut panels = KvPanels::new(batch, 160, heads, dim).expect("panels");
        let stale = Array4::from_elem((batch, 160, heads, dim), f32::NAN);
        panels
            .append(&Cpu::default(), stale.view(), stale.view())
            .expect("room");
        panels.truncate(0);
        panels
            .append(&Cpu::default(), input.k.view(), input.v.view())
            .expect("room");
        assert_eq!(panels.shape()[1], stored);
        let mut sites = Sites::default();
        let out = attention.forward(input.q.view(), &panels, &mut sites);
        out.expect("queries that fit");
        assert_same_bits(&sites, &input.attend(&attention));
    });
}
