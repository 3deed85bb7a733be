//! Where each mistake must be caught, and by what.
//!
//! A mistake whose effect can be seen at several checkpoints belongs to that of the code at fault: with `ln_f` left
//! out every normalisation is right, and the composition is not, so it is caught at 8 and not at 1.

use super::gate::{By, Caught};
use crate::plain::Bug;

/// What must come of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing is wrong.
    Pass,
    /// A mistake.
    Caught(Place),
}

/// Where, by what, and at which site first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub checkpoint: usize,
    pub by: By,
    pub site: &'static str,
    /// The input of its own, where the references' cases cannot show it.
    pub input: Option<&'static str>,
}

impl Expected {
    /// Whether this is what came.
    pub fn is(self, caught: Option<&Caught>) -> bool {
        match (self, caught) {
            (Expected::Caught(place), Some(caught)) => {
                place.checkpoint == caught.checkpoint
                    && place.by == caught.by
                    && place.site == caught.site
                    && place.input == caught.input
            }
            (Expected::Pass, None) => true,
            _ => false,
        }
    }
}

/// What is expected of a mistake on a model that suffices for the checkpoints up to `last`; nothing where the
/// mistake is about one behind.
pub fn expected(bug: Bug, last: usize) -> Option<Expected> {
    if last == 5
        && let Some(expected) = on_attention_half(bug)
    {
        return Some(expected);
    }
    let place = place(bug);
    (place.checkpoint <= last).then_some(Expected::Caught(place))
}

fn at(checkpoint: usize, by: By, site: &'static str) -> Place {
    Place {
        checkpoint,
        by,
        site,
        input: None,
    }
}

/// By an input of its own, which is the site's name too.
fn on(checkpoint: usize, by: By, input: &'static str) -> Place {
    Place {
        input: Some(input),
        ..at(checkpoint, by, input)
    }
}

/// On the real attention weights, where it is not what [`place`] says.
fn on_attention_half(bug: Bug) -> Option<Expected> {
    Some(match bug {
        // Of the second call's sites only attention's output is stored.
        Bug::MaskLostWithCache => Expected::Caught(at(5, By::Values, "h.0.attn.out")),
        Bug::QkvBatchJoined => Expected::Caught(on(2, By::Shape, "two rows")),
        _ => return None,
    })
}

