//! Generation token by token.

mod common {
    pub mod model;
    pub mod refusals;
}

use common::model::tiny;
use common::refusals::is_one_position_too_many;
use llorch_model::{Error, Gpt2, Sampler, Sampling, generate, greedy, tokens};

const PROMPT: [u32; 5] = [311, 7, 99, 512, 3];

fn best() -> Sampler {
    Sampler::new(Sampling::GREEDY, 0).expect("settings")
}

fn collect(model: &Gpt2, prompt: &[u32], new: usize, sampler: Sampler) -> Result<Vec<u32>, Error> {
    generate(model, prompt, new, sampler)?.collect()
}

#[test]
fn exactly_as_many_tokens_come_as_were_asked_for() {
    let model = tiny();
    let all = collect(&model, &PROMPT, 20, best()).expect("tokens");
    assert_eq!(all.len(), 20);
    for new in [0, 1, 2, 19] {
        let fewer = collect(&model, &PROMPT, new, best()).expect("tokens");
        assert_eq!(fewer, all[..new], "{new} tokens");
    }
}

/// The token that a loop which stops one step early would lose.
#[test]
fn the_last_token_is_the_one_that_the_text_before_it_asks_for() {
    let model = tiny();
    let all = collect(&model, &PROMPT, 6, best()).expect("tokens");
    let text = [&PROMPT[..], &all[..5]].concat();
    let mut cache = model.cache(1, text.len()).expect("a cache");
    let batch = tokens(&[&text]).expect("a batch");
    let logits = model.forward_last(batch.view(), &mut cache, &mut ());
    let last = greedy(logits.expect("logits").row(0)).expect("a token");
    assert_eq!(all[5], last);
}

#[test]
fn every_position_can_be_used_and_none_beyond() {
    let model = tiny();
    // The last token needs no position of its own.
    let all = collect(&model, &PROMPT, 156, best()).expect("tokens");
    assert_eq!(all.len(), 156);
    let error = collect(&model, &PROMPT, 157, best()).expect_err("too many");
    assert!(is_one_position_too_many(&error), "{error}");
    let error = collect(&model, &PROMPT, usize::MAX, best()).expect_err("too many");
    assert!(matches!(error, Error::Positions { .. }), "{error}");
    let error = collect(&model, &[1; 161], 0, best()).expect_err("too many");
    assert!(
        matches!(error, Error::Positions { found: 161, .. }),
        "{error}"
    );
}

#[test]
fn an_empty_prompt_is_refused() {
    let error = collect(&tiny(), &[], 3, best()).expect_err("nothing to continue");
    assert!(matches!(error, Error::EmptyPrompt), "{error}");
}

#[test]
fn after_an_error_nothing_more_comes() {
    let model = tiny();
    let mut generation = generate(&model, &[1, 1001], 3, best()).expect("a prompt that fits");
    let first = generation.next().expect("an item");
    let refused = Error::Token {
        vocabulary: 1001,
        found: 1001,
        row: 0,
        position: 1,
    };
    assert_eq!(
        first.expect_err("no token").to_string(),
        refused.to_string()
    );
    assert!(generation.next().is_none());
    assert!(generation.next().is_none());
}

#[test]
fn a_seed_gives_the_same_tokens_and_another_seed_others() {
    let model = tiny();
    let sample = |seed| {
        let sampler = Sampler::new(Sampling::default(), seed).expect("settings");
        collect(&model, &PROMPT, 30, sampler).expect("tokens")
    };
    assert_eq!(sample(5), sample(5));
    assert_ne!(sample(5), sample(6));
    assert_ne!(
        sample(5),
        collect(&model, &PROMPT, 30, best()).expect("tokens")
    );
}
