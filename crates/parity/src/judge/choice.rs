//! Choices by score: token ids, and whether a candidate was kept.

/// A choice between candidates by their scores, where both sides may be right if the best two are close.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What ours chose.
    pub ours: i64,
    /// What the reference chose.
    pub reference: i64,
    /// The truth's margin between its two best.
    pub margin: f64,
    /// The margin that must be exceeded for the choice to be settled: twice the scores' tolerance.
    pub needed: f64,
}

impl Choice {
    /// Whether the margin tells which choice is right. A NaN or an infinity tells nothing, and neither does
    /// a threshold below zero.
    pub fn is_settled(&self) -> bool {
        self.margin.is_finite() && self.needed >= 0.0 && self.margin > self.needed
    }
}
