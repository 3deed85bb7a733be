//! The witness's queries, keys and values in; scores, probabilities and output as the witness has them.

mod common;

use common::{Input, attention, judge};
use llorch_attention::Attention;
use llorch_fixtures::{CASES, assert_pass, tiny};
use llorch_parity::{BUDGET, Rule};

#[test]
fn every_site_of_every_call_and_layer_is_the_witnesss() {
    let fixture = tiny();
    let layers: Vec<Attention> = (0..fixture.config.n_layer())
        .map(|layer| attention(&fixture, layer))
        .collect();
    let judgement = judge(&fixture, &CASES, |input| input.attend(&layers[input.layer]));
    assert_pass(&judgement);
    // 12 calls in the six cases, three sites in every layer.
    assert_eq!(judgement.sites(), 12 * 3 * layers.len());
    assert_eq!(judgement.pools().len(), 3 * CASES.len());
    for pool in judgement.pools() {
        assert!(
            pool.ratio <= BUDGET,
            "{} in {}: R {}",
            pool.kind,
            pool.case,
            pool.ratio
        );
    }
}

/// All 160 positions; the witness shows no scores there, so the output stands for them.
#[test]
fn the_full_context_is_the_witnesss() {
    let fixture = tiny();
    let rules = [("attn.out", Rule::within(1e-4))];
    let judgement = fixture.judge(&["full-context"], &rules, |case, call, layer| {
        let sites = Input::new(case, call, layer).attend(&attention(&fixture, layer));
        vec![("attn.out", sites.out.into_dyn())]
    });
    assert_pass(&judgement);
}
