//! The whole model on the tokens of every case, against the witness and the propagated truth.

mod common {
    pub mod model;
    pub mod references;
}

use common::model::tiny;
use common::references::{CASES, Case, Recorder, ids, judge};
use llorch_fixtures::assert_pass;
use llorch_model::{Gpt2, Sampler, Sampling, Tokenizer, generate, greedy};
use llorch_parity::{Choice, Expectation, Judge, Key, Reference, Rule, Tensor, Trace};
use ndarray::{Array2, ArrayView2, Axis, Ix2, stack};

fn run(model: &Gpt2, case: &Case) -> Trace {
    let mut cache = model
        .cache(case.batch(), case.positions())
        .expect("a cache");
    let mut recorder = Recorder::default();
    for (call, tokens) in case.calls.iter().enumerate() {
        recorder.call = call;
        if case.is_last_only() {
            let last = model.forward_last(tokens.view(), &mut cache, &mut ());
            let name = format!("{call}/logits_last");
            let inserted = recorder.trace.insert(name, last.expect("logits"));
            inserted.expect("a call once");
        } else {
            let all = model.forward(tokens.view(), &mut cache, &mut recorder);
            all.expect("logits");
        }
    }
    recorder.trace
}

#[test]
fn every_site_from_the_embedding_to_the_logits_passes() {
    let model = tiny();
    assert_pass(&judge(&CASES, |case| run(&model, case)));
}

#[test]
fn the_last_logits_after_a_prompt_and_after_every_generated_token_pass() {
    let model = tiny();
    assert_pass(&judge(&["greedy", "sampling"], |case| run(&model, case)));
}

/// Where the truth's two best logits are closer than both sides may be off, the judge is inconclusive.
#[test]
fn greedy_ids_and_their_text_are_the_witness_s() {
    let (model, case) = (tiny(), Case::open("greedy"));
    let reference = ids(&case.witness, "generated");
    let tokenizer = Tokenizer::open(llorch_fixtures::tiny_path()).expect("a tokenizer");
    let key = |row: usize, step: usize| Key::new("greedy", format!("token {step} of row {row}"));
    let expected = reference.indexed_iter();
    let expected = expected.map(|((row, step), _)| Expectation::choice(key(row, step), "ids"));
    let mut judge = Judge::new(expected.collect(), "run `cargo xtask refs`");

    for (row, prompt) in case.calls[0].rows().into_iter().enumerate() {
        let ours = continued(&model, &prompt.to_vec(), reference.ncols());
        for (step, (&ours, &reference)) in ours.iter().zip(reference.row(row)).enumerate() {
            let choice = settle(&case, row, step, ours, reference);
            judge.compare_choice(&key(row, step), choice);
        }
        let whole = [prompt.to_vec(), ours.clone()].concat();
        let text = tokenizer.decode(&whole).expect("a text");
        assert_eq!(
            Some(&text),
            case.text.as_ref().and_then(|text| text.get(row))
        );
        let again = continued(&model, &prompt.to_vec(), reference.ncols());
        let [ours, again] =
            [ours, again].map(|ids| Tensor::from(ndarray::Array1::from(ids).mapv(i64::from)));
        judge.identical(&format!("row {row}"), &ours, &again);
    }
    assert_pass(&judge.finish(llorch_fixtures::tiny().evidence()));
}

fn continued(model: &Gpt2, prompt: &[u32], new: usize) -> Vec<u32> {
    let sampler = Sampler::new(Sampling::GREEDY, 0).expect("settings");
    let ids = generate(model, prompt, new, sampler).expect("a prompt that fits");
    ids.collect::<Result<_, _>>().expect("tokens")
}

fn settle(case: &Case, row: usize, step: usize, ours: u32, reference: u32) -> Choice {
    let name = format!("{step}/logits_last");
    let [witness, delta] = [&case.witness, &case.truth].map(|trace| {
        trace
            .array::<f32, Ix2>(&name)
            .expect("logits")
            .row(row)
            .mapv(f64::from)
    });
    let mut truth = (witness + delta).to_vec();
    truth.sort_by(|a, b| b.total_cmp(a));
    Choice {
        ours: ours.into(),
        reference: reference.into(),
        margin: truth[0] - truth[1],
        needed: 2e-3 * truth[0].abs().max(1.0),
    }
}

#[test]
fn distributions_of_the_witness_s_own_logits_pass() {
    let of = |temperature, top_k, top_p| Sampling {
        temperature,
        top_k,
        top_p,
    };
    let distributions = [
        ("t0.5", of(0.5, None, None)),
        ("t1", of(1.0, None, None)),
        ("t2", of(2.0, None, None)),
        ("top_k40", of(1.0, Some(40), None)),
        ("top_p0.9", of(1.0, None, Some(0.9))),
    ];
    let case = Case::open("sampling");
    let truth = llorch_fixtures::tiny()
        .manifest
        .load("sampling", "isolated")
        .expect("a trace");
    let logits = case
        .witness
        .array::<f32, Ix2>("0/logits_last")
        .expect("logits");
    let key = |name: &str| Key::new("sampling", name);
    let expected =
        distributions.map(|(name, _)| Expectation::tensor(key(name), name, Rule::within(1e-6)));
    let mut judge = Judge::new(expected.to_vec(), "run `cargo xtask refs`");
    for (name, sampling) in &distributions {
        let [ours, again] = [(); 2].map(|()| Tensor::from(rows(sampling, logits)));
        let [witness, delta] =
            [&case.witness, &truth].map(|trace| trace.get(name).expect("a tensor"));
        judge.compare(
            &key(name),
            Some(&ours),
            Some(Reference::with_truth(witness, delta)),
        );
        judge.identical(name, &ours, &again);
    }
    assert_pass(&judge.finish(llorch_fixtures::tiny().evidence()));
}

fn rows(sampling: &Sampling, logits: ArrayView2<f32>) -> Array2<f32> {
    let rows = logits
        .rows()
        .into_iter()
        .map(|row| sampling.probabilities(row).expect("logits"));
    let rows: Vec<_> = rows.collect();
    let views: Vec<_> = rows.iter().map(|row| row.view()).collect();
    stack(Axis(0), &views).expect("rows of equal length")
}

#[test]
fn the_multibyte_text_has_the_witness_s_ids() {
    let case = Case::open("multibyte");
    let tokenizer = Tokenizer::open(llorch_fixtures::tiny_path()).expect("a tokenizer");
    let text = &case.text.as_ref().expect("a text")[0];
    let ids = case.calls[0].row(0).to_vec();
    assert_eq!(tokenizer.encode(text).expect("ids"), ids);
    assert_eq!(&tokenizer.decode(&ids).expect("a text"), text);
}

#[test]
fn the_greedy_token_of_the_logits_is_the_first_generated_one() {
    let (model, case) = (tiny(), Case::open("greedy"));
    let ours = run(&model, &case);
    let logits = ours.array::<f32, Ix2>("0/logits_last").expect("logits");
    let first = ids(&case.witness, "generated").column(0).to_vec();
    let best: Vec<u32> = logits
        .rows()
        .into_iter()
        .map(|row| greedy(row).expect("logits"))
        .collect();
    assert_eq!(best, first);
}
