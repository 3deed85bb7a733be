//! How intermediate values are observed on the path that users run.

use ndarray::{ArrayBase, ArrayViewD, Data, Dimension};

/// A listener at the named places (sites) inside a computation.
///
/// There is no second code path for tests: a probe sees what is computed anyway, and what is too
/// large to keep (attention's scores) is put together only where a probe wants it. `()` wants nothing.
pub trait Probe {
    /// Whether the values at `site` are wanted.
    fn wants(&self, site: &str) -> bool;
    /// Takes the values at `site`; called only where [`Probe::wants`] said yes.
    fn record(&mut self, site: &str, values: ArrayViewD<f32>);
}

impl Probe for () {
    fn wants(&self, _: &str) -> bool {
        false
    }
    fn record(&mut self, _: &str, _: ArrayViewD<f32>) {}
}

/// Offers the values at a site to a probe; they are made only where it wants them.
pub fn offer<S, D>(probe: &mut dyn Probe, site: &str, values: impl FnOnce() -> ArrayBase<S, D>)
where
    S: Data<Elem = f32>,
    D: Dimension,
{
    if probe.wants(site) {
        probe.record(site, values().view().into_dyn());
    }
}

/// A probe for a part: every site is reported to the whole's probe behind a prefix.
pub struct Scoped<'a> {
    prefix: &'a str,
    whole: &'a mut dyn Probe,
}

impl<'a> Scoped<'a> {
    /// Reports site `s` as `{prefix}{s}`.
    pub fn new(prefix: &'a str, whole: &'a mut dyn Probe) -> Self {
        Scoped { prefix, whole }
    }
}

impl Probe for Scoped<'_> {
    fn wants(&self, site: &str) -> bool {
        self.whole.wants(&format!("{}{site}", self.prefix))
    }
    fn record(&mut self, site: &str, values: ArrayViewD<f32>) {
        self.whole.record(&format!("{}{site}", self.prefix), values);
    }
}