/// On a whole model.
fn place(bug: Bug) -> Place {
    use Bug::*;
    match bug {
        NormSampleVariance
        | NormEpsilonOutside
        | NormEpsilonTooSmall
        | NormEpsilonBert
        | NormWeightBiasSwapped
        | NormBiasMissing
        | NormWeightPlusOne
        | NormRms
        | NormOverPositions => at(1, By::Values, "h.0.ln_1"),
        NormFirstForSecond => at(1, By::Values, "h.0.ln_2"),
        NormSinglePass => on(1, By::Values, "mean of 50 deviations"),

        QkvThirdsTransposed
        | QkvReadAsOutIn
        | QkvBfloat16
        | QkvInterleaved
        | QkvQueriesKeysSwapped
        | QkvBiasMissing
        | QkvBiasTwice
        | QkvReshapedHeadsFirst
        | QkvQueriesScaled => at(2, By::Values, "h.0.attn.q"),
        QkvKeysValuesSwapped | QkvBiasOfKeysMissing => at(2, By::Values, "h.0.attn.k"),
        QkvOneOtherSum => at(2, By::Bits, "position by position"),
        QkvHeadsDimsExchanged | QkvBatchJoined => at(2, By::Shape, "h.0.attn.q"),

        CacheHeadsFirst | CacheStaleTail => at(3, By::Shape, "h.0.attn.cache.k"),
        CacheStartTooLate | CacheRowsMixed | CacheHalf => at(3, By::Values, "h.0.attn.cache.k"),
        // One call shows nothing, and the first case's positions one by one are many.
        CacheStartTooEarly | CacheStartZero | CachePrepends | CacheBoundaryDropped => {
            at(3, By::Bits, "position by position")
        }
        CacheKeysForValues => at(3, By::Values, "h.0.attn.cache.v"),
        CacheKeptOverReset => on(3, By::Shape, "a cache after a reset"),

        ScaleMissing | ScaleTwice | ScaleByDim | ScaleByWidth => {
            at(4, By::Values, "h.0.attn.scores")
        }
        ScaleByLayer => at(4, By::Values, "h.1.attn.scores"),
        MaskOneMore | MaskOneLess | MaskMissing | MaskLostWithCache | MaskFinite => {
            at(4, By::Mask, "h.0.attn.scores")
        }
        MaskAlignedLeft => at(4, By::Bits, "position by position"),

        SoftmaxOverQueries | SoftmaxBaseTwo => at(5, By::Values, "h.0.attn.probs"),
        SoftmaxWithoutMaximum => on(5, By::NotFinite, "scores of 200"),
        MergeWithoutTranspose | ProjTransposed | ProjMissing | ProjBiasMissing => {
            at(5, By::Values, "h.0.attn.out")
        }

        GeluErf | GeluSigmoid | GeluHalfTable | Relu | Silu | ActivationAfterProj
        | ActivationMissing => at(6, By::Values, "h.0.mlp.act"),
        GeluShortConstant => at(6, By::Ratio, "mlp.act"),
        FcBiasMissing | FcReadAsOutIn => at(6, By::Values, "h.0.mlp.fc"),
        ExpansionTwo | ExpansionThree => at(6, By::Shape, "h.0.mlp.fc"),
        MlpProjBiasMissing => at(6, By::Values, "h.0.mlp.out"),

        WteMissing | WpeMissing | WpeMissingForOne | WpeOffset | PositionsRestart | EmbedScaled => {
            at(7, By::Values, "embed")
        }
        PostNorm | LayersReversed => at(7, By::Values, "h.0.ln_1"),
        ResidualFromNorm | FirstResidualMissing | ParallelMlp => at(7, By::Values, "h.0.ln_2"),
        SecondResidualMissing | SecondResidualFromNorm => at(7, By::Values, "h.0"),
        LayerTwice => at(7, By::Values, "h.2.ln_1"),
        LayerSkipped => at(7, By::Values, "h.1.ln_1"),
        CacheOfAllLayers => at(7, By::Shape, "h.1.attn.cache.k"),

        LnFMissing => at(8, By::Values, "ln_f"),
        LnFTwice | LogitsBeforeLnF | HeadNotLoaded | HeadReadAsInOut => at(8, By::Values, "logits"),
        VocabularyPadded => at(8, By::Shape, "logits"),

        LogitsOfFirst | LastLogitsOtherSum => at(9, By::Bits, "last row of all logits"),

        ArgmaxOverRows => at(10, By::Error, "expected a greedy token for each of 1 rows"),
        TiesUpward => on(10, By::Values, "equal logits"),

        TemperatureMultiplied => at(11, By::Values, "isolated t0.5"),
        TopKOneMore | TopKOneLess => at(11, By::Values, "isolated top_k40, tokens kept"),
        TopPDropsCrossing | TopPUnsorted => at(11, By::Values, "isolated top_p0.9, tokens kept"),
        CutWithoutSoftmax => at(11, By::Values, "isolated top_k40"),
        SamplingWithoutMaximum => on(11, By::NotFinite, "logits of 200"),
        TopKByCount => on(11, By::Values, "equals of the k-th"),
        TopPBeforeTemperature => on(11, By::Values, "top-p at temperature 2"),

        GenerationOneLess => at(12, By::Bits, "row 0 without a cache"),
        GenerationForgetsLast => at(12, By::Choice, "generated token 1"),
        GenerationPromptAgain => at(
            12,
            By::Error,
            "expected tokens under 1001 at positions under 160",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caught(checkpoint: usize, by: By, site: &str, input: Option<&'static str>) -> Caught {
        Caught {
            checkpoint,
            input,
            by,
            site: site.to_owned(),
            size: String::new(),
        }
    }

    #[test]
    fn what_is_caught_elsewhere_or_not_at_all_is_not_as_expected() {
        let expected = Expected::Caught(at(2, By::Shape, "h.0.attn.q"));
        assert!(expected.is(Some(&caught(2, By::Shape, "h.0.attn.q", None))));
        for other in [
            caught(3, By::Shape, "h.0.attn.q", None),
            caught(2, By::Values, "h.0.attn.q", None),
            caught(2, By::Shape, "h.0.attn.k", None),
            caught(2, By::Shape, "h.0.attn.q", Some("two rows")),
        ] {
            assert!(!expected.is(Some(&other)));
            assert!(!Expected::Pass.is(Some(&other)));
        }
        assert!(!expected.is(None));
        assert!(Expected::Pass.is(None));
    }

    /// A checkpoint without a mistake would be one that was never seen to fail.
    #[test]
    fn every_checkpoint_has_mistakes() {
        for checkpoint in 1..=12 {
            let own = |bug: &&Bug| place(**bug).checkpoint == checkpoint;
            assert!(Bug::ALL.iter().filter(own).count() >= 2, "{checkpoint}");
        }
    }
}
