//! Mistakes that ports of GPT-2 make.

/// Defines [`Bug`] with one variant a mistake, and gives each its own words.
macro_rules! bugs {
    ($($(#[doc = $says:literal])+ $bug:ident,)+) => {
        /// A mistake that a port of GPT-2 can make, and that the step at fault makes when it is told to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[doc = $says])+ $bug,)+
        }

        impl Bug {
            /// All of them, in the order of execution.
            pub const ALL: &'static [Bug] = &[$(Bug::$bug),+];

            /// What the mistake is.
            pub fn says(self) -> &'static str {
                match self {
                    $(Bug::$bug => concat!($($says),+).trim_ascii(),)+
                }
            }
        }
    };
}

bugs! {
    // Layer normalisation.
    /// variance divided by C - 1
    NormSampleVariance,
    /// variance in one pass: the mean square less the square of the mean, in float32
    NormSinglePass,
    /// epsilon added to the deviation, outside the root
    NormEpsilonOutside,
    /// epsilon 1e-6 for 1e-5
    NormEpsilonTooSmall,
    /// epsilon 1e-12, BERT's
    NormEpsilonBert,
    /// weight and bias of a normalisation swapped
    NormWeightBiasSwapped,
    /// bias of a normalisation left out
    NormBiasMissing,
    /// 1 + weight, Gemma's, for weight
    NormWeightPlusOne,
    /// RMSNorm: the mean is not subtracted
    NormRms,
    /// normalised over positions for channels
    NormOverPositions,
    /// ln_1's weights used for ln_2
    NormFirstForSecond,

    // Queries, keys and values.
    /// c_attn's C x C thirds transposed
    QkvThirdsTransposed,
    /// c_attn's memory read as [3C, C]
    QkvReadAsOutIn,
    /// c_attn's weight rounded to bfloat16
    QkvBfloat16,
    /// q, k, v interleaved head by head, GPT-NeoX's layout
    QkvInterleaved,
    /// K and V swapped
    QkvKeysValuesSwapped,
    /// Q and K swapped
    QkvQueriesKeysSwapped,
    /// c_attn's bias left out
    QkvBiasMissing,
    /// c_attn's bias added twice
    QkvBiasTwice,
    /// keys without their bias, as Whisper's have none
    QkvBiasOfKeysMissing,
    /// heads split as [D, H] for [H, D]
    QkvHeadsDimsExchanged,
    /// reshaped straight to [B, H, T, D]
    QkvReshapedHeadsFirst,
    /// rows of the batch joined to one
    QkvBatchJoined,
    /// one position projected in another order of summation than many
    QkvOneOtherSum,
    /// queries scaled before they are stored
    QkvQueriesScaled,

    // The cache.
    /// cache read as [B, H, S, D] for [B, S, H, D]
    CacheHeadsFirst,
    /// new positions written one place too late
    CacheStartTooLate,
    /// new positions written one place too early
    CacheStartTooEarly,
    /// new positions always written at 0
    CacheStartZero,
    /// new positions put before the old ones
    CachePrepends,
    /// rows of the batch stored under each other's index
    CacheRowsMixed,
    /// whole capacity read, stale tail and all
    CacheStaleTail,
    /// keys written to the values
    CacheKeysForValues,
    /// kept in half precision
    CacheHalf,
    /// first position of every later chunk dropped
    CacheBoundaryDropped,
    /// contents kept over a reset
    CacheKeptOverReset,

    // Scores.
    /// scores not scaled
    ScaleMissing,
    /// scores scaled twice
    ScaleTwice,
    /// scores divided by D for its root
    ScaleByDim,
    /// scores divided by the root of C
    ScaleByWidth,
    /// scores divided by the layer's number too
    ScaleByLayer,
    /// mask off by one: one key of the future seen
    MaskOneMore,
    /// mask off by one: the own key hidden
    MaskOneLess,
    /// no mask
    MaskMissing,
    /// mask lost where there is a cache
    MaskLostWithCache,
    /// mask of T x T, aligned to the left of the cache
    MaskAlignedLeft,
    /// masked scores a large finite number
    MaskFinite,

    // Attention.
    /// softmax over queries for keys
    SoftmaxOverQueries,
    /// softmax with powers of 2 for e
    SoftmaxBaseTwo,
    /// attention's softmax without the maximum subtracted, in float32
    SoftmaxWithoutMaximum,
    /// heads merged without the transpose
    MergeWithoutTranspose,
    /// attention's c_proj transposed: it is square
    ProjTransposed,
    /// attention's c_proj left out
    ProjMissing,
    /// attention's c_proj without its bias
    ProjBiasMissing,

    // The feed-forward layer.
    /// GELU by erf for tanh
    GeluErf,
    /// GELU as x sigmoid(1.702 x)
    GeluSigmoid,
    /// GELU with 0.7979 for the root of 2 / pi
    GeluShortConstant,
    /// GELU from a half-precision table, as ggml has one
    GeluHalfTable,
    /// ReLU for GELU
    Relu,
    /// SiLU for GELU
    Silu,
    /// c_fc's bias left out
    FcBiasMissing,
    /// c_fc's memory read as [I, C]
    FcReadAsOutIn,
    /// activation applied after c_proj
    ActivationAfterProj,
    /// activation left out
    ActivationMissing,
    /// feed-forward layer 2 C wide
    ExpansionTwo,
    /// feed-forward layer 3 C wide
    ExpansionThree,
    /// the feed-forward layer's c_proj without its bias
    MlpProjBiasMissing,

    // Embedding and blocks.
    /// wte not added
    WteMissing,
    /// wpe not added
    WpeMissing,
    /// wpe not added to a single token, as mlx-lm once did
    WpeMissingForOne,
    /// positions counted from 1
    WpeOffset,
    /// positions restarting at every chunk
    PositionsRestart,
    /// embedding multiplied by the root of C
    EmbedScaled,
    /// post-norm: ln(x + f(x))
    PostNorm,
    /// attention's residual added to ln_1's output
    ResidualFromNorm,
    /// first residual left out
    FirstResidualMissing,
    /// ln_2 before attention was added, as where both run in parallel
    ParallelMlp,
    /// second residual left out
    SecondResidualMissing,
    /// feed-forward layer's residual added to ln_2's output
    SecondResidualFromNorm,
    /// a layer run twice
    LayerTwice,
    /// a layer skipped
    LayerSkipped,
    /// layers in reverse
    LayersReversed,
    /// one cache for all layers
    CacheOfAllLayers,

    // The head.
    /// ln_f left out
    LnFMissing,
    /// ln_f applied twice
    LnFTwice,
    /// logits before ln_f
    LogitsBeforeLnF,
    /// head untied and never loaded
    HeadNotLoaded,
    /// head's memory read as [C, V]
    HeadReadAsInOut,
    /// vocabulary padded to a multiple of 64
    VocabularyPadded,
    /// logits of the first token for the last
    LogitsOfFirst,
    /// last logits summed in float32, another way than all
    LastLogitsOtherSum,

    // Choosing.
    /// argmax over the wrong axis
    ArgmaxOverRows,
    /// ties broken upward
    TiesUpward,
    /// logits multiplied by the temperature
    TemperatureMultiplied,
    /// the sampler's softmax without the maximum subtracted, in float32
    SamplingWithoutMaximum,
    /// top-k keeping k + 1
    TopKOneMore,
    /// top-k keeping k - 1
    TopKOneLess,
    /// top-k by counting: equals of the k-th dropped
    TopKByCount,
    /// top-p dropping the token that crosses
    TopPDropsCrossing,
    /// top-p over tokens in the order of their ids
    TopPUnsorted,
    /// top-p before the temperature
    TopPBeforeTemperature,
    /// probabilities not summing to one after a cut
    CutWithoutSoftmax,
    /// generation that gives one token too few
    GenerationOneLess,
    /// generation that never feeds its last token
    GenerationForgetsLast,
    /// prompt fed again at every step beside the cache
    GenerationPromptAgain,
}
